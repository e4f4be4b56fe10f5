"""Who is at the other end of a connection, as its certificate says: `headrace://DOMAIN/ROLE/NAME`, the one such URI among the subject's alternative names.

gRPC has checked by then that the certificate comes from a CA of `--tls-client-ca` and was in force; here it is looked at whether it was revoked, or has expired since.
"""

import asyncio
import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from headrace_proto.wire import IDENTITY_SCHEME, IDENTITY_URI, ROLE_NUMBERS

from headrace_broker.actions.certificates import Revocations
from headrace_broker.actions.tokens import Credential
from headrace_broker.model.access import Identity, Role
from headrace_broker.model.errors import CertificateInvalid

REMEMBERED = 10_000
"""Certificates; those that were seen longest ago are read again."""


class Holder(Credential):
    """A certificate in use. `identity` None: it says not who its holder is, and is good for the connection alone. `problem`: why it is good for nothing."""

    __slots__ = ("fingerprint", "identity", "problem", "serial")

    def __init__(self, called: str, serial: str, fingerprint: bytes, identity: Identity | None, until: float, problem: str = "") -> None:
        super().__init__(called, until)
        self.serial = serial
        self.fingerprint = fingerprint
        self.identity = identity
        self.problem = problem


class Peers:
    """Holders by their certificates. Only the event loop's own thread uses it."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._holders: OrderedDict[bytes, Holder] = OrderedDict()
        revocations.watchers.append(self.review)

    def holder(self, auth_context: Mapping[str, Iterable[bytes]]) -> Holder | None:
        """Whose call it is; None: the connection shows no certificate.

        Raises:
            CertificateInvalid: it was revoked, has expired, or names its holder wrongly. DatabaseUnavailable: it is not known yet what was revoked.
        """
        pem = next(iter(auth_context.get("x509_pem_cert", ())), None)
        if pem is None:
            return None
        holder = self._holders.get(pem)
        if holder is None:
            holder = self._remember(pem)
        if holder.problem:
            raise CertificateInvalid(holder.problem)
        if holder.ended or self._revocations.holds(holder.serial, holder.fingerprint):
            raise CertificateInvalid(f"{holder.called} was revoked, or has expired")
        if holder.until <= asyncio.get_running_loop().time():
            raise CertificateInvalid(f"{holder.called} has expired; get a new one")
        return holder

    def review(self) -> None:
        """Ends what was revoked or has expired, for those who watch it."""
        now = asyncio.get_running_loop().time()
        for holder in self._holders.values():
            if holder.watchers and (holder.until <= now or self._revocations.holds(holder.serial, holder.fingerprint)):
                holder.end()

    def _remember(self, pem: bytes) -> Holder:
        holder = self._holders[pem] = _read(pem)
        while len(self._holders) > REMEMBERED:
            oldest = next(iter(self._holders))
            if self._holders[oldest].watchers:
                self._holders.move_to_end(oldest)
                break
            del self._holders[oldest]
        return holder


def _read(pem: bytes) -> Holder:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        return Holder("the certificate", "", b"", None, math.inf, f"the certificate of the connection cannot be read: {error}")
    serial, fingerprint = f"{certificate.serial_number:x}", hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    left_s = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds()
    until = asyncio.get_running_loop().time() + left_s
    called = f"the certificate with serial number {serial}"
    try:
        identity = _identity(certificate)
    except (CertificateInvalid, ValueError) as error:
        return Holder(called, serial, fingerprint, None, until, f"{called} says not well who its holder is: {error}")
    return Holder(f"the certificate {identity.name!r}" if identity is not None else called, serial, fingerprint, identity, until)


def _identity(certificate: x509.Certificate) -> Identity | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    found = [uri for uri in names.get_values_for_type(x509.UniformResourceIdentifier) if uri.startswith(IDENTITY_SCHEME)]
    if not found:
        return None
    if len(found) > 1:
        raise CertificateInvalid(f"it names {len(found)} identities, and must name one")
    return identity_of(found[0])


def identity_of(uri: str) -> Identity:
    """Whom a URI names. Raises CertificateInvalid."""
    match = IDENTITY_URI.fullmatch(uri)
    if match is None or match[2] not in ROLE_NUMBERS:
        raise CertificateInvalid(f"{uri[:100]!r} is not headrace://DOMAIN/ROLE/NAME with one of the roles {', '.join(ROLE_NUMBERS)}")
    domain = None if match[1] == "*" else match[1]
    return Identity(uri, match[3], domain, Role(ROLE_NUMBERS[match[2]]))
