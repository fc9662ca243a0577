"""
Real client packages of the published line, in environments of their own.

An environment holds what the client's own CI has: the release with its extra ``test``, and the tests of the package
that it builds on. An override of uv puts this library in the place of the published one, so nothing in the client is
changed.
"""

import json
import textwrap
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.command_line import Ended, run_command
from support.matrix.environments import NoPythonError, find_python
from support.releases import VERSION, new_environment, with_links

PACKAGE = "dkist_processing_test"
COMMON = "dkist_processing_common"
WALK = """
    import importlib, json, pkgutil, sys
    outcomes = {}
    for top in sys.argv[2:]:
        package = importlib.import_module(top)
        outcomes[top] = None
        for module in pkgutil.walk_packages(package.__path__, f"{top}.", onerror=lambda name: None):
            try:
                importlib.import_module(module.name)
                outcomes[module.name] = None
            except BaseException as error:
                outcomes[module.name] = f"{type(error).__name__}: {error}"
    with open(sys.argv[1], "w") as answer:
        json.dump(outcomes, answer)
"""


@dataclass(frozen=True)
class Client:
    """
    One release of a client package.

    ``alone`` names its workflows that need no service, and how each ends; ``with_redis`` those that need Redis and no
    other. All others need the data centre's, and one needs a graphics processor.
    """

    release: str
    python: str
    common: str
    alone: dict[str, str]
    with_redis: dict[str, str]

    @property
    def requirements(self) -> list[str]:
        """What its own CI installs, and what the tests of the package that it builds on need."""
        return [f"dkist-processing-test[test]=={self.release}", f"dkist-processing-common[test]=={self.common}"]


PLAIN = {"noop": "success", "noop-flow": "success", "high_mem": "success", "fail": "failed"}
CLIENTS = [
    Client("1.34.4", "3.11", "11.4.0", PLAIN, {"exercise_numba": "success"}),
    Client(
        "1.45.0",
        "3.13",
        "14.7.0",
        {**PLAIN, "exercise_dask": "success", "exercise_multiprocessing": "success"},
        {"exercise_numba": "success"},
    ),
]


@dataclass(frozen=True)
class Relative:
    """One release of another package of the family."""

    package: str
    release: str
    python: str

    @property
    def requirements(self) -> list[str]:
        """What its users install."""
        return [f"{self.package.replace('_', '-')}=={self.release}"]


RELATIVES = [
    Relative("dkist_processing_ops", "1.11.8", "3.13"),
    Relative("dkist_processing_visp", "5.11.0", "3.13"),
    Relative("dkist_processing_dlnirsp", "1.9.0", "3.13"),
    Relative("dkist_processing_visp", "3.4.4", "3.11"),
    Relative("dkist_processing_vbi", "1.23.4", "3.11"),
]


def python_of(client: Client | Relative) -> str:
    """Return the Python that a release needs; skip the test if it is not installed."""
    try:
        return str(find_python(client.python))
    except NoPythonError as reason:
        pytest.skip(f"{reason}, which release {client.release} needs")


def replacing(wheels: Path, folder: Path) -> dict[str, str]:
    """Return the settings by which uv takes this library wherever a release pins the published one."""
    override = folder / "override.txt"
    override.write_text(f"dkist-processing-core=={VERSION}\n")
    return {**with_links(wheels), "UV_OVERRIDE": str(override)}


@dataclass
class Installed:
    """An environment in which a client is installed, with the library that ``settings`` choose."""

    folder: Path
    client: Client | Relative

    @classmethod
    def new(cls, folder: Path, client: Client | Relative, python: str, settings: dict[str, str]) -> "Installed":
        """Make the environment."""
        new_environment(folder / "venv", *client.requirements, "pytest-timeout", python=python, **settings)
        return cls(folder, client)

    def run(self, *arguments: str, timeout: float = 600, **environment: str) -> Ended:
        """Run its Python."""
        command, settings = (self.folder / "venv/bin/python", *arguments), {"BUILD_VERSION": self.client.release}
        return run_command(*command, cwd=self.folder, merge=True, seconds=timeout, **{**settings, **environment})

    def execute(self, program: str, *arguments: str, **environment: str) -> str:
        """Run a program that has to succeed, and return what it prints."""
        return self.run("-c", textwrap.dedent(program), *arguments, **environment).check().stdout

    def imports(self) -> dict[str, str | None]:
        """Import every module of the client and of the package that it builds on; return what each raised."""
        answer = self.folder / "imports.json"
        self.execute(WALK, str(answer), PACKAGE, COMMON)
        return json.loads(answer.read_text())

    def run_tests(self, target: str, *options: str, timeout: float = 600, **environment: str) -> dict[str, str]:
        """Run tests that are installed and return the outcome of each: passed, failed, error or skipped."""
        report = self.folder / f"{target}.xml"
        report.unlink(missing_ok=True)
        done = self.run(
            *["-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *options, "--pyargs", target],
            timeout=timeout,
            **environment,
        )
        assert report.exists(), done.stdout[-6000:]
        (self.folder / f"{target}.log").write_text(done.stdout)
        return _outcomes(report)


def _outcomes(report: Path) -> dict[str, str]:
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        names = {each.tag for each in case}
        outcome = next((name for name in ("error", "failure", "skipped") if name in names), "passed")
        # The part before the name of the package depends on the folder of the environment.
        module = case.get("classname", "").partition("dkist_processing_")
        key = f"{module[1]}{module[2]}::{case.get('name')}"
        # A test that fails and whose teardown then fails as well is in the report twice.
        if outcomes.get(key, "passed") == "passed":
            outcomes[key] = outcome
    return outcomes
