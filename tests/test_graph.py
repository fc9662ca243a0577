"""Diagrams of a workflow: text, Mermaid and Graphviz."""

import json
import random
import shutil

import pytest
from hypothesis import given
from support import declared_workflows
from support.command_line import CAMERA_FILES, run_command
from support.declared_workflows import graphs, new_node
from support.sources import write_sources

from dkist_processing_core.authoring.graph import order
from dkist_processing_core.rendering import diagram


def new_spec(upstreams, *, queue="default", name="a_to_b_c"):
    """Return a workflow with the given upstreams of each task."""

    def node(task):
        above = tuple(sorted(upstreams[task]))
        return new_node(task, task=f"tasks:{task}", upstreams=above, queue=queue, pool=f"{queue}_pool")

    return declared_workflows.new_spec(*map(node, order(upstreams, workflow=name)), name=name)


DIAMOND = {"Begin": [], "Left": ["Begin"], "Right": ["Begin"], "End": ["Left", "Right", "Begin"]}


def test_text_shows_the_order_and_what_waits_for_what():
    """One line a task, with its queue if that is not the usual one."""
    assert diagram.text(new_spec(DIAMOND)) == (
        "a_to_b_c 1.0\n"
        "  Begin\n"
        "  Left   <- Begin\n"
        "  Right  <- Begin\n"
        "  End    <- Begin, Left, Right\n"
    )  # fmt: skip
    assert diagram.text(new_spec({"One": []}, queue="gpu")) == "a_to_b_c 1.0\n  One  [gpu]\n"


def test_mermaid_has_every_task_and_edge():
    """A task has a short name of its own in it, so that no name is a word of Mermaid's, such as end."""
    lines = diagram.mermaid(new_spec(DIAMOND)).splitlines()
    assert lines[:2] == ["%% a_to_b_c 1.0", "flowchart LR"]
    assert lines[2:6] == ['    t0["Begin"]', '    t1["Left"]', '    t2["Right"]', '    t3["End"]']
    assert sorted(lines[6:]) == [
        f"    {each}" for each in ("t0 --> t1", "t0 --> t2", "t0 --> t3", "t1 --> t3", "t2 --> t3")
    ]


@pytest.mark.skipif(shutil.which("dot") is None, reason="optional: Graphviz is not installed (dot)")
@pytest.mark.parametrize("name", ["a_to_b_c", "graph", "a-b.c"])
def test_graphviz_reads_every_task_and_edge(name):
    """Whatever the names, also those that are words of its language."""
    upstreams = DIAMOND | {"node": ["End"], "edge": ["node"]}
    spec = new_spec(upstreams, name=name)
    drawn = run_command("dot", "-Tjson", text=diagram.dot(spec)).check(stderr="")
    graph = json.loads(drawn.stdout)
    names = {each["_gvid"]: each["name"] for each in graph["objects"]}
    assert graph["name"] == f"{name}_1.0"
    assert sorted(names.values()) == sorted(upstreams)
    edges = {(names[each["tail"]], names[each["head"]]) for each in graph["edges"]}
    assert edges == set(spec.edges())


@given(graphs())
def test_a_diagram_depends_on_nothing_but_the_workflow(upstreams):
    """The order in which tasks and upstreams were given changes nothing, in any of the forms."""
    shuffled = random.Random(3).sample(sorted(upstreams), len(upstreams))
    other = {name: list(reversed(upstreams[name])) for name in shuffled}
    for draw in (diagram.text, diagram.mermaid, diagram.dot):
        assert draw(new_spec(upstreams)) == draw(new_spec(other))


def test_other_queues_are_named():
    """In Graphviz they have a colour as well; the class and the queue are in a tooltip."""
    spec = new_spec({"One": []}, queue="high_memory")
    assert '    t0["One<br/>high_memory"]' in diagram.mermaid(spec)
    drawn = diagram.dot(spec)
    label = r'label="One\nhigh_memory"'
    assert f'"One" [tooltip="tasks:One, queue high_memory", {label}, fillcolor="#fff4d6"];' in drawn
    assert '"One" [tooltip="tasks:One, queue default"];' in diagram.dot(new_spec({"One": []}))


def test_the_command_line_draws_all_workflows_or_one(command, camera):
    """One is named by its name, its dag id or its variable."""
    output = command("graph", camera).check("\n\nl1_to_l2_camera 1.0.0\n  MakeDark\n", stderr="").stdout
    assert output.startswith("l0_to_l1_camera 1.0.0\n  MakeDark\n  MakeFlat   <- MakeDark\n")
    for name in ("l1_to_l2_camera", "l1_to_l2_camera_1.0.0", "level2"):
        assert command("graph", f"{camera}:{name}") == (0, "l1_to_l2_camera 1.0.0\n  MakeDark\n", "")


@pytest.mark.parametrize("kind", ["text", "mermaid", "dot"])
def test_the_command_line_writes_to_a_file(command, camera, tmp_path, kind):
    """The same that it prints; the name of the file is what it then prints."""
    drawn = command("graph", f"{camera}:level1", "--format", kind).check().stdout
    assert command("graph", f"{camera}:level1", "--format", kind, "--output", "drawn") == (0, "drawn\n", "")
    assert (tmp_path / "drawn").read_text() == drawn


def test_a_workflow_that_cannot_be_ordered_is_an_error(command, tmp_path):
    """Exit status 1, with what keeps it from being drawn."""
    text = CAMERA_FILES["workflows/level2.py"].replace("(MakeDark)", "(MakeDark, upstreams=MakeDark)")
    write_sources(tmp_path, {**CAMERA_FILES, "workflows/level2.py": text}, name="camera_of_a_test")
    error = command("graph", "camera_of_a_test.workflows:level2").check(status=1).stderr
    assert error.startswith("Error: Workflow 'l1_to_l2_camera': the tasks depend on each other in a cycle: MakeDark")
