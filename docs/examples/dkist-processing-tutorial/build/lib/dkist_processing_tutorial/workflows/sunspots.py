"""The workflow of this package."""

from dkist_processing_core import ResourceQueue, Workflow

from dkist_processing_tutorial.tasks import CountSunspots

sunspots = Workflow(
    input_data="l0",
    output_data="activity",
    category="tutorial",
    workflow_package=__package__,
)
sunspots.add_node(CountSunspots, resource_queue=ResourceQueue.DEFAULT)
