"""Which environment a task needs, and where its packages are looked for."""

import errno
import os
import re
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import run_command
from uv import find_uv_bin

from dkist_processing_core.worker import pip_settings
from dkist_processing_core.worker.checkout import changed_wheel, find_checkout
from dkist_processing_core.worker.errors import WorkerError
from dkist_processing_core.worker.interpreter import Interpreter, find_interpreter
from dkist_processing_core.worker.key import environment_name
from dkist_processing_core.worker.pip_settings import for_pip, for_uv, installer_variables
from dkist_processing_core.worker.request import EnvironmentRequest, Request

# What this machine has set for pip does not count.
NO_FILES = {"HOME": "/nobody", "PIP_CONFIG_FILE": os.devnull}
NODE = {"DKIST_TASK": "m:T", "DKIST_WORKFLOW_NAME": "w", "DKIST_WORKFLOW_VERSION": "1", "DKIST_RECIPE_RUN_ID": "1"}


def describe(**environment):
    """Return the name of the folder that an environment has, and the variables of the installer."""
    variables = {"HOME": "/nobody", "DKIST_REQUIREMENT": "x[frozen]==1.0", **NODE, **environment}
    settings = installer_variables(variables, "/nobody")
    return environment_name(
        EnvironmentRequest.from_environment(variables), Interpreter.own().identity, settings
    ), settings


def key(**environment):
    """Return the name of the folder that an environment has."""
    return describe(**environment)[0]


def write_key(file, text, **environment):
    """Return that name once a file has a text."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return key(**environment)


@pytest.mark.parametrize(
    "change",
    [
        "DKIST_REQUIREMENT=x[frozen]==1.1",
        "DKIST_REQUIREMENT=y[frozen]==1.0",
        "DKIST_REQUIREMENT=x[frozen,asdf]==1.0",
        "PIP_INDEX_URL=http://other/simple",
        "PIP_EXTRA_INDEX_URL=http://other/simple",
        "UV_DEFAULT_INDEX=http://other/simple",
        "UV_FIND_LINKS=/elsewhere",
        "PIP_NO_INDEX=1",
        "PIP_PRE=1",
        "UV_EXCLUDE_NEWER=2026-01-01",
        "UV_FORK_STRATEGY=fewest",
        "UV_NO_CONFIG=1",
        "UV_NO_SOURCES=1",
        "UV_TORCH_BACKEND=cpu",
        "UV_ANOTHER_SETTING=of a later release of uv",
        "PIP_NO_BINARY=:all:",
        "PIP_NO_BUILD_ISOLATION=0",
        "PIP_NO_DEPS=1",
        "PIP_ONLY_BINARY=numpy",
        "PIP_PREFER_BINARY=1",
        "PIP_UPLOADED_PRIOR_TO=2026-01-01",
    ],
)
def test_every_input_changes_the_key(change):
    """Another release, name, extra or source of packages is another environment."""
    assert key() != key(**dict([change.split("=", 1)]))


@pytest.mark.parametrize(
    "change",
    [
        "PIP_CACHE_DIR=/c",
        "PIP_CERT=/c",
        "PIP_DISABLE_PIP_VERSION_CHECK=1",
        "PIP_NO_CACHE_DIR=1",
        "PIP_PROGRESS_BAR=off",
        "PIP_PROXY=http://u:p@h",
        "PIP_QUIET=1",
        "PIP_RETRIES=1",
        "PIP_ROOT_USER_ACTION=ignore",
        "PIP_TIMEOUT=1",
        "PIP_TRUSTED_HOST=h",
        "UV_CACHE_DIR=/c",
        "UV_CONCURRENT_DOWNLOADS=1",
        "UV_HTTP_TIMEOUT=1",
        "UV_INDEX_OURS_PASSWORD=s",
        "UV_INDEX_OURS_USERNAME=s",
        "UV_LINK_MODE=copy",
        "UV_NO_PROGRESS=1",
        "UV_PROJECT=/p",
        "UV_WORKING_DIR=/p",
        "UV_SYSTEM_CERTS=1",
        "UV_EXCLUDE_NEWER=",
    ],
)
def test_how_files_are_fetched_does_not_change_the_key(change):
    """Nor what no installer is given."""
    assert key() == key(**dict([change.split("=", 1)]))


def test_the_contents_of_constraints_change_the_key(tmp_path):
    """Those of the file, and of the files that it names, also if they name each other; not only their names."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    assert len({write_key(one, text, PIP_CONSTRAINT=str(one)) for text in ("a==1", "a==2")}) == 2
    one.write_text("a==1\n-c two.txt\n")
    texts = "b==1", "b==2", "b==2\n--constraint one.txt"
    assert len({write_key(two, text, UV_CONSTRAINT=str(one)) for text in texts}) == 3


