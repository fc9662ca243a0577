"""The average dark and flat only, for a check of the camera."""

from dkist_processing_core import ResourceQueue, Workflow

from placeholder_module.tasks.darks import AverageDarks
from placeholder_module.tasks.flats import AverageFlats
from placeholder_module.tasks.observe import ObserveFrames

__all__ = ["l0_to_calibration"]

l0_to_calibration = Workflow(
    input_data="l0",
    output_data="calibration",
    category="placeholder_category",
    workflow_package=__package__,
)
l0_to_calibration.add_node(ObserveFrames)
l0_to_calibration.add_node(AverageDarks, upstreams=ObserveFrames)
l0_to_calibration.add_node(AverageFlats, upstreams=ObserveFrames, resource_queue=ResourceQueue.HIGH_MEMORY)
