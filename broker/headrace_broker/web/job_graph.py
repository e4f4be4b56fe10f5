"""Who is tied to a job: the jobs of its instance, what it depends on, its children and batches, as a picture and as a table."""

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
    edges, whole = dict.fromkeys(around.edges), around.complete
    if job.row.instance_id is not None and len(jobs) < MOST:
        found = await graphs.of_instance(job.row.instance_id, visit.domain, 0, MOST)
        for one in found.jobs:
            if len(jobs) < MOST:
                jobs.setdefault(one.row.job_id, one)
        whole = whole and found.complete and not found.next_above and all(one.row.job_id in jobs for one in found.jobs)
        edges |= dict.fromkeys(edge for edge in found.edges if edge.parent_id in jobs and edge.child_id in jobs)
    drawn = picture(sorted(jobs), [(edge.parent_id, edge.child_id) for edge in edges])
    return {
        "jobs": [(jobs[job_id], drawn.places[job_id], _ties(job_id, edges)) for job_id in sorted(jobs)], "drawn": drawn, "box": (BOX_WIDTH, BOX_HEIGHT),
        "ties": [(edge.kind.name.lower(), path) for edge, path in zip(edges, drawn.paths, strict=True)], "whole": whole, "most": MOST, "names": NAMES,
    }  # fmt: skip


def _ties(job_id: int, edges: dict[Edge, None]) -> list[tuple[str, list[int]]]:
    """What a job is tied to above it, by kind."""
    above: dict[str, list[int]] = {}
    for edge in edges:
        if edge.child_id == job_id:
            above.setdefault(NAMES[edge.kind], []).append(edge.parent_id)
    return sorted(above.items())
