"""Sessions of the manager in the database: what each broker learns of those that began, were used and ended at the others. A cookie is kept as its hash."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.access import Role
from headrace_broker.model.audit import AuditEntry
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class NewWebSession:
    """A session as it is stored at first. `domain` None: of a person of all domains; `shows`: the domain that is looked at;
    `age_s`, `idle_s`: since it began, and was used."""

    hash: bytes
    number: str
    actor: str
    role: Role
    domain: str | None
    user_id: int | None
    epoch: int
    token_id: int | None
    secret_hash: bytes | None
    address: str
    browser: str
    shows: str
    age_s: float
    idle_s: float


@dataclass(frozen=True, slots=True)
class WebSessionRow(NewWebSession):
    """A stored session."""

    ended: bool
    changed_at: datetime


class WebSessionStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def changed_since(self, since: datetime | None) -> list[WebSessionRow]:
        """Sessions that were changed since then, ended ones included; for None those that may still live."""
        return [WebSessionRow(**{**dict(row), "role": Role(row["role"])}) for row in await self._pool.fetch(sql("web_session_changed"), since)]

    async def add(self, new: NewWebSession) -> None:
        """Stores a session, once."""
        await self._pool.execute(sql("web_session_add"), *astuple(new))

    async def used(self, idle_s: Mapping[bytes, float]) -> None:
        """How long ago sessions were used, by hash."""
        await self._pool.execute(sql("web_session_seen"), list(idle_s), list(idle_s.values()))

    async def show(self, hash_: bytes, domain: str) -> datetime | None:
        """Another domain is looked at; returns when it was stored. None: the session has ended, or is not stored."""
        found: datetime | None = await self._pool.fetchval(sql("web_session_show"), hash_, domain)
        return found

    async def end(self, hashes: Sequence[bytes]) -> None:
        """These sessions have ended."""
        await self._pool.execute(sql("web_session_end"), list(hashes))

    async def end_of_another(self, hash_: bytes, entry: AuditEntry) -> None:
        """Somebody has ended this session, which need not be their own; with its row in the audit."""
        async with self._pool.acquire() as con, con.transaction():
            await con.execute(sql("web_session_end"), [hash_])
            await write_audit(con, [entry])

    async def trim(self) -> None:
        """Forgets a portion of those that ended long ago."""
        await self._pool.execute(sql("web_session_trim"))
