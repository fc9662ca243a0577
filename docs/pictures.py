"""
Create the pictures of this documentation with the program itself. `make pictures` replaces those in `docs/images`.

The example package runs on a terminal, with a mistake in one of its tasks, and in a standalone Airflow, and a browser
without a display visits the pages. All other files are written to ``.build/pictures``.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT / "examples"))

from demo_support.stage import INSTRUMENT, Stage
from standalone_airflow import prepare, say
from support.api import Api
from support.chromium import Browser, browser
from support.command_line import run_on_terminal
from support.components import Components
from support.ports import free_ports
from support.waiting import wait_until

PACKAGE = "dkist_processing_example"
WORKFLOW = "raw_to_level1_example"
RECIPE_RUN = 7
COLUMNS = 100
# An error in one task, and enough work for a parallel one that it is still running when the first one has failed.
CHANGES = {
    "tasks/dark.py": ('"raw/dark_', '"raw/darks_'),
    "simulation.py": ('"flat": 16', '"flat": 160'),
}
REDRAW = re.compile(r"\r?(?:\x1b\[2K|\x1b\[1A)+")  # control sequence with which the live view removes its table
STATES = ("success", "running", "up_for_retry", "failed")
# Replace the names of this machine in the text of the page.
RENAME = """
(names => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    for (const [pattern, name] of names) {
      const text = walker.currentNode.data.replace(new RegExp(pattern, "g"), name);
      if (text !== walker.currentNode.data) walker.currentNode.data = text;
    }
  }
})
"""


class Camera:
    """
    Take pictures of pages, without the names of this machine.

    Parameters
    ----------
    page
        The browser.
    folders
        The name of each folder in the pictures. The first one that matches is used.
    """

    def __init__(self, page: Browser, folders: dict[Path | str, str]) -> None:
        self.page = page
        self._names = [(re.escape(str(folder)), name) for folder, name in folders.items()]
        self._names.append((rf"\b{re.escape(os.uname().nodename)}\b", "worker-1"))

    def open(self, page: Path | str, text: str, *, width: int = 1280, height: int = 800) -> None:
        """Open a page, and wait until it shows a text."""
        self.page.show(width=width, height=height)
        self.page.open(page)
        self.wait_for(text)

    def wait_for(self, text: str) -> None:
        """Wait until the page shows a text and its animations have ended."""
        shown = f"document.body.innerText.includes({json.dumps(text)})"
        wait_until(lambda: self.page.value(shown), lambda: self.page.value("document.body.innerText"))
        self.page.value("new Promise(done => setTimeout(done, 2000))")

    def take(self, name: str, selector: str | None = None) -> None:
        """Write a picture of the window, or only of the element of a selector."""
        self.page.value(f"{RENAME}({json.dumps(self._names)})")
        done(self.page.screenshot(IMAGES / f"{name}.png", selector))


def done(picture: Path) -> None:
    """Print that a picture was created."""
    say(f"{picture.relative_to(ROOT)}, {picture.stat().st_size / 1000:.0f} kB")


def run_with_a_mistake(stage: Stage, folder: Path) -> Path:
    """Run the example on a terminal, draw its live view, and return the report."""
    shutil.copytree(INSTRUMENT / PACKAGE, folder / PACKAGE)
    for name, (old, new) in CHANGES.items():
        file = folder / PACKAGE / name
        text = file.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old} any more"
        file.write_text(text.replace(old, new), encoding="utf-8")
    arguments = ["run", f"{PACKAGE}.workflows.raw_to_level1", "--recipe-run-id", str(RECIPE_RUN)]
    [libraries] = stage.author.glob("lib/python*/site-packages")
    environment = {
        "DKIST_EXAMPLE_SCRATCH": str(folder / "scratch"),
        "DKIST_RUNS": str(folder / "runs"),
        "PYTHONPATH": str(libraries),
    }
    with contextlib.chdir(folder):
        _, output = run_on_terminal(*arguments, columns=COLUMNS, **environment)
    # Of all tables except the last one, the one with the most different states.
    tables = REDRAW.split(output)[1:-1]
    table = max(reversed(tables), key=lambda each: sum(state in each for state in STATES))
    draw_terminal(f"$ {' '.join(['dkist-processing-core', *arguments])}\n{table}", IMAGES / "run_live.svg")
    [report] = folder.glob("runs/*/report.html")
    return report


def draw_terminal(text: str, picture: Path) -> None:
    """Draw the contents of a terminal as an SVG that loads nothing."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text.from_ansi(text))
        svg = console.export_svg(title="Terminal", unique_id="terminal")
    picture.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")
    done(picture)


def visit_airflow(api: Api, stage: Stage, camera: Camera) -> None:
    """Run the workflows of the example in Airflow, and take pictures of its pages."""
    dags = f"{api.address}/dags"
    dag, failing = stage.dag_id(WORKFLOW), stage.dag_id(f"{WORKFLOW}_failing")
    runs = {}
    for each in (dag, failing):
        api.wait_for_dag(each)
        runs[each] = api.trigger(each, {"recipe_run_id": RECIPE_RUN})
    names = {each: api.wait_for_end(run, seconds=600)["dag_run_id"] for each, run in runs.items()}
    camera.page.call("Network.setCookie", name="_token", value=api.token, url=api.address)
    camera.open(f"{dags}/{failing}/runs/{names[failing]}/tasks/FailOnPurpose", "Task failed with exception", height=720)
    camera.take("airflow_log", "#details-panel")
    camera.page.value("localStorage.setItem('default_dag_view', JSON.stringify('graph'))")
    camera.open(f"{dags}/{dag}/runs/{names[dag]}", "TaskOperator", height=560)
    camera.take("airflow_graph")
    camera.open(f"{dags}/{dag}", "TaskOperator", width=1000, height=680)
    camera.page.click("[data-testid=trigger-dag-button]")
    camera.wait_for("recipe_run_id")
    camera.page.click("[name=element_recipe_run_id]")
    camera.page.call("Input.insertText", text=str(RECIPE_RUN))
    camera.wait_for("recipe_run_id")
    camera.take("airflow_trigger", "[role=dialog][data-state=open]")


def draw_graphs() -> None:
    """Draw the Graphviz graphs, if Graphviz is installed."""
    for source in IMAGES.glob("*.dot"):
        picture = source.with_suffix(".svg")
        if shutil.which("dot"):
            subprocess.run(["dot", "-Tsvg", "-o", picture, source], check=True)
            done(picture)
        else:
            say(f"{picture.relative_to(ROOT)} stays as it is: Graphviz is not installed (apt-get install graphviz)")


def main() -> None:
    """Create all pictures."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    draw_graphs()
    stage = Stage(ROOT / ".build" / "pictures")
    with stage.alone(), tempfile.TemporaryDirectory() as temporary:
        shutil.rmtree(stage.airflow, ignore_errors=True)  # the pages show no earlier runs
        prepare(stage)
        folder = Path(temporary)
        names = {
            folder: "~",
            stage.folder: "/srv/dkist",
            sys.prefix: "/opt/airflow",
            ROOT: "/opt/dkist-processing-core",
            tempfile.gettempdir(): "/tmp",
        }
        report = run_with_a_mistake(stage, folder)
        (folder / "browser").mkdir()
        with browser(folder / "browser") as page:
            camera = Camera(page, names)
            camera.open(report, "Timeline", height=900)
            camera.take("run_report")
            [port] = free_ports(1)
            password = secrets.token_urlsafe(12)
            with Components(stage.environment(), stage.logs, port, password=password) as components:
                visit_airflow(components.log_in(), stage, camera)


if __name__ == "__main__":
    main()
