"""Each fault of a machine is one red line, and its remedy works; real servers, real locks, a real Airflow."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.apm import SERVICE
from support.command_line import PROGRAM, run_command, run_program
from support.examined import (
    ask_for_pools,
    ask_once,
    checked,
    examined,
    line,
    persistent_folder,
    red,
    site,
    sound_variables,
    statuses,
)
from support.mesh import BUS, mesh_config
from support.messages import new_envelope
from support.peers import peer, relay, swallowing
from support.ports import free_ports
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most, wait_until
from support.wheels import make_wheel

from dkist_processing_core.common.programs import family, parents
from dkist_processing_core.doctor import airflow as airflow_checks
from dkist_processing_core.doctor import bus, installer, timeouts
from dkist_processing_core.doctor.examination import Check, examine
from dkist_processing_core.doctor.machine import Machine, Place
from dkist_processing_core.doctor.report import CheckError, Finding
from dkist_processing_core.doctor.timeouts import check_time_outs, parse_timespan
from dkist_processing_core.isb import spool

pytest.importorskip("airflow", reason="Airflow is not installed (pip install 'dkist-processing-core[airflow]')")

pytestmark = [pytest.mark.airflow, pytest.mark.once, pytest.mark.rabbitmq]

NOBODY = 65534
EXPORT = re.compile(r"export (\w+)=([^;,\s]+)")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else, or mount one")


@pytest.fixture(scope="module")
def server(rabbitmq_with_tls):
    """A running RabbitMQ of these tests, since they change its users."""
    return rabbitmq_with_tls


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def place():
    """A folder that outlasts a restart."""
    with persistent_folder() as folder:
        yield folder


@pytest.fixture
def installer_settings():
    """The settings of this machine by which installers find an index."""
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))}


@pytest.fixture
def worker(installer_settings, place, servers, server, monkeypatch):
    """A worker that is set up as it must be, in the environment variables of this process."""
    for name in installer_settings:
        monkeypatch.delenv(name)
    for name, value in sound_variables(place, servers, server.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(airflow_checks, "_ask", ask_once)
    servers.credentials, servers.seconds_ahead = "", 0.0
    yield monkeypatch
    server.check()


def remedy_of(check, report):
    """Return the remedy of the one check that has failed."""
    assert red(report) == [check], [(each.check, each.found) for each in report.lines if each.status == "failed"]
    assert line(report, check).remedy
    return line(report, check).remedy


def follow(remedy, monkeypatch):
    """Set the first variable that a remedy exports."""
    name, value = EXPORT.search(remedy).groups()
    monkeypatch.setenv(name, value)


def assert_green(report):
    assert red(report) == [], [(each.check, each.found) for each in report.lines if each.status == "failed"]
    assert report.is_sound


def assert_red_until(check, remedy, worker, wrong, right, place="worker"):
    """Assert that wrong variables make one check red, with this in its remedy, and right ones make it green."""
    for name, value in wrong.items():
        worker.setenv(name, value)
    report = examined(place)
    assert remedy in remedy_of(check, report)
    for name, value in right.items():
        worker.setenv(name, value)
    assert_green(examined(place))
    return report


def assert_command_mends(check):
    """Assert that the first command of the remedy of the one red check makes it green; return the report before."""
    report = examined()
    subprocess.run(remedy_of(check, report).partition(", once")[0], shell=True, check=True)
    assert_green(examined())
    return report


@contextlib.contextmanager
def limited(worker, server, *rights):
    """Let the worker be a user of the bus who may declare, publish and read what these match."""
    server.control("add_user", "limited", "of-the-user")
    server.control("set_permissions", "limited", *rights)
    worker.setenv("ISB_USERNAME", "limited")
    worker.setenv("ISB_PASSWORD", "of-the-user")
    try:
        yield
    finally:
        server.control("delete_user", "limited")


def test_a_sound_worker_is_green(worker, place, server):
    """Each check is ok or not needed; nothing is left on the bus, in the index, the cache or the spool."""
    declared = "{rabbit_exchange:list_names(), rabbit_amqqueue:list_names(), rabbit_binding:list(<<$/>>)}."
    before = server.control("eval", declared)
    report = examined()
    assert statuses(report) == {
        **dict.fromkeys(["settings", "Python", "uv", "index", "cache", "locks", "disk", "Airflow"], "ok"),
        **dict.fromkeys(["database", "pools", "TLS"], "not needed"),
        **dict.fromkeys(["API server", "bus", "spool", "telemetry", "clock", "time-outs"], "ok"),
    }, report.lines
    assert server.control("eval", declared) == before
    assert list(place.rglob("*")) == []


def test_the_program_reports_a_sound_worker(worker, place):
    """With exit status 0 and one line a check; with --json as data; a red line has its remedy below, and status 1."""
    output = run_program("doctor").check().stdout
    assert all(re.match(r"(ok|not needed) +\S", each) for each in output.splitlines()), output
    status, output, _ = run_program("doctor", "--json")
    told = json.loads(output)
    assert (status, told["place"], told["is_sound"]) == (0, "worker", True)
    assert {each["check"] for each in told["checks"]} == set(statuses(examined()))
    assert set(told["checks"][0]) == {"check", "status", "found", "remedy"}
    worker.setenv("DKIST_GRACE_SECONDS", "300")
    output = run_program("doctor").check(status=1).stdout
    assert re.search(r"^failed +time-outs .*\n +Remedy: export AIRFLOW__", output, re.MULTILINE)


@pytest.fixture
def bare_python(worker, tmp_path):
    """A Python with this library and Airflow, and with pip, but with neither uv nor a way to make an environment."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"(uv|pip)([-.]|$)", each.name) and not (packages / each.name).exists():
            (packages / each.name).symlink_to(each)
    (packages / "no_ensurepip.pth").write_text("import sys; sys.modules['ensurepip'] = None\n")
    worker.setenv("PATH", f"{tmp_path / 'venv' / 'bin'}:/usr/bin:/bin")
    if shutil.which("uv"):
        pytest.skip("uv is installed for the whole system")
    return tmp_path / "venv" / "bin" / "python", packages / "no_ensurepip.pth"


