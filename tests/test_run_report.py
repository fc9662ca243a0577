"""The report of a run is one page with all that is known of it, and nothing secret."""

import csv
import io
import json
import re
import signal
from importlib import import_module
from itertools import pairwise

import pytest
from bs4 import BeautifulSoup  # which nbconvert brings
from hypothesis import given, settings
from hypothesis import strategies as st
from support.local_runs import WrittenRun
from support.releases import with_links
from support.script_package import NAME as RELEASE
from support.script_runs import new_spec
from support.sources import imported_sources

from dkist_processing_core.exceptions import LocalRunError
from dkist_processing_core.local import report, run_workflow
from dkist_processing_core.local.report import data as report_data
from dkist_processing_core.local.report.data import read
from dkist_processing_core.local.report.layout import layered
from dkist_processing_core.local.report.logs import end_of_log, records
from dkist_processing_core.local.report.timeline import Timeline

NAME = "reports_of_a_test"
FILES = {
    "flow.py": """
        import logging
        from dkist_processing_core import TaskBase, Workflow

        class Dark(TaskBase):
            '''Make the </script> master dark.'''
            def run(self):
                with self.apm_step("read", labels={"frames": 3, "from": "http://me:secret99@archive"}):
                    logging.getLogger("dark").warning("http://me:secret99@archive </script><script>alert(1)</script>")

        class Flat(TaskBase):
            retries = 1
            retry_delay_seconds = 0.01
            def run(self):
                with self.apm_step("solve"):
                    raise ValueError("no flat in http://me:secret99@archive")

        class Movie(TaskBase):
            def run(self): pass

        flow = Workflow(input_data="a", output_data="b", category="cam",
                        workflow_package=__package__, workflow_version="1.0")
        flow.add_node(Dark)
        flow.add_node(Flat, upstreams=Dark)
        flow.add_node(Movie, upstreams=Flat)
    """
}


@pytest.fixture
def flow(tmp_path):
    """Import a workflow of which one task fails."""
    with imported_sources(tmp_path / "sources", FILES, name=NAME):
        yield import_module(f"{NAME}.flow").flow


class Page:
    """What a browser finds in a page: its tags, and the JSON of each task."""

    def __init__(self, text):
        found = BeautifulSoup(text, "html.parser")
        scripts = found.find_all("script")
        tasks = [json.loads(each.string) for each in scripts if each.get("type") == "application/json"]
        self.tasks = {each["name"]: each for each in tasks}
        self.scripts = [each.string for each in scripts if each.get("type") != "application/json"]
        self.tags = [(each.name, each.attrs) for each in found.find_all()]


@pytest.fixture
def written(tmp_path):
    """Write the folder of a run of a graph, which has begun; the graph has one task unless it is given."""

    def write(**graph):
        run = WrittenRun(tmp_path / "run", graph or {"Dark": []})
        run.start()
        return run

    return write


def page_of(run):
    return Page(report.render(run.folder).decode())


@pytest.mark.parametrize("executor", ["processes", "in_process"])
def test_each_run_leaves_a_report(flow, executor):
    """With the spans of each try, also without any telemetry server."""
    result = run_workflow(flow, 7, executor=executor)
    assert (result.state, result.report) == ("failed", result.folder / "report.html")
    text = result.report.read_text()
    page = Page(text)
    assert list(page.tasks) == ["Dark", "Flat", "Movie"]
    [dark] = page.tasks["Dark"]["tries"]
    assert [each["name"] for each in dark["spans"]["spans"]] == ["Pre Run", "Run", "read", "Post Run"]
    assert dark["spans"]["spans"][2]["attributes"] == {"frames": "3", "from": "http://<redacted>@archive"}
    first, second = page.tasks["Flat"]["tries"]
    assert (first["state"], second["state"]) == ("up_for_retry", "failed")
    assert second["spans"]["spans"][2]["error"] == "ValueError: no flat in http://<redacted>@archive"
    assert second["summary"] == "ValueError: no flat in http://<redacted>@archive"
    assert (page.tasks["Movie"]["state"], page.tasks["Movie"]["tries"]) == ("upstream_failed", [])
    assert "me:secret99" not in text
    if executor == "processes":
        [warning] = [record for record in dark["log"]["records"] if record[0] == "WARNING"]
        assert warning[1].endswith("http://<redacted>@archive </script><script>alert(1)</script>")
    else:
        assert dark["log"] is None


