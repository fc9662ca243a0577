"""
The bash script that runs a node, and the Python programs inside of it.

Runs in: author and CI, where the script is put together. What the script itself runs is on the worker, with nothing
but bash, a Python and, if it is there, uv. The script is the same for every node; what differs reaches it
through environment variables, so no value of a node or of a run is ever part of a shell command.
"""

from functools import cache
from importlib.resources import files
from shlex import quote

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec

__all__ = ["node_environment", "runnable_script", "task_script"]

PROGRAMS = {
    "@DESCRIBE_ENVIRONMENT@": "describe_environment.py",
    "@VERIFY_ENVIRONMENT@": "verify_environment.py",
}


@cache
def task_script() -> str:
    """Return the text of the script, the same for every node of every workflow."""
    folder = files(__name__)
    text = (folder / "task.bash").read_text(encoding="utf-8")
    for placeholder, file_name in PROGRAMS.items():
        program = (folder / file_name).read_text(encoding="utf-8")
        text = text.replace(placeholder, program.strip("\n"))
    return text


def node_environment(workflow: WorkflowSpec, node: NodeSpec) -> dict[str, str]:
    """
    Return the environment variables that make the script run one node.

    Parameters
    ----------
    workflow, node
        What to run. The recipe run id is not among the variables: it is known when the workflow is triggered.
    """
    return {
        "DKIST_TASK": node.task,
        "DKIST_REQUIREMENT": workflow.requirement(node),
        "DKIST_CONSTRAINTS": node.constraints,
        "DKIST_WORKFLOW_NAME": workflow.name,
        "DKIST_WORKFLOW_VERSION": workflow.version,
    }


def runnable_script(workflow: WorkflowSpec, node: NodeSpec) -> str:
    """
    Return the script with the variables of one node set in it.

    ``DKIST_RECIPE_RUN_ID=1 bash script.sh`` runs it by hand just as Airflow does.
    """
    variables = "\n".join(f"export {name}={quote(value)}" for name, value in node_environment(workflow, node).items())
    return f"{variables}\n{task_script()}"
