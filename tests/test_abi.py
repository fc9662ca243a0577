"""What exported files and task environments rely on across releases: docs/reference/abi.rst and every golden file."""

import ast
import hashlib
import inspect
import json
import os
import re
import shlex
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from support import frozen
from support.command_line import run_command
from support.frozen import FROZEN
from support.shown import quoted, table

from dkist_processing_core.common import log_lines, metadata, outcome
from dkist_processing_core.common.environment import DESCRIPTION, identity_of
from dkist_processing_core.isb import spool
from dkist_processing_core.isb.envelope import Envelope
from dkist_processing_core.worker.cache import LAYOUT, OWNER_MARK
from dkist_processing_core.worker.environment_locks import lock_paths
from dkist_processing_core.worker.marker import MARKER

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "abi.rst"
GOLDEN = Path(__file__).parent / "golden"
GOLDEN_FILES = sorted(GOLDEN.rglob("*.py"))


def section(title):
    """Return the text below a title, up to the next one."""
    _, _, rest = PAGE.read_text().partition(f"\n{title}\n")
    assert rest, title
    return re.split(r"\n[^\n]+\n-{3,}\n", rest.partition("\n")[2])[0]


def resolve(dotted):
    """Import what a dotted name stands for."""
    module, _, name = dotted.rpartition(".")
    return getattr(import_module(module), name)


