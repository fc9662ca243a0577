"""The average dark."""

import logging

from placeholder_module import calibration
from placeholder_module.tasks.base import RecipeRunTask

__all__ = ["AverageDarks"]

logger = logging.getLogger(__name__)


class AverageDarks(RecipeRunTask):
    """Average the darks, which show the signal of the camera without light."""

    products = "calibration/dark.json"

    def run(self) -> None:
        """Read the darks, average them, and write the result."""
        with self.apm_step("Read darks"):
            darks = self.read("raw/dark_*.json")
        with self.apm_step("Average darks", labels={"frames": len(darks)}):
            self.write(self.products, calibration.average(darks))
        logger.info("Averaged %d darks", len(darks))
