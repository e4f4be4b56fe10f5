"""Revoked certificates in the database: a list that only grows, each line with its row in the audit in the same transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql

MAX_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class RevokedRow:
    """A certificate that is not trusted any more, by serial number (hexadecimal digits) or fingerprint (SHA-256)."""

    serial: str | None
    fingerprint: bytes | None
    reason: str
    revoked_at: datetime
    revoked_by: str

    @property
    def target(self) -> str:
        """As the audit names it."""
        return f"certificate/{self.serial or (self.fingerprint or b'').hex()}"


class CertificateStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def revoked_since(self, since: datetime | None) -> list[RevokedRow]:
        """Those that were revoked since then; all for None."""
        return [RevokedRow(**row) for row in await self._pool.fetch(sql("certificate_list"), since, None)]

    async def newest(self) -> list[RevokedRow]:
        """The newest ones, newest first."""
        return [RevokedRow(**row) for row in await self._pool.fetch(sql("certificate_list"), None, MAX_LISTED)]

    async def revoke(self, serial: str | None, fingerprint: bytes | None, *, caller: Caller, reason: str) -> RevokedRow:
        """Notes it; what was noted first stays."""
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("certificate_revoke"), serial, fingerprint, reason, caller.shown)
            if found is None:
                return RevokedRow(**await con.fetchrow(sql("certificate_find"), serial, fingerprint))
            row = RevokedRow(**found)
            await write_audit(con, [caller.entry("certificate.revoke", row.target, reason=reason, before={"revoked": False}, after={"revoked": True}, everywhere=True)])
        return row
