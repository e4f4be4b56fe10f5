"""New runs of settled jobs, with the payload that they had or another one.

A payload that is given is a note of the event that brings it, and so a version of its own: older runs keep theirs. The job row stays as it was submitted.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from headrace_broker.model.amended import Amended
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.shards.intents import Requeue
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round
from headrace_broker.store.heads import WaitsFor

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def begin(owner: "Owner", round_: Round, live: Live, minute: int | None, amended: Amended | None, wish: Requeue, waits_for: WaitsFor | None) -> None:
    """Starts a new run of a job that is settled under the delete date `minute`; `live` says where it stands, and is what memory knows of it from now on. The run is
    held until what it waits for has completed.
    """
    live.run, live.attempt, live.losses, live.owner_changes, live.available_at_s = live.run + 1, 0, 0, 0, 0.0
    live.agent_id = None
    owner.record(round_, live, Kind.REQUEUED, State.WAITING, old_minute=minute)
    round_.batch.extend_event(actor=wish.actor, reason=wish.reason)
    if wish.payload is not None:
        amended = replace(amended or Amended(), content_type=wish.content_type)
        put_payload(round_, live, wish.payload, wish.actor)
        put_amended(round_, live, amended, wish.actor, wish.reason)
    if amended is not None:
        owner.amended[live.job_id] = amended
    owner.live_jobs[live.job_id] = live
    owner.graph.requeued(live.job_id)
    if waits_for is not None:
        owner.graph.hold(live.job_id, waits_for)
    round_.waiting_again.append(live)


def put_payload(round_: Round, live: Live, payload: bytes, actor: str) -> None:
    """From the newest event of the job on, this is its payload."""
    round_.batch.add_note(live.job_id, live.seq, NoteKind.PAYLOAD, actor=actor, data=payload)


def put_amended(round_: Round, live: Live, amended: Amended, actor: str, reason: str) -> None:
    """From the newest event of the job on, these are its amendments."""
    round_.batch.add_note(live.job_id, live.seq, NoteKind.AMENDED, actor=actor, reason=reason, data=amended.encoded())


def copy_of(owner: "Owner", live: Live) -> Live:
    """A job that was settled in this round, as it is after that; whoever is told of its end still sees that in `live`."""
    again = Live(live.job_id, live.entry, live.priority, live.instance_id)
    again.seq, again.kind, again.state = live.seq, live.kind, live.state
    if live.line is not None:
        again.line = owner.lines.of(live.entry, live.line.terms)  # the line may have gone with its last job
    again.run, again.attempt, again.losses = live.run, live.attempt, live.losses
    return again
