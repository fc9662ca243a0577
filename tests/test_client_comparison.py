"""
The tests of real client packages with the published library and with this one: none may pass with that one alone.

Run by ``make client-compare``, which takes some twenty minutes. Beside the client's own tests these are the tests that
come with the package that it builds on. They need a Redis and a RabbitMQ, which are real here; a test that needs
another service of the data centre fails with either library.
"""

import json
import re
import socket

import pytest
from support.clients import CLIENTS, COMMON, PACKAGE, Installed, python_of, replacing
from support.rabbitmq import running
from support.redis import running_redis
from support.releases import REPOSITORY

pytestmark = [pytest.mark.client_comparison, pytest.mark.network, pytest.mark.timeout(6000)]

# Tests that may fail with this library although they pass with the published one, with the reason.
EXCUSED: dict[str, str] = {}
NAMES = """
    import importlib, inspect, json, sys
    from dkist_processing_core import ResourceQueue, TaskBase, Workflow
    from dkist_processing_core.config import DKISTProcessingCoreConfiguration as Configuration

    class Task(TaskBase):
        def run(self): ...

    def is_own(name, value):
        if inspect.isclass(value) or inspect.isfunction(value):
            return value.__module__.startswith("dkist_processing_core")
        return name.isupper() or name.endswith("_type_hint")

    workflow = Workflow(input_data="a", output_data="b", category="c", workflow_package="dkist_processing_core")
    workflow.add_node(Task, upstreams=None, resource_queue=ResourceQueue.DEFAULT)
    found = {*dir(workflow), *dir(workflow.nodes[0]), *dir(Task(1, "a", "b"))}
    found |= {*dir(Configuration), *Configuration.model_fields}
    for each in ("build_utils", "config", "failure_callback", "node", "notebook_utils", "task", "workflow"):
        try:
            module = importlib.import_module(f"dkist_processing_core.{each}")
        except ModuleNotFoundError:
            continue
        everything = {*dir(module), *getattr(module, "__all__", ())}
        found |= {name for name in everything if is_own(name, getattr(module, name))}
    with open(sys.argv[1], "w") as answer:
        json.dump(sorted(name for name in found if not name.startswith("_")), answer)
"""
OPTIONS = ("-n", "2", "--timeout", "120", "-W", "ignore")
# Those of the bus are left to a test of their own; the fixture of the others computes for minutes.
LEFT_OUT = ("-k", "not test_isb and not polcal_store_results")
LIBRARIES = ("published", "ours")
USUAL_PORT = 5672


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda each: each.release)
def both(request, core_wheel, tmp_path_factory):
    """Two environments of a client, one with the library that it pins and one with this library."""
    client = request.param
    python = python_of(client)
    folders = {name: tmp_path_factory.mktemp(name) for name in LIBRARIES}
    settings = {"published": {}, "ours": replacing(core_wheel, folders["ours"])}
    return {name: Installed.new(folders[name], client, python, settings[name]) for name in LIBRARIES}


def test_the_same_modules_import(both):
    """Whatever imports with the published library does with this one."""
    published, ours = (both[name].imports() for name in LIBRARIES)
    assert [name for name, error in published.items() if error is None and ours[name] is not None] == []
    assert published.keys() == ours.keys()


def test_every_name_that_is_gone_is_in_the_guide_to_migration(both, tmp_path):
    """By its own name there, or by the beginning of it: ``otel_...``."""
    names = {}
    for name in LIBRARIES:
        both[name].execute(NAMES, str(tmp_path / name))
        names[name] = set(json.loads((tmp_path / name).read_text()))
    gone = names["published"] - names["ours"]
    assert "workflow_imports" in gone
    literals = re.findall(r"``([^`]+)``", (REPOSITORY / "docs/how-to/migration.rst").read_text())
    named = {word for each in literals for word in re.findall(r"\w+", each)}
    beginnings = tuple(each.removesuffix("...") for each in literals if re.fullmatch(r"\w+\.\.\.", each))
    assert [name for name in sorted(gone) if name not in named and not name.startswith(beginnings)] == []


def compare(both, package, options, mesh, record_property):
    """Run tests with either library; none may pass with the published one alone. What is not there has not passed."""
    outcomes = {}
    for name in LIBRARIES:
        outcomes[name] = both[name].run_tests(package, *OPTIONS, *options, timeout=2400, MESH_CONFIG=mesh)
    published, ours = (outcomes[name] for name in LIBRARIES)
    passed = {name: {test for test, outcome in outcomes[name].items() if outcome == "passed"} for name in LIBRARIES}
    lost = passed["published"] - passed["ours"]
    record_property(
        f"client {both['ours'].client.release}",
        f"{package} {' '.join(options)}: {len(passed['published'])} of {len(published)} tests pass with the published "
        f"library, {len(passed['ours'])} of {len(ours)} with this one, {len(lost)} with the published one alone",
    )
    assert passed["published"]
    log = (both["ours"].folder / f"{package}.log").read_text()
    assert {test: ours.get(test, "not there") for test in sorted(lost) if test not in EXCUSED} == {}, log[-20000:]


@pytest.mark.parametrize(("package", "options"), [(PACKAGE, ()), (COMMON, LEFT_OUT)], ids=[PACKAGE, COMMON])
def test_no_test_passes_with_the_published_library_alone(both, package, options, tmp_path, record_property):
    """Test by test."""
    with running_redis(tmp_path) as redis:
        compare(both, package, options, redis, record_property)


def test_no_test_of_the_bus_passes_with_the_published_library_alone(both, tmp_path, record_property):
    """They expect a broker at the usual port and nowhere else."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", USUAL_PORT)) == 0:
            pytest.skip(f"port {USUAL_PORT} is taken")
    with running(tmp_path, port=USUAL_PORT), running_redis(tmp_path) as redis:
        compare(both, COMMON, ("-k", "test_isb"), redis, record_property)
