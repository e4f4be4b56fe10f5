"""Why a job is where it is, in numbers and in sentences."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace_broker.actions.obstacles import Obstacles, obstacles
from headrace_broker.actions.reads import JobRead, JobReads, line_of
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import State
from headrace_broker.model.outlook import span
from headrace_broker.shards.dispatcher import ageing
from headrace_broker.shards.overdue import EVERY, OVERDUE_S
from headrace_broker.shards.owner import Owner

NAMED = 5
"""Jobs that a sentence names."""
LONGEST_ERROR = 200
"""Characters of an error in a sentence."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`ahead`: about how many ready jobs go first; `agents`, `slots`, `slots_free`: who serves the type; `blockers`: the jobs of its obstacles, and why each is one."""

    job: JobRead
    text: str
    ahead: int
    agents: int
    slots: int
    slots_free: int
    type_priority: int
    instance_priority: int
    age_points: int
    obstacles: Obstacles
    blockers: list[tuple[JobRead, str]]


async def explain(owner: Owner, reads: JobReads, job: JobRead) -> Explanation:
    """From the owner's memory; the job as it was read a moment ago. Raises DatabaseUnavailable when the jobs that it waits for cannot be read."""
    type_id, entry, waits = job.row.type_id, owner.types.by_id[job.row.type_id], job.row.state is State.WAITING
    serving = [session for session in owner.sessions() if session.stream is not None and type_id in session.served]
    serving = [session for session in serving if not (session.draining or session.held_back or session.paused)]
    slots = sum(session.slots for session in serving)
    free = sum(max(0, session.slots - len(session.leases)) for session in serving)
    shared = {type_id}.union(*(session.served for session in serving))
    ahead = 0
    if waits and job.wait_reason not in ("scheduled", "retry", "dependency"):
        weights = {other: owner.types.by_id[other].settings.priority for other in shared if other == type_id or not owner.types.by_id[other].halted}
        ahead = _ahead(owner, job, weights)
    who = f"{len(serving)} connected {'agent serves' if len(serving) == 1 else 'agents serve'} {job.type}, with {free} of {slots} slots free"
    found = obstacles(owner, job, ahead, shared, free) if waits else Obstacles()
    why = dict(found.blockers)
    blockers = [(blocker, why[blocker.row.job_id]) for blocker in await reads.shown([job_id for job_id, _ in found.blockers])]
    age = ageing(owner, entry)(lowest_id_at(job.ready_since_s(owner.clock.now_s()))) if waits and entry.settings.ageing_s else 0
    own = entry.settings.priority
    text = _text(owner, job, ahead, who, [blocker.row.job_id for blocker, _ in blockers]) + (_when(owner, found) if waits else "")
    return Explanation(job, text, ahead, len(serving), slots, free, own, job.score - own - job.row.priority, age, found, blockers)


def _when(owner: Owner, found: Obstacles) -> str:
    """The estimate in a sentence."""
    if found.start_s is None or found.start_s <= owner.clock.now_s() or found.rate_until_s is not None or "own time" in found.basis:
        return ""
    return f" It starts in about {span(max(1.0, found.start_s - owner.clock.now_s()))}, if it goes on like this: {found.basis}."


def _text(owner: Owner, job: JobRead, ahead: int, who: str, seen: Sequence[int]) -> str:
    """`seen`: the first of those that it waits for and that the call may see."""
    if job.row.state is State.WAITING:
        return _waiting(owner, job, ahead, who, seen)
    if job.row.state is State.PROCESSING:
        return _processing(owner, job)
    return _settled(job)


def _waiting(owner: Owner, job: JobRead, ahead: int, who: str, seen: Sequence[int]) -> str:
    reasons: dict[str, Callable[[], str]] = {
        "ready": lambda: f"It waits for a free slot. {_first(ahead)} {who}.{_overdue(owner, job)}",
        "scheduled": lambda: f"It was submitted to start at {_due(owner, job)}.",
        "retry": lambda: f"Its last attempt did not complete; the next one may start at {_due(owner, job)}. {_error(job)}",
        "paused": lambda: f"{_paused(owner, job)} Once it is resumed: {_first(ahead)}",
        "breaker": lambda: f"{_broken(owner, job)} {_first(ahead)}",
        "capped": lambda: f"{_capped(owner, job)} {_first(ahead)}",
        "no_matching_agent": lambda: f"No connected agent that serves {job.type} has the labels that it requires: {_labels(job)}.",
        "rate_limited": lambda: f"Its type starts {_rate(owner, job)}. {_first(ahead)}",
        "dependency": lambda: _waits_for(owner, job.row.job_id, seen),
        "no_agent": lambda: f"No connected agent serves its type {job.type}, or those that do are draining. Once one does: {_first(ahead)}",
    }
    return reasons[job.wait_reason or "ready"]().strip()


def _due(owner: Owner, job: JobRead) -> str:
    at = job.row.available_at
    return "" if at is None else f"{_at(at)} (in {span(max(0.0, at.timestamp() - owner.clock.now_s()))})"


