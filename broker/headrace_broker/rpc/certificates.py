"""The Certificates service: what is not to be trusted any more."""

import re
from typing import Any

from headrace_proto.v1 import certificates_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions.certificates import Revocations
from headrace_broker.model.errors import DomainDenied, InvalidField
from headrace_broker.rpc import convert
from headrace_broker.rpc.access import TOKEN, sees_all_domains
from headrace_broker.rpc.callers import caller_of
from headrace_broker.store.certificates import RevokedRow

SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}", re.ASCII)  # at most 20 octets: RFC 5280, section 4.1.2.2
FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


class CertificatesService:
    """See the module."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    async def RevokeCertificate(  # noqa: N802
        self, request: certificates_pb2.RevokeCertificateRequest, context: Any
    ) -> certificates_pb2.RevokeCertificateResponse:  # fmt: skip
        caller = caller_of(context)
        _for_all_domains()
        if bool(request.serial) == bool(request.fingerprint):
            raise InvalidField("serial", "name the certificate by its serial number or by its fingerprint: one of them, as `headrace tls show` prints it")
        serial = _digits("serial", request.serial, SERIAL, "1 to 40 hexadecimal digits, not zero first") if request.serial else None
        fingerprint = bytes.fromhex(_digits("fingerprint", request.fingerprint, FINGERPRINT, "64 hexadecimal digits")) if request.fingerprint else None
        row = await self._revocations.revoke(serial, fingerprint, caller=caller, reason=convert.text("reason", request.reason, convert.MAX_REASON))
        return certificates_pb2.RevokeCertificateResponse(certificate=_message(row))

    async def ListRevokedCertificates(  # noqa: N802
        self, _request: certificates_pb2.ListRevokedCertificatesRequest, context: Any
    ) -> certificates_pb2.ListRevokedCertificatesResponse:  # fmt: skip
        convert.domain_of(context)
        _for_all_domains()
        return certificates_pb2.ListRevokedCertificatesResponse(certificates=[_message(row) for row in await self._revocations.newest()])


def _for_all_domains() -> None:
    if not sees_all_domains():
        token = TOKEN.get()
        raise DomainDenied(f"{token.called if token is not None else 'the caller'} is for one domain; certificates are the business of administrators of all domains")


def _digits(field: str, given: str, pattern: "re.Pattern[str]", wanted: str) -> str:
    found = given[:200].replace(":", "").lower()
    found = found.lstrip("0") if pattern is SERIAL else found
    if not pattern.fullmatch(found):
        raise InvalidField(field, f"{wanted}, with or without colons, found {given[:100]!r}")
    return found


def _message(row: RevokedRow) -> certificates_pb2.RevokedCertificate:
    return certificates_pb2.RevokedCertificate(
        serial=row.serial or "", fingerprint=row.fingerprint.hex() if row.fingerprint is not None else "", revoked_at=to_timestamp(row.revoked_at),
        revoked_by=row.revoked_by, reason=row.reason,
    )  # fmt: skip
