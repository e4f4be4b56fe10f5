"""Who may do what: roles, and secrets of tokens."""

import hashlib
import re
import secrets
from enum import IntEnum

TOKEN_NAME = re.compile(r"[A-Za-z0-9._@:/-]{1,100}", re.ASCII)
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


USER_ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
"""What people may be; the other roles are those of programs."""


def new_secret() -> str:
    """A secret of 256 random bits, as text."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> bytes:
    """What is kept of a secret. A fast hash is right here: nobody can guess 256 random bits, and it is computed for every call."""
    return hashlib.sha256(secret.encode()).digest()