# Whether uv is there does not depend on how fast the machine makes an environment.
PATIENT = """
import sys
from dkist_processing_core.doctor import installer
installer.INDEX_SECONDS, installer.VENV_SECONDS, installer.PIP_SECONDS = 500.0, 200.0, 200.0
from dkist_processing_core.cli import main
sys.exit(main())
"""


def run_with(python):
    status, output, errors = run_program("doctor", "--json", program=(str(python), "-c", PATIENT))
    assert output, errors
    told = json.loads(output)["checks"]
    failed = {each["check"]: each["found"] for each in told if each["status"] == "failed"}
    return status, failed, {each["check"]: each for each in told}


@pytest.mark.network
def test_no_installer_is_red_until_uv_is_installed(bare_python, installer_settings):
    """Without uv and venv nothing is built; with venv alone there is a warning; the command of the remedy mends it."""
    python, without_venv = bare_python
    status, failed, told = run_with(python)
    assert (status, [*failed], told["index"]["found"]) == (1, ["uv"], "see uv"), failed
    remedy = told["uv"]["remedy"]
    without_venv.unlink()
    status, failed, told = run_with(python)
    assert (status, failed, told["uv"]["status"], told["index"]["status"]) == (0, {}, "warning", "ok"), failed
    assert told["uv"]["remedy"] == remedy
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    subprocess.run(shlex.split(remedy), env={**variables, **installer_settings}, check=True, stdout=subprocess.DEVNULL)
    status, failed, told = run_with(python)
    assert (status, failed, told["uv"]["status"]) == (0, {}, "ok"), failed


def test_a_machine_too_slow_for_venv_is_no_fault_of_the_index(worker):
    """The check by pip says which step took too long."""
    worker.setattr(installer, "find_uv", lambda _: None)
    worker.setattr(installer, "VENV_SECONDS", 0.0)
    found = checked("index")
    assert (found.status, found.found[-46:]) == ("failed", "took more than 0 s, so the index was not asked")
    assert "-m pip install uv" in found.remedy


def test_a_python_that_cannot_be_used_is_red_until_it_is_unset(worker, tmp_path):
    """One that does not exist, and a Python 3.9, for which a program stands that says of itself what that would."""
    worker.setenv("DKIST_PYTHON", "/nowhere/python")
    report = examined()
    assert remedy_of("Python", report).startswith("unset DKIST_PYTHON")
    assert "/nowhere/python" in line(report, "Python").found
    program = tmp_path / "python3.9"
    told = json.dumps([str(program), str(tmp_path), [str(program), "3.9.2 (main)", ".so", "linux"]])
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{told}\nEND\n")
    program.chmod(0o755)
    worker.setenv("DKIST_PYTHON", str(program))
    report = examined()
    assert remedy_of("Python", report).startswith("unset DKIST_PYTHON")
    assert "3.9.2" in line(report, "Python").found
    assert line(report, "index").found == "see uv"
    worker.delenv("DKIST_PYTHON")
    assert_green(examined())


