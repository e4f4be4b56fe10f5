"""What administrators read: jobs, their attempts, events and logs, alerts. Every statement is bounded, by id on both sides of a join and by rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.amended import Amended, effective
from headrace_broker.model.ids import class_of
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.terms import Terms
from headrace_broker.store.heads import terms_of
from headrace_broker.store.statements import sql

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobRow:
    """A stored job and where it stands."""

    job_id: int
    type_id: int
    priority: int
    instance_id: str | None
    content_type: str | None
    idempotency_key: str | None
    labels: dict[str, str]
    trace_context: str | None
    payload_bytes: int
    available_at: datetime | None
    seq: int
    kind: Kind | None
    state: State
    run: int
    attempt: int
    losses: int
    at: datetime | None  # of the newest event that moved it
    delete_minute: int | None
    lease_epoch: int
    started_at: datetime | None
    agent: str | None
    error: dict[str, str] | None
    abort: JsonObject | None  # actor, reason, at (seconds since 1970), epoch, asked (grace in seconds, or an object), steps (by name: at, actor)
    unique_key: str | None = None
    depends_on: list[int] | None = None  # empty: it is the callback of a batch
    parent_id: int | None = None
    batch_id: int | None = None
    payload: bytes | None = None
    result: bytes | None = None
    amended: Amended | None = None
    payload_seq: int = 0  # event that brought the payload; 0: the submission
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event or note. `seq` of a note is its lease epoch."""

    seq: int
    kind: Kind | NoteKind
    at: datetime
    state: State | None
    run: int
    attempt: int
    actor: str
    reason: str
    agent: str
    available_at: datetime | None
    error: dict[str, str] | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line."""

    lease_epoch: int
    line_no: int
    at: datetime
    level: int
    text: str
    run: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert."""

    alert_id: int
    at: datetime
    kind: str
    job_id: int
    type_id: int
    instance_id: str | None
    error: dict[str, str] | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a job: how it began (`began_at` None: with the submission) and ended, or stands; `payload_seq` as in JobRow."""

    run: int
    kind: Kind
    state: State
    at: datetime
    attempt: int
    losses: int
    began_at: datetime | None
    actor: str
    reason: str
    started_at: datetime | None
    agent: str
    error: dict[str, str] | None
    payload_seq: int
    payload_bytes: int
    payload: bytes | None
    result: bytes | None
    result_bytes: int


@dataclass(frozen=True, slots=True)
class PayloadRow:
    """A version of a job's payload; `at` None: with the submission, whose version is 0."""

    version: int
    at: datetime | None
    actor: str
    content_type: str
    payload_bytes: int
    payload: bytes | None


class Reads:
    """Reads on the pool; each raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def jobs(self, job_ids: Sequence[int], *, full: bool = False) -> list[JobRow]:
        """These jobs in this order; those that are not stored are left out."""
        rows = {row["job_id"]: _job(row) for row in await self._pool.fetch(sql("job_get"), list(job_ids), sorted({class_of(i) for i in job_ids}), full)}
        return [rows[job_id] for job_id in job_ids if job_id in rows]

    async def types(self, job_ids: Sequence[int]) -> dict[int, int]:
        """The job types of those of these jobs that are stored."""
        return {row["job_id"]: row["type_id"] for row in await self._pool.fetch(sql("job_types"), list(job_ids))}

    async def events(self, job_id: int) -> list[EventRow]:
        """The newest 1,000 events and notes of a job, oldest first."""
        rows = await self._pool.fetch(sql("event_list"), job_id, class_of(job_id))
        return [
            EventRow(
                r["seq"], NoteKind(r["kind"]) if r["note"] else Kind(r["kind"]), r["at"], None if r["note"] else State(r["state"]), r["run"], r["attempt"],
                r["actor"] or "", r["reason"] or "", r["agent"] or "", r["available_at"], _json(r["error"]), r["data"],
            )
            for r in rows
        ]  # fmt: skip

    async def runs(self, job_id: int, *, full: bool, below: int, limit: int) -> list[RunRow]:
        """The newest runs below one, oldest first. A run to which nothing happened yet has no row."""
        return [
            RunRow(
                r["run"], Kind(r["kind"]), State(r["state"]), r["at"], r["attempt"], r["losses"], r["began_at"], r["actor"] or "", r["reason"] or "", r["started_at"],
                r["agent"] or "", _json(r["error"]), r["payload_seq"], r["payload_bytes"] or 0, r["payload"], r["result"], r["result_bytes"] or 0,
            )
            for r in await self._pool.fetch(sql("run_list"), job_id, class_of(job_id), full, below, limit)
        ]  # fmt: skip

    async def payloads(self, job_id: int, *, version: int | None, below: int, limit: int) -> list[PayloadRow]:
        """Versions of a job's payload, newest first: the one that is named, with its bytes, or else those below one."""
        rows = await self._pool.fetch(sql("payload_list"), job_id, class_of(job_id), version, below, limit)
        return [PayloadRow(r["version"], r["at"], r["actor"] or "", r["content_type"] or "", r["payload_bytes"], r["payload"]) for r in rows]

    async def oldest(self, type_id: int, above: int, limit: int) -> list[int]:
        """Ids of jobs of a type above one, oldest first."""
        return [row["job_id"] for row in await self._pool.fetch(sql("job_oldest"), type_id, above, limit)]

    async def logs(self, job_id: int, *, lease_epoch: int, min_level: int, after: tuple[int, int], limit: int) -> list[LogRow]:
        """Lines after (lease epoch, line number), oldest first; of one attempt when `lease_epoch` is not 0."""
        rows = await self._pool.fetch(sql("log_list"), job_id, class_of(job_id), lease_epoch, min_level, after[0], after[1], limit)
        return [_log(row) for row in rows]

    async def last_logs(self, job_id: int, *, lease_epoch: int, min_level: int, before: tuple[int, int], limit: int) -> list[LogRow]:
        """The newest lines before (lease epoch, line number), oldest first; of one attempt when `lease_epoch` is not 0."""
        return [_log(row) for row in await self._pool.fetch(sql("log_last"), job_id, class_of(job_id), lease_epoch, min_level, before[0], before[1], limit)]

    async def alerts(self, type_ids: Sequence[int], *, below: int, limit: int) -> list[AlertRow]:
        """Alerts of these types, newest first, with ids below `below`."""
        rows = await self._pool.fetch(sql("alert_list"), list(type_ids), below, limit)
        return [AlertRow(r["alert_id"], r["at"], r["kind"], r["job_id"], r["type_id"], r["instance_id"], _json(r["error"])) for r in rows]


def _log(row: Any) -> LogRow:
    return LogRow(row["lease_epoch"], row["line_no"], row["at"], row["level"], row["text"], row["run"] or 0, row["attempt"] or 0)


def _json(value: str | None) -> Any:
    return None if value is None else json.loads(value)


def _job(row: Any) -> JobRow:
    return JobRow(
        row["job_id"], row["type_id"], row["priority"], row["instance_id"], row["content_type"], row["idempotency_key"], _json(row["labels"]) or {},
        row["trace_context"], row["payload_bytes"], row["available_at"], row["seq"], Kind(row["kind"]) if row["kind"] else None, State(row["state"]), row["run"],
        row["attempt"], row["losses"], row["at"], row["delete_minute"], row["lease_epoch"], row["started_at"], row["agent"], _json(row["error"]),
        _json(row["abort"]), row["unique_key"], _json(row["depends_on"]), row["parent_id"], row["batch_id"], row["payload"], row["result"],
        effective(row["amended"], row["more"]), row["payload_seq"], terms_of(row),
    )  # fmt: skip
