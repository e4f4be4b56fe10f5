"""Why a job is where it is, in numbers and in sentences."""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace_broker.actions.reads import JobRead
from headrace_broker.model.job import State
from headrace_broker.shards.owner import Owner

NAMED = 5
"""Jobs that a sentence names."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`ahead`: about how many ready jobs go first; `agents`, `slots`, `slots_free`: who serves the type."""

    job: JobRead
    text: str
    ahead: int
    agents: int
    slots: int
    slots_free: int


def explain(owner: Owner, job: JobRead) -> Explanation:
    """From the owner's memory; the job as it was read a moment ago."""
    type_id = job.row.type_id
    serving = [session for session in owner.sessions() if session.stream is not None and type_id in session.served]
    serving = [session for session in serving if not (session.draining or session.held_back or session.paused)]
    slots = sum(session.slots for session in serving)
    free = sum(max(0, session.slots - len(session.leases)) for session in serving)
    ahead = 0
    if job.row.state is State.WAITING and job.wait_reason not in ("scheduled", "retry"):
        shared = {type_id}.union(*(session.served for session in serving))
        weights = {other: owner.types.by_id[other].settings.priority for other in shared if other == type_id or not owner.types.by_id[other].halted}
        ahead = owner.lanes.ahead(job.row.job_id, type_id, job.row.priority, weights) + _ahead_with_terms(owner, job)
    who = f"{len(serving)} connected agents serve {job.type}, with {free} of {slots} slots free"
    return Explanation(job, _text(owner, job, ahead, who), ahead, len(serving), slots, free)


def _text(owner: Owner, job: JobRead, ahead: int, who: str) -> str:
    row = job.row
    if row.state is State.WAITING:
        due = (
            ""
            if row.available_at is None
            else f"{row.available_at.isoformat(timespec='seconds')} (in {max(0.0, row.available_at.timestamp() - owner.clock.now_s()):.0f} s)"
        )
        reasons = {
            "ready": f"It waits for a free slot; about {ahead} jobs go first. {who}.",
            "scheduled": f"It was submitted to start at {due}.",
            "retry": f"Its last attempt did not complete; the next one may start at {due}. {_error(job)}",
            "paused": f"{_paused(owner, job)} About {ahead} jobs go first once it is resumed.",
            "capped": f"{_capped(owner, job)} About {ahead} jobs go first.",
            "no_matching_agent": f"No connected agent that serves {job.type} has the labels that it requires: {_labels(job)}.",
            "rate_limited": f"Its type starts {_rate(owner, job)}; about {ahead} jobs go first.",
            "dependency": _waits_for(owner, row.job_id),
            "no_agent": f"No connected agent serves its type {job.type}, or those that do are draining; {ahead} jobs go first once one does.",
        }
        return reasons[job.wait_reason or "ready"].strip()
    if row.state is State.PROCESSING:
        live = owner.live(row.job_id)
        claimed = live is None or live.session is not None
        text = f"Attempt {row.attempt} of run {row.run} runs on agent {row.agent or 'unknown'}."
        if not claimed:
            text += " The agent has not come back since this broker took over; if it does not within a lease, the job is given back."
        if row.abort is not None and live is not None and live.abort is not None:
            text += f" {row.abort['actor'] or 'Somebody'} asked for its end: {row.abort['reason'] or 'no reason given'}."
        if job.progress is not None:
            text += f" It reports {job.progress[0]:.0f} % {job.progress[1]}".rstrip() + "."
        return text
    when = row.at.astimezone(UTC).isoformat(timespec="seconds") if row.at is not None else ""
    kept = "" if row.delete_minute is None else f" It is deleted at {datetime.fromtimestamp(row.delete_minute * 60, UTC).isoformat(timespec='minutes')}."
    if row.state is State.COMPLETED:
        return f"It completed at {when} in attempt {row.attempt} of run {row.run}.{kept}"
    return f"It ended in {row.state.name.lower()} at {when} after {row.attempt} attempts and {row.losses} lost agents in run {row.run}. {_error(job)}{kept}".strip()


def _ahead_with_terms(owner: Owner, job: JobRead) -> int:
    """Ready jobs with terms of its own type that go first, about: those of higher priority, and older ones of the same."""
    row = job.row
    found = 0
    for _, priority, ids in owner.lines.entries(row.type_id):
        found += len(ids) if priority > row.priority else bisect_left(ids, row.job_id) if priority == row.priority else 0
    return found


def _paused(owner: Owner, job: JobRead) -> str:
    entry = owner.types.by_id[job.row.type_id]
    pause = entry.pause
    type_paused = entry.settings.paused
    what, how = (f"type {job.type}", f"headrace types resume {job.type}") if type_paused else (f"domain {job.domain}", f"headrace domains resume {job.domain}")
    if pause is None:
        return f"Its {what} is paused ({how})."
    why = f": {pause.reason}" if pause.reason else ""
    return f"Its {what} was paused by {pause.actor or 'somebody'} at {pause.at.astimezone(UTC).isoformat(timespec='seconds')}{why} ({how})."


def _capped(owner: Owner, job: JobRead) -> str:
    entry, terms = owner.types.by_id[job.row.type_id], job.row.terms
    line = owner.lines.find(entry, terms) if terms is not None else None
    if line is not None and line.cell is not None and line.room <= 0:
        holders = [live.job_id for live in owner.live_jobs.values() if live.state is State.PROCESSING and live.line is not None and live.line.cell is line.cell][:5]
        by = f", held by jobs {', '.join(map(str, holders))}" if holders else ""
        return f"{line.cell.running} jobs with limit key {line.cell.key!r} run or may still run, of at most {entry.settings.concurrency_per_key}{by}."
    return f"{owner.caps.running(owner, entry)} jobs of type {job.type} run or may still run, of at most {entry.settings.concurrency}."


def _labels(job: JobRead) -> str:
    return ", ".join(f"{key}={value}" for key, value in (job.row.terms.labels if job.row.terms is not None else {}).items())


def _rate(owner: Owner, job: JobRead) -> str:
    settings = owner.types.by_id[job.row.type_id].settings
    return f"at most {settings.rate_limit_count} jobs in {settings.rate_limit_per_s:g} s"


def _waits_for(owner: Owner, job_id: int) -> str:
    unmet = owner.graph.unmet.get(job_id, set())
    named = ", ".join(map(str, sorted(unmet)[:NAMED]))
    return f"It waits until {len(unmet)} jobs have completed: {named}{', ...' if len(unmet) > NAMED else ''}."


def _error(job: JobRead) -> str:
    error = job.row.error
    return "" if not error else f"The last error was {error.get('code', '')}: {error.get('message', '')[:200]}"
