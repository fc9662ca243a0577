"""The report of a run works in a real browser: by mouse and by keyboard, in light and dark, and without a network."""

from pathlib import Path

import pytest
from support.local_runs import WrittenRun, large_run

from dkist_processing_core.local import report

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture
def page(chromium):
    """The browser, which has neither asked for anything nor complained at the end."""
    chromium.forget()
    yield chromium
    chromium.value("1")  # what has happened is noted by then
    assert chromium.errors == []
    assert {each for each in chromium.requests if not each.startswith("file:///")} == set()
    assert {Path(each.partition("#")[0]).name for each in chromium.requests} == {report.REPORT}


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """The report of a run in which a task has failed twice, and what depends on it was not run."""
    graph = {
        "Dark": [],
        "Lamp": ["Dark"],
        "Background": ["Dark"],
        "Solar": ["Lamp", "Background"],
        "Polarization": ["Solar"],
        "Science": ["Dark", "Polarization"],
        "Quality": ["Solar"],
        "Movie": ["Science"],
        "Write": ["Science", "Quality"],
    }
    run = WrittenRun(tmp_path_factory.mktemp("failed") / "run", graph)
    run.start()
    for name in ("Dark", "Lamp", "Background", "Solar", "Polarization", "Quality"):
        run.begin(name)
        run.log(name, f"2026-01-02 03:04:05.678+00:00 INFO pipeline: {name} is made\n")
        run.spans(name, [{"name": "read", "attributes": {"frames": 120}}, {"name": "write", "start": 0.5}])
        run.end(name, 1.5 + len(name) / 4)
    error = f"ValueError: no flat {HOSTILE}"
    for number, state in ((1, "up_for_retry"), (2, "failed")):
        run.begin("Science", number)
        run.end("Science", 2.5, number, state, summary=error, error=f"Traceback (most recent call last):\n{error}")
        run.wait(1)
        run.log(
            "Science",
            "2026-01-02 03:04:05.678+00:00 DEBUG pipeline: detail\n"
            f"2026-01-02 03:04:05.678+00:00 INFO pipeline: reads {HOSTILE}\n"
            "progress 50 %\n"
            "2026-01-02 03:04:05.678+00:00 WARNING pipeline: 3 frames are saturated\n"
            f"2026-01-02 03:04:05.678+00:00 ERROR pipeline: failed\n{error}\n",
            number,
        )
    run.spans(
        "Science",
        [
            {"name": "Run", "type": "code.core", "seconds": 2.0, "error": error},
            {"name": "read", "attributes": {"frames": "120", "note": HOSTILE}, "parent": 0, "start": 0.1},
            {"name": "chunk", "parent": 1, "start": 0.12, "seconds": 0.00002},
            {"name": "solve", "type": "code.numpy", "parent": 0, "start": 0.5, "seconds": 1.4, "error": error},
        ],
        number=2,
        seconds=2.5,
    )
    for name in ("Movie", "Write"):
        run.add("task_skipped", task=name, state="upstream_failed", upstream="Science")
    run.add("run_ended", state="failed", seconds=24.0)
    return report.write(run.folder, run.folder / report.REPORT)


def test_the_browser_notices_what_a_page_must_not_do(chromium, tmp_path):
    """A request, an error and a message on the console: otherwise none of these tests would prove anything."""
    chromium.forget()
    file = tmp_path / "page.html"
    file.write_text("<img src='http://archive.invalid/x.png'><script>console.error('one'); throw Error('two')</script>")
    chromium.open(file)
    assert "http://archive.invalid/x.png" in chromium.requests
    assert [any(text in each for each in chromium.errors) for text in ("one", "two")] == [True, True]


def texts(page, selector):
    """Return the texts of the elements that are shown."""
    return page.value(
        f"[...document.querySelectorAll({selector!r})].filter(each => each.offsetParent).map(each => each.innerText)"
    )


