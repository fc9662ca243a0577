"""
Measure the cost of the identity of an environment.

A task that does nothing is started in a ready environment with ``environment.json`` and, in turn, in a copy without it,
like one that an earlier version has built. Then all files of the environment are verified, in turn with ``sha256sum``
over the same files. With ``--requirements``, the environment also contains the requirements in a file.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dkist_processing_core import __version__

sys.path.insert(0, str(Path(__file__).parent))
from task_start import NAME, PACKAGE, ROOT, textwrap

PROGRAM = Path(sys.executable).with_name("dkist-processing-core")
DESCRIPTION = "environment.json"


def seconds(command: list[object], **environment: str) -> float:
    """Run a command, and return the time."""
    started = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    took = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout[-3000:]}")
    return took


def write_package(folder: Path, requirements: list[str]) -> None:
    """Write the package of the benchmark of task starts, with more dependencies."""
    for path, text in PACKAGE.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    project = folder / "pyproject.toml"
    # Not the published library from the package index.
    requirements = [f"dkist-processing-core=={__version__}", *requirements]
    listed = ", ".join(f'"{each}"' for each in requirements)
    project.write_text(project.read_text().replace("frozen = []", f"frozen = [{listed}]"))


def undescribe(environment: Path) -> None:
    """Change an environment to one that an earlier version of this library would have built."""
    (environment / DESCRIPTION).unlink()
    marker = environment / ".ready"
    content = json.loads(marker.read_text())
    del content["files"][DESCRIPTION]
    marker.write_text(json.dumps(content))


def compared(ways: dict[str, Callable[[], float]], rounds: int) -> None:
    """Time two functions in turn; print their times, and the ratio of the first to the second."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(way())
    for name, each in times.items():
        print(f"  {name:45} {min(each):8.4f} s {statistics.median(each):8.4f} s")
    first, second = times.values()
    ratios = [ours / theirs for ours, theirs in zip(first, second, strict=True)]
    print(
        f"  ratio {min(first) / min(second):.3f} of the quickest, {statistics.median(ratios):.3f} median of the pairs"
    )


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requirements", type=Path, help="a file with more requirements, one a line")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    more = options.requirements.read_text().split() if options.requirements else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_package(folder / "package", more)
        for project in (ROOT, folder / "package"):
            seconds([sys.executable, "-m", "uv", "build", "--wheel", "--quiet", "--out-dir", folder / "index", project])
        caches = {way: folder / way for way in ("described", "not described")}
        variables = {
            "UV_FIND_LINKS": str(folder / "index"),
            "DKIST_TASK": "dkist_do_nothing.tasks:DoNothing",
            "DKIST_REQUIREMENT": f"{NAME}[frozen]==1.0",
            "DKIST_WORKFLOW_NAME": "w",
            "DKIST_WORKFLOW_VERSION": "1.0",
            "DKIST_RECIPE_RUN_ID": "1",
        }

        def start(way: str) -> float:
            command: list[object] = [sys.executable, "-P", "-m", "dkist_processing_core.worker"]
            return seconds(command, **variables, DKIST_ENVIRONMENT_CACHE=str(caches[way]))

        built = start("described")
        shutil.copytree(caches["described"], caches["not described"], symlinks=True)
        [environment] = (caches["described"] / "v1").glob("*/")
        [other] = (caches["not described"] / "v1").glob("*/")
        undescribe(other)
        files = [each for each in environment.rglob("*") if each.is_file() and "__pycache__" not in each.parts]
        packages = len(list(environment.glob("lib/*/site-packages/*.dist-info")))
        size = sum(each.stat().st_size for each in files) / 2**20
        print(f"{packages} distributions, {len(files)} files, {size:.0f} MB; built in {built:.1f} s; quickest, median")
        for way in caches:
            start(way)
        compared({f"start, {way}": (lambda way=way: start(way)) for way in caches}, options.rounds)
        listed = folder / "files"
        listed.write_text("\0".join(map(str, files)))
        verify = [PROGRAM, "environments", "verify", "--all", "--cache", caches["described"]]
        bare = ["xargs", "--null", "--arg-file", listed, "sha256sum"]
        compared({"environments verify": lambda: seconds(verify), "sha256sum": lambda: seconds(bare)}, 3)


if __name__ == "__main__":
    main()
