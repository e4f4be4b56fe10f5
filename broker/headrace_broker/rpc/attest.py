"""How a broker that passes a call on says whose it is, and how the owner knows that it was a broker who said so.

A token travels on as it came, and the owner checks it itself. A certificate cannot: the owner sees that of the broker. So the broker that the caller talked to attests
whom the certificate named, by an HMAC (RFC 2104, with SHA-256) over that, the call and its token. The key is the owner's: 32 random bytes, made anew by each process,
which lie in the database beside its life, where brokers alone read them. Who has no key is believed nothing; a mark that a call was passed on gives no right to anybody.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from headrace_proto.wire import DOMAIN_KEY, TOKEN_KEY

Pairs = Sequence[tuple[str, str | bytes]]

FORWARDED_KEY = "headrace-forwarded-by"
"""Metadata of a call that was passed on: by which broker. It is passed on once and not again."""
ATTESTED_KEY = "headrace-attested-bin"
"""The seal of 32 bytes, then whom the caller's certificate named, in UTF-8; nothing: nobody."""
KEY_BYTES = 32
SEAL_BYTES = 32


def attest(key: bytes, method: str, metadata: Iterable[tuple[str, str | bytes]], uri: str) -> bytes:
    """What goes with a call to the owner whose key it is; `uri`: whom the certificate of the caller's connection names, or nothing."""
    said = uri.encode()
    return _seal(key, method, metadata, said) + said


def attested(key: bytes, method: str, metadata: Iterable[tuple[str, str | bytes]], value: bytes) -> str | None:
    """Whom the certificate of the caller's connection names, or nothing; None: this was not said by a broker that knows the key, or not of this call."""
    seal, said = value[:SEAL_BYTES], value[SEAL_BYTES:]
    return said.decode() if hmac.compare_digest(seal, _seal(key, method, metadata, said)) else None


def _seal(key: bytes, method: str, metadata: Iterable[tuple[str, str | bytes]], said: bytes) -> bytes:
    found = {name: value.encode() if isinstance(value, str) else value for name, value in metadata if name in (TOKEN_KEY, DOMAIN_KEY)}
    seal = hmac.new(key, digestmod=hashlib.sha256)
    for part in (method.encode(), found.get(DOMAIN_KEY, b""), found.get(TOKEN_KEY, b""), said):
        seal.update(len(part).to_bytes(4, "big"))  # so that no two calls have the same bytes
        seal.update(part)
    return seal.digest()
