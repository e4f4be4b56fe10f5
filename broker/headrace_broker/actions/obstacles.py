"""What keeps a waiting job from starting, as facts: other jobs, pauses, rates; and when it may start, as an estimate that says what it is made of."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from headrace_broker.actions.reads import JobRead, line_of
from headrace_broker.model.job import State
from headrace_broker.shards.breakers import Standing
from headrace_broker.shards.live import Live
from headrace_broker.shards.owner import Owner
from headrace_broker.store.settings import Pause

MOST_BLOCKERS = 20


@dataclass(frozen=True, slots=True)
class Obstacles:
    """`blockers`: (job, why) of at most MOST_BLOCKERS of `blockers_total` jobs that it waits for; why: limit_key, concurrency or dependency.

    Times are in seconds since 1970. All of it is from the owner's memory.
    """

    blockers: tuple[tuple[int, str], ...] = ()
    blockers_total: int = 0
    limit_key: str = ""
    pause: Pause | None = None
    rate_until_s: float | None = None
    start_s: float | None = None
    basis: str = ""
    breaker: Standing | None = None


def obstacles(owner: Owner, job: JobRead, ahead: int, shared: Iterable[int], slots_free: int) -> Obstacles:
    """Of a waiting job. `shared`: the types that its agents serve; `ahead`: how many ready jobs go first."""
    entry, row, reason = owner.types.by_id[job.row.type_id], job.row, job.wait_reason
    if reason == "paused":
        return Obstacles(pause=entry.pause)
    if reason == "breaker":
        return Obstacles(breaker=owner.breakers.standing(entry), basis="its type's breaker is not closed: canaries decide when it goes on")
    if reason == "dependency":
        unmet = owner.graph.unmet.get(row.job_id, set())
        return Obstacles(tuple((job_id, "dependency") for job_id in heapq.nsmallest(MOST_BLOCKERS, unmet)), len(unmet))
    if reason in ("scheduled", "retry"):
        start_s = row.available_at.timestamp() if row.available_at is not None else None
        return Obstacles(start_s=start_s, basis="its own time; what else waits then is not known")
    start_s, basis = _estimate(owner, ahead, shared, slots_free if reason == "ready" else 0) if reason not in ("no_agent", "no_matching_agent") else (None, "")
    if reason == "capped":
        line = line_of(owner, entry, row)
        if line is not None and line.cell is not None and line.room <= 0:
            cell = line.cell
            holders = [live for live in _running(owner) if live.line is not None and live.line.cell is cell]
            return _held(holders, "limit_key", cell.running, cell.key, start_s, basis)
        return _held([live for live in _running(owner) if live.entry is entry], "concurrency", owner.caps.running(owner, entry), "", start_s, basis)
    if reason == "rate_limited":
        rate = entry.settings.rate_per_s
        until_s = owner.clock.now_s() + max(0.0, (1 - owner.caps.tokens(entry, owner.now())) / rate) if rate else None
        return Obstacles(rate_until_s=until_s, start_s=until_s + ahead / rate if until_s is not None else None, basis=f"the rate limit of {rate:g} jobs a second")
    return Obstacles(start_s=start_s, basis=basis)


def _running(owner: Owner) -> Iterable[Live]:
    return (live for live in owner.live_jobs.values() if live.state is State.PROCESSING)


def _held(holders: list[Live], why: str, total: int, key: str, start_s: float | None, basis: str) -> Obstacles:
    oldest = heapq.nsmallest(MOST_BLOCKERS, (live.job_id for live in holders))
    return Obstacles(tuple((job_id, why) for job_id in oldest), total, key, start_s=start_s, basis=basis)


def _estimate(owner: Owner, ahead: int, shared: Iterable[int], free: int) -> tuple[float | None, str]:
    now_s = owner.clock.now_s()
    if free > ahead:
        return now_s, f"{free} slots are free"
    granted, seconds = owner.tally.pace.recent(owner.now(), shared)
    if not granted:
        return None, f"no job of the types that its agents serve was started in the last {seconds:.0f} s"
    return now_s + (ahead + 1) * seconds / granted, f"{granted} jobs of the types that its agents serve were started in the last {seconds:.0f} s"
