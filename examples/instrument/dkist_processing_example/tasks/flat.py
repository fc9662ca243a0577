"""The master flat."""

import logging

from dkist_processing_example import calibration
from dkist_processing_example.tasks.base import ExampleTask, cards_of

__all__ = ["MakeFlat"]

logger = logging.getLogger(__name__)


class MakeFlat(ExampleTask):
    """
    Combine the flats into the relative response of each pixel.

    All flats are in memory at the same time, so the workflow runs this task on workers with much memory.
    """

    products = "calibration/master_flat.fits"
    retries = 1
    retry_delay_seconds = 10

    def run(self) -> None:
        """Read the flats, take what the camera records without light from their mean, normalise and write it."""
        with self.telemetry_span("Read flats") as span:
            flats = self.read("raw/flat_*.fits")
            darks = self.read("raw/dark_*.fits")
            span.set_attributes({"flats": len(flats), "darks": len(darks)})
        with self.telemetry_span("Combine flats", attributes={"frames": len(flats)}):
            # The master dark is made at the same time by another task, so it is not there to be used.
            dark = calibration.master_dark([frame.data for frame in darks])
            flat = calibration.master_flat([frame.data for frame in flats], dark)
        logger.info("Master flat of %d frames: response from %.2f to %.2f", len(flats), flat.min(), flat.max())
        self.write(
            self.products,
            flat,
            {
                "IMAGETYP": ("MASTER FLAT", "relative response of the pixels"),
                "BUNIT": ("", "dimensionless, the mean is 1"),
                "NCOMBINE": (len(flats), "number of frames that were combined"),
                **cards_of(flats[-1], "EXPTIME", "DATE"),
            },
        )
