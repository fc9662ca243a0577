"""Freeze the dependencies of a package: which pins, where they stand, and that nothing else changes."""

import ensurepip
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path
from textwrap import dedent

import pytest
from packaging.requirements import Requirement
from support.wheels import make_wheel

from dkist_processing_core.exceptions import FreezeError
from dkist_processing_core.project.arrays import MARK
from dkist_processing_core.project.freeze import freeze as compute

# Formatting that an editor could lose: spaces, quotes, comments, a table that comes late.
PROJECT = """\
# The camera.
[project]
name    = 'cam'   # its name
version = "1.0"
requires-python = ">=3.11"
dependencies = ["array>=1", "reader",]

[project.optional-dependencies]
# What the tests need.
test = [ "array" ]
preview = ["plot>=1"] # pictures

# Settings of the tests.
[tool.pytest.ini_options]
testpaths = [ 'tests' ]
[[tool.x]]
"""
FROZEN = f"""\
frozen = [
    {MARK}
    "array==2.0",
    "reader==1.0",
]
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with distributions, in a path with white space."""
    folder = tmp_path_factory.mktemp("some wheels")
    for version in ("1.0", "1.5", "2.0"):
        make_wheel(folder, "array", version)
    make_wheel(folder, "reader", "1.0", "array>=1")
    make_wheel(folder, "plot", "1.0", "array<2", "paint")
    make_wheel(folder, "plot", "0.9", "array", "paint")
    make_wheel(folder, "paint", "3.0")
    make_wheel(folder, "table", "1.0", "paint", "win; sys_platform == 'win32'")
    make_wheel(folder, "old", "1.0", "array>=2; python_version >= '3.12'", "array<2; python_version < '3.12'")
    make_wheel(folder, "win", "1.0")
    make_wheel(folder, "choice", "1.0", "win; extra == 'more'", "paint; sys_platform == 'win32'", extras=("more",))
    make_wheel(folder, "needs_cam", "1.0", "cam")
    make_wheel(folder, "cam", "0.1")
    return folder


