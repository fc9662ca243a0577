"""The files of ``deploy/`` are what systemd, Docker, Nomad and Airflow take, and agree with each other."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.command_line import first_on_path, run_command
from support.dockerfile_replay import instructions
from support.hadolint import lint
from support.processes import wait_for, wait_until_dead
from support.releases import VERSION
from support.units import COMMON, DEPLOY, FILES, TIMERS, Machine, seconds, settings, variables
from support.waiting import PATIENCE_SECONDS, wait_until

from dkist_processing_core.doctor.checks import CHECKS
from dkist_processing_core.doctor.examination import SECONDS

pytestmark = pytest.mark.once

DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
README = (DEPLOY / "README.rst").read_text()
SETTINGS = variables(DEPLOY / "airflow.env")
# Time for a task that was ended to be reported.
REPORT_SECONDS = 60
# What systemd adds to a list; all other settings of the drop-in replace those of a unit.
LISTS = {"Environment", "EnvironmentFile"}
# Ten times the exposure of "systemd-analyze security"; that of a service without any confinement is 96.
EXPOSURE = 20
# Of the job specification of Nomad and its docker driver, as their documentation has them.
NOMAD = {
    "job": {"type", "group"},
    "group": {"count", "update", "network", "service", "volume", "task"},
    "update": {"progress_deadline"},
    "network": {"mode", "port"},
    "port": {"static"},
    "service": {"name", "port", "provider", "check"},
    "check": {"type", "path", "interval", "timeout"},
    "volume": {"type", "source", "read_only"},
    "task": {
        "driver",
        "user",
        "kill_signal",
        "kill_timeout",
        "lifecycle",
        "config",
        "template",
        "dynamic",
        "volume_mount",
        "resources",
    },
    "lifecycle": {"hook", "sidecar"},
    "config": {*("image", "args", "network_mode", "init", "readonly_rootfs", "cap_drop", "security_opt", "mount")},
    "mount": {"type", "target"},
    "template": {"data", "destination", "env", "perms", "uid", "gid"},
    "dynamic": {"for_each", "content"},
    "content": {"data", "destination", "env", "perms", "uid", "gid"},
    "volume_mount": {"volume", "destination", "read_only"},
    "resources": {"cpu", "memory"},
}
LABELLED = {"group", "port", "volume", "task", "dynamic"}


def secrets(name):
    """Return the secrets of a unit."""
    unit = settings(DEPLOY / "systemd" / f"airflow-{name}.service")
    return {each.partition(":")[0] for each in unit.get("LoadCredential", [])}


@pytest.fixture
def analyze(tmp_path):
    """Run a command of systemd-analyze with units whose programs are where this project has them."""
    if not (tool := shutil.which("systemd-analyze")):
        pytest.skip("systemd is not installed (apt install systemd)")
    machine = Machine(tmp_path / "machine")
    units = shutil.copytree(DEPLOY / "systemd", tmp_path / "units")
    for file in units.glob("*.service"):
        file.write_text(re.sub(r"^Exec.*", lambda line: machine.place(line[0]), file.read_text(), flags=re.MULTILINE))

    def run(command, name, *options):
        return run_command(tool, command, *options, units / name, SYSTEMD_UNIT_PATH=f"{units}:")

    return run


@pytest.mark.parametrize("file", [*FILES, *TIMERS], ids=lambda file: file.name)
def test_systemd_finds_nothing_wrong_with_a_unit(analyze, file):
    """Its tool has no complaint about any setting, program or other unit that it names."""
    analyze("verify", file.name, "--man=no").check(stdout="", stderr="")


def test_systemd_would_find_what_is_wrong(analyze, tmp_path):
    """A setting that does not exist, be it in what the units share, is named."""
    common = tmp_path / "units" / COMMON.relative_to(DEPLOY / "systemd")
    common.write_text(f"{COMMON.read_text()}ProtectAll=yes\n")
    assert "ProtectAll" in analyze("verify", "airflow-worker.service", "--man=no").stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_unit_is_confined(analyze, file):
    """Its exposure is small, by systemd's own measure, thanks to what the units share."""
    analyze("security", file.name, "--offline=true", "--no-pager", f"--threshold={EXPOSURE}").check()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_units_share_replaces_no_setting_of_a_unit(file):
    """systemd reads the drop-in last."""
    assert not settings(file).keys() & settings(COMMON).keys() - LISTS


