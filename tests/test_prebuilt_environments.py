"""Environments that are built before a task needs them."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from support.command_line import PROGRAM, ended, first_on_path, start_command
from support.processes import with_variable
from support.releases import VERSION, with_links
from support.script_package import NAME
from support.script_runs import environments, run
from support.sources import imported_sources
from support.waiting import PATIENCE_SECONDS, wait_until
from support.wheels import make_wheel

from dkist_processing_core.exceptions import NeededEnvironmentsError
from dkist_processing_core.worker import builds
from dkist_processing_core.worker.needed import Needed, needed_by_dag_files, needed_by_manifest
from dkist_processing_core.worker.verification import verify

GOLDEN = Path(__file__).parent / "golden" / "protocol_1"
MODULE = """
    from dkist_processing_core import TaskBase, Workflow

    class Dark(TaskBase):
        def run(self): pass
    class Flat(Dark): pass

    def new(detail, **arguments):
        return Workflow(input_data="a", output_data="b", category="cam", detail=detail,
                        workflow_package=__package__, workflow_version="1.0", **arguments)

    plain, own = new("plain", requires_python=">=3.11"), new("own", operator="python_virtualenv")
    constrained = new("constrained", constraints=FILE)
    for each in (plain, own, constrained):
        each.add_node(Dark)
        each.add_node(Flat, upstreams=Dark, pip_extras=["asdf"])
"""


def test_what_exported_files_need_is_read_without_running_them(tmp_path):
    """Each environment once; files and archives of anybody else are passed over."""
    for name in ("diamond_bash", "diamond_bash_constrained", "diamond_python_virtualenv"):
        shutil.copy(GOLDEN / f"{name}.py", tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "beyond").mkdir()
    (tmp_path / "below" / "theirs.py").write_text("raise SystemExit('of another team' ")
    (tmp_path / "notes.zip").write_bytes(b"no archive")
    (tmp_path / "below" / "above").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.py")
    with zipfile.ZipFile(tmp_path / "beyond" / "dags.zip", "w") as archive:
        archive.writestr("dag.py", (GOLDEN / "diamond_bash.py").read_text().replace('"support"', '"archived"'))
        archive.writestr("dag.txt", "what dkist_processing_core.scheduling runs")
        archive.writestr("secret.py", "")
    data = bytearray((tmp_path / "beyond" / "dags.zip").read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1  # says that the last file is encrypted
    (tmp_path / "beyond" / "dags.zip").write_bytes(data)
    constraints = "numpy==2.1.0\nscipy==1.14.1"
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "dags").symlink_to(tmp_path)  # as git-sync does
    assert set(needed_by_dag_files(tmp_path / "current")) == {
        Needed(f"{name}[{extras}]==1.0", text)
        for name, text in (("support", ""), ("support", constraints), ("archived", ""))
        for extras in ("frozen", "frozen,asdf")
    }


@pytest.mark.parametrize("form", ["export_dags", "export_one_file", "export_archive"])
def test_the_manifest_says_what_the_files_need(tmp_path, form):
    """Whatever the form of the export is; Airflow's own operator builds its environments by itself."""
    from dkist_processing_core import build_utils

    (tmp_path / "constraints.txt").write_text("numpy<3\n")
    source = MODULE.replace("FILE", repr(str(tmp_path / "constraints.txt")))
    with imported_sources(tmp_path / "sources", {"flow.py": source}, name="needed_by_a_test"):
        import needed_by_a_test

        getattr(build_utils, form)(needed_by_a_test, tmp_path / "dags")
    found = set(needed_by_dag_files(tmp_path / "dags"))
    assert {(each.constraints, each.requires_python) for each in found} == {("", ">=3.11"), ("numpy<3", "")}
    assert {each.requirement for each in found} == {f"needed-by-a-test[{x}]==1.0" for x in ("frozen", "frozen,asdf")}
    if form != "export_archive":
        assert set(needed_by_manifest(tmp_path / "dags" / "manifest.json")) == found