@settings(max_examples=10)
@given(st.permutations(["frozen", "asdf", "quality", "Big_Extra"]))
def test_what_means_the_same_has_the_same_key(extras):
    """Order of settings, order and spelling of extras, and the password of an index make no other environment."""
    one = key(
        DKIST_REQUIREMENT=f"Some_Name[{','.join(extras)}]==1.0", UV_FIND_LINKS="/l", UV_INDEX="http://u:1@h/simple"
    )
    other = "some-name[asdf,big-extra,frozen,quality]==1.0"
    assert one == key(DKIST_REQUIREMENT=other, UV_INDEX="http://u:2@h/simple", UV_FIND_LINKS="/l")


def test_settings_of_pip_reach_uv(tmp_path):
    """From pip.conf and from the environment, which wins; what is set for uv itself stays."""
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = http://conf/simple\nextra-index-url =\n    http://one/simple\n    http://two/simple\n"
        "timeout = 33\n[install]\nfind-links = /a /b\nno-index = no\ntrusted-host = h1\n"
    )
    _, found = describe(PIP_CONFIG_FILE=str(conf))
    assert found["UV_DEFAULT_INDEX"] == "http://conf/simple"
    assert found["UV_INDEX"] == "http://one/simple http://two/simple"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert (found["UV_HTTP_TIMEOUT"], found["UV_HTTP_RETRIES"], found["UV_INSECURE_HOST"]) == ("33", "5", "h1")
    own = {"UV_FIND_LINKS": "/c", "UV_HTTP_TIMEOUT": "44", "UV_EXTRA_INDEX_URL": "http://of-the-older-name/simple"}
    _, found = describe(PIP_CONFIG_FILE=str(conf), PIP_INDEX_URL="http://env/simple", **own)
    assert found["UV_DEFAULT_INDEX"] == "http://env/simple"
    assert own.items() <= found.items()
    assert "UV_INDEX" not in found


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("index-url = https://user:s3cret@host/simple\n", "MissingSectionHeaderError"),
        ("[global]\ntimeout = 1\nindex-url = https://user:s3cret@host/\ntimeout = 2\n", "DuplicateOptionError"),
        ("[global]\nindex-url = https://user:s3cret@host/\n[global]\n", "DuplicateSectionError"),
        ("[global]\nindex-url = https://user:s3cret@host/\ntimeout\n", "ParsingError"),
        ("[global]\nindex-url = https://user:s3cret@host/\n#\udcff\n", "UnicodeDecodeError"),
    ],
)
def test_a_broken_configuration_of_pip_is_named_and_not_shown(tmp_path, capfd, text, error):
    """A line of it may hold a password; nothing of it counts, and what other files say does."""
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text("[global]\ntimeout = 7\n")
    conf = tmp_path / "pip.conf"
    conf.write_text(text, errors="surrogateescape")
    _, found = describe(HOME=str(tmp_path), PIP_CONFIG_FILE=str(conf))
    shown = capfd.readouterr().err
    assert f"{conf} cannot be read ({error})" in shown
    assert "s3cret" not in shown
    assert (found["UV_HTTP_TIMEOUT"], "UV_DEFAULT_INDEX" in found) == ("7", False)


def test_constraints_at_an_address_need_not_be_read_for_the_key(tmp_path):
    """The address itself counts, and so does one that a file names."""
    addresses = [f"https://u:p@host/{name}.txt" for name in ("one", "two")]
    assert len({key(PIP_CONSTRAINT=each) for each in addresses}) == 2
    named = tmp_path / "named.txt"
    assert len({write_key(named, f"-c {each}", PIP_CONSTRAINT=str(named)) for each in addresses}) == 2


