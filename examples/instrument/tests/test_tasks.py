import hashlib
import json
import shutil
import sys

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.time import Time
from PIL import Image

from dkist_processing_example import files
from dkist_processing_example.calibration import CalibrationError
from dkist_processing_example.simulation import Observation
from dkist_processing_example.tasks.dark import MakeDark
from dkist_processing_example.tasks.failing import FailOnPurpose
from dkist_processing_example.tasks.flat import MakeFlat
from dkist_processing_example.tasks.preview import MakePreview
from dkist_processing_example.tasks.science import CalibrateScience
from dkist_processing_example.tasks.simulate import SimulateFrames

TASKS = (SimulateFrames, MakeDark, MakeFlat, CalibrateScience, MakePreview)


@pytest.fixture(scope="module")
def run():
    """A function that runs one task as Airflow would, of recipe run 42 unless told otherwise."""

    def run_task(task_class, recipe_run_id=42):
        with task_class(recipe_run_id, workflow_name="raw_to_level1_example", workflow_version="1.0.0") as task:
            task()
        return task

    return run_task


@pytest.fixture(scope="module")
def processed_once(run, tmp_path_factory):
    """The scratch folder after all tasks have run for recipe run 42, in the order in which the workflow has them."""
    folder = tmp_path_factory.mktemp("processed") / "scratch"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DKIST_EXAMPLE_SCRATCH", str(folder))
        for task_class in TASKS:
            run(task_class)
    return folder


@pytest.fixture
def processed(processed_once, scratch):
    """A copy of the folder of recipe run 42 that the test may change."""
    shutil.copytree(processed_once, scratch)
    return scratch / "recipe_run_000042"


def contents(folder):
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def test_products(processed):
    """The tasks leave raw frames, two master frames, the calibrated frames and a picture, and nothing else."""
    names = list(contents(processed))
    assert len([name for name in names if name.startswith("raw/")]) == 35
    assert [name for name in names if not name.startswith("raw/")] == [
        "calibration/master_dark.fits",
        "calibration/master_flat.fits",
        "level1/science_0000.fits",
        "level1/science_0001.fits",
        "level1/science_0002.fits",
        "preview.png",
    ]


@pytest.mark.parametrize("task_class", TASKS, ids=lambda each: each.__name__)
def test_a_retry_gives_the_same_bytes(processed, run, task_class):
    """A task that runs again on the same recipe run writes what it wrote before, to the last byte."""
    before = contents(processed)
    run(task_class)
    assert contents(processed) == before


def test_level1_is_what_the_telescope_looked_at(processed):
    """The file on disk, not only the array in memory, is near to the scene: to 1 % of the quiet Sun."""
    image = fits.getdata(processed / "level1/science_0000.fits")
    assert np.std(image - Observation(42).scene) < 220


@pytest.mark.parametrize(
    "name", ["calibration/master_dark.fits", "calibration/master_flat.fits", "level1/science_0001.fits"]
)
def test_fits_files_say_what_they_are(processed, name):
    """A product is in float32, follows the standard, and tells its unit, its time, and what it was made by."""
    with fits.open(processed / name) as opened:
        opened.verify("exception")
        header = opened[0].header
        assert opened[0].data.dtype == np.dtype(">f4")
    assert units.Unit(header["BUNIT"]) == ("" if "flat" in name else units.adu)
    assert header["RRUNID"] == 42
    assert (header["WKFLNAME"], header["WKFLVERS"]) == ("raw_to_level1_example", "1.0.0")
    assert header["EXPTIME"] == pytest.approx(0.02)
    assert Time(header["DATE"], scale="utc").isot.startswith("2025-07-13T18:")


def test_fits_files_say_what_their_task_ran_with(processed, run, monkeypatch, tmp_path):
    """The worker program describes each environment in a file in its folder."""
    described = {"schema_version": 1, "identity": "0a" * 32, "requirement": "dkist-processing-example[frozen]==1.0.0"}
    (tmp_path / "environment.json").write_text(json.dumps(described))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    run(MakeDark)
    history = list(fits.getheader(processed / "calibration/master_dark.fits")["HISTORY"])
    assert history == ["made by dkist-processing-example[frozen]==1.0.0", f"ran in {'0a' * 32}"]


def test_preview_shows_both_frames(processed):
    """The picture holds two frames of 512 pixels beside each other."""
    with Image.open(processed / "preview.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 2 * 512
        assert picture.height > 512


def test_missing_frames_are_an_error_that_helps(run):
    """A task whose input is not there says what it looked for and what may be the matter."""
    with pytest.raises(FileNotFoundError, match=r"there is no raw/dark_\*.fits in .* DKIST_EXAMPLE_SCRATCH"):
        run(MakeDark)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    """What a task could not finish takes no file's place and leaves nothing behind."""
    file = tmp_path / "frame.fits"
    file.write_text("old")

    def fail():
        with files.replaced(file) as path:
            path.write_text("half of the n")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        fail()
    assert file.read_text() == "old"
    assert list(tmp_path.glob(".*")) == []


def test_rollback_removes_what_the_task_made_and_nothing_else(processed, run):
    """After a rollback a recipe run is as it was before the task."""
    before = contents(processed)
    run(CalibrateScience).rollback()
    after = contents(processed)
    assert sorted(set(before) - set(after)) == [f"level1/science_000{number}.fits" for number in range(3)]


def test_failing_on_purpose(run):
    """The task that fails says what is missing, what to do, and that it is meant to fail."""
    run(SimulateFrames)
    with pytest.raises(CalibrationError, match=r"no darks of 0\.1 s, only of 0\.02 s\. .* fails on purpose"):
        run(FailOnPurpose)


def test_recipe_runs_do_not_share_files(run, scratch):
    """Each recipe run has a folder of its own."""
    run(SimulateFrames, 1)
    run(SimulateFrames, 2)
    assert sorted(folder.name for folder in scratch.iterdir()) == ["recipe_run_000001", "recipe_run_000002"]