def test_a_stopped_worker_has_the_time_that_its_tasks_have():
    """systemd, Docker and Nomad wait longer than worker.sh does, and the task after it."""
    needed = int(SETTINGS["DKIST_DRAIN_SECONDS"]) + int(SETTINGS["DKIST_GRACE_SECONDS"]) + REPORT_SECONDS
    unit = settings(DEPLOY / "systemd" / "airflow-worker.service")
    [docker] = re.findall(r"--stop-timeout (\d+)", README)
    assert unit["KillMode"] == ["mixed"]
    assert unit["OOMPolicy"] == ["continue"]
    for each in (*unit["TimeoutStopSec"], docker, text_of(tasks()["worker"]["kill_timeout"])):
        assert seconds(each) >= needed, each
    [cap] = re.findall(r'max_kill_timeout = "(.*?)"', (DEPLOY / "airflow.nomad.hcl").read_text())
    assert seconds(cap) >= seconds(text_of(tasks()["worker"]["kill_timeout"]))
    [deadline] = re.findall(r'progress_deadline = "(.*?)"', (DEPLOY / "airflow.nomad.hcl").read_text())
    assert seconds(deadline) > seconds(text_of(tasks()["worker"]["kill_timeout"]))


def test_the_setup_waits_for_the_database():
    """What requires the unit is not started again if it fails; systemd gives it the time that the wait takes."""
    unit = settings(DEPLOY / "systemd" / "airflow-setup.service")
    [wait] = unit["ExecStartPre"]
    [times, delay] = map(int, re.findall(r"db check --retry (\d+) --retry-delay (\d+)$", wait)[0])
    assert 3600 <= times * delay < seconds(unit["TimeoutStartSec"][0]) - 1800


def test_a_worker_is_checked_before_it_starts_and_starts_anyway():
    """In its own unit, thus with its own settings, secrets and confinement."""
    unit = settings(DEPLOY / "systemd" / "airflow-worker.service")
    [check] = unit["ExecStartPre"]
    assert check.startswith("-/opt/dkist/entrypoint.sh ")
    assert check.endswith("dkist-processing-core doctor")
    longest = max(each.seconds for each in CHECKS)
    assert seconds(unit["TimeoutStartSec"][0]) > longest + 2 * SECONDS


def test_the_secrets_of_nomad_are_shown_in_the_form_that_it_reads():
    """Its variables have items; the names are those of secrets."""
    [text] = re.findall(r"^ *(\{\"Items\": .*\})$", README, re.MULTILINE)
    assert set(json.loads(text)["Items"]) <= set().union(*map(secrets, ["worker", "scheduler", "api-server"]))


def test_every_program_reads_the_settings_alike():
    """No value has characters that systemd, Docker or Nomad reads in its own way."""
    for name, value in SETTINGS.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        assert not re.search(r"""^["']|[\\$#]|\s$|\{\{|%""", value), name
    assert json.loads(SETTINGS["MESH_CONFIG"])


def test_the_settings_have_what_the_guide_recommends():
    """Each variable of Airflow that a shell block of its section sets, with that value."""
    guide = (DEPLOY.parent / "docs" / "how-to" / "deploy.rst").read_text()
    section = guide.partition("\nTolerate restarts of the broker and the API server\n")[2].partition(
        "\nPackage index\n"
    )[0]
    words = shlex.split(" ".join(re.findall(r"^   export (.*)$", section, re.MULTILINE)))
    recommended = dict(each.split("=", 1) for each in words)
    assert len(recommended) == 5
    assert recommended.items() <= SETTINGS.items()


def test_every_file_can_be_downloaded_from_the_guide():
    """A reader of the pages has no checkout."""
    guide = (DEPLOY.parent / "docs" / "how-to" / "deploy.rst").read_text()
    linked = set(re.findall(r":download:`[\w.-]+ <../../deploy/([\w./-]+)>`", guide))
    assert linked == {str(each.relative_to(DEPLOY)) for each in DEPLOY.rglob("*") if each.is_file()}


