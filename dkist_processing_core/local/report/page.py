"""
The report of a run as one HTML page, which loads nothing else.

Runs in: author and CI. Whatever does not depend on a person's choice is drawn here, so it is also visible without
JavaScript: the graph, the timeline, and the table of tries. ``page.js`` shows the chosen task. Its data is in the page
as JSON, one element per task, which is parsed when the task is chosen.

Nothing that a task has written can become part of the page's own code: texts are escaped, the JSON has no ``<``, and
the only script that runs is the one whose hash the policy names (Content Security Policy, level 2). This policy also
keeps the page from making any request.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from importlib.resources import files
from itertools import pairwise
from typing import Any

from dkist_processing_core.common.quantities import seconds, size
from dkist_processing_core.local.report.data import Told, figures
from dkist_processing_core.local.report.layout import Layout, layered
from dkist_processing_core.local.report.timeline import Timeline

__all__ = ["page"]

# A sign for each state, for people who cannot distinguish the colours.
SIGNS = {
    "success": "✓",
    "failed": "✕",
    "up_for_retry": "↻",
    "upstream_failed": "⊘",
    "interrupted": "■",
    "running": "▶",
    "": "○",
}
NOT_RUN = "not run"
NODE_WIDTH, NODE_HEIGHT = 196, 40
LONGEST_NAME = 22  # longest name that fits into a node
GAPS = {"down": (24, 34), "right": (14, 60)}  # between the tasks of a layer, and between layers
MARGIN = 12
USUAL_WIDTH = 640  # width of the column with the graph, on a screen of 1280 pixels


def page(told: Told, details: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return the page, as UTF-8."""
    started = told.state.started
    workflow = started["workflow"]
    template = files(__package__)
    script = template.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    timeline = Timeline(told)
    order = {name: number for number, name in enumerate(timeline.order)}
    parts = {
        "policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; " + f"script-src 'sha256-{digest}'",
        "title": escape(f"{workflow['name']} {workflow['version']}, recipe run {started['recipe_run_id']}"),
        "style": template.joinpath("page.css").read_text(encoding="utf-8"),
        "script": script,
        "heading": escape(f"{workflow['name']} {workflow['version']}"),
        "state": _badge(told.state.state),
        "facts": "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in _facts(told)),
        "counts": "".join(f"<li>{_badge(state, number)}</li>" for state, number in _counts(told).items()),
        "graph": "".join(_graph(told, details, order)),
        "timeline": "".join(_timeline(timeline, details)),
        "table": "".join(_table(told)),
        "folder": escape(str(told.folder)),
        "data": "".join(
            f'<script type="application/json" id="task-{order[name]}">{_json(data)}</script>\n'
            for name, data in details.items()
        ),
    }
    text = template.joinpath("page.html").read_text(encoding="utf-8")
    pieces = (parts.get(piece, piece) if number % 2 else piece for number, piece in enumerate(text.split("%%")))
    # A name or an error may contain a character that cannot be encoded.
    return b"".join(piece.encode(errors="backslashreplace") for piece in pieces)


def _json(value: object) -> str:
    """Return JSON that is safe inside an HTML element, whatever texts it contains."""
    return (
        json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    )


def _seconds(number: float) -> str:
    """Return a time in a form for people; in milliseconds if it is short."""
    return f"{1000 * number:.0f} ms" if number < 1 else seconds(number)


def _class(state: str) -> str:
    return state if state in SIGNS and state else "not_run"


def _badge(state: str, count: int | None = None) -> str:
    text = f"{SIGNS.get(state, '')} {'' if count is None else f'{count} '}{state or NOT_RUN}"
    return f'<span class="badge {_class(state)}">{escape(text)}</span>'


def _moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S UTC")


