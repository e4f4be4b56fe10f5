"""Claim checks: large payloads and results are kept in a store outside the broker, and the job carries a small reference (`headrace_proto.claim`).

    claims = ClaimCheck(DirectoryStore("/mnt/share/claims"))            # or FsspecStore("s3://bucket/claims"): headrace_client.claim_stores
    client = Client(claims=claims)
    agent = Agent("mailer", claims=claims)

It is the last step of whoever sends, after the codecs, and the first one of whoever receives: what lies in the store is encrypted when the payload is. Bytes are kept
before the job is submitted, so a job never refers to what is not there yet; a sender that dies in between leaves bytes that nobody refers to.

A reference says which bytes, by their SHA-256, and never where: the store is the reader's own. What comes out of it is believed only when size and hash fit.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Protocol

from headrace_proto.claim import CLAIM_TYPE, Reference, amount, describe, is_reference, unpack

from headrace_client.errors import ClaimError, ClaimUnavailable, InvalidRequest

ABOVE_BYTES = 256 * 1024
MAX_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 120.0


class ClaimStore(Protocol):
    """Where bytes are kept, by the SHA-256 of what they are: 64 hex digits.

    It is used from several event loops, at the same time, and must not block them; it goes to worker processes when there are process handlers, so it must be picklable.
    Whatever it raises counts as "away for now". A call may be cancelled, and what it began may go on and be repeated.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Keeps the bytes for good before it returns. The same ones may be there already: their age begins anew."""

    async def get(self, key: str, most: int) -> bytes:
        """The first `most` bytes of what is kept; no more are read. Raises FileNotFoundError when there is nothing."""

    async def delete(self, key: str) -> None:
        """Nothing is kept under this key any more. It is no error when nothing was."""


@dataclass(frozen=True, slots=True)
class ClaimCheck:
    """A store, and what goes there: what has more than `above_bytes` as it travels. What has more than `max_bytes` is neither kept nor read.

    `timeout_s`: for one call of the store. Raises InvalidRequest for limits that make no sense.
    """

    store: ClaimStore
    above_bytes: int = ABOVE_BYTES
    max_bytes: int = MAX_BYTES
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if not 0 <= self.above_bytes <= self.max_bytes:
            raise InvalidRequest(f"above_bytes is from 0 to max_bytes, found {self.above_bytes} and {self.max_bytes}", details={"field": "above_bytes"})
        if not self.timeout_s > 0:
            raise InvalidRequest(f"timeout_s is a positive number of seconds, found {self.timeout_s}", details={"field": "timeout_s"})

    def takes(self, data: bytes) -> bool:
        """Whether bytes are kept outside. Those that look like a reference are: so they come back as what they are."""
        return len(data) > self.above_bytes or is_reference(data)

    async def keep(self, data: bytes, content_type: str = "", part: str = "payload") -> bytes:
        """The bytes as they travel: a reference once they are in the store, or the same when they stay. Safe to repeat.

        Raises:
            InvalidRequest: they are too many, or the content type is too long. ClaimUnavailable: the store does not take them now.
        """
        if not self.takes(data):
            return data
        if len(data) > self.max_bytes:
            raise InvalidRequest(
                f"the {part} has {len(data)} bytes ({amount(len(data))}); at most {self.max_bytes} are kept: ClaimCheck(max_bytes=...)", details={"field": part}
            )
        key = await asyncio.to_thread(_sha256, data)
        try:
            packed = Reference(key, len(data), content_type).pack()
        except ValueError as error:
            raise InvalidRequest(f"content_type: {error}", details={"field": "content_type"}) from error
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.store.put(key, data)
        except Exception as error:  # of whatever store
            raise ClaimUnavailable(f"the {part} ({amount(len(data))}) cannot be kept outside now: {_told(error, self.timeout_s)}") from error
        return packed

    async def fetch(self, data: bytes, part: str = "payload") -> tuple[bytes, str]:
        """(The bytes that a reference stands for, their content type).

        Raises:
            ClaimError: the reference is broken, names more than `max_bytes`, or what is kept is not what it names.
            ClaimUnavailable: it is not there, or the store is away.
        """
        try:
            reference = unpack(data)
        except ValueError as error:
            raise ClaimError(f"the {part} refers to what is kept outside, but cannot be read: {error}") from error
        if reference.size_bytes > self.max_bytes:
            raise ClaimError(f"the {part} is kept outside and has {reference.size_bytes} bytes; at most {self.max_bytes} are taken here: ClaimCheck(max_bytes=...)")
        try:
            async with asyncio.timeout(self.timeout_s):
                found = await self.store.get(reference.sha256, reference.size_bytes + 1)
        except FileNotFoundError as error:
            raise ClaimUnavailable(f"the {part} is kept outside ({reference}), and is not in the store: it was deleted, or this is another store") from error
        except Exception as error:  # of whatever store
            raise ClaimUnavailable(f"the {part} is kept outside ({reference}), and the store is away: {_told(error, self.timeout_s)}") from error
        if len(found) != reference.size_bytes or await asyncio.to_thread(_sha256, found) != reference.sha256:
            raise ClaimError(f"the {part} is kept outside ({reference}), and what is there is not that: it was changed, or is damaged")
        return found, reference.content_type


def unclaimed(data: bytes, part: str) -> ClaimError:
    """The error for bytes that cannot be read where nobody said where they are kept."""
    return ClaimError(f"the {part} is {describe(data)}; no claims are set up here: give Client or Agent the same ClaimCheck (docs/payloads.md)")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _told(error: Exception, timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) and not str(error) else f"{type(error).__name__}: {error}"


__all__ = ["CLAIM_TYPE", "ClaimCheck", "ClaimStore", "is_reference", "unclaimed"]
