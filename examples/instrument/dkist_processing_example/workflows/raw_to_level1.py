"""From raw frames to calibrated ones."""

from dkist_processing_core import ResourceQueue, Workflow

from dkist_processing_example.tasks.dark import MakeDark
from dkist_processing_example.tasks.flat import MakeFlat
from dkist_processing_example.tasks.preview import MakePreview
from dkist_processing_example.tasks.science import CalibrateScience
from dkist_processing_example.tasks.simulate import SimulateFrames

__all__ = ["raw_to_level1"]

raw_to_level1 = Workflow(
    input_data="raw",
    output_data="level1",
    category="example",
    tags=["calibration"],
    workflow_package=__package__,
)
raw_to_level1.add_node(SimulateFrames)
raw_to_level1.add_node(MakeDark, upstreams=SimulateFrames)
raw_to_level1.add_node(MakeFlat, upstreams=SimulateFrames, resource_queue=ResourceQueue.HIGH_MEMORY)
raw_to_level1.add_node(CalibrateScience, upstreams=[MakeDark, MakeFlat])
raw_to_level1.add_node(MakePreview, upstreams=CalibrateScience)
