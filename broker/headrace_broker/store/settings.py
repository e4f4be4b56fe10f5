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
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A stored domain. Its settings: depth_limit, weight."""

    domain_id: int
    name: str
    settings: dict[str, float]


@dataclass(frozen=True, slots=True)
class Pause:
    """What is granted nothing: `kind` domain, type or agent; `name` of the type or the agents, empty for a domain; who paused it, why and when."""

    domain: str
    kind: str
    name: str
    actor: str
    reason: str
    at: datetime


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


class OtherDomain(Exception):
    """The incarnation is an agent's of another domain."""


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
        async with changing(self._pool) as con:
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["declared"])
            row = _row(await con.fetchrow(sql("type_declare"), type_id, json.dumps(declared)))
            if before != row.declared:  # another agent of the same build may have been faster
                await write_audit(con, [caller.entry("type.declare", f"type/{row.name}", before=before, after=row.declared)])
        return row

    async def override(self, type_id: int, changes: Mapping[str, Value], clear: list[str], *, caller: Caller, reason: str = "") -> TypeRow:
        """Changes a person's settings: those of `clear` are taken back, then those of `changes` are set. Who paused the type, and why, is kept while it is paused.

        In the same transaction the audit gets a row.
        """
        async with changing(self._pool) as con:
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["overrides"])
            row = _row(await con.fetchrow(sql("type_override"), type_id, json.dumps(dict(changes)), clear))
            if row.overrides.get("paused"):
                await con.execute(sql("pause_put"), row.domain, "type", row.name, caller.shown, reason)
            elif "paused" in changes or "paused" in clear:
                await con.execute(sql("pause_drop"), row.domain, "type", row.name)
            await write_audit(con, [caller.entry("type.set", f"type/{row.name}", reason=reason, before=before, after=row.overrides)])
        return row

    async def domains(self) -> tuple[list[DomainRow], list[Pause]]:
        """All domains, and everything that is paused."""
        rows = await self._pool.fetch(sql("domain_list"))
        pauses = await self._pool.fetch(sql("pause_list"))
        return [DomainRow(row["domain_id"], row["name"], json.loads(row["settings"])) for row in rows], [Pause(**row) for row in pauses]

    async def domain_id(self, domain: str, *, make: bool = False) -> int | None:
        """The number of a domain; None: there is none. `make`: it is made then."""
        found: int | None = await self._pool.fetchval(sql("domain_find"), domain)
        if found is None and make:
            await self._pool.execute(sql("domain_add"), domain)
            found = await self._pool.fetchval(sql("domain_find"), domain)
        return found

    async def set_domain(self, domain: str, changes: dict[str, float], clear: list[str], *, caller: Caller, reason: str = "") -> None:
        """Changes settings of a domain, which is made if it is new; with a row in the audit."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("domain_set"), domain, json.dumps(changes), clear)
            after = json.loads(row["settings"])
            await write_audit(con, [caller.entry("domain.set", f"domain/{domain}", reason=reason, before=json.loads(row["before"] or "{}"), after=after)])

    async def pause(self, domain: str, kind: str, name: str, *, caller: Caller, reason: str) -> None:
        """Pauses a domain, or the agents of a name; with a row in the audit."""
        async with changing(self._pool) as con:
            if await con.fetchval(sql("pause_put"), domain, kind, name, caller.shown, reason) is not None:
                await write_audit(con, [caller.entry(f"{kind}.pause", f"{kind}/{name or domain}", reason=reason, before={"paused": False}, after={"paused": True})])

    async def resume(self, domain: str, kind: str, name: str, *, caller: Caller, reason: str) -> bool:
        """Ends such a pause; returns whether there was one, and then with a row in the audit."""
        async with changing(self._pool) as con:
            found = await con.fetchval(sql("pause_drop"), domain, kind, name) is not None
            if found:
                await write_audit(con, [caller.entry(f"{kind}.resume", f"{kind}/{name or domain}", reason=reason, before={"paused": True}, after={"paused": False})])
        return found

    async def agent_of(self, domain: str, incarnation_id: str) -> int | None:
        """The life of an agent of a domain that has this incarnation; None: there is none."""
        found: int | None = await self._pool.fetchval(sql("agent_of"), domain, incarnation_id)
        return found

    async def agent(self, domain: str, name: str, incarnation_id: str, host: str, pid: int, build: str, sdk: str, labels: dict[str, str]) -> tuple[int, datetime]:
        """(agent_id, first seen) of this incarnation, made if it is new. Raises OtherDomain."""
        row = await self._pool.fetchrow(sql("agent_add"), domain, name, incarnation_id, host, pid, build, sdk, json.dumps(labels))
        if row is None:
            raise OtherDomain(incarnation_id)
        return row["agent_id"], row["first_seen"]

    async def seen(self, agent_ids: list[int]) -> None:
        """Notes that these agents are there."""
        await self._pool.execute(sql("agent_seen"), agent_ids)

    async def named_by_bytes(self, below_id: int) -> int:
        """How many bytes of events there are of jobs with lower ids."""
        return int(await self._pool.fetchval(sql("agent_named_by"), below_id))

    async def trim_agents(self, before_s: float, below_id: int, rows: int) -> int:
        """Forgets agents that were there last before a time and that nothing names, at most so many; returns how many. Jobs that may name them have lower ids."""
        return int(await self._pool.fetchval(sql("agent_trim"), before_s, below_id, int(before_s // 60), rows))


def _row(row: Any) -> TypeRow:
    return TypeRow(row["type_id"], row["domain_id"], row["domain"], row["name"], json.loads(row["declared"]), json.loads(row["overrides"]), row["changed_at"])
