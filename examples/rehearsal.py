"""
The upgrade of a site from the published library to this one, and back, on this machine.

``make rehearsal`` runs it: a cluster of Airflow with Celery, PostgreSQL and RabbitMQ that has run releases with 7.5.0
is upgraded to the library of this checkout, taken back to 7.5.0, and upgraded again. Each step says what it has found,
and ends the rehearsal if that is not what has to be. What it says is the transcript in the documentation, which is
written at the end. Everything that it makes is in ``.build/rehearsal``.
"""

import contextlib
import secrets
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from demo_support.console import Console, shown

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from packaging.version import Version
from rehearsal_support.history import History, Run
from rehearsal_support.releases import PUBLISHED, RELEASES, Releases
from rehearsal_support.site import Site
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
SHOWN_VERSION = Version(VERSION).base_version


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
        self.folder, self.transcript, self.dags = folder, transcript, folder / "dags"
        for each in (self.dags, folder / "facts"):
            each.mkdir(parents=True)
        transcript.names[VERSION] = SHOWN_VERSION
        transcript.console.detail("building the releases and their index")
        self.releases = Releases(folder / "releases")
        self._now = ""

    @contextlib.contextmanager
    def site(self):
        """Make the site and start it; at the end nothing of it runs."""
        environment = Airflow(self.folder / "airflow", self.dags, {"FACTS": str(self.folder / "facts")}).environment
        environment.pop("VIRTUAL_ENV", None)
        password, port = secrets.token_urlsafe(12), free_ports(1)[0]
        with Site(self.folder, environment, self.releases, port, password=password, transcript=self.transcript) as site:
            self.runs = History(site, self.transcript)
            self.operator = {"AIRFLOW_CLI_TOKEN": f"admin:{password}"}
            yield site

    def run(self) -> None:
        """Do all steps."""
        say, expect = self.transcript.say, self.transcript.expect
        with self.transcript.step(STEPS[0]):
            self.export(PUBLISHED)
            site = self._stack.enter_context(self.site())
            say(f"Airflow {site.version('scheduler', 'apache-airflow')} with {PUBLISHED}: started")
            for dag_id in OLD:
                self.runs.api.wait_for_dag(dag_id)
            (self.folder / "facts" / "3.hold").touch()
            first = [self.runs.trigger(dag_id, number) for dag_id, number in ((ONE_0, 1), (TWO, 2), (ONE_1, 3))]
            for each in first[:2]:
                self.runs.expect(each, PUBLISHED)
            self.middle, (self.paused, self.waiting) = first[2], self.prepare(site, first[2])
            self.versions = self.runs.dag_versions(OLD)
            expect("Airflow has one version of each DAG", self.versions, dict.fromkeys(OLD, 1))
        with self.transcript.step(STEPS[1]):
            site.stop_in_order(while_draining=lambda: (self.folder / "facts" / "3.hold").unlink(missing_ok=True))
            site.back_up()
            self.check_backup(site)
            self.upgrade(site)
        with self.transcript.step(STEPS[2]):
            self.runs.expect_all()
            expect("no import error", self.runs.import_errors(), {})
            expect("no DAG has a new version", self.runs.dag_versions(OLD), self.versions)
            self.runs.expect(self.middle, PUBLISHED, "in the middle during the upgrade")
            self.runs.expect(self.waiting, PUBLISHED, "in a queue of Celery during the upgrade")
            status, _ = self.runs.api.call("PATCH", f"/api/v2/dags/{ONE_0}", {"is_paused": False})
            expect(f"{ONE_0} is unpaused", status, 200)
            self.runs.expect(self.paused, PUBLISHED, "of a DAG that was paused during the upgrade")
        with self.transcript.step(STEPS[3]):
            self.export(VERSION)
            for dag_id in NEW:
                self.runs.api.wait_for_dag(dag_id)
            for each in [self.runs.trigger(NEW[0], 6), self.runs.trigger(NEW[1], 7)]:
                self.runs.expect(each, VERSION)
            active = [each["dag_id"] for each in self.runs.api.call("GET", "/api/v2/dags")[1]["dags"]]
            expect(f"active side by side: {', '.join(active)}", active, sorted(OLD + NEW))
            expect("no import error", self.runs.import_errors(), {})
        with self.transcript.step(STEPS[4]):
            listed = site.run("scheduler", "dkist-processing-core", "dags", "list", "--dags", str(self.dags))
            self.transcript.command(f"dkist-processing-core dags list --dags {self.dags}", listed)
            for name, place in (("worker-a", "worker"), ("worker-b", "worker"), ("dag-processor", "dag-processor")):
                report = site.run(name, "dkist-processing-core", "doctor", "--on", place)
                counts = {
                    s: sum(line.startswith(s + " ") for line in report.splitlines())
                    for s in ("ok", "warning", "failed")
                }
                self.transcript.command(f"dkist-processing-core doctor --on {place}    # {name}", str(counts))
                sys.stderr.write(report)
        with self.transcript.step(STEPS[5]):
            self.go_back(site)
        with self.transcript.step(STEPS[6]):
            site.stop_in_order()
            self.upgrade(site)
            command = ["dags", "restore", "instrument-one==2.0", "--dags", str(self.dags)]
            command += ["--airflow", site.address]
            output = site.run("scheduler", "dkist-processing-core", *command, **self.operator)
            self.transcript.command(f"dkist-processing-core {' '.join(command)}", output)
            self.runs.wait_until_parsed(NEW, self._now)
            expect("no import error", self.runs.import_errors(), {})
            for each in [self.runs.trigger(NEW[0], 10), self.runs.trigger(NEW[1], 11)]:
                self.runs.expect(each, VERSION)
            self.runs.expect_all()
            expect("DAG versions", self.runs.dag_versions(OLD + NEW), dict.fromkeys(OLD + NEW, 1))

    def export(self, library: str) -> None:
        """Export the releases that are frozen with a library, and deploy their files."""
        for (name, version), (_, each) in RELEASES.items():
            if each == library:
                files = ", ".join(self.releases.export(name, version, self.dags))
                self.transcript.say(f"CI exports instrument-{name} {version} with {library}: {files}")

    def prepare(self, site: Site, middle: Run) -> tuple[Run, Run]:
        """Start what is under way during the upgrade: a running task, a paused DAG, and a task in Celery's queue."""
        facts = self.folder / "facts"
        self.runs.api.call("PATCH", f"/api/v2/dags/{ONE_0}", {"is_paused": True})
        paused = self.runs.trigger(ONE_0, 4)
        site.stop("worker-b", 600)
        waiting = self.runs.trigger(TWO, 5)
        wait_until(lambda: self.runs.state(waiting, "Check") == "queued", "not queued", interval=1)
        wait_until(lambda: (facts / "3.began").exists(), "not begun", seconds=900, interval=1)
        found = [self.runs.state(middle, "Dark"), self.runs.state(paused), self.runs.state(waiting, "Check")]
        text = (
            "under way: recipe run 3 runs its first task, 4 is queued in a paused DAG, the task of 5 waits for a worker"
        )
        self.transcript.expect(text, found, ["running", "queued", "queued"])
        return paused, waiting

    def check_backup(self, site: Site) -> None:
        """Restore the copy of the database beside the database."""
        site.postgresql.restore(site.backups / "airflow.sql", "restored")
        counts = [
            [site.postgresql.query(f"SELECT count(*) FROM {table}", database) for table in ("dag_run", "task_instance")]
            for database in ("airflow", "restored")
        ]
        self.transcript.expect("the copy can be restored, with all runs and task instances", counts[1], counts[0])

    def upgrade(self, site: Site) -> None:
        """Install this library and start."""
        [wheel] = self.releases.index.glob(f"dkist_processing_core-{VERSION}-*.whl")
        airflow = site.version("scheduler", "apache-airflow")
        site.install(f"dkist-processing-core[airflow]=={VERSION}", f"dkist-processing-core[airflow]=={VERSION}")
        for kind in site.programs:
            found = site.version(kind, "dkist-processing-core"), site.version(kind, "apache-airflow")
            self.transcript.expect(f"/opt/{kind}: {' and Airflow '.join(found)}", found, (VERSION, airflow))
        self._now = datetime.now(UTC).isoformat()
        site.start_in_order()
        self.runs.wait_until_parsed(OLD, self._now)

    def go_back(self, site: Site) -> None:
        """Take a new release back as the guide says, leave another one where it is, and install 7.5.0."""
        say, expect = self.transcript.say, self.transcript.expect
        command = ["dags", "retire", "instrument-one==2.0", "--dags", str(self.dags), "--airflow", site.address]
        output = site.run("scheduler", "dkist-processing-core", *command, **self.operator)
        self.transcript.command(f"dkist-processing-core {' '.join(command)}", output)
        say("instrument-two 2.0 is left where it is, to see what happens")
        site.stop_in_order()
        site.install(f"dkist-processing-core=={PUBLISHED}", f"dkist-processing-core=={PUBLISHED}")
        self._now = datetime.now(UTC).isoformat()
        site.start_in_order()
        self.runs.wait_until_parsed(OLD, self._now)
        wait_until(self.runs.import_errors, "the new file has no import error", interval=1)
        say(str(self.runs.import_errors()))
        for each in [self.runs.trigger(ONE_0, 8), self.runs.trigger(TWO, 9)]:
            self.runs.expect(each, PUBLISHED)
        status, left = self.runs.api.call(
            "POST", f"/api/v2/dags/{NEW[1]}/dagRuns", {"logical_date": None, "conf": {"recipe_run_id": 99}}
        )
        say(f"trigger of {NEW[1]}: {status} {left}")
        if status == 200:
            time.sleep(60)
            address = f"/api/v2/dags/{NEW[1]}/dagRuns/{left['dag_run_id']}"
            say(str(self.runs.api.call("GET", address)))
            say(str(self.runs.api.call("GET", f"{address}/taskInstances")))
            say(str(self.runs._of(Run(NEW[1], 99, address))))
        self.runs.expect_all()


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
        with contextlib.ExitStack() as stack:
            rehearsal = Rehearsal(folder, transcript)
            rehearsal._stack = stack
            rehearsal.run()
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
    TRANSCRIPT.write_text(transcript.text, encoding="utf-8")
    console.say(f"\nThe rehearsal took {time.monotonic() - began:.0f} s. Its transcript is {shown(TRANSCRIPT)}", "bold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
