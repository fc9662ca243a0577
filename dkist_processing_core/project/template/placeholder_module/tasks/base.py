"""What all tasks of this package have in common."""

import json
import logging
from abc import ABC
from pathlib import Path

from dkist_processing_core import TaskBase

from placeholder_module.calibration import Image
from placeholder_module.files import write_text
from placeholder_module.settings import SCRATCH, scratch_folder

__all__ = ["RecipeRunTask"]

logger = logging.getLogger(__name__)


class RecipeRunTask(TaskBase, ABC):
    """
    A task that reads and writes the files of its recipe run.

    Attributes
    ----------
    products : str
        Pattern of the files that the task writes, relative to `folder`.
    """

    products: str
    retries = 1
    retry_delay_seconds = 10

    @property
    def folder(self) -> Path:
        """Folder of the recipe run."""
        return scratch_folder(self.recipe_run_id)

    def read(self, pattern: str) -> list[Image]:
        """
        Read images that an earlier task has written, in the order of their names.

        Parameters
        ----------
        pattern
            Pattern of the files, relative to `folder`.

        Raises
        ------
        FileNotFoundError
            If there are none.
        """
        files = sorted(self.folder.glob(pattern))
        if not files:
            raise FileNotFoundError(
                f"there is no {pattern} in {self.folder}. Have the tasks before {self.task_name} run for recipe run "
                f"{self.recipe_run_id}, and do all workers have the same {SCRATCH}?"
            )
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def write(self, name: str, image: Image) -> None:
        """
        Write an image as JSON.

        Parameters
        ----------
        name
            Name of the file, relative to `folder`.
        image
            The image.
        """
        self.write_text(name, json.dumps(image))

    def write_text(self, name: str, text: str) -> None:
        """
        Write a text.

        Parameters
        ----------
        name
            Name of the file, relative to `folder`.
        text
            Its content.
        """
        write_text(self.folder / name, text)
        logger.debug("Wrote %s", self.folder / name)

    def rollback(self) -> None:
        """Remove the files that the task wrote, so that the recipe run can be processed again from this task."""
        for file in self.folder.glob(self.products):
            file.unlink()
            logger.info("Removed %s", file)
