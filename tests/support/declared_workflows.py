"""Workflows of the tasks in `support.tasks`."""

from hypothesis import strategies as st

from dkist_processing_core import ResourceQueue, Workflow
from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from support.tasks import First, Fourth, Second, Third


@st.composite
def graphs(draw):
    """Return any graph without a cycle, as the upstreams of each task, in any order of tasks and edges."""
    names = draw(st.lists(st.text("abcdefgh", min_size=1, max_size=30), min_size=1, max_size=15, unique=True))
    edges = {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


def new_node(name, **changes):
    """Return the description of a node."""
    usual = {"task": f"m:{name}", "upstreams": (), "queue": "default", "pool": "default_pool", "extras": ("frozen",)}
    return NodeSpec(**{"name": name, **usual, "retries": 0, "retry_delay_seconds": 60, "doc": "", **changes})


def new_spec(*nodes, name="a_to_b_c", version="1.0", **changes):
    """Return the description of a workflow."""
    usual = {"dag_id": f"{name}_{version}", "package": "p", "distribution": "p", "tags": (), "nodes": nodes}
    return WorkflowSpec(**{"name": name, "version": version, **usual, **changes})


def new_workflow(**changes):
    """Return a workflow without nodes."""
    arguments = {"input_data": "l0", "output_data": "l1", "category": "cam", "workflow_package": "support.workflows"}
    return Workflow(**(arguments | {"workflow_version": "1.0"} | changes))


def diamond(**changes):
    """Return the workflow of the golden files."""
    workflow = new_workflow(detail="golden", tags=["solar"], **changes)
    workflow.add_node(First)
    workflow.add_node(Second, upstreams=First, resource_queue=ResourceQueue.HIGH_MEMORY)
    workflow.add_node(Third, upstreams=First, pip_extras=["asdf"])
    workflow.add_node(Fourth, upstreams=[Third, Second])
    return workflow
