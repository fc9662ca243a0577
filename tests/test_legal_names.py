"""What a legal name is."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkist_processing_core.authoring.names import as_version, check_name, dag_name, workflow_name_from_details
from dkist_processing_core.exceptions import IllegalNameError

LEGAL = string.ascii_letters + string.digits + "-._"


def test_a_workflow_name_has_at_most_100_characters():
    """100 characters are legal, 101 are refused with the number."""
    assert len(workflow_name_from_details("a", "b", "c" * 93)) == 100
    with pytest.raises(ValueError, match="is 101 characters long. Use at most 100"):
        workflow_name_from_details("a", "b", "c" * 94)


@pytest.mark.parametrize("name", ["", None, 3], ids=["empty", "none", "number"])
def test_a_name_is_a_text(name):
    """What is no text, or an empty one, is refused with its value."""
    with pytest.raises(IllegalNameError, match=f"must be a string of at least one character, not {name!r}"):
        check_name("category", name)


@given(st.text(min_size=1, max_size=30))
def test_a_dag_name_is_legal_exactly_if_its_characters_are(name):
    """Whatever the text, it is refused if and only if it has a character outside of the legal ones."""
    if set(name) <= set(LEGAL):
        assert dag_name(name, "1.0") == f"{name}_1.0"
    else:
        with pytest.raises(ValueError, match="Use only ASCII letters, digits"):
            dag_name(name, "1.0")


@pytest.mark.parametrize("name", ["run.sh", "run.bash", "run.py"])
def test_a_name_may_end_like_that_of_a_file(name):
    """No operator takes a name for that of a template file."""
    assert check_name("category", name) == name


def test_a_dag_name_has_at_most_250_characters():
    """Airflow's column holds 250."""
    assert dag_name("n" * 248, "1") == "n" * 248 + "_1"
    with pytest.raises(ValueError, match="is 251 characters long"):
        dag_name("n" * 250, "")


def test_a_text_that_is_no_version_is_none():
    """The form of a version decides; it is normalized."""
    assert str(as_version("1.0-RC1")) == "1.0rc1"
    assert as_version("dev") is None
