"""
The shell script that runs one node by hand, as a worker runs it.

Runs in: author and CI. The script sets the variables of the node and starts the worker program; a value enters it
only through `shlex.quote`.
"""

from shlex import quote

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec

__all__ = ["node_variables", "runnable_script"]

COMMENT = """\
# Runs one task as a worker does: DKIST_RECIPE_RUN_ID=1 bash script.sh
# It needs a python3 on PATH that has dkist-processing-core installed."""
COMMAND = "exec python3 -P -m dkist_processing_core.worker"


def node_variables(workflow: WorkflowSpec, node: NodeSpec) -> dict[str, str]:
    """
    Return the environment variables that describe a node to the worker program.

    Parameters
    ----------
    workflow, node
        The node to run, and its workflow. The recipe run id is not among the variables, since it is known only in a
        run.
    """
    return {
        "DKIST_TASK": node.task,
        "DKIST_REQUIREMENT": workflow.requirement(node),
        "DKIST_CONSTRAINTS": node.constraints,
        "DKIST_REQUIRES_PYTHON": workflow.requires_python,
        "DKIST_WORKFLOW_NAME": workflow.name,
        "DKIST_WORKFLOW_VERSION": workflow.version,
    }


def runnable_script(workflow: WorkflowSpec, node: NodeSpec) -> str:
    """Return the script. Run it with ``DKIST_RECIPE_RUN_ID=1 bash script.sh``."""
    exports = [f"export {name}={quote(value)}" for name, value in node_variables(workflow, node).items()]
    return "\n".join([COMMENT, *exports, COMMAND, ""])
