"""A workflow that fails on purpose, to show the message that reports a failure."""

from dkist_processing_core import Workflow

from dkist_processing_example.tasks.failing import FailOnPurpose
from dkist_processing_example.tasks.simulate import SimulateFrames

__all__ = ["failing"]

failing = Workflow(
    input_data="raw",
    output_data="level1",
    category="example",
    detail="failing",
    workflow_package=__package__,
)
failing.add_node(SimulateFrames)
failing.add_node(FailOnPurpose, upstreams=SimulateFrames)
