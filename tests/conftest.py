"""Fixtures that isolate every test and bring the real parts."""

import importlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings
from support import logs, release_table
from support.archives import NoCheckoutError, archives_of
from support.certificates import Certificates, make_certificates
from support.chromium import Browser, browser
from support.chromium import UnavailableError as NoBrowserError
from support.command_line import CAMERA, CAMERA_FILES, Ended
from support.deployments import Deployment
from support.made_once import made_once
from support.matrix import table
from support.messages import OTHER_QUEUE, QUEUE
from support.ports import free_ports
from support.rabbitmq import OTHER_ADDRESS, RabbitMQ, running
from support.real_airflow import Airflow
from support.releases import REPOSITORY, build_wheel, make_index, write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, run
from support.sources import write_sources

import dkist_processing_core
from dkist_processing_core import testing
from dkist_processing_core.authoring.distributions import providing_distribution

# What a reason for skipping says of a part that nobody has to have, not even where skipping is forbidden.
OPTIONAL = "optional: "
# The marks of the tests that use a fixture.
MARKS = {"new_airflow": "airflow", "core_wheel": "network", "rabbitmq": "rabbitmq", "rabbitmq_with_tls": "rabbitmq"}
# Marks of the tests that take longest, the slowest ones first.
SLOW = (("airflow",), ("network", "once", "rabbitmq"))
KEPT = {"HOME", "LANG", "LC_ALL", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"}
KEPT_PREFIXES = (
    "PIP_",
    "UV_",
    "SSL_",
    "REQUESTS_",
    "HTTP_",
    "HTTPS_",
    "NO_PROXY",
    "ALL_PROXY",
    "http_",
    "https_",
    "no_proxy",
)

# What a test claims does not depend on how fast it runs, nor on what an earlier run has left in a folder.
settings.register_profile("here", deadline=None, database=None)
settings.load_profile("here")


def pytest_configure(config: pytest.Config) -> None:
    """Give Airflow, which modules of tests import before any fixture is active, a home that is nobody's."""
    inherited = os.environ.get("AIRFLOW_HOME", "")
    for name in [each for each in os.environ if each.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[name]
    if worker := getattr(config, "workerinput", {}).get("workerid"):
        # In the folder of the process that started this one, which removes it; a worker may be killed at its end.
        os.environ["AIRFLOW_HOME"] = str(Path(inherited, worker))
        return
    home = tempfile.TemporaryDirectory(prefix="dkist-test-airflow-", ignore_cleanup_errors=True)
    config.add_cleanup(home.cleanup)
    os.environ["AIRFLOW_HOME"] = home.name


def pytest_report_header() -> str:
    """Say which copy of the library is tested; with DKIST_TEST_WHEEL=1 it must be an installed one."""
    place = Path(dkist_processing_core.__file__).parent
    if os.environ.get("DKIST_TEST_WHEEL") and place.is_relative_to(REPOSITORY / "dkist_processing_core"):
        pytest.exit(f"the wheel was to be tested, but {place} was imported", returncode=4)
    return f"dkist_processing_core {dkist_processing_core.__version__} from {place}"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-skips",
        action="store_true",
        default=os.environ.get("DKIST_TEST_NO_SKIPS") == "1",
        help="count a test that is skipped as failed (DKIST_TEST_NO_SKIPS=1)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark each test by the fixtures that it uses, and begin with the files that take longest.

    So the processes end at about the same time. These files are the ones with Airflow, then those with other real
    parts, then those with many tests.
    """
    for item in items:
        for name in MARKS.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARKS[name])
    sizes = Counter(item.path for item in items)
    ranks: dict[Path, int] = {}
    for item in items:
        found = [rank for rank, names in enumerate(SLOW) if any(item.get_closest_marker(name) for name in names)]
        ranks[item.path] = min([ranks.get(item.path, len(SLOW)), *found])
    items.sort(key=lambda item: (ranks[item.path], -sizes[item.path]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test with a real Airflow where that is not installed."""
    if item.get_closest_marker("airflow") and find_spec("airflow") is None:
        pytest.skip("Airflow is not installed (pip install 'dkist-processing-core[airflow]')")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    if item.config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        if OPTIONAL in report.longrepr[2]:
            return report
        report.outcome = "failed"
        report.longrepr = f"skipped where skipping is forbidden: {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix, the parts of a release, and what the tests of real client packages counted, if these ran."""
    _print_table(terminalreporter, "matrix", table.lines)
    _print_table(terminalreporter, "release", release_table.lines)
    _print_counts(terminalreporter)


def _print_table(terminalreporter: pytest.TerminalReporter, title: str, lines: Callable[[list], Iterator[str]]) -> None:
    reports = [
        each for outcome in ("passed", "failed", "error", "skipped") for each in terminalreporter.getreports(outcome)
    ]
    for number, line in enumerate(lines(reports)):
        if not number:
            terminalreporter.section(title)
        terminalreporter.write_line(line)


def _print_counts(terminalreporter: pytest.TerminalReporter) -> None:
    counts: dict[str, list[str]] = {}
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if report.when == "call" and name.startswith("client "):
                counts.setdefault(name, []).append(text)
    for name, texts in counts.items():
        terminalreporter.write_line(f"{name}: {', '.join(texts)}")


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take away what this machine and user have set, so that no test passes or fails because of it."""
    before = dict(os.environ)
    uv_cache = subprocess.run(
        [sys.executable, "-m", "uv", "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    for name in before:
        if name not in KEPT and not name.startswith(KEPT_PREFIXES):
            del os.environ[name]
    home = tmp_path_factory.mktemp("home")
    # What installers have fetched is not the state of a test, and fetching it again would prove nothing.
    os.environ.update(HOME=str(home), UV_CACHE_DIR=uv_cache, AIRFLOW_HOME=str(home / "airflow"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every test a working folder, a cache, a spool and runs of its own, so that none sees what another left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DKIST_ENVIRONMENT_CACHE", str(tmp_path / "environments"))
    monkeypatch.setenv("DKIST_ISB_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("DKIST_RUNS", str(tmp_path / "runs"))


@pytest.fixture(autouse=True)
def patient_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a task wait longer than in production, so that what arrives does not depend on speed."""
    monkeypatch.setenv("DKIST_END_SECONDS", "60")


@pytest.fixture
def production_bounds(patient_ends: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound the end of a task as in production, for the tests whose subject that is."""
    monkeypatch.delenv("DKIST_END_SECONDS")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for the tests of a module."""
    try:
        with browser(tmp_path_factory.mktemp("chromium")) as started:
            yield started
    except NoBrowserError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def camera(tmp_path: Path) -> str:
    """The name of the workflows of a package that lies in the working folder of the test."""
    write_sources(tmp_path, CAMERA_FILES, name=CAMERA)
    return f"{CAMERA}.workflows"


@pytest.fixture
def recorded() -> Iterator[testing.Recorded]:
    """What tasks record and what is published, in memory, by the way that it takes up to a server or a broker."""
    with testing.recorded() as made:
        yield made


@pytest.fixture
def without_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow seem not to be installed: Python neither finds nor imports it."""
    monkeypatch.setitem(sys.modules, "airflow", None)


@pytest.fixture
def folder_named_airflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let a folder named airflow, as deployments have one, be all that Python finds by that name."""

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
            return PathFinder.find_spec(name, [str(tmp_path)]) if name == "airflow" else None

    (tmp_path / "airflow" / "dags").mkdir(parents=True)
    monkeypatch.delitem(sys.modules, "airflow", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, without_airflow: None
) -> Iterator[Callable[..., Ended]]:
    """Run the command line in this process, where Airflow seems not to be installed; nothing of it stays."""
    pytest.importorskip("click", reason="click is not installed (pip install 'dkist-processing-core[build]')")
    from dkist_processing_core import cli

    monkeypatch.setattr(sys, "path", [*sys.path])
    importlib.invalidate_caches()

    def run_here(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["dkist-processing-core", *map(str, arguments)])
        try:
            status = cli.main()
        except SystemExit as ended:
            status = ended.code
        return Ended(status, *capsys.readouterr())

    yield run_here
    providing_distribution.cache_clear()
    for handler in [each for each in logging.root.handlers if type(each) is logging.StreamHandler]:
        logging.root.removeHandler(handler)  # of a package that sets up logging; its stream is closed now
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path}{os.sep}"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def archives(tmp_path_factory):
    """A folder with the sdist, and the wheel that was built from it."""
    try:
        return archives_of(tmp_path_factory)
    except NoCheckoutError as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def core_wheel(tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Path:
    """A folder with the wheel of this library."""
    folder = tmp_path_factory.mktemp("core_wheel")
    build_wheel(REPOSITORY, folder)
    return folder


@pytest.fixture(scope="session")
def releases(core_wheel, tmp_path_factory):
    """A folder with the wheels of this library and of a team's release."""
    project = write_package(tmp_path_factory.mktemp("sources"), FILES, name=NAME)
    return make_index(tmp_path_factory.mktemp("releases"), core_wheel, project)


@pytest.fixture(scope="session")
def warm_cache(releases, tmp_path_factory):
    """A cache in which the environment of the release is ready."""
    cache = tmp_path_factory.mktemp("warm_cache")
    done = run("Good", releases, DKIST_ENVIRONMENT_CACHE=str(cache))
    assert done.returncode == 0, done.stdout
    return cache


@pytest.fixture
def cache(warm_cache, tmp_path):
    """A copy of that cache, which is the one of the test."""
    return shutil.copytree(warm_cache, tmp_path / "environments", symlinks=True)


@pytest.fixture
def environment(cache):
    """The environment in it."""
    [found] = environments(cache)
    return found


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Iterator[RabbitMQ]:
    """A running RabbitMQ, the same for all tests."""
    with running(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq_with_tls(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory, isolated_environment: None
) -> Iterator[RabbitMQ]:
    """A running RabbitMQ of the tests of a module; it speaks TLS at a second port, of two addresses."""
    [port] = free_ports(1)
    configuration = certificates.of_broker(port, "127.0.0.1", OTHER_ADDRESS)
    with running(tmp_path_factory.mktemp("rabbitmq_with_tls"), configuration) as server:
        server.tls_port = port
        yield server


@pytest.fixture
def broker(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> Iterator[RabbitMQ]:
    """The running RabbitMQ, with nothing declared on it, as the settings name it."""
    monkeypatch.setenv("MESH_CONFIG", rabbitmq.mesh_config)
    rabbitmq.forget(QUEUE, OTHER_QUEUE, logs.QUEUE)
    yield rabbitmq
    rabbitmq.check()
    rabbitmq.forget(QUEUE, OTHER_QUEUE, logs.QUEUE)


@pytest.fixture(scope="session")
def new_airflow(tmp_path_factory: pytest.TempPathFactory, isolated_environment: None) -> Callable[[str], Airflow]:
    """Make an Airflow of its own, with a database in which nothing has happened."""

    def migrate(place: Path) -> None:
        Airflow.at(place).set_up()

    def make(name: str) -> Airflow:
        # To migrate takes as long as twenty other tests.
        template = made_once(tmp_path_factory, "migrated-airflow", migrate)
        home = tmp_path_factory.mktemp(name)
        for file in template.glob("airflow.db*"):
            shutil.copy(file, home)
        return Airflow.at(home)

    return make


@pytest.fixture(scope="session")
def airflow(new_airflow: Callable[[str], Airflow]) -> Airflow:
    """A migrated Airflow, the same for all tests."""
    return new_airflow("airflow")


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Return a certificate authority of our own, and the certificates of a server."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def deploy(
    new_airflow: Callable[[str], Airflow], core_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Deployment]:
    """Bring the release of a small package, with its workflows, into an Airflow of its own."""

    def make(name: str, files: dict[str, str], **options: str) -> Deployment:
        folder = tmp_path_factory.mktemp(f"release-{name}")
        return Deployment.new(new_airflow(name), folder, core_wheel, files, name=name, **options)

    return make
