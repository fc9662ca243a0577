"""Variables that somebody has set on the worker for other programs."""

import json
import os
import sys

import pytest
from support.command_line import run_python
from support.releases import with_links
from support.script_runs import run

# Of Python. Each that is set to a value which stops any Python at once would stop Airflow as well.
PYTHON = {
    "PYTHONINSPECT": "1",
    "PYTHONSTARTUP": "/nonexistent/startup.py",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "PYTHONPATH": "{folder}/modules",
    "PYTHONHOME": sys.base_prefix,
    "PYTHONUSERBASE": "{folder}/modules",
    "PYTHONSAFEPATH": "1",
    "PYTHONDEVMODE": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONIOENCODING": "ascii",
    "PYTHONBREAKPOINT": "no.such.function",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPROFILEIMPORTTIME": "1",
    "PYTHONTRACEMALLOC": "5",
    "PYTHONDEBUG": "1",
    "PYTHONINTMAXSTRDIGITS": "640",
    "PYTHONCASEOK": "1",
    "PYTHONUTF8": "0",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONASYNCIODEBUG": "1",
    "PYTHONUNBUFFERED": "",
    "PYTHONCOERCECLOCALE": "warn",
    "PYTHON_COLORS": "1",
    "PYTHON_HISTORY": "/nonexistent/history",
}
# Of shells and of the programs that they start.
SHELL = {
    "BASH_ENV": "{folder}/bash_env",
    "ENV": "{folder}/bash_env",
    "BASH_FUNC_cd%%": "() {{ return 1; }}",
    "BASH_FUNC_exec%%": "() {{ return 0; }}",
    "BASH_FUNC_sleep%%": "() {{ return 1; }}",
    "SHELLOPTS": "noexec:errexit:nounset",
    "BASHOPTS": "failglob",
    "POSIXLY_CORRECT": "1",
    "IFS": "/",
    "CDPATH": "/nonexistent:/usr",
    "GLOBIGNORE": "*",
    "EXECIGNORE": "*",
    "FUNCNEST": "1",
    "PIPESTATUS": "0",
    "BASH_COMPAT": "99",
    "BASH_XTRACEFD": "1",
    "PS4": "$(touch {folder}/owned)",
    "PROMPT_COMMAND": "false",
    "TMOUT": "1",
    "LD_PRELOAD": "/nonexistent/library.so",
    "LC_ALL": "xx_XX.UTF-8",
    "LANG": "C",
    "PAGER": "/nonexistent/pager",
    "EDITOR": "/nonexistent/editor",
    "COLUMNS": "1",
    "TERM": "no-such-terminal",
}
ALL = PYTHON | SHELL
OPERATOR = """
    import json, os, sys
    from dkist_processing_core.scheduling import TaskOperator, workflow_dag
    before = dict(os.environ)
    for name, task, variables in json.load(sys.stdin):
        with workflow_dag(
            protocol=1, exported_by="8.0.0", name=f"a_to_b_script_{task}", version="1.0",
            distribution="dkist-script-test", tags=[],
        ):
            operator = TaskOperator(task_id="task", task=f"dkist_script_test.tasks:{task}")
        operator.recipe_run_id = "42"
        os.environ.update(variables)
        try:
            operator.execute({})
        except Exception as error:
            done = str(error)
        else:
            done = "succeeded"
        os.environ.clear()
        os.environ.update(before)
        print("RESULT", json.dumps([name, task, done]), flush=True)
"""
# Each of these alone once changed what a task did, or whether it was said to have failed, or might.
ALONE = [
    "BASH_ENV",
    "BASH_FUNC_cd%%",
    "BASH_FUNC_exec%%",
    "ENV",
    "FUNCNEST",
    "IFS",
    "LD_PRELOAD",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONOPTIMIZE",
    "PYTHONPATH",
    "PYTHONWARNINGS",
    "SHELLOPTS",
]


def hostile(folder):
    """Return the variables, with the files that they name in a folder."""
    (folder / "modules").mkdir(exist_ok=True)
    for name in ("dkist_script_test", "pip", "numpy", "sitecustomize"):
        (folder / "modules" / f"{name}.py").write_text("print('owned')\n")
    (folder / "bash_env").write_text("set -e\nfalse\nexit 3\n")
    return {name: value.format(folder=folder) for name, value in ALL.items()}


@pytest.fixture(scope="module")
def results(releases, warm_cache, tmp_path_factory):
    """How tasks end that the operator runs in an Airflow which was started without the variables, and its output."""
    folder = tmp_path_factory.mktemp("foreign")
    variables = hostile(folder)
    cases = [
        [name, task, {"DKIST_ENVIRONMENT_CACHE": str(warm_cache), "FACTS": str(folder / name), **chosen}]
        for name, chosen in [*((each, {each: variables[each]}) for each in ALONE), ("all", variables)]
        for task in ("RunsAScript", "Asserts")
    ]
    (folder / "bash").write_text("#!/bin/sh\nexit 0\n")
    (folder / "bash").chmod(0o755)
    cases.append(["another bash", "Good", {"PATH": f"{folder}:{os.environ['PATH']}"}])
    cases.append(["build", "Good", {"DKIST_ENVIRONMENT_CACHE": str(folder / "cache"), **variables}])
    done = run_python(OPERATOR, text=json.dumps(cases), seconds=280, **with_links(releases)).check()
    lines = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert not (folder / "owned").exists()
    return {(name, task): result for name, task, result in map(json.loads, lines)}, folder, done.stdout + done.stderr


@pytest.mark.airflow
@pytest.mark.parametrize("name", [*ALONE, "all"])
def test_a_variable_of_another_program_changes_no_task(results, name):
    """A good task, which runs a script of its own, succeeds, and a failing one fails with its own error."""
    ended, folder, output = results
    assert (ended[name, "RunsAScript"], (folder / name).exists()) == ("succeeded", True), output
    assert ended[name, "Asserts"] == "AssertionError: the flat is missing (exit status 1)", output


@pytest.mark.airflow
def test_exit_status_0_alone_is_no_success(results):
    """The worker program has not run; it would have said how the task ended."""
    ended, _, output = results
    message = "The worker program ended before it could say what happened to the task (exit status 0)"
    assert ended["another bash", "Good"] == message, output


@pytest.mark.airflow
def test_an_environment_is_built_whatever_is_set(results):
    """All of them at once, with uv."""
    ended, _, output = results
    assert ended["build", "Good"] == "succeeded", output
    assert "environment built in" in output


@pytest.mark.parametrize("name", ["PYTHONINSPECT", "PYTHONWARNINGS", "PYTHONOPTIMIZE"])
def test_the_program_ends_with_the_status_of_the_task_by_hand(releases, warm_cache, tmp_path, name):
    """In a shell of somebody who has set a variable of Python."""
    variables = {name: hostile(tmp_path)[name], "DKIST_ENVIRONMENT_CACHE": str(warm_cache)}
    assert [run(task, releases, **variables).returncode for task in ("Good", "Bad")] == [0, 1]
