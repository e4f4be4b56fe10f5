"""An agent says hello: a new session, or an old one that goes on; and the answer for each lease that it names."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import Ending
from headrace_broker.shards.live import CLAIMED, GIVEN_BACK, Live
from headrace_broker.shards.session import AgentFacts, Served, Session

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def welcome(
    owner: "Owner", facts: AgentFacts, served: Iterable[Served], slots: int, held: dict[int, int], stream: object, now: float
) -> tuple[Session, list[tuple[int, int]], bool]:
    """Begins or resumes the session of an incarnation on a new stream; `held` maps job ids to the lease epochs that the agent still has.

    Leases that the agent has and the broker does not are returned, as (job_id, epoch). Those that the broker has and the agent does not were lost on their way:
    they are given back, uncharged, since nobody can have begun them. Returns (session, not held, resumed).
    """
    session = owner.by_incarnation.get(facts.incarnation_id)
    resumed = session is not None
    if session is None:
        session = owner.by_incarnation[facts.incarnation_id] = Session(facts, served, slots, now)
    else:
        session.served = {s.entry.type_id: s for s in served}
        session.slots = slots
    session.attach(stream, now)
    session.paused = facts.name in owner.types.domain(facts.domain).agents
    not_held = []
    for job_id, epoch in held.items():
        live = owner.live_jobs.get(job_id)
        claimable = live is not None and live.seq == epoch and live.state is State.PROCESSING and live.agent_id == facts.agent_id
        if live is None or not claimable or live.session not in (None, session):
            not_held.append((job_id, epoch))
            continue
        live.session, live.assign_no, live.missed = session, CLAIMED, 0
        session.leases[job_id] = live
        if live.abort is not None:
            session.out.aborts.append((job_id, epoch, live.abort))
    forgotten = unnamed(owner, facts, held)
    owner.orphans.pop(facts.agent_id, None)
    owner.end(Ending(live.job_id, live.seq, Kind.REJECTED, reason="the agent came back without it") for live in forgotten)
    return session, not_held, resumed


def unnamed(owner: "Owner", facts: AgentFacts, held: dict[int, int]) -> list[Live]:
    """Leases that an incarnation has, and of which it says nothing: those of its session, and those that a takeover found open. `held`: what it says that it has."""
    session = owner.by_incarnation.get(facts.incarnation_id)
    found = [live for live in session.leases.values() if live.job_id not in held] if session is not None else []
    orphans = [live for live in owner.orphans.get(facts.agent_id, ()) if live.session is None and live.state is State.PROCESSING]
    return found + [live for live in orphans if held.get(live.job_id) != live.seq]


def reject(owner: "Owner", session: Session, refused: Iterable[tuple[int, int, str]]) -> None:
    """An agent gives back leases of its own unstarted: (job_id, epoch, why). It has opened no door then, so nobody contests it."""
    for job_id, epoch, why in refused:
        live = owner.live_jobs.get(job_id)
        if live is not None and live.seq == epoch and live.agent_id != session.agent_id:
            owner.metrics.foreign_leases.labels("rejection").inc()
        elif live is not None and live.seq == epoch and live.state is State.PROCESSING:
            _give_back(owner, live, why, cleared=True)


def heartbeat(owner: "Owner", session: Session, number: int, held: dict[int, int], now: float) -> None:
    """Renews the session's leases; the confirmation follows with the next proof of ownership.

    A lease that two heartbeats in a row do not name, although its Assign was accepted, is not run by anybody: it is given back.
    """
    session.renewed_at = now
    _confirm(owner, session, number)
    for job_id, epoch in held.items():
        live = session.leases.get(job_id)
        if live is None or live.seq != epoch:
            session.out.not_held.append((job_id, epoch))
    for live in session.leases.values():
        arrived = live.assign_no == CLAIMED or 0 < live.assign_no <= session.accepted_no
        if live.missed == GIVEN_BACK:
            continue
        live.missed = live.missed + 1 if arrived and held.get(live.job_id) != live.seq else 0
        if live.missed >= 2:
            _give_back(owner, live, "the agent does not know of it", cleared=False)


def confirm_soon(owner: "Owner", session: Session, number: int) -> None:
    """The leases that a Hello claims are confirmed by the next proof of ownership, which follows at once: there may be little left of them."""
    _confirm(owner, session, number)
    owner.wake.set()


def _confirm(owner: "Owner", session: Session, number: int) -> None:
    """The next proof of ownership confirms this message."""
    if session.beats and session.beats[-1][1] == owner.rounds:  # the same flush confirms both
        session.beats.pop()
    session.beats.append((number, owner.rounds))
    owner.beating.add(session)


def _give_back(owner: "Owner", live: Live, why: str, *, cleared: bool) -> None:
    """Queues the end of a lease that its agent does not want, once: while the database is away the agent may say so again and again."""
    if live.missed != GIVEN_BACK:
        live.missed = GIVEN_BACK
        owner.end([Ending(live.job_id, live.seq, Kind.REJECTED, reason=why, cleared=cleared)])


def review_pauses(owner: "Owner") -> None:
    """Settings or pauses have changed: who is paused; and whoever is not, asks anew."""
    for session in owner.by_incarnation.values():
        session.paused = session.facts.name in owner.types.domain(session.facts.domain).agents
        if session.room > 0:
            owner.hungry[session] = None
    owner.wake.set()
