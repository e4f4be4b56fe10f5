"""Where the jobs of a graph stand in its picture: in layers, each below everything that comes before it. Pure; coordinates for an SVG that the templates write.

Layers are longest paths (who waits for nobody is at the top); within a layer jobs stand near those that they come from, by the mean of their places (Sugiyama, Tagawa and
Toda, "Methods for visual understanding of hierarchical system structures", 1981). A layer wider than `PER_ROW` goes on in a further row. Jobs without ties are a layer of
their own at the bottom.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 168, 44
GAP_X, GAP_ROW, GAP_LAYER = 16, 12, 44
MARGIN = 8
PER_ROW = 6


@dataclass(frozen=True, slots=True)
class Picture:
    """`places`: the upper left corner of each job; `paths`: an SVG path for each tie, in their order."""

    width: int
    height: int
    places: dict[int, tuple[int, int]]
    paths: list[str]


def picture(job_ids: Sequence[int], ties: Sequence[tuple[int, int]]) -> Picture:
    """Of jobs and their ties (from, to), both ends of which are among the jobs."""
    layers = _ordered(_layers(job_ids, ties), ties)
    rows: list[tuple[list[int], bool]] = []  # (jobs, whether a layer begins)
    for layer in layers:
        rows += [(layer[at : at + PER_ROW], at == 0) for at in range(0, len(layer), PER_ROW)]
    widest = max((len(row) for row, _ in rows), default=1)
    width = widest * (BOX_WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    places: dict[int, tuple[int, int]] = {}
    y = MARGIN
    for index, (row, begins) in enumerate(rows):
        if index:
            y += BOX_HEIGHT + (GAP_LAYER if begins else GAP_ROW)
        x = MARGIN + (widest - len(row)) * (BOX_WIDTH + GAP_X) // 2
        for job_id in row:
            places[job_id] = (x, y)
            x += BOX_WIDTH + GAP_X
    return Picture(width, y + BOX_HEIGHT + MARGIN, places, [_path(places[start], places[end]) for start, end in ties])


def _layers(job_ids: Sequence[int], ties: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Jobs by their longest path from a beginning (Kahn's order); those in a circle, which a ledger should not have, stand together below."""
    children: dict[int, set[int]] = {job_id: set() for job_id in job_ids}
    for start, end in ties:
        if start != end:
            children[start].add(end)
    missing = dict.fromkeys(job_ids, 0)
    for ends in children.values():
        for end in ends:
            missing[end] += 1
    depth = dict.fromkeys(job_ids, 0)
    todo = [job_id for job_id in job_ids if not missing[job_id]]
    done = set(todo)
    while todo:
        job_id = todo.pop()
        for end in children[job_id]:
            depth[end] = max(depth[end], depth[job_id] + 1)
            missing[end] -= 1
            if not missing[end]:
                todo.append(end)
                done.add(end)
    tied = {end for tie in ties for end in tie}
    below = max(depth.values(), default=0) + 1
    layers: dict[int, list[int]] = {}
    for job_id in job_ids:
        layer = depth[job_id] if job_id in done else below
        layers.setdefault(layer if job_id in tied else below + 1, []).append(job_id)
    return [sorted(layer) for _, layer in sorted(layers.items())]


def _ordered(layers: list[list[int]], ties: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Each layer by where those stand that its jobs come from."""
    parents: dict[int, list[int]] = {}
    for start, end in ties:
        parents.setdefault(end, []).append(start)
    at: dict[int, float] = {}
    ordered = []
    for layer in layers:
        above = {job_id: [at[parent] for parent in parents.get(job_id, ()) if parent in at] for job_id in layer}
        row = sorted(layer, key=lambda job_id: (sum(above[job_id]) / len(above[job_id]) if above[job_id] else 0.5, job_id))
        at |= {job_id: (index + 0.5) / len(row) for index, job_id in enumerate(row)}
        ordered.append(row)
    return ordered


def _path(start: tuple[int, int], end: tuple[int, int]) -> str:
    """From the lower edge of one box to the upper edge of another."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH // 2, start[1] + BOX_HEIGHT, end[0] + BOX_WIDTH // 2, end[1]
    bend = max(16, (y2 - y1) // 2)
    return f"M{x1} {y1}C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"
