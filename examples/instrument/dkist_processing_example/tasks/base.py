"""
What all tasks of this package have in common.
"""

import logging
from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits
from dkist_processing_core import TaskBase
from numpy.typing import NDArray

from dkist_processing_example.files import replaced, scratch_folder

__all__ = ["ExampleTask", "Frame"]

logger = logging.getLogger(__name__)

Cards = dict[str, tuple[str | int | float, str]]


@dataclass(frozen=True)
class Frame:
    """An image and its FITS header."""

    data: NDArray[Any]
    header: fits.Header


class ExampleTask(TaskBase, ABC):
    """
    A task that has access to the scratch folder of its recipe run.

    Attributes
    ----------
    products : str
        Pattern of the files that the task makes, relative to `scratch`.
    """

    products: str

    @property
    def scratch(self) -> Path:
        """Folder of the recipe run."""
        return scratch_folder(self.recipe_run_id)

    def read(self, pattern: str) -> list[Frame]:
        """
        Read frames that an earlier task has written, sorted by the names of their files.

        Parameters
        ----------
        pattern
            Which files, relative to `scratch`.

        Raises
        ------
        FileNotFoundError
            If there are none.
        """
        files = sorted(self.scratch.glob(pattern))
        if not files:
            raise FileNotFoundError(
                f"there is no {pattern} in {self.scratch}. Have the tasks before {self.task_name} run for recipe run "
                f"{self.recipe_run_id}, and does this worker see the same DKIST_EXAMPLE_SCRATCH as they did?"
            )
        frames = []
        for file in files:
            with fits.open(file, memmap=False) as opened:
                frames.append(Frame(opened[0].data, opened[0].header.copy()))
        return frames

    def write(self, name: str, data: NDArray[Any], cards: Cards) -> None:
        """
        Write a frame as a FITS file.

        Parameters
        ----------
        name
            Name of the file, relative to `scratch`.
        data
            The image.
        cards
            What its header says besides the recipe run, the workflow, and what the task ran with: keyword, and value
            and comment.
        """
        origin: Cards = {
            "RRUNID": (self.recipe_run_id, "recipe run"),
            "WKFLNAME": (self.workflow_name, "workflow"),
            "WKFLVERS": (self.workflow_version, "version of it"),
            "WKFLTASK": (self.task_name, "task of it"),
        }
        header = fits.Header([(key, *card) for key, card in (cards | origin).items()])
        if self.environment.identity:  # not in a test or a notebook
            header.add_history(f"made by {self.environment.requirement}")
            header.add_history(f"ran in {self.environment.identity}")
        image = fits.PrimaryHDU(data, header=header)
        with replaced(self.scratch / name) as path:
            image.writeto(path)
        logger.debug("Wrote %s, %s %s", name, "x".join(map(str, data.shape)), data.dtype)

    def rollback(self) -> None:
        """Remove what the task has written, so that the recipe run can be processed again from there."""
        for file in self.scratch.glob(self.products):
            file.unlink()
            logger.info("Removed %s", file)


def cards_of(frame: Frame, *keywords: str) -> Cards:
    """Return some cards of a frame's header, to be written into that of another."""
    return {keyword: (frame.header[keyword], frame.header.comments[keyword]) for keyword in keywords}
