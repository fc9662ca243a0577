"""
The positions of the tasks in a picture of the graph of a workflow.

Runs in: author and CI. The method is the layered drawing of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual
Understanding of Hierarchical System Structures", IEEE Trans. Syst. Man Cybern. 11 (1981): each task is in the layer
after its last upstream, the order in the layers is by barycenters, and the positions keep that order.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Layout", "layered"]

SWEEPS = 8
# A long edge has a bend in each layer between its ends, unless there would be too many bends.
MOST_BENDS = 4000
BEND_SPACE = 0.35  # relative to the space of a task
Item = str | tuple[str, str, int]  # a task, or a bend of the edge between two tasks, with its layer
Point = tuple[float, float]


class Layout(NamedTuple):
    """
    A drawing. Its units are layers in one direction, and tasks in the other one.

    Attributes
    ----------
    tasks
        Layer and position of each task.
    edges
        The points of each edge, including its ends.
    layers, extent
        Number of layers, and distance between the first and the last position.
    """

    tasks: dict[str, Point]
    edges: dict[tuple[str, str], list[Point]]
    layers: int
    extent: float


def layered(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Return the drawing of a graph; each name must come after all of its upstreams."""
    edges = list(edges)
    layer_of = dict.fromkeys(names, 0)
    upstreams: dict[str, list[str]] = {name: [] for name in names}
    for upstream, name in edges:
        upstreams[name].append(upstream)
    for name in names:
        layer_of[name] = max((layer_of[each] + 1 for each in upstreams[name]), default=0)
    count = max(layer_of.values(), default=-1) + 1
    layers: list[list[Item]] = [[] for _ in range(count)]
    for name in names:
        layers[layer_of[name]].append(name)
    paths: dict[tuple[str, str], list[Item]] = {}
    is_bent = sum(layer_of[name] - layer_of[upstream] - 1 for upstream, name in edges) <= MOST_BENDS
    before: dict[Item, list[Item]] = {}
    behind: dict[Item, list[Item]] = {}
    for upstream, name in edges:
        between = range(layer_of[upstream] + 1, layer_of[name]) if is_bent else ()
        bends: list[Item] = [(upstream, name, layer) for layer in between]
        for layer, bend in zip(between, bends, strict=True):
            layers[layer].append(bend)
        paths[upstream, name] = [upstream, *bends, name]
        for one, other in zip(paths[upstream, name], paths[upstream, name][1:], strict=False):
            before.setdefault(other, []).append(one)
            behind.setdefault(one, []).append(other)
    layers = _ordered(layers, before, behind)
    positions = _positions(layers, before, behind)
    first = min(positions.values(), default=0.0)
    level = {item: float(number) for number, items in enumerate(layers) for item in items}
    points = {item: (level[item], position - first) for item, position in positions.items()}
    return Layout(
        tasks={name: points[name] for name in names},
        edges={edge: [points[item] for item in path] for edge, path in paths.items()},
        layers=count,
        extent=max(positions.values(), default=0.0) - first,
    )


def _ordered(
    layers: list[list[Item]], before: Mapping[Item, list[Item]], behind: Mapping[Item, list[Item]]
) -> list[list[Item]]:
    """Return the layers in the order with the fewest crossings that some sweeps, forward and back, have found."""
    best, fewest = layers, _crossings(layers, behind)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        neighbours, step = (before, 1) if sweep % 2 == 0 else (behind, -1)
        made: list[list[Item]] = []
        place: dict[Item, int] = {}
        for layer in layers[::step]:
            own = {item: number for number, item in enumerate(layer)}

            def barycenter(item: Item, own: Mapping[Item, int] = own, place: Mapping[Item, int] = place) -> float:
                known = [place[each] for each in neighbours.get(item, ()) if each in place]  # noqa: B023
                return sum(known) / len(known) if known else own[item]

            made.append(sorted(layer, key=barycenter))
            place.update((item, number) for number, item in enumerate(made[-1]))
        layers = made[::step]
        if (crossings := _crossings(layers, behind)) < fewest:
            best, fewest = layers, crossings
    return best


def _crossings(layers: Sequence[Sequence[Item]], behind: Mapping[Item, list[Item]]) -> int:
    place = {item: number for layer in layers for number, item in enumerate(layer)}
    found = 0
    for layer in layers:
        ends: list[int] = []
        for item in layer:
            own = [place[each] for each in behind.get(item, ())]
            found += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
    return found


def _positions(
    layers: Sequence[Sequence[Item]], before: Mapping[Item, list[Item]], behind: Mapping[Item, list[Item]]
) -> dict[Item, float]:
    """Return positions that keep the order in each layer and are close to those of the neighbours."""
    places = {}
    for layer in layers:
        offsets = _offsets(layer)
        middle = offsets[-1] / 2 if offsets else 0.0
        places.update({item: offset - middle for item, offset in zip(layer, offsets, strict=True)})
    for sweep in range(SWEEPS):
        neighbours, step = (before, 1) if sweep % 2 == 0 else (behind, -1)
        for layer in layers[::step]:
            wanted = []
            for item in layer:
                near = neighbours.get(item) or [item]
                wanted.append(sum(places[each] for each in near) / len(near))
            places.update(zip(layer, _nearest(wanted, _offsets(layer)), strict=True))
    return places


def _offsets(layer: Sequence[Item]) -> list[float]:
    """Return the minimum distance of each item from the first one of its layer."""
    offsets: list[float] = []
    for number, item in enumerate(layer):
        if not number:
            offsets.append(0.0)
            continue
        halves = [0.5 if isinstance(each, str) else BEND_SPACE / 2 for each in (layer[number - 1], item)]
        offsets.append(offsets[-1] + sum(halves))
    return offsets


def _nearest(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Return the positions closest to the wanted ones (least squares) that keep the distances: isotonic regression."""
    blocks: list[tuple[float, int]] = []  # mean, and number of items
    for want, offset in zip(wanted, offsets, strict=True):
        mean, size = want - offset, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean = (mean * size + other * count) / (size + count)
            size += count
        blocks.append((mean, size))
    means = [mean for mean, size in blocks for _ in range(size)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]
