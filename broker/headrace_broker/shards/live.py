"""What the owner remembers of a job that is neither settled nor merely waiting for its first attempt."""

from typing import TYPE_CHECKING

from headrace_broker.model.job import AbortStep, Kind, State
from headrace_broker.shards.types import TypeEntry

if TYPE_CHECKING:
    from headrace_broker.shards.intents import Requeue
    from headrace_broker.shards.lines import Line
    from headrace_broker.shards.session import Session


CLAIMED = -1
"""As `assign_no`: the agent named the lease when it came back, so the Assign has surely arrived."""


GIVEN_BACK = -1
"""As `missed`: its agent has given the lease back, and the end of it is queued."""


class Abort:
    """A pending wish that a processing job end: who, why, how long its handler may take to stop, what its agent said so far, and whether the job is to run again."""

    __slots__ = ("actor", "grace_s", "reason", "requeue", "steps")

    def __init__(self, actor: str, reason: str, grace_s: float, requeue: "Requeue | None" = None) -> None:
        self.actor = actor
        self.reason = reason
        self.grace_s = grace_s
        self.requeue = requeue
        self.steps: set[AbortStep] = set()


class Live:
    """One unsettled job. Written by the owner's decisions only; times are monotonic unless they say otherwise."""

    __slots__ = (
        "abort", "agent_id", "assign_no", "attempt", "available_at_s", "deadline", "entry", "granted_at", "instance_id", "job_id", "kind", "lease_end", "line",
        "losses", "missed", "not_before", "owner_changes", "priority", "progress", "round", "run", "seen_no", "seq", "session", "state",
    )  # fmt: skip

    def __init__(self, job_id: int, entry: TypeEntry, priority: int, instance_id: str | None) -> None:
        self.job_id = job_id
        self.entry = entry
        self.priority = priority
        self.instance_id = instance_id
        self.seq = 0
        self.kind: Kind | None = None  # of the newest event
        self.state = State.WAITING
        self.run = 1
        self.attempt = 0
        self.losses = 0
        self.line: Line | None = None  # of jobs that have terms
        self.owner_changes = 0  # leases of this run that ended unclaimed, when it was read from the ledger
        self.available_at_s = 0.0  # waiting: not before, database clock; 0: at once
        self.not_before = 0.0  # no grant before: end of a lease whose holder may still run
        self.session: Session | None = None  # processing: who holds the lease; None: nobody claimed it since a takeover
        self.agent_id: int | None = None
        self.assign_no = 0  # number of the Assign that carried it; 0: not sent yet
        self.seen_no = 0  # newest message of the agent when the job was granted: its lease counts from the sending of that
        self.granted_at = 0.0  # start of the present attempt, if this owner granted it
        self.deadline = 0.0  # processing: the broker itself ends the attempt then
        self.lease_end = 0.0  # of a lease that a takeover found open: nobody may claim it after this, and who had it may go on until then
        self.round = 0  # in which its newest event was decided
        self.missed = 0  # heartbeats in a row that did not name this lease
        self.abort: Abort | None = None
        self.progress: tuple[float, str] | None = None
