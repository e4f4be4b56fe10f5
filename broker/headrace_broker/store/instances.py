"""Priorities of instances, and the jobs of one that wait."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.job import State
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.model.terms import Terms, parse
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql

READ_ROWS = 5000


@dataclass(frozen=True, slots=True)
class PriorityRow:
    """An instance that has a priority."""

    domain_id: int
    domain: str
    instance_id: str
    priority: int
    changed_at: datetime
    actor: str
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """A job that waited when it was read; `priority`: as it was submitted."""

    job_id: int
    type_id: int
    priority: int
    terms: Terms | None


class InstanceStore:
    """Everything raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard

    async def priorities(self) -> dict[tuple[int, str], int]:
        """All priorities that are not 0, by domain id and instance."""
        rows = await self._pool.fetch(sql("instance_priorities"), self._shard.of, self._shard.number, timeout=60)
        return {(row["domain_id"], row["instance_id"]): row["priority"] for row in rows}

    async def set(self, instance_id: str, priority: int, *, caller: Caller, reason: str) -> PriorityRow:
        """Sets a priority; 0: none. In the same transaction the audit gets a row."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("instance_priority_set"), caller.domain, instance_id, priority, caller.shown, reason)
            before, after = {"priority": row["before"] or 0}, {"priority": priority}
            await write_audit(con, [caller.entry("instance.set_priority", f"instance/{instance_id}", reason=reason, before=before, after=after)])
        return PriorityRow(row["domain_id"], caller.domain, instance_id, priority, row["changed_at"], caller.shown, reason)

    async def page(self, domain: str, after: str, limit: int) -> list[PriorityRow]:
        """Instances of a domain that have a priority, by name."""
        return [_row(row) for row in await self._pool.fetch(sql("instance_priority_list"), domain, after, limit)]

    async def waiting(self, instance_id: str, above: int) -> tuple[list[WaitingRow], int]:
        """(jobs of an instance that wait, of all domains; the highest id looked at, 0: there was none) among the next READ_ROWS above an id."""
        rows = await self._pool.fetch(sql("instance_waiting"), instance_id, above, READ_ROWS)
        found = [
            WaitingRow(row["job_id"], row["type_id"], row["priority"], parse(row["more"]) if row["more"] is not None else None)
            for row in rows
            if row["state"] == State.WAITING
        ]
        return found, rows[-1]["job_id"] if rows else 0


def _row(row: Any) -> PriorityRow:
    return PriorityRow(row["domain_id"], row["domain"], row["instance_id"], row["priority"], row["changed_at"], row["actor"] or "", row["reason"] or "")
