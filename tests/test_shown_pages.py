"""The transcripts of the guides are what really happens, and each page with commands is executed, or says why not."""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from support import transcripts
from support.command_line import run_command
from support.releases import REPOSITORY, run_uv
from support.shown import SHELLS, blocks

from dkist_processing_core.doctor.checks import CHECKS
from dkist_processing_core.project.new import make_package

DOCS = REPOSITORY / "docs"
# The guides whose transcripts are replayed, with the settings for that.
GUIDES = {
    "how-to/build_tools.rst": {"BUILD_VERSION": "1.0.0"},
    "how-to/local_runs.rst": {"BUILD_VERSION": "1.0.0"},
    "how-to/new_package.rst": {},
    "how-to/notebooks.rst": {"DKIST_EXPECTED_POOLS": "high_memory_pool"},
    "reference/worker.rst": {"BUILD_VERSION": "1.0.0"},
}
# The test that executes a page; what it leaves out is read by the parsers of the programs (test_shown_commands.py).
EXECUTED = {
    "README.rst": "test_docs.py::test_the_package_of_the_readme_works",
    "deploy/README.rst": "test_deploy.py::test_the_commands_of_the_guide_install_the_units",
    "dkist_processing_core/project/template/README.rst": (
        "test_new_project.py::test_a_new_package_keeps_what_its_readme_and_its_pipeline_promise"
    ),
    "docs/tutorial/first_package.rst": "test_tutorial.py::test_the_tutorial_is_what_happens",
    "docs/how-to/write_package.rst": "test_tutorial.py::test_the_guide_shows_the_code_of_the_template",
    **dict.fromkeys((f"docs/{page}" for page in GUIDES), "test_shown_pages.py::test_a_guide_shows_what_happens"),
    "examples/instrument/README.rst": "test_shown_pages.py::test_python_that_stands_alone_runs",
    "docs/how-to/doctor.rst": "test_shown_pages.py::test_the_guide_to_the_doctor_shows_each_check",
}
# Why a page is not executed; its commands are read by the parsers of the programs all the same.
NOT_EXECUTED = {
    "docs/explanation/airflow_versions.rst": "the matrix takes minutes, `make matrix` runs it",
    "docs/explanation/operators.rst": "a line of a workflow",
    "docs/how-to/cluster.rst": "the cluster takes minutes, test_cluster.py runs it",
    "docs/how-to/deploy.rst": "it needs a package index to upload to and machines; test_deployment.py runs the parts",
    "docs/how-to/environments.rst": "it compares environments of another day; test_environment_contents.py has such",
    "docs/how-to/migration.rst": "it installs a package of somebody else, `make client` does so",
    "docs/how-to/operate.rst": "it needs systemd",
    "docs/how-to/retire.rst": "it needs an Airflow with runs; test_retirement_airflow.py has one",
    "docs/reference/messages.rst": "it needs an Airflow that has lost failures; test_reconciliation.py has one",
    "docs/reference/telemetry.rst": "parts of a task; test_testing.py runs the task at its end",
}
# Commands that are left out of a replay: they need the network, another program, a person, or a run of another day.
LEFT_OUT = re.compile(
    r"pip install|^python -m venv|^venv/|^papermill|docker |rollback|\| dot |^airflow|^cat |bash (task|script)\.sh"
    r"|PACKAGE:|dkist_processing_core\.runtime|^python -m pip|l0_to_l1_cam-7"
)
# What the example needs besides this library, in its frozen versions.
SCIENCE = re.compile(r"(astropy|astropy-iers-data|numpy|pillow|pyerfa)==")


def test_each_page_with_commands_is_executed_or_says_why_not():
    """Neither list has a page without commands, and each named test exists."""
    shown = {str(each.page.relative_to(REPOSITORY)) for each in blocks(*SHELLS, "python")}
    assert EXECUTED.keys() & NOT_EXECUTED.keys() == set()
    assert EXECUTED.keys() | NOT_EXECUTED.keys() == shown
    for test in EXECUTED.values():
        file, _, name = test.partition("::")
        assert f"\ndef {name}(" in (REPOSITORY / "tests" / file).read_text()
    for reason in NOT_EXECUTED.values():
        for file in re.findall(r"test_\w+\.py", reason):
            assert (REPOSITORY / "tests" / file).is_file()


