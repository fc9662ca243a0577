"""Tests of the tasks, without Airflow, a telemetry server or a broker."""

import pytest
from dkist_processing_core import TaskBase, testing
from dkist_processing_core.failure_callback import chat_ops_notification

from dkist_processing_tutorial.tasks import CountSunspots


@pytest.fixture
def recorded():
    """What the tasks of a test record and report."""
    with testing.recorded() as recorded:
        yield recorded


def test_sunspots_are_counted_in_a_span(recorded):
    """The span records the number of groups."""
    with CountSunspots(recipe_run_id=1, workflow_name="sunspots", workflow_version="1.0.0") as task:
        task()
    [span] = [span for span in recorded.spans if span.name == "count"]
    assert span.attributes == {"groups": 3}
    assert span.parent.name == "Run"
    assert recorded.tree() == (
        "CountSunspots (sunspots 1.0.0, recipe run 1)\n  Pre Run\n  Run\n    count [groups=3]\n  Post Run"
    )


class Cloudy(TaskBase):
    """A task that measures something and then fails."""

    def run(self) -> None:
        self.meter.create_counter("clouds").add(8, {"kind": "cirrus"})
        raise RuntimeError("no sun")


def test_a_failing_task_says_why(recorded):
    """Its error and its metrics are recorded."""
    with pytest.raises(RuntimeError), Cloudy(1, "sunspots", "1.0.0") as task:
        task()
    assert str(recorded.tasks[0].error) == "no sun"
    assert recorded.metrics["clouds"].total == 8


def test_a_failure_is_reported_to_the_bus(recorded):
    """Or spooled if the bus does not accept it."""
    chat_ops_notification({"run_id": "manual__1"}, "sunspots", "1.0.0", "Cloudy")
    recorded.bus_error = "the broker is down"
    chat_ops_notification({"run_id": "manual__2"}, "sunspots", "1.0.0", "Cloudy")
    assert [message.body.dagRunId for message in recorded.failures] == ["manual__1"]
    assert len(recorded.spooled) == 1
