"""The report on the quality of the calibration."""

import logging
from importlib.resources import files

from placeholder_module.calibration import contrast
from placeholder_module.tasks.base import RecipeRunTask

__all__ = ["QualityReport"]

logger = logging.getLogger(__name__)


class QualityReport(RecipeRunTask):
    """Write a page with the contrast of each science frame, before and after its calibration."""

    products = "quality_report.html"

    def run(self) -> None:
        """Measure the contrasts, and write them as a page of HTML."""
        # Not at the top of the module: every export imports it, but only the environment of this task has jinja2.
        from jinja2 import Environment, StrictUndefined

        with self.telemetry_span("Measure contrast") as span:
            pairs = zip(self.read("raw/science_*.json"), self.read("l1/science_*.json"), strict=True)
            contrasts = [(contrast(raw), contrast(calibrated)) for raw, calibrated in pairs]
            span.set_attribute("frames", len(contrasts))
        with self.telemetry_span("Write report"):
            template = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
            environment = Environment(autoescape=True, undefined=StrictUndefined)
            page = environment.from_string(template).render(task=self, contrasts=contrasts)
            self.write_text(self.products, page)
        logger.info("Wrote the report %s", self.folder / self.products)
