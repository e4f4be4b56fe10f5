"""How the way to brokers is encrypted, and what this program shows of itself: files, read again when they change."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from headrace_client.errors import InvalidRequest

Stamp = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Tls:
    """Files (PEM): `ca`, from which the broker's certificate must come (None: nothing is encrypted); `cert` and `key`, what brokers that ask for one are shown."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, ca: str | Path | None, cert: str | Path | None, key: str | Path | None) -> "Tls":
        """From arguments, or else HEADRACE_TLS_CA, HEADRACE_TLS_CLIENT_CERT and HEADRACE_TLS_CLIENT_KEY. Raises InvalidRequest when they do not go together."""
        files = [given or os.environ.get(f"HEADRACE_{name}") for given, name in ((ca, "TLS_CA"), (cert, "TLS_CLIENT_CERT"), (key, "TLS_CLIENT_KEY"))]
        made = cls(*(Path(file) if file else None for file in files))
        if (made.cert is None) != (made.key is None):
            raise InvalidRequest("tls_client_cert and tls_client_key belong together: name both or none", details={"field": "tls_client_cert"})
        if made.cert is not None and made.ca is None:
            raise InvalidRequest("a client's certificate travels over TLS only: name the CA of the broker's certificate too (tls_ca)", details={"field": "tls_ca"})
        return made

    @property
    def encrypted(self) -> bool:
        """Whether channels are."""
        return self.ca is not None

    def credentials(self) -> grpc.ChannelCredentials:
        """For a new channel, from the files as they are now. Raises InvalidRequest for one that cannot be read."""
        assert self.ca is not None
        roots = _read(self.ca, "CA", b"BEGIN CERTIFICATE")
        if self.cert is None or self.key is None:
            return grpc.ssl_channel_credentials(roots)
        cert, key = _read(self.cert, "certificate", b"BEGIN CERTIFICATE"), _read(self.key, "key", b"PRIVATE KEY-----")
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.cert, self.key, password="")  # gRPC would only say that it cannot connect
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise InvalidRequest(f"the key {self.key} is not that of the certificate {self.cert}, or is no key without a password ({reason})") from error
        return grpc.ssl_channel_credentials(roots, key, cert)

    def stamp(self) -> Stamp:
        """Differs when a file has changed."""
        found: list[object] = []
        for path in filter(None, (self.ca, self.cert, self.key)):
            try:
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_ino, stat.st_size))
            except OSError:
                found.append(None)
        return tuple(found)


def _read(path: Path, what: str, wanted: bytes) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read the {what} file {path}: {error.strerror}") from error
    if wanted not in data:
        raise InvalidRequest(f"the {what} file {path} is not what it should be: expected PEM with {wanted.decode().removesuffix('-----')}")
    return data
