"""Packages that tests write and import."""

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from dkist_processing_core.authoring.distributions import providing_distribution

# The example of the original package, verbatim, as a module of a package.
ORIGINAL_EXAMPLE = """
    from dkist_processing_core import TaskBase
    from dkist_processing_core import Workflow

    # Task definitions
    class MyTask1(TaskBase):
        def run(self):
            print("Running MyTask1")


    class MyTask2(TaskBase):
        def run(self):
            print("Running MyTask2")

    # Workflow definition
    # MyTask1 -> MyTask2
    w = Workflow(process_category="My", process_name="Workflow", workflow_package=__package__, workflow_version="dev")
    w.add_node(MyTask1, upstreams=None)
    w.add_node(MyTask2, upstreams=MyTask1)
"""
FLOW = """
    from dkist_processing_core import TaskBase, Workflow

    class MyTask1(TaskBase):
        '''Do the first thing.'''
        def run(self):
            print(f"MyTask1 of {self.recipe_run_id}")
        def rollback(self):
            print(f"MyTask1 of {self.recipe_run_id} undone")

    class MyTask2(TaskBase):
        '''Do the second thing.'''
        def run(self):
            print(f"MyTask2 of {self.recipe_run_id}")

    workflow = Workflow(input_data="a", output_data="b", category="cam", detail=DETAIL,
                        workflow_package=__package__, workflow_version=VERSION)
    workflow.add_node(MyTask1)
    workflow.add_node(MyTask2, upstreams=MyTask1)
"""


def flow(detail: str = "one", version: str | None = "1.0") -> str:
    """Return a module that declares a workflow of two tasks."""
    return f"DETAIL, VERSION = {detail!r}, {version!r}\n" + textwrap.dedent(FLOW)


def workflows(
    package: str,
    category: str,
    graphs: Mapping[str, Mapping[str, str]],
    *,
    queues: Mapping[str, str] | None = None,
    operators: Mapping[str, str] | None = None,
) -> str:
    """
    Return a module that declares workflows of the tasks of a package, each under its detail.

    Parameters
    ----------
    package, category
        Of all workflows.
    graphs
        The tasks of each workflow, by its detail, with their upstreams, as in ``{"Two": "One", "Four": "Two Three"}``.
    queues, operators
        What is not the usual one, by task and by detail.
    """
    return textwrap.dedent(f"""
        from dkist_processing_core import Workflow
        from {package} import tasks

        def declare(detail, graph):
            operator = {operators or {}}.get(detail, "bash")
            workflow = Workflow(input_data="a", output_data="b", category="{category}", detail=detail or None,
                                workflow_package=__package__, workflow_version="1.0", operator=operator)
            for name, names in graph.items():
                upstreams, queue = [getattr(tasks, each) for each in names.split()], {queues or {}}.get(name)
                workflow.add_node(getattr(tasks, name), upstreams=upstreams, resource_queue=queue)
            return workflow

        globals().update((detail or "workflow", declare(detail, graph)) for detail, graph in {graphs}.items())
    """)


def write_sources(folder: Path, files: dict[str, str], *, name: str) -> Path:
    """Write the modules of a package into a folder, and return the package's folder."""
    for path, text in {"__init__.py": "", **files}.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return folder / name


@contextmanager
def imported_sources(folder: Path, files: dict[str, str], *, name: str = "package_of_a_test") -> Iterator[ModuleType]:
    """Write and import a package, and remove its modules at the end."""
    write_sources(folder, files, name=name)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
        providing_distribution.cache_clear()
        for each in [each for each in sys.modules if each.partition(".")[0] == name]:
            del sys.modules[each]
