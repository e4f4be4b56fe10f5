"""Who looks at the pages: one-time links, and the sessions that a link, a password or a token begins, as one broker has them in memory (`register`: all brokers).

A session ends an hour after its last request (live update counts for none), twelve hours after it began (or sooner, where a provider let somebody in), when somebody logs
out, and within a second after its user was disabled or changed, or its token was revoked. NIST SP 800-63B-4, section 2.2.3, has an
hour of inactivity and a day in all as the most.
"""

import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from headrace_broker.actions.reach import Principal
from headrace_broker.actions.tokens import Secret
from headrace_broker.model.access import Role, hash_of
from headrace_broker.model.permissions import HolderKind
from headrace_broker.web.failing import Returned

__all__ = ["COOKIE", "Person", "Role", "Session", "Sessions"]
COOKIE = "headrace_session"
SESSION_S = 12 * 3600.0
IDLE_S = 3600.0
LINK_S = 24 * 3600.0
MOST_SESSIONS = 1000
MOST_OF_ONE = 20
"""Sessions of one person; one more ends the one that was used least lately."""
MOST_NOTICES = 20
"""Lines that wait for the next page: forms that were sent without a look at what came of them keep the newest."""
DEFAULT_DOMAIN = "default"
BY_PROVIDER = "oidc/"
"""What the audit puts before the names of people whom an OpenID provider knows."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who logged in: with a link, as a user (`user_id`, `epoch`), with a token (`token_id`), or by an OpenID provider: then a user is one whose rights their group has.
    `actor`: as the audit names them; `domain` None: all domains."""

    actor: str
    role: Role
    domain: str | None = None
    user_id: int | None = None
    epoch: int = 0
    token_id: int | None = None

    @property
    def principal(self) -> Principal:
        """Who can be granted something; whoever came with a link is nobody that can."""
        key: tuple[HolderKind, int] = (HolderKind.TOKEN, self.token_id) if self.token_id is not None else (HolderKind.USER, self.user_id or 0)
        return Principal(key, self.role, self.domain, self.name)

    @property
    def by_provider(self) -> bool:
        """Whether it is somebody whom an OpenID provider knows."""
        return self.token_id is None and self.actor.startswith(BY_PROVIDER)

    @property
    def has_password(self) -> bool:
        """Whether it is a user that logged in as itself."""
        return self.user_id is not None and not self.by_provider

    @property
    def kind(self) -> str:
        """What they came with, in a word."""
        return "token" if self.token_id is not None else "provider" if self.by_provider else "user" if self.user_id is not None else "link"

    @property
    def name(self) -> str:
        """As a page names them."""
        return self.actor.removeprefix(BY_PROVIDER if self.by_provider else "user/")


@dataclass(slots=True, eq=False)
class Session:
    """One browser. Times are monotonic; `notices` are shown once, and `returned`, a form that came to nothing: both by the broker that the form was sent to.

    `hash` is that of the cookie's value, `domain` the one that is looked at, `key` what every form has to bring: it is made from the cookie, so that all brokers know it.
    `stored`, `stored_seen`, `changed_at` and `end_stored`: what the database is known to hold of it.
    """

    person: Person
    hash: bytes
    began: float
    seen: float
    address: str = ""
    browser: str = ""
    domain: str = DEFAULT_DOMAIN
    key: str = ""
    number: str = field(default_factory=lambda: secrets.token_hex(8))  # names it on pages, and is no secret
    notices: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=MOST_NOTICES))
    returned: Returned | None = None
    ended: bool = False
    secret: Secret | None = None
    secret_hash: bytes | None = None
    stored: bool = False
    stored_seen: float = 0.0
    changed_at: datetime | None = None
    end_stored: bool = False

    @property
    def csrf(self) -> str:
        """What the forms of a page bring: they are made for the domain that is looked at, and for no other."""
        return f"{self.key}.{self.domain}"

    @property
    def actor(self) -> str:
        """As the audit names the person."""
        return self.person.actor

    @property
    def role(self) -> Role:
        """What the person may do."""
        return self.person.role

    def allows(self, role: Role) -> bool:
        """Whether what is for this role of people is for this person: an operator may what a viewer may, an admin everything."""
        return self.role >= role

    def tell(self, kind: str, text: str) -> None:
        """Shows a line on the next page: `kind` is done or failed."""
        self.notices.append((kind, text))

    def take_notices(self) -> list[tuple[str, str]]:
        """The lines to show now."""
        taken = list(self.notices)
        self.notices.clear()
        return taken

    def take_returned(self) -> Returned | None:
        """The form to show now."""
        taken, self.returned = self.returned, None
        return taken

    def end(self) -> None:
        """Nobody finds it any more."""
        self.ended = True
        if self.secret is not None:
            self.secret.watchers.discard(self.end)


