"""What a worker would meet at the first run, and validation can know before."""

import functools
import textwrap
import zipfile
from dataclasses import dataclass
from importlib import import_module

import pytest
from support.sources import imported_sources

from dkist_processing_core import TaskBase, Workflow
from dkist_processing_core.exceptions import WorkflowError
from dkist_processing_core.validation import distribution, rules
from dkist_processing_core.validation.discovery import discover
from dkist_processing_core.validation.task_classes import class_faults

# The tests with a real Airflow are in other modules.
pytestmark = pytest.mark.usefixtures("without_airflow")
NAME = "known_of_a_test"
HEAD = """
    from dkist_processing_core import TaskBase, Workflow

    class Calibrate(TaskBase):
        '''Calibrate.'''
        def run(self): pass

    def new(detail="x", version="1.0"):
        return Workflow(input_data="a", output_data="b", category="c", detail=detail,
                        workflow_package=__package__, workflow_version=version)

"""


class Sound(TaskBase):
    def __init__(self, recipe_run_id, workflow_name, workflow_version, *, extra=None):
        super().__init__(recipe_run_id, workflow_name, workflow_version)
        self.extra = extra

    def __enter__(self):
        entered = super().__enter__()
        self.is_open = True
        return entered

    def run(self, how="fast"):
        """Take an argument with a default."""


def sound_but(**methods):
    """Return a class with other methods."""
    return type("Other", (Sound,), methods)


class TakesMore(Sound):
    def __init__(self, recipe_run_id, workflow_name, workflow_version, instrument):
        super().__init__(recipe_run_id, workflow_name, workflow_version)


class OtherNames(Sound):
    def __init__(self, recipe_run, name, version):
        super().__init__(recipe_run, name, version)


class ForgetsSuper(Sound):
    def __init__(self, recipe_run_id, workflow_name, workflow_version):
        self.frames = []


class InheritsTheForgetting(ForgetsSuper):
    """Has no constructor of its own."""


class EntersNothing(Sound):
    def __enter__(self):
        super().__enter__()


class EntersNone(Sound):
    def __enter__(self):
        super().__enter__()
        return None  # noqa: RET501, PLR1711 - what is tested


def injecting(function):
    """Give a method an argument of its own."""

    @functools.wraps(function)
    def wrapper(self, *arguments, **keywords):
        return function(self, *arguments, **keywords, store={})

    return wrapper


def returning_itself(function):
    @functools.wraps(function)
    def wrapper(self):
        function(self)
        return self

    return wrapper


class RunInjected(Sound):
    @injecting
    def run(self, store): ...


class InitInjected(Sound):
    @injecting
    def __init__(self, recipe_run_id, workflow_name, workflow_version, store):
        super().__init__(recipe_run_id, workflow_name, workflow_version)


@dataclass
class Data(Sound):
    recipe_run_id: int
    workflow_name: str
    workflow_version: str

    def __post_init__(self):
        super().__init__(self.recipe_run_id, self.workflow_name, self.workflow_version)


def make(task, *arguments):
    TaskBase.__init__(task, *arguments)


class InitElsewhere(Sound):
    def __init__(self, recipe_run_id, workflow_name, workflow_version):
        make(self, recipe_run_id, workflow_name, workflow_version)


class InitByMethod(Sound):
    def __init__(self, *arguments, **keywords):
        self.prepare(*arguments, **keywords)

    def prepare(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)


class EnterDecorated(Sound):
    @returning_itself
    def __enter__(self):
        super().__enter__()


class EnterReturnsInTheEnd(Sound):
    def __enter__(self):
        if self.recipe_run_id:
            return super().__enter__()
        return None


class RunProperty(Sound):
    @property
    def run(self):
        return lambda: None


class RunAsync(Sound):
    async def run(self): ...


