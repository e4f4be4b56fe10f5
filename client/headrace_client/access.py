"""The part of the administrator's client about tokens and the audit."""

from collections.abc import AsyncGenerator
from datetime import datetime

import grpc
from headrace_proto.v1 import access_pb2
from headrace_proto.wire import ROLE_NUMBERS, to_timestamp

from headrace_client import models
from headrace_client.base import Base
from headrace_client.encode import build, duration
from headrace_client.errors import InvalidRequest, from_rpc
from headrace_client.models import AuditRow, NewToken, Token


class AccessCalls(Base):
    """Mixed into `AdminClient`."""

    async def create_token(self, name: str, role: str, *, expires_in_s: float | None = None, all_domains: bool = False, reason: str = "") -> NewToken:
        """A new token, of this client's domain or of all, with its secret, which is never shown again. Roles: viewer, submitter, agent, operator, admin.

        Raises:
            Conflict: a token of that name is valid. ResultUnknown: it may have been made, and its secret is lost: rotate or revoke it.
        """
        if role not in ROLE_NUMBERS:
            raise InvalidRequest(f"there is no role {role!r}; the roles are {', '.join(ROLE_NUMBERS)}", details={"field": "role"})
        request = build(
            access_pb2.CreateTokenRequest, name=name, role=ROLE_NUMBERS[role],  # type: ignore[arg-type]  # enum numbers
            expires_in=duration("expires_in_s", expires_in_s), all_domains=all_domains,
            reason=reason,
        )  # fmt: skip
        return models.new_token(await self._call(lambda stubs: stubs.access.CreateToken, request, repeatable=False))

    async def list_tokens(self, *, all_domains: bool = False, include_revoked: bool = False) -> list[Token]:
        """The tokens of this client's domain, or those of all domains, by name."""
        request = build(access_pb2.ListTokensRequest, all_domains=all_domains, include_revoked=include_revoked)
        return [models.token(item) for item in (await self._call(lambda stubs: stubs.access.ListTokens, request)).tokens]

    async def rotate_token(
        self, name: str, *, overlap_s: float | None = None, expires_in_s: float | None = None, all_domains: bool = False, reason: str = ""
    ) -> NewToken:  # fmt: skip
        """A token with a new secret; the old one is valid for `overlap_s` more (default: 1 h).

        Raises:
            NotFound. ResultUnknown: it may have been rotated, and the new secret is lost: rotate it again within the overlap, and the one in use ends at once.
        """
        request = build(
            access_pb2.RotateTokenRequest, name=name, overlap=duration("overlap_s", overlap_s), expires_in=duration("expires_in_s", expires_in_s),
            all_domains=all_domains, reason=reason,
        )  # fmt: skip
        return models.new_token(await self._call(lambda stubs: stubs.access.RotateToken, request, repeatable=False))

    async def revoke_token(self, name: str, *, all_domains: bool = False, reason: str = "") -> Token:
        """Ends a token at every broker within a second. Raises NotFound."""
        request = build(access_pb2.RevokeTokenRequest, name=name, all_domains=all_domains, reason=reason)
        return models.token((await self._call(lambda stubs: stubs.access.RevokeToken, request)).token)

    async def list_audit(
        self, *, actor: str = "", action: str = "", target: str = "", at_from: datetime | None = None, at_to: datetime | None = None, all_domains: bool = False,
        page_size: int = 50, page_token: str = "",
    ) -> tuple[list[AuditRow], str]:  # fmt: skip
        """(what was changed, newest first; token of the next page or empty). A page can be short, even empty, and have a next one."""
        wanted = _filter(actor, action, target, at_from, at_to, all_domains)
        request = build(access_pb2.ListAuditRequest, filter=wanted, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.access.ListAudit, request)
        return [models.audit_row(item) for item in answer.rows], answer.next_page_token

    async def export_audit(
        self, *, actor: str = "", action: str = "", target: str = "", at_from: datetime | None = None, at_to: datetime | None = None, all_domains: bool = False
    ) -> AsyncGenerator[AuditRow, None]:  # fmt: skip
        """All that was changed before the call, newest first, as one stream; when it breaks, the error is raised, and what came was right."""
        request = build(access_pb2.ExportAuditRequest, filter=_filter(actor, action, target, at_from, at_to, all_domains))
        call = self._brokers.current().access.ExportAudit(request, metadata=self._metadata)
        try:
            async for message in call:
                for item in message.rows:
                    yield models.audit_row(item)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        finally:
            call.cancel()


def _filter(actor: str, action: str, target: str, at_from: datetime | None, at_to: datetime | None, all_domains: bool) -> access_pb2.AuditFilter:
    wanted = build(access_pb2.AuditFilter, actor=actor, action=action, target=target, all_domains=all_domains)
    for field, at in (("at_from", at_from), ("at_to", at_to)):
        if at is None:
            continue
        if at.tzinfo is None:
            raise InvalidRequest(f"{field} must say its time zone", details={"field": field})
        getattr(wanted, field).CopyFrom(to_timestamp(at))
    return wanted