def test_the_environment_of_a_release_records_spans_as_well(releases, warm_cache, tmp_path, monkeypatch):
    """Its library writes them, and the report names the environment."""
    for name, value in {**with_links(releases), "DKIST_ENVIRONMENT_CACHE": str(warm_cache)}.items():
        monkeypatch.setenv(name, value)
    result = run_workflow(new_spec(), 7, executor="environments")
    [good] = Page(result.report.read_text()).tasks["Good"]["tries"]
    assert [each["name"] for each in good["spans"]["spans"]] == ["Pre Run", "Run", "Post Run"]
    assert (good["state"], good["environment"]) == ("success", f"{RELEASE}[frozen]==1.0")
    assert {level for level, _ in good["log"]["records"]} >= {"INFO"}


def test_a_run_that_is_interrupted_leaves_a_report(flow):
    """It is written before the run returns."""
    result = run_workflow(flow, 7, listener=lambda event: "try" in event and signal.raise_signal(signal.SIGINT))
    assert result.state == "interrupted"
    assert list(Page(result.report.read_text()).tasks) == ["Dark", "Flat", "Movie"]


def test_what_a_task_writes_is_no_code(flow):
    """There is one script, and its policy lets no other one run and nothing be asked for."""
    page = Page(run_workflow(flow, 7, until=["Dark"]).report.read_text())
    [script] = page.scripts
    assert "alert(1)" not in script
    [policy] = [each["content"] for tag, each in page.tags if tag == "meta" and "http-equiv" in each]
    assert re.fullmatch(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-[^' ]+'", policy
    )
    assert not [each for _, each in page.tags if "src" in each or each.get("href", "#")[0] not in "#d"]


def test_a_report_that_cannot_be_written_is_one_warning(flow, monkeypatch, caplog):
    """The result of the run is the same."""
    monkeypatch.setattr(report, "render", lambda *_: 1 / 0)
    result = run_workflow(flow, 7, until=["Dark"])
    assert (result.state, result.report) == ("success", None)
    [record] = [each for each in caplog.records if "report" in each.getMessage()]
    assert record.getMessage() == "The report of the run was not written: ZeroDivisionError: division by zero"


def test_the_figures_have_one_row_a_try(flow):
    """As csv and as JSON."""
    folder = run_workflow(flow, 7).folder
    rows = json.loads(report.render(folder, "json"))
    assert [(row["task"], row["try"], row["state"], row["exit_status"]) for row in rows] == [
        ("Dark", 1, "success", 0),
        ("Flat", 1, "up_for_retry", 1),
        ("Flat", 2, "failed", 1),
    ]
    assert all(row["seconds"] > 0 and row["peak_memory_bytes"] > 1_000_000 for row in rows)
    table = list(csv.DictReader(io.StringIO(report.render(folder, "csv").decode())))
    assert [{key: str(value) for key, value in row.items()} for row in rows] == table
    assert list(table[0]) == list(report_data.FIGURES)


def test_a_run_that_was_killed_has_a_report_as_well(written):
    """A try that has no end is shown up to the last event; a run without any event has nothing to show."""
    run = written(Dark=[], Flat=["Dark"])
    run.begin("Dark")
    run.end("Dark", 3)
    run.begin("Flat")
    run.spans("Flat", [{"name": "half"}])
    (run.folder / "spans" / "Flat.1.json").write_text('{"spans": [')
    page = page_of(run)
    [flat] = page.tasks["Flat"]["tries"]
    assert (flat["state"], flat["seconds"], flat["spans"], flat["log"]) == ("running", None, None, None)
    (run.folder / "journal.jsonl").write_text("")
    with pytest.raises(LocalRunError, match="killed before its first event"):
        report.render(run.folder)


def test_the_time_between_two_sessions_is_left_out(written):
    """A run that is resumed after a day is shown as the time in which it was active."""
    run = written(Dark=[], Flat=["Dark"])
    run.begin("Dark")
    run.end("Dark", 50)
    run.begin("Flat")
    run.end("Flat", 10, state="up_for_retry")
    run.wait(20)
    run.begin("Flat", 2)
    run.end("Flat", 20, 2, state="failed")
    run.wait(86400)
    run.start(executor="environments")
    run.begin("Flat", 3)
    run.end("Flat", 100, 3)
    made = Timeline(read(run.folder))
    total = 204  # 100 s each, and a gap of 2 %
    assert made.order == ["Dark", "Flat"]
    expected = [(50 / total, 60 / total), (80 / total, 100 / total), (104 / total, 1)]
    assert made.bars["Flat"] == [pytest.approx(each) for each in expected]
    assert made.waits["Flat"] == [pytest.approx((60 / total, 80 / total))]
    assert [place for place, _ in made.breaks] == pytest.approx([102 / total])
    assert [text for _, text in made.ticks] == ["0 s", "30 s", "60 s", "90 s", "120 s", "150 s", "180 s"]
    page = page_of(run)
    where = [each["environment"] for each in page.tasks["Flat"]["tries"]]
    assert where == ["Python 3.12.1 in /opt/pipeline"] * 2 + ["pipeline[frozen]==1.0"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0 ms 2 ms"), (3, "0 ms 500 ms"), (500, "0 min 2 min"), (40_000, "0 h 2 h"), (2_000_000, "0 d 4 d")],
)
def test_the_axis_has_round_times(written, seconds, expected):
    """Whether a run takes milliseconds or weeks."""
    run = written()
    run.begin("Dark")
    run.end("Dark", seconds)
    ticks = [text for _, text in Timeline(read(run.folder)).ticks]
    assert " ".join(ticks[:2]) == expected
    assert len(ticks) <= 8


def test_a_task_that_the_workflow_has_no_more_stays_in_the_report(written):
    """A run can be resumed with another graph."""
    run = written(Dark=[], Gone=[])
    run.begin("Gone")
    run.end("Gone", 1)
    run.graph = {"Dark": []}
    run.start()
    assert list(page_of(run).tasks) == ["Dark", "Gone"]


def test_a_page_is_bounded(written, monkeypatch):
    """Of a long log it has the end, of many spans the first ones, and it says so."""
    monkeypatch.setattr(report_data, "LOG_BYTES", (10_000, 100, 1000))
    monkeypatch.setattr(report_data, "SPANS", (10, 1, 5))
    run = written()
    run.begin("Dark")
    run.end("Dark", 1)
    run.log("Dark", "".join(f"line {number}\n" for number in range(1000)))
    run.spans("Dark", [{"name": f"{number}", "attributes": {"long": "x" * 9000}} for number in range(50)])
    [dark] = page_of(run).tasks["Dark"]["tries"]
    texts = [text for _, text in dark["log"]["records"]]
    assert texts[-1] == "line 999"
    assert texts[0] == f"line {1000 - len(texts)}"
    assert dark["log"]["left_out_bytes"] == sum(len(f"line {number}\n") for number in range(1000 - len(texts)))
    assert (len(dark["spans"]["spans"]), dark["spans"]["left_out"]) == (5, 45)
    assert len(dark["spans"]["spans"][0]["attributes"]["long"]) == 500


LOG = """\
2026-01-02 03:04:05.678+00:00 INFO dkist_processing_core.task: Task Dark started
printed
printed as well
2026-01-02 03:04:05+00:00 dkist: Environment: found
2026-01-02 03:04:05+00:00 dkist: WARNING: slow
2026-01-02 03:04:05.678+00:00 DEBUG dark: two
  lines
ERROR:root:by basicConfig
2026-01-02 03:04:05.678+00:00 ERROR dark: failed
Traceback (most recent call last):
  File "dark.py", line 1, in run
KeyError: 'flat'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "dark.py", line 2, in run
ValueError: no flat
printed at the end
"""


def test_a_record_of_a_log_has_its_level_and_all_its_lines():
    """What has none was printed."""
    found = [(level, len(text.splitlines())) for level, text in records(LOG)]
    assert found == [
        *(("INFO", 1), ("printed", 1), ("printed", 1), ("INFO", 1), ("WARNING", 1), ("DEBUG", 2)),
        *(("ERROR", 1), ("ERROR", 10), ("printed", 1)),
    ]
    assert "\n".join(text for _, text in records(LOG)) + "\n" == LOG


@given(st.text(), st.integers(1, 200))
@settings(max_examples=50)
def test_the_end_of_any_log_is_shown(tmp_path_factory, text, most):
    """Whatever bytes are in it, and wherever it is cut."""
    file = tmp_path_factory.mktemp("logs") / "log"
    file.write_bytes(text.encode(errors="surrogatepass"))
    found = end_of_log(file, most, lambda each: each)
    assert sum(len(each) + 1 for _, each in found.records) <= most + 1
    assert json.loads(json.dumps(found.records)) == [list(each) for each in found.records]


def test_an_address_is_not_cut_before_its_password(tmp_path):
    """What is shown begins where nothing secret can be seen; colours of a terminal are left out."""
    file = tmp_path / "log"
    file.write_text("\x1b[31mhttp://me:" + "secret99" * 20 + "@archive is\x1b[0m red\n")
    [(_, text)] = end_of_log(file, 60, lambda each: re.sub(r"(?<=://)\S+(?=@)", "<redacted>", each)).records
    assert text == "http://<redacted>@archive is red"


@st.composite
def graphs(draw):
    """Draw the upstreams of some tasks, each of which stands behind its upstreams."""
    count = draw(st.integers(0, 15))
    return {
        str(number): [str(each) for each in sorted(draw(st.sets(st.integers(0, number - 1), max_size=4)))]
        if number
        else []
        for number in range(count)
    }


@given(graphs())
def test_no_two_tasks_stand_at_one_place_and_each_stands_behind_its_upstreams(graph):
    """And each edge begins and ends at its tasks."""
    edges = [(upstream, name) for name, upstreams in graph.items() for upstream in upstreams]
    made = layered(list(graph), edges)
    for upstream, name in edges:
        assert made.tasks[upstream][0] < made.tasks[name][0]
        points = made.edges[upstream, name]
        assert (points[0], points[-1]) == (made.tasks[upstream], made.tasks[name])
        assert [layer for layer, _ in points] == list(range(int(points[0][0]), int(points[-1][0]) + 1))
    by_layer = {}
    for layer, position in made.tasks.values():
        by_layer.setdefault(layer, []).append(position)
    for positions in map(sorted, by_layer.values()):
        assert all(other - one > 0.999 for one, other in pairwise(positions))
        assert all(-1e-9 <= each <= made.extent + 1e-9 for each in positions)
    assert made.layers == len(by_layer)
    assert layered(list(graph), edges) == made


def test_edges_do_not_cross_where_they_need_not():
    """Two chains are two lines, and a diamond is one."""
    made = layered(["a", "b", "a2", "b2"], [("a", "b2"), ("b", "a2")])
    assert (made.tasks["a"][1] < made.tasks["b"][1]) == (made.tasks["b2"][1] < made.tasks["a2"][1])
    diamond = layered(["a", "b", "c", "d"], [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])
    assert diamond.tasks["a"][1] == diamond.tasks["d"][1] == pytest.approx(0.5)
