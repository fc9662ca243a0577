"""Which environment a task needs, and where its packages are looked for."""

import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.interpreter import Interpreter, find_interpreter
from dkist_processing_core.worker.key import environment_name
from dkist_processing_core.worker.pip_settings import installer_variables
from dkist_processing_core.worker.request import Request

NODE = {"DKIST_TASK": "m:T", "DKIST_WORKFLOW_NAME": "w", "DKIST_WORKFLOW_VERSION": "1", "DKIST_RECIPE_RUN_ID": "1"}


def describe(**environment):
    """Return the name of the folder that an environment has, and the variables of the installer."""
    variables = {"HOME": "/nobody", **NODE, **environment}
    settings = installer_variables(variables, "/nobody")
    return environment_name(Request.from_environment(variables), Interpreter.own().identity, settings), settings


@pytest.mark.parametrize(
    "change",
    [
        {"DKIST_REQUIREMENT": "x[frozen]==1.1"},
        {"DKIST_REQUIREMENT": "y[frozen]==1.0"},
        {"DKIST_REQUIREMENT": "x[frozen,asdf]==1.0"},
        {"PIP_INDEX_URL": "http://other/simple"},
        {"PIP_EXTRA_INDEX_URL": "http://other/simple"},
        {"UV_DEFAULT_INDEX": "http://other/simple"},
        {"UV_FIND_LINKS": "/elsewhere"},
        {"PIP_NO_INDEX": "1"},
        {"PIP_PRE": "1"},
        {"UV_EXCLUDE_NEWER": "2026-01-01"},
    ],
    ids="-".join,
)
def test_every_input_changes_the_key(change):
    """Another release, name, extra or source of packages is another environment."""
    base = {"DKIST_REQUIREMENT": "x[frozen]==1.0"}
    assert describe(**base)[0] != describe(**{**base, **change})[0]


def test_the_contents_of_constraints_change_the_key(tmp_path):
    """The file's text counts, not only its name."""
    file = tmp_path / "constraints.txt"
    keys = []
    for text in ("a==1", "a==2"):
        file.write_text(text)
        keys.append(describe(DKIST_REQUIREMENT="x[frozen]==1.0", PIP_CONSTRAINT=str(file))[0])
    assert keys[0] != keys[1]


@settings(max_examples=10, deadline=None)
@given(st.permutations(["frozen", "asdf", "quality", "Big_Extra"]))
def test_what_means_the_same_has_the_same_key(extras):
    """Order and spelling of extras, and the password of an index, make no other environment."""
    key, _ = describe(DKIST_REQUIREMENT=f"Some_Name[{','.join(extras)}]==1.0", PIP_INDEX_URL="http://u:one@h/simple")
    same, _ = describe(
        DKIST_REQUIREMENT="some-name[asdf,big-extra,frozen,quality]==1.0", PIP_INDEX_URL="http://u:two@h/simple"
    )
    assert key == same


def test_settings_of_pip_reach_uv(tmp_path):
    """From pip.conf and from the environment, which wins; what is set for uv itself stays."""
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = http://conf/simple\nextra-index-url =\n    http://one/simple\n    http://two/simple\n"
        "timeout = 33\n[install]\nfind-links = /a /b\nno-index = no\ntrusted-host = h1\n"
    )
    _, found = describe(DKIST_REQUIREMENT="x[frozen]==1.0", PIP_CONFIG_FILE=str(conf))
    assert found["UV_DEFAULT_INDEX"] == "http://conf/simple"
    assert found["UV_INDEX"] == "http://one/simple http://two/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert (found["UV_HTTP_TIMEOUT"], found["UV_HTTP_RETRIES"], found["UV_INSECURE_HOST"]) == ("33", "5", "h1")
    assert "UV_NO_INDEX" not in found
    _, found = describe(
        DKIST_REQUIREMENT="x[frozen]==1.0",
        PIP_CONFIG_FILE=str(conf),
        PIP_INDEX_URL="http://env/simple",
        UV_FIND_LINKS="/c",
    )
    assert found["UV_DEFAULT_INDEX"] == "http://env/simple"
    assert found["UV_FIND_LINKS"] == "/c"


