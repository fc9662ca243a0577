import numpy as np
import pytest

from dkist_processing_example.simulation import Observation


@pytest.mark.parametrize("kind", ["dark", "flat", "science"])
def test_the_same_seed_gives_the_same_frame(kind):
    """A frame depends on the seed, its kind and its number, and on nothing else."""
    first = Observation(42).frame(kind, 1)
    other = Observation(42)
    other.frame("science", 0)
    np.testing.assert_array_equal(first, other.frame(kind, 1))


def test_frames_differ():
    """Two frames of an observation have different noise, two observations different suns."""
    assert not np.array_equal(Observation(42).frame("science", 0), Observation(42).frame("science", 1))
    assert not np.allclose(Observation(42).scene, Observation(43).scene)


@pytest.mark.parametrize("seed", [1, 42, 43, 1234567])
def test_no_frame_is_over_exposed(seed):
    """No pixel reaches the full well, where nothing could be calibrated."""
    assert Observation(seed).frame("science", 0).max() < 65_535
    assert Observation(seed).frame("flat", 0).max() < 65_535


def test_camera_is_imperfect():
    """There is something to calibrate: hot pixels, an uneven response, and a response whose mean is 1."""
    observation = Observation(42)
    assert np.count_nonzero(observation.dark > 5_000) > 100
    assert observation.gain.std() > 0.1
    assert observation.gain.mean() == pytest.approx(1)
