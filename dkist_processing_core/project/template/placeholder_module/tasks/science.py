"""The calibration of the science frames."""

import logging

from placeholder_module import calibration
from placeholder_module.tasks.base import RecipeRunTask

__all__ = ["CalibrateScience"]

logger = logging.getLogger(__name__)


class CalibrateScience(RecipeRunTask):
    """Calibrate every science frame with the average dark and the average flat."""

    products = "l1/science_*.json"

    def run(self) -> None:
        """Read the frames and the averages, and write each calibrated frame."""
        [dark] = self.read("calibration/dark.json")
        [flat] = self.read("calibration/flat.json")
        frames = self.read("raw/science_*.json")
        for number, raw in enumerate(frames):
            with self.apm_step("Calibrate frame", labels={"frame": number}):
                self.write(f"l1/science_{number:04d}.json", calibration.calibrated(raw, dark, flat))
        logger.info("Calibrated %d science frames", len(frames))
