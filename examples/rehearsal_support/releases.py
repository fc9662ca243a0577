"""Releases of two packages that were frozen with the published library and with this one, and their package index."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from pathlib import Path

from support.matrix import environments
from support.matrix.files import export
from support.releases import VERSION, build_wheel, make_index, new_environment, run_uv, write_package

__all__ = ["DARK_DONE", "FLAT_MISSING", "PUBLISHED", "PYTHONS", "RELEASES", "Releases"]

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = "7.5.0"
[OF_PUBLISHED] = [entry for entry in environments.TABLE["published"] if entry["version"] == PUBLISHED]
PYTHONS: list[str] = OF_PUBLISHED["pythons"]
DARK_DONE, FLAT_MISSING = "the dark is averaged", "the flat is missing"
WORKFLOWS = """
    from dkist_processing_core import ResourceQueue, Workflow
    from {package} import tasks

    flow = Workflow(input_data="l0", output_data="l1", category="{category}", workflow_package=__package__)
    {nodes}
"""
# A task waits as long as a file is there that the rehearsal has made, and leaves one that says which library it had.
TASKS = """
    import os
    import time
    from importlib.metadata import version
    from pathlib import Path
    from dkist_processing_core import TaskBase

    class Dark(TaskBase):
        def run(self):
            place = Path(os.environ["FACTS"])
            place.joinpath(f"{self.recipe_run_id}.began").touch()
            for _ in range(3600):
                if not place.joinpath(f"{self.recipe_run_id}.hold").exists():
                    break
                time.sleep(1)
            self.leave()
        def leave(self):
            fact = Path(os.environ["FACTS"], f"{self.recipe_run_id}.{type(self).__name__}")
            fact.write_text(version("dkist-processing-core"))
            print("the dark is averaged")
    class Science(Dark):
        def run(self):
            self.leave()
    class Check(TaskBase):
        def run(self):
            raise RuntimeError("the flat is missing")
"""
DARK, SCIENCE = "flow.add_node(tasks.Dark)", "flow.add_node(tasks.Science, upstreams=tasks.Dark)"
CHECK = "flow.add_node(tasks.Check, resource_queue=ResourceQueue.HIGH_MEMORY)"
# The nodes of the workflow of each release, and the library that it is frozen with. All tasks of l0_to_l1_one succeed.
RELEASES = {
    ("one", "1.0"): (DARK, PUBLISHED),
    ("one", "1.1"): (f"{DARK}; {SCIENCE}", PUBLISHED),
    ("two", "1.0"): (CHECK, PUBLISHED),
    ("one", "2.0"): (f"{DARK}; {SCIENCE}", VERSION),
    ("two", "2.0"): (CHECK, VERSION),
}


def metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


class Releases:
    """
    The wheels of all releases, and how the pipeline of a team exports.

    Parameters
    ----------
    folder
        Where everything is made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.index = folder, folder / "index"
        build_wheel(ROOT, folder / "wheel")
        [self.core_wheel] = (folder / "wheel").glob("*.whl")
        self._published = environments.published(PUBLISHED)
        frozen = run_uv("pip", "freeze", "--quiet", "--python", self._published).split()
        pin = f"dkist-processing-core=={PUBLISHED}"
        self.pins = [pin, *(each for each in frozen if each != pin)]
        make_index(self.index, folder / "wheel")
        for instrument, version in RELEASES:
            build_wheel(self._sources(instrument, version), self.index)
        for wheel in self._wheels_of_others().glob("*.whl"):
            shutil.copy(wheel, self.index)
        self._author = self._new_author()

    @property
    def links(self) -> Mapping[str, str]:
        """The settings by which pip and uv install from the index, and from nowhere else."""
        return {"PIP_FIND_LINKS": str(self.index), "UV_FIND_LINKS": str(self.index), "PIP_NO_INDEX": "1"}

    def _sources(self, instrument: str, version: str) -> Path:
        nodes, library = RELEASES[instrument, version]
        flow = WORKFLOWS.format(package=f"instrument_{instrument}", category=instrument, nodes=nodes)
        files = {"tasks.py": TASKS, "workflows/flow.py": flow}
        frozen = self.pins if library == PUBLISHED else [f"dkist-processing-core=={library}"]
        name = f"instrument-{instrument}"
        return write_package(self.folder / version, files, name=name, version=version, frozen=frozen)

    def export(self, instrument: str, version: str, dags: Path) -> list[str]:
        """Export a release as CI does, with the library that it is frozen with; return the names of the files."""
        name, (_, library) = f"instrument-{instrument}", RELEASES[instrument, version]
        sources, place = self.folder / version / name / "src", self.folder / "exports" / f"{name}-{version}"
        python = self._published if library == PUBLISHED else self._author
        files = export(python, sources, f"instrument_{instrument}", place, version)
        for each in files:
            shutil.copy(each, dags)
        return [each.name for each in files]

    def _new_author(self) -> Path:
        """Make the environment of a CI that has this library, and return its Python."""
        wanted = [f"dkist-processing-core[build] @ {self.core_wheel.as_uri()}"]
        wanted += [f"instrument-{name}=={number}" for (name, number), (_, each) in RELEASES.items() if each == VERSION]
        return new_environment(self.folder / "author", *wanted, python=environments.find_python(*PYTHONS), **self.links)

    def _wheels_of_others(self) -> Path:
        """Gather what the releases are frozen with and what installers need, unless that was done before."""
        place = environments.KEPT / f"wheels-{PUBLISHED}"
        ours = f"dkist-processing-core[airflow] @ {self.core_wheel.as_uri()}"
        requires = metadata(self.core_wheel).get_all("Requires-Dist")
        kept, text = place / "pins.json", json.dumps([self.pins, requires])
        if not kept.exists() or kept.read_text(encoding="utf-8") != text:
            shutil.rmtree(place, ignore_errors=True)
            python = new_environment(self.folder / "pip", "pip", python=environments.find_python(*PYTHONS))
            pins, others = self.folder / "pins.txt", self.folder / "others.txt"
            pins.write_text("\n".join(self.pins), encoding="utf-8")
            others.write_text("\n".join(self.pins[1:]), encoding="utf-8")
            for wanted in (["--no-deps", "--requirement", pins], ["--constraint", others, "pip", ours]):
                command = [python, "-m", "pip", "wheel", "--quiet", "--wheel-dir", place, *wanted]
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"pip could not gather the wheels: {done.stdout[-2000:]}")
            for each in place.glob("dkist_processing_core-[!7]*.whl"):
                each.unlink()  # the index has the one that was just built
            kept.write_text(text, encoding="utf-8")
        return place
