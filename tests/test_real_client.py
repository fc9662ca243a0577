"""
Real clients of the published line, with this library in the place of that one.

Run by ``make client``: it installs some hundred distributions for each client, each needs its own Python, and a client
that there is no Python for is skipped. So it is no part of ``make test``.
"""

import json
import os
import shutil

import pytest
from support.clients import CLIENTS, COMMON, PACKAGE, RELATIVES, Installed, python_of, replacing
from support.command_line import run_command
from support.redis import running_redis
from support.releases import VERSION

pytestmark = [pytest.mark.client, pytest.mark.airflow, pytest.mark.network, pytest.mark.timeout(1200)]

NAME = "input_to_output_test"
GIGABYTES_OF_HIGH_MEM = 12
EXPORT = """
    import importlib, sys
    from dkist_processing_core.build_utils import export_dags, extract_workflows_from_package
    workflows = importlib.import_module(f"{sys.argv[1]}.workflows")
    files = export_dags(workflows, sys.argv[2])
    print(len(extract_workflows_from_package(workflows)), len(files))
"""
TALUS = f"""
    import talus
    from talus.models.connection_parameters import ConnectionParameterFactory
    from dkist_processing_core.config import core_configurations
    from {COMMON}.config import common_configurations

    class Message(talus.PublishMessageBase):
        default_routing_key = "client.m"

    def producer(settings):
        return talus.DurableProducer(
            queue_bindings=talus.Binding(
                queue=talus.Queue(name="client.q", arguments=settings.isb_queue_arguments), message=Message
            ),
            publish_exchange=settings.isb_publish_exchange,
            connection_parameters=settings.isb_producer_connection_parameters,
            connection_retryer=settings.isb_connection_retryer,
        )

    for settings in (core_configurations, common_configurations):
        assert settings.isb_publish_exchange == talus.Exchange(name="master.direct.x")
        assert isinstance(settings.isb_producer_connection_parameters, ConnectionParameterFactory)
        with producer(settings) as connected:
            connected.publish(Message({{"from": type(settings).__name__}}))
"""


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda each: each.release)
def installed(request, core_wheel, tmp_path_factory):
    """An environment as the client's own CI has it."""
    client = request.param
    python = python_of(client)
    folder = tmp_path_factory.mktemp("client")
    installed = Installed.new(folder, client, python, replacing(core_wheel, folder))
    installed.worker = {**replacing(core_wheel, folder), "DKIST_PYTHON": python}
    return installed


@pytest.fixture
def count(installed, record_property):
    """Say a number at the end of the report."""
    return lambda text: record_property(f"client {installed.client.release}", text)


@pytest.fixture(scope="module")
def environments(installed, tmp_path_factory):
    """The environments that the worker keeps for all runs of a client."""
    return tmp_path_factory.mktemp("environments")


@pytest.fixture(scope="module")
def exported(installed, airflow):
    """The number of the client's workflows; their DAG files are in Airflow's folder, and no others."""
    shutil.rmtree(airflow.dags)
    airflow.dags.mkdir()
    return export(installed, PACKAGE, airflow.dags)


def export(installed, package, folder):
    """Export all workflows of a package and return their number."""
    output = installed.execute(EXPORT, package, str(folder))
    found, written = map(int, output.split()[-2:])
    assert found == written == len([*folder.glob("*.py")])
    return found


def run_workflow(installed, airflow, environments, workflow, **environment):
    """Run one workflow on Airflow and return its state and output."""
    dag_id = f"{NAME}_{workflow}_{installed.client.release}"
    worker = {**installed.worker, "DKIST_ENVIRONMENT_CACHE": str(environments), **environment}
    done = airflow.run_dag(dag_id, {"recipe_run_id": 1}, worker)
    return done["state"], done["output"]


