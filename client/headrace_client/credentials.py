"""The token that calls carry: given as it is, by a function, or in a file that is read again when it changes, so that a new one needs no restart."""

import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from headrace_client.errors import HeadraceError, InvalidRequest, Unavailable

Token = str | Callable[[], str]
"""A secret, or what gives the one to be used now. It is asked before every call, so it should be quick."""
Pairs = tuple[tuple[str, str], ...]


class TokenFile:
    """Gives the secret in a file. The file may be replaced at any time; as long as it cannot be read, the last secret that was read stays in use."""

    def __init__(self, path: str | Path) -> None:
        """Raises InvalidRequest when the file cannot be read now."""
        self._path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._secret = ""
        self()
        if not self._secret:
            raise InvalidRequest(f"cannot read a token from the file {path}", details={"field": "token_file"})

    def __call__(self) -> str:
        """The secret."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._secret = self._path.read_text().strip() or self._secret
                self._seen = seen
        except (OSError, UnicodeDecodeError):
            pass
        return self._secret


def token_of(token: Token | None) -> Token | None:
    """The token that was given, or that the environment names: HEADRACE_TOKEN, or the file HEADRACE_TOKEN_FILE."""
    if token:
        return token
    if secret := os.environ.get("HEADRACE_TOKEN"):
        return secret
    path = os.environ.get("HEADRACE_TOKEN_FILE")
    return TokenFile(path) if path else None


class Metadata:
    """What every call carries. Called before each; as long as the token stays the same, so do the pairs."""

    def __init__(self, fixed: Pairs, token: Token | None) -> None:
        self.has_token = token is not None
        self._fixed = fixed
        self._token = token
        self._secret: str | None = None
        self._pairs = fixed
        self()

    def __call__(self) -> Pairs:
        """The pairs. Raises InvalidRequest for a token with characters that no token has, and Unavailable when the function that gives it fails."""
        if self._token is None:
            return self._pairs
        secret = self._token if isinstance(self._token, str) else _given(self._token)
        if secret != self._secret:
            if not secret.isascii() or not secret.isprintable():
                raise InvalidRequest("the token holds characters that no token has", details={"field": "token"})
            self._pairs = (*self._fixed, ("authorization", f"Bearer {secret}")) if secret else self._fixed
            self._secret = secret
        return self._pairs


def _given(token: Callable[[], str]) -> str:
    try:
        secret: object = token()
    except HeadraceError:
        raise
    except Exception as error:
        raise Unavailable(f"the function that gives the token failed with {type(error).__name__}; nothing was sent") from error
    if not isinstance(secret, str):
        raise Unavailable(f"the function that gives the token gave {type(secret).__name__} where text is wanted; nothing was sent")
    return secret


def refuse_plaintext(addresses: list[str], *, encrypted: bool) -> None:
    """Raises InvalidRequest when a token would travel in the clear to another machine. HEADRACE_PLAINTEXT_TOKEN=1 says that something else protects it."""
    if encrypted or os.environ.get("HEADRACE_PLAINTEXT_TOKEN") == "1":
        return
    for address in addresses:
        if not address.startswith("unix:") and not _is_loopback(address.rpartition(":")[0]):
            raise InvalidRequest(
                f"the token would go to {address} in the clear: name the CA of its certificate (tls_ca, --tls-ca, HEADRACE_TLS_CA),"
                " or set HEADRACE_PLAINTEXT_TOKEN=1 if something else encrypts the way there",
                details={"field": "token"},
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
