"""The files that the matrix tries, and the releases that their tasks are run from."""

import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from support.command_line import run_command
from support.matrix import environments
from support.releases import REPOSITORY, UV_SECONDS, export_workflows, make_index, new_environment, write_package

OURS = "ours"
INSTRUMENT = REPOSITORY / "examples" / "instrument"
EXAMPLE = tomllib.loads((INSTRUMENT / "pyproject.toml").read_text())["project"]
# The package and the classes that the golden files name. The recipe run id decides which tasks fail, since a golden
# file must serve for both. Each task leaves a file that shows that it ran, and where.
CLIENT = "support"
CLIENT_FILES = {
    "tasks.py": '''
        import os
        import sys
        from pathlib import Path

        from dkist_processing_core import TaskBase

        class First(TaskBase):
            """Do the first thing."""
            def run(self):
                if self.recipe_run_id % 2:
                    raise RuntimeError("the flat is missing")
                Path(os.environ["FACTS"], f"{self.recipe_run_id}.{type(self).__name__}").write_text(sys.prefix)
        class Second(First): pass
        class Third(First): pass
        class Fourth(First): pass
    ''',
    "workflows/chain.py": """
        from dkist_processing_core import Workflow
        from support.tasks import First, Second

        chain = Workflow(input_data="l0", output_data="l1", category="cam", detail="published",
                         workflow_package=__package__, workflow_version="1.0")
        chain.add_node(First)
        chain.add_node(Second, upstreams=First)
    """,
}
CHAIN = {"First": [], "Second": ["First"]}
DIAMOND = {"First": [], "Second": ["First"], "Third": ["First"], "Fourth": ["Second", "Third"]}
EXAMPLE_DIAMOND = {
    "SimulateFrames": [],
    "MakeDark": ["SimulateFrames"],
    "MakeFlat": ["SimulateFrames"],
    "CalibrateScience": ["MakeDark", "MakeFlat"],
    "MakePreview": ["CalibrateScience"],
}
EXAMPLE_FAILING = {"SimulateFrames": [], "FailOnPurpose": ["SimulateFrames"]}


@dataclass(frozen=True)
class Tried:
    """
    A file, and what is expected of it.

    Attributes
    ----------
    path
        The file.
    group
        The library that exported it: `OURS`, or a release of the published one.
    tasks
        The upstreams of each task.
    runs
        The conf of each run, by its kind: "good", "bad", "hostile" or "missing".
    failing
        The task that fails in the bad run.
    """

    path: Path
    group: str
    tasks: dict[str, list[str]]
    runs: dict[str, dict[str, object]]
    failing: str


def all_files(folder: Path, releases: Path, client: Path, published: list[str]) -> list[Tried]:
    """Return the golden file of every release, and what the example and releases of the published library export."""
    found = [(path, OURS, DIAMOND) for path in sorted((REPOSITORY / "tests" / "golden").rglob("*.py"))]
    found += [
        (path, OURS, EXAMPLE_FAILING if "_failing_" in path.name else EXAMPLE_DIAMOND)
        for path in example(folder / OURS, releases)
    ]
    for version in published:
        python = environments.published(version)
        found += [(path, version, CHAIN) for path in export(python, client / "src", CLIENT, folder / version, "1.0")]
    return [Tried(*each, *expected(each[2], number)) for number, each in enumerate(found, start=500)]


def expected(tasks: dict[str, list[str]], number: int) -> tuple[dict[str, dict[str, object]], str]:
    """Return the confs of a file's runs, and its task that can fail; those of `CLIENT` fail if the id is odd."""
    runs = {
        "good": {"recipe_run_id": 2 * number},
        "bad": {"recipe_run_id": 2 * number + 1},
        "hostile": {"recipe_run_id": "1; ls"},
        "missing": {},
    }
    if tasks is EXAMPLE_DIAMOND:
        del runs["bad"]
    if tasks is EXAMPLE_FAILING:
        del runs["good"]
    return runs, "FailOnPurpose" if tasks is EXAMPLE_FAILING else "First"


def example(folder: Path, releases: Path) -> list[Path]:
    """Export the example package, in an environment as its pipeline has it."""
    requirement = f"{EXAMPLE['name']}[frozen]=={EXAMPLE['version']}"
    links = ["--no-index", "--find-links", releases]
    author = new_environment(folder.parent / "author", *links, requirement)
    return export(author, INSTRUMENT, "dkist_processing_example", folder, EXAMPLE["version"])


def export(python: Path, sources: Path, package: str, folder: Path, version: str) -> list[Path]:
    """Let the library of some environment export the workflows of a release."""
    settings = {"BUILD_VERSION": version, "AIRFLOW_HOME": str(folder.parent / "airflow")}
    return export_workflows(f"{package}.workflows", folder, sources=sources, python=python, **settings)


def write_client(folder: Path) -> Path:
    """Write the sources of the package that the golden files name."""
    return write_package(folder, CLIENT_FILES, name=CLIENT)


def write_releases(folder: Path, core_wheel: Path, client: Path) -> None:
    """Gather the releases of this project and what they are pinned to; another Python needs other wheels of that."""
    make_index(folder, core_wheel, client, INSTRUMENT)
    for wheel in wheels_of_others().glob("*.whl"):
        shutil.copy(wheel, folder)


def wheels_of_others() -> Path:
    """Fetch what the example is frozen to and what installers need, unless that was done before."""
    pins = [pin for pin in EXAMPLE["optional-dependencies"]["frozen"] if not pin.startswith("dkist-processing-core")]
    pins += ["pip", "setuptools", "wheel"]  # which uv venv --seed looks for
    place = environments.KEPT / "wheels"
    kept, text = place / "pins.txt", "\n".join([sys.version, *pins])
    if not kept.exists() or kept.read_text() != text:
        shutil.rmtree(place, ignore_errors=True)
        command = [environments.worker(), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, *pins]
        run_command(*command, seconds=UV_SECONDS).check()
        kept.write_text(text)
    return place
