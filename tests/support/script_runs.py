"""Run the worker program on the release of `script_package`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dkist_processing_core
from dkist_processing_core.rendering.script import node_variables, runnable_script
from dkist_processing_core.worker.cache import LAYOUT
from support import declared_workflows
from support.command_line import ended, start_command
from support.releases import with_links
from support.script_package import NAME

# How long a task may take to end in order, on a machine that may be busy; a test of what is killed then sets its own.
PATIENT_GRACE = "100"
# What the script of a node starts.
WORKER = (sys.executable, "-P", "-m", "dkist_processing_core.worker")


def new_spec(task="Good", *, name=NAME, version="1.0", extras=("frozen",)):
    node = declared_workflows.new_node(task, task=f"dkist_script_test.tasks:{task}", extras=extras)
    names = {"name": "a_to_b_script", "package": "dkist_script_test.workflows", "distribution": name}
    return declared_workflows.new_spec(node, version=version, **names)


def start(spec, releases, *program, **environment):
    """Start the script of a node, or a program with the variables of that script."""
    variables = {"DKIST_RECIPE_RUN_ID": "42", "DKIST_GRACE_SECONDS": PATIENT_GRACE, **with_links(releases)}
    if program:
        variables |= node_variables(spec, spec.nodes[0])
    command = program or ["bash", "-c", runnable_script(spec, spec.nodes[0])]
    return start_command(*command, stderr=subprocess.STDOUT, env={**os.environ, **variables, **environment})


def run(spec, releases, **environment):
    process = start(new_spec(spec) if isinstance(spec, str) else spec, releases, **environment)
    try:
        return ended(process)
    finally:
        process.kill()


def worker_without_uv(folder, *programs):
    """Return the variables of a worker that has this library, and no programs on PATH but a Python and those named."""
    folder.mkdir()
    for name in ("bash", *programs):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    return {"PATH": str(folder), "PYTHONPATH": str(Path(dkist_processing_core.__file__).parents[1])}


def environments(cache):
    folder = Path(cache) / LAYOUT
    return [each for each in folder.iterdir() if each.is_dir()] if folder.exists() else []
