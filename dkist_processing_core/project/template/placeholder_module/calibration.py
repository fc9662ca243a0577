"""The reduction of frames: images in, images out. It knows nothing of tasks or files."""

from collections.abc import Sequence
from statistics import fmean, pstdev

__all__ = ["CalibrationError", "Image", "average", "calibrated", "contrast"]

Image = list[list[float]]


class CalibrationError(ValueError):
    """The frames are not sufficient for a calibration."""


def average(frames: Sequence[Image]) -> Image:
    """
    Return the mean of each pixel.

    Parameters
    ----------
    frames
        Images of the same shape, in adu.

    Raises
    ------
    CalibrationError
        If there are no frames.
    """
    if not frames:
        raise CalibrationError("there are no frames to average. Observe some.")
    return [[fmean(pixels) for pixels in zip(*rows, strict=True)] for rows in zip(*frames, strict=True)]


def calibrated(raw: Image, dark: Image, flat: Image) -> Image:
    """
    Return ``(raw - dark) / gain``, where the gain is ``flat - dark``, divided by its mean.

    Parameters
    ----------
    raw
        A science frame, in adu.
    dark, flat
        The average dark and flat, in adu.

    Raises
    ------
    CalibrationError
        If a pixel of the flat is not brighter than the dark.
    """
    light = _difference(flat, dark)
    blind = sum(pixel <= 0 for row in light for pixel in row)
    if blind:
        raise CalibrationError(f"{blind} pixels of the flat are not brighter than the dark. Was the lamp on?")
    mean = fmean(pixel for row in light for pixel in row)
    return [
        [pixel * mean / gain for pixel, gain in zip(*rows, strict=True)]
        for rows in zip(_difference(raw, dark), light, strict=True)
    ]


def contrast(image: Image) -> float:
    """Return the standard deviation of an image, divided by its mean."""
    pixels = [pixel for row in image for pixel in row]
    return pstdev(pixels) / fmean(pixels)


def _difference(image: Image, other: Image) -> Image:
    return [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(image, other, strict=True)]