def chosen(page):
    """Return which task is shown, and which are marked in graph and timeline."""
    return page.value(
        "[document.querySelector('#detail h2').textContent,"
        " ...[...document.querySelectorAll('.node.chosen, .row.chosen')].map(each =>"
        " each.getAttribute('aria-label').split(',')[0])]"
    )


def test_the_page_shows_the_graph_the_timeline_and_the_failed_task(page, failed):
    """At once, and what a task has written is text."""
    page.open(failed)
    assert page.value("document.querySelectorAll('#graph .node').length") == 9
    assert page.value("document.querySelectorAll('#graph .edge').length") == 11
    assert page.value("document.querySelectorAll('#graph .node.success').length") == 6
    assert page.value("document.querySelectorAll('#timeline .row').length") == 9
    assert page.value("document.querySelectorAll('#timeline .bar').length") == 8
    assert chosen(page) == ["Science", "Science", "Science"]
    [error] = texts(page, "#error p")
    assert error == f"ValueError: no flat {HOSTILE}"
    assert texts(page, "#detail .tries button") == ["↻ Try 1", "✕ Try 2"]
    facts = dict(zip(texts(page, "#detail dt"), texts(page, "#detail dd"), strict=True))
    assert (facts["Duration"], facts["CPU time"], facts["Peak memory"]) == ("2.5 s", "1.25 s (50 %)", "95 M")
    assert facts["Ran in"] == "processes: Python 3.12.1 in /opt/pipeline"
    assert page.value("window.hacked") is None


def test_spans_are_a_tree_with_times_and_attributes(page, failed):
    """Each below the one in which it was opened."""
    page.open(failed)
    path = "#detail .spans > li > details > ul > li > details > ul > li .what"
    assert texts(page, path) == ["chunk"]
    assert texts(page, f"{path} ~ .took") == ["20 µs"]
    assert f"frames=120  note={HOSTILE}" in page.value(
        "document.querySelector('#detail .spans > li > details > ul .attributes').textContent"
    )
    assert len(texts(page, "#detail .spans .trouble")) == 2


def test_the_log_is_filtered_by_level_and_text(page, failed):
    """Each record with all its lines."""
    page.open(failed)
    assert [line.split()[2] for line in texts(page, ".log pre")] == ["DEBUG", "INFO", "%", "WARNING", "ERROR", "flat"]
    for level in ("INFO", "printed"):
        page.click(f"#detail input[data-of={level}]")
    assert [line.split()[2] for line in texts(page, ".log pre")] == ["DEBUG", "WARNING", "ERROR"]
    page.click("#detail input[type=search]")
    page.call("Input.insertText", text="saturated")
    assert [line.split()[2] for line in texts(page, ".log pre")] == ["WARNING"]


def test_a_task_and_a_try_are_chosen_by_mouse(page, failed):
    """In the graph, in the timeline, and among the upstreams."""
    page.open(failed)
    page.click("#detail .tries button")
    assert texts(page, "#detail .tries [aria-pressed=true]") == ["↻ Try 1"]
    assert "has no file of spans" in page.value("document.querySelector('#detail').innerText")
    page.click("#graph .node[aria-label^=Quality]")
    assert chosen(page) == ["Quality"] * 3
    page.click("#timeline .row[data-name=Movie]")
    assert chosen(page) == ["Movie"] * 3
    assert "was not started" in page.value("document.querySelector('#detail').innerText")
    page.click("#detail .link")
    assert chosen(page) == ["Science"] * 3
    assert page.value("location.hash") == "#task=Science"