def test_a_damaged_file_is_named(tmp_path):
    """With what to do."""
    golden = (GOLDEN / "diamond_bash.py").read_text()
    for text, reason in (
        (golden[:-20], "SyntaxError"),
        (golden.replace('["frozen", "asdf"]', '"frozen"'), "ValueError"),
        (golden.replace("distribution=", "package="), "ValueError"),
    ):
        (tmp_path / "dag.py").write_text(text)
        with pytest.raises(NeededEnvironmentsError, match=rf"dag.py cannot be read .*{reason}(?s:.*)Export it again"):
            list(needed_by_dag_files(tmp_path))
    (tmp_path / "dag.py").unlink()
    with zipfile.ZipFile(tmp_path / "dags.zip", "w") as archive:
        archive.writestr("dag.py", golden)
    whole = (tmp_path / "dags.zip").read_bytes()
    method = whole.index(b"PK\1\2") + 10
    for archived in (whole[:method] + b"\x63" + whole[method + 1 :], whole.replace(b"import", b"omport")):
        (tmp_path / "dags.zip").write_bytes(archived)
        with pytest.raises(NeededEnvironmentsError, match=r"dags.zip cannot be read as an archive"):
            list(needed_by_dag_files(tmp_path))
    odd = {"requirement": "x[frozen]==1\0", "constraints": "", "requires_python": ""}
    for text in (
        "",
        "[]",
        "[" * 100_000,
        '{"files": [{"file": "of an earlier release"}]}',
        json.dumps({"files": [{"environments": [odd]}]}),
        json.dumps({"files": [{"environments": [odd | {"requirement": "x", "constraints": "x" * 200_000}]}]}),
        json.dumps({"files": [{"environments": [odd | {"requirement": 5}]}]}),
    ):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(NeededEnvironmentsError, match=r"manifest.json does not say"):
            list(needed_by_manifest(tmp_path / "manifest.json"))


def start_build(cache, releases, *arguments, **options):
    """Start the command in the environment of a worker."""
    variables = {**with_links(releases), "DKIST_ENVIRONMENT_CACHE": cache}
    command = [PROGRAM, "environments", "build", *arguments]
    return start_command(*command, stderr=subprocess.STDOUT, **variables, **options)


def build(cache, releases, *arguments):
    return ended(start_build(cache, releases, *arguments))[:2]


@pytest.mark.once
def test_the_first_task_of_a_release_starts_warm(releases, tmp_path):
    """What cannot be built is one line with its log; what is there is left as it is."""
    needed = {"requirement": f"{NAME}[frozen]==1.0", "constraints": "", "requires_python": ""}
    (tmp_path / "manifest.json").write_text(json.dumps({"files": [{"environments": [needed]}]}))
    arguments = (f"{NAME}[frozen]==9.9", "--manifest", tmp_path / "manifest.json")
    status, output = build(tmp_path / "environments", releases, *arguments)
    assert status == 1, output
    [failed] = re.findall(rf"^failed: {re.escape(NAME)}\[frozen\]==9\.9: (.*) Log: (.*)$", output, re.MULTILINE)
    assert "Check that this release is on the package index" in failed[0]
    assert f"{NAME}[frozen]==9.9" in Path(failed[1]).read_text()
    Path(failed[1]).unlink()
    [identity] = re.findall(rf"^built: {re.escape(NAME)}\[frozen\]==1\.0, .*, identity (\w+)$", output, re.MULTILINE)
    assert output.endswith("2 environments, 1 failed\n")
    assert re.search(rf"environment reused: .*, identity {identity}", run("Good", releases).stdout)
    status, output = build(tmp_path / "environments", releases, f"{NAME}[frozen]==1.0")
    assert (status, output.partition(":")[0]) == (0, "there already")


def test_nothing_to_build_is_an_error_of_the_command_line(command, tmp_path):
    """A folder without exported files needs nothing."""
    command("environments", "build").check("give releases, --manifest or --dags", status=2)
    (tmp_path / "dags").mkdir()
    status, output, error = command("environments", "build", "--dags", tmp_path / "dags")
    assert (status, output) == (0, "0 environments, 0 failed\n")
    assert error == f"Warning: nothing in {tmp_path / 'dags'} was exported by this library.\n"
    command("environments", "build", "cam[frozen]").check("'cam[frozen]' is not a release with its extras", status=2)


