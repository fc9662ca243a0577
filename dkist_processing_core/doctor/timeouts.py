"""
Check the time-outs of this library, Airflow and systemd that depend on each other, as far as this machine knows them.

Runs in: worker, the machine of the DAG processor. The documentation has a table of all of them.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import Finding
from dkist_processing_core.worker.request import grace_seconds

__all__ = ["check_time_outs", "parse_timespan"]

# How long the end of a task may take beyond the grace period: to kill it, and to send its telemetry, its log, and its
# failure message.
KILL, TELEMETRY, LOG, CALLBACK = 5, 3, 3, 10
DAY = 86400.0
CGROUP = Path("/proc/self/cgroup")
OF_RABBITMQ = frozenset({"amqp", "amqps", "pyamqp"})
# Celery's brokers that redeliver a message after a time, even if the first worker is still working on it.
WITH_VISIBILITY = frozenset({"redis", "rediss", "sentinel", "sqs"})
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": DAY, "w": 7 * DAY, "month": 30.44 * DAY}
SYSTEMCTL_SECONDS = 5.0


class Order(NamedTuple):
    """A time that must be shorter than another one, and the setting that corrects it."""

    what: str
    seconds: float
    limit_name: str
    limit: float
    remedy: str


def check_time_outs(machine: Machine) -> Finding:
    """Check the order of the time-outs that are known on this machine."""
    orders = list(_orders(machine))
    wrong = [each for each in orders if not each.seconds < each.limit]
    if wrong:
        found = "; ".join(
            f"{each.what}, {each.seconds:g} s, must be less than {each.limit_name}, {each.limit:g} s" for each in wrong
        )
        return Finding.failed(found, "; ".join(each.remedy for each in wrong))
    shown = [f"{each.what} {each.seconds:g} s < {each.limit_name} {each.limit:g} s" for each in orders]
    if machine.airflow.get("broker") in OF_RABBITMQ:
        shown.append("consumer_timeout of RabbitMQ cannot be read from here")
    return _visibility(machine) or Finding.ok("; ".join(shown) or "none of them is known here")


def _orders(machine: Machine) -> Iterator[Order]:
    if machine.place is Place.DAG_PROCESSOR:
        yield from _of_dag_processor(machine)
        return
    grace = grace_seconds(machine.variables)
    cleanup = _option(machine, "[core] killed_task_cleanup_time")
    # Airflow 3 has the option, but its supervisor ignores it.
    if cleanup is not None and str(machine.airflow.get("version")).startswith("2."):
        remedy = f"export AIRFLOW__CORE__KILLED_TASK_CLEANUP_TIME={grace + 50}"
        yield Order("DKIST_GRACE_SECONDS", grace, "[core] killed_task_cleanup_time", cleanup, remedy)
    interval = _option(machine, "[workers] min_heartbeat_interval")
    failures = _option(machine, "[workers] max_failed_heartbeats")
    lost = _option(machine, "[scheduler] task_instance_heartbeat_timeout")
    if interval is not None and failures is not None and lost is not None:
        seconds = interval * failures + grace
        yield Order(
            "[workers] min_heartbeat_interval * max_failed_heartbeats + DKIST_GRACE_SECONDS",
            seconds,
            "[scheduler] task_instance_heartbeat_timeout",
            lost,
            f"export AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT={2 * seconds:.0f}, on each machine of Airflow",
        )
    if (stop := _stop_seconds()) is not None:
        # deploy/worker.sh waits this long before it ends the tasks.
        drain = int(text) if (text := os.environ.get("DKIST_DRAIN_SECONDS", "")).isdecimal() else 0
        needed = drain + grace + KILL + TELEMETRY + LOG + CALLBACK
        what = "DKIST_DRAIN_SECONDS and the end of a task" if drain else "the end of a task"
        yield Order(what, needed, "TimeoutStopSec of the unit", stop, f"TimeoutStopSec={drain + 2 * (needed - drain)}")


def _of_dag_processor(machine: Machine) -> Iterator[Order]:
    to_import = _option(machine, "[core] dagbag_import_timeout")
    section = "dag_processor" if _option(machine, "[dag_processor] dag_file_processor_timeout") else "core"
    name = f"[{section}] dag_file_processor_timeout"
    to_process = _option(machine, name)
    if to_import is not None and to_process is not None:
        seconds = to_import + CALLBACK
        variable = f"AIRFLOW__{section.upper()}__DAG_FILE_PROCESSOR_TIMEOUT"
        remedy = f"export {variable}={to_import + 2 * CALLBACK:.0f}"
        yield Order("[core] dagbag_import_timeout + 10 s of a failure message", seconds, name, to_process, remedy)


def _visibility(machine: Machine) -> Finding | None:
    if machine.place is Place.DAG_PROCESSOR or machine.airflow.get("broker") not in WITH_VISIBILITY:
        return None
    name = "[celery_broker_transport_options] visibility_timeout"
    seconds = _option(machine, name)
    if seconds is None or seconds >= DAY:  # Airflow's default is a day
        return None
    return Finding.warning(
        f"{name} is {seconds:g} s; a task that takes longer is also given to another worker",
        f"export AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT={DAY:.0f}, or more than the longest task",
    )


def _option(machine: Machine, name: str) -> float | None:
    try:
        return float(machine.airflow[name])
    except (KeyError, TypeError, ValueError):
        return None


def _stop_seconds() -> float | None:
    """Return how long systemd waits before it kills the remaining processes of the unit of this process."""
    if "INVOCATION_ID" not in os.environ:  # systemd.exec(5)
        return None
    units = re.findall(r"[^/\n]+\.service(?=/|$)", CGROUP.read_text(encoding="utf-8"), re.MULTILINE)
    if not units:
        return None
    command = ["systemctl", "show", "--property=TimeoutStopUSec", "--value", units[-1]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=True)  # noqa: S603 - ours
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_timespan(done.stdout.strip())


def parse_timespan(text: str) -> float | None:
    """Return the seconds of a time span of systemd.time(7), such as ``1min 30s``; None if it is not one."""
    if text == "infinity":
        return float("inf")
    parts = re.findall(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month)(?= |$)", text)
    return sum(float(number) * UNITS[unit] for number, unit in parts) if parts else None
