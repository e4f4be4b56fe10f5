"""The sessions of all brokers of one database: in memory, as `sessions` has them, and in its table, from which every broker reads twice a second what has changed.

A session that began at another broker is known here once its cookie comes: the table is read at once for one that nobody knows. One that has ended anywhere has ended
everywhere within a second, whatever ended it: its own logout, a new password, a user who was disabled or changed, a token that was revoked, an administrator.

While the database is away:
- Sessions that are known go on and see what needs no database, since nobody can have ended one there. A broker that is cut off by itself cannot tell, so no form is taken
  until sessions were compared with the table within the last `FRESH_S`: nothing that changes something is done in a session that may have ended.
- A cookie that is not known is not refused: its page says "not now", and tries again.
- Somebody who logs in with a link or a known token is in at this broker, elsewhere once that is stored. A logout counts here at once, elsewhere once it is stored.
"""

import asyncio
import math
from collections.abc import Iterable
from datetime import datetime

import structlog

from headrace_broker.actions.fresh import OVERLAP, keep_fresh
from headrace_broker.actions.tokens import Secret, TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.model.access import hash_of
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, DatabaseUnavailable, InvalidState
from headrace_broker.store.pool import ANY_FAILURE, READ_FAILURES
from headrace_broker.store.web_sessions import NewWebSession, WebSessionRow, WebSessionStore
from headrace_broker.web.failing import Patience
from headrace_broker.web.sessions import Person, Session, Sessions

LOOK_S = 1.5
"""How long a request waits for the database to tell whether its session stands."""
FRESH_S = 3.0
AGAIN_S = 0.2
"""A cookie that nobody knows is looked for so often at most, whatever is sent."""
SEEN_S = 30.0
"""How old the time of the last use may be in the table."""
TRIM_S = 3600.0

log = structlog.get_logger("headrace.web")


