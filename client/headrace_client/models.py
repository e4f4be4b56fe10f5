"""What callers get: frozen values; no protobuf leaks out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from headrace_proto.claim import is_reference
from headrace_proto.encoding import MAGIC

from headrace_client import limits
from headrace_client.claims import unclaimed
from headrace_client.codecs import missing


class State(StrEnum):
    """Where a job stands. UNKNOWN is told of jobs alone, and cannot be asked for: a newer broker has a state that this release has no name for."""

    WAITING = "waiting"
    PROCESSING = "processing"
    COMPLETED = "completed"
    ERROR = "error"
    ABORTED = "aborted"
    UNKNOWN = "unknown"

    @property
    def settled(self) -> bool:
        """Whether only a requeue or a deletion can change the job."""
        return self in (State.COMPLETED, State.ERROR, State.ABORTED)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job to submit. `data` is encoded as JSON; give `payload` and `content_type` instead for anything else."""

    type: str
    data: Any = None
    payload: bytes | None = None
    content_type: str = ""
    instance_id: str = ""
    key: str = ""
    priority: int = 0
    delay_s: float = 0.0
    start_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    trace_context: str = ""
    unique_key: str = ""
    on_conflict: str = ""
    delete_after_s: float | None = None
    depends_on: Sequence[int] = ()
    parent_id: int = 0
    batch_id: int = 0
    limit_key: str = ""
    fairness_key: str = ""
    required_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A stored job. `existing`: an earlier call had stored it, and its idempotency key was known or it has the unique key.

    `replaced` (`on_conflict="replace"`): the existing job waited, and is as this call says now; False: it runs, and stays as it is.
    `pressure`: how full a depth limit is that it met, from 0.8 on: submit slower. 0: there is room, or no limit.
    """

    job_id: int
    existing: bool = False
    pressure: float = 0.0
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job or an attempt failed."""

    code: str
    message: str
    fingerprint: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as of the answer. `payload` and `result` only when they were asked for, and the codecs that they are stored in, or where they are kept (`encoding`).

    Where the client has no codecs, or no claims, they are as stored.
    """

    job_id: int
    domain: str
    type: str
    instance_id: str
    state: State
    wait_reason: str | None
    run: int
    attempt: int
    losses: int
    lease_epoch: int
    priority: int
    score: int
    created_at: datetime
    available_at: datetime | None
    started_at: datetime | None
    settled_at: datetime | None
    delete_at: datetime | None
    idempotency_key: str
    labels: dict[str, str]
    trace_context: str
    progress: tuple[float, str] | None
    error: JobError | None
    agent: str
    abort: "AbortRequest | None"
    payload_bytes: int
    content_type: str
    payload: bytes
    result: bytes
    unique_key: str = ""
    depends_on: tuple[int, ...] = ()
    parent_id: int = 0
    batch_id: int = 0
    hold: bool = False
    delete_after_s: float | None = None
    payload_version: int = 0
    encoding: str = ""
    result_encoding: str = ""
    limit_key: str = ""
    fairness_key: str = ""
    required_labels: dict[str, str] = field(default_factory=dict)
    data_withheld: bool = False
    secrets_masked: bool = False

    def json_result(self) -> Any:
        """The result decoded as JSON; None when there is none.

        Raises CodecMissing when it went through codecs, and ClaimError when it is kept outside, and this client was given no codecs or claims.
        """
        return read_json(self.result)


def read_json(result: bytes) -> Any:
    """A result decoded as JSON. Raises CodecMissing, ClaimError for one that is still as it was stored."""
    if result.startswith(MAGIC):
        raise missing(result, "result")
    if is_reference(result):
        raise unclaimed(result, "result")
    return json.loads(result) if result else None


@dataclass(frozen=True, slots=True)
class AbortRequest:
    """Who wanted the job to end, why, how long its handler may take, and what became of it.

    `ending` empty: it is under way; else stopped, killed, finished (the handler completed first), lost, forced or not_started. `agent` has it since `delivered_at`.
    `ignored_at`: its handler goes on after the grace, since then. `requeue`: the job is to run again once it has ended.
    """

    actor: str
    reason: str
    requested_at: datetime
    grace_s: float
    lease_epoch: int = 0
    force: bool = False
    requeue: bool = False
    delivered_at: datetime | None = None
    agent: str = ""
    ignored_at: datetime | None = None
    ended_at: datetime | None = None
    ending: str = ""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A job that another one waits for. `why`: limit_key or concurrency (it holds one of as many as may run), or dependency."""

    job_id: int
    type: str
    state: State
    why: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is.

    `ahead`: about how many ready jobs go first; `agents`, `slots`, `slots_free`: who serves its type; `score`: type, instance and own priority and what its age adds;
    `blockers`: at most 20 of the `blockers_total` jobs that it waits for; `paused`: what is, with who did it, why and when; `not_before`: its own time, when it is
    scheduled or put off; `estimated_start`: an estimate, made of what `estimate_basis` says; `breaker`: that of its type, where it holds the job back.
    """

    state: State
    wait_reason: str | None
    text: str
    ahead: int
    agents: int
    slots: int
    slots_free: int
    score: int
    type_priority: int
    instance_priority: int
    job_priority: int
    age_points: int
    blockers: list[Blocker]
    blockers_total: int
    limit_key: str
    paused: str
    paused_by: str
    paused_reason: str
    paused_at: datetime | None
    not_before: datetime | None
    rate_limited_until: datetime | None
    estimated_start: datetime | None
    estimate_basis: str
    breaker: limits.Breaker | None = None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs: what is given must all hold, what is not does not narrow. Each `_from` is included, each `_to` is not.

    `started` and `agent` are those of the newest attempt, `settled` that of jobs that have settled, `fingerprint` that of the job's error. `labels`: all of these;
    `log_text`: some log line of any attempt holds it, A-Z as a-z.
    """

    types: Sequence[str] = ()
    states: Sequence[State | str] = ()
    instance_id: str = ""
    created_from: datetime | None = None
    created_to: datetime | None = None
    started_from: datetime | None = None
    started_to: datetime | None = None
    settled_from: datetime | None = None
    settled_to: datetime | None = None
    agent: str = ""
    fingerprint: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    log_text: str = ""


