"""Where a waiting job waits, and when it has its turn: in the lane of its type, in a line when it has terms, or in the timers until its time has come.

What waits for other jobs is in none of them (graph.py). An entry that is no longer true is left where it is, and passed over when its turn comes (`waits`).
"""

from array import array
from typing import TYPE_CHECKING

from headrace_broker.model import ids
from headrace_broker.model.job import State
from headrace_broker.model.terms import Terms, parse
from headrace_broker.shards.intents import NewJob
from headrace_broker.shards.lines import Line
from headrace_broker.shards.live import Live
from headrace_broker.shards.timers import chosen
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import Body, instance_of

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def due(owner: "Owner", live: Live) -> float:
    """When a waiting job may be granted, on the monotonic clock."""
    return max(owner.clock.monotonic_at(live.available_at_s) if live.available_at_s else 0.0, live.not_before)


def waits(owner: "Owner", job_id: int, priority: int) -> bool | None:
    """Whether a job may be granted in this round, at this priority. None: its time has not come, and it is in the timers again."""
    live = owner.live_jobs.get(job_id)
    if live is None or live.state is not State.WAITING or live.priority != priority or owner.is_moving(live) or job_id in owner.graph.unmet:
        return False
    now = owner.now()
    if due(owner, live) <= now:
        return True
    await_turn(owner, live, now)
    return None


# Entering ------------------------------------------------------------------------------------------------------------------------------------------


def enter_job(owner: "Owner", job_id: int, job: NewJob) -> None:
    """A job that was stored now: see `enter`."""
    entry, priority, available_at_s, body = job
    line = line_of(owner, entry, body)
    if line is None:
        enter(owner, job_id, entry.type_id, priority, available_at_s)
    else:
        enter_terms(owner, job_id, entry.type_id, line.terms, priority, available_at_s)


def enter(owner: "Owner", job_id: int, type_id: int, priority: int, available_at_s: float) -> None:
    """A job to which nothing happened yet goes into its lane, or into the timers until its time (seconds since 1970; 0: at once)."""
    now = owner.now() if available_at_s else 0.0
    if available_at_s and (at := owner.clock.monotonic_at(available_at_s)) > now:
        owner.timers.push(at, job_id, type_id, priority, now)
    else:
        owner.lanes.push(type_id, priority, job_id)


def enter_all(owner: "Owner", job_ids: "array[int]", whats: "array[int]", available_at_s: "array[float]") -> None:
    """Many jobs to which nothing happened yet and that wait, or waited, for a time: see `enter`. `whats`: as `Timers.columns`."""
    now, offset_s = owner.now(), owner.clock.offset_s
    dues = array("d", [at_s - offset_s for at_s in available_at_s])
    later = [due > now for due in dues]
    if not all(later):
        for job_id, what, waits_on in zip(job_ids, whats, later, strict=True):
            if not waits_on:
                owner.lanes.push(what >> 32, (what & 0xFFFF_FFFF) - 0x8000_0000, job_id)
        job_ids, whats, dues = chosen(job_ids, later), chosen(whats, later), chosen(dues, later)
    owner.timers.extend(job_ids, whats, dues, now)


def enter_terms(owner: "Owner", job_id: int, type_id: int, terms: Terms, priority: int, available_at_s: float) -> None:
    """The same for a job with terms."""
    line = owner.lines.of(owner.types.by_id[type_id], terms)
    line.jobs += job_id not in owner.lines.members  # such as one that `rescore` found while it was on its way
    owner.lines.enter(line, priority, job_id, owner.clock.monotonic_at(available_at_s) if available_at_s else 0.0, owner.now())


def line_of(owner: "Owner", entry: TypeEntry, body: Body) -> Line | None:
    """Where a job waits that has terms; None: it has none."""
    terms = parse(body.more) if not isinstance(body, bytes) and body.more is not None else None
    if owner.lines.boosts:
        terms = owner.lines.boosted(entry, instance_of(body), terms)
    return owner.lines.of(entry, terms) if terms is not None else None


def await_turn(owner: "Owner", live: Live, now: float) -> None:
    """A waiting job goes into its lane, or into the timers until it may be granted; one that waits for others stays where it is."""
    if live.job_id in owner.graph.unmet:
        return
    at = due(owner, live)
    since = _since(owner, live.available_at_s) if owner.rounds or live.available_at_s else 0  # recovery knows no better than when it was made
    if owner.lines.boosts:
        owner.lines.adopt(live)
    if live.line is not None:
        owner.lines.enter(live.line, live.priority, live.job_id, at, now, since)
        return
    if at > now:
        owner.timers.push(at, live.job_id, live.entry.type_id, live.priority, now)
    else:
        owner.lanes.push(live.entry.type_id, live.priority, live.job_id, since)


# Leaving -------------------------------------------------------------------------------------------------------------------------------------------


def leave(owner: "Owner", job_id: int) -> None:
    """A waiting job leaves its lane or timer, if it is in one."""
    if job_id not in owner.graph.unmet:
        owner.lanes.discard(job_id)


def take_due(owner: "Owner", now: float) -> None:
    """Jobs whose time has come go from the timers into their lanes."""
    since = _since(owner)
    for type_id, priority, job_id in owner.timers.pop_due(now):
        line = owner.lines.members.get(job_id)
        if line is None:
            owner.lanes.push(type_id, priority, job_id, since)
        else:
            owner.lines.push(line, priority, job_id, since)
        _came_due(owner, job_id)
    for job_id in owner.lines.take_due(now, since):
        _came_due(owner, job_id)


def _came_due(owner: "Owner", job_id: int) -> None:
    """The job may start from now on, if it still waits and nothing happened to it yet."""
    if job_id not in owner.live_jobs and not owner.lanes.is_stale(job_id):
        owner.tally.came_due(job_id, owner.clock.now_s())


def _since(owner: "Owner", at_s: float = 0.0) -> int:
    """Now, or a time before, as the lowest id of that time: what jobs that are ready are ordered by."""
    now_s = owner.clock.now_s()
    return ids.lowest_id_at(min(at_s, now_s) if at_s else now_s)