@pytest.mark.parametrize("fault", ["mode", pytest.param("owner", marks=is_root)])
def test_a_cache_that_others_can_write_to_is_red_until_that_is_mended(worker, place, fault):
    """The remedy is a command, for its mode and for its owner."""
    folder = place / "environments" / "v1"
    folder.mkdir(parents=True)
    folder.chmod(0o777) if fault == "mode" else os.chown(folder, NOBODY, NOBODY)
    report = assert_command_mends("cache")
    assert (line(report, "locks").found, line(report, "disk").found) == ("see cache", "see locks")


@is_root
def test_a_cache_below_a_folder_that_cannot_be_entered_is_red_with_a_remedy(worker, place, server, servers):
    """Though not even its owner can be found out; root without its privileges over files stands for another user."""
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    without.append("--inh-caps=-dac_override,-dac_read_search")
    if not shutil.which("setpriv") or subprocess.run([*without, "true"], capture_output=True).returncode:
        pytest.skip("setpriv cannot drop capabilities here")
    folder = place / "environments" / "v1"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o600)
    program = "from support.examined import checked; print(checked('cache'))"
    folders = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = run_command(*without, sys.executable, "-c", program, PYTHONPATH=folders).check()
    assert "Permission denied" in done.stdout
    assert "Set DKIST_ENVIRONMENT_CACHE" in done.stdout


def test_a_cache_of_uv_that_leads_nowhere_is_no_fault_of_ours(worker, place):
    """A symbolic link whose target is itself, or is not there yet, ends no check."""
    (place / "loop").symlink_to(place / "loop")
    worker.setenv("UV_CACHE_DIR", str(place / "loop" / "uv"))
    assert checked("cache").status == "ok"


@pytest.mark.parametrize(("check", "name"), [("cache", "DKIST_ENVIRONMENT_CACHE"), ("spool", "DKIST_ISB_SPOOL")])
def test_a_folder_that_cannot_be_made_is_red_until_the_variable_names_another(worker, place, check, name):
    """The remedy names the variable."""
    (place / "file").touch()
    assert_red_until(check, f"Set {name}", worker, {name: f"{place}/file/x"}, {name: f"{place}/x"})


def test_a_cache_without_locks_is_red_until_the_variable_names_another(worker, place):
    """flock fails there as on NFS without a lock manager; a function that does stands for the file system."""
    flock = fcntl.flock

    def refuse(file, operation):
        if str(getattr(file, "name", "")).startswith(str(place)):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(file, operation)

    worker.setattr(fcntl, "flock", refuse)
    with persistent_folder() as other:
        right = {"DKIST_ENVIRONMENT_CACHE": str(other)}
        report = assert_red_until("locks", "Set DKIST_ENVIRONMENT_CACHE", worker, {}, right)
    assert "No locks available" in line(report, "locks").found
    assert line(report, "disk").found == "see locks"


@is_root
def test_a_full_disk_is_red_until_the_variable_names_another(worker, place):
    """The disk is a real file system of 16 MB."""
    folder = place / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder]).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        worker.setenv("DKIST_ENVIRONMENT_CACHE", str(folder))
        report = examined()
        assert "DKIST_ENVIRONMENT_CACHE" in remedy_of("disk", report)
        assert (line(report, "cache").status, line(report, "disk").found[:4]) == ("warning", "16 M")
        worker.setenv("DKIST_ENVIRONMENT_CACHE", str(place / "environments"))
        assert_green(examined())
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_cache_that_may_outgrow_its_disk_is_a_warning_until_it_is_limited(worker):
    """The remedy has a size that fits."""
    worker.setenv("DKIST_ENVIRONMENT_MAX_SIZE", "9000T")
    report = examined()
    assert_green(report)
    assert line(report, "disk").status == "warning"
    follow(line(report, "disk").remedy, worker)
    assert line(examined(), "disk").status == "ok"


def test_an_index_that_is_away_is_red_until_its_address_is_right(worker, servers):
    """The remedy names the variable with the address."""
    [port] = free_ports(1)
    away, there = ({"PIP_INDEX_URL": each} for each in (f"http://127.0.0.1:{port}/simple", servers.index))
    report = assert_red_until("index", "PIP_INDEX_URL", worker, away, there)
    assert f"127.0.0.1:{port}" in line(report, "index").found


def test_a_wrong_password_of_the_index_is_red_until_it_is_right(worker, servers):
    """Neither the wrong one nor the right one is shown."""
    servers.credentials = "reader:right-password"
    addresses = (servers.index.replace("//", f"//reader:{each}-password@") for each in ("wrong", "right"))
    wrong, right = ({"PIP_INDEX_URL": each} for each in addresses)
    report = assert_red_until("index", "Check user name and password in PIP_INDEX_URL", worker, wrong, right)
    assert "wrong-password" not in json.dumps(report.to_dict())
    assert "right-password" not in json.dumps(examined().to_dict())