def test_its_own_workflow_tests_pass_unchanged(installed, count):
    """As its CI runs them."""
    outcomes = installed.run_tests(f"{PACKAGE}.tests.test_workflows")
    assert set(outcomes.values()) == {"passed"}, outcomes
    count(f"{len(outcomes)} of {len(outcomes)} workflow tests passed")


def test_every_module_imports(installed, count):
    """Those of the client and of the package that it builds on, with their tests, as with the published library."""
    outcomes = installed.imports()
    assert {name: error for name, error in outcomes.items() if error is not None} == {}
    assert len(outcomes) > 100
    count(f"{len(outcomes)} modules imported")


def test_every_workflow_exports_and_loads(installed, exported, airflow, count):
    """Airflow loads as many DAGs as the client has workflows, with no error and no warning."""
    loaded = airflow.load()
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    assert len(loaded["dags"]) == exported
    assert exported > 20
    count(f"{exported} exported, {len(loaded['dags'])} loaded")


def test_the_workflows_that_need_no_service_run(installed, exported, airflow, environments, count):
    """In environments of that very release, on Airflow; one of them is meant to fail."""
    left_out = set()
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < GIGABYTES_OF_HIGH_MEM * 1024**3:
        left_out.add("high_mem")
    if len(os.sched_getaffinity(0)) < 2:
        left_out |= {"exercise_dask", "exercise_multiprocessing"}
    expected = {name: state for name, state in installed.client.alone.items() if name not in left_out}
    done = {name: run_workflow(installed, airflow, environments, name) for name in expected}
    assert {name: state for name, (state, _) in done.items()} == expected, "\n".join(
        output[-4000:] for state, output in done.values()
    )
    assert "Failure is guaranteed" in done["fail"][1]
    for environment in (environments / "v1").glob("*/"):
        program = (
            "from importlib.metadata import version as v; print(v('dkist-processing-test'), v('dkist-processing-core'))"
        )
        run_command(environment / "bin/python", "-c", program).check(stdout=f"{installed.client.release} {VERSION}\n")
    count(f"{len(done)} run without a service" + (f" ({', '.join(sorted(left_out))} left out)" if left_out else ""))


def test_the_workflows_that_need_redis_run(installed, exported, airflow, environments, tmp_path, count):
    """Tasks of the package that the client builds on keep their tags there."""
    with running_redis(tmp_path) as redis:
        environment = {"MESH_CONFIG": redis, "SCRATCH_BASE_PATH": str(tmp_path / "scratch")}
        for name, state in installed.client.with_redis.items():
            done = run_workflow(installed, airflow, environments, name, **environment)
            assert done[0] == state, done[1][-4000:]
    count(f"{len(installed.client.with_redis)} run with Redis")


def test_talus_takes_what_the_configuration_offers(installed, rabbitmq):
    """A producer of talus publishes with the settings of this library, and with those of a subclass."""
    installed.execute(TALUS, MESH_CONFIG=rabbitmq.mesh_config)
    bodies = [json.loads(body) for _, body in rabbitmq.take_all("client.q")]
    rabbitmq.forget("client.q")
    assert [each["from"] for each in bodies] == [
        "DKISTProcessingCoreConfiguration",
        "DKISTProcessingCommonConfiguration",
    ]


@pytest.mark.parametrize("relative", RELATIVES, ids=lambda each: f"{each.package}-{each.release}")
def test_other_packages_of_the_family_export_and_load(relative, core_wheel, airflow, tmp_path, record_property):
    """Whatever is good for the two clients is not so for them alone."""
    python = python_of(relative)
    installed = Installed.new(tmp_path, relative, python, replacing(core_wheel, tmp_path))
    folder = tmp_path / "dags"
    exported = export(installed, relative.package, folder)
    loaded = airflow.load(folder)
    assert (loaded["import_errors"], loaded["warnings"]) == ({}, [])
    assert len(loaded["dags"]) == exported > 0
    record_property(f"client {relative.package} {relative.release}", f"{exported} exported, {exported} loaded")
