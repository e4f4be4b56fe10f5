"""Waiting jobs in the order of the queue, for people who look at it: highest score first, then the oldest."""

import heapq
from collections.abc import Iterator, Mapping

from headrace_broker.model.job import State
from headrace_broker.shards.owner import Owner

OF_EACH_LANE = 2000
"""Entries that are looked at of each lane, from its front: what lies behind them goes later."""
TIMED = 100_000
"""Jobs that wait for a time are in the list while there are at most so many of all types."""

Place = tuple[int, int]
"""(score, job_id)"""


def by_score(owner: Owner, weights: Mapping[int, int], after: Place | None, limit: int) -> tuple[list[Place], bool]:
    """The first `limit` waiting jobs of these types (type_id -> priority of the type) behind `after`; and whether some were left out because they are too many."""
    left_out = max(len(owner.timers), len(owner.lines.timers)) > TIMED or any(more for type_id, _, _, more in owner.lanes.fronts(OF_EACH_LANE) if type_id in weights)
    key = (-after[0], after[1]) if after is not None else None
    keys = {(-score, job_id) for score, job_id in _places(owner, weights) if key is None or (-score, job_id) > key}
    return [(-negative, job_id) for negative, job_id in heapq.nsmallest(limit, keys)], left_out


def _places(owner: Owner, weights: Mapping[int, int]) -> Iterator[Place]:
    for live in owner.live_jobs.values():
        if live.state is State.WAITING and live.entry.type_id in weights:
            yield weights[live.entry.type_id] + live.priority + (live.line.boost if live.line is not None else 0), live.job_id
    for type_id, priority, ids, _ in owner.lanes.fronts(OF_EACH_LANE):
        if type_id in weights:
            for job_id in ids:
                if job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
                    yield weights[type_id] + priority, job_id
    for line, priority, entries in owner.lines.entries():
        if line.entry.type_id in weights:
            for job_id in entries[:OF_EACH_LANE]:
                if job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
                    yield weights[line.entry.type_id] + priority + line.boost, job_id
    for timed, priority, job_id, _ in owner.lines.timed() if len(owner.lines.timers) <= TIMED else ():
        if timed is not None and timed.entry.type_id in weights and job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
            yield weights[timed.entry.type_id] + priority + owner.lines.members.get(job_id, timed).boost, job_id
    if len(owner.timers) <= TIMED:
        ids, whats, _ = owner.timers.columns()
        for job_id, what in zip(ids, whats, strict=True):
            if what >> 32 in weights and job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
                member = owner.lines.members.get(job_id)
                yield weights[what >> 32] + (what & 0xFFFF_FFFF) - 0x8000_0000 + (member.boost if member is not None else 0), job_id
