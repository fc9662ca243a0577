import pytest

from placeholder_module import files
from placeholder_module.tasks.darks import AverageDarks
from placeholder_module.tasks.flats import AverageFlats
from placeholder_module.tasks.observe import ObserveFrames
from placeholder_module.tasks.report import QualityReport
from placeholder_module.tasks.science import CalibrateScience

TASKS = (ObserveFrames, AverageDarks, AverageFlats, CalibrateScience, QualityReport)


def run(*tasks, recipe_run_id=1):
    for each in tasks:
        with each(recipe_run_id=recipe_run_id, workflow_name="l0_to_l1", workflow_version="dev") as task:
            task()


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*.*"))}


def test_tasks_write_their_products_and_nothing_else(scratch):
    run(*TASKS)
    names = [name for name in contents(scratch / "recipe_run_000001") if not name.startswith("raw/")]
    assert names == [
        "calibration/dark.json",
        "calibration/flat.json",
        "l1/science_0000.json",
        "l1/science_0001.json",
        "l1/science_0002.json",
        "quality_report.html",
    ]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_another_try_writes_the_same_bytes(scratch, task):
    run(*TASKS)
    before = contents(scratch)
    run(task)
    assert contents(scratch) == before


def test_report_shows_that_the_contrast_becomes_that_of_the_sun(scratch):
    run(*TASKS)
    page = (scratch / "recipe_run_000001" / "quality_report.html").read_text(encoding="utf-8")
    assert "<h1>Quality of recipe run 1</h1>" in page
    assert page.count("<td>2.5 %</td></tr>") == 3


def test_spans_show_the_steps_of_a_task(recorded):
    run(ObserveFrames, AverageDarks)
    assert recorded.tasks[1].tree() == (
        "AverageDarks (l0_to_l1 dev, recipe run 1)\n"
        "  Pre Run\n"
        "  Run\n"
        "    Read darks\n"
        "    Average darks [frames=8]\n"
        "  Post Run"
    )


def test_missing_frames_are_an_error_that_helps(recorded):
    with pytest.raises(FileNotFoundError, match=r"there is no raw/dark_\*.json in .* before AverageDarks"):
        run(AverageDarks)
    assert isinstance(recorded.tasks[0].error, FileNotFoundError)


def test_rollback_removes_what_the_task_has_written(scratch):
    run(ObserveFrames, AverageDarks)
    before = contents(scratch)
    AverageDarks(recipe_run_id=1, workflow_name="l0_to_l1", workflow_version="dev").rollback()
    assert before.keys() - contents(scratch).keys() == {"recipe_run_000001/calibration/dark.json"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "dark.json"
    file.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        files.write_text(file, "new \ud800")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_recipe_runs_do_not_share_files(scratch):
    run(ObserveFrames, recipe_run_id=1)
    run(ObserveFrames, recipe_run_id=2)
    first, second = sorted(scratch.iterdir())
    assert contents(first).keys() == contents(second).keys()
    assert contents(first) != contents(second)
