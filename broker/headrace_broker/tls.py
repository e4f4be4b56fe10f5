"""The broker's certificate: read, judged before it is used, and read again when its files change.

New connections are met with the newest files that were good; connections that are there go on. Files that are no good are refused at the start, and later passed over:
the log says why, `headrace_tls_reloads_total{result="refused"}` counts it, and what was in use stays in use. Every listener takes its certificate from here.
"""

import asyncio
import itertools
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from headrace_broker.config import ConfigError
from headrace_broker.metrics import Metrics

E = TypeVar("E", bound=x509.ExtensionType)
PERIOD_S = 1.0
"""How often the files are looked at. A change that does not fit is looked at once more before it is told: files are replaced one after another."""
SOON = timedelta(days=14)

log = structlog.get_logger("headrace.tls")


class TlsError(ConfigError):
    """The files are no good; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where they are. `client_ca` None: clients are not asked for certificates."""

    cert: Path
    key: Path
    client_ca: Path | None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Good files, as PEM. `not_after`: when the first certificate of the chain, or of the clients' CAs, expires."""

    key: bytes
    chain: bytes
    client_ca: bytes | None
    not_after: datetime
    context: ssl.SSLContext


def load(files: Files, *, now: datetime | None = None, http_clients: bool = False) -> Loaded:
    """Reads and judges. `http_clients`: who opens a page must show a certificate too. Raises TlsError."""
    now = now or datetime.now(UTC)
    chain_pem, key_pem = _read(files.cert, "--tls-cert"), _read(files.key, "--tls-key")
    ca_pem = _read(files.client_ca, "--tls-client-ca") if files.client_ca is not None else None
    chain = _certificates(chain_pem, files.cert, "--tls-cert")
    _judge_key(chain[0], key_pem, files)
    _judge_chain(chain, files.cert, now)
    authorities = _authorities(ca_pem, files.client_ca, now) if ca_pem is not None and files.client_ca is not None else []
    not_after = min(certificate.not_valid_after_utc for certificate in [*chain, *authorities])
    return Loaded(key_pem, chain_pem, ca_pem, not_after, _context(key_pem, chain_pem, ca_pem if http_clients else None))