@pytest.mark.parametrize("program", ["uv", "pip"])
def test_an_index_with_an_older_library_alone_is_a_warning(worker, servers, tmp_path, program):
    """The line has the version that each installer finds; a release that needs the running one cannot be installed."""
    if program == "pip":
        worker.setattr(installer, "find_uv", lambda variables: None)
    for name in ("PROGRAM_SECONDS", "VENV_SECONDS", "PIP_SECONDS"):
        worker.setattr(installer, name, PATIENCE_SECONDS)
    assert installer.check_index(Machine(Place.WORKER)).found == f"{servers.index} has dkist-processing-core 8.0.0"
    make_wheel(tmp_path / "wheels", "dkist_processing_core", "7.5.0")
    worker.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    worker.setenv("PIP_NO_INDEX", "1")
    worker.delenv("PIP_INDEX_URL")
    found = installer.check_index(Machine(Place.WORKER))
    assert found.status == "warning"
    assert "has dkist-processing-core 7.5.0, and this machine has 8." in found.found
    assert found.remedy.startswith("Publish dkist-processing-core 8")


def test_a_folder_of_wheels_is_an_index(worker, servers):
    """It is asked as an index is; there is nothing then that tells the time."""
    worker.setenv("PIP_FIND_LINKS", str(servers.folder / "simple" / "dkist-processing-core"))
    worker.setenv("PIP_NO_INDEX", "1")
    worker.delenv("PIP_INDEX_URL")
    assert line(examined(), "index").status == "ok"
    worker.setenv("PIP_FIND_LINKS", str(servers.folder))
    assert red(examined()) == ["index"]


@pytest.fixture(scope="module")
def migrated(new_airflow):
    """An Airflow with a database."""
    return new_airflow("doctor")


@pytest.fixture
def dag_processor(worker, migrated):
    """The variables of that worker, with which the DAG processor of that Airflow runs."""
    for name, value in migrated.environment.items():
        if name.startswith("AIRFLOW"):
            worker.setenv(name, value)
    worker.setenv("PATH", f"{PROGRAM.parent}:{os.environ['PATH']}")
    return worker


def test_a_missing_pool_is_red_until_it_is_there(dag_processor, tmp_path):
    """On a DAG processor; the commands of the remedies are run as they stand, with pools.json and without."""
    dag_processor.setattr(airflow_checks, "_ask", ask_for_pools)
    pools = {"camera_pool": {"slots": 4, "description": "", "include_deferred": False}}
    (tmp_path / "pools.json").write_text(json.dumps(pools))
    report = examined("dag-processor", tmp_path)
    remedy = remedy_of("pools", report)
    assert statuses(report)["database"] == "ok"
    subprocess.run(remedy, shell=True, check=True, capture_output=True)

    entry = {"file": "a.py", "queues": [], "pools": ["camera_pool", "default_pool", "spectrograph_pool"]}
    manifest = {"schema_version": 1, "queues": [], "pools": [], "files": [entry]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "a.py").touch()
    report = examined("dag-processor", tmp_path)
    remedy = remedy_of("pools", report)
    assert line(report, "pools").found.startswith("Airflow has no pool spectrograph_pool;")
    subprocess.run(remedy, shell=True, check=True, capture_output=True)
    report = examined("dag-processor", tmp_path)
    assert_green(report)
    assert line(report, "pools").found == "camera_pool, default_pool, spectrograph_pool"


def test_a_database_that_is_away_is_red_alone(worker, tmp_path):
    """The pools are not checked then, and the password of the database is not shown."""
    [port] = free_ports(1)
    address = f"postgresql+psycopg://airflow:secret-of-database@127.0.0.1:{port}/airflow"
    worker.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    report = examined("dag-processor", tmp_path)
    assert "sql_alchemy_conn" in remedy_of("database", report)
    assert line(report, "pools").found == "see database"
    assert "secret-of-database" not in json.dumps(report.to_dict())


def test_a_bus_that_is_down_is_red_until_it_runs(worker, server, certificates):
    """With TLS or without, it is the one red line."""
    with server.stopped():
        assert remedy_of("bus", examined()).startswith("Start RabbitMQ")
        worker.setenv("DKIST_ISB_TLS", "true")
        worker.setenv("DKIST_ISB_CA_FILE", str(certificates.authority))
        report = examined()
        assert remedy_of("bus", report).startswith("Start RabbitMQ")
        assert (line(report, "TLS").status, line(report, "TLS").found) == ("not checked", "see bus")
    worker.delenv("DKIST_ISB_TLS")
    assert_green(examined())


