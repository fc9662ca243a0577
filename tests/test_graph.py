"""Drawings of a workflow: text, Mermaid, Graphviz and SVG."""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.command_line import CAMERA_FILES
from support.sources import write_sources

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec, order
from dkist_processing_core.rendering import diagram

SVG = "{http://www.w3.org/2000/svg}"


def new_spec(upstreams, *, queue="default", name="a_to_b_c"):
    """Return a workflow with the given upstreams of each task."""

    def node(task):
        return NodeSpec(
            name=task,
            task=f"tasks:{task}",
            upstreams=tuple(sorted(upstreams[task])),
            queue=queue,
            pool=f"{queue}_pool",
            extras=("frozen",),
            retries=0,
            retry_delay_seconds=60,
            doc="",
        )

    return WorkflowSpec(
        name=name,
        version="1.0",
        dag_id=f"{name}_1.0",
        package="p",
        distribution="p",
        tags=(),
        nodes=tuple(map(node, order(upstreams, workflow=name))),
    )


DIAMOND = {"Begin": [], "Left": ["Begin"], "Right": ["Begin"], "End": ["Left", "Right", "Begin"]}


@st.composite
def graphs(draw):
    """Any graph without a circle: each task may wait for those with a smaller number."""
    names = [f"Task{'x' * draw(st.integers(0, 30))}{number}" for number in range(draw(st.integers(1, 12)))]
    return {
        name: draw(st.lists(st.sampled_from(names[:number]), unique=True)) if number else []
        for number, name in enumerate(names)
    }


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
    drawn = subprocess.run(["dot", "-Tjson"], input=diagram.dot(spec), capture_output=True, text=True, check=True)
    assert drawn.stderr == ""
    graph = json.loads(drawn.stdout)
    names = {each["_gvid"]: each["name"] for each in graph["objects"]}
    assert graph["name"] == f"{name}_1.0"
    assert sorted(names.values()) == sorted(upstreams)
    edges = {(names[each["tail"]], names[each["head"]]) for each in graph["edges"]}
    assert edges == set(spec.edges())


def parsed(spec):
    """Return boxes by the name of their task, as left, top, right and bottom, the curves, and the size of a picture."""
    root = ET.fromstring(diagram.svg(spec))
    assert root.tag == f"{SVG}svg"
    size = tuple(float(root.attrib[each]) for each in ("width", "height"))
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    labels = [each for each in root.findall(f"{SVG}text") if "class" not in each.attrib]
    rectangles = [each for each in root.findall(f"{SVG}rect") if each.find(f"{SVG}title") is not None]
    boxes = {}
    for label, rectangle in zip(labels, rectangles, strict=True):
        x, y, width, height = (float(rectangle.attrib[each]) for each in ("x", "y", "width", "height"))
        assert x < float(label.attrib["x"]) < x + width
        assert y < float(label.attrib["y"]) < y + height
        boxes[label.text] = (x, y, x + width, y + height)
    return boxes, [each.attrib["d"] for each in root.findall(f"{SVG}path")], size


def ends(curve):
    """Return the points where a curve begins and ends."""
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", curve)]
    return tuple(numbers[:2]), tuple(numbers[-2:])


@given(graphs())
def test_a_picture_has_every_task_and_edge_and_no_boxes_overlap(upstreams):
    """Each curve leaves its box at the right and enters the other at the left, and all of it is on the picture."""
    spec = new_spec(upstreams)
    boxes, curves, (width, height) = parsed(spec)
    assert set(boxes) == set(upstreams)
    found = list(boxes.values())
    for number, (left, top, right, bottom) in enumerate(found):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other_left, other_top, other_right, other_bottom in found[:number]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top
    expected = []
    for upstream, name in spec.edges():
        left, top, right, bottom = boxes[upstream]
        to_left, to_top, _, to_bottom = boxes[name]
        assert right < to_left
        expected.append(((right, (top + bottom) / 2), (to_left, (to_top + to_bottom) / 2)))
    for one, other in zip(map(ends, curves), expected, strict=True):
        for point, other_point in zip(one, other, strict=True):
            assert point == pytest.approx(other_point, abs=0.11)


@given(graphs())
def test_a_picture_depends_on_nothing_but_the_workflow(upstreams):
    """The order in which tasks and upstreams were given changes nothing, in any of the forms."""
    shuffled = random.Random(3).sample(sorted(upstreams), len(upstreams))
    other = {name: list(reversed(upstreams[name])) for name in shuffled}
    for draw in (diagram.text, diagram.mermaid, diagram.dot, diagram.svg):
        assert draw(new_spec(upstreams)) == draw(new_spec(other))


