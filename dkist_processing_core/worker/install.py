"""
Build an environment, with uv, or with venv and pip.

Runs in: worker.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from dkist_processing_core.common.redaction import redact_urls, without_credentials
from dkist_processing_core.worker import log
from dkist_processing_core.worker.cache import EnvironmentLocks, write_marker
from dkist_processing_core.worker.errors import UNAVAILABLE, WorkerError
from dkist_processing_core.worker.interpreter import Interpreter
from dkist_processing_core.worker.request import Request
from dkist_processing_core.worker.supervise import Supervisor

__all__ = ["Installation"]

CONSTRAINTS_FILE = ".constraints.txt"


class Installation:
    """
    One environment to build.

    Parameters
    ----------
    path
        Its folder. What an interrupted build has left there is removed.
    request
        What it is for.
    interpreter
        The Python that it is built with.
    uv, pip
        The environment variables with which either installer runs.
    """

    def __init__(
        self, path: Path, request: Request, interpreter: Interpreter, *, uv: Mapping[str, str], pip: Mapping[str, str]
    ) -> None:
        self._path = path
        self._request = request
        self._interpreter = interpreter
        self._uv = dict(uv)
        self._pip = dict(pip)

    def run(self, supervisor: Supervisor, locks: EnvironmentLocks) -> None:
        """
        Build the environment; if that fails, nothing of it is left.

        Parameters
        ----------
        supervisor
            Runs the installer.
        locks
            The locks of the environment, which the installer inherits.

        Raises
        ------
        WorkerError
            If it cannot be built.
        """
        began = time.monotonic()
        try:
            if self._path.exists():
                shutil.rmtree(self._path)
            log.info(
                f"building the environment {self._path} for {self._request.requirement} with {self._interpreter.path}"
            )
            self._install(supervisor, locks)
            write_marker(self._path, self._description())
        except BaseException as error:
            shutil.rmtree(self._path, ignore_errors=True)
            if isinstance(error, OSError):
                raise WorkerError(
                    UNAVAILABLE, f"the environment {self._path} cannot be written: {error}. Check the disk."
                ) from error
            raise
        log.info(f"environment built in {time.monotonic() - began:.0f} s")

    def _install(self, supervisor: Supervisor, locks: EnvironmentLocks) -> None:
        def run(command: Sequence[object], environment: Mapping[str, str], folder: Path) -> None:
            status = supervisor.run(
                command,
                name="the installer",
                environment=environment,
                folder=folder,
                descriptors=locks.descriptors,
                on_line=_show,
            )
            if status:
                supervisor.check()
                raise WorkerError(
                    UNAVAILABLE,
                    f"the environment for {self._request.requirement} could not be built; the installer's messages are "
                    "above. Check that this release is on the package index that this worker uses, that the index can "
                    "be reached, and that there is room on the disk.",
                )

        python = self._path / "bin" / "python"
        what = [self._request.requirement]
        if self._request.dev_project:
            what = ["--editable", f"{self._request.dev_project}[{','.join(self._request.extras)}]"]
        if uv := _find_uv(self._uv.get("PATH")):
            new = [uv, "venv", "--quiet", "--no-project", "--no-config", "--python", self._interpreter.path, self._path]
            install = [uv, "pip", "install", "--no-progress", "--python", python, *what]
            variables = self._uv
        else:
            log.info("there is no uv on PATH; python -m venv and pip do the work, more slowly")
            new = [self._interpreter.path, "-I", "-m", "venv", self._path]
            options = ["--no-input", "--no-compile", "--disable-pip-version-check"]
            install = [python, "-P", "-m", "pip", "install", *options, *what]
            variables = self._pip
        without_config_file = {name: value for name, value in variables.items() if name != "UV_CONFIG_FILE"}
        run(new, without_config_file, self._path.parent)
        # The working folder of the installer: an empty uv.toml keeps uv from looking for one in the folders above.
        (self._path / "uv.toml").touch()
        run(install, self._constrained(variables), self._path)
        run([python, "-I", Path(__file__).with_name("verify.py")], variables, self._path)

    def _constrained(self, variables: Mapping[str, str]) -> Mapping[str, str]:
        """Return the variables with the constraints of the workflow on top of those of the worker."""
        if not self._request.constraints:
            return variables
        # These settings are lists that are split at spaces, so the file is named from the working folder.
        (self._path / CONSTRAINTS_FILE).write_text(f"{self._request.constraints}\n", encoding="utf-8")
        names = ("UV_CONSTRAINT", "PIP_CONSTRAINT")
        return {**variables, **{name: f"{variables.get(name, '')} {CONSTRAINTS_FILE}".strip() for name in names}}

    def _description(self) -> dict[str, object]:
        """Return what the marker says."""
        packages = self._path.glob("lib/python*/site-packages/*.dist-info")
        index = self._uv.get("UV_DEFAULT_INDEX") or self._uv.get("UV_INDEX_URL") or ""
        return {
            "requirement": self._request.requirement,
            "python": self._interpreter.identity,
            "index": without_credentials(index),
            "built": datetime.now(UTC).isoformat(timespec="seconds"),
            "distributions": sorted(each.name.removesuffix(".dist-info") for each in packages),
        }


def _find_uv(search_path: str | None) -> str | None:
    """Return uv as it is on PATH, or beside the Python that runs this, whose extra ``airflow`` brings it."""
    found = shutil.which("uv", path=search_path) or shutil.which("uv", path=Path(sys.executable).parent)
    return str(Path(found).absolute()) if found else None


def _show(line: bytes) -> None:
    with suppress(UnicodeError):
        log.output(redact_urls(line.decode(errors="replace")).encode())
