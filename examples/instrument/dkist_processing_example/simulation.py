"""
A synthetic observation: a sunspot among granules, seen by an imperfect camera.

Everything follows from the seed, so the same recipe run gives the same frames wherever and whenever it is processed.
There are neither tasks nor files here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["EXPOSURE_SECONDS", "FRAME_COUNTS", "FrameKind", "Observation"]

FrameKind = Literal["dark", "flat", "science"]

FRAME_COUNTS: dict[FrameKind, int] = {"dark": 16, "flat": 16, "science": 3}
EXPOSURE_SECONDS = 0.02
CADENCE_SECONDS = 2.0

SIZE = 512  # pixels along each axis
QUIET_SUN_ADU = 22_000.0
ELECTRONS_PER_ADU = 3.0
READ_NOISE_ADU = 8.0
BIAS_ADU = 1_200.0
HOT_PIXEL_FRACTION = 0.002
FULL_WELL_ADU = 65_535

# Streams of random numbers that must not depend on how many numbers another one has drawn.
SCENE, CAMERA, FRAME = range(3)
KINDS: tuple[FrameKind, ...] = ("dark", "flat", "science")


@dataclass(frozen=True)
class Observation:
    """
    One simulated observation.

    Parameters
    ----------
    seed
        Seed of the simulation, not negative. The same seed gives the same frames.
    size
        Number of pixels along each axis.
    """

    seed: int
    size: int = SIZE

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])

    @cached_property
    def _grid(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates of the pixels, -1 to 1 along each axis: rows, columns."""
        axis = np.linspace(-1.0, 1.0, self.size)
        return np.meshgrid(axis, axis, indexing="ij")

    @cached_property
    def scene(self) -> NDArray[np.float64]:
        """
        The Sun as a perfect camera would record it.

        Returns
        -------
        array of shape (size, size), in adu
        """
        random = self._random(SCENE)
        granules = _granules(self.size, random, cell=self.size / 30)
        spot = self._spot(random)
        plage = 0.07 * np.clip(_smooth_noise(self.size, random, 0.10), 0, None)
        # Magnetic field inside of the spot suppresses convection, so the granules fade as the spot darkens.
        scene = spot * (1 + (granules + plage) * np.clip(1.6 * spot - 0.6, 0, 1))
        return QUIET_SUN_ADU * _blurred(scene, sigma=self.size / 640)

    def _spot(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Intensity of a sunspot relative to the quiet Sun: an umbra, and a penumbra of radial filaments."""
        rows, columns = self._grid
        centre = random.uniform(-0.22, 0.22, size=2)
        tilt = random.uniform(0, np.pi)
        rows, columns = rows - centre[0], columns - centre[1]
        along = (columns * np.cos(tilt) + rows * np.sin(tilt)) / 1.12
        across = -columns * np.sin(tilt) + rows * np.cos(tilt)
        warp = _smooth_noise(self.size, random, 0.05)
        radius = np.hypot(along, across) / 0.46 * (1 + 0.07 * warp)
        angle = np.arctan2(across, along) + 0.05 * warp

        filaments = 0.62 * _filaments(angle, radius, random, 64) + 0.38 * _filaments(angle, radius, random, 149)
        outer_edge = 1.0 + 0.22 * (filaments - 0.5)
        umbra_edge = 0.40 + 0.16 * (filaments - 0.5) + 0.035 * warp
        inside = _smoothstep(outer_edge + 0.05, outer_edge - 0.03, radius)
        in_umbra = _smoothstep(umbra_edge + 0.05, umbra_edge - 0.05, radius)
        umbra = 0.10 + 0.03 * _smooth_noise(self.size, random, 0.02)
        penumbra = 0.36 + 0.62 * filaments**1.4 + 0.16 * (radius - 0.7)
        dark = in_umbra * umbra + (1 - in_umbra) * penumbra
        return inside * dark + (1 - inside)

    @cached_property
    def gain(self) -> NDArray[np.float64]:
        """
        Response of the camera: vignetting, dust, read-out channels and pixels; its mean is 1.

        Returns
        -------
        array of shape (size, size), dimensionless
        """
        random = self._random(CAMERA, 0)
        rows, columns = self._grid
        vignetting = 1 - 0.26 * ((rows - 0.15) ** 2 + (columns + 0.1) ** 2)
        channels = np.repeat(random.normal(1, 0.045, 8), -(-self.size // 8))[: self.size]
        stripes = random.normal(1, 0.016, self.size)
        pixels = random.normal(1, 0.012, (self.size, self.size))
        gain = vignetting * (channels * stripes)[np.newaxis, :] * pixels
        for _ in range(14):
            gain *= 1 - self._dust(random)
        return gain / gain.mean()

    def _dust(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Shadow of one grain on a window out of focus: a ring, as the aperture of a telescope has a hole."""
        rows, columns = self._grid
        centre = random.uniform(-0.95, 0.95, size=2)
        radius = random.uniform(0.035, 0.10)
        distance = np.hypot(rows - centre[0], columns - centre[1]) / radius
        ring = _smoothstep(1.15, 0.9, distance) * (1 - 0.75 * _smoothstep(0.5, 0.3, distance))
        return random.uniform(0.15, 0.36) * ring

    @cached_property
    def dark(self) -> NDArray[np.float64]:
        """
        What the camera records without light: bias, warm corner, hot pixels.

        Returns
        -------
        array of shape (size, size), in adu
        """
        random = self._random(CAMERA, 1)
        rows, columns = self._grid
        glow = 900 * np.exp(-((rows - 1.05) ** 2 + (columns - 1.05) ** 2) / 0.18)
        rows_pattern = random.normal(0, 25, self.size)[:, np.newaxis]
        is_hot = random.random((self.size, self.size)) < HOT_PIXEL_FRACTION
        hot = np.where(is_hot, random.uniform(4_000, 26_000, (self.size, self.size)), 0)
        return BIAS_ADU + glow + rows_pattern + hot

    def frame(self, kind: FrameKind, number: int) -> NDArray[np.uint16]:
        """
        Return one frame as it comes from the camera, with photon noise and read noise.

        Parameters
        ----------
        kind
            What the camera looked at: nothing, an even light, or the Sun.
        number
            Which frame of that kind, from 0.

        Returns
        -------
        array of shape (size, size), in adu
        """
        random = self._random(FRAME, KINDS.index(kind), number)
        light = {"dark": 0.0, "flat": QUIET_SUN_ADU, "science": self.scene}[kind] * self.gain
        signal = light + self.dark - BIAS_ADU
        electrons = random.poisson(np.clip(signal, 0, None) * ELECTRONS_PER_ADU)
        recorded = electrons / ELECTRONS_PER_ADU + BIAS_ADU + random.normal(0, READ_NOISE_ADU, electrons.shape)
        return np.clip(np.rint(recorded), 0, FULL_WELL_ADU).astype(np.uint16)

    def time(self, kind: FrameKind, number: int) -> datetime:
        """Return when a frame was exposed, in the time of the simulation (UTC)."""
        first = datetime(2025, 6, 1, 18, 0, tzinfo=UTC) + timedelta(days=self.seed % 365)
        before = sum(FRAME_COUNTS[each] for each in KINDS[: KINDS.index(kind)])
        return first + timedelta(seconds=CADENCE_SECONDS * (before + number))


def _smoothstep(start: ArrayLike, end: ArrayLike, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rise from 0 at ``start`` to 1 at ``end``, without a kink at either."""
    position = np.clip((values - np.asarray(start)) / (np.asarray(end) - np.asarray(start)), 0, 1)
    return position**2 * (3 - 2 * position)


def _blurred(image: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian of ``sigma`` pixels, by its transform; the image continues at the opposite edge."""
    frequencies = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in image.shape), indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2 * (np.pi * sigma * frequencies) ** 2)).real


