"""
Show how much of each folder of the package the tests have executed, and fail if it is less than `floors.toml` asks for.

It combines what all processes have left of the wheel, and counts a statement and a branch alike. Where a floor is lower
than what was measured by more than the noise of parallel runs, it says so.
"""

import json
import marshal
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import coverage
import start

# Parallel runs differ by this much, in percent and in statements and branches: processes that are killed leave no data.
NOISE, NOISE_COUNT = 0.5, 3
DATA = Path(start.DATA)
PACKAGE = Path(start.ROOT, start.PACKAGE)
FLOORS = Path(__file__).with_name("floors.toml")
COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def main() -> int:
    processes = sorted(DATA.glob("*.arcs"))
    if not processes:
        sys.stderr.write("Error: there is no coverage to report; run make test COVERAGE=1 first.\n")
        return 2
    report = measured(processes)
    floors: dict[str, float] = tomllib.loads(FLOORS.read_text())
    faults = []
    print(f"{'folder':<14}{'statements':>11}{'missed':>8}{'branches':>10}{'missed':>8}{'covered':>10}{'floor':>8}")
    for folder, counts in report.items():
        statements, lines, branches, covered = (counts[each] for each in COUNTS)
        total = max(statements + branches, 1)
        percentage = 100 * (lines + covered) / total
        sure = percentage - max(NOISE, 100 * NOISE_COUNT / total)
        floor = floors.pop(folder, None)
        print(
            f"{folder:<14}{statements:>11}{statements - lines:>8}{branches:>10}{branches - covered:>8}"
            f"{percentage:>9.2f}%{'' if floor is None else f'{floor:.1f}':>8}"
        )
        if floor is None:
            faults.append(f"{folder} has no floor; add one to {FLOORS.name}, {sure:.1f} or less")
        elif percentage < floor:
            faults.append(f"{folder} is covered by {percentage:.2f} %, and {FLOORS.name} asks for {floor} %")
        elif sure >= floor + 0.1:
            print(f"{'':<14}its floor may be raised to {int(10 * sure) / 10}")
    faults += [f"{FLOORS.name} names {each}, which is not measured; remove it" for each in sorted(floors)]
    for fault in faults:
        sys.stderr.write(f"Error: {fault}\n")
    return 1 if faults else 0


def measured(processes: list[Path]) -> dict[str, Counter[str]]:
    """Return the counts of each folder; the list of what is not covered is written beside the data."""
    executed: defaultdict[str, set[int]] = defaultdict(set)
    for process in processes:
        for name, arcs in marshal.loads(process.read_bytes()).items():
            executed[name.rpartition(f"/{start.PACKAGE}/")[2]] |= arcs
    measurement = coverage.Coverage(data_file=None, config_file=str(Path(start.ROOT, "pyproject.toml")))
    measurement.load()
    data = measurement.get_data()
    # The installed wheel is the same as the sources, and a file that no process has imported is covered by nothing.
    files = [each for each in PACKAGE.rglob("*.py") if start.OMITTED not in str(each)]
    data.add_arcs({str(each): [arc(packed) for packed in executed[str(each.relative_to(PACKAGE))]] for each in files})
    data.touch_files(map(str, files))
    result = DATA / "coverage.json"
    measurement.json_report(outfile=str(result))
    with (DATA / "missing.txt").open("w") as missing:
        measurement.report(file=missing, show_missing=True, skip_covered=True)
    print(f"Processes: {len(processes)}; what is not covered: {missing.name}")
    folders: dict[str, Counter[str]] = {}
    for name, each in sorted(json.loads(result.read_text())["files"].items()):
        parts = Path(start.ROOT, name).relative_to(PACKAGE).parts
        counts = folders.setdefault(parts[0] if len(parts) > 1 else "(root)", Counter())
        counts.update({key: each["summary"][key] for key in COUNTS})
    return folders


def arc(packed: int) -> tuple[int, int]:
    """Unpack a pair of line numbers of 28 bits each, which are followed by a bit for the sign of each."""
    first, second = packed & 0xFFFFFFF, packed >> 28 & 0xFFFFFFF
    return (-first if packed >> 56 & 1 else first, -second if packed >> 57 & 1 else second)


if __name__ == "__main__":
    sys.exit(main())
