"""
The forms of DAG files that are compared, and how they are written.

Each form has workflows of the same nodes in a row; a release has several workflows.
"""

import os
import subprocess
import sys
from pathlib import Path

from support.matrix.environments import find_python

from dag_support.hand_written import hand_written

FORMS = ["hand", "files", "one-file", "zip", "hand-many", "published"]
PUBLISHED = "7.5.0"
PUBLISHED_PYTHON = "3.13"

# For both libraries: print the names of the written files, and of the DAGs in them.
EXPORT = """
import logging
import sys
logging.disable(logging.WARNING)
from dkist_processing_core import TaskBase, Workflow

folder, releases, size, nodes = sys.argv[1], *map(int, sys.argv[2:])
doc = "Do one thing.\\n\\nWith a docstring of some lines,\\nas tasks have."
body = {"run": lambda _: None, "__doc__": doc, "__module__": "bench.tasks"}
tasks = [type(f"Task{number}", (TaskBase,), body) for number in range(nodes)]

def workflow(number, release):
    made = Workflow(input_data="l0", output_data="l1", category="bench", detail=f"n{number}",
                    workflow_package="bench", workflow_version=f"{release}.0")
    for task, before in zip(tasks, [None, *tasks]):
        made.add_node(task, upstreams=before)
    return made
"""
OF_EACH = """
for release in range(releases):
    for number in range(size):
        workflow(number, release).export_dag(folder)
"""
ONE_FILE = """
from pathlib import Path
from dkist_processing_core.export import bundle
for release in range(releases):
    bundle.write([workflow(number, release).spec for number in range(size)], Path(folder), one_file=True)
"""
ARCHIVE = """
from pathlib import Path
from dkist_processing_core.export import bundle
for release in range(releases):
    bundle.write_archive([workflow(number, release).spec for number in range(size)], Path(folder))
"""


def uv(*arguments: object) -> None:
    """Run uv, without downloading a Python."""
    subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)],
        check=True,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
    )


def published_python(folder: Path) -> Path:
    """Create an environment with the published library, and return its Python."""
    uv("venv", "--quiet", "--python", find_python(PUBLISHED_PYTHON), folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", python, f"dkist-processing-core=={PUBLISHED}")
    return python


def write(form: str, folder: Path, *, releases: int, size: int, nodes: int, published: Path | None) -> None:
    """Write the files of a form for some releases with some workflows each."""
    folder.mkdir(parents=True)
    if form in {"hand", "hand-many"}:
        for release in range(releases):
            dags = [f"l0_to_l1_bench_n{number}_{release}.0" for number in range(size)]
            files = {f"bench-{release}.0-dags": dags} if form == "hand-many" else {each: [each] for each in dags}
            for name, dag_ids in files.items():
                (folder / f"{name}.py").write_text(hand_written(*dag_ids, nodes=nodes))
        return
    python = published if form == "published" else sys.executable
    script = EXPORT + {"one-file": ONE_FILE, "zip": ARCHIVE}.get(form, OF_EACH)
    subprocess.run(
        [python, "-P", "-c", script, folder, str(releases), str(size), str(nodes)],
        env={**os.environ, "AIRFLOW_HOME": f"{folder}-airflow", "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
    )
