"""
Change the package in small ways, one at a time, and list the changes that no test notices.

Cosmic Ray makes the changes, in copies of the project under .build/mutation, each with an environment of its own, so
that every process that a test starts runs the changed file. `modules.toml` says which tests concern a module, and
`survivors.toml` explains the changes that no test can notice. The score counts what is left.

A run that was stopped is continued. As long as a module stays what it is, another run makes only those of its changes
again that no test has noticed; `make clean` forgets everything.

Usage: run.py [MODULE ...], where a module is a key of `modules.toml` or a folder of several.
"""

import hashlib
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

HERE = Path(__file__).parent
PROJECT = HERE.parents[2]
BUILD = PROJECT / ".build" / "mutation"
PROCESSES = 2
# Cosmic Ray replaces each operator by each other one, also in annotations; one replacement each tells as much.
OPERATORS = (
    "AddNot",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ReplaceAndWithOr",
    "ReplaceBinaryOperator_(Add_Sub|BitAnd_BitOr|FloorDiv_Mul|Mod_Mul|Mul_Div|Pow_Mul|Sub_Add)",
    "ReplaceBreakWithContinue",
    "ReplaceComparisonOperator_(Eq_NotEq|GtE_Gt|Gt_GtE|IsNot_Is|Is_IsNot|LtE_Lt|Lt_LtE|NotEq_Eq)",
    "ReplaceContinueWithBreak",
    "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd",
    "ReplaceTrueWithFalse",
    "ReplaceUnaryOperator_(Delete_Not|Delete_USub)",
    "ZeroIterationForLoop",
)
# What a change lets a test start, and whatever it lets the package signal, is in a process namespace that ends with it.
NAMESPACES = (["unshare"], ["unshare", "--user", "--map-root-user"])
OPTIONS = ("--pid", "--fork", "--kill-child", "--mount-proc")


class Change(NamedTuple):
    """A change that was made: the lines that it took away and those that it added."""

    module: str
    line: int
    was: str
    becomes: str
    is_noticed: bool


def main(names: list[str]) -> int:
    table: dict[str, list[str]] = tomllib.loads((HERE / "modules.toml").read_text())
    chosen = [each for each in table if not names or any(each == name or each.startswith(f"{name}/") for name in names)]
    if not chosen:
        sys.stderr.write(f"Error: {' '.join(names)} is no module of modules.toml, which has {', '.join(table)}.\n")
        return 2
    alone = process_namespace()
    BUILD.mkdir(parents=True, exist_ok=True)
    copies: SimpleQueue[Path] = SimpleQueue()
    for number in range(min(PROCESSES, len(chosen))):
        copies.put(copy_of_project(BUILD / f"copy-{number}"))

    def run(module: str) -> list[Change]:
        copy = copies.get()
        try:
            return changes(module, [*alone, *tests(table[module])], copy)
        finally:
            copies.put(copy)

    with ThreadPoolExecutor(PROCESSES) as pool:
        return show([change for found in pool.map(run, chosen) for change in found])


def process_namespace() -> list[str]:
    """Return how to start a program in a process namespace of its own."""
    for command in NAMESPACES:
        if shutil.which("unshare") and not subprocess.run([*command, *OPTIONS, "true"], capture_output=True).returncode:
            return [*command, *OPTIONS]
    sys.exit("Error: unshare cannot make a process namespace, without which a change could kill any process.")