@pytest.mark.airflow
def test_airflow_has_every_setting():
    """Those in the settings, in the secrets, and in what the units and the images set."""
    text = "".join(file.read_text() for file in (*FILES, COMMON, DEPLOY / "airflow.env", DEPLOY / "Dockerfile"))
    names = sorted(set(re.findall(r"AIRFLOW__\w+", text)))
    program = """
        import sys
        from airflow.configuration import conf
        from airflow.providers_manager import ProvidersManager
        ProvidersManager().initialize_providers_configuration()
        sections = conf.configuration_description
        known = {f"AIRFLOW__{section}__{name}".upper() for section in sections for name in sections[section]["options"]}
        print(*(set(sys.argv[1:]) - known))
    """
    done = run_command(sys.executable, "-c", textwrap.dedent(program), *names).check()
    assert len(names) > 10
    assert done.stdout.splitlines()[-1] == ""


def test_a_linter_finds_nothing_in_the_images():
    """hadolint accepts the file with its shell commands."""
    lint(DOCKERFILE).check(stdout="", stderr="")


def test_images_and_units_have_the_same_folders():
    """What is true of one is true of the other; and both name this release."""
    steps = [
        dict(word.split("=", 1) for word in words.split()) for name, words in instructions(DOCKERFILE) if name == "ENV"
    ]
    images = {name: value for step in steps for name, value in step.items() if name not in {"LANG", "PATH"}}
    units = dict(each.split("=", 1) for each in settings(COMMON)["Environment"])
    assert images == units
    assert f"ARG VERSION={VERSION}\n" in DOCKERFILE
    assert f"'dkist-processing-core[airflow]=={VERSION}'" in README


