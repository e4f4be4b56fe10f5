"""What a login must remember until the provider has sent the browser back: sealed into a cookie, so that any broker can go on with it, and no browser can read or
change it.

Fernet (https://github.com/fernet/spec) encrypts it, signs it and says when it was made. Its key is made from the client's secret by HMAC-SHA256, which is enough, since
that secret is a random one. Whoever changes the secret ends the logins that are under way, and nothing else.
"""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass

from cryptography.fernet import Fernet, InvalidToken

LASTS_S = 600
"""How long somebody may take at the provider."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that was begun. `wanted`: the page to go to after it."""

    state: str
    nonce: str
    verifier: str
    wanted: str

    @property
    def challenge(self) -> str:
        """Of the verifier, by S256 (RFC 7636, section 4.2)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()


def begin(wanted: str) -> Begun:
    """A new one: 256 random bits each."""
    return Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32), wanted)


def seal(begun: Begun, secret: str) -> str:
    """The value of the cookie."""
    return _fernet(secret).encrypt(json.dumps(asdict(begun)).encode()).decode()


def unseal(value: str, secret: str) -> Begun | None:
    """What was sealed with this secret in the last LASTS_S; None: it was not."""
    try:
        return Begun(**json.loads(_fernet(secret).decrypt(value.encode(), ttl=LASTS_S)))
    except InvalidToken:
        return None


def _fernet(secret: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(secret.encode(), b"headrace: logins that are under way", "sha256")))
