"""Whose certificates are not trusted any more, in memory: every call over a connection with a certificate is checked, and none reads the database.

The list is read again twice a second, so a certificate that is revoked at one broker is refused by all within a second. Until it was read once, no certificate is taken.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from headrace_broker.actions.fresh import OVERLAP, keep_fresh
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import DatabaseUnavailable, ResultUnknown
from headrace_broker.store.certificates import CertificateStore, RevokedRow
from headrace_broker.store.pool import READ_FAILURES

log = structlog.get_logger("headrace.certificates")


class Revocations:
    """Only the event loop's own thread uses it. `watchers` are told when the list has grown, and at each reading."""

    def __init__(self, store: CertificateStore) -> None:
        self._store = store
        self._serials: set[str] = set()
        self._fingerprints: set[bytes] = set()
        self._newest: datetime | None = None
        self._read = False
        self.watchers: list[Callable[[], None]] = []

    def holds(self, serial: str, fingerprint: bytes) -> bool:
        """Whether a certificate was revoked. Raises DatabaseUnavailable: the list was never read."""
        if not self._read:
            raise DatabaseUnavailable("this broker has not read yet which certificates were revoked; try again")
        return serial in self._serials or fingerprint in self._fingerprints

    async def refresh(self) -> None:
        """Reads what is new. Raises what asyncpg raises when Postgres is away."""
        since: datetime | None = self._newest - OVERLAP if self._newest is not None else None
        for row in await self._store.revoked_since(since):
            self._put(row)
        self._read = True
        self._tell()

    async def keep_fresh(self) -> None:
        """Refreshes until cancelled."""
        await keep_fresh(self.refresh, "revoked certificates", log, away=self._tell)

    async def revoke(self, serial: str | None, fingerprint: bytes | None, *, caller: Caller, reason: str) -> RevokedRow:
        """Revokes one, here at once."""
        try:
            row = await self._store.revoke(serial, fingerprint, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise ResultUnknown("the database cannot be reached; if the connection broke at the commit, the certificate may be revoked: list them") from error
        self._put(row)
        self._tell()
        return row

    async def newest(self) -> list[RevokedRow]:
        """The newest ones, newest first."""
        try:
            return await self._store.newest()
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error

    def _put(self, row: RevokedRow) -> None:
        if row.serial is not None:
            self._serials.add(row.serial)
        if row.fingerprint is not None:
            self._fingerprints.add(row.fingerprint)
        self._newest = max(self._newest or row.revoked_at, row.revoked_at)

    def _tell(self) -> None:
        for watcher in self.watchers:
            watcher()