class Tls:
    """The certificate in use. `loaded` may be read in any thread; the rest is for the event loop."""

    def __init__(self, files: Files, metrics: Metrics, *, http_clients: bool = False) -> None:
        """Reads the files. Raises TlsError."""
        self._files = files
        self._metrics = metrics
        self._http_clients = http_clients
        self._seen = self._look()
        self._told: Sequence[object] = ()
        self.loaded = self._load()
        self.context = _context(self.loaded.key, self.loaded.chain, self.loaded.client_ca if http_clients else None)
        """For the HTTP listener: each of its connections is met with the certificate that is then in use."""
        self.context.sni_callback = self._choose
        self._used()

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self.loaded.context

    def look_once(self) -> bool:
        """Looks whether the files have changed, and takes them over if they are good; returns whether it did."""
        seen = self._look()
        if seen == self._seen:
            return False
        try:
            self.loaded = self._load()
        except TlsError as error:
            if self._told == seen:
                self._seen = seen  # told; until they change again
                self._metrics.tls_reloads.labels("refused").inc()
                log.error("the new certificate is refused, and the one before stays in use", reason=str(error))
            self._told = seen
            return False
        self._seen = seen
        self._metrics.tls_reloads.labels("taken").inc()
        log.info("a new certificate is in use for new connections", not_after=self.loaded.not_after.isoformat())
        self._used()
        return True

    async def keep_fresh(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                self.look_once()
            except Exception as error:
                log.error("the files of the certificate cannot be looked at, and the one before stays in use", reason=f"{type(error).__name__}: {error}", exc_info=error)

    def _load(self) -> Loaded:
        try:
            return load(self._files, http_clients=self._http_clients)
        except (ValueError, UnsupportedAlgorithm, ssl.SSLError) as error:  # what the libraries find wrong deeper inside
            raise TlsError(f"{self._files.cert}, {self._files.key} or {self._files.client_ca} cannot be used: {error}") from error

    def _used(self) -> None:
        self._metrics.tls_not_after.set(self.loaded.not_after.timestamp())
        if self.loaded.not_after < datetime.now(UTC) + SOON:
            not_after = self.loaded.not_after.isoformat()
            log.warning("a certificate expires soon: issue a new one (headrace tls issue) and put it in the place of the old one", not_after=not_after)

    def _look(self) -> Sequence[object]:
        """What tells whether a file is still the one that was read; through links, as Kubernetes replaces files by them."""
        seen: list[object] = []
        for path in (self._files.cert, self._files.key, self._files.client_ca):
            try:
                stat = path.stat() if path is not None else None
            except OSError as error:
                seen.append(error.errno)
            else:
                seen.append((stat.st_mtime_ns, stat.st_ino, stat.st_size) if stat is not None else None)
        return tuple(seen)


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TlsError(f"cannot read {path} ({option}): {error.strerror}") from error


def _certificates(pem: bytes, path: Path, option: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        hint = "it holds a private key alone: are --tls-cert and --tls-key swapped?" if b"PRIVATE KEY" in pem else "expected PEM, with BEGIN CERTIFICATE"
        raise TlsError(f"{path} ({option}) holds no certificate that can be read; {hint}") from error


def _judge_key(leaf: x509.Certificate, pem: bytes, files: Files) -> None:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError as error:
        raise TlsError(
            f"the key in {files.key} (--tls-key) is encrypted with a password: write it without one (openssl pkey -in FILE -out NEW), readable by the broker only"
        ) from error
    except ValueError as error:
        hint = "it holds certificates alone: are --tls-cert and --tls-key swapped?" if b"BEGIN CERTIFICATE" in pem else "expected PEM, with BEGIN PRIVATE KEY"
        raise TlsError(f"{files.key} (--tls-key) holds no private key that can be read; {hint}") from error
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise TlsError(f"the key in {files.key} is not that of the first certificate in {files.cert}: give the two files that were made together")


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]  # every public key has it


def _judge_chain(chain: list[x509.Certificate], path: Path, now: datetime) -> None:
    for certificate in chain:
        _judge_time(certificate, path, now)
    leaf = chain[0]
    if not _names(leaf):
        raise TlsError(f"the certificate in {path} names no host (subject alternative name), so no client takes it: headrace tls issue --broker --host NAME makes one")
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise TlsError(f"the certificate in {path} is for clients, not for a server: headrace tls issue --broker makes one")
    for below, above in itertools.pairwise(chain):
        if below.issuer != above.subject:
            raise TlsError(f"the certificates in {path} are out of order: the broker's own first, then each the issuer of the one before")


def _authorities(pem: bytes, path: Path, now: datetime) -> list[x509.Certificate]:
    found = _certificates(pem, path, "--tls-client-ca")
    for certificate in found:
        basic = _extension(certificate, x509.BasicConstraints)
        if basic is None or not basic.ca:
            whose = certificate.subject.rfc4514_string()
            raise TlsError(f"{path} (--tls-client-ca) holds a certificate that is no CA's ({whose}): clients' certificates cannot come from it")
        _judge_time(certificate, path, now)
    return found


def _judge_time(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    if certificate.not_valid_after_utc <= now:
        raise TlsError(f"a certificate in {path} expired at {certificate.not_valid_after_utc.isoformat()}: issue a new one (headrace tls issue)")
    if certificate.not_valid_before_utc > now:
        raise TlsError(f"a certificate in {path} is valid only from {certificate.not_valid_before_utc.isoformat()} on: is the clock of this machine right?")


def _names(leaf: x509.Certificate) -> bool:
    names = _extension(leaf, x509.SubjectAlternativeName)
    return names is not None and any(isinstance(name, x509.DNSName | x509.IPAddress) for name in names)


def _extension(certificate: x509.Certificate, type_: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(type_).value
    except x509.ExtensionNotFound:
        return None


def _context(key: bytes, chain: bytes, client_ca: bytes | None) -> ssl.SSLContext:
    """For TLS 1.2 and newer. Python takes keys from files only: this one can be read by nobody else, and is gone at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile() as file:
        file.write(key + b"\n" + chain)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise TlsError(f"OpenSSL does not take the certificate with its key: {error.reason or error}") from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca.decode())
    return context