def _facts(told: Told) -> Iterator[tuple[str, str]]:
    first, last = told.sessions[0].started, told.sessions[-1].started
    yield "Recipe run", str(last["recipe_run_id"])
    yield "Started", _moment(first["time"])
    if len(told.sessions) > 1:
        yield "Resumed", _moment(last["time"]) + (f", {len(told.sessions) - 1} times" if told.sessions[2:] else "")
    yield "Duration", _seconds(sum(each.seconds for each in told.sessions))
    tries = [each for _, each in told.tries()]
    yield "CPU time", _seconds(sum(each.cpu_seconds or 0 for each in tries))
    if peaks := [each.peak_memory_bytes for each in tries if each.peak_memory_bytes]:
        yield "Peak memory of a task", size(max(peaks))
    yield "Executor", last["executor"]
    if "host" in last:
        yield "Host", last["host"]
    yield "Library", last["library_version"]


def _counts(told: Told) -> dict[str, int]:
    found = Counter(task.state for task in told.state.tasks.values())
    return {state: found[state] for state in (*SIGNS, *sorted(found.keys() - SIGNS.keys())) if found[state]}


def _label(data: Mapping[str, Any]) -> str:
    """Return the accessible label of a task: name, state, time and number of tries."""
    tries = data["tries"]
    parts = [data["name"], data["state"] or NOT_RUN]
    if tries and tries[-1]["seconds"] is not None:
        parts.append(_seconds(tries[-1]["seconds"]))
    if len(tries) > 1:
        parts.append(f"{len(tries)} tries")
    return ", ".join(parts)


def _graph(told: Told, details: Mapping[str, Mapping[str, Any]], order: Mapping[str, int]) -> Iterator[str]:
    nodes = told.state.started["workflow"]["nodes"]
    edges = [(upstream, node["name"]) for node in nodes for upstream in node["upstreams"]]
    layout = layered([node["name"] for node in nodes], edges)
    sizes = {direction: _extent(layout, direction) for direction in GAPS}
    # The direction in which the graph needs the least scaling in the column. Vertical scrolling is easy.
    direction = max(sizes, key=lambda each: min(1.0, USUAL_WIDTH / sizes[each][0]))
    width, height = sizes[direction]
    yield (
        f'<svg id="graph" viewBox="0 0 {width:g} {height:g}" width="{width:g}" data-width="{width:g}" '
        f'data-direction="{direction}" role="group" aria-label="Graph of the tasks">'
        f"<defs>{''.join(map(_arrow, ('arrow', 'arrow-chosen')))}</defs>"
    )
    for (upstream, name), points in layout.edges.items():
        state = details[upstream]["state"]
        path = _path([_centre(point, direction) for point in points], direction)
        yield (
            f'<path class="edge{"" if state == "success" else " waiting"}" data-from="{order[upstream]}" '
            f'data-to="{order[name]}" d="{path}" marker-end="url(#arrow)"/>'
        )
    for node in nodes:
        name = node["name"]
        data = details[name]
        x, y = _centre(layout.tasks[name], direction)
        left, top = x - NODE_WIDTH / 2, y - NODE_HEIGHT / 2
        tries = data["tries"]
        known = tries and tries[-1]["seconds"] is not None
        below = [data["state"] or NOT_RUN, *([_seconds(tries[-1]["seconds"])] if known else [])]
        below += [f"{len(tries)} tries"] if len(tries) > 1 else []
        shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
        yield (
            f'<g class="node {_class(data["state"])}" data-task="{order[name]}" data-x="{x:g}" data-y="{y:g}" '
            f'role="button" tabindex="-1" aria-label="{escape(_label(data))}"><title>{escape(_label(data))}</title>'
            f'<rect x="{left:g}" y="{top:g}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="6"/>'
            f'<text class="sign" x="{left + 15:g}" y="{y + 5:g}">{SIGNS.get(data["state"], "")}</text>'
            f'<text x="{left + 29:g}" y="{y - 2:g}">{escape(shown)}</text>'
            f'<text class="below" x="{left + 29:g}" y="{y + 13:g}">{escape(" · ".join(below))}</text></g>'
        )
    yield "</svg>"


def _arrow(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerUnits="userSpaceOnUse" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
    )


def _extent(layout: Layout, direction: str) -> tuple[float, float]:
    gap, pitch = GAPS[direction]
    across, along = (NODE_WIDTH, NODE_HEIGHT) if direction == "down" else (NODE_HEIGHT, NODE_WIDTH)
    sides = (
        layout.extent * (across + gap) + across + 2 * MARGIN,
        layout.layers * (along + pitch) - pitch + 2 * MARGIN,
    )
    return sides if direction == "down" else sides[::-1]