def test_a_picture_is_the_same_whatever_the_hash_seed():
    """In another process as well."""
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import test_graph as t;"
        "sys.stdout.write(t.diagram.svg(t.new_spec(t.DIAMOND)))"
    )
    drawn = {
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert drawn == {diagram.svg(new_spec(DIAMOND))}


def test_a_line_of_tasks_is_drawn_level():
    """A chain goes straight to the right."""
    names = [f"Task{number}" for number in range(6)]
    boxes, _, _ = parsed(new_spec({name: names[max(number - 1, 0) : number] for number, name in enumerate(names)}))
    assert len({top for _, top, _, _ in boxes.values()}) == 1
    assert [name for name, _ in sorted(boxes.items(), key=lambda each: each[1])] == names


def test_other_queues_stand_out_and_are_named():
    """By another colour, and by a title that a browser shows."""
    drawn = diagram.svg(new_spec({"One": []}, queue="high_memory"))
    assert '<rect class="queue"' in drawn
    assert "<title>tasks:One, queue high_memory</title>" in drawn
    assert '<rect class="queue"' not in diagram.svg(new_spec({"One": []}))


def test_what_has_a_meaning_in_xml_is_escaped():
    """No name of a task can have such characters; the picture is well formed all the same."""
    spec = new_spec({"A<B>&\"'": []}, name="a & <b>")
    boxes, _, _ = parsed(spec)
    assert list(boxes) == ["A<B>&\"'"]


def test_a_hundred_tasks_are_drawn():
    """With several hundred edges between them, as no person would draw them."""
    chance = random.Random(5)
    names = [f"Task{number:03}" for number in range(100)]
    upstreams = {
        name: chance.sample(names[:number], min(number, chance.randint(0, 8))) for number, name in enumerate(names)
    }
    boxes, curves, _ = parsed(new_spec(upstreams))
    assert (len(boxes), len(curves)) == (100, sum(map(len, upstreams.values())))


@pytest.fixture
def cli(command):
    """The command line, if click is there."""
    pytest.importorskip("click", reason="click is not installed (pip install 'dkist-processing-core[build]')")
    return command


def test_the_command_line_draws_all_workflows_or_one(cli, camera):
    """One is named by its name, its dag id or its variable."""
    status, output, error = cli("graph", camera)
    assert (status, error) == (0, "")
    assert output.startswith("l0_to_l1_camera 1.0.0\n  MakeDark\n  MakeFlat   <- MakeDark\n")
    assert "\n\nl1_to_l2_camera 1.0.0\n  MakeDark\n" in output
    for name in ("l1_to_l2_camera", "l1_to_l2_camera_1.0.0", "level2"):
        assert cli("graph", f"{camera}:{name}") == (0, "l1_to_l2_camera 1.0.0\n  MakeDark\n", "")


@pytest.mark.parametrize("kind", ["text", "mermaid", "dot", "svg"])
def test_the_command_line_writes_to_a_file(cli, camera, tmp_path, kind):
    """The same that it prints; the name of the file is what it then prints."""
    status, drawn, _ = cli("graph", f"{camera}:level1", "--format", kind)
    assert status == 0
    assert cli("graph", f"{camera}:level1", "--format", kind, "--output", "drawn") == (0, "drawn\n", "")
    assert (tmp_path / "drawn").read_text() == drawn


def test_a_picture_holds_one_workflow(cli, camera):
    """Exit status 2, with the names to choose from."""
    status, output, error = cli("graph", camera, "--format", "svg")
    assert (status, output) == (2, "")
    assert "an svg picture holds one workflow; name one of them: l0_to_l1_camera, l1_to_l2_camera." in error


def test_a_workflow_that_cannot_be_ordered_is_an_error(cli, tmp_path):
    """Exit status 1, with what keeps it from being drawn."""
    text = CAMERA_FILES["workflows/level2.py"].replace("(MakeDark)", "(MakeDark, upstreams=MakeDark)")
    write_sources(tmp_path, {**CAMERA_FILES, "workflows/level2.py": text}, name="camera_of_a_test")
    status, _, error = cli("graph", "camera_of_a_test.workflows:level2")
    assert status == 1
    assert error.startswith("Error: Workflow 'l1_to_l2_camera': the tasks wait for each other in a circle: MakeDark")