@pytest.fixture(autouse=True)
def no_index(monkeypatch):
    """Let no setting of this machine, and no index, decide."""
    for name in [each for each in os.environ if each.startswith(("PIP_", "UV_")) and each != "UV_CACHE_DIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def freeze(command, wheels):
    def run(*arguments, links=wheels):
        return command("freeze", *arguments, "--find-links", links)

    return run


def write(text=PROJECT, name="pyproject.toml"):
    Path(name).write_bytes(text.encode())


def read():
    return Path("pyproject.toml").read_bytes().decode()


def extras():
    return tomllib.loads(read())["project"]["optional-dependencies"]


def project(dependencies=(), /, **optional):
    """Write a plain file."""
    lines = ["[project]", 'name = "cam"', 'version = "1.0"', 'requires-python = ">=3.11"']
    lines += [f"dependencies = {list(dependencies)}", "[project.optional-dependencies]"]
    write("\n".join([*lines, *(f"{name} = {entries}" for name, entries in optional.items()), ""]))


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_the_extra_is_added_and_all_else_stays(freeze, newline):
    """The new lines are the first of the table; every other byte of the file is as it was."""
    write(PROJECT.replace("\n", newline))
    status, output, error = freeze()
    assert (status, error) == (0, "")
    assert output == "array 2.0 added\nreader 1.0 added\n2 requirements frozen in pyproject.toml (frozen 2)\n"
    header = "[project.optional-dependencies]\n"
    assert read() == PROJECT.replace(header, header + FROZEN).replace("\n", newline)


def test_a_table_of_extras_is_added(freeze):
    """A package without extras gets the table at the end of its file."""
    text = PROJECT.partition("[project.optional")[0] + "[tool.x]\ny = 1 # z\n"
    write(text)
    assert freeze()[0] == 0
    assert read() == f"{text}\n[project.optional-dependencies]\n{FROZEN}"


@pytest.mark.parametrize(
    "old",
    ["frozen = []", "frozen = ['array==1.0']", 'frozen = [\n  "numpy==1", # so\n  "Cam==0.9"\n] # all', FROZEN.strip()],
    ids=["empty", "unmarked", "commented", "marked"],
)
def test_frozen_is_generated_as_a_whole(freeze, old):
    """Without the mark nothing in it is a range, and what follows the array stays."""
    header = "[project.optional-dependencies]\n"
    write(PROJECT.replace(header, f"{header}{old}\n"))
    assert freeze("--upgrade")[0] == 0
    comment = " # all" if old.endswith("# all") else ""
    assert read() == PROJECT.replace(header, f"{header}{FROZEN.strip()}{comment}\n")


def test_an_extra_keeps_its_ranges_and_is_remembered(freeze):
    """Its pins stand below what its author wrote; from then on it is pinned without being named."""
    write()
    output = freeze("--extra", "Preview").check().stdout
    assert output.endswith("4 requirements frozen in pyproject.toml (frozen 2, preview 2)\n")
    pinned = f'preview = [\n    "plot>=1",\n    {MARK}\n    "paint==3.0",\n    "plot==1.0",\n] # pictures\n'
    header = "[project.optional-dependencies]\n"
    expected = PROJECT.replace(header, header + FROZEN.replace("array==2.0", "array==1.5"))
    assert read() == expected.replace('preview = ["plot>=1"] # pictures\n', pinned)
    freeze().check(stdout="4 requirements frozen in pyproject.toml (frozen 2, preview 2), as before\n")
    assert freeze("--check")[0] == 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[\n  'plot>=1',  # why\n  # and more\n]", "[\n  'plot>=1',  # why\n  # and more\n  MARK\n  PINS\n]"),
        ("[\n\t'plot>=1' # \"why\"\n]", "[\n\t'plot>=1', # \"why\"\n\tMARK\n\tPINS\n]"),
        ('[\n    "plot>=1"]', '[\n    "plot>=1",\n    MARK\n    PINS\n]'),
        ("[\n  'plot>=1',\n\n  MARK\n  ]", "[\n  'plot>=1',\n\n  MARK\n  PINS\n  ]"),
        ("[\n  'plot>=1',\n  MARK\n 'paint==3.0', 'plot==0.9',  # hm\n]", "[\n  'plot>=1',\n  MARK\n  PINS\n]"),
    ],
    ids=["comments", "no comma", "one line more", "marked", "pinned"],
)
def test_what_is_above_the_mark_is_not_touched(freeze, old, new):
    """Comments, quotes, indentation and blank lines stay; a missing comma is added."""
    pins = r'\1"paint==3.0",\n\1"plot==1.0",'
    new = re.sub("^([ \t]+)PINS", pins, new.replace("MARK", MARK), flags=re.MULTILINE)
    write(PROJECT.replace('["plot>=1"]', old.replace("MARK", MARK)))
    assert freeze("--extra", "preview", "--upgrade-package", "plot")[0] == 0
    assert f"preview = {new} # pictures" in read()


def test_an_inline_table_is_edited_in_its_place(freeze):
    """So are keys with dots, as long as the extra exists."""
    head = '[project]\nname = "cam"\nrequires-python = ">=3.11"\ndependencies = ["reader"]\n'
    for extra in ("optional-dependencies = { a = [], frozen = [] }", "optional-dependencies.frozen = []"):
        write(f"{head}{extra}\n[tool.x]\n")
        assert freeze()[0] == 0
        assert read() == f"{head}{extra.replace('frozen = []', FROZEN.strip())}\n[tool.x]\n"


