"""Whom a certificate names."""

import asyncio
import hashlib
import math
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from headrace_proto.wire import IDENTITY_SCHEME

from headrace_broker.model.access import Identity
from headrace_broker.model.errors import CertificateInvalid
from headrace_broker.rpc.peers import Holder, identity_of


def read(pem: bytes) -> Holder:
    """The holder of a certificate; one that is good for nothing has a `problem`."""
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