def _centre(point: tuple[float, float], direction: str) -> tuple[float, float]:
    gap, pitch = GAPS[direction]
    layer, position = point
    if direction == "down":
        return (
            MARGIN + NODE_WIDTH / 2 + position * (NODE_WIDTH + gap),
            MARGIN + NODE_HEIGHT / 2 + layer * (NODE_HEIGHT + pitch),
        )
    return (
        MARGIN + NODE_WIDTH / 2 + layer * (NODE_WIDTH + pitch),
        MARGIN + NODE_HEIGHT / 2 + position * (NODE_HEIGHT + gap),
    )


def _path(points: list[tuple[float, float]], direction: str) -> str:
    """Return a smooth path from the border of a task through the bends to the border of another task."""
    half = (0.0, NODE_HEIGHT / 2) if direction == "down" else (NODE_WIDTH / 2, 0.0)
    (x, y), *between, (end_x, end_y) = points
    stops = [(x + half[0], y + half[1])]
    for bend_x, bend_y in between:  # straight past the tasks of its layer
        stops += [(bend_x - half[0], bend_y - half[1]), (bend_x + half[0], bend_y + half[1])]
    stops.append((end_x - half[0], end_y - half[1]))
    made = [f"M{stops[0][0]:g} {stops[0][1]:g}"]
    for number, ((x, y), (to_x, to_y)) in enumerate(pairwise(stops)):
        if number % 2:
            made.append(f"L{to_x:g} {to_y:g}")
        elif direction == "down":
            middle = (y + to_y) / 2
            made.append(f"C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}")
        else:
            middle = (x + to_x) / 2
            made.append(f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}")
    return "".join(made)


def _timeline(timeline: Timeline, details: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield '<div class="axis" aria-hidden="true"><span class="track">'
    for share, text in timeline.ticks:
        yield f'<span class="tick" style="left:{share:.4%}">{escape(text)}</span>'
    yield '</span></div><div class="rows"><div class="grid" aria-hidden="true"><span class="track">'
    for share, _ in timeline.ticks:
        yield f'<i style="left:{share:.4%}"></i>'
    for share, moment in timeline.breaks:
        yield f'<i class="break" style="left:{share:.4%}" title="resumed {escape(_moment(moment))}"></i>'
    yield "</span></div>"
    for number, name in enumerate(timeline.order):
        data = details[name]
        last = data["tries"][-1]["seconds"] if data["tries"] else None
        yield (
            f'<button type="button" class="row {_class(data["state"])}" data-task="{number}" '
            f'data-name="{escape(name)}" aria-label="{escape(_label(data))}"><span class="name" title="{escape(name)}">'
            f'<span class="sign">{SIGNS.get(data["state"], "")}</span> {escape(name)}</span><span class="track">'
        )
        for start, end in timeline.waits[name]:
            yield f'<span class="wait" style="left:{start:.4%};width:{end - start:.4%}"></span>'
        for each, (start, end) in zip(data["tries"], timeline.bars[name], strict=True):
            what = f"try {each['number']}: {each['state']}"
            what += "" if each["seconds"] is None else f" after {_seconds(each['seconds'])}"
            yield (
                f'<span class="bar {_class(each["state"])}" style="left:{start:.4%};width:{end - start:.4%}" '
                f'title="{escape(what)}"></span>'
            )
        yield f'</span><span class="time">{"" if last is None else _seconds(last)}</span></button>'
    yield "</div>"


def _table(told: Told) -> Iterator[str]:
    for row in figures(told):
        memory, spent, cpu = row["peak_memory_bytes"], row["seconds"], row["cpu_seconds"]
        cells = (
            row["started"][11:19],
            "" if spent is None else _seconds(spent),
            "" if cpu is None else _seconds(cpu),
            "" if memory is None else size(memory),
            "" if row["exit_status"] is None else str(row["exit_status"]),
        )
        yield f'<tr><th scope="row">{escape(row["task"])}</th><td>{row["try"]}</td><td>{_badge(row["state"])}</td>'
        yield "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"