def test_a_wrong_password_of_the_bus_is_red_until_it_is_right(worker):
    """The password is not shown."""
    wrong, right = {"ISB_PASSWORD": "wrong-password"}, {"ISB_PASSWORD": "guest"}
    report = assert_red_until("bus", "ISB_PASSWORD", worker, wrong, right)
    assert "wrong-password" not in json.dumps(report.to_dict())


@pytest.mark.parametrize("rights", [("^$", ".*", ".*"), (".*", "^$", ".*")], ids=["declare", "publish"])
def test_a_user_without_a_right_is_red_until_he_has_it(worker, server, rights):
    """The command of the remedy gives it, as it stands; the exchange need not exist, or does."""
    with limited(worker, server, *rights):
        report = examined()
        remedy = remedy_of("bus", report)
        assert "ACCESS_REFUSED" in line(report, "bus").found
        server.control(*shlex.split(remedy)[shlex.split(remedy).index("rabbitmqctl") + 1 :])
        assert_green(examined())


def test_nothing_is_left_on_a_bus_with_quorum_queues(worker, server):
    """A queue of that type cannot be deleted on the condition that nobody uses it, so none is declared."""
    worker.setenv("ISB_QUEUE_TYPE", "quorum")
    assert checked("bus").status == "ok"
    assert server.control("list_queues", "name").split() == []


def test_who_may_only_publish_to_what_exists_is_green(worker, server):
    """As the publisher uses what it may not declare, so does the check not ask for that right."""
    with contextlib.closing(server.connect()) as connection, limited(worker, server, "^$", "^master", "^$"):
        channel = connection.channel()
        channel.exchange_declare("master.direct.x", "direct", durable=True)
        channel.queue_declare("recipe.run.failure.q", durable=True)
        try:
            assert_green(examined())
            server.control("set_permissions", "limited", "^$", "^$", ".*")
            assert red(examined()) == ["bus"]
        finally:
            server.forget("recipe.run.failure.q")


@pytest.fixture
def tls(worker, server, servers, certificates):
    """That worker, whose bus speaks TLS, with the variables that name its authority and the port."""
    worker.setenv("DKIST_ISB_TLS", "true")
    worker.setenv("DKIST_ISB_CA_FILE", str(certificates.authority))
    worker.setenv("MESH_CONFIG", mesh_config({BUS: server.tls_port, SERVICE: servers.port}))
    return worker


def test_an_authority_that_is_not_trusted_is_red_until_it_is_named(tls, certificates):
    """By the variable that the remedy names; the bus is not checked until then."""
    tls.delenv("DKIST_ISB_CA_FILE")
    named = {"DKIST_ISB_CA_FILE": str(certificates.authority)}
    report = assert_red_until("TLS", "DKIST_ISB_CA_FILE", tls, {}, named)
    assert line(report, "bus").found == "see TLS"
    report = examined()
    assert (line(report, "TLS").status, line(report, "bus").status) == ("warning", "ok")  # it ends in two days


def test_a_certificate_that_has_expired_is_red_until_it_is_renewed(tls, server, servers, certificates):
    """TLS ends before the broker here, so that the certificate can be changed."""
    with relay(server.port, tls=certificates.context(certificates.expired)) as port:
        tls.setenv("MESH_CONFIG", mesh_config({BUS: port, SERVICE: servers.port}))
        report = examined()
        assert remedy_of("TLS", report).startswith("Renew the certificate")
        assert "has expired" in line(report, "TLS").found
    with relay(server.port, tls=certificates.context()) as port:
        tls.setenv("MESH_CONFIG", mesh_config({BUS: port, SERVICE: servers.port}))
        assert_green(examined())


def test_a_file_without_certificates_is_red_alone(tls, tmp_path):
    """It is no fault of the bus."""
    tls.setenv("DKIST_ISB_CA_FILE", str(tmp_path / "missing.pem"))
    report = examined()
    assert "DKIST_ISB_CA_FILE" in remedy_of("TLS", report)
    assert "missing.pem" in line(report, "TLS").found


def test_the_remedy_of_a_bus_that_requires_tls_names_it(tls):
    """The port is right, so that nothing else can help."""
    tls.delenv("DKIST_ISB_TLS")
    assert "DKIST_ISB_TLS=true" in checked("bus").remedy


