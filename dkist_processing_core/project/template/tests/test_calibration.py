import pytest

from placeholder_module import calibration, simulation

SEED = 42


def frames(kind):
    return [simulation.frame(kind, number, SEED) for number in range(simulation.COUNTS[kind])]


def test_average_is_the_mean_of_each_pixel():
    assert calibration.average([[[1, 2]], [[3, 6]]]) == [[2, 4]]


def test_calibration_shows_the_sun():
    dark, flat = calibration.average(frames("dark")), calibration.average(frames("flat"))
    image = calibration.calibrated(frames("science")[0], dark, flat)
    size = range(simulation.SIZE)
    ratio = [[image[row][column] / simulation.scene(row, column) for column in size] for row in size]
    assert calibration.contrast(ratio) < 0.003


def test_no_frames_are_an_error():
    with pytest.raises(calibration.CalibrationError, match="no frames to average"):
        calibration.average([])


def test_a_flat_without_light_is_an_error():
    with pytest.raises(calibration.CalibrationError, match="1 pixels of the flat are not brighter"):
        calibration.calibrated([[5, 5]], [[1, 1]], [[9, 1]])
