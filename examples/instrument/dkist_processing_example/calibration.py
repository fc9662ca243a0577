"""
The reduction of camera frames. Arrays in, arrays out; there are neither tasks nor files here.

The method is the standard one, see for instance S. B. Howell, "Handbook of CCD Astronomy", chapter 4.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CalibrationError", "calibrated", "master_dark", "master_flat"]

Image = NDArray[np.float32]


class CalibrationError(ValueError):
    """Frames are missing or unusable for a calibration."""


def master_dark(darks: Sequence[ArrayLike]) -> Image:
    """
    Combine darks into one that has less noise.

    Parameters
    ----------
    darks
        Frames of the same shape, exposed as long as those that are to be calibrated, in adu.

    Returns
    -------
    array of the shape of a frame, float32, in adu
        The median, which a cosmic ray in one frame does not affect.

    Raises
    ------
    CalibrationError
        If there are no darks.
    """
    if not len(darks):
        raise CalibrationError("there are no darks, so nothing can be calibrated. Observe some.")
    return np.median(np.stack(darks).astype(np.float32), axis=0)


def master_flat(flats: Sequence[ArrayLike], dark: ArrayLike) -> Image:
    """
    Combine flats into the relative response of each pixel.

    Parameters
    ----------
    flats
        Frames of an even light, of the same shape, in adu.
    dark
        The master dark, in adu.

    Returns
    -------
    array of the shape of a frame, float32, dimensionless
        The response, whose mean is 1.

    Raises
    ------
    CalibrationError
        If there are no flats, or one of the pixels has seen no light.
    """
    if not len(flats):
        raise CalibrationError("there are no flats, so nothing can be calibrated. Observe some.")
    light = np.mean(np.stack(flats).astype(np.float32), axis=0) - np.asarray(dark, dtype=np.float32)
    blind = int(np.count_nonzero(light <= 0))
    if blind:
        raise CalibrationError(
            f"{blind} of the {light.size} pixels of the flats are not brighter than the dark. "
            "Was the lamp on, and are the darks darks?"
        )
    return light / light.mean(dtype=np.float64).astype(np.float32)


def calibrated(raw: ArrayLike, dark: ArrayLike, flat: ArrayLike) -> Image:
    """
    Calibrate one science frame: ``(raw - dark) / flat``.

    Parameters
    ----------
    raw
        The frame, in adu.
    dark
        The master dark, in adu.
    flat
        The master flat, dimensionless.

    Returns
    -------
    array of the shape of the frame, float32, in adu
    """
    return (np.asarray(raw, dtype=np.float32) - np.asarray(dark, dtype=np.float32)) / np.asarray(flat, np.float32)
