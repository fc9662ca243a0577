"""The master dark."""

import logging

from dkist_processing_example import calibration
from dkist_processing_example.tasks.base import ExampleTask, cards_of

__all__ = ["MakeDark"]

logger = logging.getLogger(__name__)


class MakeDark(ExampleTask):
    """Combine the darks into a master dark, which has the hot pixels and the bias but hardly any noise."""

    products = "calibration/master_dark.fits"
    retries = 1
    retry_delay_seconds = 10

    def run(self) -> None:
        """Read the darks, take their median, write it."""
        with self.telemetry_span("Read darks") as span:
            darks = self.read("raw/dark_*.fits")
            span.set_attribute("frames", len(darks))
        with self.telemetry_span("Combine darks", attributes={"frames": len(darks)}):
            dark = calibration.master_dark([frame.data for frame in darks])
        logger.info("Master dark of %d frames, hottest pixel %.0f adu", len(darks), dark.max())
        self.write(
            self.products,
            dark,
            {
                "IMAGETYP": ("MASTER DARK", "median of the darks"),
                "BUNIT": ("adu", "unit of the values"),
                "NCOMBINE": (len(darks), "number of frames that were combined"),
                **cards_of(darks[-1], "EXPTIME", "DATE"),
            },
        )
