"""Waiting jobs in the order of the queue, for people who look at it: highest score first, then the oldest."""

import heapq
from array import array
from collections.abc import Iterator, Mapping

from headrace_broker.model.job import State
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.owner import Owner

OF_EACH_LANE = 2000
"""Entries of a lane that are looked at for a page: from its front on, or from where the page before has ended."""
TIMED = 100_000
"""Jobs that wait for a time are in the list while there are at most so many of all types."""

Place = tuple[int, int]
"""(score, job_id)"""
_Key = tuple[int, int]
"""(-score, job_id)"""


def by_score(owner: Owner, weights: Mapping[int, int], after: Place | None, limit: int) -> tuple[list[Place], Place | None, bool]:
    """The next waiting jobs of these types (type_id -> priority of the type) behind `after`.

    Returns:
        Up to `limit` of them; up to where all were looked at, None: to the end; and whether some are left out: those that wait for a time when they are too many, and
        those of a long lane that have become ready in another order than that of their ids.
    """
    key = (-after[0], after[1]) if after is not None else None
    keys, ends, left_out = set(_single(owner, weights)), list[_Key](), max(len(owner.timers), len(owner.lines.timers)) > TIMED
    for score, ids, more in _parts(owner, weights, key):
        keys.update((-score, job_id) for job_id in ids if job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id))
        end = (-score, max(ids, default=0))
        if more and (key is None or end > key):
            ends.append(end)
        elif more:
            left_out = True
    until = min(ends, default=None)
    found = heapq.nsmallest(limit, (k for k in keys if (key is None or k > key) and (until is None or k <= until)))
    return [(-negative, job_id) for negative, job_id in found], (-until[0], until[1]) if until is not None else None, left_out


def _parts(owner: Owner, weights: Mapping[int, int], key: _Key | None) -> Iterator[tuple[int, "array[int]", bool]]:
    """(score, next entries, whether there are more) of each lane that is not before `key` as a whole."""
    for type_id in owner.lanes.types():
        if type_id in weights:
            for priority in owner.lanes.priorities(type_id):
                yield from _part(owner.lanes, type_id, priority, weights[type_id] + priority, key)
    for line, priority in owner.lines.ready_at():
        if line.entry.type_id in weights:
            yield from _part(owner.lines.lanes, line.line_id, priority, weights[line.entry.type_id] + priority + line.boost, key)


def _part(lanes: Lanes, lane_id: int, priority: int, score: int, key: _Key | None) -> Iterator[tuple[int, "array[int]", bool]]:
    if key is None or -score >= key[0]:
        yield score, *lanes.part(lane_id, priority, key[1] if key is not None and -score == key[0] else 0, OF_EACH_LANE)


def _single(owner: Owner, weights: Mapping[int, int]) -> Iterator[_Key]:
    """Jobs that memory knows one by one: those to which something happened, and those that wait for a time."""
    for live in owner.live_jobs.values():
        if live.state is State.WAITING and live.entry.type_id in weights:
            yield -(weights[live.entry.type_id] + live.priority + (live.line.boost if live.line is not None else 0)), live.job_id
    for timed, priority, job_id, _ in owner.lines.timed() if len(owner.lines.timers) <= TIMED else ():
        if timed is not None and timed.entry.type_id in weights and job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
            yield -(weights[timed.entry.type_id] + priority + owner.lines.members.get(job_id, timed).boost), job_id
    if len(owner.timers) <= TIMED:
        ids, whats, _ = owner.timers.columns()
        for job_id, what in zip(ids, whats, strict=True):
            if what >> 32 in weights and job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
                member = owner.lines.members.get(job_id)
                yield -(weights[what >> 32] + (what & 0xFFFF_FFFF) - 0x8000_0000 + (member.boost if member is not None else 0)), job_id