def test_pins_within_the_ranges_stay(freeze):
    """Newer releases change nothing unless they are asked for, all or one."""
    project(["array", "paint"], frozen=["array==1.0", "paint==3.0"])
    assert freeze()[0] == 0
    assert freeze("--check")[0] == 0
    assert extras()["frozen"] == ["array==1.0", "paint==3.0"]
    freeze("--upgrade-package", "paint")
    assert extras()["frozen"] == ["array==1.0", "paint==3.0"]
    assert freeze("--upgrade-package", "Array<2")[1].startswith("array 1.0 -> 1.5\n2 requirements")
    assert freeze("--upgrade", "--check")[0] == 1
    assert freeze("--upgrade")[1].startswith("array 1.5 -> 2.0\n2 requirements")


def test_ranges_that_changed_change_the_pins(freeze):
    """What no longer fits is replaced, what is needed no longer is removed; pins are never read as ranges."""
    project(["array<2", "paint"], preview=["plot"])
    freeze("--extra", "preview")
    write(read().replace("'array<2', 'paint'", "'array>=2'").replace("'plot'", "'plot<1'"))
    output = freeze().check().stdout
    assert output.splitlines()[:-1] == ["array 1.5 -> 2.0", "paint 3.0: other markers or extras", "plot 1.0 -> 0.9"]
    assert extras() == {"frozen": ["array==2.0"], "preview": ["plot<1", "paint==3.0", "plot==0.9"]}
    write(read().replace("'plot<1',", ""))
    assert freeze()[1].splitlines()[:-1] == ["paint 3.0 removed", "plot 0.9 removed"]
    assert extras() == {"frozen": ["array==2.0"], "preview": []}
    assert MARK in read().partition("preview")[2]


def test_a_check_shows_what_would_change_and_writes_nothing(freeze):
    """The exit status is 1, and the difference is that of the arrays."""
    write(PROJECT.replace("test =", f"{FROZEN.replace('array==2.0', 'array==0.9')}test ="))
    before = read()
    status, output, error = freeze("--check")
    assert (status, read()) == (1, before)
    lines = output.splitlines()
    assert [each for each in lines if each[0] in "+-"] == [
        "--- pyproject.toml",
        "+++ pyproject.toml (frozen)",
        '-    "array==0.9",',
        '+    "array==2.0",',
    ]
    assert len(lines) == 7
    assert error == "pyproject.toml is out of date. Run the command without --check to update it.\n"


def test_another_way_to_write_the_same_pins_is_no_change(freeze):
    """A formatter may change quotes, spaces and the order below the mark."""
    project(["old"])
    freeze()
    pins = extras()["frozen"]
    formatted = [f"\t{each.replace(' ; ', ';')!r}" for each in reversed(pins)]
    write("".join([*read().partition(MARK)[:2], "\n", ",\n".join(formatted), "]\n"]))
    before = read()
    assert extras()["frozen"] != pins
    assert freeze("--check")[0] == 0
    assert freeze()[0] == 0
    assert read() == before


def test_markers_survive(freeze):
    """A version may depend on the Python; what an extra needs on more platforms than the base is one of its pins."""
    project(["old", "choice"], more=["choice[more]"], test=["paint"])
    assert freeze("--extra", "more", "--extra", "test")[0] == 0
    assert extras() == {
        "frozen": [
            "array==1.5 ; python_full_version < '3.12'",
            "array==2.0 ; python_full_version >= '3.12'",
            "choice==1.0",
            "old==1.0",
            "paint==3.0 ; sys_platform == 'win32'",
        ],
        "more": ["choice[more]", "win==1.0"],
        "test": ["paint", "paint==3.0"],
    }


def test_the_package_itself_is_not_pinned(freeze):
    """An extra that consists of others gets their pins; a dependency on the package stays one."""
    project(["reader"], all=["cam[preview,tables]"], preview=["plot"], tables=["table"])
    assert freeze("--extra", "all", "--extra", "tables")[0] == 0
    win = "win==1.0 ; sys_platform == 'win32'"
    assert extras() == {
        "frozen": ["array==1.5", "reader==1.0"],
        "all": ["cam[preview,tables]", "paint==3.0", "plot==1.0", "table==1.0", win],
        "preview": ["plot"],
        "tables": ["table", "paint==3.0", "table==1.0", win],
    }
    project(["needs_cam"])
    assert freeze()[0] == 0
    assert extras() == {"frozen": ["needs-cam==1.0"]}


