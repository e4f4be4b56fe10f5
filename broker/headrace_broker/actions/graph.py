"""Reading who is tied to whom: the graph around a job or of an instance, what a job depended on, and what became of a batch."""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from headrace_broker.actions import reachable
from headrace_broker.actions.reads import JobRead, JobReads, answered
from headrace_broker.model.errors import InvalidState
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards.owner import Owner
from headrace_broker.store.graph import Edge, GraphReads

MAX_EDGES = 10_000
"""Edges of one answer, and of one step from jobs to those that are tied to them."""
MAX_FAILED = 1000
"""Ids of failed members of one answer."""
AT_ONCE = 5000  # members of one read


@dataclass(frozen=True, slots=True)
class GraphRead:
    """Jobs and how they are tied; 0 at an end of an edge is a job that the call may not see.

    `next_above` 0: there is no further page. `complete`: nothing was left out beside what further pages bring.
    """

    jobs: list[JobRead]
    edges: list[Edge]
    complete: bool
    next_above: int = 0


@dataclass(frozen=True, slots=True)
class BatchRead:
    """How a batch stands: members by state (GONE: deleted), and the first of those that ended in error or were aborted and that the call may see."""

    callback: JobRead
    open: bool
    counts: Counter[State]
    failed_ids: list[int]

    @property
    def total(self) -> int:
        """Members, however they stand."""
        return sum(self.counts.values())


class Graphs:
    """Reads for one owner; every call raises DatabaseUnavailable when Postgres does not answer, and JobNotFound for what is not in the domain."""

    def __init__(self, owner: Owner, jobs: JobReads, reads: GraphReads) -> None:
        self._owner = owner
        self._jobs = jobs
        self._reads = reads

    async def around(self, job_id: int, domain: str, limit: int) -> GraphRead:
        """At most `limit` jobs that are tied to a job, directly or through others, the nearest first."""
        first = await self._jobs.get(job_id, domain)
        found = {job_id: first}
        edges: dict[Edge, None] = {}
        frontier, whole = [job_id], True
        while frontier:
            step = await answered(self._reads.edges(frontier, MAX_EDGES + 1))
            whole = whole and len(step) <= MAX_EDGES
            edges.update(dict.fromkeys(step[:MAX_EDGES]))
            new = list(dict.fromkeys(end for edge in step[:MAX_EDGES] for end in (edge.parent_id, edge.child_id) if end not in found))
            whole = whole and len(found) + len(new) <= limit
            jobs = await self._jobs.find(new[: limit - len(found)], domain)
            found.update((job.row.job_id, job) for job in jobs)
            frontier = [job.row.job_id for job in jobs]
        unseen = await self._jobs.unseen(end for edge in edges for end in (edge.parent_id, edge.child_id) if end not in found)
        known = {*found, *unseen}
        return GraphRead(list(found.values()), _shown((edge for edge in edges if edge.parent_id in known and edge.child_id in known), unseen), whole)

    async def of_instance(self, instance_id: str, domain: str, above: int, limit: int) -> GraphRead:
        """A page of the jobs of an instance, oldest first, with every edge that touches one of them: the other end may be on another page, or of another instance."""
        type_ids = [entry.type_id for entry in reachable.entries(self._owner, domain, Act.VIEW)]
        ids = await answered(self._reads.of_instance(type_ids, instance_id, above, limit + 1))
        page = ids[:limit]
        edges = await answered(self._reads.edges(page, MAX_EDGES + 1)) if page else []
        unseen = await self._jobs.unseen({end for edge in edges for end in (edge.parent_id, edge.child_id)}.difference(page))
        return GraphRead(await self._jobs.find(page, domain), _shown(edges[:MAX_EDGES], unseen), len(edges) <= MAX_EDGES, page[-1] if len(ids) > limit else 0)

    async def dependencies(self, job_id: int, domain: str, most_bytes: int) -> tuple[list[JobRead], set[int]]:
        """The jobs that a job depended on, in the order of its submission, with their results; and those whose results go beyond `most_bytes`, and are left out."""
        job = await self._jobs.get(job_id, domain)
        found = await self._jobs.find(job.row.depends_on or [], domain, full=True, expired=True)
        left_out: set[int] = set()
        used = 0
        for other in found:
            size = len(other.row.result or b"")
            if used + size > most_bytes:
                left_out.add(other.row.job_id)
            else:
                used += size
        return found, left_out

    async def batch(self, batch_id: int, domain: str) -> BatchRead:
        """How a batch stands now. Reads its members a portion at a time. Raises InvalidState for a job that is not the callback of one."""
        callback = await self._jobs.get(batch_id, domain)
        if callback.row.depends_on != []:
            raise InvalidState(f"job {batch_id} is not the callback of a batch")
        counts: Counter[State] = Counter()
        failed: list[int] = []
        above = 0
        while True:
            members = await answered(self._reads.batch_members(batch_id, above, AT_ONCE))
            counts.update(state for _, state in members)
            failed += [job_id for job_id, state in members if state in (State.ERROR, State.ABORTED)][: MAX_FAILED - len(failed)]
            if len(members) < AT_ONCE:
                unseen = await self._jobs.unseen(failed)
                return BatchRead(callback, self._owner.graph.is_open(batch_id), counts, [job_id for job_id in failed if job_id not in unseen])
            above = members[-1][0]


def _shown(edges: Iterable[Edge], unseen: Container[int]) -> list[Edge]:
    """The edges as the call may see them: 0 stands for each job that it may not see, so there may be several alike."""
    return [
        Edge(0 if edge.parent_id in unseen else edge.parent_id, 0 if edge.child_id in unseen else edge.child_id, edge.kind) for edge in sorted(edges, key=_order)
    ]  # fmt: skip


def _order(edge: Edge) -> tuple[int, int, int]:
    return edge.parent_id, edge.child_id, edge.kind
