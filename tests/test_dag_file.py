"""The text of the exported DAG file."""

import ast
import os
from enum import Enum, IntEnum
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.declared_workflows import diamond, new_node, new_spec, new_workflow
from support.frozen import FROZEN
from support.tasks import First

from dkist_processing_core import __version__
from dkist_processing_core.authoring.spec import OPERATORS, WorkflowSpec
from dkist_processing_core.rendering.dag import PROTOCOL, dag_file

GOLDEN = Path(__file__).parent / "golden"
WRITE_GOLDEN = os.environ.get("DKIST_WRITE_GOLDEN") == "1"
# What golden files state as the release that wrote them, so that a new release needs no new ones.
RELEASE = "8.0.0"


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("is_constrained", [False, True], ids=["free", "constrained"])
def test_the_file_is_the_golden_one(operator, is_constrained, tmp_path):
    """
    The exported text is as it was when a person last read it.

    DKIST_WRITE_GOLDEN=1 writes it anew, unless a release has written the protocol; support/frozen.py says what to do
    then.
    """
    constraints = {}
    if is_constrained:
        if operator == "python_virtualenv":
            return  # it takes none
        (tmp_path / "constraints.txt").write_text("numpy==2.1.0\nscipy==1.14.1\n")
        constraints = {"constraints": tmp_path / "constraints.txt"}
    name = f"diamond_{operator}{'_constrained' if is_constrained else ''}.py"
    golden = GOLDEN / f"protocol_{PROTOCOL}" / name
    text = dag_file(diamond(operator=operator, **constraints).spec).replace(__version__, RELEASE)
    if WRITE_GOLDEN and str(golden.relative_to(GOLDEN)) not in FROZEN:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


def test_a_file_of_25_nodes_is_small():
    """Names and data only: at most 9,000 bytes, docstrings included, and at most 12 lines a node."""
    spec = diamond().spec
    grown = WorkflowSpec(**{**vars(spec), "nodes": spec.nodes[:1] * 25})
    text = dag_file(grown)
    assert len(text.encode()) <= 9_000
    assert (len(text.splitlines()) - len(dag_file(spec).splitlines())) / 21 <= 12


def test_a_file_imports_the_dag_factory_and_nothing_else():
    """A change of Airflow, or of this library, needs no new export."""
    for operator in OPERATORS:
        tree = ast.parse(dag_file(diamond(operator=operator).spec))
        imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert {".".join(node.module.split(".")[:2]) for node in imports} == {"dkist_processing_core.scheduling"}


def test_a_file_holds_names_and_data_only():
    """Beyond the calls of the factory there are literals, the dictionary of the nodes, and their edges."""
    allowed = (
        *(ast.Module, ast.ImportFrom, ast.alias, ast.With, ast.withitem, ast.Expr, ast.Assign, ast.Load, ast.Store),
        *(ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.List, ast.Dict),
    )
    tree = ast.parse(dag_file(diamond().spec))
    assert [node for node in ast.walk(tree) if not isinstance(node, allowed)] == []
    called = {ast.unparse(node.func).partition("[")[0] for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert called == {"workflow_dag", "TaskOperator", "nodes"}


names = st.text("abcXYZ019-._", min_size=1, max_size=20)
texts = st.text(max_size=60)


@given(names, names, texts, st.lists(texts, max_size=3), texts, texts, st.booleans())
@example("a", "1", "b", [], "", "'''", False)
@example("a", "1", "b", [], "", "a\rb", False)
def test_any_text_survives_rendering(name, version, package, tags, doc, constraints, is_numbered):
    """Whatever stands in a docstring, a tag or constraints, the file compiles and holds just that text."""
    node = new_node("Task", constraints=constraints, retries=1, retry_delay_seconds=1.5 if is_numbered else 60, doc=doc)
    spec = new_spec(node, name=name, version=version, package=package, tags=tuple(tags))
    tree = ast.parse(dag_file(spec))
    constants = {
        statement.targets[0].id: ast.literal_eval(statement.value)
        for statement in tree.body
        if isinstance(statement, ast.Assign)
    }
    calls = {
        each.func.id: {keyword.arg: keyword.value for keyword in each.keywords}
        for each in ast.walk(tree)
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
    }
    doc_md = calls["TaskOperator"].get("doc_md")
    assert (ast.literal_eval(doc_md) if doc_md else "") == doc
    assert list(constants.values()) == ([constraints] if constraints else [])
    assert ast.literal_eval(calls["workflow_dag"]["tags"]) == list(tags)
    assert ast.literal_eval(calls["workflow_dag"]["name"]) == name


class Plural(IntEnum):
    TWO = 2


class Seconds(float):
    """As a number of NumPy, it is shown by a call of its class."""

    def __repr__(self):
        return f"Seconds({float(self)})"


class Kind(str, Enum):  # noqa: UP042 - a StrEnum is formatted as its value
    QUOTED = 'a"b'
    RELEASE = "1.0"


def test_a_value_of_a_derived_type_is_rendered_as_what_it_is():
    """Settings, tags and versions may be members of an enum, or numbers of another package."""
    workflow = new_workflow(tags=[Kind.QUOTED], workflow_version=Kind.RELEASE)
    workflow.add_node(type("Task", (First,), {"retries": Plural.TWO, "retry_delay_seconds": Seconds(30)}))
    text = dag_file(workflow.spec)
    for line in ("retries=2,", "retry_delay_seconds=30.0,", """tags=["1.0", 'a"b',""", 'version="1.0",'):
        assert line in text
    assert workflow.dag_name == "l0_to_l1_cam_1.0"
