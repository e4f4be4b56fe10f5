"""Who is at the other end of a connection, as its certificate says: `headrace://DOMAIN/ROLE/NAME`, the one such URI among the subject's alternative names.

gRPC has checked by then that the certificate comes from a CA of `--tls-client-ca` and was in force; here it is looked at whether it was revoked, or has expired since.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from headrace_proto.wire import IDENTITY_URI, ROLE_NUMBERS

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
        from headrace_broker.rpc.identity import read  # imports cryptography, which only brokers whose clients show certificates need

        holder = self._holders[pem] = read(pem)
        while len(self._holders) > REMEMBERED:
            oldest = next(iter(self._holders))
            if self._holders[oldest].watchers:
                self._holders.move_to_end(oldest)
                break
            del self._holders[oldest]
        return holder


def identity_of(uri: str) -> Identity:
    """Whom a URI names. Raises CertificateInvalid."""
    match = IDENTITY_URI.fullmatch(uri)
    if match is None or match[2] not in ROLE_NUMBERS:
        raise CertificateInvalid(f"{uri[:100]!r} is not headrace://DOMAIN/ROLE/NAME with one of the roles {', '.join(ROLE_NUMBERS)}")
    domain = None if match[1] == "*" else match[1]
    return Identity(uri, match[3], domain, Role(ROLE_NUMBERS[match[2]]))
