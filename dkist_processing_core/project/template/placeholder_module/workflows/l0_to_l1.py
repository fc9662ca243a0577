"""From raw frames to calibrated ones, and a report on them."""

from dkist_processing_core import ResourceQueue, Workflow

from placeholder_module.tasks.darks import AverageDarks
from placeholder_module.tasks.flats import AverageFlats
from placeholder_module.tasks.observe import ObserveFrames
from placeholder_module.tasks.report import QualityReport
from placeholder_module.tasks.science import CalibrateScience

__all__ = ["l0_to_l1"]

l0_to_l1 = Workflow(
    input_data="l0",
    output_data="l1",
    category="placeholder_category",
    workflow_package=__package__,
)
l0_to_l1.add_node(ObserveFrames)
l0_to_l1.add_node(AverageDarks, upstreams=ObserveFrames)
l0_to_l1.add_node(AverageFlats, upstreams=ObserveFrames, resource_queue=ResourceQueue.HIGH_MEMORY)
l0_to_l1.add_node(CalibrateScience, upstreams=[AverageDarks, AverageFlats])
l0_to_l1.add_node(QualityReport, upstreams=CalibrateScience, pip_extras=["report"])
