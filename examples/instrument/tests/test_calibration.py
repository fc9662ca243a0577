import numpy as np
import pytest

from dkist_processing_example.calibration import CalibrationError, calibrated, master_dark, master_flat
from dkist_processing_example.simulation import FRAME_COUNTS, Observation


@pytest.fixture(scope="module")
def observation():
    return Observation(42)


@pytest.fixture(scope="module")
def dark(observation):
    return master_dark([observation.frame("dark", number) for number in range(FRAME_COUNTS["dark"])])


@pytest.fixture(scope="module")
def flat(observation, dark):
    return master_flat([observation.frame("flat", number) for number in range(FRAME_COUNTS["flat"])], dark)


def distance(image, scene):
    """Root of the mean squared difference, in adu."""
    return np.sqrt(np.mean((image - scene) ** 2))


def distance_of_the_best_fit(image, scene):
    """The same for ``a * image + b`` with the best a and b: what no choice of scale and offset removes."""
    design = np.stack([np.ravel(image).astype(float), np.ones(image.size)], axis=1)
    coefficients, *_ = np.linalg.lstsq(design, np.ravel(scene), rcond=None)
    return distance(design @ coefficients, np.ravel(scene))


@pytest.mark.parametrize("measure", [distance, distance_of_the_best_fit])
def test_calibration_brings_a_frame_30_times_nearer_to_the_scene(observation, dark, flat, measure):
    """The calibrated frame is at least 30 times nearer to what the telescope looked at than the raw one."""
    raw = observation.frame("science", 0)
    result = calibrated(raw, dark, flat)
    assert 30 * measure(result, observation.scene) < measure(raw, observation.scene)


def test_what_is_left_is_photon_noise(observation, dark, flat):
    """Where the Sun is quiet, the error left is at most a fifth more than the noise of the photons themselves."""
    result = calibrated(observation.frame("science", 0), dark, flat)
    is_bright = observation.scene > 15_000
    error = (result - observation.scene)[is_bright]
    photon_noise = np.sqrt(observation.scene / 3 / observation.gain)[is_bright]
    assert 1.0 < np.std(error / photon_noise) < 1.2
    assert abs(error.mean()) < 20


def test_master_dark_has_the_hot_pixels(observation, dark):
    """The master dark is the camera's own dark to within the noise of 16 frames."""
    assert dark.dtype == np.float32
    assert np.median(np.abs(dark - observation.dark)) < 4


def test_master_flat_is_the_response(observation, flat):
    """The master flat is the camera's response to within a percent, and its mean is 1."""
    assert flat.dtype == np.float32
    assert flat.mean(dtype=float) == pytest.approx(1, abs=1e-6)
    assert distance(flat, observation.gain) < 0.01


def test_dark_pixels_in_flats_are_refused():
    """A pixel that has seen no light would become infinite, so it is named instead."""
    with pytest.raises(CalibrationError, match="1 of the 4 pixels of the flats are not brighter than the dark"):
        master_flat([np.array([[5, 5], [5, 1]])], np.ones((2, 2)))


@pytest.mark.parametrize("missing", ["darks", "flats"])
def test_missing_frames_are_refused(missing):
    """Without frames there is nothing to combine."""
    with pytest.raises(CalibrationError, match=f"there are no {missing}"):
        master_dark([]) if missing == "darks" else master_flat([], np.ones((2, 2)))
