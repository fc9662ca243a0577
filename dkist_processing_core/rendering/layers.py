"""
A picture of a graph in layers.

Runs in: author and CI. The tasks are put into layers by the longest way to them, and each layer is put into an order
that lets few edges cross, by the method of Sugiyama, Tagawa and Toda (1981): an edge that passes over layers gets a
place in each of them, and each place goes to the mean of its neighbours' places. That is no match for Graphviz, for
which `diagram.dot` writes; but it needs nothing to be installed, and gives the same bytes everywhere.
"""

from html import escape
from itertools import pairwise

from dkist_processing_core.authoring.spec import WorkflowSpec

__all__ = ["Drawing"]

SWEEPS = 8
CHARACTER = 7.3  # width of one in a monospaced font of 12 px
PADDING = 12
HEIGHT = 30
GAP_ACROSS = 60
GAP_DOWN = 18
MARGIN = 20
TITLE = 36
LINE = 6  # height of the place of an edge that passes over a layer

STYLE = """\
    text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f24; }
    .title { font-size: 14px; font-weight: 600; }
    rect { fill: #f6f8fa; stroke: #57606a; rx: 6px; }
    .queue { fill: #fff4d6; stroke: #9a6700; }
    path { fill: none; stroke: #57606a; stroke-width: 1.2; }"""


class Drawing:
    """
    A workflow with a place for each task.

    Parameters
    ----------
    workflow
        What to draw.
    """

    def __init__(self, workflow: WorkflowSpec) -> None:
        self._workflow = workflow
        self._nodes = {node.name: node for node in workflow.nodes}
        self._layer: dict[str, int] = {}
        for node in workflow.nodes:
            self._layer[node.name] = 1 + max((self._layer[each] for each in node.upstreams), default=-1)
        self._ways = [self._way(upstream, name) for upstream, name in workflow.edges()]
        self._layers: list[list[str]] = [[] for _ in range(1 + max(self._layer.values()))]
        for name, layer in self._layer.items():
            self._layers[layer].append(name)
        self._order()
        self._x, self._y = self._places()

    def _way(self, upstream: str, name: str) -> list[str]:
        """Return the places from one task to another, one in each layer between them."""
        first, last = self._layer[upstream], self._layer[name]
        between = [f"{upstream}>{name}>{layer}" for layer in range(first + 1, last)]
        self._layer.update(zip(between, range(first + 1, last), strict=True))
        return [upstream, *between, name]

    def _order(self) -> None:
        pairs = [pair for way in self._ways for pair in pairwise(way)]
        before: dict[str, list[str]] = {name: [] for name in self._layer}
        after: dict[str, list[str]] = {name: [] for name in self._layer}
        for left, right in pairs:
            before[right].append(left)
            after[left].append(right)
        for sweep in range(SWEEPS):
            neighbours, layers = (before, self._layers) if sweep % 2 == 0 else (after, self._layers[::-1])
            for layer in layers:
                place = {name: number for each in self._layers for number, name in enumerate(each)}
                layer.sort(key=lambda name: (_mean([place[each] for each in neighbours[name]], place[name]), name))

    def _places(self) -> tuple[list[float], dict[str, float]]:
        """Return where each layer begins, and where the middle of each place is, downwards."""
        heights = [sum(self._height(name) + GAP_DOWN for name in layer) - GAP_DOWN for layer in self._layers]
        tallest = max(heights)
        beginnings = [float(MARGIN)]
        for layer in self._layers:
            beginnings.append(beginnings[-1] + max(map(self._width, layer)) + GAP_ACROSS)
        middles = {}
        for layer, height in zip(self._layers, heights, strict=True):
            top = TITLE + MARGIN + (tallest - height) / 2
            for name in layer:
                middles[name] = top + self._height(name) / 2
                top += self._height(name) + GAP_DOWN
        self._size = beginnings[-1] - GAP_ACROSS + MARGIN, TITLE + tallest + 2 * MARGIN
        return beginnings, middles

    def _width(self, name: str) -> float:
        return len(name) * CHARACTER + 2 * PADDING if name in self._nodes else 0

    def _height(self, name: str) -> float:
        return HEIGHT if name in self._nodes else LINE

    def svg(self) -> str:
        """Return the picture."""
        title = f"{self._workflow.name} {self._workflow.version}"
        width = max(self._size[0], len(title) * CHARACTER * 14 / 12 + 2 * MARGIN)
        size = f'width="{width:.0f}" height="{self._size[1]:.0f}" viewBox="0 0 {width:.0f} {self._size[1]:.0f}"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"  <title>{escape(title)}</title>",
            f"  <style>\n{STYLE}\n  </style>",
            '  <marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">',
            '    <path d="M0,0 L8,4 L0,8 z" style="fill: #57606a; stroke: none"/>',
            "  </marker>",
            '  <rect width="100%" height="100%" style="fill: #ffffff; stroke: none"/>',
            f'  <text class="title" x="{MARGIN}" y="{MARGIN + 10}">{escape(title)}</text>',
            *(f'  <path d="{self._curve(way)}" marker-end="url(#end)"/>' for way in self._ways),
            *(line for name in self._nodes for line in self._box(name)),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"

    def _box(self, name: str) -> list[str]:
        node = self._nodes[name]
        x, y = self._x[self._layer[name]], self._y[name] - HEIGHT / 2
        kind = "" if node.queue == "default" else ' class="queue"'
        about = escape(f"{node.task}, queue {node.queue}")
        return [
            f'  <rect{kind} x="{x:.1f}" y="{y:.1f}" width="{self._width(name):.1f}" height="{HEIGHT}">',
            f"    <title>{about}</title>",
            "  </rect>",
            f'  <text x="{x + PADDING:.1f}" y="{self._y[name] + 4:.1f}">{escape(name)}</text>',
        ]

    def _curve(self, way: list[str]) -> str:
        """Return a curve that leaves a box to the right, passes its places level, and enters a box from the left."""
        x, y = self._x[self._layer[way[0]]] + self._width(way[0]), self._y[way[0]]
        parts = [f"M{x:.1f},{y:.1f}"]
        for name in way[1:]:
            to_x, to_y = self._x[self._layer[name]], self._y[name]
            # A wide box in the layer before leaves less room for the bend.
            bend = max(to_x - GAP_ACROSS, x)
            middle = (bend + to_x) / 2
            if bend > x:
                parts.append(f"L{bend:.1f},{y:.1f}")
            parts.append(f"C{middle:.1f},{y:.1f} {middle:.1f},{to_y:.1f} {to_x:.1f},{to_y:.1f}")
            x, y = to_x, to_y
        return " ".join(parts)


def _mean(values: list[int], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