@pytest.mark.parametrize(
    ("installer", "chosen"),
    [
        ("uv", "frozen"),
        ("uv", "frozen,preview"),
        ("uv", "frozen,tables"),
        ("uv", "frozen,preview,tables"),
        pytest.param("pip", "frozen,preview,tables", marks=pytest.mark.once),
    ],
)
def test_any_combination_of_extras_can_be_installed(freeze, wheels, tmp_path, installer, chosen):
    """Their pins do not conflict, and nothing is installed that is not pinned."""
    project(["reader"], preview=["plot"], tables=["table", "array>=1.5"])
    assert freeze("--extra", "preview", "--extra", "tables")[0] == 0
    requires = ["reader"]
    for name, entries in extras().items():
        for requirement in map(Requirement, entries):
            marker = f"({requirement.marker}) and " if requirement.marker else ""
            requires.append(f"{requirement.name}{requirement.specifier}; {marker}extra == '{name}'")
    links = make_wheel(tmp_path / "links", "cam", "1.0", *requires, extras=tuple(extras())).parent
    target = tmp_path / "target"
    options = ["--quiet", "--no-index", "--find-links", links, "--find-links", wheels, "--target", target]
    program = ["uv", "pip"]
    if installer == "pip":  # the one that comes with Python, as it is packed
        [pip] = Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl")
        program = [sys.executable, pip / "pip"]
    subprocess.run([*program, "install", *options, f"cam[{chosen}]==1.0"], check=True)
    pinned = {each for name in chosen.split(",") for each in extras()[name] if "==" in each and "win" not in each}
    installed = {f"{each.name}=={each.version}" for each in distributions(path=[str(target)])}
    assert installed == {"cam==1.0", *pinned}


def test_settings_of_uv_do_not_change_the_form(freeze, monkeypatch, tmp_path):
    """Hashes, addresses and annotations are no part of a pin; those in the package do not count, as on a worker."""
    settings = """
        [pip]
        all-extras = true
        generate-hashes = true
        emit-find-links = true
        emit-build-options = true
        emit-index-annotation = true
        output-file = "requirements.txt"
        no-header = false
    """
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text(dedent(settings))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    write(PROJECT + '[tool.uv]\nconstraint-dependencies = ["array<2"]\noverride-dependencies = ["reader==9"]\n')
    assert freeze()[0] == 0
    assert extras()["frozen"] == ["array==2.0", "reader==1.0"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pyproject.toml", "uv"]


def test_constraints_are_those_of_pip(freeze, tmp_path, monkeypatch):
    """Files of the command line count besides those of the settings, and paths are relative to the working folder."""
    project(["array", "plot"])
    (tmp_path / "settings.txt").write_text("plot<1\n")
    (tmp_path / "my constraints.txt").write_text("array<2\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "settings.txt"))
    monkeypatch.chdir(tmp_path.parent)
    assert freeze(tmp_path.name, "-c", f"{tmp_path.name}/my constraints.txt")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert extras() == {"frozen": ["array==1.5", "paint==3.0", "plot==0.9"]}


def test_settings_of_pip_name_the_wheels(command, wheels, monkeypatch, tmp_path):
    """What is installed from is what is frozen from; PIP_NO_DEPS would freeze next to nothing and does not count."""
    (tmp_path / "wheels").symlink_to(wheels)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    project(["reader"])
    assert command("freeze")[0] == 0
    assert extras() == {"frozen": ["array==2.0", "reader==1.0"]}


def test_an_index_may_have_a_pinned_release_for_another_python_only(command, wheels, monkeypatch, tmp_path):
    """The pin stays if another index has what is missing, although uv alone gives up."""
    [wheel] = wheels.glob("array-1.5-*")
    for index, name in (
        ("first", wheel.name.replace("py3-none-any", "cp39-cp39-linux_x86_64")),
        ("second", wheel.name),
    ):
        page = tmp_path / index / "array" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="{name}">{name}</a>')
        shutil.copy(wheel, page.parent / name)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (tmp_path / "first").as_uri())
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "second").as_uri())
    project(["array"])
    assert command("freeze")[0] == 0
    assert extras() == {"frozen": ["array==1.5"]}
    assert command("freeze", "--check") == (0, "1 requirements frozen in pyproject.toml (frozen 1), as before\n", "")