@pytest.mark.parametrize("requirement", ["x; rm -rf /", "x==1", "x[frozen]==1\n", "x[frozen]>=1"])
def test_a_malformed_requirement_is_refused(requirement):
    """What the exported DAG could not have set is named."""
    with pytest.raises(WorkerError, match="it must read name") as caught:
        describe(DKIST_REQUIREMENT=requirement)
    assert f"DKIST_REQUIREMENT is {requirement!r}" in str(caught.value)
    assert caught.value.status == 78


@pytest.mark.parametrize("run", ["1", f"{2**63 - 1}"])
def test_a_recipe_run_id_may_be_any_that_airflow_keeps(run):
    """Which is a signed integer of 64 bits."""
    variables = {**NODE, "DKIST_REQUIREMENT": "x[frozen]==1.0", "DKIST_RECIPE_RUN_ID": run}
    assert Request.from_environment(variables).recipe_run_id == run


def test_the_constraints_of_the_workflow_change_the_key():
    """Any text of them."""
    assert len({key(DKIST_CONSTRAINTS=text) for text in ("", "a==1", "a==1\nb==1")}) == 3


def test_a_constraints_file_that_cannot_be_read_is_named():
    """The installer could not read it either."""
    with pytest.raises(WorkerError, match="/none.txt, which decides what is installed, cannot be read") as caught:
        describe(PIP_CONSTRAINT="/none.txt")
    assert caught.value.status == 78


def test_the_checkout_of_dev_changes_the_key(tmp_path):
    """Its folder, and its pyproject.toml, which says what it needs."""
    keys = {
        write_key(
            tmp_path / folder / "pyproject.toml",
            text,
            DKIST_REQUIREMENT="x[frozen]==dev",
            DKIST_DEV_PROJECT=str(tmp_path / folder),
        )
        for folder, text in (("one", "a"), ("one", "b"), ("two", "b"))
    }
    assert len(keys) == 3


@pytest.mark.parametrize("name", ["setup.cfg", "setup.py", "requirements.txt", "deps/extra.in", "README.rst"])
def test_what_decides_the_dependencies_of_a_checkout_changes_the_key(tmp_path, name):
    """Files of setuptools, and those that pyproject.toml names; a description decides nothing."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.setuptools.dynamic]\ndependencies = {file = ['requirements.txt']}\nreadme = {file = 'README.rst'}\n"
        "optional-dependencies.extra = {file = 'deps/extra.in'}\n"
    )
    checkout = {"DKIST_REQUIREMENT": "x[frozen]==dev", "DKIST_DEV_PROJECT": str(tmp_path)}
    keys = {write_key(tmp_path / name, text, **checkout) for text in ("one", "two")}
    assert len(keys) == (1 if name == "README.rst" else 2)


def project(folder, name):
    """Make a checkout, whose name may be known to its build tool alone."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(f"[project]\nname = '{name}'\n" if name else "[build-system]\n")
    return str(folder)


def test_the_checkout_of_the_distribution_is_found(tmp_path):
    """Among several; one whose name is not known may be it if there is no other of that kind."""
    right, wrong = project(tmp_path / "right", "My_Package"), project(tmp_path / "wrong", "other")
    unknown, second = project(tmp_path / "unknown", ""), project(tmp_path / "second", "")
    also = project(tmp_path / "also", "my.package")
    for text, expected in (
        (right, right),
        (f"{wrong}:{unknown}:{right}:{also}", right),
        (f"{wrong}:{unknown}", unknown),
    ):
        assert str(find_checkout(text, "my-package")) == expected
    for text in (wrong, f"{wrong}:{unknown}:{second}"):
        with pytest.raises(WorkerError, match=f"no checkout of my-package, but other in {wrong}") as caught:
            find_checkout(text, "my-package")
        assert caught.value.status == 78
    with pytest.raises(WorkerError, match="is not a release that can be installed"):
        find_checkout(f"{right}:{tmp_path}", "my-package")


@pytest.mark.parametrize("links", [{"UV_FIND_LINKS": "http://h,/none,{}"}, {"PIP_FIND_LINKS": "http://h /none {}"}])
def test_a_wheel_that_is_newer_than_its_environment_is_found(tmp_path, links):
    """In a local folder of either installer; not an older one, one of another release, or what is no wheel."""
    links = {name: value.format(tmp_path) for name, value in links.items()}
    (tmp_path / ".ready").touch()
    for name in ("camera-1.0.1-py3.whl", "lens-1.0-py3.whl", "camera-1.0-py3.part", "Camera-1.0-py3.whl"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (2, 2))
        for built in (2, 1):
            os.utime(tmp_path / ".ready", (built, built))
            found = changed_wheel(links, "camera", "1.0", tmp_path, ".ready")
            assert found == (tmp_path / name if (built, name[0]) == (1, "C") else None)
    assert changed_wheel({}, "camera", "1.0", tmp_path, ".ready") is None  # the working folder is none of them