@pytest.fixture(scope="module")
def packages(tmp_path_factory, isolated_environment):
    """Packages of the guides, installed: the example, the one of the tutorial, and a new one."""
    site = tmp_path_factory.mktemp("site")
    example, tutorial = REPOSITORY / "examples" / "instrument", DOCS / "examples" / "dkist-processing-tutorial"
    new = make_package("dkist-processing-cam", tmp_path_factory.mktemp("new") / "dkist-processing-cam").folder
    file = new / "pyproject.toml"  # as "freeze --extra report" leaves it
    file.write_text(file.read_text().replace('["jinja2>=3.1"]', '["jinja2>=3.1", "jinja2==3.1.6"]'))
    run_uv("pip", "install", "--quiet", "--no-deps", "--target", site, example, new, tutorial)
    frozen = tomllib.loads((example / "pyproject.toml").read_text())["project"]["optional-dependencies"]["frozen"]
    run_uv("pip", "install", "--quiet", "--no-deps", "--target", site, *filter(SCIENCE.match, frozen))
    return site


@pytest.mark.once
@pytest.mark.network
@pytest.mark.airflow
@pytest.mark.parametrize(("page", "settings"), GUIDES.items(), ids=GUIDES)
def test_a_guide_shows_what_happens(packages, tmp_path, page, settings):
    """Each command that needs no service, with its output."""
    expected = [
        each
        for each in transcripts.commands((DOCS / page).read_text(encoding="utf-8"))
        if not LEFT_OUT.search(each.text)
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DKIST_", "XDG_", "AIRFLOW"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # A package that is made here must not be there already.
        **({} if page == "how-to/new_package.rst" else {"PYTHONPATH": str(packages)}),
        **settings,
    }
    assert expected
    actual = transcripts.replay([each.text for each in expected], tmp_path, environment)
    wrong = [
        done
        for shown, done in zip(expected, actual, strict=True)
        if shown.output and not transcripts.agrees(shown.output, done.output)
    ]
    assert not wrong, "\n".join(f"$ {each.text}\n" + "\n".join(each.output) for each in wrong)


LEVEL1 = """
from dkist_processing_core.local import run_workflow
from dkist_processing_example.workflows.raw_to_level1 import raw_to_level1 as level1
run_workflow(level1, 1, until="SimulateFrames")
"""


@pytest.mark.once
@pytest.mark.network
@pytest.mark.parametrize(
    ("page", "beginning", "before"),
    [
        ("examples/instrument/README.rst", "from dkist_processing_example", ""),
        ("docs/how-to/notebooks.rst", "from dkist_processing_core.build_utils", ""),
        ("docs/how-to/local_runs.rst", "from dkist_processing_core.local", LEVEL1),
    ],
)
def test_python_that_stands_alone_runs(packages, tmp_path, page, beginning, before):
    """With what the page names besides: the packages, and a run that can be resumed."""
    [block] = [each for each in blocks("python") if str(each).startswith(page) and each.text.startswith(beginning)]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = [sys.executable, "-c", f"{before}\n{block.text}"]
    run_command(*command, cwd=tmp_path, env=environment).check()


def test_the_guide_to_the_doctor_shows_each_check():
    """In the order of the report, in the transcript and in the table."""
    page = (DOCS / "how-to" / "doctor.rst").read_text(encoding="utf-8")
    report, _, rest = page.partition("\nOn another machine")
    shown = re.findall(r"^   (?:ok|not needed) +(\S+(?: \S+)?)  +\S", report, re.MULTILINE)
    table = rest.partition("\nThe checks\n")[2]
    assert shown == re.findall(r"^   \* - (.+)\n     - ", table, re.MULTILINE)[1:] == [each.name for each in CHECKS]