def test_a_task_is_chosen_by_keyboard(page, failed):
    """With the arrows, and the focus can be seen."""
    page.open(failed, "#task=Dark")
    assert chosen(page) == ["Dark"] * 3
    page.press(*["Tab"] * 5)
    focus = "(() => { const each = document.activeElement; return each.dataset.task && each.getAttribute('class') })()"
    assert "node" in page.value(focus)
    page.press("ArrowDown")
    assert chosen(page)[0] in {"Lamp", "Background"}
    page.press("ArrowDown")
    assert chosen(page) == ["Solar"] * 3
    outline = "getComputedStyle(document.activeElement.querySelector('rect')).strokeWidth"
    assert page.value(outline) == "3px"
    page.press("ArrowUp", "ArrowUp")
    assert chosen(page) == ["Dark"] * 3
    page.press("Tab", "Tab")
    assert page.value(focus).startswith("row")
    page.press("ArrowDown")
    assert page.value("document.activeElement.dataset.name") == chosen(page)[0] != "Dark"
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("End")
    assert chosen(page) == ["Write"] * 3
    page.press("Home")
    assert chosen(page) == ["Dark"] * 3


def test_the_page_is_as_wide_as_a_laptop(page, failed):
    """Nothing but its boxes is scrolled to the side, on a narrow window too."""
    for width in (1280, 800):
        page.show(width=width, height=800)
        page.open(failed)
        assert page.value("document.documentElement.scrollWidth") <= width


CONTRAST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((each) => (each /= 255) <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const rect = each.matches(".node") ? each.querySelector("rect") : null;
      const colour = parse(rect ? getComputedStyle(rect).fill : getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return parse("white");
  };
  const poor = new Set();
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !each.getClientRects().length || each.closest("script, style, title, .skip")) continue;
    const style = getComputedStyle(each);
    const text = luminance(parse(each.closest("svg") ? style.fill : style.color).slice(0, 3));
    const back = luminance(behind(each).slice(0, 3));
    const ratio = (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
    if (ratio < 4.5) poor.add(`${each.tagName}.${each.getAttribute("class")}: ${ratio.toFixed(2)}`);
  }
  return [...poor];
})()
"""


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_every_text_has_enough_contrast(page, failed, is_dark, tmp_path):
    """At least 4.5 to 1 (WCAG 2.2, 1.4.3), as the person prefers it."""
    page.show(width=1280, height=900, is_dark=is_dark)
    page.open(failed)
    assert page.value(CONTRAST) == []
    back = page.value("getComputedStyle(document.body).backgroundColor")
    assert back == ("rgb(13, 17, 23)" if is_dark else "rgb(255, 255, 255)")
    assert page.screenshot(tmp_path / f"report-{'dark' if is_dark else 'light'}.png").stat().st_size > 20_000


def test_graph_timeline_and_figures_need_no_script(page, failed):
    """And the page says what does."""
    page.allow_scripts(is_allowed=False)
    try:
        page.open(failed, script=False)
    finally:
        page.allow_scripts(is_allowed=True)
    assert len(texts(page, "#timeline .row")) == 9
    assert page.value("document.querySelectorAll('#graph .node').length") == 9
    assert "with JavaScript" in page.value("document.querySelector('#detail').innerText")
    assert texts(page, ".js") == []
    assert page.value("document.querySelectorAll('tbody tr').length") == 8


def test_200_tasks_open(page, tmp_path, record_property, capsys):
    """With long logs and many spans; the time is shown, and bounded by what no machine exceeds."""
    run = large_run(tmp_path / "run", 200)
    file = report.write(run.folder, run.folder / report.REPORT)
    seconds = min(page.open(file) for _ in range(3))
    record_property("seconds", seconds)
    with capsys.disabled():
        print(f"\n200 tasks, {file.stat().st_size / 1e6:.1f} MB, opened in {seconds:.2f} s")
    assert page.value("document.querySelectorAll('#graph .node').length") == 200
    page.click("#timeline .row[data-name=CalibrateBeam199]")
    assert chosen(page) == ["CalibrateBeam199"] * 3
    page.click("#find")
    page.call("Input.insertText", text="beam01")
    assert len(texts(page, "#timeline .row")) == 10
    assert seconds < 60