def test_no_image_runs_as_root():
    """The user is a number, which an orchestrator can check; all that is written to is a volume."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    volumes = []
    for stage in stages:
        steps = instructions(f"FROM {stage}")
        assert [arguments for name, arguments in steps if name == "USER"][-1] == "50000:50000"
        volumes += [each for name, arguments in steps if name == "VOLUME" for each in json.loads(arguments)]
    written = {*settings(COMMON)["Environment"], "x=/var/cache/dkist"}
    for each in written - {"AIRFLOW__CORE__DAGS_FOLDER=/srv/airflow/dags"}:
        assert each.split("=")[1].startswith(tuple(volumes)), each


def parsed_job():
    """Return the Nomad job, as a parser of its language reads it."""
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is not installed (pip install python-hcl2)")
    return hcl2.loads((DEPLOY / "airflow.nomad.hcl").read_text())


def text_of(value):
    """Return a string of the job without its quotation marks."""
    return value.strip('"')


def blocks(value):
    """Return the attributes and blocks of a block, without what the parser adds."""
    return {name: each for name, each in value.items() if not name.startswith("__")}


def tasks():
    """Return the tasks of the job by their names."""
    [job] = parsed_job()["job"]
    found = {}
    for group in job['"airflow"']["group"]:
        for inner in blocks(group).values():
            found |= {text_of(name): body for task in inner["task"] for name, body in blocks(task).items()}
    return found


def test_nomad_has_every_field_of_the_job():
    """The names are those in its documentation; there is no program here that checks the values."""
    seen = set()

    def check(kind, body):
        for name, value in blocks(body).items():
            assert name in NOMAD[kind], f"{name} in {kind}"
            seen.add(name)
            for each in value if isinstance(value, list) else ():
                if isinstance(each, dict):
                    for inner in blocks(each).values() if name in LABELLED else (each,):
                        check(name, inner)

    [job] = parsed_job()["job"]
    check("job", job['"airflow"'])
    assert {"kill_timeout", "readonly_rootfs", "volume_mount", "content"} <= seen


def test_nomad_mounts_the_volumes_that_persist():
    """Where the images have them; the worker has the cache, and who sends messages has the spool."""
    places = {"airflow-dags": "/srv/airflow/dags", "airflow-logs": "/var/log/airflow"}
    places |= {"dkist-cache": "/var/cache/dkist", "dkist-spool": "/var/lib/dkist"}
    mounted = {
        name: {text_of(each["volume"]): text_of(each["destination"]) for each in task.get("volume_mount", [])}
        for name, task in tasks().items()
    }
    assert mounted["worker"] == places
    assert "dkist-spool" in mounted["dag-processor"]
    for each in mounted.values():
        assert each.items() <= places.items()
    [job] = parsed_job()["job"]
    for group in job['"airflow"']["group"]:
        [body] = blocks(group).values()
        declared = {text_of(name) for volume in body["volume"] for name in blocks(volume)}
        used = {name for task in body["task"] for each in blocks(task) for name in mounted[text_of(each)]}
        assert declared == used


@pytest.mark.parametrize("name", ["setup", "scheduler", "dag-processor", "api-server", "worker"])
def test_a_task_of_nomad_is_confined_as_the_unit_is(name):
    """Another user than root, a root file system that is read-only, no capabilities, the same command and secrets."""
    task = tasks()[name]
    [config] = task["config"]
    assert text_of(task["user"]) == "50000:50000"
    assert text_of(task["kill_signal"]) == "SIGTERM"
    assert (config["init"], config["readonly_rootfs"], config["cap_drop"]) == (True, True, ['"all"'])
    words = " ".join(map(text_of, config["args"])).replace("${var.queues}", "${DKIST_QUEUES}")
    for command in settings(DEPLOY / "systemd" / f"airflow-{name}.service")["ExecStart"]:
        assert command.partition("/opt/airflow/bin/")[2].removesuffix("/etc/dkist/pools.json") in words
    [dynamic] = task["dynamic"]
    listed = dynamic['"template"']["for_each"]
    assert names_in(listed) == secrets(name)


def names_in(expression):
    """Return the secrets that an expression of the job stands for."""
    [values] = parsed_job()["locals"]
    found = set()
    for word in re.findall(r"local\.\w+|[A-Z][A-Z_]+", str(expression)):
        found |= names_in(values[word.removeprefix("local.")]) if word.startswith("local.") else {word}
    return found


def test_the_guide_lists_every_secret_with_its_users():
    """As the units have them."""
    used = {"setup": "setup", "scheduler": "scheduler", "DAG processor": "dag-processor", "API server": "api-server"}
    used |= {"worker": "worker", "environments": "environments", "reconcile": "reconcile"}
    table = README.partition("\nSecrets\n")[2].partition("\nMachines")[0]
    listed = re.findall(r"^   \* - ``([A-Z_]+)``.*\n     - (.*)$", table, re.MULTILINE)
    assert len(listed) == 9
    for component, name in used.items():
        assert {secret for secret, users in listed if component in users.split(", ")} == secrets(name)


# What needs root, the network, or a running systemd: it is written down what it was asked to do. A virtual environment
# has the programs of the tests' own.
STAND_INS = {
    "useradd": "",
    "systemctl": "",
    "python3": 'mkdir -p "$3/bin"; ln -s "$BIN"/airflow "$BIN"/dkist-processing-core "$PIP" "$3/bin"',
    "pip/python": "",
}


def test_the_commands_of_the_guide_install_the_units(tmp_path):
    """Below another folder than the root; each unit that they enable is there, with its programs and settings."""
    section = README.partition("\nMachines with systemd\n")[2].partition("\nDocker\n")[0]
    blocks = re.findall(r"^\.\. code-block:: bash\n\n((?:   .*\n|\n)+)", section, re.MULTILINE)
    for name, action in STAND_INS.items():
        path = first_on_path(tmp_path / "bin", name, f'#!/bin/sh\necho "$(basename "$0") $*" >>"$LOG"\n{action}\n')
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    folder = shutil.copytree(DEPLOY, tmp_path / "copy")
    environment = {
        "PATH": path,
        "LOG": str(tmp_path / "log"),
        "BIN": str(Path(sys.executable).parent),
        "PIP": str(tmp_path / "bin/pip/python"),
    }
    script = re.sub(r"(?<![\w./-])/(?=(?:opt|etc|srv)/)", f"{tmp_path}/", textwrap.dedent("".join(blocks)))
    run_command("sh", "-euc", script, cwd=folder, env=environment).check(stderr="")
    assert (tmp_path / "etc/dkist/secrets").stat().st_mode & 0o777 == 0o700
    enabled = re.findall(r"^systemctl enable --now (.*)", (tmp_path / "log").read_text(), re.MULTILINE)
    for name in " ".join(enabled).split():
        assert not name.endswith(".timer") or (tmp_path / "etc/systemd/system" / name).is_file()
        unit = settings(tmp_path / f"etc/systemd/system/{name.removesuffix('.timer')}.service")
        for command in unit["ExecStart"]:
            for program in re.findall(r"/opt/\S+", command):
                assert os.access(f"{tmp_path}{program}", os.X_OK), program
    for each in settings(tmp_path / "etc/systemd/system/airflow-.service.d/common.conf")["EnvironmentFile"]:
        assert (tmp_path / each.removeprefix("/")).is_file()
    assert (tmp_path / "etc/dkist/pools.json").is_file()
    assert f"dkist-processing-core[airflow]=={VERSION}\n" in (tmp_path / "log").read_text()


def enter(*command, **folders):
    """Run a command by entrypoint.sh, with folders of secrets."""
    return run_command(DEPLOY / "entrypoint.sh", *command, env={"PATH": os.environ["PATH"], **folders})


@pytest.mark.parametrize("variable", ["CREDENTIALS_DIRECTORY", "NOMAD_SECRETS_DIR"])
def test_secrets_become_variables(tmp_path, variable):
    """Whatever is in them; other files of Nomad do not."""
    (tmp_path / "ISB_PASSWORD").write_text("""it's "$HOME" \\ #1\n""")
    (tmp_path / "PIP_INDEX_URL").write_text("https://user:pass%20word@index.example.org/simple")
    (tmp_path / "nomad_token").write_text("t")
    (tmp_path / "EMPTY_FOLDER").mkdir()
    program = "import json, os; print(json.dumps(dict(os.environ)))"
    found = json.loads(enter(sys.executable, "-c", program, **{variable: tmp_path}).check().stdout)
    assert found["ISB_PASSWORD"] == """it's "$HOME" \\ #1"""
    assert found["PIP_INDEX_URL"] == "https://user:pass%20word@index.example.org/simple"
    assert {"nomad_token", "EMPTY_FOLDER"}.isdisjoint(found)