def _at(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _first(ahead: int) -> str:
    return "No other job goes first." if not ahead else "About 1 job goes first." if ahead == 1 else f"About {ahead:,} jobs go first."


def _processing(owner: Owner, job: JobRead) -> str:
    row, live = job.row, owner.live(job.row.job_id)
    text = f"Attempt {row.attempt} of run {row.run} runs on agent {row.agent or 'unknown'}."
    if live is not None and live.session is None:
        text += " The agent has not come back since this broker took over; if it does not within a lease, the job is given back."
    if row.abort is not None and live is not None and live.abort is not None:
        text += f" {row.abort['actor'] or 'Somebody'} asked for its end: {row.abort['reason'] or 'no reason given'}."
    if job.progress is not None:
        text += f" It reports {job.progress[0]:.0f} % {job.progress[1]}".rstrip() + "."
    return text


def _settled(job: JobRead) -> str:
    row = job.row
    when = _at(row.at) if row.at is not None else ""
    kept = "" if row.delete_minute is None else f" It is deleted at {_at(datetime.fromtimestamp(row.delete_minute * 60, UTC))}."
    if row.state is State.COMPLETED:
        return f"It completed at {when} in attempt {row.attempt} of run {row.run}.{kept}"
    ended = "It was aborted" if row.state is State.ABORTED else "It ended in error"
    spent = f"{row.attempt} attempt{'' if row.attempt == 1 else 's'}" + (f" and {row.losses} lost agent{'' if row.losses == 1 else 's'}" if row.losses else "")
    return f"{ended} at {when} after {spent} in run {row.run}. {_error(job)}{kept}".strip()


def _overdue(owner: Owner, job: JobRead) -> str:
    """In a sentence, when it may go out of its turn."""
    settings, now_s = owner.types.by_id[job.row.type_id].settings, owner.clock.now_s()
    if not settings.ageing_max or now_s - job.ready_since_s(now_s) < OVERDUE_S:
        return ""
    return f" It has waited for more than {OVERDUE_S / 60:.0f} minutes: of every {EVERY} jobs that start, one is that which has waited longest, whatever its score."


def _ahead(owner: Owner, job: JobRead, weights: dict[int, int]) -> int:
    """About how many ready jobs of these types go first: those of a higher score, and of the same one those that are older. Age is not looked at."""
    row, line = job.row, line_of(owner, owner.types.by_id[job.row.type_id], job.row)
    boost = line.boost if line is not None else 0
    ahead = owner.lanes.ahead(row.job_id, row.type_id, row.priority + boost, weights)
    score = weights[row.type_id] + boost + row.priority
    for type_id, weight in weights.items():
        for other, priority, ids in owner.lines.entries(type_id):
            theirs = weight + other.boost + priority
            if theirs > score:
                ahead += len(ids)
            elif theirs == score:
                ahead += bisect_left(ids, row.job_id)
    return ahead


def _paused(owner: Owner, job: JobRead) -> str:
    entry = owner.types.by_id[job.row.type_id]
    pause = entry.pause
    type_paused = entry.settings.paused
    what, how = (f"type {job.type}", f"headrace types resume {job.type}") if type_paused else (f"domain {job.domain}", f"headrace domains resume {job.domain}")
    if pause is None:
        return f"Its {what} is paused ({how})."
    why = f": {pause.reason}" if pause.reason else ""
    return f"Its {what} was paused by {pause.actor or 'somebody'} at {_at(pause.at)}{why} ({how})."


def _broken(owner: Owner, job: JobRead) -> str:
    entry = owner.types.by_id[job.row.type_id]
    found = owner.breakers.standing(entry)
    if found is None or found.since_s is None:
        return ""
    since, how = _at(datetime.fromtimestamp(found.since_s, UTC)), "open" if found.until_s is not None else "half-open"
    text = f"It waits because the breaker of type {job.type} is {how} since {since}: {found.failed} of {found.ended} attempts"
    text += f" failed within {entry.settings.breaker_window_s:g} s"
    if found.until_s is not None:
        until = _at(datetime.fromtimestamp(found.until_s, UTC))
        return f"{text}. The next canary may start at {until} (headrace types close {job.type} closes it by hand)."
    return f"{text}. {found.running} canaries run, and {found.completed} of {entry.settings.breaker_canaries} have completed that close it."


def _capped(owner: Owner, job: JobRead) -> str:
    entry = owner.types.by_id[job.row.type_id]
    line = line_of(owner, entry, job.row)
    found = obstacles(owner, job, 0, (), 0)
    by = f", such as {', '.join(str(job_id) for job_id, _ in found.blockers[:NAMED])}" if found.blockers else ""
    if line is not None and line.cell is not None and line.room <= 0:
        return f"{line.cell.running} jobs with limit key {line.cell.key!r} run or may still run, of at most {entry.settings.concurrency_per_key}{by}."
    return f"{found.blockers_total} jobs of type {job.type} run or may still run, of at most {entry.settings.concurrency}{by}."


def _labels(job: JobRead) -> str:
    return ", ".join(f"{key}={value}" for key, value in (job.row.terms.labels if job.row.terms is not None else {}).items())


def _rate(owner: Owner, job: JobRead) -> str:
    settings = owner.types.by_id[job.row.type_id].settings
    return f"at most {settings.rate_limit_count} jobs in {settings.rate_limit_per_s:g} s"


def _waits_for(owner: Owner, job_id: int, seen: Sequence[int]) -> str:
    unmet = owner.graph.unmet.get(job_id, set())
    named = [str(other) for other in seen if other in unmet][:NAMED]
    listed = f": {', '.join(named)}{', ...' if len(unmet) > len(named) else ''}" if named else ""
    if job_id in owner.graph.sealed:
        opened = "" if owner.graph.sealed[job_id] else " It is not sealed yet."
        return f"It is the callback of a batch, and waits until {len(unmet)} members have settled{listed}.{opened} headrace jobs batch {job_id} shows how it stands."
    return f"It waits until {len(unmet)} jobs have completed{listed}. headrace jobs graph {job_id} shows where they stand."


def _error(job: JobRead) -> str:
    error = job.row.error
    if not error:
        return ""
    message = error.get("message", "").rstrip(". \n")
    return f"The last error was {error.get('code', '')}: {message[:LONGEST_ERROR] + ' …' if len(message) > LONGEST_ERROR else message + '.'}"
