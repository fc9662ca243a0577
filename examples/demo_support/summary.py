"""The summary of the demo: what ran, the message, what was made, and what the next run reuses."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo_support.console import Console, shown
from demo_support.outcome import FAILING, FAILING_TASK, GOOD, Outcome
from demo_support.stage import Kept
from demo_support.timeline import Task

__all__ = ["made_or_reused", "summarise"]

ERROR_LINES = 1
RUN_RECORD = "the last run that made something"


def summarise(console: Console, outcome: Outcome, *, problems: Sequence[str], seconds: float) -> None:
    """
    Print the summary.

    Parameters
    ----------
    console
        Where to show it.
    outcome
        The results of the demo.
    problems
        What is wrong with it.
    seconds
        How long the whole demo took.
    """
    _show_tasks(console, outcome)
    _show_messages(console, outcome)
    _show_products(console, outcome)
    _show_what_is_kept(console, outcome, seconds, is_good=not problems)
    console.say()
    for problem in problems:
        console.paragraph(f"ERROR: {problem}", "red")
    if not problems:
        console.paragraph(
            f"All is as it should be: {GOOD} succeeded, {FAILING} failed at {FAILING_TASK} as it is meant to, and "
            "exactly one message reports it.",
            "green",
        )


def made_or_reused(kept: Kept) -> str:
    """Say whether something was made or reused, and how long it took or had taken."""
    return f"made in {kept.seconds:.1f} s" if kept.is_new else f"reused; it took {kept.seconds:.1f} s to make"


def _show_tasks(console: Console, outcome: Outcome) -> None:
    console.heading("What ran")
    groups = []
    for run in outcome.timeline.runs.values():
        rows = [
            [f"  {task.name}", task.state, "-" if task.seconds is None else f"{task.seconds:.1f} s", task.how]
            for task in run.tasks.values()
        ]
        groups.append((f"{run.dag_id}, recipe run {run.recipe_run_id}: {run.state}", rows))
    console.table(["task", "state", "duration", "environment"], groups)
    console.paragraph("duration: from the first to the last line of the worker program", "faint", indent="  ")


def _show_messages(console: Console, outcome: Outcome) -> None:
    for message in outcome.messages:
        console.heading("The message about the failure, as it went out")
        console.say(f"  from {message['from']}")
        for key in ("routing_key", "queue", "message_id"):
            console.say(f"  {key + ':':<13}{message[key]}", "faint")
        body = dict(message["body"])
        # The error has many lines, which are one in JSON.
        error = body.pop("error", None) or ""
        for line in json.dumps(body, indent=2).splitlines():
            console.say(f"  {line}")
        console.say("  error, which has more lines than this last one:")
        for line in error.splitlines()[-ERROR_LINES:]:
            console.paragraph(line.strip(), "faint", indent="    ")


def _show_products(console: Console, outcome: Outcome) -> None:
    console.heading("What was made")
    console.say(f"  {shown(outcome.folder)}")
    raw = list(outcome.folder.glob("raw/*.fits"))
    size = sum(file.stat().st_size for file in raw)
    console.say(f"    raw/*.fits: {len(raw)} frames of the simulated camera, {size / 1e6:.0f} MB", "faint")
    for file in outcome.fits_files:
        console.say(f"    {file.relative_to(outcome.folder)}, {file.stat().st_size / 1e6:.1f} MB")
    console.say(f"  Look at {console.styled(shown(outcome.preview), 'bold', 'cyan')}")


def _show_what_is_kept(console: Console, outcome: Outcome, seconds: float, *, is_good: bool) -> None:
    kept = [*outcome.stage.kept, *_environments(outcome)]
    reused, new = [each for each in kept if not each.is_new], [each for each in kept if each.is_new]
    # After a run that went wrong it is not known what is still needed.
    removed = outcome.stage.tidy({task.environment for task in _tasks(outcome)}) if is_good else 0
    console.heading(f"{seconds:.1f} s in all")
    if reused:
        before = outcome.stage.recorded_seconds(RUN_RECORD, "")
        instead = f" The last run that made anything took {before:.1f} s in all." if before and not new else ""
        console.paragraph(
            f"Reused from an earlier run: {_listed(reused)}, which took {_total(reused):.1f} s to make then.{instead}",
            indent="  ",
        )
    if new:
        outcome.stage.record(RUN_RECORD, "", seconds)
        console.paragraph(
            f"Made in this run: {_listed(new)}, in {_total(new):.1f} s of the {seconds:.1f} s. The next run reuses "
            f"{'it' if len(new) == 1 else 'them'}, unless the sources or Airflow change.",
            indent="  ",
        )
    if removed:
        folders = "1 folder" if removed == 1 else f"{removed} folders"
        console.paragraph(f"Removed: {folders} made from sources that have changed since.", "faint", indent="  ")


def _tasks(outcome: Outcome) -> list[Task]:
    return [task for run in outcome.timeline.runs.values() for task in run.tasks.values() if task.environment]


def _environments(outcome: Outcome) -> Iterator[Kept]:
    """Yield the environments of the tasks. How long each took is from the log, so it is known in whole seconds."""
    tasks = _tasks(outcome)
    for environment in sorted({task.environment for task in tasks}):
        record = f"task environment {Path(environment).name}"
        built = [task.how for task in tasks if task.environment == environment and task.how.startswith("built")]
        if built:
            outcome.stage.record(record, environment, float(built[0].split()[2]))
        seconds = outcome.stage.recorded_seconds(record, environment) or 0.0
        yield Kept("the environment of the tasks", seconds, bool(built))


def _listed(things: Sequence[Kept]) -> str:
    names = [each.name for each in things]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _total(things: Sequence[Kept]) -> float:
    return sum(each.seconds for each in things)
