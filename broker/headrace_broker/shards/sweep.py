"""What time ends: sessions whose agent is gone, leases that nobody claims, attempts that take too long. The owner decides the endings in the same round."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import Ending
from headrace_broker.shards.live import Live
from headrace_broker.shards.session import Session

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

SWEEP_S = 0.25
FEW = 20_000
"""Live jobs that are all looked at each time. Of more, as after a million were requeued, only those that are leased: 72 ms of the event loop for a million, measured."""
ALL_S = 10.0
"""How often all are looked at, however many there are."""
MAX_OWNER_CHANGES = 10
"""Leases of one run that may end unclaimed after a takeover; further ones are charged as losses."""
TIMED_OUT = '{"code": "timeout", "message": "the attempt took longer than its timeout", "fingerprint": "timeout"}'
LOST = '{"code": "lost", "message": "the agent was lost while it ran the job", "fingerprint": "lost"}'


def sweep(owner: "Owner", now: float) -> float:
    """Ends what time has ended; returns when to look again. Times are the owner's monotonic clock, in seconds."""
    renewed_since = now - owner.limits.lease_s
    for session in [s for s in owner.by_incarnation.values() if s.renewed_at < renewed_since or s.closed_at is not None or s.unaccepted]:  # of 10,000, few
        _sweep_session(owner, session, now)
    for live in _leased(owner, now):
        if live.state is not State.PROCESSING:
            continue
        if live.session is None and now > live.lease_end:
            # No fault of the job's, as far as we know; one that takes its broker down with it every time must end some day.
            kind = Kind.OWNER_CHANGED if live.owner_changes < MAX_OWNER_CHANGES else Kind.LOST
            error = LOST if kind is Kind.LOST else None
            owner.endings.append(Ending(live.job_id, live.seq, kind, error=error, reason="nobody claimed the lease after a takeover", unclaimed=True))
        elif live.deadline and now > live.deadline:
            owner.endings.append(
                Ending(live.job_id, live.seq, Kind.TIMED_OUT, error=TIMED_OUT, reason="the agent did not end the attempt in time", lease_until=now + owner.limits.lease_s)
            )
            if live.session is not None:
                live.session.revoke(live.job_id, live.seq)
    owner.not_before = {job_id: until for job_id, until in owner.not_before.items() if until > now}
    return now + SWEEP_S


def _leased(owner: "Owner", now: float) -> Iterable[Live]:
    """All jobs that are leased, and perhaps others."""
    if len(owner.live_jobs) <= FEW or now >= owner.swept_all_at + ALL_S:
        owner.swept_all_at = now
        return owner.live_jobs.values()
    held = [session.leases.values() for session in owner.by_incarnation.values() if session.leases]
    return itertools.chain(*held, *owner.orphans.values())  # what a takeover found open, and nobody has claimed


def _sweep_session(owner: "Owner", session: Session, now: float) -> None:
    limits = owner.limits
    silent = now - session.renewed_at > limits.lease_s
    if session.stream is not None and session.accept_overdue(now, limits.accept_timeout_s):
        session.out.go_away = "assignments were not accepted in time"
        session.wake.set()
    if silent or (session.closed_at is not None and now - session.closed_at > limits.disconnect_grace_s):
        _drop(owner, session, "its heartbeats stopped" if silent else "its connection closed and it did not come back", silent=silent)


def _drop(owner: "Owner", session: Session, why: str, *, silent: bool) -> None:
    """The agent is lost: its leases end. What was never sent to it is charged nothing; what was sent is, since a job may kill its agent before it can accept.

    A lease that a takeover found open may be longer than leases are now: at an agent that heard nothing since it goes on until then. One that was `silent` for as long as
    leases are now has lost its jobs since their leases are over, so they are granted again when that is true; after a mere grace nobody says that it is.
    """
    owner.by_incarnation.pop(session.facts.incarnation_id, None)
    owner.hungry.pop(session, None)
    session.lost = True  # nobody looks at its leases any more: one that it was granted now would last until the job's timeout
    session.out.go_away = why
    session.wake.set()
    reason = f"agent {session.facts.name} was lost: {why}"
    renewed_until = session.renewed_at + owner.limits.lease_s  # it counts its leases from what it sent before it was heard
    for live in list(session.leases.values()):
        kind = Kind.LOST if live.assign_no else Kind.REJECTED
        lost, until = kind is Kind.LOST, max(renewed_until, live.lease_end)
        if lost and silent:
            owner.not_before[live.job_id] = live.not_before = until
        owner.endings.append(Ending(live.job_id, live.seq, kind, error=LOST if lost else None, reason=reason, lease_until=until if lost else 0.0))
    owner.metrics.sessions_lost.inc()


def forget_expired_counts(owner: "Owner") -> None:
    """Drops the counts of jobs that their delete date has hidden for more than an hour."""
    minute = owner.clock.now_s() / 60 - 60
    for key in [key for key, count in owner.counted.items() if 0 < key[2] <= minute or not count or key[1] is State.GONE]:
        del owner.counted[key]
