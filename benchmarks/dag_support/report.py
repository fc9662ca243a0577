"""The table of the measurements: medians, ratios to the hand-written files, and the increase per workflow."""

import itertools
import statistics
from collections.abc import Mapping
from typing import Any

from dag_support.scheduler import RUNS

ROWS = [
    ("", "", ""),
    ("files", "files", "{:.0f}"),
    ("first pass, s", "first_s", "{:.1f}"),
    ("  processor time of Airflow, s", "first_cpu", "{:.1f}"),
    ("  processor time of the database, s", "first_database_cpu", "{:.1f}"),
    ("unchanged pass, s", "again_s", "{:.1f}"),
    ("  processor time of Airflow, s", "again_cpu", "{:.1f}"),
    ("    of that, to parse and serialise", "again_children_cpu", "{:.1f}"),
    ("  processor time of the database, s", "again_database_cpu", "{:.1f}"),
    ("  written to the log (WAL), MB", "again_wal", "{:.2f}"),
    ("  new rows of versions, DAGs, code", "again_rows", "{:.0f}"),
    ("between passes, % of a processor", "idle_percent", "{:.1f}"),
    ("memory, MB", "megabytes", "{:.0f}"),
    ("database, MB", "database", "{:.1f}"),
    ("  serialized_dag, MB", "serialized_dag", "{:.2f}"),
    ("  dag_code, MB", "dag_code", "{:.2f}"),
    ("  its text, MB", "code", "{:.2f}"),
    (f"scheduler, loops that start {RUNS} runs, ms", "runs_ms", "{:.0f}"),
    ("scheduler, processor time, s", "scheduler_cpu", "{:.1f}"),
    ("scheduler, idle loop, ms", "idle_ms", "{:.1f}"),
    ("task start, parse of its file, ms", "parse_ms", "{:.1f}"),
]


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    """Return the medians of all rounds."""
    values = {key: statistics.median(each[key] for each in found) for key in found[0] if key != "passes"}
    for key in ("database", "serialized_dag", "dag_code", "code"):
        values[key] /= 1e6
    firsts = [each["passes"][0] for each in found]
    agains = [again for each in found for again in each["passes"][1:]]
    for label, passes in (("first", firsts), ("again", agains)):
        if passes:
            values[f"{label}_s"] = statistics.median(each["seconds"] for each in passes)
            values[f"{label}_cpu"] = statistics.median(each["cpu"] for each in passes)
            values[f"{label}_children_cpu"] = statistics.median(each["children_cpu"] for each in passes)
            values[f"{label}_database_cpu"] = statistics.median(each["database_cpu"] for each in passes)
            values[f"{label}_wal"] = statistics.median(each["wal"] for each in passes) / 1e6
            values[f"{label}_rows"] = max(
                sum(each[table] for table in ("dag_version", "serialized_dag", "dag_code")) for each in passes
            )
    return values


def described(found: dict[str, Any]) -> str:
    """Return one measurement as a line."""
    values = summary([found])
    keys = ("first_s", "first_cpu", "again_s", "again_cpu", "again_database_cpu", "megabytes", "database", "runs_ms")
    return ", ".join(f"{key} {values[key]:.1f}" for key in keys if key in values)


def report(measured: Mapping[tuple[str, int], list[dict[str, Any]]], sizes: list[int], forms: list[str]) -> None:
    """Print medians, ratios to the hand-written files, and the increase per workflow."""
    summaries = {key: summary(found) for key, found in measured.items()}
    for size in sizes:
        hand = summaries.get(("hand", size))
        print(f"\n{size} workflows; medians; (times that of hand)")
        for label, key, text in ROWS:
            cells = []
            for form in forms:
                value = summaries[form, size].get(key)
                ratio = ""
                if value is not None and hand and hand.get(key):
                    ratio = f" ({value / hand[key]:.2f})"
                cells.append("-" if value is None else f"{text.format(value)}{ratio}")
            print(f"  {label:<36}" + "".join(f"{each:>18}" for each in ([*forms] if key == "" else cells)))
    for size, more in itertools.pairwise(sizes):
        print(f"\nWhat a workflow more takes, from the {size}th to the {more}th, milliseconds")
        for key, label in (("again_s", "unchanged pass"), ("again_cpu", "processor time of it")):
            cells = [
                f"{1000 * (summaries[form, more][key] - summaries[form, size][key]) / (more - size):.1f}"
                for form in forms
            ]
            print(f"  {label:<36}" + "".join(f"{each:>18}" for each in cells))
