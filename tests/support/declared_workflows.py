"""Workflows of the tasks in `support.tasks`."""

from dkist_processing_core import ResourceQueue, Workflow
from support.tasks import First, Fourth, Second, Third


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
