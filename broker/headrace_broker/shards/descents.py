"""Requeues of a job together with its descendants that failed: what each new run waits for, and who has to be decided first.

Of the jobs of a call that depend on each other the first is decided first (`actions/descents.py` puts them in order). A job whose dependency begins a new run in the
same call, or is on its way again for another reason, waits for that run, whether it had its turn before or not; one whose dependency failed and could not be requeued
is left as it is, since it would only fail again. A callback waits for its batch again. What a new run waits for, where its submission does not say so, is a note of the
event that begins it.

Each job is decided by itself, in rounds of a thousand: a broker that dies in between leaves some of them requeued, and the same call does the rest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace_broker.model.audit import AuditEntry
from headrace_broker.model.errors import InvalidState
from headrace_broker.model.job import NoteKind, State
from headrace_broker.store.heads import StoredHead, WaitsFor

if TYPE_CHECKING:
    from headrace_broker.shards.live import Live
    from headrace_broker.shards.owner import Owner
    from headrace_broker.shards.round import Round

_FAILED = (State.ERROR, State.ABORTED)


@dataclass(slots=True, eq=False)
class Descent:
    """One call. Who made it fills the first fields, the owner the others as it decides."""

    root: int
    depends_on: Mapping[int, Sequence[int]]  # job -> those of its dependencies that are the root or below it
    members: Mapping[int, Sequence[int]]  # callback of a batch -> those of its members that are
    undecided: set[int]  # jobs that are to be requeued
    audit: AuditEntry | None  # of the call as a whole; None: it is on its way to the database
    runs: dict[int, int] = field(default_factory=dict)  # jobs that this call requeued -> their new run
    refused: set[int] = field(default_factory=set)  # jobs that failed and were not requeued

    def must_wait(self, job_id: int) -> bool:
        """Whether a job that this one waits for is not decided yet."""
        return not self.undecided.isdisjoint(self.depends_on.get(job_id, ())) or not self.undecided.isdisjoint(self.members.get(job_id, ()))

    def waits_for(self, owner: "Owner", head: StoredHead) -> WaitsFor | None:
        """What a new run of the job waits for. Raises InvalidState where it would wait in vain."""
        if head.job_id in self.members:
            return {}
        found = dict(head.waits_for or {})
        for other in self.depends_on.get(head.job_id, ()):
            if other in self.refused:
                raise InvalidState(f"job {other}, which job {head.job_id} depends on, was not requeued")
            live = owner.live_jobs.get(other)
            run = self.runs.get(other, live.run if live is not None else 0)
            if run:
                found[other] = run
        return found or head.waits_for

    def requeued(self, round_: "Round", live: "Live", head: StoredHead, waits_for: WaitsFor | None, actor: str) -> None:
        """The job begins a new run, by the event that was decided last."""
        self.undecided.discard(live.job_id)
        self.runs[live.job_id] = live.run
        if waits_for is not None and waits_for != head.waits_for:
            round_.batch.add_note(live.job_id, live.seq, NoteKind.WAITS_FOR, actor=actor, data=json.dumps(waits_for).encode())
        if self.audit is not None:
            round_.batch.audit.append(self.audit)
            self.audit = None

    def left(self, job_id: int, state: State) -> None:
        """The job was not requeued; it stands so, or is gone."""
        self.undecided.discard(job_id)
        if state in _FAILED:
            self.refused.add(job_id)