def golden_imports():
    """Return each name that a golden file imports of this library, as the file spells it."""
    found = set()
    for file in GOLDEN_FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("dkist_processing_core"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return sorted(found)


def test_every_protocol_has_golden_files():
    """One folder for each protocol that is known, none of them empty."""
    from dkist_processing_core.rendering.dag import PROTOCOL

    folders = {file.parent.name for file in GOLDEN_FILES}
    assert folders == {f"protocol_{number}" for number in range(1, PROTOCOL + 1)}


def test_a_golden_file_of_a_release_never_changes():
    """Byte for byte, and none is missing; support/frozen.py says what to do instead of changing one."""
    found = {
        str(file.relative_to(GOLDEN)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in GOLDEN_FILES
        if str(file.relative_to(GOLDEN)) in FROZEN
    }
    assert found == FROZEN, f"read {frozen.__file__}"


def test_no_golden_file_joins_a_protocol_that_a_release_has_written():
    """All files of such a protocol are in the table."""
    protocols = {name.partition("/")[0] for name in FROZEN}
    files = {str(file.relative_to(GOLDEN)) for file in GOLDEN_FILES if file.parent.name in protocols}
    assert files == set(FROZEN), f"read {frozen.__file__}"


def test_what_golden_files_import_is_on_the_page():
    """A file never relies on something that nobody has promised."""
    assert set(golden_imports()) <= {
        name for row in table(section("What exported files import")) for name in quoted(row[0])
    }


@pytest.mark.airflow
def test_what_exported_files_import_is_there():
    """Every name on the page, and every one in a golden file, can be imported."""
    promised = [name for row in table(section("What exported files import")) for name in quoted(row[0])]
    assert len(promised) == 6
    for dotted in {*promised, *golden_imports()}:
        assert callable(resolve(dotted)), dotted


@pytest.mark.airflow
def test_the_keys_of_the_protocol_are_accepted():
    """Each key on the page, with its name, and no other one; and the golden files use no other ones."""
    promised = {quoted(call)[0]: set(quoted(keys)) for call, keys in table(section("Protocols"))}
    for call, keys in promised.items():
        imported = [name for row in table(section("What exported files import")) for name in quoted(row[0])]
        [path] = [each for each in imported if each.rpartition(".")[2] == call]
        # Airflow wraps constructors, and ours says so of BaseOperator's.
        own = inspect.unwrap(
            resolve(path).__init__, stop=lambda each: "dkist_processing_core" in each.__code__.co_filename
        )
        accepted = inspect.signature(own, follow_wrapped=False).parameters
        assert {name for name, each in accepted.items() if each.kind is each.KEYWORD_ONLY} == keys, call
    for file in GOLDEN_FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert {keyword.arg for keyword in node.keywords} <= promised[node.func.id], file


def test_the_programs_start():
    """The worker program asks for its variables; the runtime describes its arguments, and takes those on the page."""
    commands = [quoted(row[0])[0] for row in table(section("Programs"))]
    worker, runtime, function = commands
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DKIST_")}
    done = run_command(sys.executable, *shlex.split(worker)[1:], env=environment).check(status=78)
    assert "DKIST_TASK" in done.stdout + done.stderr
    program = [sys.executable, *shlex.split(runtime)[1:]]
    run_command(*program, env=environment).check("recipe_run_id must be an integer", status=65)
    parameters = quoted(" ".join(table(section("Programs"))[2][1:]))[1:]
    assert list(inspect.signature(resolve(function)).parameters) == parameters


@pytest.mark.airflow
def test_the_variables_are_those_that_are_set():
    """By the operator, for the worker program; and by the worker program, for the runtime."""
    from dkist_processing_core.scheduling import TaskOperator, workflow_dag
    from dkist_processing_core.scheduling.execution import worker_variables
    from dkist_processing_core.scheduling.output import TaskOutputHook

    with workflow_dag(protocol=1, exported_by="8.0.0", name="w", version="1", distribution="d", tags=[]):
        operator = TaskOperator(task_id="t", task="m:T")
    by_worker = {outcome.OUTCOME_VARIABLE, metadata.ENVIRONMENT_IDENTITY}
    is_set = {*worker_variables(operator, {}), *TaskOutputHook().variables, *by_worker}
    promised = {quoted(row[0])[0] for row in table(section("Variables"))}
    # Which Python the constant command of the operator starts is between the operator and that command.
    assert is_set - {"DKIST_WORKER_PYTHON"} == promised


def test_a_marked_line_is_what_the_page_says():
    """Byte for byte, and back."""
    [line] = log_lines.marked_lines(40, "two\nlines", mark="0123")
    assert line == "\x1e0123:40:two\x1flines\n"
    assert log_lines.parse(line.rstrip(), mark="0123") == [("40", "two\nlines")]
    assert log_lines.parse(f"50%{line.rstrip()}", mark="0123") == [("", "50%"), ("40", "two\nlines")]
    for forged in ("\x1e9999:40:forged", f"\x1e0123:{'9' * 5000}:forged", "\x1e0123:forged"):
        assert log_lines.parse(forged, mark="0123") == [("", forged)]
    assert (log_lines.MARK_VARIABLE, log_lines.OUTCOME) == ("DKIST_LOG_MARK", "outcome")


def test_an_outcome_has_the_keys_of_the_page():
    """And one of another release is read as far as it is known."""
    assert set(outcome.Outcome._fields) == {quoted(row[0])[0] for row in table(section("Outcome"))}
    read = outcome.Outcome.from_json('{"state": "failed", "summary": "no", "something_new": 1}')
    assert read == outcome.Outcome(state="failed", summary="no")


def test_the_cache_has_the_layout_of_the_page():
    """The names of the folder, the marker and the locks."""
    promised = [quoted(row[0])[0] for row in table(section("Cache of environments"))]
    locks = [path.suffix for path in lock_paths(Path("name-1-digest"))]
    assert promised == [LAYOUT, OWNER_MARK, MARKER, DESCRIPTION, *locks]


def test_the_identity_of_an_environment_is_for_ever():
    """One that was written into a product years ago can be computed again, by what the documentation says."""
    checkout = {"path": "/src", "commit": "c0", "dirty": False, "sources_sha256": None}
    description = {
        "distributions": [
            {"name": "numpy", "version": "2.4", "files_sha256": "f1", "origin": {"url": "https://h/numpy.whl"}},
            {"name": "cam", "version": "dev", "files_sha256": "f2", "origin": {"checkout": checkout}},
        ],
        "other_sha256": "f3",
    }
    rows = [["", "", "f3"], ["cam", "dev", "f2", "c0", None], ["numpy", "2.4", "f1"]]
    identity = identity_of(description)
    assert identity == hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert identity == "ef5a102f0bdd274c1e47c2d8ea37fbdf4554dae9275ce0c847ba04f1202c5229"


def test_a_spooled_message_has_the_keys_of_the_page():
    """And one with a key of a later release is read; the names beside it are those of the page, too."""
    keys, _, around = section("Spool of messages").partition("with the keys")[2].partition("In the name")
    assert {each.name for each in fields(Envelope)} == set(quoted(keys))
    assert {spool.MARK, spool.SET_ASIDE, spool.REASON_SUFFIX} < set(quoted(around))
    name = f"{1:020d}-{1:032x}.json"
    assert spool.MESSAGE.fullmatch(name)
    assert spool.PART.fullmatch(f".{name}.0123abcd.part")
    text = Envelope(routing_key="r", queue="q", body="{}", message_id="m").to_json()
    assert Envelope.from_json(text.replace("{", '{"new": 1, ', 1)).message_id == "m"
