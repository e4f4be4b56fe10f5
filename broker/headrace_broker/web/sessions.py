"""Who looks at the pages: one-time links, and the sessions that they begin. In memory: a broker that starts anew asks everybody to log in anew."""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

COOKIE = "headrace_session"
SESSION_S = 12 * 3600.0
LINK_S = 24 * 3600.0
MOST_SESSIONS = 1000


class Role(IntEnum):
    """What a session may do; each may do what the ones before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(slots=True)
class Session:
    """One browser. `until` is monotonic; `csrf` has to come with every change; `notices` are shown once."""

    actor: str
    role: Role
    until: float
    domain: str = "default"
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    notices: list[tuple[str, str]] = field(default_factory=list)

    def allows(self, role: Role) -> bool:
        """Whether the session may do what asks for this role."""
        return self.role >= role

    def tell(self, kind: str, text: str) -> None:
        """Shows a line on the next page: `kind` is done or failed."""
        self.notices.append((kind, text))

    def take_notices(self) -> list[tuple[str, str]]:
        """The lines to show now."""
        taken, self.notices = self.notices, []
        return taken


class Sessions:
    """See the module. `monotonic` is a clock in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._sessions: dict[str, Session] = {}
        self._links: dict[str, tuple[float, Role]] = {}

    def link(self, role: Role = Role.ADMIN) -> str:
        """A key that begins one session within a day."""
        key = secrets.token_urlsafe(32)
        self._links[key] = (self._monotonic() + LINK_S, role)
        return key

    def begin(self, key: str) -> str | None:
        """Spends the key of a link: the value for the cookie, or None when there is no such key (any more)."""
        now = self._monotonic()
        for known in list(self._links):  # compared in a time that tells nothing
            if hmac.compare_digest(known.encode(), key.encode()):
                until, role = self._links.pop(known)
                if now > until:
                    return None
                for old in [value for value, session in self._sessions.items() if session.until < now]:
                    del self._sessions[old]
                if len(self._sessions) >= MOST_SESSIONS:
                    return None
                value = secrets.token_urlsafe(32)
                self._sessions[value] = Session("manager", role, now + SESSION_S)
                return value
        return None

    def find(self, value: str | None) -> Session | None:
        """The session of a cookie, if it lives."""
        session = self._sessions.get(value) if value else None
        return session if session is not None and session.until >= self._monotonic() else None

    def end(self, value: str | None) -> None:
        """Logs out."""
        if value:
            self._sessions.pop(value, None)