def test_a_broken_configuration_of_pip_is_named_and_not_shown(tmp_path, capfd):
    """A line of it may hold a password."""
    conf = tmp_path / "pip.conf"
    conf.write_text("index-url = https://user:s3cret@host/simple\n")
    describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONFIG_FILE=str(conf))
    error = capfd.readouterr().err
    assert f"{conf} cannot be read (MissingSectionHeaderError)" in error
    assert "s3cret" not in error


def test_times_of_pip_are_whole_seconds_for_uv():
    """pip takes fractions, uv does not."""
    assert describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_TIMEOUT="2.5")[1]["UV_HTTP_TIMEOUT"] == "3"


def test_constraints_at_an_address_need_not_be_read_for_the_key():
    """The address itself counts."""
    one, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/one.txt")
    two, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/two.txt")
    assert one != two


@pytest.mark.parametrize("requirement", ["x; rm -rf /", "x==1", "x[frozen]==1\n", "x[frozen]>=1"])
def test_a_malformed_requirement_is_refused(requirement):
    """What the exported DAG could not have set is named."""
    with pytest.raises(WorkerError, match="it must read name") as caught:
        describe(DKIST_REQUIREMENT=requirement)
    assert f"DKIST_REQUIREMENT is {requirement!r}" in str(caught.value)
    assert caught.value.status == 78


def test_the_constraints_of_the_workflow_change_the_key():
    """Any text of them."""
    keys = {
        describe(DKIST_REQUIREMENT="x[frozen]==1", DKIST_CONSTRAINTS=text)[0] for text in ("", "a==1", "a==1\nb==1")
    }
    assert len(keys) == 3


def test_a_constraints_file_that_cannot_be_read_is_named():
    """The installer could not read it either."""
    with pytest.raises(WorkerError, match="/none.txt, which decides what is installed, cannot be read") as caught:
        describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="/none.txt")
    assert caught.value.status == 78


def test_the_checkout_of_dev_changes_the_key(tmp_path):
    """Its folder, and its pyproject.toml, which says what it needs."""
    keys = set()
    for folder, text in (("one", "a"), ("one", "b"), ("two", "b")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "pyproject.toml").write_text(text)
        keys.add(describe(DKIST_REQUIREMENT="x[frozen]==dev", DKIST_DEV_PROJECT=str(tmp_path / folder))[0])
    assert len(keys) == 3


def test_uvs_own_configuration_changes_the_key(tmp_path):
    """That of the user, which names a package index, for example; its password does not count."""
    (tmp_path / ".config" / "uv").mkdir(parents=True)
    keys = []
    for index in ("http://u:one@a/simple", "http://u:two@a/simple", "http://u:two@b/simple"):
        (tmp_path / ".config" / "uv" / "uv.toml").write_text(f'index-url = "{index}"\n')
        keys.append(describe(DKIST_REQUIREMENT="x[frozen]==1", HOME=str(tmp_path))[0])
    assert keys[0] == keys[1] != keys[2]


def test_another_interpreter_is_described_as_it_describes_itself():
    """DKIST_PYTHON that names the Python of this program makes no other environment."""
    assert find_interpreter("", None) == find_interpreter(sys.executable, None)


def test_a_program_that_is_no_python_is_refused():
    """With the variable and its value."""
    with pytest.raises(WorkerError, match="DKIST_PYTHON is '/bin/false', which cannot be used"):
        find_interpreter("/bin/false", None)


def test_pip_gets_the_same_settings_as_uv(tmp_path, monkeypatch):
    """As variables, from all of its files; paths hold in another folder, and what installs elsewhere is left out."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://h/simple\n[install]\nconstraint = constraints.txt\nuser = true\ntarget = /t\n"
    )
    found = installer_variables({"HOME": "/nobody", "PIP_RETRIES": "3"}, str(tmp_path))
    assert found["PIP_INDEX_URL"] == "http://h/simple"
    assert found["PIP_CONSTRAINT"] == str(tmp_path / "constraints.txt")
    assert (found["PIP_RETRIES"], found["PIP_USER"]) == ("3", "0")
    assert "PIP_TARGET" not in found


@pytest.mark.parametrize("nothing", [os.devnull])
def test_pip_may_be_told_to_read_no_file(tmp_path, nothing):
    """PIP_CONFIG_FILE that names the null device means that."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://h/simple\n")
    assert "PIP_INDEX_URL" not in installer_variables({"PIP_CONFIG_FILE": nothing}, str(tmp_path))
