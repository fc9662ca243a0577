"""Validation knows which extras of a package are frozen, from what is installed, or from an editable package's file."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.sources import write_sources

from dkist_processing_core.build_utils import validate_workflows

pytestmark = pytest.mark.usefixtures("without_airflow")
NAME = "frozen_of_a_test"
FLOW = """
    from dkist_processing_core import TaskBase, Workflow

    class Plot(TaskBase):
        '''Plot.'''
        def run(self): pass

    flow = Workflow(input_data="a", output_data="b", category="c", workflow_package=__package__,
                    workflow_version={version!r})
    flow.add_node(Plot, pip_extras={extra!r}, constraints={constraints!r})
"""
BOTH = {"frozen": ["numpy==2.4.6", "dkist-processing-core==8.0.0"]}


@pytest.fixture
def warnings(tmp_path, monkeypatch):
    """Validate a package with these extras, and return the warnings about what is not frozen."""

    def validate(extras, *, version="1.0", extra="plots", constraints=None, is_editable=False, edited=None):
        text = FLOW.format(version=version, extra=extra, constraints=constraints)
        write_sources(tmp_path, {"flow.py": text}, name=NAME)
        described = tmp_path / f"{NAME}-{version}.dist-info"
        described.mkdir()
        lines = ["Metadata-Version: 2.4", "Name: frozen-of-a-test", "Version: 1.0"]
        for each, requirements in extras.items():
            lines.append(f"Provides-Extra: {each}")
            for text in requirements:
                requirement, _, marker = text.partition(" ; ")
                lines.append(f'Requires-Dist: {requirement} ; extra == "{each}"{marker and f" and ({marker})"}')
        (described / "METADATA").write_text("\n".join(lines) + "\n")
        (described / "RECORD").write_text(f"{NAME}/__init__.py,,\n")
        if is_editable:
            origin = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
            (described / "direct_url.json").write_text(json.dumps(origin))
            arrays = "".join(f"{each} = {json.dumps(requirements)}\n" for each, requirements in edited.items())
            (tmp_path / "pyproject.toml").write_text(f"[project.optional-dependencies]\n{arrays}")
        monkeypatch.syspath_prepend(tmp_path)
        found = validate_workflows(import_module(f"{NAME}.flow")).warnings
        return [each for each in found if "is not frozen" in each.what]

    yield validate
    for name in [each for each in sys.modules if each.startswith(NAME)]:
        del sys.modules[name]


def test_an_extra_that_is_not_frozen_is_a_warning(warnings):
    """It names the extra, what is not pinned, and the command that pins it."""
    [found] = warnings({**BOTH, "plots": ["matplotlib>=3", "numpy>=2"]})
    assert found.what.startswith(
        "the extra 'plots' of frozen-of-a-test is not frozen: it pins no version of matplotlib,"
    )
    assert found.task == "Plot"
    assert "dkist-processing-core freeze --extra plots" in found.remedy


@pytest.mark.parametrize(
    "plots",
    [
        ["matplotlib>=3", "matplotlib==3.10.7"],
        ["numpy>=2"],
        ["matplotlib @ https://example.org/matplotlib-3.10.7-py3-none-any.whl"],
        ["matplotlib>=3 ; python_version < '3'"],
        ["frozen-of-a-test[fits]"],
        [],
    ],
    ids=["pinned", "pinned-by-frozen", "address", "other-python", "includes-a-pinned-one", "empty"],
)
def test_an_extra_that_is_frozen_is_none(warnings, plots):
    """Whichever way its versions are decided."""
    assert warnings({**BOTH, "plots": plots, "fits": ["astropy>=7", "astropy==8.0.2"]}) == []


@pytest.mark.parametrize("fits", [["astropy>=7"], ["astropy==8.*"], ["frozen-of-a-test[plots]", "astropy>=7"]])
def test_what_an_extra_includes_counts(warnings, fits):
    """Also if two include each other; a version with a wildcard is many."""
    [found] = warnings({**BOTH, "plots": ["Frozen_of.a-test[fits]"], "fits": fits})
    assert "it pins no version of astropy," in found.what


@pytest.mark.parametrize(
    ("extras", "options"),
    [
        ({"frozen": ["dkist-processing-core==8.0.0"]}, {"version": "dev"}),
        ({}, {}),
        (BOTH, {"constraints": "constraints.txt"}),
        (BOTH, {"extra": "frozen"}),
    ],
    ids=["only-begun", "nothing-frozen", "constraints", "not-asked-for"],
)
def test_what_is_decided_elsewhere_is_no_warning(warnings, extras, options):
    """A package that was just made, one that another warning is about, and a workflow that has its own constraints."""
    Path("constraints.txt").write_text("matplotlib==3.10.7\n")
    assert warnings({**extras, "plots": ["matplotlib>=3"]}, **options) == []


def test_an_editable_package_is_judged_by_its_file(warnings):
    """It says what a release will pin; the installed metadata are those of the time when it was installed."""
    frozen = {**BOTH, "plots": ["matplotlib>=3", "matplotlib==3.10.7"]}
    assert warnings({**BOTH, "plots": ["matplotlib>=3"]}, is_editable=True, edited=frozen) == []
