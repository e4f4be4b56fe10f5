"""Passwords: what is kept of them, and what is asked of them.

Kept is argon2id with the costs that OWASP's Password Storage Cheat Sheet gives first for servers with little memory to spare (19 MiB, two passes, one lane): about 30 ms
of one core. One at a time: a thread of its own computes them, so that the event loop never waits and guesses take neither memory nor the cores from jobs.

Asked is a length alone. NIST SP 800-63B-4, section 3.1.1.2: 15 characters at least where a password is the only factor, 64 at least allowed, any character, no rules
of composition, no changes by date; compared after normalization (NFKC), so that one keyboard's é is another's.
"""

import asyncio
import contextlib
import secrets
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from headrace_broker.model.errors import Busy, InvalidField

MIN_CHARACTERS = 15
MAX_CHARACTERS = 256
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
AT_ONCE = 1
MOST_WAITING = 30
"""So many may wait for their turn, about a second; more are sent away."""


def check_password(field: str, password: str) -> None:
    """Raises InvalidField when a password is too short, or longer than anybody types."""
    length = len(password) if len(password) > 4 * MAX_CHARACTERS else len(_normal(password))  # megabytes would take the event loop a second
    if not MIN_CHARACTERS <= length <= MAX_CHARACTERS:
        raise InvalidField(field, f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, found {length}; several words make a good one")


class Passwords:
    """Makes and verifies what is kept. `close` it at the end."""

    def __init__(self, *, memory_kib: int = MEMORY_KIB, passes: int = PASSES) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=LANES, type=Type.ID)
        self._threads = ThreadPoolExecutor(AT_ONCE, "argon2")
        self._inside = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """What is kept of a password. Raises Busy."""
        return await self._run(_normal(password), None)

    async def verify(self, kept: str | None, password: str) -> bool:
        """Whether this is the password of which that is kept. None, for somebody who has none or is not there, takes as long and is never right. Raises Busy."""
        if self._nobodys is None:
            self._nobodys = await self.hash(secrets.token_urlsafe())
        right = await self._run(_normal(password[: 4 * MAX_CHARACTERS]), kept or self._nobodys)
        return bool(right) and kept is not None

    def is_outdated(self, kept: str) -> bool:
        """Whether it was made with other costs than those of now."""
        return self._hasher.check_needs_rehash(kept)

    def close(self) -> None:
        """Waits for the one that is being computed."""
        self._threads.shutdown(cancel_futures=True)

    async def _run(self, password: str, kept: str | None) -> str:
        """The hash of a password; with `kept`, "right" or nothing."""
        if self._inside >= MOST_WAITING:
            raise Busy("too many people log in at this moment; try again", retry_after_s=1.0)
        self._inside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._compute, password, kept)
        finally:
            self._inside -= 1

    def _compute(self, password: str, kept: str | None) -> str:
        if kept is None:
            return self._hasher.hash(password)
        with contextlib.suppress(VerificationError, InvalidHashError):
            return "right" if self._hasher.verify(kept, password) else ""
        return ""


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
