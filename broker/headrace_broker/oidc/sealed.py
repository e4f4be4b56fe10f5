"""What a browser keeps for a login, sealed into a cookie, so that any broker can go on with it, and no browser can read or change it: what must be known once the
provider has sent it back, and then the ID token, with which the provider knows whom to log out.

Fernet (https://github.com/fernet/spec) encrypts it, signs it and says when it was made. Its key is made from the client's secret by HMAC-SHA256, which is enough, since
that secret is a random one. Whoever changes the secret ends the logins that are under way, and nothing else.
"""

import base64
import hashlib
import hmac
import json
import secrets
import zlib
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet, InvalidToken

LASTS_S = 600
"""How long somebody may take at the provider."""
LONGEST_VALUE = 2800
"""Of the cookie with an ID token: all headers of the answer that sets it must fit into 4 KiB, or nginx refuses it (proxy_buffer_size)."""
LOGINS, TOKENS = b"headrace: logins that are under way", b"headrace: tokens to log out with"
"""Each has a key of its own: what was sealed as the one is never taken for the other."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that was begun. `wanted`: the page to go to after it; `before`: the hash of the session that the browser had, in hexadecimal digits; empty: none."""

    state: str
    nonce: str
    verifier: str
    wanted: str
    before: str = ""

    @property
    def challenge(self) -> str:
        """Of the verifier, by S256 (RFC 7636, section 4.2)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


def begin(wanted: str, before: str = "") -> Begun:
    """A new one: 256 random bits each."""
    return Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32), wanted, before)


def seal(begun: Begun, secret: str) -> str:
    """The value of the cookie."""
    return _fernet(secret, LOGINS).encrypt(json.dumps(asdict(begun)).encode()).decode()


def unseal(value: str, secret: str) -> Begun | None:
    """What was sealed with this secret in the last LASTS_S, by whichever broker; None: it was not."""
    try:
        stored = json.loads(_fernet(secret, LOGINS).decrypt(value.encode(), ttl=LASTS_S))
    except InvalidToken:
        return None
    return Begun(**{name: item for name, item in stored.items() if name in Begun.__slots__})  # a newer broker's may hold more


def seal_token(token: str, secret: str) -> str | None:
    """The value of the cookie of an ID token; None: it is too long for one."""
    value = _fernet(secret, TOKENS).encrypt(zlib.compress(token.encode())).decode()
    return value if len(value) <= LONGEST_VALUE else None


def unseal_token(value: str, secret: str) -> str | None:
    """The ID token that was sealed with this secret; None: it was not. It opens nothing, so it may be old."""
    try:
        return zlib.decompress(_fernet(secret, TOKENS).decrypt(value.encode())).decode()
    except InvalidToken:
        return None


def _fernet(secret: str, purpose: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(secret.encode(), purpose, "sha256")))
