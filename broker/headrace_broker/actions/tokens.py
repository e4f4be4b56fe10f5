"""Tokens in memory: every call is checked against them, and none reads the database.

They are read again twice a second, so a token that is revoked at one broker is refused by all within a second. How long a secret is valid is counted on the monotonic
clock from the moment it was read. While the database is away, what is known stays in force, and what has expired does not come back.
"""

import asyncio
import math
from collections.abc import Callable
from datetime import datetime

import structlog

from headrace_broker.actions.fresh import OVERLAP, keep_fresh
from headrace_broker.actions.reach import principal_of, require_role
from headrace_broker.model.access import PEOPLE, Role, hash_of, new_secret
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import DatabaseUnavailable, InvalidField, ResultUnknown, TokenInvalid, TokenNameTaken, TokenNotFound
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.tokens import TokenRow, TokenStore

AGAIN_S = 0.2
"""A secret that nobody knows is looked for in the database, since it may be new: so often at most, whatever is sent."""

log = structlog.get_logger("headrace.tokens")


class Credential:
    """What shows who somebody is, while it does. `called`: as messages name it; `until`: on the loop's clock; `ended`: it was revoked, replaced, or has expired."""

    __slots__ = ("called", "ended", "until", "watchers")

    def __init__(self, called: str, until: float) -> None:
        self.called = called
        self.until = until
        self.ended = False
        self.watchers: set[Callable[[], None]] = set()

    def end(self) -> None:
        """Tells those who watch it, once."""
        self.ended = True
        for watcher in list(self.watchers):
            watcher()
        self.watchers.clear()


class Secret(Credential):
    """One secret of a token, and its hash."""

    __slots__ = ("hash", "principal", "token")

    def __init__(self, token: TokenRow, until: float, hash_: bytes) -> None:
        super().__init__(token.called, until)
        self.hash = hash_
        self.token = token
        self.principal = principal_of(token)