def test_platforms_and_pythons_that_are_not_meant_are_left_out(freeze):
    """An upper bound of Python is none of each pin, no wheels for a browser are needed, and uv's environments count."""
    project(["old", "table", "lib; sys_platform == 'emscripten'"])
    write(read().replace(">=3.11", ">=3.11,<3.14"))
    assert freeze()[0] == 0
    pins = [
        "array==1.5 ; python_full_version < '3.12'",
        "array==2.0 ; python_full_version >= '3.12'",
        "old==1.0",
        "paint==3.0",
        "table==1.0",
        "win==1.0 ; sys_platform == 'win32'",
    ]
    assert extras() == {"frozen": pins}
    write(read() + "[tool.uv]\nenvironments = \"sys_platform == 'win32' and python_version >= '3.12'\"\n")
    assert freeze()[0] == 0
    here = " ; python_full_version >= '3.12' and sys_platform == 'win32'"
    assert extras() == {
        "frozen": [f"{each}{here}" for each in ("array==2.0", "old==1.0", "paint==3.0", "table==1.0", "win==1.0")]
    }


def test_a_link_and_its_mode_stay(freeze, tmp_path):
    """The file that a link names is written, with the permissions that it had."""
    write()
    Path("pyproject.toml").rename("real.toml")
    Path("pyproject.toml").symlink_to("real.toml")
    Path("real.toml").chmod(0o660)
    assert freeze()[0] == 0
    assert Path("pyproject.toml").is_symlink()
    assert Path("real.toml").stat().st_mode & 0o777 == 0o660
    assert MARK in Path("real.toml").read_text()


MINIMAL = '[project]\nname = "cam"\nrequires-python = ">=3.11"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[project\n", "pyproject.toml is not valid TOML: Expected ']' at the end of a table declaration (at line 1"),
        ("\udcff", "pyproject.toml is not valid TOML: 'utf-8' codec can't decode"),
        ("[tool.poetry]\n", "pyproject.toml has no table [project] with a name"),
        (f"{MINIMAL}dynamic = ['dependencies']", "pyproject.toml declares dependencies as dynamic"),
        (f"{MINIMAL}dynamic = ['optional-dependencies']", "declares optional-dependencies as dynamic"),
        (f"{MINIMAL}dependencies = 'array'", "dependencies is not a list"),
        (f"{MINIMAL}dependencies = [1]", "1 in dependencies is not a requirement"),
        (f"{MINIMAL}dependencies = ['array=1']", "'array=1' in dependencies is not a requirement: "),
        (f"{MINIMAL}optional-dependencies = []", "optional-dependencies is not a table"),
        (f"{MINIMAL}optional-dependencies.test = ['http://me:word@h']", "'http://<redacted>@h' in test is not a"),
        (f"{MINIMAL}optional-dependencies.test = []", "has extras and no table [project.optional-dependencies], so"),
        (MINIMAL.replace(">=3.11", "soon"), "has requires-python = 'soon', which does not say for which Python"),
        (MINIMAL.replace(">=3.11", "<2"), "has requires-python = '<2', which does not say for which Python"),
        (MINIMAL.replace("requires-python", "readme"), "has requires-python = '', which does not say for which Python"),
        (f"{MINIMAL}dependencies = ['aray']", "uv cannot resolve the dependencies in pyproject.toml:\n"),
        (f"{MINIMAL}dependencies = ['array>2']", "array>2"),
    ],
    ids=[
        "TOML",
        "UTF-8",
        "project",
        "dynamic",
        "dynamic-extras",
        "no-list",
        "number",
        "requirement",
        "extras",
        "url",
        "no-table",
        "no-version",
        "impossible",
        "no-python",
        "unknown",
        "no-release",
    ],
)
def test_an_error_names_what_is_wrong_and_changes_nothing(freeze, text, message):
    """The file is as it was, byte by byte, and no other file is left."""
    before = text.encode(errors="surrogateescape")
    Path("pyproject.toml").write_bytes(before)
    error = freeze().check("\n    -> ", status=1, stdout="").stderr
    assert error.startswith("Error: ")
    assert message in " ".join(error.split()) or message in error
    assert "word" not in error
    assert Path("pyproject.toml").read_bytes() == before
    assert [each.name for each in Path().iterdir()] == ["pyproject.toml"]


