"""Who may do what: roles, and secrets of tokens."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from enum import IntEnum

TOKEN_NAME = re.compile(r"(?!headrace://)[A-Za-z0-9._@:/-]{1,100}", re.ASCII)
"""Such names are those of certificates, which the audit must not mix up with tokens."""
PEOPLE = ("user/", "oidc/")
"""What the audit puts before the names of people: no token is made that could be taken for one of them; those that are there already can be rotated and revoked."""
USER_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,100}", re.ASCII)
PREFIX = "hr_"
"""What every secret begins with, so that scanners of source code know one."""


class Role(IntEnum):
    """What a token may do; the numbers are stored and are those of the wire."""

    VIEWER = 1
    SUBMITTER = 2
    AGENT = 3
    OPERATOR = 4
    ADMIN = 5
    GUEST = 6  # nothing but what it is granted


USER_ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.GUEST)
"""What people may be; the other roles are those of programs."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the holder of a certificate is. `name`: the whole URI, as the audit shows it; `holder`: the name in it; `domain` None: all domains."""

    name: str
    holder: str
    domain: str | None
    role: Role

    @property
    def token_id(self) -> None:
        """None: it is no token."""
        return

    @property
    def called(self) -> str:
        """As messages name it."""
        return f"the certificate {self.name!r}"

    def is_agent(self, name: str) -> bool:
        """Whether an agent may go by this name: the holder's own, or what comes before a slash in it, so that `mailer/host-7` is an agent `mailer`."""
        return name in (self.holder, self.holder.partition("/")[0])


def new_secret() -> str:
    """A secret of 256 random bits, as text."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> bytes:
    """What is kept of a secret. A fast hash is right here: nobody can guess 256 random bits, and it is computed for every call."""
    return hashlib.sha256(secret.encode()).digest()
