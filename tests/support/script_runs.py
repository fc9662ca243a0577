"""Run the task script on the release of `script_package`."""

import os
import subprocess
from pathlib import Path

from dkist_processing_core.authoring.spec import NodeSpec, WorkflowSpec
from dkist_processing_core.rendering.task_script import runnable_script
from support.releases import with_links
from support.script_package import NAME


def new_spec(task="Good", *, name=NAME, version="1.0", extras=("frozen",)):
    node = NodeSpec(
        name=task,
        task=f"dkist_script_test.tasks:{task}",
        upstreams=(),
        queue="default",
        pool="default_pool",
        extras=extras,
        retries=0,
        retry_delay_seconds=60,
        doc="",
    )
    return WorkflowSpec(
        name="a_to_b_script",
        version=version,
        dag_id=f"a_to_b_script_{version}",
        package="dkist_script_test.workflows",
        distribution=name,
        tags=(),
        nodes=(node,),
    )


def start(spec, releases, **environment):
    variables = {"DKIST_RECIPE_RUN_ID": "42", **with_links(releases), **environment}
    return subprocess.Popen(
        ["bash", "-c", runnable_script(spec, spec.nodes[0])],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(spec, releases, **environment):
    spec = new_spec(spec) if isinstance(spec, str) else spec
    process = start(spec, releases, **environment)
    try:
        stdout, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, "")


def environments(cache):
    return [each for each in Path(cache).iterdir() if each.is_dir()]
