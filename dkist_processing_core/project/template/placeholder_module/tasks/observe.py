"""The source of the frames."""

import logging

from placeholder_module import simulation
from placeholder_module.tasks.base import RecipeRunTask

__all__ = ["ObserveFrames"]

logger = logging.getLogger(__name__)


class ObserveFrames(RecipeRunTask):
    """Take darks, flats and science frames with a simulated camera."""

    products = "raw/*.json"
    retries = 2
    retry_delay_seconds = 30

    def run(self) -> None:
        """Simulate the frames of each kind, and write them."""
        for kind, count in simulation.COUNTS.items():
            with self.apm_step(f"Observe {kind} frames", labels={"frames": count}):
                for number in range(count):
                    image = simulation.frame(kind, number, seed=self.recipe_run_id)
                    self.write(f"raw/{kind}_{number:04d}.json", image)
            logger.info("Observed %d %s frames", count, kind)
