"""The neutral description, as properties that hold for any workflow."""

import json
from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.declared_workflows import graphs
from support.tasks import First, Fourth, Second, Third

from dkist_processing_core import Workflow
from dkist_processing_core.authoring.graph import graph_errors, order
from dkist_processing_core.exceptions import CycleError, UnknownUpstreamError


@given(graphs())
def test_every_edge_respects_the_order(graph):
    """Each name comes after all of its upstreams, and none is lost."""
    ordered = order(graph, workflow="w")
    assert sorted(ordered) == sorted(graph)
    assert all(ordered.index(upstream) < ordered.index(name) for name, its in graph.items() for upstream in its)


@given(graphs(), st.data())
def test_any_edge_back_is_found_as_a_cycle(graph, data):
    """An edge from a task's downstream to the task itself makes a cycle, and the cycle named is a real one."""
    downstream = [name for name, its in graph.items() if its]
    if not downstream:
        return
    name = data.draw(st.sampled_from(downstream))
    back = data.draw(st.sampled_from(graph[name]))
    broken = {**graph, back: [*graph[back], name]}
    with pytest.raises(CycleError) as caught:
        order(broken, workflow="w")
    path = caught.value.path
    assert path[0] == path[-1] == min(path)
    assert all(before in broken[after] for before, after in pairwise(path))


def test_all_errors_of_a_graph_are_found():
    """Two cycles and two tasks that wait for an unknown upstream give four errors."""
    errors = graph_errors({"a": ["b"], "b": ["a"], "c": ["c"], "d": ["x"], "e": ["x"]}, workflow="w")
    assert [type(error) for error in errors] == [UnknownUpstreamError, UnknownUpstreamError, CycleError, CycleError]
    assert [error.task for error in errors[:2]] == ["d", "e"]
    assert [error.path for error in errors[2:]] == [("a", "b", "a"), ("c", "c")]


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefghx"))), st.randoms())
def test_insertion_order_never_changes_the_errors(graph, random):
    """However the nodes and edges are given, the same errors come in the same order, and no cycle comes twice."""
    names = list(graph)
    random.shuffle(names)
    shuffled = {name: random.sample(graph[name], len(graph[name])) for name in names}
    errors = graph_errors(graph, workflow="w")
    assert list(map(str, graph_errors(shuffled, workflow="w"))) == list(map(str, errors))
    cycles = [set(error.path) for error in errors if isinstance(error, CycleError)]
    assert sum(map(len, cycles)) == len(set().union(*cycles))


def test_a_choice_is_made_by_name():
    """A task that becomes ready early comes before one that was ready before and has a later name."""
    assert order({"z": [], "b": ["a"], "a": [], "c": ["b"]}, workflow="w") == ["a", "b", "c", "z"]


def new_spec(*edges):
    workflow = Workflow(input_data="a", output_data="b", category="c", workflow_package="p", workflow_version="1")
    for task, upstreams in edges:
        workflow.add_node(task, upstreams=upstreams)
    return workflow.spec


def test_the_spec_is_the_same_for_the_same_workflow():
    """Specs compare by value, whatever the order of declaration."""
    one = new_spec((First, None), (Second, First), (Third, First), (Fourth, [Second, Third]))
    two = new_spec((Fourth, [Third, Second]), (Third, [First]), (First, []), (Second, First))
    assert one == two
    assert list(one.edges()) == [("First", "Second"), ("First", "Third"), ("Second", "Fourth"), ("Third", "Fourth")]


def test_the_spec_is_plain_data():
    """It survives JSON, with the path of each task, its requirement and its own docstring only."""
    spec = new_spec((First, None), (Third, First))
    data = json.loads(json.dumps(spec.to_dict()))
    assert data["dag_id"] == "a_to_b_c_1"
    assert [node["task"] for node in data["nodes"]] == ["support.tasks:First", "support.tasks:Third"]
    assert data["nodes"][0]["doc"] == "Do the first thing.\n\nWith | a second paragraph."
    assert data["nodes"][1]["doc"] == ""
    assert spec.requirement(spec.nodes[0]) == "p[frozen]==1"


def test_a_shared_environment_has_the_extras_of_all_tasks():
    """The extra frozen comes first, the others by name, each once; nobody can change a spec."""
    workflow = Workflow(input_data="a", output_data="b", category="c", workflow_package="p", workflow_version="1")
    workflow.add_node(First, pip_extras=["zarr", "asdf"])
    workflow.add_node(Second, upstreams=First, pip_extras=["asdf"])
    assert workflow.spec.extras == ("frozen", "asdf", "zarr")
    for spec in (workflow.spec, workflow.spec.nodes[0]):
        with pytest.raises(FrozenInstanceError):
            spec.name = "other"
    assert replace(workflow.spec, nodes=()).extras == ()