class PreRunGenerator(Sound):
    def pre_run(self):
        yield 1


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Sound, None),
        *((each, None) for each in (RunInjected, InitInjected, Data, InitElsewhere, InitByMethod, EnterDecorated)),
        *((each, None) for each in (EnterReturnsInTheEnd, RunProperty)),
        (RunAsync, "its run is async, and calling it runs nothing"),
        (PreRunGenerator, "its pre_run is a generator, and calling it runs nothing"),
        (TakesMore, "missing a required argument: 'instrument'"),
        (OtherNames, "its __init__ cannot be called with recipe_run_id, workflow_name, workflow_version"),
        (ForgetsSuper, "ForgetsSuper.__init__ does not call super().__init__"),
        (InheritsTheForgetting, "ForgetsSuper.__init__ does not call super().__init__"),
        (sound_but(run=lambda self, frames: None), "its run is called without arguments: missing a required arg"),
        (sound_but(pre_run=lambda self, frames: None), "its pre_run is called without arguments"),
        (sound_but(post_run=lambda self, *, frames: None), "its post_run is called without arguments"),
        (sound_but(run=lambda: None), "its run is called without arguments"),
        (EntersNothing, "EntersNothing.__enter__ returns nothing"),
        (EntersNone, "EntersNone.__enter__ returns nothing"),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_the_class_of_a_task_fits_how_it_is_used(task, expected):
    """It is made with three arguments, entered, and called without any."""
    found = [what for what, _ in class_faults(task)]
    assert [expected in what for what in found] == ([] if expected is None else [True])


def checked(tmp_path, text, **options):
    """Return what is found in a module of a package."""
    with imported_sources(tmp_path / "sources", {"flow.py": HEAD + text}, name=NAME) as package:
        return rules.check(discover(package), **options)


def faults(tmp_path, text, **options):
    """Return what is wrong with it."""
    return [each.what for each in checked(tmp_path, text, **options).faults]


@pytest.fixture
def extras(monkeypatch):
    """Set the extras of the distribution that provides the package."""

    class Metadata(dict):
        def get_all(self, name):
            return self.get(name)

    def declare(*names):
        monkeypatch.setattr(distribution, "providing_distribution", lambda _: "known-of-a-test")
        monkeypatch.setattr(distribution, "metadata", lambda _: Metadata({"Provides-Extra": list(names) or None}))

    return declare


@pytest.mark.parametrize("version", ["v1.0", "V2.3.1"])
def test_a_version_has_no_v_before_it(tmp_path, version):
    """The release is named without one, and the DAG id would be with it."""
    [fault] = faults(tmp_path, f"    flow = new(version={version!r})\n    flow.add_node(Calibrate)\n")
    assert f"its version is '{version}', but that of the release is '{version[1:]}'" in fault


def test_a_version_has_one_spelling(tmp_path):
    """Two of them would be two DAGs of one release."""
    text = "".join(
        f"    {name} = new({name!r}, {version!r})\n    {name}.add_node(Calibrate)\n"
        for name, version in (("one", "1.0"), ("two", "1.0.0"), ("three", "1.0"))
    )
    [fault] = faults(tmp_path, text)
    assert (
        "'1.0.0' is another spelling of the version '1.0' of a_to_b_c_one" in fault
        or "'1.0' is another spelling of the version '1.0.0'" in fault
    )


def test_an_extra_must_be_declared(tmp_path, extras):
    """Names of extras are compared as packaging does."""
    extras("frozen", "Quality_Plots")
    text = "    flow = new()\n    flow.add_node(Calibrate, pip_extras=['quality.plots', 'asdf'])\n"
    [fault] = faults(tmp_path, text)
    assert fault == "the extra 'asdf' is not one of known-of-a-test, which has frozen, quality-plots"


@pytest.mark.parametrize(("names", "is_warned"), [(["frozen"], 0), (["FROZEN"], 0), (["test"], 1), ([], 1)])
def test_a_release_without_frozen_is_a_warning(tmp_path, extras, names, is_warned):
    """Once for a package."""
    extras(*names)
    text = "".join(f"    {name} = new({name!r})\n    {name}.add_node(Calibrate)\n" for name in ("one", "two"))
    found = checked(tmp_path, text).warnings
    assert sum("has no extra 'frozen'" in each.what for each in found) == is_warned


