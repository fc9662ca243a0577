"""The guide to the upgrade shows what the rehearsal has done; ``make rehearsal`` does it and writes the transcript."""

import ast
import re

import pytest
from packaging.version import Version
from support.matrix.environments import versions
from support.releases import REPOSITORY, VERSION

PAGE = (REPOSITORY / "docs" / "how-to" / "upgrade.rst").read_text()
TRANSCRIPT = (REPOSITORY / "docs" / "how-to" / "rehearsal.txt").read_text()
SUPPORT = REPOSITORY / "examples" / "rehearsal_support"


def constant(file, name):
    """Return a constant of a module of the rehearsal, which is not imported, since its neighbours start servers."""
    for node in ast.parse((SUPPORT / file).read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file} has no {name}")


STEPS = constant("transcript.py", "STEPS")
HEADINGS = [f"[{number}/{len(STEPS)}] {title}" for number, title in enumerate(STEPS, 1)]


def test_the_transcript_has_the_steps_of_the_rehearsal():
    """All of them, in order, and no other; after a change of the steps the rehearsal has to be run again."""
    assert re.findall(r"^\[.*", TRANSCRIPT, re.MULTILINE) == HEADINGS


def test_the_transcript_is_of_this_release():
    """It went from the published library to the version at hand, and back."""
    installed = re.findall(r"pip install .* 'dkist-processing-core(?:\[airflow\])?==(\S+)'", TRANSCRIPT)
    release = Version(VERSION).base_version
    published = constant("releases.py", "PUBLISHED")
    assert installed == [each for each in (release, published, release) for _ in range(2)]
    assert published == versions("published")[-1]


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_guide_quotes_each_step(heading):
    """From its heading on."""
    assert f":start-at: {heading}\n" in PAGE


def test_the_transcript_has_no_name_of_a_machine():
    """Nor a time, or an id that Airflow has made."""
    assert not re.search(
        r"/(root|home|tmp|work)/|\.build|127\.0\.0\.1|\d{4}-\d\d-\d\d|\d{8}T|\d\d:\d\d:\d\d", TRANSCRIPT
    )