class Register:
    """See the module. One event loop uses it."""

    def __init__(self, sessions: Sessions, store: WebSessionStore, users: Users, tokens: TokenTable, *, refresh_tokens: bool) -> None:
        """`refresh_tokens`: nobody else reads what became of tokens."""
        self.sessions = sessions
        self._store = store
        self._users = users
        self._tokens = tokens
        self._refresh_tokens = refresh_tokens
        self._patience = Patience()
        self._newest: datetime | None = None
        self._read_at = -math.inf
        self._trimmed_at = -math.inf
        self._looking = asyncio.Lock()

    async def find(self, value: str | None, *, used: bool = True) -> Session | None:
        """The session of a cookie, if it lives, whichever broker began it. Raises DatabaseUnavailable, TooSlow: nobody can tell now."""
        found = self.sessions.find(value, used=used)
        if found is not None or not value:
            return found
        known = self.sessions.known(hash_of(value))
        if known is not None and known.ended:
            return None
        await self._patience.within(LOOK_S, self._look_again())
        return self.sessions.find(value, used=used)

    async def assure(self) -> None:
        """Returns once sessions were compared with the table within FRESH_S. Raises DatabaseUnavailable, TooSlow: they cannot be."""
        if self.sessions.monotonic() - self._read_at > FRESH_S:
            await self._patience.within(LOOK_S, self._look_again())

    async def begin(self, person: Person, *, address: str = "", browser: str = "", secret: Secret | None = None, domain: str = "") -> str | None:
        """A new session, known to all brokers if the database answers: the value for the cookie. None: there are too many."""
        value = self.sessions.begin(person, address=address, browser=browser, secret=secret, domain=domain)
        if value is not None:
            await self._try_to_store()
        return value

    async def end(self, sessions: Iterable[Session]) -> None:
        """They have ended here, and at all brokers if the database answers; else as soon as it does."""
        for session in sessions:
            session.end()
        await self._try_to_store()

    async def end_of_another(self, session: Session, caller: Caller) -> None:
        """Somebody ends this session, at all brokers, with a row in the audit. Raises DatabaseUnavailable: it has not ended."""
        person = session.person
        before = {"actor": person.actor, "role": person.role.name.lower(), "address": session.address, "browser": session.browser}
        entry = caller.entry("session.end", f"session/{session.number}", before=before, everywhere=person.domain is None)
        try:
            await self.store()
            await self._store.end_of_another(session.hash, entry)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        session.end()
        session.end_stored = True

    async def end_of(self, value: str | None) -> Session | None:
        """Ends the session of a cookie, if there is one that lives, and returns it."""
        try:
            found = await self.find(value, used=False)
        except BrokerError as error:
            log.warning("a session that is not known here was not ended", reason=str(error))
            return None
        if found is not None:
            await self.end([found])
        return found

    async def show(self, session: Session, domain: str) -> None:
        """Looks at another domain, at every broker. Raises DatabaseUnavailable, and InvalidState when the session has ended meanwhile."""
        try:
            await self.store()
            at = await self._store.show(session.hash, domain)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        if at is None:
            raise InvalidState("this session has ended")
        session.domain, session.changed_at = domain, at

    async def keep_fresh(self) -> None:
        """Keeps the sessions of this broker and those of all others alike until cancelled: twice a second. While the database is away, who is logged in stays so."""
        await keep_fresh(self.run_once, "sessions, their users and tokens", log)

    async def run_once(self) -> None:
        """Reads what other brokers did and stores what this one did. Raises BrokerError, and what asyncpg raises."""
        await self.refresh()
        await self.store()
        now = self.sessions.monotonic()
        if now - self._trimmed_at > TRIM_S:
            await self._store.trim()
            self._trimmed_at = now

    async def refresh(self) -> None:
        """Compares the sessions with the table, with their users and their tokens. Raises DatabaseUnavailable, and what asyncpg raises."""
        read_at = self.sessions.monotonic()
        rows = await self._store.changed_since(self._newest - OVERLAP if self._newest is not None else None)
        new = [row for row in rows if self._take(row, read_at)]
        if self._refresh_tokens and (any(session.secret is not None for session in self.sessions.all()) or any(row.secret_hash for row in new)):
            await self._tokens.refresh()
        for row in new:
            await self._add(row, read_at)
        await self._compare_with_users()
        if rows:
            self._newest = max(rows[-1].changed_at, self._newest or rows[-1].changed_at)
        self._read_at = max(self._read_at, read_at)

    async def store(self) -> None:
        """Stores what began, was used or ended here; safe to repeat. Raises what asyncpg raises."""
        kept, now = list(self.sessions.kept()), self.sessions.monotonic()
        for session in kept:
            if not session.stored and not session.ended:
                await self._store.add(_row_of(session, now))
                session.stored, session.stored_seen = True, max(session.stored_seen, now)
        used = {session.hash: session.seen for session in kept if not session.ended and session.seen - session.stored_seen >= SEEN_S}
        if used:
            await self._store.used({hash_: max(0.0, now - seen) for hash_, seen in used.items()})
            for session in kept:
                session.stored_seen = max(session.stored_seen, used.get(session.hash, 0.0))
        over = [session for session in kept if session.ended and session.stored]
        if over:
            await self._store.end([session.hash for session in over])
            for session in over:
                session.end_stored = True

    async def _try_to_store(self) -> None:
        try:
            await self._patience.within(LOOK_S, self.store())
        except (BrokerError, *ANY_FAILURE) as error:
            log.warning("sessions not stored; it will be tried again", reason=f"{type(error).__name__}: {error}")

    async def _look_again(self) -> None:
        """Returns after a look that began after this was called: one look serves all who wait for it."""
        called_at = self.sessions.monotonic()
        async with self._looking:
            if self._read_at > called_at:
                return
            await asyncio.sleep(max(0.0, self._read_at + AGAIN_S - self.sessions.monotonic()))
            try:
                await self.refresh()
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be asked whether this session stands") from error

    def _take(self, row: WebSessionRow, read_at: float) -> bool:
        """Takes over what a row says of a session that is known; returns whether it is one that is not, and lives."""
        known = self.sessions.known(row.hash)
        if known is None:
            return not row.ended
        if row.ended:
            known.end()
            known.stored = known.end_stored = True
        elif known.changed_at is None or row.changed_at >= known.changed_at:  # else it was read before a change that was made here
            known.stored, known.changed_at, known.domain = True, row.changed_at, row.shows
            known.stored_seen = max(known.stored_seen, read_at - row.idle_s)
            known.seen = max(known.seen, read_at - row.idle_s)
        return False

    async def _add(self, row: WebSessionRow, read_at: float) -> None:
        if self.sessions.known(row.hash) is not None:
            return
        secret = None
        if row.secret_hash is not None:
            secret = self._tokens.known(row.secret_hash)
            if secret is None:
                await self._tokens.refresh()  # the token may be newer than what is known here
                secret = self._tokens.known(row.secret_hash)
        person = Person(row.actor, row.role, row.domain, row.user_id, row.epoch, row.token_id)
        seen = read_at - row.idle_s
        session = Session(
            person, row.hash, read_at - row.age_s, seen, row.address, row.browser, row.shows, number=row.number, secret=secret, secret_hash=row.secret_hash,
            stored=True, stored_seen=seen, changed_at=row.changed_at,
        )  # fmt: skip
        self.sessions.put(session)
        if row.secret_hash is not None and secret is None:
            session.end()

    async def _compare_with_users(self) -> None:
        of_users = [session for session in self.sessions.all() if session.person.user_id is not None]
        if not of_users:
            return
        epochs = await self._users.epochs(sorted({session.person.user_id for session in of_users if session.person.user_id is not None}))
        for session in of_users:
            if epochs.get(session.person.user_id or 0) != session.person.epoch:
                session.end()


def _row_of(session: Session, now: float) -> NewWebSession:
    person = session.person
    return NewWebSession(
        session.hash, session.number, person.actor, person.role, person.domain, person.user_id, person.epoch, person.token_id, session.secret_hash,
        session.address, session.browser, session.domain, max(0.0, now - session.began), max(0.0, now - session.seen),
    )  # fmt: skip
