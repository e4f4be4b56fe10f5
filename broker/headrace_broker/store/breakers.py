"""Breakers of job types that are not closed: a row for each, written by the owner under its life, one statement when it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.breaker import Phase
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class StoredBreaker:
    """A breaker that is not closed. `ended`, `failed`: of the window when it opened; `changed_at`: when it came into its phase; `left_s`: until a canary may go."""

    type_id: int
    phase: Phase
    step: int
    ended: int
    failed: int
    opened_at: datetime
    changed_at: datetime
    left_s: float


class BreakerStore:
    """On the pool. Raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard

    async def all(self) -> list[StoredBreaker]:
        """Those of the shard."""
        rows = await self._pool.fetch(sql("breaker_list"), self._shard.of, self._shard.number)
        return [
            StoredBreaker(r["type_id"], Phase(r["phase"]), r["step"], r["ended"], r["failed"], r["opened_at"], r["changed_at"], r["left_s"]) for r in rows
        ]  # fmt: skip

    async def put(self, life_id: int, type_id: int, phase: Phase, *, step: int, left_s: float, ended: int, failed: int) -> bool:
        """Stores how one stands; returns whether the life still owns its shard: else nothing is stored."""
        return await self._pool.fetchval(sql("breaker_put"), life_id, type_id, phase.value, step, left_s, ended, failed) is not None

    async def drop(self, life_id: int, type_id: int) -> bool:
        """One is closed; returns whether the life still owns its shard: else nothing is changed."""
        return bool(await self._pool.fetchval(sql("breaker_drop"), life_id, type_id))

    async def close(self, life_id: int, type_id: int, name: str, *, before: Mapping[str, Any], caller: Caller, reason: str) -> bool:
        """The same, by hand: with a row in the audit."""
        async with changing(self._pool) as con:
            alive = bool(await con.fetchval(sql("breaker_drop"), life_id, type_id))
            if alive:
                await write_audit(con, [caller.entry("breaker.close", f"type/{name}", reason=reason, before=before, after={"phase": Phase.CLOSED.value})])
        return alive

    async def granted_since(self, leases: Sequence[tuple[int, int]], since: datetime) -> set[int]:
        """Jobs of these open leases (job_id, epoch) that were granted since then."""
        rows = await self._pool.fetch(sql("breaker_canaries"), [job_id for job_id, _ in leases], [epoch for _, epoch in leases], since)
        return {row["job_id"] for row in rows}
