"""Tokens in the database: a small table that changes, each change with its row in the audit in the same transaction."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.access import Role
from headrace_broker.model.audit import Caller
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql

MAX_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A stored token. `domain` None: all domains; `old_hash` and `old_until`: of the secret before the newest one; `now`: the database's clock when it was read."""

    token_id: int
    name: str
    domain: str | None
    role: Role
    hash: bytes
    old_hash: bytes | None
    old_until: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
    created_by: str
    changed_at: datetime
    now: datetime

    @property
    def called(self) -> str:
        """As messages name it."""
        return f"the token {self.name!r}"

    def facts(self) -> dict[str, object]:
        """What the audit keeps of it: no secrets."""
        return {
            "token_id": self.token_id, "domain": self.domain, "role": self.role.name.lower(), "expires_at": _text(self.expires_at),
            "old_secret_until": _text(self.old_until), "revoked_at": _text(self.revoked_at),
        }  # fmt: skip


Check = Callable[[TokenRow], None]


class TokenStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def changed_since(self, since: datetime | None) -> list[TokenRow]:
        """Tokens that were changed since then, revoked ones included; all for None."""
        return [_row(row) for row in await self._pool.fetch(sql("token_list"), since)]

    async def of_domain(self, domain: str | None, *, revoked: bool) -> list[TokenRow]:
        """Tokens of a domain, or those of all domains (None), by name."""
        return [_row(row) for row in await self._pool.fetch(sql("token_of_domain"), domain, revoked, MAX_LISTED)]

    async def add(self, name: str, domain: str | None, role: Role, hash_: bytes, expires_in_s: float | None, *, caller: Caller, reason: str) -> TokenRow | None:
        """Makes a token; None: one of that name is valid in the domain."""
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("token_add"), name, domain, int(role), hash_, expires_in_s, caller.shown)
            if found is None:
                return None
            row = _row(found)
            await write_audit(con, [caller.entry("token.create", f"token/{name}", reason=reason, after=row.facts(), everywhere=domain is None)])
        return row

    async def add_first(self, name: str, hash_: bytes, *, caller: Caller) -> bool:
        """Makes an administrator's token of all domains, unless there ever was a token; returns whether it did."""
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("token_add_first"), name, hash_, caller.shown, int(Role.ADMIN))
            if found is not None:
                await write_audit(con, [caller.entry("token.create", f"token/{name}", after=_row(found).facts(), everywhere=True)])
        return found is not None

    async def rotate(
        self, domain: str | None, name: str, hash_: bytes, overlap_s: float, expires_in_s: float | None, *, check: Check = lambda row: None, caller: Caller, reason: str
    ) -> TokenRow | None:  # fmt: skip
        """Gives a token a new secret; None: there is none of that name. What `check` of the row raises is raised, and nothing is changed."""
        async with self._locked(domain, name) as (con, before):
            if before is None:
                return None
            check(before)
            row = _row(await con.fetchrow(sql("token_rotate"), before.token_id, hash_, overlap_s, expires_in_s))
            await _audit(con, "token.rotate", before, row, caller, reason)
        return row

    async def revoke(self, domain: str | None, name: str, *, check: Check = lambda row: None, caller: Caller, reason: str) -> TokenRow | None:
        """Ends a token; None: there is none of that name. `check` as for `rotate`."""
        async with self._locked(domain, name) as (con, before):
            if before is None:
                return None
            check(before)
            row = _row(await con.fetchrow(sql("token_revoke"), before.token_id))
            await _audit(con, "token.revoke", before, row, caller, reason)
        return row

    @asynccontextmanager
    async def _locked(self, domain: str | None, name: str) -> "AsyncIterator[tuple[Any, TokenRow | None]]":
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("token_lock"), domain, name)
            yield con, _row(found) if found is not None else None


async def _audit(con: Any, action: str, before: TokenRow, after: TokenRow, caller: Caller, reason: str) -> None:
    row = caller.entry(action, f"token/{after.name}", reason=reason, before=before.facts(), after=after.facts(), everywhere=after.domain is None)
    await write_audit(con, [row])


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _row(row: Any) -> TokenRow:
    values = dict(row)
    return TokenRow(**{**values, "role": Role(values["role"])})