def copy_of_project(folder: Path) -> Path:
    """Bring a copy of what git knows, or would add, up to date; its environment stays."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        capture_output=True,
        check=True,
        text=True,
    )
    folder.mkdir(exist_ok=True)
    for each in folder.iterdir():
        if each.name != ".build":
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    for name in listed.stdout.split("\0"):
        if name and (PROJECT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    tools = folder / ".build" / "uv"
    tools.parent.mkdir(exist_ok=True)
    if not tools.exists():
        tools.symlink_to(PROJECT / ".build" / "uv")
    subprocess.run(["make", "--quiet", "-C", folder, "setup"], check=True)
    return folder


def tests(stages: list[str]) -> list[str]:
    """Return the command that runs these tests, one stage after the other, up to the first that fails."""
    python = ".build/venv/bin/python -m pytest --quiet --exitfirst -p no:anyio -p no:cacheprovider -p no:xdist"
    return ["sh", "-c", " && ".join(f"{python} tests/{each}" for each in stages)]


def changes(module: str, command: list[str], copy: Path) -> list[Change]:
    """Make the changes of a module one after the other in a copy, and return what became of each."""
    # This run also leaves the bytecode of all that the tests import; Cosmic Ray keeps its runs from writing any.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # Some tests start the worker program with the python3 on PATH, which must be that of the copy.
    variables["PATH"] = f"{copy}/.build/venv/bin:{copy}/.build/uv/bin:{variables['PATH']}"
    began = time.monotonic()
    done = subprocess.run(command, cwd=copy, env=variables, capture_output=True, text=True)
    if done.returncode:
        # At once, since the changes that are being made to another module may take an hour more.
        print(
            f"Error: the tests of {module} fail without a change:\n{done.stdout[-3000:]}{done.stderr[-1000:]}",
            flush=True,
        )
        sys.exit(1)
    seconds = time.monotonic() - began
    source = (copy / "dkist_processing_core" / module).read_bytes()
    session = f"{module.replace('/', '.')}-{hashlib.sha256(source).hexdigest()[:12]}"
    config, database = BUILD / f"{session}.toml", BUILD / f"{session}.sqlite"
    excluded = f"core/(?!({'|'.join(OPERATORS)})$)"
    config.write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps(f'dkist_processing_core/{module}')}\n"
        f"timeout = {4 * seconds + 30:.0f}\n"
        "excluded-modules = []\n"
        f"test-command = {json.dumps(shlex.join(command))}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = [{json.dumps(excluded)}]\n"
    )

    def run(tool: str, *arguments: object) -> str:
        program = copy / ".build" / "venv" / "bin" / tool
        return subprocess.run(
            [program, *arguments], cwd=copy, env=variables, stdout=subprocess.PIPE, check=True, text=True
        ).stdout

    if database.exists():
        forget_survivors(database)
    else:
        new = database.with_suffix(".new")
        new.unlink(missing_ok=True)
        run("cosmic-ray", "init", config, new)
        run("cr-filter-operators", new, config)
        new.rename(database)
    run("cosmic-ray", "exec", config, database)
    found = [
        Change(module, item["mutations"][0]["start_pos"][0], *lines(made["diff"]), made["test_outcome"] != "survived")
        for item, made in map(json.loads, run("cosmic-ray", "dump", database).splitlines())
        if made and made["worker_outcome"] == "normal"
    ]
    # The asterisk of keyword-only parameters counts as an operator for Cosmic Ray.
    found = [each for each in found if each.was.replace("*,", "/,") != each.becomes]
    print(f"{module}: {len(found)} changes, {sum(not each.is_noticed for each in found)} not noticed", flush=True)
    return found


def forget_survivors(database: Path) -> None:
    """Let Cosmic Ray make the changes again that no test has noticed; it makes those without a result."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM work_results WHERE test_outcome = 'SURVIVED'")


def lines(diff: str) -> tuple[str, str]:
    """Return what a change took away and what it added, without the space around each line."""
    made = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    was, becomes = ("\n".join(line[1:].strip() for line in made if line.startswith(sign)) for sign in "-+")
    return was, becomes


def show(found: list[Change]) -> int:
    """Print the score of each folder and the changes that are neither noticed nor explained."""
    explained = tomllib.loads((HERE / "survivors.toml").read_text())
    known = {
        (module, was, becomes)
        for module, reasons in explained.items()
        for lines_of_reason in reasons.values()
        for was, changed in lines_of_reason.items()
        for becomes in changed
    }
    modules = {each.module for each in found}
    unused = {each for each in known if each[0] in modules} - {change[0:1] + change[2:4] for change in found}
    print(f"\n{'folder':<12}{'changes':>9}{'noticed':>9}{'explained':>11}{'left':>6}{'score':>9}")
    left = []
    for folder, each_of in groupby(sorted(found), key=lambda each: each.module.partition("/")[0]):
        group = list(each_of)
        counts = Counter(
            "noticed" if each.is_noticed else "explained" if (each.module, each.was, each.becomes) in known else "left"
            for each in group
        )
        left += [each for each in group if not each.is_noticed and (each.module, each.was, each.becomes) not in known]
        score = 100 * counts["noticed"] / max(len(group) - counts["explained"], 1)
        print(
            f"{folder:<12}{len(group):>9}{counts['noticed']:>9}{counts['explained']:>11}{counts['left']:>6}{score:>8.1f}%"
        )
    for each in left:
        was, becomes = each.was.replace("\n", "\n- "), each.becomes.replace("\n", "\n+ ")
        print(f"\n{each.module}:{each.line}\n- {was}\n+ {becomes}")
    for module, was, becomes in sorted(unused):
        print(f"\nsurvivors.toml explains a change of {module} that does not exist any more: {was!r} to {becomes!r}")
    return 1 if left or unused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