@pytest.fixture(scope="module")
def ten(core_wheel, tmp_path_factory):
    """Ten releases, in a folder."""
    folder = shutil.copytree(core_wheel, tmp_path_factory.mktemp("ten") / "wheels")
    needs = f"dkist-processing-core=={VERSION}"
    for number in range(10):
        make_wheel(folder, f"cam{number}", "1.0", needs, extras=("frozen",))
    return folder


RELEASES = [f"cam{number}[frozen]==1.0" for number in range(10)]


@pytest.mark.once
def test_an_interrupted_build_leaves_nothing_half(ten, tmp_path):
    """Ctrl-C ends all that builds."""
    cache = tmp_path / "cache"
    # A shell that starts the tests in the background has SIGINT ignored.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = start_build(cache, ten, *RELEASES, "--parallel", "3", **heard)
    wait_until(lambda: len(environments(cache)) >= 3, "nothing was built")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, "Aborted!" in output) == (1, True), output
    assert not with_variable(f"DKIST_ENVIRONMENT_CACHE={cache}\0")
    assert all((each / ".ready").exists() for each in environments(cache))


def test_a_build_ends_with_the_command_that_has_started_it(tmp_path):
    """Also if that is killed, so that no installer goes on by itself; this one would for ten minutes."""
    path = first_on_path(tmp_path / "bin", "uv", "#!/bin/sh\nexec sleep 600\n")
    process = start_build(tmp_path / "cache", tmp_path, RELEASES[0], PATH=path)
    wait_until(lambda: environments(tmp_path / "cache"), "nothing is being built")
    process.kill()
    process.communicate()
    wait_until(lambda: not with_variable(f"DKIST_ENVIRONMENT_CACHE={tmp_path}/cache\0"), "a process is left")


def of_a_test(monkeypatch, program):
    """Let a program of Python take the place of the one that builds."""
    monkeypatch.setattr(builds, "PROGRAM", [sys.executable, "-c", f"import os, signal, sys, time\n{program}"])


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os._exit(0)", 70),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        # nohup, for example, makes all that it starts ignore it.
        ("signal.signal(signal.SIGHUP, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGHUP)", 129),
    ],
)
def test_a_build_without_an_outcome_has_failed(monkeypatch, end, status):
    """With the exit status of a shell, and the log of the program from its beginning."""
    of_a_test(monkeypatch, f"os.write(1, b'said'); os.write(2, b' and warned'); {end}")
    [built] = builds.build_all([Needed("x[frozen]==1.0")], {}, parallel=1)
    assert (built.outcome.state, built.outcome.exit_status, built.log) == ("failed", status, b"said and warned")
    assert 0 <= built.seconds <= PATIENCE_SECONDS


def test_whoever_stops_waiting_for_builds_ends_them(monkeypatch):
    """What runs is ended, also while it is being started, and what has not begun never does."""
    started = []

    def start_program(*arguments, env, **options):
        started.append(env["DKIST_REQUIREMENT"])
        return popen(*arguments, env=env, **options)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start_program)
    of_a_test(monkeypatch, "if os.environ['DKIST_REQUIREMENT'] != 'quick': time.sleep(600)")
    made = builds.build_all(map(Needed, ("quick", "slow", "never")), {}, parallel=1)
    assert next(made).needed.requirement == "quick"
    made.close()
    assert "never" not in started


@pytest.mark.kills
@pytest.mark.once
def test_killed_builds_leave_no_half_environment(ten, tmp_path):
    """However often the command is killed, what is complete is whole, and in the end all ten are."""
    cache, seed = tmp_path / "cache", random.randrange(2**32)
    moments = random.Random(seed)
    print("seed", seed)
    for _ in range(20):
        process = start_build(cache, ten, *RELEASES, "--parallel", "10")
        time.sleep(moments.uniform(0.2, 4))
        process.kill()
        process.communicate()
        wait_until(lambda: not with_variable(f"DKIST_ENVIRONMENT_CACHE={cache}\0"), "a process is left")
        for each in environments(cache):
            assert verify(each) in ([], None), each
    status, output = build(cache, ten, *RELEASES, "--parallel", "10")
    assert status == 0, output
    assert [verify(each) for each in environments(cache)] == [[]] * 10
