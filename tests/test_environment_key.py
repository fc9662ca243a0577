"""Which environment a task needs, and where its packages are looked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkist_processing_core.rendering.task_script import task_script


def describe(**environment):
    """Return the name of the folder that an environment has, and the settings for the installer."""
    program = (Path(task_script.__wrapped__.__code__.co_filename).parent / "describe_environment.py").read_text()
    kept = {name: os.environ[name] for name in ("HOME", "PATH")}
    done = subprocess.run(
        [sys.executable, "-I", "-"],
        input=program,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    key, *assignments = done.stdout.rstrip("\0").split("\0")
    return key, dict(each.split("=", 1) for each in assignments)


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
    assert "UV_FIND_LINKS" not in found


def test_a_broken_configuration_of_pip_is_named_and_not_shown(tmp_path):
    """A line of it may hold a password."""
    conf = tmp_path / "pip.conf"
    conf.write_text("index-url = https://user:s3cret@host/simple\n")
    program = (Path(task_script.__wrapped__.__code__.co_filename).parent / "describe_environment.py").read_text()
    variables = {"HOME": "/", "DKIST_REQUIREMENT": "x[frozen]==1", "PIP_CONFIG_FILE": str(conf)}
    done = subprocess.run([sys.executable, "-I", "-"], input=program, env=variables, capture_output=True, text=True)
    assert done.returncode == 0
    assert f"{conf} cannot be read (MissingSectionHeaderError)" in done.stderr
    assert "s3cret" not in done.stderr


def test_times_of_pip_are_whole_seconds_for_uv():
    """pip takes fractions, uv does not."""
    assert describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_TIMEOUT="2.5")[1]["UV_HTTP_TIMEOUT"] == "3"


def test_constraints_at_an_address_need_not_be_read_for_the_key():
    """The address itself counts."""
    one, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/one.txt")
    two, _ = describe(DKIST_REQUIREMENT="x[frozen]==1", PIP_CONSTRAINT="https://u:p@host/two.txt")
    assert one != two


def test_a_malformed_requirement_is_refused():
    """What the exported DAG could not have set is named."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        describe(DKIST_REQUIREMENT="x; rm -rf /")
    assert "DKIST_REQUIREMENT is 'x; rm -rf /'; it must read name[extra,...]==version" in caught.value.stderr
