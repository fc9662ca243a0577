"""A camera that looks at granules of the Sun. Delete it when ``ObserveFrames`` fetches frames of your instrument."""

import math
import random

from placeholder_module.calibration import Image

__all__ = ["COUNTS", "frame", "scene"]

COUNTS = {"dark": 8, "flat": 8, "science": 3}
SIZE = 32  # rows and columns of a frame
LAMP = 30_000.0  # brightness of a flat, in adu
NOISE = 20.0  # standard deviation, in adu


def scene(row: int, column: int) -> float:
    """Return the brightness of the Sun in a pixel, in adu."""
    return 20_000 * (1 + 0.05 * math.sin(row / 2) * math.cos(column / 3))


def frame(kind: str, number: int, seed: int) -> Image:
    """
    Return a frame, in adu; the same arguments give the same frame.

    Parameters
    ----------
    kind
        ``dark``, ``flat`` or ``science``.
    number
        Number of the frame among those of its kind.
    seed
        What distinguishes one observation from another, such as the recipe run.
    """
    noise = random.Random(f"{seed} {kind} {number}")
    light = {"dark": lambda *_: 0.0, "flat": lambda *_: LAMP, "science": scene}[kind]
    return [
        [
            round(_dark(row, column) + _gain(row, column) * light(row, column) + noise.gauss(0, NOISE))
            for column in range(SIZE)
        ]
        for row in range(SIZE)
    ]


def _dark(row: int, column: int) -> float:
    """Return the signal of a pixel without light; some pixels are hot."""
    return 5_000.0 if (7 * row + 3 * column) % 97 == 0 else 200.0


def _gain(row: int, column: int) -> float:
    return 1 + 0.2 * math.cos(row / 9) * math.sin(column / 11)
