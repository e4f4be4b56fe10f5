"""How long jobs of a type are kept: what other settings would delete, and giving settled jobs the dates that follow from the settings in force.

A job's delete date is fixed when it settles. Changed settings hold for what settles afterwards; `apply` moves the dates of what has settled before. The preview reads the
counts, which are kept by type, state and minute of the delete date, so it costs the same for any number of jobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace_broker.actions.reads import JobRead, JobReads
from headrace_broker.model.amended import Update, delete_minute, same_date
from headrace_broker.model.audit import Caller
from headrace_broker.model.job import SETTLED, State
from headrace_broker.model.settings import Settings, Value, effective
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.heads import Heads

STATES = (State.COMPLETED, State.ERROR, State.ABORTED)
STEPS = 24
"""Points of a cumulative curve, at most."""
SAMPLE_LOOKS_AT = 2000
"""Oldest jobs of a type among which a sample is looked for."""

Curve = list[tuple[int, int]]
"""(minute since 1970, jobs that are gone by then), rising."""


@dataclass(frozen=True, slots=True)
class StatePreview:
    """Durations in seconds, None: for ever. `undated`: jobs without a date. `due`: with the dates that they have; `due_then`: as other settings would move them."""

    state: State
    keep_s: float | None
    keep_then_s: float | None
    jobs: int
    undated: int
    due: Curve
    due_then: Curve
    gone_at_once: int


def changed_settings(entry: TypeEntry, values: Mapping[str, Value], clear: list[str]) -> Settings:
    """The settings that would be in force."""
    overrides = {name: value for name, value in entry.overrides.items() if name not in clear} | dict(values)
    return effective(overrides, entry.declared)


def preview(owner: Owner, entry: TypeEntry, then: Settings) -> list[StatePreview]:
    """From the counts, as of now."""
    now = owner.clock.now_s() / 60
    return [_preview(state, _minutes(owner, entry.type_id, state), entry.settings, then, now) for state in STATES]


def _minutes(owner: Owner, type_id: int, state: State) -> dict[int, int]:
    """Durable jobs of a type in a settled state by the minute of their delete date, 0: none; those that it hides are left out."""
    now = owner.clock.now_s() / 60
    return {m: n for (counted, in_state, m), n in owner.counted.items() if counted == type_id and in_state is state and n and not 0 < m <= now}


def _preview(state: State, minutes: dict[int, int], settings: Settings, then: Settings, now: float) -> StatePreview:
    keep_s, keep_then_s = settings.delete_after_s(state), then.delete_after_s(state)
    dated = sorted((minute, jobs) for minute, jobs in minutes.items() if minute)
    moved = dated
    if keep_s is not None:
        moved = [] if keep_then_s is None else [(minute + round((keep_then_s - keep_s) / 60), jobs) for minute, jobs in dated]
    gone = sum(jobs for minute, jobs in moved if minute <= now)
    return StatePreview(state, keep_s, keep_then_s, sum(minutes.values()), minutes.get(0, 0), _curve(dated), _curve([(max(m, int(now)), n) for m, n in moved]), gone)


def _curve(dated: list[tuple[int, int]]) -> Curve:
    """At most STEPS points, each for an equal share of the jobs."""
    points: Curve = []
    total, sum_ = sum(jobs for _, jobs in dated), 0
    for index, (minute, jobs) in enumerate(dated):
        sum_ += jobs
        if sum_ * STEPS >= total * (len(points) + 1) or index == len(dated) - 1:
            points.append((minute, sum_))
    return points


async def sample(owner: Owner, reads: JobReads, entry: TypeEntry, then: Settings, limit: int) -> list[JobRead]:
    """Some of the oldest jobs that would be gone at once with these settings; looks at SAMPLE_LOOKS_AT jobs at most."""
    found: list[JobRead] = []
    above, looked_at = 0, 0
    while len(found) < limit and looked_at < SAMPLE_LOOKS_AT:
        jobs, above = await reads.oldest(entry, above, 500)
        looked_at += 500
        for job in jobs:
            minute = _minute(job, then)
            if minute is not None and minute <= owner.clock.now_s() / 60 and len(found) < limit:
                found.append(job)
        if not above:
            break
    return found


async def apply(owner: Owner, heads: Heads, reads: JobReads, entry: TypeEntry, *, above: int, limit: int, caller: Caller, reason: str) -> tuple[int, int, int]:
    """Moves the dates of some settled jobs of a type, oldest first, that the settings in force would date otherwise; (looked at, changed, id to go on above or 0).

    Jobs that are held stay without a date, and those with a rule of their own keep theirs. Raises as `changes.request`.
    """
    jobs, last = await reads.oldest(entry, above, limit)
    wrong = [job.row.job_id for job in jobs if job.row.state in SETTLED and not same_date(_minute(job, entry.settings), job.row.delete_minute)]
    done = []
    if wrong:
        done = await changes.request(owner, heads, Verb.UPDATE, wrong, caller=caller, reason=reason, update=Update(redate=True))
    return len(jobs), sum(change.error is None for change in done), last


def _minute(job: JobRead, settings: Settings) -> int | None:
    """The delete minute of a settled job under these settings."""
    row = job.row
    if row.state not in SETTLED or row.at is None:
        return None
    return delete_minute(settings, row.amended, row.state, row.at.timestamp())