def wheel(
    tmp_path,
    name="known_of_a_test-1.0-py3-none-any.whl",
    files=(f"{NAME}/flow.py",),
    extras=("frozen",),
    text=HEAD,
    size=None,
):
    """Write a wheel, as far as validation reads it; one of a ``size`` is cut off."""
    file = tmp_path / name
    with zipfile.ZipFile(file, "w") as archive:
        for each in files:
            archive.writestr(each, textwrap.dedent(text))
        lines = ["Metadata-Version: 2.4", "Name: known-of-a-test", *(f"Provides-Extra: {each}" for each in extras)]
        archive.writestr("known_of_a_test-1.0.dist-info/METADATA", "\n".join(lines) + "\n")
    file.write_bytes(file.read_bytes()[:size])
    return file


BOTH = ("frozen", "plots")
FLOW = "    flow = new()\n    flow.add_node(Calibrate, pip_extras='plots')\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"extras": BOTH}, []),
        ({}, ["the wheel has no extra 'plots'"]),
        ({"extras": BOTH, "files": ()}, [f"the wheel does not contain the module {NAME}.flow"]),
        ({"extras": ("plots",)}, ["the wheel has no extra 'frozen'"]),
        (
            {"extras": BOTH, "name": "known_of_a_test-1.1-py3-none-any.whl"},
            ["its version is 1.0, but the version of the wheel"],
        ),
        (
            {"name": "other-1.0-py3-none-any.whl"},
            ["its tasks are installed from known-of-a-test, but the wheel belongs to other"],
        ),
        ({"name": "nonsense.whl"}, ["it is not a readable wheel"]),
        ({"size": 2}, ["it is not a readable wheel"]),
        (
            {"extras": BOTH, "text": "class Other: ..."},
            [f"the module {NAME}.flow in the wheel does not contain its class Calibrate"],
        ),
        ({"extras": BOTH, "text": "class Calibrate("}, [f"the module {NAME}.flow in the wheel is not valid Python"]),
    ],
)
def test_a_wheel_has_what_the_tasks_need(tmp_path, options, expected):
    """Name, version, modules and extras."""
    found = faults(tmp_path, FLOW, wheel=wheel(tmp_path, **options))
    assert [any(each.startswith(text) for each in found) for text in expected] == [True] * len(expected)
    assert len(found) == len(expected)


def test_a_wheel_has_what_the_workflows_import(tmp_path):
    """A module of the package without a task, such as the base class of all, is needed as well; its tests are not."""
    files = {"base.py": "", "tests/conftest.py": "", "flow.py": f"    from {NAME} import base\n{HEAD}{FLOW}"}
    with imported_sources(tmp_path / "sources", files, name=NAME) as package:
        import_module(f"{NAME}.tests.conftest")
        made = wheel(tmp_path, extras=BOTH)
        [fault] = rules.check(discover(package), wheel=made).faults
    assert fault.what == f"it does not contain the module {NAME}.base, which the workflows import"


def test_advice_on_a_pool_that_is_there_can_be_silenced(tmp_path, monkeypatch):
    """By name, or by a variable."""

    def advised(**options):
        text = "    flow = new()\n    flow.add_node(Calibrate, resource_queue='gpu')\n"
        return sum("gpu_pool" in each.what for each in checked(tmp_path, text, **options).warnings)

    assert advised() == 1
    assert advised(pools=["gpu_pool"]) == 0
    monkeypatch.setenv("DKIST_EXPECTED_POOLS", "other_pool gpu_pool")
    assert advised() == 0


def test_a_fault_of_a_class_is_one_of_its_workflow(tmp_path):
    """It is found with those of the workflow."""
    text = "    Calibrate.run = lambda self, frames: None\n    flow = new()\n    flow.add_node(Calibrate)\n"
    [fault] = faults(tmp_path, text)
    assert fault.startswith("its run is called without arguments")


def test_a_task_in_the_running_program_is_not_exported(tmp_path):
    """No worker could import it; `validate_workflows` has refused it already."""
    task = type("Calibrate", (Sound,), {"__module__": "__main__"})
    flow = Workflow(input_data="a", output_data="b", category="c", workflow_package="known", workflow_version="1.0")
    flow.add_node(task)
    with pytest.raises(WorkflowError, match="the class of Calibrate is defined in the program that is running"):
        flow.export_dag(tmp_path / "dags")
    assert not (tmp_path / "dags").exists()