class Order(StrEnum):
    """Of a list. `SCORE`: highest score first, for waiting jobs."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs in the order that was asked for. `next_page_token` empty: this was the last page. `complete` False: ask on, even if there are no jobs here.

    `searched_until`: all jobs created after it (before it, oldest first) have been looked at.
    """

    jobs: list[Job]
    next_page_token: str
    complete: bool
    searched_until: datetime


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs by type and state as of `as_of`. `complete`: exact; else there are at least so many, and all created after `searched_until` were counted."""

    totals: dict[State, int]
    types: dict[str, dict[State, int]]
    as_of: datetime
    complete: bool = True
    searched_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class JobChange:
    """One durable change. `kind` empty: the present state, at the start of a watch. `gap`: changes before this one were missed. `state` None: deleted, or not there."""

    job_id: int
    type: str
    state: State | None
    seq: int
    kind: str
    gap: bool


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution. `ending` empty: it runs."""

    run: int
    attempt: int
    lease_epoch: int
    agent: str
    started_at: datetime
    ended_at: datetime | None
    ending: str
    error: JobError | None
    late_outcome: str
    payload_version: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One row of a job's timeline."""

    seq: int
    kind: str
    note: bool
    at: datetime
    state: State | None
    run: int
    attempt: int
    actor: str
    reason: str
    agent: str
    available_at: datetime | None
    error: JobError | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a handler logged."""

    at: datetime
    level: str
    text: str
    run: int
    attempt: int
    lease_epoch: int
    line_no: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one job of a call; `reason` and `message` when not `ok`."""

    job_id: int
    ok: bool
    state: State | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class JobType:
    """A job type: settings by name, as in force, declared by code, set by people.

    `running`: leases that count against its concurrency; `pause`: who paused it or its domain; `breaker` None: it has none.
    """

    name: str
    effective: dict[str, Any]
    declared: dict[str, Any]
    overrides: dict[str, Any]
    counts: dict[State, int]
    agents: int
    running: int = 0
    pause: limits.Pause | None = None
    breaker: limits.Breaker | None = None


@dataclass(frozen=True, slots=True)
class AgentType:
    """A type that an agent serves; `slots` 0: only the agent's total counts."""

    type: str
    slots: int
    executor: str


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent's standing with the broker."""

    name: str
    incarnation_id: str
    host: str
    pid: int
    build: str
    sdk: str
    labels: dict[str, str]
    types: list[AgentType]
    slots: int
    slots_in_use: int
    connected: bool
    draining: bool
    connected_at: datetime
    silent_for_s: float
    pause: limits.Pause | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """Something people should know of."""

    alert_id: int
    at: datetime
    kind: str
    job_id: int
    type: str
    instance_id: str
    error: JobError | None


@dataclass(frozen=True, slots=True)
class Door:
    """A transaction that has completed a job and is not committed. `pid`: its backend at the database server, 0 when it is prepared (two-phase commit);
    `opened_at` None: the database does not tell the broker, and `open_s` is for how long it has been seen; `settling`: the lease is to end, and waits for it.
    """

    job_id: int
    type: str
    pid: int
    opened_at: datetime | None
    open_s: float
    application: str
    state: str
    settling: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """The broker and its domain at a glance."""

    version: str
    broker_id: str
    uptime_s: float
    server_time: datetime
    counts: dict[State, int]
    agents: int
    slots: int
    slots_in_use: int
    postgres_version: str
