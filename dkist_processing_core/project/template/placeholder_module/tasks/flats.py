"""The average flat."""

import logging

from placeholder_module import calibration
from placeholder_module.tasks.base import RecipeRunTask

__all__ = ["AverageFlats"]

logger = logging.getLogger(__name__)


class AverageFlats(RecipeRunTask):
    """Average the flats, which show how each pixel responds to the same light."""

    products = "calibration/flat.json"

    def run(self) -> None:
        """Read the flats, average them, and write the result."""
        with self.apm_step("Read flats"):
            flats = self.read("raw/flat_*.json")
        with self.apm_step("Average flats", labels={"frames": len(flats)}):
            self.write(self.products, calibration.average(flats))
        logger.info("Averaged %d flats", len(flats))
