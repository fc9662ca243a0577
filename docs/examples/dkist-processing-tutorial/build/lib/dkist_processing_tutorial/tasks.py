"""The tasks of this package."""

import logging

from dkist_processing_core import TaskBase

logger = logging.getLogger(__name__)


class CountSunspots(TaskBase):
    """Compute the relative sunspot number, ten times the groups plus the spots."""

    retries = 2
    retry_delay_seconds = 30

    def run(self) -> None:
        spots_in_group = [3, 1, 5]
        with self.apm_step("count", labels={"groups": len(spots_in_group)}):
            number = 10 * len(spots_in_group) + sum(spots_in_group)
        logger.info("Recipe run %d: relative sunspot number %d", self.recipe_run_id, number)
