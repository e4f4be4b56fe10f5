"""Requeuing a job and its descendants that failed: which ones, and in which order."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter

from headrace_broker.actions.reachable import refusals
from headrace_broker.actions.reads import answered
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidState, JobNotFound, Unavailable
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards import changes
from headrace_broker.shards.descents import Descent
from headrace_broker.shards.intents import Change, Verb
from headrace_broker.shards.owner import Owner
from headrace_broker.store.graph import Edge, EdgeKind, GraphReads
from headrace_broker.store.heads import Heads, ReadFailed

MAX_DESCENDANTS = 10_000
MAX_TIES = 100_000
AT_ONCE = 1000  # jobs of one round
NAMED = 100  # descendants that the audit names
_FAILED = (State.ERROR, State.ABORTED)


async def requeue(
    owner: Owner, heads: Heads, graph: GraphReads, job_id: int, *, caller: Caller, reason: str, include_completed: bool = False, payload: bytes | None = None,
    content_type: str = "",
) -> list[Change]:  # fmt: skip
    """Begins new runs of a job and of everything below it that ended in error or was aborted; what became of each, the job first, then by id.

    Each waits for those of its dependencies that run again, and what failed without a fault of its own runs when they have completed. The job itself is refused as any
    requeue may be (it has completed, it is not settled); its descendants are requeued all the same, unless they depend on what failed and was not requeued.
    `payload` and `include_completed` concern the job alone. Safe to repeat: what was requeued has not failed any more.

    Raises:
        TypeDenied: the call may not requeue it; descendants that it may not requeue are left out.
        JobNotFound: the job is not there. InvalidState: there are more than 10,000 descendants. Unavailable, Busy: as for `changes.request`, when none was requeued; of
        those that are left when some were, it is the error.
    """
    below = [other for other in await answered(graph.descendants([job_id], MAX_DESCENDANTS + 2)) if other != job_id]
    if len(below) > MAX_DESCENDANTS:
        raise InvalidState(f"job {job_id} has more than {MAX_DESCENDANTS:,} descendants: requeue it by itself, then those below it that failed")
    ties = await answered(graph.ties([job_id, *below], MAX_TIES + 1)) if below else []
    if len(ties) > MAX_TIES:
        raise InvalidState(f"job {job_id} and its descendants depend on each other in more than {MAX_TIES:,} ways: requeue them one by one")
    chosen = {job_id, *await _failed(owner, heads, job_id, below, caller.domain, with_payload=payload is not None)}
    depends_on, members = _by_child(ties, EdgeKind.DEPENDS), _by_child(ties, EdgeKind.MEMBER)
    descendants = sorted(chosen - {job_id})
    named = {"descendants": len(descendants), "job_ids": [str(other) for other in descendants[:NAMED]]}
    audit = caller.entry("job.requeue_descendants", f"job/{job_id}", reason=reason, after=named)
    descent = Descent(job_id, depends_on, members, set(chosen), audit)
    results: dict[int, Change] = {}
    order = in_order(chosen, depends_on, members)
    for start in range(0, len(order), AT_ONCE):
        try:
            done = await changes.request(
                owner, heads, Verb.REQUEUE, order[start : start + AT_ONCE], caller=caller, reason=reason, include_completed=include_completed, payload=payload,
                content_type=content_type, descent=descent,
            )  # fmt: skip
        except (Busy, Unavailable) as error:
            if all(change.error is not None for change in results.values()):
                raise
            results |= {other: Change(other, None, error) for other in order[start:]}
            break
        results |= {change.job_id: change for change in done}
    return [results[job_id], *(results[other] for other in descendants)]


async def _failed(owner: Owner, heads: Heads, job_id: int, below: Sequence[int], domain: str, *, with_payload: bool) -> list[int]:
    """Those below a job that failed. Raises JobNotFound when the job itself is not there, TypeDenied when the call may not requeue it, with another payload."""
    try:
        found = await heads.heads([job_id, *below])
    except ReadFailed as error:
        raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
    if not changes.visible(owner, found.get(job_id), domain):
        raise JobNotFound(job_id)
    own = await refusals(owner, heads, [job_id], domain, Act.REQUEUE, *([Act.UPDATE] if with_payload else []))
    if own:
        raise own[job_id]
    refused = await refusals(owner, heads, below, domain, Act.REQUEUE)
    below = [other for other in below if other not in refused]
    return [other for other in below if (head := found.get(other)) is not None and head.state in _FAILED and changes.visible(owner, head, domain)]


def in_order(jobs: Iterable[int], *waits_for: "dict[int, list[int]]") -> list[int]:
    """The jobs, each after those of them that it waits for."""
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(sorted(jobs), ()))
    chosen = set(jobs)
    for ties in waits_for:
        for child, parents in ties.items():
            if child in chosen:
                sorter.add(child, *(parent for parent in parents if parent in chosen))
    return list(sorter.static_order())


def _by_child(ties: Iterable[Edge], kind: EdgeKind) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for edge in ties:
        if edge.kind is kind:
            found[edge.child_id].append(edge.parent_id)
    return dict(found)