@pytest.mark.parametrize("place", ["user", "machine"])
def test_uvs_own_configuration_changes_the_key(tmp_path, place):
    """It names a package index, for example, whose password does not count; uv looks in several folders for it."""
    machine = f"{tmp_path / 'one'}:{tmp_path / 'two'}"
    where = {"HOME": str(tmp_path)} if place == "user" else {"XDG_CONFIG_DIRS": machine}
    file = tmp_path / (".config" if place == "user" else "two") / "uv" / "uv.toml"
    indexes = "http://u:one@a/simple", "http://u:two@a/simple", "http://u:two@b/simple"
    one, two, three = (write_key(file, f'index-url = "{index}"\n', **where) for index in indexes)
    assert one == two != three


def test_a_python_that_matches_is_the_one_of_the_worker():
    """No other one is looked for; DKIST_PYTHON that names it makes no other environment."""
    assert find_interpreter("", "/nowhere", ">=3.11") == Interpreter.own()
    assert find_interpreter("", None) == find_interpreter(sys.executable, None)
    assert sysconfig.get_config_var("EXT_SUFFIX") in Interpreter.own().identity


def test_a_program_that_is_no_python_is_refused():
    """With the variable and its value."""
    with pytest.raises(WorkerError, match="DKIST_PYTHON is '/bin/false', which cannot be used: .* status 1"):
        find_interpreter("/bin/false", None)


# As PEP 440 reads it, 3.11 is 3.11.0, and as uv does, any 3.11.
SHORT = [(f"=={sys.version_info.major}.{sys.version_info.minor}", "uv found")] if sys.version_info.micro else []


@pytest.mark.parametrize(
    ("requires", "reason"),
    [("==3.1.*", "No interpreter found"), ("new", "Invalid specifier"), (">=99", "No interpreter"), *SHORT],
)
def test_a_python_that_is_not_there_is_named(requires, reason):
    """With what the workflow requires, what there is, and what to do."""
    with pytest.raises(WorkerError, match=r"the workflow requires Python .* Install such a Python") as raised:
        find_interpreter("", f"{Path(find_uv_bin()).parent}:{Path(sys.base_prefix) / 'bin'}", requires)
    assert (raised.value.status, requires in str(raised.value), "b'" in str(raised.value)) == (78, True, False)
    assert reason.lower() in str(raised.value).lower()


def test_a_worker_that_cannot_compare_versions_is_named(monkeypatch):
    """Its Python needs packaging for a workflow that requires another one."""
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    with pytest.raises(WorkerError, match="the distribution packaging, .* is not installed in") as raised:
        find_interpreter("", None, ">=3.11")
    assert raised.value.status == 78


def test_pip_gets_the_same_settings_as_uv(tmp_path):
    """As variables, from all of its files; paths hold in another folder, and what installs elsewhere is left out."""
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://h/simple\n[install]\nconstraint = constraints.txt\nuser = true\ntarget = /t\n"
    )
    variables = {"HOME": "/nobody", "PIP_RETRIES": "3", "PIP_REQUIREMENT": "/r.txt", "UV_OVERRIDE": "constraints.txt"}
    found, ignored = for_pip(installer_variables(variables, str(tmp_path)))
    assert found["PIP_INDEX_URL"] == "http://h/simple"
    assert found["PIP_CONSTRAINT"] == found["UV_OVERRIDE"] == str(tmp_path / "constraints.txt")
    assert found["PIP_RETRIES"] == "3"
    assert not {"PIP_REQUIREMENT", "PIP_TARGET", "PIP_USER"} & set(found)
    assert ignored == ["requirement", "target", "user"]
    # Or pip would read the file once more, with all that is left out.
    assert found["PIP_CONFIG_FILE"] == os.devnull