def test_nothing_starts_without_a_secret_that_cannot_be_read(tmp_path):
    """The error names it."""
    if os.getuid() == 0:
        (tmp_path / "ISB_PASSWORD").symlink_to("/proc/self/mem")  # which even root cannot read from its beginning
    else:
        (tmp_path / "ISB_PASSWORD").touch(mode=0)
    done = enter("echo", "started", CREDENTIALS_DIRECTORY=tmp_path)
    assert (done.returncode != 0, done.stdout, "ISB_PASSWORD" in done.stderr) == (True, "", True)


def test_without_secrets_a_program_is_started(tmp_path):
    """As an image is tried at a desk."""
    enter("echo", "started", CREDENTIALS_DIRECTORY=tmp_path).check(stdout="started\n")


# Stands for Celery: on SIGTERM it takes no more work and ends with its child, which is in a session of its own.
MAIN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: open("stopping", "w").write("1"))
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
with open("new", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename("new", "pids")
sys.exit(child.wait() and 7)
"""


@pytest.fixture
def worker(tmp_path):
    """Start worker.sh with something that stands for Celery, and return it with the processes."""
    started = []

    def start(drain_seconds):
        environment = {"PATH": os.environ["PATH"], "DKIST_DRAIN_SECONDS": str(drain_seconds)}
        command = [DEPLOY / "worker.sh", sys.executable, "-c", MAIN]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True))
        return started[0], *wait_for(tmp_path / "pids")

    yield start
    for each in started:
        if each.poll() is None:
            os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def test_a_stop_waits_for_the_work_that_goes_on(worker, tmp_path):
    """The status is that of the worker, also if the signal comes twice."""
    process, main, child = worker(600)
    for _ in range(2):
        process.terminate()
        wait_until((tmp_path / "stopping").exists, "the worker was not told to stop")
    os.kill(child, signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == 7
    wait_until_dead([main, child])


@pytest.mark.parametrize(("drain_seconds", "is_stopped"), [(1, True), (600, False)], ids=["too-long", "by-itself"])
def test_what_goes_on_too_long_and_what_ends_by_itself_end_the_container(worker, drain_seconds, is_stopped):
    """In whatever session the work is, with the worker's status, so that it is started again unless it was stopped."""
    process, main, child = worker(drain_seconds)
    process.terminate() if is_stopped else os.kill(child, signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == 7
    wait_until_dead([main, child])