def test_nobody_is_told_to_do_without_tls_because_the_bus_is_silent(worker, servers):
    """It is not known then whether it has TLS."""
    worker.setattr(bus, "SECONDS", 1.0)
    worker.setenv("DKIST_ISB_TLS", "true")
    with peer(lambda _: None) as port:
        worker.setenv("MESH_CONFIG", mesh_config({BUS: port, SERVICE: servers.port}))
        assert checked("TLS") == Finding.not_checked("see bus")
        found = checked("bus")
    assert "did not answer as a broker does" in found.found
    assert "DKIST_ISB_TLS" not in found.remedy


def test_a_spool_that_is_another_folder_for_each_task_is_red(worker):
    """Airflow starts each task in a temporary folder, which a relative path is relative to."""
    worker.setenv("DKIST_ISB_SPOOL", "spool")
    assert "not an absolute path" in checked("spool").found


def test_pending_messages_are_a_warning_until_they_are_sent(worker):
    """By the command of the remedy."""
    spool.write(new_envelope())
    report = examined()
    assert_green(report)
    assert (line(report, "spool").status, line(report, "spool").found[:10]) == ("warning", "1 messages")
    assert run_program(*shlex.split(line(report, "spool").remedy)[1:])[0] == 0
    assert line(examined(), "spool").status == "ok"


def test_a_spool_that_a_restart_empties_is_a_warning(worker):
    """Below /tmp, or in memory."""
    for folder in ("/tmp/dkist-no-such-folder/spool", "/dev/shm/dkist-no-such-folder"):
        worker.setenv("DKIST_ISB_SPOOL", folder)
        report = examined()
        assert_green(report)
        assert "lost at a restart" in line(report, "spool").found


@pytest.mark.parametrize("kind", ["elastic", "otlp-http", "otlp-grpc"])
def test_a_telemetry_server_that_is_away_is_red_until_telemetry_is_off(worker, server, servers, kind):
    """The remedy names the variable that does without it."""
    [port] = free_ports(1)
    if kind == "elastic":
        worker.setenv("MESH_CONFIG", mesh_config({BUS: server.port, SERVICE: port}))
    elif kind == "otlp-http":
        worker.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    else:
        ports = {BUS: server.port, SERVICE: servers.port, "otlp-traces-endpoint": port}
        worker.setenv("MESH_CONFIG", mesh_config(ports))
    report = examined()
    remedy = remedy_of("telemetry", report)
    assert str(port) in line(report, "telemetry").found
    name, value = re.search(r"set (\w+)=(\w+)", remedy).groups()
    worker.setenv(name, value)
    assert_green(examined())


@pytest.mark.parametrize(("seconds", "status"), [(-600, "failed"), (600, "failed"), (30, "warning"), (1, "ok")])
def test_a_clock_that_differs_is_red_until_both_agree(worker, servers, seconds, status):
    """The clock that is changed here is that of the servers, as both are to be set to the right time."""
    servers.seconds_ahead = seconds
    report = examined()
    assert line(report, "clock").status == status
    assert red(report) == (["clock"] if status == "failed" else [])
    assert status == "ok" or "timedatectl" in line(report, "clock").remedy
    servers.seconds_ahead = 0
    assert line(examined(), "clock").status == "ok"


