"""How long the end of a task may wait for what is left to be sent."""

import logging
import threading

import pytest
from support.waiting import PATIENCE_SECONDS, assert_takes_at_most

from dkist_processing_core.common import waits
from dkist_processing_core.common.waits import end_seconds, run_within


@pytest.fixture(autouse=True)
def nothing_known():
    """Each wrong value is logged once in a process."""
    waits._seconds.cache_clear()


@pytest.mark.parametrize(("value", "expected"), [("", 3), ("3", 3), ("0.5", 0.5), (" 60 ", 60), ("3600", 3600)])
def test_the_end_of_a_task_is_bounded_as_it_is_set(monkeypatch, caplog, value, expected):
    """In seconds, or a share of them; nothing is logged about it."""
    monkeypatch.setenv("DKIST_END_SECONDS", value)
    assert (end_seconds(), end_seconds(0.5)) == (expected, expected / 2)
    assert caplog.messages == []


@pytest.mark.usefixtures("production_bounds")
def test_the_end_of_a_task_takes_three_seconds_at_most():
    """Unless it is set."""
    assert end_seconds() == 3


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf", "1e9", "3601", "3 s", "1,5"])
def test_a_time_that_cannot_be_used_is_named_once(monkeypatch, caplog, value):
    """The default holds."""
    monkeypatch.setenv("DKIST_END_SECONDS", value)
    with caplog.at_level(logging.WARNING):
        assert [end_seconds(), end_seconds()] == [3, 3]
    expected = f"DKIST_END_SECONDS is {value!r}; it must be a number above 0 and at most 3600; 3 s is used"
    assert caplog.messages == [expected]


def test_what_hangs_is_left_behind(caplog):
    """After the limit, with a warning that names it; what ends, and what fails, delays nothing."""
    hanging, called = threading.Event(), []

    def fail():
        raise ValueError("odd")

    functions = {"slow": lambda: hanging.wait(PATIENCE_SECONDS), "good": lambda: called.append(1), "bad": fail}

    with caplog.at_level(logging.WARNING):
        assert_takes_at_most(1, lambda: run_within(0.5, functions))
    hanging.set()
    assert called
    assert set(caplog.messages) == {
        "bad could not be closed: ValueError: odd",
        "slow did not receive the rest of this task's record within 0.5 s; it is lost",
    }
