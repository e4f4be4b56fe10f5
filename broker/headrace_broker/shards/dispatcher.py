"""Pairs agents' credit with ready jobs: highest score first, then the one that has been ready longest.

The score of a job is its type's priority plus its own. Among lanes of the same score the one whose next id is lowest goes first. Agents with room take turns, and
share what is ready evenly when there is less of it than room.
"""

from typing import TYPE_CHECKING

from headrace_broker.model.job import Kind, State
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round
from headrace_broker.shards.session import Session
from headrace_broker.store.batch import MAX_ROWS, instance_of

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def grant(owner: "Owner", round_: Round, now: float) -> None:
    """Grants ready jobs to agents with room; adds the events and the grants to the round."""
    left = MAX_ROWS + MAX_ROWS // 2 - round_.batch.rows()
    while owner.hungry and left > 0:
        ready = {type_id: owner.lanes.ready(type_id) for type_id in owner.lanes.types() if not owner.types.by_id[type_id].settings.paused}
        if not ready:
            return
        share = max(1, sum(ready.values()) // len(owner.hungry))
        given = 0
        for session in list(owner.hungry):
            if session.room <= 0:
                del owner.hungry[session]
                continue
            taken = _serve(owner, round_, session, ready, min(share, session.room, left), now)
            given += taken
            left -= taken
            if taken:  # the next round begins with somebody else
                del owner.hungry[session]
                if session.room > 0:
                    owner.hungry[session] = None
            if left <= 0:
                return
        if not given:
            return


def _serve(owner: "Owner", round_: Round, session: Session, ready: dict[int, int], want: int, now: float) -> int:
    """Grants up to `want` jobs to one agent; returns how many."""
    lanes, given = owner.lanes, 0
    while given < want:
        best: list[tuple[int, int, int, int]] = []  # (-score, first id, type, priority)
        for type_id in ready.keys() & session.served.keys():
            priority = lanes.best(type_id)
            if priority is not None and session.room_for(type_id) > 0:
                best.append((-(priority + owner.types.by_id[type_id].settings.priority), lanes.first(type_id, priority), type_id, priority))
        if not best:
            break
        best.sort()
        score, _, type_id, priority = best[0]
        alone = len(best) == 1 or best[1][0] != score
        count = min(want - given, session.room_for(type_id)) if alone else 1
        given += _grant_all(owner, round_, session, lanes.pop(type_id, priority, count), type_id, priority, now)
    return given


def _grant_all(owner: "Owner", round_: Round, session: Session, job_ids: list[int], type_id: int, priority: int, now: float) -> int:
    """Grants jobs of one lane to one agent; returns how many. First attempts, which nearly all are, become columns of the batch; others an event each."""
    if not job_ids:
        return 0
    entry, agent_id, live_jobs, bodies = owner.types.by_id[type_id], session.facts.agent_id, owner.live_jobs, owner.bodies
    deadline = now + entry.settings.timeout_s + owner.limits.lease_s
    assigned = round_.grants.setdefault(session, [])
    fresh: list[Live] = []
    for job_id in job_ids:
        body = bodies.pop(job_id)
        live = live_jobs.get(job_id)
        known = live is not None
        if live is None:
            live = live_jobs[job_id] = Live(job_id, entry, priority, instance_of(body) if body is not None else None)
        live.session, live.agent_id, live.seen_no, live.deadline, live.granted_at = session, agent_id, session.last_no, deadline, now
        live.attempt += 1
        session.leases[job_id] = live
        session.unsent[live] = None
        if known:
            live.assign_no = live.missed = 0
            live.available_at_s = 0.0
            owner.record(round_, live, Kind.GRANTED, State.PROCESSING)
        else:
            live.seq, live.kind, live.state, live.round = 1, Kind.GRANTED, State.PROCESSING, round_.number
            fresh.append(live)
        if body is None:
            round_.bodiless.append((session, live))
        else:
            assigned.append((live, live.seq, body, None))
    owner.record_grants(round_, fresh, type_id, agent_id)
    session.spend(type_id, len(job_ids))
    session.renewed_at = max(session.renewed_at, now)
    return len(job_ids)
