"""The script that runs a node by hand."""

import dataclasses
import os
import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st
from support.script_runs import new_spec

from dkist_processing_core.rendering.script import COMMAND, node_variables, runnable_script

# What an environment variable can hold.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=25)
@given(texts, texts, texts)
def test_any_text_survives_the_shell(name, version, constraints):
    """Each variable has just the value that the node has; nothing in a value is run."""
    spec = dataclasses.replace(new_spec(), name=name, version=version)
    node = dataclasses.replace(spec.nodes[0], constraints=constraints)
    script = runnable_script(spec, node).replace(COMMAND, "exec env -0")
    done = subprocess.run(["bash", "-c", script], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    seen = dict(each.split("=", 1) for each in done.stdout.decode().rstrip("\0").split("\0"))
    assert node_variables(spec, node).items() <= seen.items()


def test_the_script_starts_the_worker_program():
    """Its last line is the command, in the place of the shell, so that signals reach it."""
    spec = new_spec()
    assert runnable_script(spec, spec.nodes[0]).endswith("\nexec python3 -P -m dkist_processing_core.worker\n")
