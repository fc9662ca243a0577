"""Each environment says what is in it, where that came from, and how it was built."""

import dataclasses
import json
import re
import sys
from datetime import datetime
from pathlib import Path

import pytest
from support.command_line import run_command
from support.described_environments import undescribe
from support.http_server import Response, http_server
from support.releases import VERSION, write_package
from support.script_package import FILES, NAME
from support.script_runs import environments, new_spec, run, worker_without_uv

from dkist_processing_core.common.environment import DESCRIPTION, identity_of, read_description

pytestmark = [pytest.mark.network, pytest.mark.once]


def logged(output):
    """Return the identity that the log names."""
    [found] = re.findall(r"dkist: environment (?:reused|built).*, identity (\w+)", output)
    return found


@pytest.fixture(scope="module")
def described(warm_cache):
    """What the environment of the release says."""
    return read_description(environments(warm_cache)[0])


def test_an_environment_is_described(described):
    """Its distributions with their digests, its Python, its installer, and when it was built."""
    assert described["schema_version"] == 1
    assert described["requirement"] == f"{NAME}[frozen]==1.0"
    assert described["identity"] == identity_of(described)
    distributions = {each["name"]: each for each in described["distributions"]}
    assert [distributions[name]["version"] for name in (NAME, "dkist-processing-core")] == ["1.0", VERSION]
    for each in distributions.values():
        assert re.fullmatch(r"[0-9a-f]{64} [0-9a-f]{64}", f"{each['record_sha256']} {each['files_sha256']}")
    assert (described["interpreter"]["version"], described["installer"]["name"]) == (sys.version.split()[0], "uv")
    assert re.fullmatch(r"\d+\.\d+\S*", described["installer"]["version"])
    assert datetime.fromisoformat(described["built"]).tzinfo is not None
    assert 0 < described["seconds"] < 3600
    assert "pyvenv.cfg" in described["other_files"]


def test_the_log_names_the_identity(releases, environment):
    """The log of each start does; that of an environment of an earlier release says that it is not known."""
    assert logged(run("Good", releases).stdout) == read_description(environment)["identity"]
    undescribe(environment)
    run("Good", releases).check(", of an earlier version of this library, so without an identity\n")


def test_a_workflow_may_require_another_python(releases, tmp_path):
    """One that is on the worker."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    others = {each.name.rpartition(".")[0]: each for each in sorted(Path(sys.base_prefix).parent.glob("3.1[1-9].*"))}
    others.pop(own, None)
    if not others:
        pytest.skip("there is no other Python beside that of the tests, as pyenv installs them")
    version, folder = max(others.items())
    spec = dataclasses.replace(new_spec(), requires_python=f"=={version}.*")
    path = f"{Path(sys.executable).parent}:{folder / 'bin'}:/usr/bin:/bin"
    run(spec, releases, DKIST_ENVIRONMENT_CACHE=str(tmp_path), PATH=path).check()
    described = read_description(environments(tmp_path)[0])
    assert described["interpreter"]["version"].startswith(f"{version}.")


def test_pip_gives_the_identity_that_uv_gives(releases, described, tmp_path):
    """In another cache, without pip in it; and pip says where each wheel came from, and which one it was."""
    done = run("Good", releases, **worker_without_uv(tmp_path / "tools")).check("there is no uv on PATH")
    [environment] = environments(tmp_path / "environments")
    by_pip = read_description(environment)
    assert by_pip["identity"] == described["identity"]
    assert (by_pip["installer"]["name"], logged(done.stdout)) == ("pip", described["identity"])
    for each in by_pip["distributions"]:
        assert each["origin"]["url"].endswith(".whl"), each
        assert re.fullmatch("[0-9a-f]{64}", each["wheel_sha256"]), each


def test_a_description_has_no_credentials(releases, tmp_path):
    """Neither those of an index, nor those of a folder or a constraint of the worker."""
    (tmp_path / "constraints.txt").write_text("# of the worker\npackaging>=24\n-c other.txt\n")
    (tmp_path / "other.txt").write_text("pydantic>=2 # enough\n")
    with http_server(lambda request: Response(404)) as port:
        index = f"127.0.0.1:{port}/simple/"
        settings = {
            "PIP_EXTRA_INDEX_URL": f"http://user:s3cret@{index}",
            "PIP_CONSTRAINT": str(tmp_path / "constraints.txt"),
        }
        done = run("Good", releases, **settings)
    assert done.returncode == 0, done.stdout
    [environment] = environments(tmp_path / "environments")
    text = (environment / DESCRIPTION).read_text()
    assert "s3cret" not in text
    described = json.loads(text)
    assert described["index"]["UV_INDEX"] == f"http://{index}"
    assert described["constraints"] == ["packaging>=24", "pydantic>=2 # enough"]


def test_the_identity_of_a_checkout_is_that_of_its_state_now(releases, tmp_path, command):
    """Another one when it is dirty, without building anew; and the clean one again when it is clean again."""
    project = write_package(tmp_path / "checkout", FILES, name=NAME)
    git = ["git", "-C", project, "-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        run_command(*git, *arguments).check()
    tasks = project / "src/dkist_script_test/tasks.py"
    clean = tasks.read_text()
    found = []
    for text in (clean, clean + "# one\n", clean + "# two\n", clean):
        tasks.write_text(text)
        done = run(new_spec(version="dev"), releases, DKIST_DEV_PROJECT=str(project)).check()
        found.append(logged(done.stdout))
    assert (len(set(found)), found[0]) == (3, found[-1])
    [environment] = environments(tmp_path / "environments")
    [checkout] = [
        each["origin"]["checkout"] for each in read_description(environment)["distributions"] if each["origin"]
    ]
    commit = run_command(*git, "rev-parse", "HEAD").check().stdout.strip()
    assert checkout == {"path": str(project), "commit": commit, "dirty": False, "sources_sha256": None}
    command("environments", "show", NAME).check(f"{project} {commit[:12]} (clean)\n")
    command("environments", "verify", NAME).check("as installed:")


def test_a_task_reads_what_its_environment_is(described, warm_cache):
    """The identity, the requirement and the version of each distribution, in the Python of the environment."""
    [environment] = environments(warm_cache)
    program = (
        "import json; from dkist_script_test.tasks import Good\n"
        "its = Good(1, 'w', '1').environment\n"
        "print(json.dumps([its.identity, its.requirement, its.distributions]))"
    )
    done = run_command(environment / "bin/python", "-c", program).check()
    versions = {each["name"]: each["version"] for each in described["distributions"]}
    assert json.loads(done.stdout) == [described["identity"], described["requirement"], versions]