@pytest.mark.parametrize(
    ("option", "value", "variables"),
    [
        ("build-constraint", "/c", {"UV_BUILD_CONSTRAINT": "/c"}),
        ("cert", "/c", {"SSL_CERT_FILE": "/c"}),
        ("client-cert", "/c", {"SSL_CLIENT_CERT": "/c"}),
        ("constraint", "/a /b", {"UV_CONSTRAINT": "/a /b"}),
        ("default-timeout", "2", {"UV_HTTP_TIMEOUT": "2"}),
        ("extra-index-url", "http://a http://b", {"UV_INDEX": "http://a http://b"}),
        ("find-links", "/a http://b", {"UV_FIND_LINKS": "/a,http://b"}),
        ("index-url", "http://a", {"UV_DEFAULT_INDEX": "http://a"}),
        ("keyring-provider", "subprocess", {"UV_KEYRING_PROVIDER": "subprocess"}),
        ("no-build-isolation", "off", {"UV_NO_BUILD_ISOLATION": "1"}),
        ("pre", "1", {"UV_PRERELEASE": "allow"}),
        ("proxy", "http://u:p@h:1", {"https_proxy": "http://u:p@h:1", "HTTP_PROXY": "http://u:p@h:1"}),
        ("proxy", "h:1", {"https_proxy": "http://h:1", "ALL_PROXY": "http://h:1"}),
        ("pypi-url", "http://a", {"UV_DEFAULT_INDEX": "http://a"}),
        ("require-hashes", "true", {"UV_REQUIRE_HASHES": "1"}),
        ("retries", "2", {"UV_HTTP_RETRIES": "2"}),
        ("timeout", "2", {"UV_HTTP_TIMEOUT": "2"}),
        ("timeout", "2.5", {"UV_HTTP_TIMEOUT": "3"}),  # uv takes whole seconds alone
        ("timeout", "inf", {"UV_HTTP_TIMEOUT": "inf"}),  # and says what it does not take
        ("timeout", "soon", {"UV_HTTP_TIMEOUT": "soon"}),
        ("trusted-host", "a b:1", {"UV_INSECURE_HOST": "a b:1"}),
        ("uploaded-prior-to", "2026-01-01", {"UV_EXCLUDE_NEWER": "2026-01-01"}),
        ("use-deprecated", "legacy-certs", {}),
        ("use-feature", "truststore", {"UV_SYSTEM_CERTS": "1"}),
    ],
)
@pytest.mark.parametrize("place", ["file", "variable"])
def test_an_option_of_pip_is_a_variable_of_uv(tmp_path, monkeypatch, place, option, value, variables):
    """From pip.conf as well as from the environment."""
    environment = {}
    if place == "file":
        (tmp_path / "pip.conf").write_text(f"[install]\n{option} = {value}\n")
        monkeypatch.setattr(pip_settings, "_configuration_files", lambda *_: [tmp_path / "pip.conf"])
    else:
        environment = {**NO_FILES, f"PIP_{option.upper().replace('-', '_')}": value}
    found = installer_variables(environment, str(tmp_path))
    assert variables.items() <= found.items()
    assert for_uv(found) == ([], [])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"PIP_USE_DEPRECATED": "legacy-certs"}, False),
        ({"PIP_CERT": "/c"}, False),
        ({"REQUESTS_CA_BUNDLE": "/c"}, False),
        ({"SSL_CERT_FILE": "/c"}, False),
        ({"UV_NATIVE_TLS": "0"}, False),
        ({"UV_SYSTEM_CERTS": "false"}, False),
    ],
)
def test_uv_trusts_what_the_system_does_as_pip_does(tmp_path, monkeypatch, settings, expected):
    """Unless the worker says what is to be trusted, or the system does not."""
    for exists in (False, True):
        monkeypatch.setattr(pip_settings, "SYSTEM_CERTIFICATES", ("/nowhere", str(tmp_path / "ca.crt")))
        found = installer_variables({**NO_FILES, **settings}, str(tmp_path))
        assert (found.get("UV_SYSTEM_CERTS") == found.get("UV_NATIVE_TLS") == "1") is (expected and exists)
        (tmp_path / "ca.crt").touch()


