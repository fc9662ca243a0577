"""
What runs in CI: `.ci/run`, bitbucket-pipelines.yml and .pre-commit-config.yaml do the same work.

The scripts are executed as they are, with programs in place of make, pip and twine that note how they were called.
"""

import json
import os
import shutil
import sys
import tomllib

import pytest
import yaml
from support.command_line import run_command
from support.installations import PYTHONS as OF_RELEASE
from support.releases import REPOSITORY, VERSION

pytestmark = pytest.mark.release

PIPELINES = REPOSITORY / "bitbucket-pipelines.yml"
# Where reports go and which Python runs are different on each machine; what is tested is not.
OF_MACHINE = {"PYTHON", "REPORTS", "PYTEST_ARGUMENTS"}
NOTE = f"""#!{sys.executable}
import json, os, sys
chosen = {{name: value for name, value in os.environ.items() if name.startswith(("DKIST_TEST_", "DKIST_MATRIX_"))}}
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps([os.path.basename(sys.argv[0]), sys.argv[1:], chosen]) + "\\n")
"""


@pytest.fixture
def called(tmp_path):
    """Run a script in a folder that has the version and the scripts of CI; return the calls that it made."""
    folder, programs = tmp_path / "checkout", tmp_path / "programs"
    programs.mkdir()
    for name in ("make", "twine"):
        (programs / name).write_text(NOTE)
        (programs / name).chmod(0o755)
    for name in (".ci/run", "dkist_processing_core/_version.py", ".build/venv/bin/twine"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        source = programs / "twine" if name.endswith("twine") else REPOSITORY / name
        shutil.copy(source, folder / name)

    def run(*command, **environment):
        notes = tmp_path / "notes"
        notes.unlink(missing_ok=True)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        done = run_command(*command, cwd=folder, PATH=path, NOTES=str(notes), **environment)
        lines = notes.read_text().splitlines() if notes.exists() else []
        return done.returncode, [json.loads(line) for line in lines]

    return run


def work(calls):
    """Return what some calls of make do: target, variables that choose what is tested, and settings of the tests."""
    found = set()
    for program, arguments, settings in calls:
        assert program == "make"
        [target] = [each for each in arguments if "=" not in each]
        variables = dict(each.split("=", 1) for each in arguments if "=" in each)
        chosen = {name: value for name, value in variables.items() if name not in OF_MACHINE}
        # What runs no tests takes no notice of their settings.
        found.add((target, *sorted((chosen | (settings if target in {"test", "matrix"} else {})).items())))
    return found


def pipeline(*keys):
    """Return the steps of a pipeline, those at the same time as well."""
    steps = yaml.safe_load(PIPELINES.read_text())["pipelines"]
    for key in keys:
        steps = steps[key]
    return [each["step"] for entry in steps for each in entry.get("parallel", [entry])]


def script(step):
    return "\n".join(["set -e", *step["script"]])


def makefile(name):
    """Return the value of a variable of the Makefile."""
    [found] = [line for line in (REPOSITORY / "Makefile").read_text().splitlines() if line.startswith(f"{name} ")]
    return found.partition("=")[2].split()


def test_the_pipeline_does_what_ci_run_does(called):
    """On its own Python it is the same work: the wheel is tested and nothing is skipped."""
    _, calls = called("bash", ".ci/run")
    ours = {each for each in work(calls) if each[0] != "test-pythons"}
    theirs = set()
    for step in pipeline("default"):
        status, calls = called("bash", "-c", script(step))
        assert status == 0
        theirs |= work(calls)
    assert ours >= {("test", ("COVERAGE", "1"), ("DKIST_TEST_NO_SKIPS", "1"), ("WHEEL", "1"))}
    assert ours == theirs


def test_every_supported_python_is_tested():
    """The pipeline has an image for each, as make test-pythons has; the classifiers name them."""
    supported = makefile("PYTHONS")
    images = [step["image"] for step in pipeline("default") if "test" in script(step).split()]
    assert images == [f"python:{version}" for version in supported]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each]
    assert named == supported
    assert project["requires-python"] == f">={supported[0]}"
    assert set(supported) <= set(OF_RELEASE)


def test_the_pipeline_of_a_tag_checks_the_release_before_it_uploads_it(called):
    """All steps of any change, and release-check on each Python; then what was checked is uploaded."""
    *before, last = pipeline("tags", "v*")
    names = [step["name"] for step in before]
    assert {step["name"] for step in pipeline("default")} < set(names)
    checked = [step["image"] for step in before if "release-check" in script(step)]
    assert [last["image"], *checked] == [f"python:{version}" for version in makefile("PYTHONS")]
    status, calls = called("bash", "-c", script(last), BITBUCKET_TAG=f"v{VERSION}")
    assert status == 0
    (make, arguments, _), (twine, upload, _) = calls
    assert (make, arguments[-1]) == ("make", "release-check")
    assert (twine, upload[0]) == ("twine", "upload")
    assert all(each.startswith(".build/release/") for each in upload if not each.startswith("-") and each != "upload")


def test_a_tag_that_is_not_the_version_uploads_nothing(called):
    """The pipeline ends before it does anything."""
    [*_, last] = pipeline("tags", "v*")
    status, calls = called("bash", "-c", script(last), BITBUCKET_TAG="v0.0.1")
    assert status != 0
    assert calls == []


def test_a_commit_is_checked_by_the_programs_of_make_check():
    """The same ones, from the same environment; pre-commit passes them the files that change."""
    planned = run_command("make", "--always-make", "--dry-run", "check", cwd=REPOSITORY).check().stdout
    wanted = [
        " ".join(
            word for word in line.split(".build/venv/bin/")[-1].replace('"', "").split() if word not in {".", "--quiet"}
        )
        for line in planned.splitlines()
        if any(f".build/venv/bin/{name}" in line for name in ("ruff", "mypy", "lint-imports"))
    ]
    configured = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    [local] = [each["hooks"] for each in configured if each["repo"] == "local"]
    entries = [hook["entry"].removeprefix(".build/venv/bin/") for hook in local if hook["language"] == "system"]
    assert entries == wanted
