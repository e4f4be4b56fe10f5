"""Schedules: their rows, which people change here and the flush moves (`flush_fires.sql`), and what became of their ticks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import ScheduleNotFound
from headrace_broker.model.schedule import Schedule, Spec, When, after_change, first_tick
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql

TRIMMED = 5000


@dataclass(frozen=True, slots=True)
class Fire:
    """What became of one tick, or a run that was asked for: fired, manual, skipped or missed."""

    nominal_at: datetime
    outcome: str
    job_id: int | None
    fired_at: datetime


class ScheduleStore:
    """Raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard

    async def all(self, since: datetime | None = None) -> list[Schedule]:
        """All schedules of all domains of the shard, or those that changed since; deleted ones too."""
        return [_schedule(row) for row in await self._pool.fetch(sql("schedule_list"), since, self._shard.of, self._shard.number)]

    async def get(self, schedule_ids: Sequence[int]) -> list[Schedule]:
        """Schedules by id; those that are not there any more are left out."""
        return [_schedule(row) for row in await self._pool.fetch(sql("schedule_get"), list(schedule_ids))]

    async def put(self, name: str, spec: Spec, type_id: int, now: datetime, *, caller: Caller, reason: str) -> tuple[Schedule, bool]:
        """(the schedule, whether anything changed). Makes it, or replaces what it does; what is the same already stays untouched. With a row in the audit."""
        async with changing(self._pool) as con:
            found = await con.fetchrow(sql("schedule_lock"), caller.domain, name)
            old = _schedule(found) if found is not None else None
            if old is not None and not old.deleted and old.spec == spec:
                return old, False
            when, next_at = spec.when, after_change(old, spec.when, now)
            row = await con.fetchrow(
                sql("schedule_put"), caller.domain, name, when.cron, when.time_zone, when.interval_s, when.anchor, when.at, when.start_at, when.end_at, type_id,
                spec.payload, spec.content_type, spec.instance_id, spec.priority, json.dumps(dict(spec.labels or {})), spec.overlap, spec.missed, spec.max_missed,
                spec.jitter_s, next_at,
            )  # fmt: skip
            new = _schedule(row)
            before = old.spec.shown() if old is not None and not old.deleted else None
            await write_audit(con, [caller.entry("schedule.put", f"schedule/{name}", reason=reason, before=before, after=spec.shown())])
        return new, True

    async def pause(self, name: str, paused: bool, now: datetime, *, caller: Caller, reason: str) -> Schedule:
        """Pauses or resumes a schedule, with a row in the audit. Raises ScheduleNotFound."""
        async with changing(self._pool) as con:
            old = await self._lock(con, caller.domain, name)
            if (old.paused_at is not None) == paused:
                return old
            next_at = None if paused else first_tick(old.spec.when, old.ticked_at, now)
            by = caller.shown if paused else ""
            new = _schedule(await con.fetchrow(sql("schedule_set"), old.schedule_id, False, paused, by, reason if paused else "", next_at))
            verb = "pause" if paused else "resume"
            await write_audit(con, [caller.entry(f"schedule.{verb}", f"schedule/{name}", reason=reason, before={"paused": not paused}, after={"paused": paused})])
        return new

    async def delete(self, name: str, *, caller: Caller, reason: str) -> Schedule:
        """Deletes a schedule, with a row in the audit. Raises ScheduleNotFound."""
        async with changing(self._pool) as con:
            old = await self._lock(con, caller.domain, name)
            new = _schedule(await con.fetchrow(sql("schedule_set"), old.schedule_id, True, False, "", "", None))
            await write_audit(con, [caller.entry("schedule.delete", f"schedule/{name}", reason=reason, before=old.spec.shown())])
        return new

    async def _lock(self, con: Any, domain: str, name: str) -> Schedule:
        found = await con.fetchrow(sql("schedule_lock"), domain, name)
        if found is None or found["deleted"]:
            raise ScheduleNotFound(name)
        return _schedule(found)

    async def aborted(self, schedule_id: int, job_id: int) -> None:
        """The abort of a previous job was asked for and is durable."""
        await self._pool.execute(sql("schedule_aborted"), schedule_id, job_id)

    async def fires(self, schedule_id: int, limit: int) -> list[Fire]:
        """What became of the newest ticks, newest first."""
        return [Fire(r["nominal_at"], r["outcome"], r["job_id"], r["fired_at"]) for r in await self._pool.fetch(sql("schedule_fires"), schedule_id, limit)]

    async def run(self, schedule_id: int, request_id: str) -> int | None:
        """The job of a run that was asked for before, under this id."""
        job_id: int | None = await self._pool.fetchval(sql("schedule_run"), schedule_id, request_id)
        return job_id

    async def trim(self, rows: int = TRIMMED) -> bool:
        """Forgets a portion of what is old; returns whether there is more."""
        return int(await self._pool.fetchval(sql("schedule_trim"), rows)) >= rows


def _schedule(row: Any) -> Schedule:
    when = When(row["cron"], row["time_zone"], row["interval_s"], row["anchor"], row["at"], row["start_at"], row["end_at"])
    spec = Spec(
        when, row["type"], row["payload"], row["content_type"], row["instance_id"], row["priority"], json.loads(row["labels"]), row["overlap"], row["missed"],
        row["max_missed"], row["jitter_s"],
    )  # fmt: skip
    return Schedule(
        row["schedule_id"], row["domain"], row["name"], row["version"], row["deleted"], spec, row["type_id"], row["paused_at"], row["paused_by"],
        row["paused_reason"], row["next_at"], row["ticked_at"], row["fired_at"], row["last_job_id"], row["queued_at"],
        row["aborting_id"], row["fired"], row["skipped"], row["created_at"], row["changed_at"],
    )  # fmt: skip
