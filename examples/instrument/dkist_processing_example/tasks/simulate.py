"""
The camera. An instrument's own package has a task here that fetches the observed frames.
"""

import logging

from dkist_processing_example.simulation import EXPOSURE_SECONDS, FRAME_COUNTS, FrameKind, Observation
from dkist_processing_example.tasks.base import ExampleTask

__all__ = ["SimulateFrames"]

logger = logging.getLogger(__name__)

TITLES: dict[FrameKind, str] = {"dark": "DARK", "flat": "FLAT", "science": "LIGHT"}


class SimulateFrames(ExampleTask):
    """
    Simulate the darks, the flats and the science frames of an observation.

    The recipe run id is the seed of the simulation, so a second try writes the same bytes.
    """

    products = "raw/*.fits"

    def run(self) -> None:
        """Write all frames as a camera does, in unsigned integers of 16 bits."""
        observation = Observation(seed=self.recipe_run_id)
        for kind, count in FRAME_COUNTS.items():
            with self.apm_step(f"Simulate {kind} frames", labels={"frames": count}):
                for number in range(count):
                    self._write_frame(observation, kind, number)
            logger.info("Simulated %d %s frames", count, kind)

    def _write_frame(self, observation: Observation, kind: FrameKind, number: int) -> None:
        exposed = observation.time(kind, number).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        self.write(
            f"raw/{kind}_{number:04d}.fits",
            observation.frame(kind, number),
            {
                "IMAGETYP": (TITLES[kind], "what the camera looked at"),
                "BUNIT": ("adu", "unit of the values"),
                "EXPTIME": (EXPOSURE_SECONDS, "[s] exposure time"),
                "DATE-OBS": (exposed, "begin of exposure (UTC, simulated)"),
                "DATE": (exposed, "time of writing (UTC, simulated)"),
            },
        )
