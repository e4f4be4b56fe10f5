"""Who is tied to a job: the jobs of its instance, what it depends on, its children and batches, as a picture and as a table.

Jobs that the person may not see have no number here: those that are tied in one way to a job that they may see are one box, which says how many they are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from headrace_broker.actions.graph import Graphs
from headrace_broker.actions.reads import JobRead
from headrace_broker.store.graph import Edge, EdgeKind
from headrace_broker.web.drawing import BOX_HEIGHT, BOX_WIDTH, picture
from headrace_broker.web.visit import Visit

MOST = 300
"""Jobs of one picture; those tied most closely to the job come first, then the oldest of its instance."""
NAMES = {EdgeKind.DEPENDS: "waits for", EdgeKind.SUBMITTED: "was submitted by", EdgeKind.MEMBER: "has as a member of its batch"}
"""What a job says of the one above it."""


async def values(visit: Visit, job: JobRead, _secret: tuple[str, ...]) -> dict[str, Any]:
    """What the tab shows."""
    graphs = Graphs(visit.owner, visit.jobs, visit.services.graph)
    around = await graphs.around(job.row.job_id, visit.domain, MOST)
    jobs = {one.row.job_id: one for one in around.jobs}
    ties, whole = Counter(around.edges), around.complete
    if job.row.instance_id is not None and len(jobs) < MOST:
        found = await graphs.of_instance(job.row.instance_id, visit.domain, 0, MOST)
        for one in found.jobs:
            if len(jobs) < MOST:
                jobs.setdefault(one.row.job_id, one)
        whole = whole and found.complete and not found.next_above and all(one.row.job_id in jobs for one in found.jobs)
        known = {*jobs, 0}
        ties |= Counter(edge for edge in found.edges if edge.parent_id in known and edge.child_id in known)
    edges, unseen = _boxed(ties)
    drawn = picture([*sorted(jobs), *unseen], [(edge.parent_id, edge.child_id) for edge in edges])
    return {
        "jobs": [(jobs[job_id], drawn.places[job_id], _ties(job_id, edges)) for job_id in sorted(jobs)], "drawn": drawn, "box": (BOX_WIDTH, BOX_HEIGHT),
        "ties": [(edge.kind.name.lower(), path) for edge, path in zip(edges, drawn.paths, strict=True)], "whole": whole, "most": MOST, "names": NAMES,
        "unseen": {number: (words, drawn.places[number], _ties(number, edges)) for number, words in unseen.items()},
    }  # fmt: skip


def _boxed(ties: Mapping[Edge, int]) -> tuple[list[Edge], dict[int, str]]:
    """(the ties, whose ends that may not be seen have numbers below 0; what is to be said of each such number). `ties`: how many there are of each."""
    edges: list[Edge] = []
    unseen: dict[int, str] = {}
    for edge, count in ties.items():
        if edge.parent_id and edge.child_id:
            edges.append(edge)
            continue
        number = -1 - len(unseen)
        unseen[number] = "a job that you may not see" if count == 1 else f"{count:,} jobs that you may not see"
        edges.append(Edge(edge.parent_id or number, edge.child_id or number, edge.kind))
    return edges, unseen


def _ties(job_id: int, edges: Iterable[Edge]) -> list[tuple[str, list[int]]]:
    """What a job is tied to above it, by kind."""
    above: dict[str, list[int]] = {}
    for edge in edges:
        if edge.child_id == job_id:
            above.setdefault(NAMES[edge.kind], []).append(edge.parent_id)
    return sorted(above.items())
