"""Rows of domains, job types and agents: small tables that change, each by one guarded statement."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.settings import Value
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A stored job type."""

    type_id: int
    domain_id: int
    domain: str
    name: str
    declared: dict[str, Value]
    overrides: dict[str, Value]
    changed_at: datetime


class SettingsStore:
    """Reads and writes those rows; raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def types(self, since: datetime | None = None) -> list[TypeRow]:
        """All job types of all domains, or those changed after `since`."""
        return [_row(row) for row in await self._pool.fetch(sql("type_list"), since)]

    async def add_type(self, domain: str, name: str) -> TypeRow:
        """The type, made together with its domain if it is new. Safe to repeat, also at once elsewhere."""
        await self._pool.execute(sql("type_add"), domain, name)
        return _row(await self._pool.fetchrow(sql("type_get"), domain, name))

    async def declare(self, type_id: int, declared: dict[str, Value], *, caller: Caller) -> TypeRow:
        """Replaces what code declares. In the same transaction the audit gets a row."""
        async with self._pool.acquire() as con, con.transaction():
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["declared"])
            row = _row(await con.fetchrow(sql("type_declare"), type_id, json.dumps(declared)))
            if before != row.declared:  # another agent of the same build may have been faster
                await write_audit(con, [caller.entry("type.declare", f"type/{row.name}", before=before, after=row.declared)])
        return row

    async def override(self, type_id: int, changes: Mapping[str, Value], clear: list[str], *, caller: Caller, reason: str = "") -> TypeRow:
        """Changes a person's settings: those of `clear` are taken back, then those of `changes` are set. In the same transaction the audit gets a row."""
        async with self._pool.acquire() as con, con.transaction():
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["overrides"])
            row = _row(await con.fetchrow(sql("type_override"), type_id, json.dumps(dict(changes)), clear))
            await write_audit(con, [caller.entry("type.set", f"type/{row.name}", reason=reason, before=before, after=row.overrides)])
        return row

    async def agent(self, domain: str, name: str, incarnation_id: str, host: str, pid: int, build: str, sdk: str, labels: dict[str, str]) -> tuple[int, datetime]:
        """(agent_id, first seen) of this incarnation, made if it is new."""
        row = await self._pool.fetchrow(sql("agent_add"), domain, name, incarnation_id, host, pid, build, sdk, json.dumps(labels))
        return row["agent_id"], row["first_seen"]


def _row(row: Any) -> TypeRow:
    return TypeRow(row["type_id"], row["domain_id"], row["domain"], row["name"], json.loads(row["declared"]), json.loads(row["overrides"]), row["changed_at"])
