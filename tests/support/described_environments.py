"""Environments in a cache that contain small wheels, described as the worker program describes them."""

import json
import os
import time
from pathlib import Path

from dkist_processing_core.common.environment import DESCRIPTION, read_description
from dkist_processing_core.worker import inventory
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK, mark_as_ours
from dkist_processing_core.worker.description import Installation, write_description
from dkist_processing_core.worker.marker import write_marker
from dkist_processing_core.worker.request import EnvironmentRequest
from support.command_line import run_command
from support.releases import new_environment


def new_cache(folder: Path) -> Path:
    """Make an empty cache, and return it."""
    (folder / LAYOUT).mkdir(parents=True)
    (folder / LAYOUT / OWNER_MARK).touch()
    return folder


def install(environment: Path, *wheels: Path, link_mode: str = "copy") -> Path:
    """Make an environment of some wheels, with uv, and return it."""
    new_environment(environment, "--no-index", "--link-mode", link_mode, *wheels)
    return environment


def site_packages(environment: Path) -> Path:
    """Return the folder of an environment that Python imports from."""
    [found] = environment.glob("lib/*/site-packages")
    return found


def build(cache: Path, name: str, *wheels: Path) -> Path:
    """Build an environment of some wheels in a cache, with uv; its hash is made of the last letter of its name."""
    environment = install(cache / LAYOUT / f"{name}-1.0-{name[-1] * 64}", *wheels)
    mark_as_ours(environment)
    run_command(environment / "bin/python", "-I", inventory.__file__, environment / DESCRIPTION).check()
    request = EnvironmentRequest.from_environment(
        {
            "DKIST_TASK": "m:T",
            "DKIST_REQUIREMENT": f"{name}[frozen]==1.0",
            "DKIST_WORKFLOW_NAME": "w",
            "DKIST_WORKFLOW_VERSION": "1.0",
            "DKIST_RECIPE_RUN_ID": "1",
            "DKIST_CONSTRAINTS": "spectrum<3",
        }
    )
    installation = Installation(installer="uv", version="1.2.3", began=time.monotonic(), reports=[])
    write_description(
        environment, request, {"UV_DEFAULT_INDEX": "https://u:s3cret@h/simple?token=s3cret"}, installation
    )
    write_marker(environment, {"requirement": request.requirement})
    return environment


def undescribe(environment: Path) -> None:
    """Make an environment one that an earlier version of this library has built."""
    marker = json.loads((environment / ".ready").read_text())
    del marker["files"][DESCRIPTION]
    (environment / ".ready").write_text(json.dumps(marker))
    (environment / DESCRIPTION).unlink()


def rewrite(environment: Path, **changes: object) -> None:
    """Change what an environment says of itself."""
    (environment / DESCRIPTION).write_text(json.dumps(read_description(environment) | changes))


def replace(file: Path, text: str) -> None:
    """Give a file another content of the same length and time, as nobody sees who does not read it."""
    status = file.stat()
    assert len(text.encode()) == status.st_size
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