def _smooth_noise(size: int, random: np.random.Generator, scale: float) -> NDArray[np.float64]:
    """Return noise of mean 0 and deviation 1 with structures of ``scale`` times the image's width."""
    noise = _blurred(random.normal(size=(size, size)), sigma=scale * size)
    return (noise - noise.mean()) / noise.std()


def _granules(size: int, random: np.random.Generator, cell: float) -> NDArray[np.float64]:
    """
    Return the contrast of granulation: bright cells with dark lanes between them.

    Each cell is what lies nearest to one of the points of a jittered lattice; a lane is where the second nearest point
    is hardly farther than the nearest (S. Worley, "A cellular texture basis function", SIGGRAPH 1996).
    """
    count = int(np.ceil(size / cell)) + 6
    points = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), axis=-1) - 3.0
    points = (points + random.uniform(0.08, 0.92, points.shape)) * cell
    brightness = random.normal(0, 0.065, (count, count))
    rows, columns = np.meshgrid(np.arange(size, dtype=float), np.arange(size, dtype=float), indexing="ij")
    rows += 0.20 * cell * _smooth_noise(size, random, 0.012)
    columns += 0.20 * cell * _smooth_noise(size, random, 0.012)
    row_cell = np.clip((rows // cell).astype(int) + 3, 2, count - 3)
    column_cell = np.clip((columns // cell).astype(int) + 3, 2, count - 3)
    nearest = np.full((size, size), np.inf)
    second = np.full((size, size), np.inf)
    own = np.zeros((size, size))
    for row_step in (-2, -1, 0, 1, 2):
        for column_step in (-2, -1, 0, 1, 2):
            neighbour = row_cell + row_step, column_cell + column_step
            distance = np.hypot(rows - points[neighbour][..., 0], columns - points[neighbour][..., 1])
            is_nearer = distance < nearest
            second = np.where(is_nearer, nearest, np.minimum(second, distance))
            own = np.where(is_nearer, brightness[neighbour], own)
            nearest = np.where(is_nearer, distance, nearest)
    lane = 0.55 + 0.10 * _smooth_noise(size, random, 0.03)
    bulge = _smoothstep(-0.08, lane, (second - nearest) / cell)
    return -0.30 + (0.36 + own) * bulge + 0.035 * _smooth_noise(size, random, 0.006)


def _filaments(
    angle: NDArray[np.float64], radius: NDArray[np.float64], random: np.random.Generator, spokes: int
) -> NDArray[np.float64]:
    """Return values from 0 to 1 that are drawn out along the radius, as the threads of a penumbra are."""
    rings = 7
    lattice = random.random((rings, spokes))
    along = np.clip(radius, 0, 1.4) / 1.4 * (rings - 1)
    around = (angle / (2 * np.pi) % 1.0) * spokes + 0.9 * np.sin(4.0 * radius)
    ring, spoke = np.floor(along).astype(int), np.floor(around).astype(int)
    between_rings, between_spokes = along - ring, around - spoke
    between_spokes = between_spokes**2 * (3 - 2 * between_spokes)
    outer = np.minimum(ring + 1, rings - 1)

    def at(ring_index: NDArray[np.int_]) -> NDArray[np.float64]:
        left, right = lattice[ring_index, spoke % spokes], lattice[ring_index, (spoke + 1) % spokes]
        return left * (1 - between_spokes) + right * between_spokes

    return at(ring) * (1 - between_rings) + at(outer) * between_rings
