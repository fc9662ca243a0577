"""A task that shows what a failure looks like."""

from dkist_processing_example.calibration import CalibrationError
from dkist_processing_example.tasks.base import ExampleTask

__all__ = ["FailOnPurpose"]

EXPOSURE_NEEDED_SECONDS = 0.1


class FailOnPurpose(ExampleTask):
    """Ask for darks that were never observed, so that the task always fails."""

    products = "calibration/long_dark.fits"
    retries = 0

    def run(self) -> None:
        """
        Look for darks of a long exposure.

        Raises
        ------
        CalibrationError
            If there are none, as is the case with every simulated observation.
        """
        with self.apm_step("Look for long darks"):
            found = sorted({frame.header["EXPTIME"] for frame in self.read("raw/dark_*.fits")})
        if EXPOSURE_NEEDED_SECONDS not in found:
            raise CalibrationError(
                f"recipe run {self.recipe_run_id} has no darks of {EXPOSURE_NEEDED_SECONDS} s, only of "
                f"{', '.join(map(str, found))} s. Observe darks that are exposed as long as the science frames, or "
                "leave those frames out. (This task fails on purpose: nothing is wrong with your installation.)"
            )
