"""Bulk operations: one deed to every job that matches a filter, in the order of their ids, with what became of each.

    running <-> stopped
       |
       '--> finished

Membership is frozen at the start: only jobs with ids up to `frozen_id` are looked at, each once, and those that match then are members. How far it came is stored with
what it did, in one commit, so an operation goes on where it was, whichever broker dies.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.job import SETTLED, State

MAX_RATE = 1_000_000.0
MAX_PAYLOAD_BYTES = 64 * 1024
"""Of new runs: it is written down for each of them."""


class Action(StrEnum):
    """What is done; the texts are stored."""

    REQUEUE = "requeue"
    ABORT = "abort"
    PURGE = "purge"
    PRIORITY = "priority"
    HOLD = "hold"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done to each job. `include_completed`, `payload` (of the new runs; None: the same again) and `content_type` are of requeue, `grace_s` and `force` of abort,
    `priority` of priority, which needs it.
    """

    action: Action
    include_completed: bool = False
    grace_s: float = 30.0
    force: bool = False
    priority: int | None = None
    payload: bytes | None = None
    content_type: str = ""

    @property
    def states(self) -> frozenset[State]:
        """The states in which a job takes it; in any other it is skipped."""
        if self.action is Action.REQUEUE:
            return SETTLED if self.include_completed else SETTLED - {State.COMPLETED}
        if self.action is Action.ABORT:
            return frozenset({State.WAITING, State.PROCESSING})
        return SETTLED if self.action is Action.PURGE else frozenset(State) - {State.GONE}

    def options(self) -> dict[str, Any]:
        """What is stored beside the action: all that is not as it is by default."""
        found = {item.name: value for item in fields(self) if item.name != "action" and (value := getattr(self, item.name)) != item.default}
        return found if self.payload is None else found | {"payload": base64.b64encode(self.payload).decode()}

    def told(self) -> dict[str, Any]:
        """The same for the audit: of a payload its size."""
        found = self.options()
        return found if found.pop("payload", None) is None else found | {"payload_bytes": len(self.payload or b"")}

    @classmethod
    def read(cls, action: str, options: Mapping[str, Any]) -> "Deed":
        """The deed that `options` told."""
        payload = options.get("payload")
        return cls(Action(action), **{**options, "payload": base64.b64decode(payload) if payload is not None else None})


class OperationState(StrEnum):
    """The texts are stored."""

    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it came. `after`: all ids up to this one were looked at; `matched` = done + skipped + failed + those that are about to be decided."""

    after: int = 0
    matched: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What somebody asks for. `all_jobs`: an empty filter was asked for by name; `rate`: jobs a second, 0: as fast as it goes."""

    wanted: JobFilter
    deed: Deed
    reason: str
    rate: float = 0.0
    all_jobs: bool = False

    def check(self) -> None:
        """Raises InvalidField."""
        refuse_empty(self.wanted, all_jobs=self.all_jobs)
        check_rate(self.rate)
        if len(self.deed.payload or b"") > MAX_PAYLOAD_BYTES:
            raise InvalidField("payload", f"at most {MAX_PAYLOAD_BYTES} bytes, since each job gets it; found {len(self.deed.payload or b'')}")


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as it stands. `expected`: how many jobs matched at the start, exact if `expected_complete`, else at least so many."""

    operation_id: int
    plan: Plan
    caller: Caller
    frozen_id: int
    expected: int
    expected_complete: bool
    state: OperationState
    created_at: datetime
    finished_at: datetime | None
    stopped_at: datetime | None
    stopped_by: str
    stopped_reason: str
    progress: Progress

    @property
    def target(self) -> str:
        """Its name in the audit."""
        return f"operation/{self.operation_id}"


@dataclass(frozen=True, slots=True)
class Skip:
    """A job of an operation that was not changed. `failed`: it may be possible later; else its state or a rule forbids it. `code`: stable, for programs."""

    job_id: int
    failed: bool
    code: str
    reason: str


def refuse_empty(wanted: JobFilter, *, all_jobs: bool) -> None:
    """Raises InvalidField for a filter that names nothing, unless all jobs are asked for by name, and for both at once."""
    if wanted == JobFilter():
        if not all_jobs:
            raise InvalidField("filter", "it is empty: say which jobs, or ask for all of them by name (all_jobs)")
    elif all_jobs:
        raise InvalidField("all_jobs", "the filter says which jobs; set one of them")


def check_rate(rate: float) -> None:
    """Raises InvalidField for what is no rate."""
    if not 0 <= rate <= MAX_RATE:
        raise InvalidField("rate", f"jobs a second, between 0 (no limit) and {MAX_RATE:,.0f}; found {rate:g}")
