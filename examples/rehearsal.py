"""
Upgrade a site from the published library to this one, and go back, on this machine.

``make rehearsal`` runs it: a cluster of Airflow with Celery, PostgreSQL and RabbitMQ that has run releases with 7.5.0
is upgraded to the library of this checkout, taken back to 7.5.0, and upgraded again. Each step prints what it finds,
and ends the rehearsal if this is not as expected. The output becomes the transcript in the documentation, which is
written at the end. Everything that it makes is in ``.build/rehearsal``.
"""

import contextlib
import secrets
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from demo_support.console import Console, shown
from demo_support.stage import ROOT

sys.path.insert(0, str(ROOT / "tests"))
from packaging.version import Version
from rehearsal_support.history import History, Run
from rehearsal_support.releases import PUBLISHED, RELEASES, Releases
from rehearsal_support.site import DRAIN_SECONDS, Site
from rehearsal_support.transcript import STEPS, RehearsalError, Transcript
from support import postgresql, rabbitmq
from support.components import ComponentError
from support.matrix.environments import NoPythonError
from support.ports import free_ports
from support.releases import VERSION
from support.waiting import wait_until

from dkist_processing_core.validation.airflow import Airflow

TRANSCRIPT = ROOT / "docs" / "how-to" / "rehearsal.txt"
OLD, NEW = (
    [f"l0_to_l1_{name}_{version}" for (name, version), (_, library) in RELEASES.items() if library == which]
    for which in (PUBLISHED, VERSION)
)
ONE_0, ONE_1, TWO = OLD
NEW_ONE, NEW_TWO = NEW
EVERY = sorted(OLD + NEW)
OURS = f"dkist-processing-core[airflow]=={VERSION}"