class TokenTable:
    """All tokens. Only the event loop's own thread uses it."""

    def __init__(self, store: TokenStore, check: Callable[[TokenRow], None] = lambda row: None) -> None:
        """`check` raises when the caller may not change a token."""
        self._store = store
        self._check = check
        self._secrets: dict[bytes, Secret] = {}
        self._of_token: dict[int, tuple[datetime, list[bytes]]] = {}  # when it was changed, hashes of its valid secrets
        self._newest: datetime | None = None
        self._looked_at = -math.inf
        self._looking = asyncio.Lock()

    async def find(self, secret: str) -> Secret:
        """What a secret that came with a call stands for.

        Raises:
            TokenInvalid: it is unknown, was revoked or replaced, or has expired. DatabaseUnavailable: no token is known yet.
        """
        hash_ = hash_of(secret)
        found = self._secrets.get(hash_)
        if found is None:
            await self._look_again()
            found = self._secrets.get(hash_)
        if found is None:
            raise TokenInvalid("the token is not known: it was revoked, or replaced by a newer secret, or never made")
        if found.until <= asyncio.get_running_loop().time():
            raise TokenInvalid(f"the token {found.token.name!r} has expired, or this secret of it has; get a new one")
        return found

    def known(self, hash_: bytes) -> Secret | None:
        """The secret of this hash, if it is valid, as far as is known here."""
        found = self._secrets.get(hash_)
        return found if found is not None and found.until > asyncio.get_running_loop().time() else None

    async def refresh(self) -> None:
        """Reads what was changed, and ends what has ended. Raises what asyncpg raises when Postgres is away."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        rows = await self._store.changed_since(self._newest - OVERLAP if self._newest is not None else None)
        for row in rows:
            self._put(row, before)
            self._newest = max(self._newest or row.changed_at, row.changed_at)
        self._looked_at = before
        self.expire()

    def expire(self) -> None:
        """Ends secrets whose time is over."""
        now = asyncio.get_running_loop().time()
        for secret in self._secrets.values():
            if secret.watchers and secret.until <= now:
                secret.end()

    async def keep_fresh(self) -> None:
        """Refreshes until cancelled."""
        await keep_fresh(self.refresh, "tokens", log, away=self.expire)

    async def list_tokens(self, domain: str | None, *, revoked: bool) -> list[TokenRow]:
        """Tokens of a domain, or those of all domains (None), by name."""
        try:
            return await self._store.of_domain(domain, revoked=revoked)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error

    async def create(self, name: str, domain: str | None, role: Role, expires_in_s: float | None, *, caller: Caller, reason: str) -> tuple[TokenRow, str]:
        """A new token and its secret. Raises InvalidField, TokenNameTaken, RightDenied (the caller may not do all that it would allow)."""
        if name.lower().startswith(PEOPLE):
            raise InvalidField("name", f"names that begin with {' or '.join(PEOPLE)} are those of people in the audit, found {name[:60]!r}")
        require_role(role, domain, f"making a token with the role {role.name.lower()}")
        secret = new_secret()
        try:
            row = await self._store.add(name, domain, role, hash_of(secret), expires_in_s, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise _unknown() from error
        if row is None:
            raise TokenNameTaken(name)
        return self._known(row), secret

    async def rotate(
        self, name: str, domain: str | None, overlap_s: float, expires_in_s: float | None, *, caller: Caller, reason: str
    ) -> tuple[TokenRow, str]:  # fmt: skip
        """A token and its new secret; the old one is valid for `overlap_s` more. Raises TokenNotFound, RightDenied."""
        secret = new_secret()
        try:
            row = await self._store.rotate(domain, name, hash_of(secret), overlap_s, expires_in_s, check=self._check, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise _unknown() from error
        if row is None:
            raise TokenNotFound(name)
        return self._known(row), secret

    async def revoke(self, name: str, domain: str | None, *, caller: Caller, reason: str) -> TokenRow:
        """Ends a token: here at once, at other brokers within a second. Raises TokenNotFound, RightDenied."""
        try:
            row = await self._store.revoke(domain, name, check=self._check, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise _unknown() from error
        if row is None:
            raise TokenNotFound(name)
        return self._known(row)

    def _known(self, row: TokenRow) -> TokenRow:
        """Takes over a change made here. `_newest` stays: others' changes may be older and yet not be known."""
        self._put(row, asyncio.get_running_loop().time())
        return row

    async def _look_again(self) -> None:
        """Returns after a look that began after this was called: one look serves all who wait for it."""
        loop = asyncio.get_running_loop()
        called_at = loop.time()
        async with self._looking:
            if self._looked_at > called_at:
                return
            await asyncio.sleep(max(0.0, self._looked_at + AGAIN_S - loop.time()))
            try:
                await self.refresh()
            except READ_FAILURES as error:
                raise DatabaseUnavailable("this broker does not know the token, and cannot ask its database whether it is new") from error

    def _put(self, row: TokenRow, read_at: float) -> None:
        changed_at, hashes = self._of_token.get(row.token_id, (row.changed_at, []))
        if row.changed_at < changed_at:
            return  # read before a change that was made here
        valid: dict[bytes, float] = {}
        if row.revoked_at is None:
            valid[row.hash] = _until(row, row.expires_at, read_at)
            if row.old_hash is not None:
                valid[row.old_hash] = _until(row, row.old_until, read_at)
        for hash_ in hashes:
            if hash_ not in valid:
                self._secrets.pop(hash_).end()
        for hash_, until in valid.items():
            secret = self._secrets.setdefault(hash_, Secret(row, until, hash_))
            secret.token, secret.until = row, until
        self._of_token[row.token_id] = row.changed_at, list(valid)


def _until(row: TokenRow, at: datetime | None, read_at: float) -> float:
    return math.inf if at is None else read_at + (at - row.now).total_seconds()


def _unknown() -> ResultUnknown:
    return ResultUnknown("the database cannot be reached; if the connection broke at the commit, the token may have been changed: list the tokens")
