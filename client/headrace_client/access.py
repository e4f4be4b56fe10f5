"""Tokens and the audit: the part of the administrator's client about them, and the values that it gives."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
from headrace_proto.v1 import access_pb2
from headrace_proto.wire import ROLE_NAMES, ROLE_NUMBERS, name_of, to_datetime

from headrace_client.base import Base
from headrace_client.decode import time_of
from headrace_client.encode import build, duration, timestamp
from headrace_client.errors import InvalidRequest, from_rpc


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its secret. `domain` empty: all domains; `old_secret_until`: until when the secret before the newest one is valid."""

    token_id: int
    name: str
    domain: str
    role: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    old_secret_until: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token with its new secret, which is never shown again."""

    token: Token
    secret: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change: who, on whose behalf, did what to what, when and why. `token_id` 0: nobody proved who they are."""

    audit_id: int
    at: datetime
    domain: str
    actor: str
    token_id: int
    on_behalf_of: str
    action: str
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    request_id: str


class AccessCalls(Base):
    """Mixed into `AdminClient`."""

    async def create_token(self, name: str, role: str, *, expires_in_s: float | None = None, all_domains: bool = False, reason: str = "") -> NewToken:
        """A new token, of this client's domain or of all, with its secret, which is never shown again. Roles: viewer, submitter, agent, operator, admin, guest
        (nothing but what it is granted).

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
        return new_token(await self._call(lambda stubs: stubs.access.CreateToken, request, repeatable=False))

    async def list_tokens(self, *, all_domains: bool = False, include_revoked: bool = False) -> list[Token]:
        """The tokens of this client's domain, or those of all domains, by name."""
        request = build(access_pb2.ListTokensRequest, all_domains=all_domains, include_revoked=include_revoked)
        return [token(item) for item in (await self._call(lambda stubs: stubs.access.ListTokens, request)).tokens]

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
        return new_token(await self._call(lambda stubs: stubs.access.RotateToken, request, repeatable=False))

    async def revoke_token(self, name: str, *, all_domains: bool = False, reason: str = "") -> Token:
        """Ends a token at every broker within a second. Raises NotFound."""
        request = build(access_pb2.RevokeTokenRequest, name=name, all_domains=all_domains, reason=reason)
        return token((await self._call(lambda stubs: stubs.access.RevokeToken, request)).token)

    async def list_audit(
        self, *, actor: str = "", action: str = "", target: str = "", at_from: datetime | None = None, at_to: datetime | None = None, all_domains: bool = False,
        page_size: int = 50, page_token: str = "",
    ) -> tuple[list[AuditRow], str]:  # fmt: skip
        """(what was changed, newest first; token of the next page or empty). A page can be short, even empty, and have a next one."""
        wanted = _filter(actor, action, target, at_from, at_to, all_domains)
        request = build(access_pb2.ListAuditRequest, filter=wanted, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.access.ListAudit, request)
        return [audit_row(item) for item in answer.rows], answer.next_page_token

    async def export_audit(
        self, *, actor: str = "", action: str = "", target: str = "", at_from: datetime | None = None, at_to: datetime | None = None, all_domains: bool = False
    ) -> AsyncGenerator[AuditRow, None]:  # fmt: skip
        """All that was changed before the call, newest first, as one stream; when it breaks, the error is raised, and what came was right."""
        request = build(access_pb2.ExportAuditRequest, filter=_filter(actor, action, target, at_from, at_to, all_domains))
        call = self._brokers.current().access.ExportAudit(request, metadata=self._metadata)
        try:
            async for message in call:
                for item in message.rows:
                    yield audit_row(item)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        finally:
            call.cancel()


def token(message: access_pb2.Token) -> Token:
    """A token from its message."""
    times = (time_of(message, field) for field in ("expires_at", "old_secret_until", "revoked_at"))
    return Token(message.token_id, message.name, message.domain, name_of(message.role, ROLE_NAMES), to_datetime(message.created_at), message.created_by, *times)


def new_token(message: access_pb2.CreateTokenResponse | access_pb2.RotateTokenResponse) -> NewToken:
    """A token with its secret from either message."""
    return NewToken(token(message.token), message.secret)


def audit_row(message: access_pb2.AuditRow) -> AuditRow:
    """A row of the audit from its message."""
    before, after = (json.loads(text) if text else None for text in (message.before, message.after))
    return AuditRow(
        message.audit_id, to_datetime(message.at), message.domain, message.actor, message.token_id, message.on_behalf_of, message.action, message.target, before,
        after, message.reason, message.request_id,
    )  # fmt: skip


def _filter(actor: str, action: str, target: str, at_from: datetime | None, at_to: datetime | None, all_domains: bool) -> access_pb2.AuditFilter:
    wanted = build(access_pb2.AuditFilter, actor=actor, action=action, target=target, all_domains=all_domains)
    for field, at in (("at_from", at_from), ("at_to", at_to)):
        found = timestamp(field, at)
        if found is not None:
            getattr(wanted, field).CopyFrom(found)
    return wanted
