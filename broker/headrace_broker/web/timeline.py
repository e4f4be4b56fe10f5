"""A job's events and notes as sentences: what happened, who did it, why."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.redaction import masked_labels
from headrace_broker.store.reads import EventRow, JsonObject
from headrace_broker.web import render

WORDS = {
    Kind.GRANTED: "attempt {attempt} began",
    Kind.COMPLETED: "completed",
    Kind.FAILED: "attempt {attempt} failed",
    Kind.TIMED_OUT: "attempt {attempt} took too long",
    Kind.LOST: "its agent was lost",
    Kind.RELEASED: "given back by its agent, uncharged",
    Kind.REJECTED: "not taken by its agent",
    Kind.OWNER_CHANGED: "given back: nobody claimed its lease after a takeover",
    Kind.ABORTED: "aborted",
    Kind.REQUEUED: "requeued: run {run} began",
    Kind.PURGED: "deleted",
    Kind.EXPIRED: "expired: it had not started in time",
    Kind.DEPENDENCIES_MET: "all that it depends on has completed",
    Kind.DEPENDENCY_FAILED: "ended, because a job that it depends on did not complete",
    Kind.UPDATED: "changed",
}
NOTE_WORDS = {
    NoteKind.ABORT_REQUESTED: "its end was asked for",
    NoteKind.CHECKPOINT: "checkpoint stored",
    NoteKind.LATE_OUTCOME: "an outcome came too late and changed nothing",
    NoteKind.BATCH_SEALED: "batch sealed",
    NoteKind.AMENDED: "changed",
    NoteKind.PAYLOAD: "another payload",
}
STEPS = {
    "delivered": "the abort reached the handler", "ignored": "the handler goes on although its grace is over", "stopped": "the handler stopped",
    "killed": "the handler's process was ended", "finished": "the handler had completed before the abort",
    "lost": "its agent said nothing more after the abort", "forced": "ended at once, whatever its handler does",
    "not_started": "no handler ran",
}  # fmt: skip
MERGED = {Kind.UPDATED: (NoteKind.AMENDED, NoteKind.PAYLOAD), Kind.REQUEUED: (NoteKind.PAYLOAD, NoteKind.AMENDED)}
"""Notes that tell more of the event that they belong to."""


@dataclass(slots=True)
class Entry:
    """One line: `state` after it, where it moved the job; `details`: what it changed."""

    at: datetime
    seq: int
    what: str
    state: State | None
    who: str
    agent: str
    reason: str
    error: dict[str, str] | None
    next_at: datetime | None
    operation: str = ""  # the id of the bulk operation that did it
    details: list[str] = field(default_factory=list)


def timeline(events: Sequence[EventRow], secret: Sequence[str]) -> list[Entry]:
    """Entries in the order of the events; labels of `secret` names are masked."""
    entries: list[Entry] = []
    moved: dict[int, tuple[EventRow, Entry]] = {}
    operations: dict[int, str] = {}  # bulk operations by the event that they made, or the lease whose end they asked for
    for event in events:
        if event.kind.name == "OPERATION":
            operations[event.seq] = (event.data or b"").decode()
            continue
        details = _details(event, secret)
        if isinstance(event.kind, NoteKind) and event.seq in moved:
            parent, entry = moved[event.seq]
            if isinstance(parent.kind, Kind) and event.kind in MERGED.get(parent.kind, ()):
                entry.details += details
                continue
        state = event.state if event.kind is not Kind.UPDATED else None
        entry = Entry(event.at, event.seq, _what(event), state, event.actor, event.agent, event.reason, event.error, event.available_at, details=details)
        entries.append(entry)
        if isinstance(event.kind, Kind):
            moved[event.seq] = (event, entry)
    for seq, operation in operations.items():
        asked = [entry for entry in entries if entry.seq == seq and entry.what == NOTE_WORDS[NoteKind.ABORT_REQUESTED]]
        for entry in asked or [entry for entry in entries if entry.seq == seq]:
            entry.operation = operation
    return entries


def _what(event: EventRow) -> str:
    if event.kind is NoteKind.ABORT_STEP:
        step = (event.data or b"").decode()
        return STEPS.get(step, f"abort: {step}")
    known = WORDS.get(event.kind) if isinstance(event.kind, Kind) else NOTE_WORDS.get(event.kind)  # their numbers are the same
    words = known or event.kind.name.lower().replace("_", " ")
    return words.format(attempt=event.attempt, run=event.run)


def _details(event: EventRow, secret: Sequence[str]) -> list[str]:
    if event.kind is NoteKind.PAYLOAD:
        return ["another payload"]
    if event.kind is not NoteKind.AMENDED or not event.data:
        return []
    values: dict[str, Any] = json.loads(event.data)
    said = []
    if "priority" in values:
        said.append(f"priority {values['priority']}")
    if "hold" in values:
        said.append("held: it is not deleted")
    if "delete_after_s" in values:
        said.append(f"kept {render.span_s(values['delete_after_s'])} after it has settled")
    if "labels" in values:
        said.append("labels " + (", ".join(f"{key}={value}" for key, value in masked_labels(values["labels"], secret).items()) or "none"))
    return said


@dataclass(frozen=True, slots=True)
class AbortTold:
    """An abort that somebody asked for, and how far it came: (what, seconds since 1970) in order."""

    actor: str
    reason: str
    at: float
    grace_s: float
    force: bool
    then_requeue: bool
    steps: list[tuple[str, float]]


def abort_told(stored: JsonObject | None) -> AbortTold | None:
    """From what was read of it."""
    if stored is None:
        return None
    asked = stored["asked"] if isinstance(stored["asked"], dict) else {"grace_s": stored["asked"]}
    steps = sorted(((STEPS.get(name, name), told["at"]) for name, told in (stored["steps"] or {}).items()), key=lambda step: step[1])
    return AbortTold(
        stored["actor"] or "", stored["reason"] or "", stored["at"], float(asked["grace_s"]), bool(asked.get("force", False)), "requeue" in asked, steps,
    )  # fmt: skip
