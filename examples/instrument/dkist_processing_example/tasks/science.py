"""The calibration of the science frames."""

import logging

from dkist_processing_example import calibration
from dkist_processing_example.tasks.base import ExampleTask, cards_of

__all__ = ["CalibrateScience"]

logger = logging.getLogger(__name__)


class CalibrateScience(ExampleTask):
    """Calibrate every science frame with the master dark and the master flat."""

    products = "level1/science_*.fits"

    def run(self) -> None:
        """Read what the tasks before have made, and write ``(raw - dark) / flat`` of each frame."""
        with self.apm_step("Read master frames"):
            (dark,) = self.read("calibration/master_dark.fits")
            (flat,) = self.read("calibration/master_flat.fits")
        frames = self.read("raw/science_*.fits")
        for number, raw in enumerate(frames):
            with self.apm_step("Calibrate frame", labels={"frame": number}):
                image = calibration.calibrated(raw.data, dark.data, flat.data)
                self.write(
                    f"level1/science_{number:04d}.fits",
                    image,
                    {
                        "IMAGETYP": ("LIGHT", "what the camera looked at"),
                        "BUNIT": ("adu", "unit of the values"),
                        "CALIBRAT": ("(raw - dark) / flat", "how it was calibrated"),
                        **cards_of(raw, "EXPTIME", "DATE-OBS"),
                        **cards_of(frames[-1], "DATE"),
                    },
                )
        logger.info("Calibrated %d science frames", len(frames))
