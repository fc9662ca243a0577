"""What ``new`` makes is a package that works at once, and nothing is written if it cannot be made."""

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command_line import run_command, run_program
from support.releases import UV_SECONDS, VERSION, build_wheel, new_environment, run_uv, with_links

from dkist_processing_core.exceptions import NewPackageFolderError, NewPackageNameError
from dkist_processing_core.project import new
from dkist_processing_core.project.new import LONGEST_NAME, make_package

NAME = "dkist-processing-cam"
MODULE = "dkist_processing_cam"
TASKS = ["ObserveFrames", "AverageDarks", "AverageFlats", "CalibrateScience", "QualityReport"]


def project_table(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def readme_commands(folder):
    """The commands of the README, in their order."""
    block = (folder / "README.rst").read_text().partition(".. code-block:: bash\n\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


def pipeline_steps(folder):
    """The scripts of the pipeline, by the names of their steps."""
    pipeline = yaml.safe_load((folder / "bitbucket-pipelines.yml").read_text())
    return {each["step"]["name"]: each["step"]["script"] for each in pipeline["definitions"]["steps"]}


def bash(script, folder, **environment):
    command = ["bash", "-euo", "pipefail", "-c", script]
    return run_command(*command, cwd=folder, merge=True, seconds=UV_SECONDS, **environment)[:2]


def test_a_new_package_runs_at_once(command, tmp_path, monkeypatch):
    """Without being installed, by the commands that are printed."""
    monkeypatch.setenv("DKIST_PROCESSING_CAM_SCRATCH", str(tmp_path / "scratch"))
    output = command("new", NAME).check(stderr=f"25 files in {NAME}. Next:\n").stdout
    enter, run, test = output.splitlines()
    assert enter == f"cd {NAME}"
    assert test == "python -m pip install --editable '.[report,test]' && pytest"
    monkeypatch.chdir(NAME)
    output = command(*shlex.split(run)[1:], "--json").check(stderr="").stdout
    ended = [event for event in map(json.loads, output.splitlines()) if event["event"] == "task_ended"]
    assert sorted(event["task"] for event in ended) == sorted(TASKS)
    assert {event["state"] for event in ended} == {"success"}
    assert "<td>2.5 %</td>" in (tmp_path / "scratch" / "recipe_run_000001" / "quality_report.html").read_text()


@pytest.mark.parametrize("name", ["c", NAME, "x" * LONGEST_NAME], ids=["short", "usual", "long"])
def test_a_new_package_has_no_fault_that_its_linter_finds(tmp_path, name):
    """By the settings that it has, whatever the length of its name."""
    ruff = shutil.which("ruff", path=Path(sys.executable).parent)
    if ruff is None:
        pytest.skip("ruff is not installed (pip install 'dkist-processing-core[lint]')")
    folder = make_package(name, tmp_path / "made").folder
    for arguments in (["check"], ["format", "--check"]):
        run_command(ruff, *arguments, "--no-cache", cwd=folder).check()


def test_a_new_package_keeps_what_its_readme_and_its_pipeline_promise(core_wheel, tmp_path):
    """It is made by the wheel of this library, installed with its frozen versions, and every command succeeds."""
    [wheel] = core_wheel.glob("*.whl")
    python = new_environment(tmp_path / "venv", f"{wheel}[build]")
    program = [python.parent / "dkist-processing-core"]
    folder = tmp_path / NAME
    assert run_program("new", NAME, program=program)[0] == 0
    files = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    assert files == sorted(make_package(NAME, tmp_path / "same").files)
    requirements = ["--editable", f"{folder}[frozen,report,test]"]
    run_uv("pip", "install", "--quiet", "--python", python, *requirements, **with_links(core_wheel))
    # The scratch folder is in that for temporary files, by default.
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    path = f"{python.parent}:{os.environ['PATH']}"
    environment = {**with_links(core_wheel), "PATH": path, "TMPDIR": str(temporary)}
    install, *commands = readme_commands(folder)
    assert install.startswith("python -m pip install --editable '.[report,test]'")
    for line in commands:
        status, output = bash(line, folder, **environment)
        assert status == 0, output
        if " validate " in line:
            assert output.startswith(f"{MODULE}.workflows: 0 faults, 0 warnings\n")
        if line == "pytest":
            assert (" passed" in output, "skipped" in output) == (True, False)
    assert (temporary / f"{NAME}-{os.getuid()}" / "recipe_run_000001" / "quality_report.html").is_file()
    assert sorted(each.name for each in (folder / "dags").glob("*.py")) == [
        "l0_to_calibration_cam_0.1.0.py",
        "l0_to_l1_cam_0.1.0.py",
    ]
    build_wheel(folder, folder / "dist")
    steps = pipeline_steps(folder)

    def run_step(name, **more):
        lines = [line for line in steps[name] if not line.startswith(("pip ", "python -m build"))]
        return bash("\n".join(lines).replace("--require-airflow ", ""), folder, **environment, **more)

    status, output = run_step("Validate the workflows, in a real Airflow too")
    assert (status, output.partition("\n")[0]) == (0, f"{MODULE}.workflows: 0 faults, 0 warnings")
    export = "Export the workflows and build the wheel"
    assert run_step(export, BITBUCKET_TAG="v0.2.0") == (1, "The tag is v0.2.0, pyproject.toml says 0.1.0\n")
    status, output = run_step(export, BITBUCKET_TAG="v0.1.0")
    assert (status, (folder / "dags" / f"{NAME}-0.1.0-dags.py").exists()) == (0, True), output


def test_the_pipeline_is_one(tmp_path):
    """Each script is a list of commands that bash can read, and each step that is defined is used."""
    folder = make_package(NAME, tmp_path / "made").folder
    steps = pipeline_steps(folder)
    for script in steps.values():
        assert subprocess.run(["bash", "-n"], input="\n".join(script), text=True).returncode == 0
    text = (folder / "bitbucket-pipelines.yml").read_text()
    assert set(re.findall(r"step: &(\S+)", text)) == set(re.findall(r"step: \*(\S+)", text))
    assert f"{MODULE}.workflows" in "\n".join(steps["Validate the workflows, in a real Airflow too"])


def test_two_new_packages_share_nothing(command, tmp_path, monkeypatch):
    """Neither a name nor a folder of their data."""
    monkeypatch.delenv("BUILD_VERSION", raising=False)
    made = [make_package(name) for name in ("dkist-processing-cam", "Solar.Spectra")]
    assert [each.module for each in made] == ["dkist_processing_cam", "solar_spectra"]
    texts = ["".join(file.read_text() for file in each.folder.rglob("*.*") if file.is_file()) for each in made]
    assert not re.search(r"solar|spectra", texts[0], re.IGNORECASE)
    assert not re.search(r"processing[-_]cam|DKIST_PROCESSING", texts[1])
    names, scratch = [], []
    for each in made:
        monkeypatch.chdir(each.folder)
        monkeypatch.setattr(sys, "path", [*sys.path, str(each.folder)])
        names.append([row["workflow"] for row in json.loads(command("list", f"{each.module}.workflows", "--json")[1])])
        scratch.append(sys.modules[each.module].settings.scratch_folder(1))
    assert names == [
        ["l0_to_calibration_cam", "l0_to_l1_cam"],
        ["l0_to_calibration_solar-spectra", "l0_to_l1_solar-spectra"],
    ]
    assert scratch[0].parent != scratch[1].parent


def test_its_metadata_are_as_asked_for(command, tmp_path):
    """And by default they follow from the name; of this library, releases of one major version will do."""
    status, _, _ = command(
        "new", NAME, tmp_path / "made", "--instrument", "ocam", "--description", "A camera.", "--author", "Ada"
    )
    table = project_table(tmp_path / "made")
    assert (status, table["name"], table["version"], table["description"]) == (0, NAME, "0.1.0", "A camera.")
    assert table["authors"] == [{"name": "Ada"}]
    assert table["dependencies"] == [f"dkist-processing-core>={VERSION},<{int(VERSION.partition('.')[0]) + 1}"]
    assert table["optional-dependencies"]["frozen"] == [f"dkist-processing-core=={VERSION}"]
    assert 'category="ocam"' in (tmp_path / "made" / MODULE / "workflows" / "l0_to_l1.py").read_text()
    table = project_table(make_package(NAME).folder)
    assert table["description"] == "Processing tasks and workflows of cam."
    assert table["authors"] == [{"name": f"The {NAME} developers"}]


@settings(max_examples=25)
@given(text=st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"]), min_size=1))
def test_any_line_of_text_is_a_description(text):
    """Whatever TOML and Python mean by its characters."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_package(NAME, Path(folder) / "made", description=text, author=text)
        table = project_table(made.folder)
        assert (table["description"], table["authors"]) == (text, [{"name": text}])


def test_a_description_is_text_in_the_readme(tmp_path):
    """Not markup."""
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    text = r"The `camera` of *Ada*, see a_ and |b|, \n and <https://a.example/>."
    folder = make_package(NAME, tmp_path / "made", description=text).folder
    readme = (folder / "README.rst").read_text()
    parsed = core.publish_doctree(readme, settings_overrides={"halt_level": 2, "report_level": 2})
    assert text in parsed.astext()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "the name '' is not that of a distribution\n    -> Use ASCII letters and digits"),
        ("-cam", "the name '-cam' is not that of a distribution"),
        ("cam\n", "the name 'cam\\n' is not that of a distribution"),
        ("../cam", "the name '../cam' is not that of a distribution"),
        ("kamera-ä", "the name 'kamera-ä' is not that of a distribution"),
        ("x" * (LONGEST_NAME + 1), f"is {LONGEST_NAME + 1} characters long"),
        ("3d-cam", "the module of '3d-cam' would be '3d_cam', which Python cannot import"),
        ("Lambda", "the module of 'Lambda' would be 'lambda', which Python cannot import"),
        ("tests", "the module of 'tests' would be in a folder of another purpose"),
        ("JSON", "the name 'JSON' is taken: 'json' is a module of the standard library"),
        ("Pytest", "the name 'Pytest' is taken: Pytest "),
        ("dkist_processing.core", "is taken: dkist_processing.core "),
    ],
)
def test_a_name_that_cannot_be_used_is_an_error(command, tmp_path, name, message):
    """Of usage, which says why, and nothing is written."""
    command("new", "--", name, "made").check(message, status=2)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_a_module_that_is_there_is_an_error(tmp_path, monkeypatch):
    """Even if no distribution of that name is installed."""
    (tmp_path / "solar_camera").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NewPackageNameError, match=re.escape(f"the module 'solar_camera' is {tmp_path}/solar_camera")):
        make_package("solar-camera", tmp_path / "made")
    assert find_spec("solar_camera") is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--category", "a b"], "category 'a b' contains ' '"),
        (["--category", ""], "category must be a string of at least one character"),
        (["--category", "x" * 90], "is 108 characters long"),
        (["--description", "two\nlines"], "the description 'two\\nlines' contains a non-printable character"),
        (["--author", "\x7f"], "the author '\\x7f' contains a non-printable character"),
    ],
)
def test_an_option_that_cannot_be_used_is_an_error(command, tmp_path, options, message):
    """Of usage, and nothing is written."""
    command("new", NAME, *options).check(message, status=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "folder"])
def test_what_is_there_is_kept(command, tmp_path, is_file):
    """A file, or a folder that contains something."""
    place = tmp_path / NAME
    if not is_file:
        place.mkdir()
        place /= "notes.txt"
    place.write_text("mine")
    error = command("new", NAME).check(status=1, stdout="").stderr
    assert error == (
        f"Error: {tmp_path / NAME} exists and is not an empty folder, and nothing was written\n"
        "    -> Name a folder that does not exist yet.\n"
    )
    assert place.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == [NAME]


def test_an_empty_folder_is_filled_and_a_missing_one_is_made(tmp_path):
    """With the access rights that any new folder has."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    mode = (tmp_path / "empty").stat().st_mode
    for folder in (tmp_path / "link", tmp_path / "a" / "b"):
        made = make_package(NAME, folder)
        found = [str(each.relative_to(made.folder)) for each in made.folder.rglob("*") if each.is_file()]
        assert (made.folder, sorted(made.files)) == (folder.resolve(), sorted(found))
        assert made.folder.stat().st_mode == mode


def test_the_current_folder_is_not_replaced(tmp_path):
    """The shell would stay in a folder that is gone."""
    with pytest.raises(NewPackageFolderError, match="is the current folder, and nothing was written"):
        make_package(NAME, Path())
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path):
    """The system allows files of 1 KiB only, so some can be written and others cannot."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            make_package(NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_tools_leave_in_the_template_is_not_part_of_it(tmp_path, monkeypatch):
    """Such as the bytecode that an installation compiles."""
    expected = make_package(NAME, tmp_path / "expected").files
    template = shutil.copytree(new.TEMPLATE, tmp_path / "template")
    for folder in ("placeholder_module/__pycache__", ".ruff_cache/0.1"):
        (template / folder).mkdir(parents=True, exist_ok=True)
        (template / folder / "left").write_bytes(b"\xff")
    monkeypatch.setattr(new, "TEMPLATE", template)
    assert make_package(NAME, tmp_path / "made").files == expected
