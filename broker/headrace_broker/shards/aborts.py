"""Abort with proof: what was asked for, what the agent said on the way, and how it ended, each a note of the lease that it concerns.

    requested --> delivered --> (ignored) --> stopped | killed | finished | lost        at once: forced, not_started

A request is durable before its agent hears of it, and a broker that takes over reads it with the open lease and tells whoever comes back with that lease. The end is
noted in the commit that ends the lease, and so is the new run, when the abort was the first half of "abort, then requeue": a broker that dies has done all of it or none.
"""

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace_broker.model.amended import Amended
from headrace_broker.model.job import AbortStep, Kind, NoteKind, State
from headrace_broker.shards import requeues, turns
from headrace_broker.shards.intents import ChangeIntent, Ending, Note, Requeue
from headrace_broker.shards.live import Abort, Live
from headrace_broker.shards.round import Round
from headrace_broker.store.heads import WaitsFor
from headrace_broker.store.recovery import StoredAbort

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner
    from headrace_broker.shards.session import Session

STEPS_BY_AGENT = frozenset({AbortStep.DELIVERED, AbortStep.IGNORED})


def request(owner: "Owner", round_: Round, intent: ChangeIntent, live: Live, requeue: Requeue | None = None) -> None:
    """Notes the wish that a processing job end, and has its agent told once that is durable. A newer request replaces an older one."""
    live.abort = Abort(intent.actor, intent.reason, intent.grace_s, requeue)
    owner.aborting[live.job_id] = live
    _note_request(round_, intent, live.job_id, live.seq, requeue)
    if live.session is not None:
        round_.aborts.append((live.session, live.job_id, live.seq, live.abort))


def at_once(owner: "Owner", round_: Round, intent: ChangeIntent, live: Live, requeue: Requeue | None, now: float) -> State:
    """Ends a job without waiting for anybody: one that waits, or one whose handler may go on (force). Returns its state."""
    forced = live.state is State.PROCESSING
    _note_request(round_, intent, live.job_id, live.seq, requeue, force=forced)
    if forced:
        until = max(now + owner.limits.lease_s, live.lease_end)  # a lease that a takeover found may be longer
        owner.not_before[live.job_id] = until
        owner.caps.owe(owner, live, until, now)
        if live.session is not None:
            round_.revoked.append((live.session, live.job_id, live.seq))
    else:
        turns.leave(owner, live.job_id)
        owner.bodies.pop(live.entry.type_id, live.job_id)
    live.abort = Abort(intent.actor, intent.reason, 0.0, requeue)
    pending = before_end(owner, live)
    minute = owner.settle_job(round_, live, Kind.ABORTED, State.ABORTED, again=requeue is not None)
    round_.batch.extend_event(actor=intent.actor, reason=intent.reason)
    owner.raise_alert(round_, live, None)
    assert pending is not None  # it has just been asked for
    return after_end(owner, round_, live, pending, minute, AbortStep.FORCED if forced else AbortStep.NOT_STARTED)


def report(owner: "Owner", session: "Session", job_id: int, epoch: int, step: AbortStep) -> None:
    """An agent says how far the abort of a lease of its came; said again after a new stream, it is noted once."""
    live = owner.live_jobs.get(job_id)
    if live is None or live.seq != epoch or live.abort is None or step in live.abort.steps:
        return
    if live.agent_id != session.agent_id:
        owner.metrics.foreign_leases.labels("abort").inc()
        return
    live.abort.steps.add(step)
    owner.note(Note(job_id, epoch, NoteKind.ABORT_STEP, step.encode(), session.facts.name))


@dataclass(frozen=True, slots=True)
class Pending:
    """What is known of an abort before its lease ends, and what the job takes along into a new run."""

    abort: Abort
    epoch: int
    agent: str
    amended: Amended | None
    waits_for: WaitsFor | None  # what it waited for

    @property
    def again(self) -> bool:
        """Whether a new run follows when it is aborted."""
        return self.abort.requeue is not None


def before_end(owner: "Owner", live: Live) -> Pending | None:
    """To be called before the event that settles the job, which forgets it."""
    if live.abort is None:
        return None
    return Pending(live.abort, live.seq, live.session.facts.name if live.session is not None else "", owner.amended.get(live.job_id), owner.graph.waits_for(live.job_id))


def after_end(owner: "Owner", round_: Round, live: Live, pending: Pending, minute: int | None, step: AbortStep) -> State:
    """Notes how the abort ended, and begins the new run that was asked for with it; returns the job's state. `minute`: the delete date that it has just been given."""
    by_agent = step in (AbortStep.STOPPED, AbortStep.KILLED, AbortStep.FINISHED)
    round_.batch.add_note(live.job_id, pending.epoch, NoteKind.ABORT_STEP, actor=pending.agent if by_agent else None, data=step.encode())
    wish = pending.abort.requeue
    if wish is None or (live.state is State.COMPLETED and not wish.include_completed):
        return live.state
    again = requeues.copy_of(owner, live)
    again.not_before = owner.not_before.get(live.job_id, 0.0)
    requeues.begin(owner, round_, again, minute, pending.amended, wish, pending.waits_for)
    return State.WAITING


def step_of(ending: Ending) -> AbortStep:
    """How the abort of a lease ended that ended so."""
    if ending.kind is Kind.REJECTED:
        return AbortStep.NOT_STARTED
    if ending.sink is None:
        return AbortStep.LOST
    return AbortStep.KILLED if ending.killed else AbortStep.STOPPED


def recover(owner: "Owner", stored: StoredAbort) -> None:
    """What a note of an open lease says; they come oldest first."""
    live = owner.live_jobs[stored.job_id]
    if stored.kind is NoteKind.ABORT_STEP:
        if live.abort is not None:
            live.abort.steps.add(AbortStep(stored.data.decode()))
        return
    live.abort = asked_for(stored.actor, stored.reason, stored.data)
    owner.aborting[live.job_id] = live


def asked_for(actor: str, reason: str, data: bytes) -> Abort:
    """The request that a note of the kind ABORT_REQUESTED stores."""
    asked: Any = json.loads(data or b"30")
    if not isinstance(asked, dict):
        asked = {"grace_s": asked}
    again, requeue = asked.get("requeue"), None
    if again is not None:
        payload = base64.b64decode(again["payload"]) if "payload" in again else None
        requeue = Requeue(actor, reason, payload, again.get("content_type", ""), again.get("include_completed", False))
    return Abort(actor, reason, float(asked["grace_s"]), requeue)


def _note_request(round_: Round, intent: ChangeIntent, job_id: int, epoch: int, requeue: Requeue | None, *, force: bool = False) -> None:
    """A plain request is its grace in seconds, a number; else an object."""
    asked: Any = intent.grace_s
    if force or requeue is not None:
        asked = {"grace_s": intent.grace_s}
        if force:
            asked["force"] = True
        if requeue is not None:
            asked["requeue"] = {"content_type": requeue.content_type, "include_completed": requeue.include_completed}
            if requeue.payload is not None:
                asked["requeue"]["payload"] = base64.b64encode(requeue.payload).decode()
    round_.batch.add_note(job_id, epoch, NoteKind.ABORT_REQUESTED, actor=intent.actor, reason=intent.reason, data=json.dumps(asked).encode())