@pytest.mark.parametrize(
    ("option", "value", "arguments"),
    [
        ("config-settings", "a=b", ["--config-setting=a=b"]),
        ("no-binary", ":all:", ["--no-binary=:all:"]),
        ("no-dependencies", "1", ["--no-deps"]),
        ("no-deps", "on", ["--no-deps"]),
        ("no-deps", "off", []),
        ("no-index", "yes", ["--no-index"]),
        ("no-index", "no", []),
        ("only-binary", "numpy,scipy", ["--only-binary=numpy", "--only-binary=scipy"]),
    ],
)
def test_an_option_of_pip_is_an_argument_of_uv(option, value, arguments):
    """Where uv has no variable."""
    found = installer_variables({**NO_FILES, f"PIP_{option.upper().replace('-', '_')}": value}, "/nobody")
    assert for_uv(found) == (arguments, [])


def test_every_other_option_of_pip_is_named():
    """All that this Python's own pip knows: uv is given it, or the log says that it is not."""
    of_pip_alone = installer_variables({**NO_FILES, "PIP_KEYRING_PROVIDER": "import"}, "/nobody")
    assert for_uv(of_pip_alone) == ([], ["keyring-provider"])
    pip = [Path(sys.base_prefix, "bin", "python3"), "-I", "-m", "pip", "install", "--help"]
    done = run_command(*pip)
    if done.returncode:
        pytest.skip("the Python that runs this has no pip of its own")
    options = set(re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", done.stdout, re.MULTILINE))
    assert len(options) > 40
    plain = installer_variables(NO_FILES, "/nobody")
    for option in sorted(options):
        found = installer_variables({**NO_FILES, f"PIP_{option.upper().replace('-', '_')}": "1"}, "/nobody")
        arguments, ignored = for_uv(found)
        changed = {name for name in found if found[name] != plain.get(name) and not name.startswith("PIP_")}
        assert changed or arguments or ignored == [option], option


@pytest.mark.parametrize(
    ("environment", "bundle"),
    [
        ({"REQUESTS_CA_BUNDLE": "/r"}, "/r"),
        ({"CURL_CA_BUNDLE": "/c"}, "/c"),
        ({"REQUESTS_CA_BUNDLE": "/r", "CURL_CA_BUNDLE": "/c"}, "/r"),
        ({"REQUESTS_CA_BUNDLE": "/r", "PIP_CERT": "/p"}, "/r"),
        ({"REQUESTS_CA_BUNDLE": "/r", "PIP_CERT": "/p", "PIP_PROXY": "http://h"}, "/p"),
        ({"PIP_CERT": "/p", "SSL_CERT_FILE": "/s"}, "/p"),
        ({"REQUESTS_CA_BUNDLE": "/r", "SSL_CERT_FILE": "/s", "SSL_CERT_DIR": "/d"}, "/r"),
        ({"SSL_CERT_FILE": "/s"}, "/s"),
        ({}, None),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_uv_trusts_the_certificates_that_pip_trusts(environment, bundle):
    """Whatever names them, in the order in which pip asks."""
    found = installer_variables({**NO_FILES, **environment}, "/nobody")
    assert found.get("SSL_CERT_FILE") == bundle
    assert "SSL_CERT_DIR" not in found


def test_certificates_may_be_a_folder_and_named_from_here(tmp_path):
    """pip takes both; the installer works in another folder."""
    (tmp_path / "certificates").mkdir()
    found = installer_variables({**NO_FILES, "REQUESTS_CA_BUNDLE": "certificates"}, "/nobody")
    assert found["SSL_CERT_DIR"] == found["REQUESTS_CA_BUNDLE"] == str(tmp_path / "certificates")
    assert "SSL_CERT_FILE" not in found


def test_pip_may_be_told_to_read_no_file(tmp_path):
    """PIP_CONFIG_FILE that names the null device means that."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = http://h/simple\n")
    assert "PIP_INDEX_URL" not in installer_variables({"PIP_CONFIG_FILE": os.devnull}, str(tmp_path))


def test_a_home_that_cannot_be_read_has_no_settings(monkeypatch):
    """As that of another user, which HOME still names. Root may read all, so the kernel's refusal is simulated."""
    stat = os.stat

    def refuse(path, *arguments, **options):
        if str(path).startswith("/others/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    settings = {"HOME": "/others", "REQUESTS_CA_BUNDLE": "/others/bundle", "PIP_FIND_LINKS": "/others/links"}
    name, found = describe(**settings)
    assert name.startswith("x-1.0-")
    assert (found["SSL_CERT_FILE"], found["UV_FIND_LINKS"]) == ("/others/bundle", "/others/links")