class Sessions:
    """See the module. `monotonic` is a clock in seconds; `provider_s`: how long after its beginning one ends that began by an OpenID provider."""

    def __init__(self, monotonic: Callable[[], float], *, provider_s: float = SESSION_S) -> None:
        self.monotonic = monotonic
        self._provider_s = provider_s
        self._sessions: dict[bytes, Session] = {}
        self._links: dict[str, tuple[float, Role]] = {}

    def link(self, role: Role = Role.ADMIN) -> str:
        """A key that begins one session of all domains within a day."""
        key = secrets.token_urlsafe(32)
        self._links[key] = (self.monotonic() + LINK_S, role)
        return key

    def spend(self, key: str) -> Person | None:
        """Whoever came with the key of a link, which is good no more; None: there is no such key (any more)."""
        now = self.monotonic()
        for known in list(self._links):  # compared in a time that tells nothing
            if hmac.compare_digest(known.encode(), key.encode()):
                until, role = self._links.pop(known)
                return None if now > until else Person("manager", role)
        return None

    def begin(self, person: Person, *, address: str = "", browser: str = "", secret: Secret | None = None, domain: str = "") -> str | None:
        """A new session: the value for the cookie; None: there are too many. `secret`: of the token, with which the session ends; `domain`: what is looked at."""
        self._tidy()
        same = [session for session in self.all() if session.actor == person.actor and session.person.token_id == person.token_id]
        if len(same) >= MOST_OF_ONE:
            min(same, key=lambda session: session.seen).end()
        if sum(1 for _ in self.all()) >= MOST_SESSIONS:
            return None
        now, value = self.monotonic(), secrets.token_urlsafe(32)
        secret_hash = secret.hash if secret is not None else None
        looked_at = domain or person.domain or DEFAULT_DOMAIN
        self.put(Session(person, hash_of(value), now, now, address, browser, looked_at, key_of(value), secret=secret, secret_hash=secret_hash))
        return value

    def put(self, session: Session) -> None:
        """One that began here, or at another broker. One of a token that has ended meanwhile has ended, too."""
        self._sessions[session.hash] = session
        if session.secret is not None:
            session.secret.watchers.add(session.end)
            if session.secret.ended:
                session.end()

    def known(self, hash_: bytes) -> Session | None:
        """The session of this hash, whether it lives or has ended; None: this broker knows nothing of it (any more)."""
        return self._sessions.get(hash_)

    def find(self, value: str | None, *, used: bool = True) -> Session | None:
        """The session of a cookie, if it lives. `used`: a person did something, so it lives on."""
        session = self._sessions.get(hash_of(value)) if value else None
        if value is None or session is None or not self.lives(session):
            return None
        session.key = session.key or key_of(value)
        if used:
            session.seen = self.monotonic()
        return session

    def all(self) -> Iterator[Session]:
        """Those that live."""
        return (session for session in list(self._sessions.values()) if self.lives(session))

    def kept(self) -> Iterator[Session]:
        """Those that live, and those of which the end is not stored yet."""
        return (session for session in list(self._sessions.values()) if self.lives(session) or self._owed(session))

    def end(self, value: str | None) -> None:
        """Logs out."""
        session = self._sessions.get(hash_of(value)) if value else None
        if session is not None:
            session.end()

    def age_s(self, session: Session) -> tuple[float, float]:
        """How long ago it began, and was last used."""
        now = self.monotonic()
        return now - session.began, now - session.seen

    def lives(self, session: Session) -> bool:
        """Whether it has neither ended nor become too old."""
        now = self.monotonic()
        longest_s = min(SESSION_S, self._provider_s) if session.person.by_provider else SESSION_S
        return not session.ended and now < session.began + longest_s and now < session.seen + IDLE_S

    def _owed(self, session: Session) -> bool:
        return session.ended and session.stored and not session.end_stored and self.monotonic() < session.began + SESSION_S

    def _tidy(self) -> None:
        """Forgets what no broker would serve any more. What is idle here may have been used elsewhere."""
        now = self.monotonic()
        for hash_, session in list(self._sessions.items()):
            if now >= session.began + SESSION_S or (session.ended and not self._owed(session)):
                session.end()
                del self._sessions[hash_]


def key_of(value: str) -> str:
    """What the forms of a session bring, made from its cookie: nobody else can make it, and it does not tell the cookie."""
    return hashlib.sha256(f"forms of {value}".encode()).hexdigest()[:40]