@pytest.mark.parametrize(
    ("where", "name", "value", "found"),
    [
        ("worker", "DKIST_GRACE_SECONDS", "300", "[scheduler] task_instance_heartbeat_timeout, 300 s"),
        ("worker", "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT", "20", ""),
        ("dag-processor", "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "45", ""),
    ],
    ids=["a grace as long as Airflow's patience", "a task that is lost too early", "an import that is killed"],
)
def test_a_time_that_another_one_outlasts_is_red_until_airflow_waits_longer(request, where, name, value, found):
    """The scheduler would start a task again while it runs, or an import would be killed; the remedy sets an option."""
    environment = request.getfixturevalue(where.replace("-", "_"))
    environment.setenv(name, value)
    report = examined(where)
    remedy = remedy_of("time-outs", report)
    assert found in line(report, "time-outs").found
    follow(remedy, environment)
    assert_green(examined(where))


def test_a_grace_as_long_as_the_cleanup_of_airflow_2_is_red(worker):
    """With what Airflow 2.10.5 answers, which is not installed here; Airflow 3 does not use the option."""
    answer = {"version": "2.10.5", "[core] killed_task_cleanup_time": "60"}
    worker.setenv("DKIST_GRACE_SECONDS", "60")
    found = check_time_outs(Machine(Place.WORKER, airflow=answer))
    assert found.status == "failed"
    assert "DKIST_GRACE_SECONDS, 60 s, must be less than [core] killed_task_cleanup_time, 60 s" in found.found
    [value] = re.findall(r"KILLED_TASK_CLEANUP_TIME=(\d+)", found.remedy)
    answer["[core] killed_task_cleanup_time"] = value
    assert check_time_outs(Machine(Place.WORKER, airflow=answer)).status == "ok"
    assert check_time_outs(Machine(Place.WORKER, airflow=dict(answer, version="3.3.2"))).status == "ok"


@pytest.mark.parametrize(("stop", "status"), [("20s", "failed"), ("1min 30s", "ok"), ("infinity", "ok")])
def test_a_unit_that_is_killed_before_a_task_has_ended_is_red(worker, tmp_path, monkeypatch, stop, status):
    """systemd does not run here: its answer is that of a program in its place, and so is the name of the unit."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\n[ "$4" = airflow-worker.service ] && echo "{stop}"\n')
    program.chmod(0o755)
    (tmp_path / "cgroup").write_text("0::/system.slice/airflow-worker.service\n")
    monkeypatch.setattr(timeouts, "CGROUP", tmp_path / "cgroup")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    machine = Machine(Place.WORKER, airflow={"version": "3.3.2"})
    assert "none of them" in check_time_outs(machine).found
    monkeypatch.setenv("INVOCATION_ID", "0123456789abcdef0123456789abcdef")
    found = check_time_outs(machine)
    assert found.status == status
    assert "TimeoutStopSec" in found.found
    assert (status == "ok") == (not found.remedy)


def test_the_time_that_a_stopped_worker_gives_its_tasks_counts(monkeypatch):
    """worker.sh takes DKIST_DRAIN_SECONDS before it ends them."""
    monkeypatch.setattr(timeouts, "_stop_seconds", lambda: 2100.0)
    machine = Machine(Place.WORKER, airflow={"version": "3.3.2"})
    monkeypatch.setenv("DKIST_DRAIN_SECONDS", "1800")
    assert check_time_outs(machine).status == "ok"
    monkeypatch.setenv("DKIST_DRAIN_SECONDS", "7200")
    found = check_time_outs(machine)
    assert (found.status, found.remedy) == ("failed", "TimeoutStopSec=7262")


@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_a_short_visibility_is_a_warning_for_brokers_that_have_it(worker, broker):
    """For RabbitMQ the option means nothing."""
    worker.setenv("AIRFLOW__CELERY__BROKER_URL", f"{broker}://:secret-of-celery@127.0.0.1/0")
    worker.setenv("AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT", "3600")
    report = examined()
    assert line(report, "time-outs").status == ("warning" if broker == "redis" else "ok")
    assert "secret-of-celery" not in json.dumps(report.to_dict())
    if broker == "redis":
        follow(line(report, "time-outs").remedy, worker)
        assert line(examined(), "time-outs").status == "ok"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1min 30s", 90), ("infinity", float("inf")), ("2min", 120), ("500ms", 0.5), ("1h 1s", 3601), ("", None)],
)
def test_times_of_systemd_are_read(text, seconds):
    """As ``systemctl show`` writes them."""
    assert parse_timespan(text) == seconds


def test_a_setting_that_cannot_be_read_is_red_alone(worker, server, servers):
    """What depends on it is not checked; the remedy names the variable."""
    right = {"MESH_CONFIG": mesh_config({BUS: server.port, SERVICE: servers.port})}
    report = assert_red_until("settings", "", worker, {"MESH_CONFIG": "{"}, right)
    assert "MESH_CONFIG" in line(report, "settings").found
    assert {line(report, each).found for each in ("TLS", "telemetry", "disk")} == {"see settings"}


@pytest.mark.parametrize("name", ["DKIST_BUILD_WAIT_SECONDS", "DKIST_GRACE_SECONDS", "DKIST_ENVIRONMENT_MAX_AGE"])
def test_a_setting_that_ends_each_task_is_red(worker, name):
    """The worker program reads it, and ends with status 78."""
    worker.setenv(name, "ten")
    found = checked("settings")
    assert found.status == "failed"
    assert name in found.found


def test_an_address_that_is_none_is_no_fault_of_the_check(worker):
    """The line has it, and the remedy the variable."""
    machine = Machine(Place.WORKER, airflow={"[core] execution_api_server_url": "airflow.example.org"})
    with pytest.raises(CheckError, match="airflow.example.org does not answer: unknown url type") as raised:
        airflow_checks.check_api_server(machine)
    assert "EXECUTION_API_SERVER_URL" in raised.value.finding.remedy


@pytest.mark.parametrize("name", ["manifest.json", "pools.json"])
def test_a_damaged_file_of_an_export_is_not_taken_for_none(tmp_path, name):
    """Which pools are needed is not known then, nor if there is neither file."""
    machine = Machine(Place.DAG_PROCESSOR, tmp_path, pools=["default_pool"])
    found = airflow_checks.check_pools(machine)
    assert (found.status, "neither manifest.json nor pools.json" in found.found) == ("warning", True)
    assert "--dags" in found.remedy
    (tmp_path / name).write_text("{")
    found = airflow_checks.check_pools(machine)
    assert (found.status, name in found.found) == ("warning", True)
    with pytest.raises(CheckError, match="is not a folder"):
        airflow_checks.check_pools(Machine(Place.DAG_PROCESSOR, tmp_path / "missing"))


def test_the_whole_message_of_an_airflow_that_does_not_start_is_shown(worker, tmp_path):
    """It may have several lines, of which the last says least."""
    worker.setenv("AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    (tmp_path / "airflow.cfg").write_text("nonsense [\n")
    with pytest.raises(CheckError, match=r"MissingSectionHeaderError: .*airflow\.cfg"):
        airflow_checks.check_airflow(Machine(Place.WORKER))


def test_a_ctrl_c_leaves_neither_processes_nor_files(worker, tmp_path):
    """Airflow is being asked when it comes."""
    worker.setenv("TMPDIR", str(tmp_path))
    # What runs in the background of a shell ignores Ctrl-C, and so does all that it starts.
    command = ["env", "--default-signal=INT", PROGRAM, "doctor"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def started():
        return [each for each in family(process.pid) if b"validation.dag_files" in command_of(each)]

    try:
        asked = wait_until(started, "Airflow was not started")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 1
    finally:
        process.kill()
    assert not parents().keys() & asked
    assert list(tmp_path.iterdir()) == []


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_without_a_bus_nothing_of_it_is_needed(worker):
    """With DKIST_ISB_ENABLED=false."""
    worker.setenv("DKIST_ISB_ENABLED", "false")
    assert {statuses(examined())[name] for name in ("TLS", "bus", "spool")} == {"not needed"}


def test_ci_needs_little(worker):
    """Neither a bus nor a cache, but the installer and the index."""
    report = examined("ci")
    assert_green(report)
    needed = {name for name, status in statuses(report).items() if status != "not needed"}
    assert needed == {"settings", "Python", "uv", "index", "Airflow", "clock"}


@pytest.mark.parametrize("server_kind", ["silent", "swallowing"])
def test_a_server_that_is_silent_is_red_within_the_bound(worker, servers, server_kind):
    """Of the bus, and of the index, also both at the same time."""
    with peer(lambda _: None) if server_kind == "silent" else swallowing() as port:
        worker.setenv("MESH_CONFIG", mesh_config({BUS: port, SERVICE: servers.port}))
        worker.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")

        def attempt():
            report = examined()
            assert red(report) == ["index", "bus"], report.lines

        assert_takes_at_most(15, attempt, attempts=2)


def test_a_check_that_hangs_or_raises_is_one_red_line():
    """What comes after it is not checked, and everything else is."""
    everywhere, released = frozenset(Place), threading.Event()

    def fail(_):
        raise ZeroDivisionError("for this test")

    checks = (
        Check("hangs", everywhere, lambda _: released.wait(600), seconds=0.2),
        Check("raises", everywhere, fail),
        Check("after", everywhere, lambda _: Finding.ok("never made"), after=("raises",)),
        Check("later", everywhere, lambda _: Finding.ok("never made"), after=("after",)),
        Check("works", everywhere, lambda _: Finding.ok("fine")),
        Check("elsewhere", frozenset({Place.CI}), fail),
    )
    lines = examine(Machine(Place.WORKER), checks).lines
    released.set()
    assert [(each.check, str(each.status), each.found) for each in lines] == [
        ("hangs", "failed", "no answer within 0.2 s"),
        ("raises", "failed", "the check itself failed: ZeroDivisionError: for this test"),
        ("after", "not checked", "see raises"),
        ("later", "not checked", "see after"),
        ("works", "ok", "fine"),
        ("elsewhere", "not needed", "on a worker"),
    ]


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=12, max_size=30)


@given(password=WORDS, of_url=WORDS)
def test_no_check_can_show_a_secret(password, of_url):
    """Whatever a check says of variables with a secret name, or with a password in an address."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ISB_PASSWORD", password)
        patched.setenv("PIP_INDEX_URL", f"https://user:{of_url}@index.example.org/simple")
        text = f"refused: {password} at https://user:{of_url}@index.example.org/simple, and {of_url}"

        def fail(_):
            raise OSError(text)

        everywhere = frozenset(Place)
        checks = Check("a", everywhere, fail), Check("b", everywhere, lambda _: Finding.failed(text, text))
        told = json.dumps(examine(Machine(Place.WORKER), checks).to_dict())
    assert password not in told
    assert of_url not in told
