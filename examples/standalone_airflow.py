"""
Run the workflows of the example in a real Airflow with its scheduler and web pages, on this machine.

``make airflow`` runs it until Ctrl-C. It uses what ``make demo`` makes, in ``.build/demo``, and makes what is missing.
The components are those of ``airflow standalone``. They are started one by one, so that all of them listen on 127.0.0.1
only, and all of them end with all tasks when this program ends.
"""

import argparse
import os
import secrets
import signal
import sys
import time
from pathlib import Path

from demo_support.processes import DemoError
from demo_support.stage import ROOT, Stage

sys.path.insert(0, str(ROOT / "tests"))
from support.components import USER, ComponentError, Components
from support.ports import free_port

USUAL_PORT = 8080


def say(text: str) -> None:
    """Print a text at once, also to a file or a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def prepare(stage: Stage) -> list[str]:
    """Make what is missing, and return the exported files."""
    say("Building the library and the example, exporting the workflows, setting up Airflow ...")
    stage.build_wheels()
    stage.make_author_environment()
    files = list(stage.export()["files"])
    stage.make_database()
    return files


def serve(stage: Stage, port: int) -> None:
    """Make what is missing, start Airflow, say where it is, and let it run until an exception ends it."""
    files = prepare(stage)
    say("Starting Airflow ...")
    password = secrets.token_urlsafe(12)
    with Components(stage.environment(), stage.logs, free_port(port), password=password) as components:
        say(f"\n  Airflow      {components.address}\n  user         {USER}\n  password     {password}")
        say("  workflows    " + ", ".join(Path(file).stem for file in files))
        say(f"  logs         {os.path.relpath(stage.logs)}")
        say("\nTrigger a workflow with a recipe_run_id, a positive number. Ctrl-C ends Airflow and its tasks.\n")
        while True:
            components.check()
            time.sleep(1)


def main() -> int:
    """Run Airflow until it is interrupted, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where everything is kept, .build/demo by default")
    parser.add_argument("--port", type=int, default=USUAL_PORT, help="of the web pages; another if it is not free")
    options = parser.parse_args()

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    try:
        stage = Stage(options.folder)
        with stage.alone():
            serve(stage, options.port)
    except (DemoError, ComponentError) as error:
        say(f"\nERROR: {error}")
        return 1
    except KeyboardInterrupt:
        say("\nAirflow and everything that it had started has ended.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
