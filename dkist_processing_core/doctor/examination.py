"""
Run the checks of a machine at the same time, each within its time limit.

Runs in: worker, the machine of the DAG processor, CI. A check that depends on another one runs after it, and does not
run if that one has failed. So one fault of a machine is one failure in the report.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dkist_processing_core.common.programs import family, send_signal
from dkist_processing_core.common.redaction import REDACTED, is_secret_name, redactor
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import CheckError, Finding, Line, Report, Status

__all__ = ["SECONDS", "Check", "examine"]

SECONDS = 10.0
END_SECONDS, POLL_SECONDS = 2.0, 0.05
SHORTEST_SECRET = 4
PUBLIC = frozenset({"guest"})  # RabbitMQ's default password is also a word in its messages
PREVENTING = frozenset({Status.FAILED, Status.NOT_CHECKED})


@dataclass(frozen=True)
class Check:
    """One check: its name, where it is needed, its function, its time limit, and the checks that it depends on."""

    name: str
    places: frozenset[Place]
    function: Callable[[Machine], Finding]
    seconds: float = SECONDS
    after: tuple[str, ...] = ()


@dataclass
class _Examined:
    check: Check
    is_done: threading.Event = field(default_factory=threading.Event)
    finding: Finding = field(default_factory=lambda: Finding.not_checked(""))


def examine(machine: Machine, checks: Sequence[Check]) -> Report:
    """Run all checks that the place of a machine needs, and return their findings in the order of the checks."""
    needed = {each.name: _Examined(each) for each in checks if machine.place in each.places}
    for each in needed.values():
        threading.Thread(target=_supervise, args=(each, needed, machine), daemon=True).start()
    try:
        for each in needed.values():
            each.is_done.wait()  # every check has a time limit
    except BaseException:  # a Ctrl-C
        _end(needed.values())
        raise
    redact = _redactor()
    lines = []
    for check in checks:
        if examined := needed.get(check.name):
            status, found, remedy = examined.finding
        else:
            status, found, remedy = Finding.not_needed(f"on {_article(machine.place)}")
        lines.append(Line(check.name, status, *(_one_line(redact(text)) for text in (found, remedy))))
    return Report(machine.place, tuple(lines))


def _supervise(examined: _Examined, others: Mapping[str, _Examined], machine: Machine) -> None:
    before = [others[name] for name in examined.check.after if name in others]
    for each in before:
        each.is_done.wait()
    try:
        if failed := [each.check.name for each in before if _prevents(each.finding, examined.check)]:
            examined.finding = Finding.not_checked(f"see {failed[0]}")
        else:
            _make(examined, machine)
    except RuntimeError as error:  # no thread can be started
        remedy = "Raise the limit on the processes of this user (ulimit -u)."
        examined.finding = Finding.failed(f"the check could not be run: {error}", remedy)
    finally:
        examined.is_done.set()


def _end(checks: Iterable[_Examined]) -> None:
    """Kill the programs that the checks have started, so that the checks end and remove their temporary files."""
    deadline = time.monotonic() + END_SECONDS
    while not all(each.is_done.is_set() for each in checks) and time.monotonic() < deadline:
        send_signal(signal.SIGKILL, *(family(os.getpid()) - {os.getpid()}))
        time.sleep(POLL_SECONDS)


def _prevents(finding: Finding, check: Check) -> bool:
    # A check may leave it to a later one to report the problem that prevents both.
    return finding.status in PREVENTING and finding.found != f"see {check.name}"


def _make(examined: _Examined, machine: Machine) -> None:
    check = examined.check
    found: list[Finding] = []

    def call() -> None:
        try:
            found.append(check.function(machine))
        except CheckError as error:
            found.append(error.finding)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            found.append(Finding.failed(f"the check itself failed: {what}", "Please report this, with this line."))

    # A daemon thread, which is left behind if it does not return.
    thread = threading.Thread(target=call, name=f"dkist-check-{check.name}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    too_long = f"no answer within {check.seconds:g} s"
    remedy = "Find the server or the disk that does not answer; each task would wait for it as well."
    examined.finding = found[0] if found else Finding.failed(too_long, remedy)


def _redactor() -> Callable[[str], str]:
    """Return a function that redacts every secret in the environment variables of this process."""
    redact_urls = redactor()
    secrets = sorted(
        {
            value
            for name, value in os.environ.items()
            if is_secret_name(name) and len(value) >= SHORTEST_SECRET and value not in PUBLIC
        },
        key=len,
        reverse=True,
    )

    def redact(text: str) -> str:
        text = redact_urls(text)
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        return text

    return redact


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _article(place: Place) -> str:
    return place.value if place is Place.CI else f"a {place.value.replace('dag-', 'DAG ')}"
