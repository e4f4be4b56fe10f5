"""Certificates that are not to be trusted any more; a part of the administrator's client."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import certificates_pb2
from headrace_proto.wire import to_datetime

from headrace_client.base import Base
from headrace_client.encode import build


@dataclass(frozen=True, slots=True)
class RevokedCertificate:
    """A certificate that no broker takes any more, named by its serial number or its fingerprint (SHA-256), in hexadecimal digits."""

    serial: str
    fingerprint: str
    revoked_at: datetime
    revoked_by: str
    reason: str


class CertificateCalls(Base):
    """For administrators of all domains."""

    async def revoke_certificate(self, *, serial: str = "", fingerprint: str = "", reason: str = "") -> RevokedCertificate:
        """Ends the trust in a certificate for good, at every broker within a second; calls that last under it end. Either its serial number or its fingerprint."""
        request = build(certificates_pb2.RevokeCertificateRequest, serial=serial, fingerprint=fingerprint, reason=reason)
        return _row((await self._call(lambda stubs: stubs.certificates.RevokeCertificate, request)).certificate)

    async def list_revoked_certificates(self) -> list[RevokedCertificate]:
        """The newest 10,000, newest first."""
        answer = await self._call(lambda stubs: stubs.certificates.ListRevokedCertificates, certificates_pb2.ListRevokedCertificatesRequest())
        return [_row(item) for item in answer.certificates]


def _row(message: certificates_pb2.RevokedCertificate) -> RevokedCertificate:
    return RevokedCertificate(message.serial, message.fingerprint, to_datetime(message.revoked_at), message.revoked_by, message.reason)