def test_the_names_on_the_command_line_must_exist(freeze, tmp_path):
    """A folder, an extra or a distribution that is not there is an error with a near name."""
    assert freeze("nowhere")[0] == 2
    assert "there is no pyproject.toml\n    -> Name the folder" in freeze()[2]
    write()
    freeze("--extra", "previw").check("pyproject.toml declares no extra 'previw' (did you mean 'preview'?)", status=2)
    freeze("--upgrade-package", "Aray").check("'Aray' is not frozen (did you mean 'array'?)", status=1)
    assert "'-x' is not the name of a distribution" in freeze("--upgrade-package=-x")[2]
    assert "there is no file or folder gone.txt" in freeze("--constraint", "gone.txt")[2]
    assert read() == PROJECT


def test_what_is_no_release_cannot_be_frozen(freeze, wheels):
    """A wheel or a folder on this machine is named, without passwords."""
    [wheel] = wheels.glob("paint-*")
    project(["array", f"paint @ {wheel.as_uri()}"])
    before = read()
    status, _, error = freeze()
    assert status == 1
    assert f"paint @ {wheel.as_uri()} " in error
    assert " is needed, which is not a release, so it cannot be frozen\n    -> Require a release of it" in error
    assert read() == before


def test_no_password_is_shown(command, monkeypatch):
    """The address of a package index that cannot be reached has lost its password."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secretword@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    write()
    _, output, error = command("freeze").check("127.0.0.1:9/simple", status=1)
    assert "secretword" not in output + error


def test_a_file_that_may_not_be_written_stays(freeze):
    """Not even root, to whom the permissions do not apply, replaces it; a check needs none."""
    write()
    Path("pyproject.toml").chmod(0o444)
    assert freeze()[2] == "Error: pyproject.toml is read-only\n    -> Make it writable, such as with chmod u+w.\n"
    assert freeze("--check")[0] == 1
    assert read() == PROJECT


def test_what_the_author_saves_meanwhile_is_not_lost(wheels):
    """A file that was changed while uv ran is not overwritten."""
    write()
    result = compute(Path(), find_links=[str(wheels)])
    write(PROJECT + "# mine\n")
    with pytest.raises(FreezeError, match="was changed during the resolution"):
        result.write()
    assert read() == PROJECT + "# mine\n"


def test_what_is_missing_can_be_installed(freeze, monkeypatch):
    """Without uv or the editor of TOML, the error has the command that installs them."""
    write()
    with monkeypatch.context() as patch:
        patch.setattr("dkist_processing_core.project.resolve.find_uv", lambda variables: None)
        assert "pip install 'dkist-processing-core[build]'" in freeze()[2]
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    assert "pip install 'dkist-processing-core[build]'" in freeze()[2]
