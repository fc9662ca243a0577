"""What importing this library costs."""

import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from support.command_line import run_command, run_python

import dkist_processing_core

HEAVY = ["airflow", "elasticapm", "jinja2", "nbformat", "opentelemetry", "pika", "pydantic", "rich", "tomlkit"]


@pytest.mark.parametrize(
    "program",
    [
        "import dkist_processing_core as core; core.TaskBase; core.Workflow; core.ResourceQueue; core.__version__",
        "import dkist_processing_core.runtime.main",
        "import dkist_processing_core.build_utils",
    ],
    ids=["package", "run_task", "build_utils"],
)
def test_nothing_heavy_is_imported(program):
    """In a fresh interpreter none of the heavy packages is loaded."""
    program += f"\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    run_python(program).check(stdout="[]\n")


@pytest.mark.parametrize("module", ["dkist_processing_core", "dkist_processing_core.failure_callback"])
def test_the_scheduler_and_a_bare_import_load_the_standard_library_only(module):
    """Of everything that is not the standard library, only this library itself is loaded."""
    program = (
        f"import sys; before = set(sys.modules); import {module}\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names)))"
    )
    # Without site, so that what the environment loads at the start of each Python does not count.
    library = str(Path(dkist_processing_core.__file__).parents[1])
    run_command(sys.executable, "-S", "-c", program, PYTHONPATH=library).check(stdout="['dkist_processing_core']\n")


def test_importing_does_not_depend_on_settings():
    """A malformed environment is an error of what needs it, not of the import."""
    program = (
        "import dkist_processing_core.config, dkist_processing_core.build_utils, dkist_processing_core.failure_callback"
    )
    broken = {"MESH_CONFIG": "{", "ELASTIC_APM_ENABLED": "perhaps", "PIP_TIMEOUT": "x", "PATH": "/usr/bin"}
    done = run_python(program, env=broken).check()
    assert (done.stdout, done.stderr) == ("", "")


def test_unknown_names_are_attribute_errors():
    """The lazy packages behave like any other module."""
    import dkist_processing_core
    from dkist_processing_core import failure_callback, local

    for module in (dkist_processing_core, failure_callback, local):
        with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
            module.nonsense  # noqa: B018 - looking is the point
    assert {"TaskBase", "Workflow", "ResourceQueue", "__version__"} <= set(dir(dkist_processing_core))
    assert {"RunResult", "run_workflow"} <= set(dir(local))


def test_no_modules_import_each_other_in_a_circle():
    """Neither when they run nor for types only; the layers contract does not look inside a folder."""
    grimp = pytest.importorskip("grimp", reason="grimp is not installed (pip install import-linter)")
    graph = grimp.build_graph("dkist_processing_core", exclude_type_checking_imports=False, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imported) > 100
    TopologicalSorter(imported).prepare()  # a CycleError names the modules
