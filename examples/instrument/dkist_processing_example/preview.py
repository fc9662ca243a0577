"""
The picture that a person looks at. Arrays in, an image out; there are neither tasks nor files here.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["side_by_side"]

# Black over red and orange to white: what the eye takes for sunlight. Position and red, green, blue.
COLOURS = (
    (0.00, (6, 3, 8)),
    (0.18, (74, 14, 10)),
    (0.40, (172, 56, 8)),
    (0.65, (240, 138, 24)),
    (0.85, (255, 205, 96)),
    (1.00, (255, 250, 226)),
)
PAPER = (17, 18, 22)
INK = (236, 232, 224)
FAINT_INK = (150, 148, 144)
MARGIN = 28
GAP = 24
BAR = 12


def side_by_side(raw: ArrayLike, calibrated: ArrayLike, *, title: str, subtitle: str) -> Image.Image:
    """
    Show a frame as it came from the camera and as it is after calibration.

    Parameters
    ----------
    raw, calibrated
        Two images of the same shape, in adu.
    title, subtitle
        Two lines of text above them.

    Returns
    -------
    PIL.Image.Image
        The picture, with a scale of the colours below each image.
    """
    panels = [
        ("Raw", "as the camera recorded it", np.asarray(raw, dtype=float)),
        ("Calibrated", "(raw - dark) / flat", np.asarray(calibrated, dtype=float)),
    ]
    rows, columns = panels[0][2].shape
    top = MARGIN + 96
    picture = Image.new("RGB", (2 * MARGIN + GAP + 2 * columns, top + rows + 14 + BAR + 24 + MARGIN), color=PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN - 6), title, font=ImageFont.load_default(26), fill=INK)
    draw.text((MARGIN, MARGIN + 27), subtitle, font=ImageFont.load_default(15), fill=FAINT_INK)
    for number, (name, explanation, image) in enumerate(panels):
        _draw_panel(picture, (MARGIN + number * (columns + GAP), top), image, name, explanation)
    return picture


def _draw_panel(
    picture: Image.Image, corner: tuple[int, int], image: NDArray[np.float64], name: str, explanation: str
) -> None:
    left, top = corner
    rows, columns = image.shape
    draw = ImageDraw.Draw(picture)
    heading, text = ImageFont.load_default(18), ImageFont.load_default(14)
    draw.text((left, top - 10), name, font=heading, fill=INK, anchor="ls")
    draw.text(
        (left + draw.textlength(name, font=heading) + 10, top - 10), explanation, font=text, fill=FAINT_INK, anchor="ls"
    )

    # A few hot pixels must not decide how the rest is seen, nor may a picture of them be cut off unnoticed: the scale
    # below says which values are shown.
    low, high = np.percentile(image, (0.1, 99.8))
    upright = image[::-1]  # FITS counts its rows from the bottom, pictures from the top
    picture.paste(_coloured((upright - low) / (high - low)), corner)
    bar_top = top + rows + 14
    picture.paste(_coloured(np.broadcast_to(np.linspace(0, 1, columns), (BAR, columns))), (left, bar_top))
    below = bar_top + BAR + 6
    for x, value, anchor in ((left, low, "la"), (left + columns, high, "ra")):
        draw.text((x, below), f"{value:,.0f} adu", font=text, fill=FAINT_INK, anchor=anchor)


def _coloured(values: NDArray[np.float64]) -> Image.Image:
    positions = [position for position, _ in COLOURS]
    channels = [np.interp(values, positions, [colour[channel] for _, colour in COLOURS]) for channel in range(3)]
    return Image.fromarray(np.rint(np.stack(channels, axis=-1)).astype(np.uint8))
