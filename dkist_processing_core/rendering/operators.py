"""
The Airflow operators that can run a node, as the text that makes them.

Runs in: author and CI. Which one a workflow uses is visible in its exported file and nowhere else: both run the same
task code, with the same requirement, variables, callback, queue and pool.
"""

from dkist_processing_core.authoring.spec import WorkflowSpec
from dkist_processing_core.rendering.literals import multiline_literal
from dkist_processing_core.rendering.task_script import task_script

__all__ = ["constraints_of", "operator_preamble"]

RECIPE_RUN_ID = "{{ (dag_run.conf or {}).get('recipe_run_id', '') }}"

# The trace that Airflow carries, if it does so: a dictionary from 3.0 on, not there before.
TRACEPARENT = (
    "{{ ti.context_carrier.get('traceparent', '') "
    "if ti is defined and ti.context_carrier is defined and ti.context_carrier else '' }}"
)

IMPORT = """\
try:  # Airflow 3, or Airflow 2 with the standard provider
    from airflow.providers.standard.operators.{module} import {operator}
except ImportError:
    from airflow.operators.{module} import {operator}
"""

# The end of the call that makes an operator, the same for both.
COMMON_ARGUMENTS = """\
        do_xcom_push=False,
        owner=OWNER,
        queue=queue,
        pool=pool,
        retries=retries,
        retry_delay=timedelta(seconds=retry_delay_seconds),
        on_failure_callback=partial(
            chat_ops_notification,
            workflow_name=WORKFLOW_NAME,
            workflow_version=WORKFLOW_VERSION,
            task_name=name,
        ),
        doc_md=doc,
    )
"""

BASH_NODE = (
    '''\
def node(name, *, task, requirement, queue, pool, retries, retry_delay_seconds, doc, constraints=""):
    """Run one task; what differs from node to node, or from run to run, reaches SCRIPT as a variable."""
    return BashOperator(
        task_id=name,
        bash_command='exec bash -c "$DKIST_SCRIPT" dkist',
        env={
            "DKIST_SCRIPT": SCRIPT,
            "DKIST_TASK": task,
            "DKIST_REQUIREMENT": requirement,
            "DKIST_CONSTRAINTS": constraints,
            "DKIST_WORKFLOW_NAME": WORKFLOW_NAME,
            "DKIST_WORKFLOW_VERSION": WORKFLOW_VERSION,
            "DKIST_RECIPE_RUN_ID": "@RECIPE_RUN_ID@",
            "TRACEPARENT": "@TRACEPARENT@",
        },
        append_env=True,
        skip_on_exit_code=None,
'''
    + COMMON_ARGUMENTS
)

PYTHON_VIRTUALENV_NODE = (
    '''\
# Hidden in the cache of the other operator, which passes over it.
VENV_CACHE_PATH = os.path.join(
    os.environ.get("DKIST_ENVIRONMENT_CACHE")
    or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "dkist-processing-core", "environments"
    ),
    ".python_virtualenv",
)


def run_task(task, recipe_run_id, workflow_name, workflow_version, traceparent):
    """Run one task; Airflow copies this function into the virtual environment and calls it there."""
    import ctypes
    import os
    import signal
    import sys

    # Nothing of Airflow's own environment belongs into a task: neither its settings and secrets nor its Python.
    unwanted = ("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "_AIRFLOW_", "AIRFLOW_HOME", "PYTHONPATH", "PYTHONHOME")
    for name in list(os.environ):
        if name.startswith(unwanted):
            del os.environ[name]
    sys.path[:] = [each for each in sys.path if each.startswith((sys.prefix, sys.base_prefix))]
    os.environ["DKIST_RECIPE_RUN_ID"] = recipe_run_id
    os.environ["TRACEPARENT"] = traceparent
    if sys.platform == "linux":
        # Airflow does not end a virtual environment's process with its own; the kernel can (PR_SET_PDEATHSIG, 1).
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)

    from dkist_processing_core.runtime.main import main

    status = main([task, "--workflow-name", workflow_name, "--workflow-version", workflow_version])
    if status:
        sys.exit(status)


def node(name, *, task, requirement, queue, pool, retries, retry_delay_seconds, doc):
    """Run one task; what differs from run to run reaches run_task as an argument."""
    return PythonVirtualenvOperator(
        task_id=name,
        python_callable=run_task,
        op_kwargs={
            "task": task,
            "recipe_run_id": "@RECIPE_RUN_ID@",
            "workflow_name": WORKFLOW_NAME,
            "workflow_version": WORKFLOW_VERSION,
            "traceparent": "@TRACEPARENT@",
        },
        requirements=[requirement],
        system_site_packages=False,
        expect_airflow=False,
        venv_cache_path=VENV_CACHE_PATH,
'''
    + COMMON_ARGUMENTS
)


def _filled(text: str) -> str:
    """Return the text with the values of a run, which Airflow puts in when the task starts."""
    return text.replace("@RECIPE_RUN_ID@", RECIPE_RUN_ID).replace("@TRACEPARENT@", TRACEPARENT)


def operator_preamble(workflow: WorkflowSpec) -> tuple[list[str], list[str]]:
    """
    Return what the operator of a workflow needs above the DAG.

    Returns
    -------
    tuple of list of str
        The import statements of the standard library and of Airflow, in this order; and what follows the constants
        that name the workflow, ending with the function ``node``.
    """
    if workflow.operator == "python_virtualenv":
        imports = ["import os", IMPORT.format(module="python", operator="PythonVirtualenvOperator")]
        return imports, [_filled(PYTHON_VIRTUALENV_NODE)]
    constants = [
        f"CONSTRAINTS_{number} = {multiline_literal(text)}"
        for number, text in enumerate(constraints_of(workflow), start=1)
    ]
    script = f"SCRIPT = {multiline_literal(task_script())}"
    return ["", IMPORT.format(module="bash", operator="BashOperator")], [*constants, script, "", "", _filled(BASH_NODE)]


def constraints_of(workflow: WorkflowSpec) -> list[str]:
    """Return the different constraints of the nodes, sorted, so that each stands in the file once."""
    return sorted({node.constraints for node in workflow.nodes if node.constraints})