class Rehearsal:
    """
    The steps.

    Parameters
    ----------
    folder
        Where everything is.
    transcript
        Gets what is done and found.
    """

    def __init__(self, folder: Path, transcript: Transcript) -> None:
        self.folder, self.transcript = folder, transcript
        self.dags, self.facts = folder / "dags", folder / "facts"
        for each in (self.dags, self.facts):
            each.mkdir(parents=True)
        transcript.names[VERSION] = Version(VERSION).base_version
        self.password = secrets.token_urlsafe(12)

    def run(self) -> None:
        """Do all steps."""
        with contextlib.ExitStack() as stack:
            with self.transcript.step(STEPS[0]):
                self.releases = Releases(self.folder / "releases")
                self.export(PUBLISHED)
                self.site = stack.enter_context(self.new_site())
                self.runs = History(self.site, self.transcript)
                self.make_history()
            steps = (self.upgrade, self.use_old, self.use_new, self.look, self.go_back, self.upgrade_again)
            for title, step in zip(STEPS[1:], steps, strict=True):
                with self.transcript.step(title):
                    step()

    def new_site(self) -> Site:
        """Return the site with the published library."""
        environment = Airflow(self.folder / "airflow", self.dags, {"FACTS": str(self.facts)}).environment
        environment.pop("VIRTUAL_ENV", None)
        port = free_ports(1)[0]
        return Site(environment, self.releases, port, password=self.password, transcript=self.transcript)

    def export(self, library: str) -> None:
        """Export the releases that are frozen with a library, and deploy their files."""
        which = [release for release, (_, each) in RELEASES.items() if each == library]
        with ThreadPoolExecutor() as threads:
            exported = threads.map(lambda release: self.releases.export(*release, self.dags), which)
            for (name, version), files in zip(which, exported, strict=True):
                self.transcript.say(f"CI exports instrument-{name} {version} with {library}: {', '.join(files)}")

    def make_history(self) -> None:
        """Run old releases, and leave some runs unfinished."""
        airflow = self.site.version("scheduler", "apache-airflow")
        self.transcript.say(f"Airflow {airflow} with {PUBLISHED}: started")
        for dag_id in OLD:
            self.runs.api.wait_for_dag(dag_id)
            self.runs.pause(dag_id, is_paused=False)  # as they begin, unless Airflow's configuration says otherwise
        (self.facts / "3.hold").touch()
        good, bad, self.middle = (self.runs.trigger(*each) for each in ((ONE_0, 1), (TWO, 2), (ONE_1, 3)))
        self.runs.expect(good, PUBLISHED)
        self.runs.expect(bad, PUBLISHED)
        self.runs.pause(ONE_0, is_paused=True)
        self.paused = self.runs.trigger(ONE_0, 4)
        self.waiting = self.wait_for_worker(TWO, 5)
        wait_until((self.facts / "3.began").exists, "not begun", seconds=DRAIN_SECONDS, interval=1)
        expect = self.transcript.expect
        expect(f"recipe run 3 of {ONE_1}: its first task runs", self.runs.state(self.middle, "Dark"), "running")
        expect(f"recipe run 4 of {ONE_0}: queued, since the DAG is paused", self.runs.state(self.paused), "queued")
        self.versions = self.runs.dag_versions(OLD)
        expect("one version of each DAG", self.versions, dict.fromkeys(OLD, 1))

    def upgrade(self) -> None:
        """Upgrade for the first time, after a backup."""
        self.site.stop_in_order(while_draining=lambda: (self.facts / "3.hold").unlink(missing_ok=True))
        self.site.back_up()
        self.install(OURS)

    def install(self, requirement: str) -> None:
        """Install another release of the library, and start; the old files are then parsed with it."""
        began = datetime.now(UTC).isoformat()
        self.site.install(requirement)
        self.site.start_in_order()
        self.runs.wait_until_parsed(OLD, began)

    def use_old(self) -> None:
        """Check the history, and let the unfinished runs end."""
        self.runs.expect_all()
        self.transcript.expect("no import error", self.runs.import_errors(), {})
        self.transcript.expect("no DAG has a new version", self.runs.dag_versions(OLD), self.versions)
        self.runs.pause(ONE_0, is_paused=False)
        for run in (self.middle, self.paused, self.waiting):
            self.runs.expect(run, PUBLISHED)

    def use_new(self) -> None:
        """Deploy releases that were exported with this library, and run them."""
        self.export(VERSION)
        for dag_id in NEW:
            self.runs.api.wait_for_dag(dag_id)
        self.run_all((NEW_ONE, 6), (NEW_TWO, 7), library=VERSION)
        self.transcript.expect(f"Airflow offers all side by side: {', '.join(EVERY)}", self.runs.active(), EVERY)
        self.transcript.expect("no import error", self.runs.import_errors(), {})

    def run_all(self, *which: tuple[str, int], library: str) -> None:
        """Run some DAGs at the same time."""
        for run in [self.runs.trigger(*each) for each in which]:
            self.runs.expect(run, library)

    def look(self) -> None:
        """List the deployed releases, and check each machine with doctor."""
        self.site.operate("dags", "list", "--dags", str(self.dags))
        self.site.examine()

    def go_back(self) -> None:
        """Take a new release out as the guide says, leave another one where it is, and install 7.5.0."""
        expect = self.transcript.expect
        self.move("retire")
        self.site.operate("messages", "list", "--spool", str(self.site.spool("worker-a")))
        self.in_queue = self.wait_for_worker(NEW_TWO, 8)
        self.runs.pause(NEW_TWO, is_paused=True)
        self.left = self.runs.trigger(NEW_TWO, 9)
        self.site.stop_in_order()
        self.install(f"dkist-processing-core=={PUBLISHED}")
        wait_until(self.runs.import_errors, "the file of the new release has no import error", interval=1)
        error = "ModuleNotFoundError: No module named 'dkist_processing_core.scheduling'"
        expect(f"{NEW_TWO}: {error}", self.runs.import_errors(), {f"{NEW_TWO}.py": error})
        expect(f"Airflow offers the old DAGs alone: {', '.join(OLD)}", self.runs.active(), OLD)
        expect(f"it refuses to run {NEW_TWO}", self.runs.refusal(NEW_TWO), 404)
        self.run_all((ONE_0, 10), (TWO, 11), library=PUBLISHED)
        expect(f"recipe run 9 of {NEW_TWO}: queued", self.runs.state(self.left), "queued")
        # Airflow puts off what a worker cannot load, and goes on once the scheduler knows the DAG again.
        self.runs.wait_for_task(self.in_queue, "up_for_reschedule")
        expect(f"recipe run 8 of {NEW_TWO}: running, its task is put off", self.runs.state(self.in_queue), "running")
        self.runs.expect_messages(self.in_queue, [])
        self.runs.expect_all()

    def wait_for_worker(self, dag_id: str, number: int) -> Run:
        """Stop the worker of a DAG, and start a run, whose task then waits in Celery's queue."""
        self.site.stop("worker-b", DRAIN_SECONDS)
        run = self.runs.trigger(dag_id, number)
        self.runs.wait_for_task(run, "queued")
        self.transcript.say(f"recipe run {number} of {dag_id}: worker-b is stopped, the task waits in Celery's queue")
        return run

    def move(self, verb: str) -> None:
        """Take a new release out of the DAG folder, or bring it back."""
        options = ["--dags", str(self.dags), "--airflow", self.site.address]
        self.site.operate("dags", verb, "instrument-one==2.0", *options, AIRFLOW_CLI_TOKEN=f"admin:{self.password}")

    def upgrade_again(self) -> None:
        """Install this library once more, and bring the new release back."""
        self.site.stop_in_order()
        self.install(OURS)
        self.move("restore")
        for dag_id in NEW:
            self.runs.api.wait_for_dag(dag_id)
        wait_until(lambda: self.runs.active() == EVERY, lambda: f"active: {self.runs.active()}", interval=1)
        self.transcript.expect("no import error", self.runs.import_errors(), {})
        self.runs.pause(NEW_TWO, is_paused=False)
        self.runs.expect(self.in_queue, VERSION)
        self.runs.expect(self.left, VERSION)
        self.run_all((NEW_ONE, 12), library=VERSION)
        self.runs.expect_all()
        found = self.runs.dag_versions(EVERY)
        self.transcript.expect("still one version of each DAG", found, dict.fromkeys(EVERY, 1))


def main() -> int:
    """Run the rehearsal and return the exit status."""
    folder = ROOT / ".build" / "rehearsal"
    console = Console(steps=len(STEPS))
    transcript = Transcript(console)

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    began = time.monotonic()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        Rehearsal(folder, transcript).run()
    except (
        AssertionError,
        ComponentError,
        NoPythonError,
        RehearsalError,
        postgresql.UnavailableError,
        rabbitmq.UnavailableError,
    ) as error:
        console.say(f"\nERROR: {error}", "red")
        return 1
    except KeyboardInterrupt:
        console.say("\nThe site and everything that it had started has ended.")
        return 128 + signal.SIGINT
    TRANSCRIPT.write_text(transcript.text, encoding="utf-8")
    console.say(f"\nThe rehearsal took {time.monotonic() - began:.0f} s. Its transcript is {shown(TRANSCRIPT)}", "bold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
