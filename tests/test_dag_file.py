"""The text of the exported DAG file."""

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tasks import First, Fourth, Second, Third

from dkist_processing_core import ResourceQueue, Workflow, __version__
from dkist_processing_core.authoring.spec import OPERATORS, NodeSpec, WorkflowSpec
from dkist_processing_core.rendering.dag import dag_file
from dkist_processing_core.rendering.task_script import task_script

GOLDEN = Path(__file__).parent / "golden"
WRITE_GOLDEN = os.environ.get("DKIST_WRITE_GOLDEN") == "1"


def diamond(**arguments):
    workflow = Workflow(
        input_data="l0",
        output_data="l1",
        category="cam",
        detail="golden",
        tags=["solar"],
        workflow_package="support.workflows",
        workflow_version="1.0",
        **arguments,
    )
    workflow.add_node(First)
    workflow.add_node(Second, upstreams=First, resource_queue=ResourceQueue.HIGH_MEMORY)
    workflow.add_node(Third, upstreams=First, pip_extras=["asdf"])
    workflow.add_node(Fourth, upstreams=[Third, Second])
    return workflow


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_file_is_the_golden_one(operator):
    """
    The exported text is as it was when a person last read it.

    DKIST_WRITE_GOLDEN=1 writes it anew. The golden file of a released version is never rewritten: it is another file.
    """
    golden = GOLDEN / f"{__version__}_diamond_{operator}.py"
    text = dag_file(diamond(operator=operator).spec)
    if WRITE_GOLDEN:
        golden.write_text(text)
    assert text == golden.read_text()


def test_the_script_stands_in_the_file_once_as_it_is():
    """Twenty-five nodes do not repeat it, and its lines can be read."""
    spec = diamond().spec
    assert dag_file(spec).count(task_script()) == 1
    grown = WorkflowSpec(**{**vars(spec), "nodes": spec.nodes[:1] * 25})
    lines_per_node = (len(dag_file(grown).splitlines()) - len(dag_file(spec).splitlines())) / 21
    assert lines_per_node < 20


def test_the_operator_is_visible_in_the_file_and_nowhere_else():
    """Names, requirement, queue, pool, retries, callback and edges are the same, line for line."""
    bash, virtualenv = (dag_file(diamond(operator=operator).spec).split("with DAG(")[1] for operator in OPERATORS)
    assert bash == virtualenv
    other = dag_file(diamond(operator="python_virtualenv").spec)
    assert "PythonVirtualenvOperator(" in other
    assert "Bash" not in other
    assert "constraints" not in other


def test_only_the_standard_library_airflow_and_the_callback_are_imported():
    """So the scheduler needs nothing of the team's, and nothing heavy of ours."""
    imported = set()
    for node in ast.walk(ast.parse(dag_file(diamond().spec))):
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module)
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
    ours = {name for name in imported if name.partition(".")[0] not in {"airflow", *sys.stdlib_module_names}}
    assert ours == {"dkist_processing_core.failure_callback"}


def test_the_command_survives_templating():
    """Jinja, which Airflow applies to a bash command, leaves every character of it as it is."""
    script = task_script()
    assert jinja2.Environment(keep_trailing_newline=True).from_string(script).render() == script
    assert not script.rstrip().endswith((".sh", ".bash"))


def test_no_placeholder_is_left_in_the_command():
    """The programs inside of the script are all there."""
    assert "@DESCRIBE" not in task_script()
    assert "@VERIFY" not in task_script()


names = st.text("abcXYZ019-._", min_size=1, max_size=20)
texts = st.text(max_size=60)


@given(names, names, texts, st.lists(texts, max_size=3), texts, st.booleans())
def test_any_text_survives_rendering(name, version, package, tags, doc, is_numbered):
    """Whatever stands in a docstring or a tag, the file compiles and holds just that text."""
    node = NodeSpec(
        name="Task",
        task="m:Task",
        upstreams=(),
        queue="default",
        pool="default_pool",
        extras=("frozen",),
        retries=1,
        retry_delay_seconds=1.5 if is_numbered else 60,
        doc=doc,
    )
    spec = WorkflowSpec(
        name=name,
        version=version,
        dag_id=f"{name}_{version}",
        package=package,
        distribution="p",
        tags=tuple(tags),
        nodes=(node,),
    )
    tree = ast.parse(dag_file(spec))
    call = next(
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "node"
    )
    assert {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}["doc"] == doc
    dag = next(
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id == "DAG"
    )
    keywords = {keyword.arg: keyword.value for keyword in dag.keywords}
    assert ast.literal_eval(keywords["tags"]) == list(tags)
    assert ast.literal_eval(keywords["dag_id"]) == f"{name}_{version}"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            {"PYTHONHASHSEED": "1", "TZ": "UTC", "FAKE_DAYS": "0"},
            {"PYTHONHASHSEED": "2", "TZ": "HST10", "FAKE_DAYS": "400"},
        ),
    ],
    ids=["hash-seed-zone-and-day"],
)
def test_exports_are_the_same_bytes_everywhere_and_always(tmp_path, first, second):
    """Two processes with another hash seed, in another time zone, more than a year apart, write the same file."""
    program = textwrap.dedent(
        """
        import datetime, os, sys, time
        sys.path.insert(0, sys.argv[1])
        shift = int(os.environ["FAKE_DAYS"]) * 86400
        real_time = time.time
        time.time = lambda: real_time() + shift
        time.time_ns = lambda: int(time.time() * 1e9)
        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return cls.fromtimestamp(time.time(), tz)
        class ShiftedDate(datetime.date):
            @classmethod
            def today(cls):
                return cls.fromtimestamp(time.time())
        datetime.datetime, datetime.date = Shifted, ShiftedDate
        from test_dag_file import diamond
        print(diamond().export_dag(sys.argv[2]))
        """
    )
    files = []
    for environment in (first, second):
        folder = tmp_path / environment["PYTHONHASHSEED"]
        done = subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent), str(folder)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        files.append(Path(done.stdout.strip()).read_bytes())
    assert files[0] == files[1]
