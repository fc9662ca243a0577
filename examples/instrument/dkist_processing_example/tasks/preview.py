"""The picture of the result."""

import logging

from dkist_processing_example.files import replaced
from dkist_processing_example.preview import side_by_side
from dkist_processing_example.tasks.base import ExampleTask

__all__ = ["MakePreview"]

logger = logging.getLogger(__name__)


class MakePreview(ExampleTask):
    """Draw the first science frame before and after calibration, side by side."""

    products = "preview.png"

    def run(self) -> None:
        """Read a raw frame and its calibrated one, draw them, write the picture as a PNG file."""
        raw = self.read("raw/science_*.fits")[0]
        calibrated = self.read("level1/science_*.fits")[0]
        with self.apm_step("Draw the preview"):
            observed = raw.header["DATE-OBS"].replace("T", " ")
            picture = side_by_side(
                raw.data,
                calibrated.data,
                title=f"Recipe run {self.recipe_run_id}",
                subtitle=f"{self.workflow_name} {self.workflow_version}   ·   observed {observed} UTC (simulated)",
            )
            with replaced(self.scratch / self.products) as path:
                picture.save(path, format="PNG", optimize=True)
        logger.info("Drew %s", self.products)
