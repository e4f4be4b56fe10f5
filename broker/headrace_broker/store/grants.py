"""Grants in the database: facts, each with its row in the audit in the same transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.permissions import Act, Holder, HolderKind, Source
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A stored grant. `holder_id` None: the holder is a certificate; `actions`: by name, in order; `ended_at` None: it is in force."""

    grant_id: int
    kind: HolderKind
    holder_id: int | None
    holder: str
    domains: str
    types: str
    actions: tuple[str, ...]
    reason: str
    granted_at: datetime
    granted_by: str
    ended_at: datetime | None
    ended_by: str | None

    @property
    def key(self) -> Holder:
        """Who has it."""
        return self.kind, self.holder_id if self.holder_id is not None else self.holder

    @property
    def source(self) -> Source:
        """What it allows: actions that this release does not know are nothing to it."""
        return Source(f"grant {self.grant_id}", self.domains, self.types, frozenset(Act(name) for name in self.actions if name in set(Act)))

    @property
    def named(self) -> str:
        """The holder as calls name it."""
        return f"{self.kind.name.lower()}/{self.holder}"

    def facts(self) -> dict[str, object]:
        """What the audit keeps of it."""
        return {"to": self.named, "domains": self.domains, "types": self.types, "actions": list(self.actions)}


class GrantStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def in_force(self) -> list[GrantRow]:
        """All grants that have not ended."""
        return [_row(row) for row in await self._pool.fetch(sql("grant_in_force"))]

    async def changed_since(self, since: datetime) -> list[GrantRow]:
        """Grants that were made or ended since then."""
        return [_row(row) for row in await self._pool.fetch(sql("grant_changed"), since)]

    async def page(self, *, ended: bool, below: int, limit: int) -> list[GrantRow]:
        """Up to `limit` grants with numbers below one, newest first."""
        return [_row(row) for row in await self._pool.fetch(sql("grant_list"), ended, below, limit)]

    async def get(self, grant_id: int) -> GrantRow | None:
        """The grant of this number."""
        found = await self._pool.fetchrow(sql("grant_get"), grant_id)
        return _row(found) if found is not None else None

    async def add(self, kind: HolderKind, holder_id: int | None, holder: str, source: Source, *, caller: Caller, reason: str) -> GrantRow:
        """Makes a grant."""
        actions = [str(act) for act in Act if act in source.acts]
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("grant_add"), int(kind), holder_id, holder, source.domains, source.types, actions, reason, caller.shown)
            row = _row(found)
            after = {**row.facts(), "grant_id": row.grant_id}
            await write_audit(con, [caller.entry("access.grant", row.named, reason=reason, after=after, everywhere=row.domains != caller.domain)])
        return row

    async def end(self, row: GrantRow, *, caller: Caller, reason: str) -> bool:
        """Ends a grant; False: it had ended."""
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("grant_end"), row.grant_id, caller.shown)
            if found is None:
                return False
            before = {**row.facts(), "grant_id": row.grant_id}
            await write_audit(con, [caller.entry("access.revoke", row.named, reason=reason, before=before, everywhere=row.domains != caller.domain)])
        return True


def _row(row: Any) -> GrantRow:
    values = list(row.values())
    values[1], values[6] = HolderKind(values[1]), tuple(values[6])
    return GrantRow(*values)
