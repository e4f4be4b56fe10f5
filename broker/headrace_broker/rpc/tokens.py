"""The Access service: tokens, and the audit."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace_proto.v1 import access_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions.tokens import TokenTable
from headrace_broker.model.access import TOKEN_NAME, Role
from headrace_broker.model.errors import DatabaseUnavailable, InvalidField
from headrace_broker.model.ids import MAX_ID
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of, scope
from headrace_broker.store.audit import ALWAYS, AuditFilter, AuditPage, AuditRow, AuditStore
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.tokens import TokenRow

DEFAULT_OVERLAP_S = 3600.0
MAX_OVERLAP_S = 30 * 86_400.0
EXPORT_ROWS = 1000  # of one message
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_US = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class AccessService:
    """See the module."""

    def __init__(self, tokens: TokenTable, audit: AuditStore) -> None:
        self._tokens = tokens
        self._audit = audit

    async def CreateToken(self, request: access_pb2.CreateTokenRequest, context: Any) -> access_pb2.CreateTokenResponse:  # noqa: N802
        caller, name = caller_of(context), _name(request.name)
        if request.role not in range(1, 7):
            raise InvalidField("role", f"a role is 1 to 6, found {request.role}")
        domain, expires_in_s = scope(request.all_domains, context), _expires_in_s(request)
        row, secret = await self._tokens.create(name, domain, Role(request.role), expires_in_s, caller=caller, reason=_reason(request.reason))
        return access_pb2.CreateTokenResponse(token=_token(row), secret=secret)

    async def ListTokens(self, request: access_pb2.ListTokensRequest, context: Any) -> access_pb2.ListTokensResponse:  # noqa: N802
        rows = await self._tokens.list_tokens(scope(request.all_domains, context), revoked=request.include_revoked)
        return access_pb2.ListTokensResponse(tokens=[_token(row) for row in rows])

    async def RotateToken(self, request: access_pb2.RotateTokenRequest, context: Any) -> access_pb2.RotateTokenResponse:  # noqa: N802
        caller, name, domain = caller_of(context), _name(request.name), scope(request.all_domains, context)
        overlap_s = convert.seconds("overlap", request.overlap, MAX_OVERLAP_S) if request.HasField("overlap") else DEFAULT_OVERLAP_S
        row, secret = await self._tokens.rotate(name, domain, overlap_s, _expires_in_s(request), caller=caller, reason=_reason(request.reason))
        return access_pb2.RotateTokenResponse(token=_token(row), secret=secret)

    async def RevokeToken(self, request: access_pb2.RevokeTokenRequest, context: Any) -> access_pb2.RevokeTokenResponse:  # noqa: N802
        caller, name, domain = caller_of(context), _name(request.name), scope(request.all_domains, context)
        return access_pb2.RevokeTokenResponse(token=_token(await self._tokens.revoke(name, domain, caller=caller, reason=_reason(request.reason))))

    async def ListAudit(self, request: access_pb2.ListAuditRequest, context: Any) -> access_pb2.ListAuditResponse:  # noqa: N802
        wanted = _filter(request.filter, context)
        filters = f"{wanted.domain} {request.filter.SerializeToString(deterministic=True).hex()}"
        token = convert.page_token(request.page_token, filters, MAX_US, MAX_ID)
        page = await self._page(wanted, (_EPOCH + timedelta(microseconds=token[0]), token[-1]) if token else None, convert.page_size(request.page_size, 50, 1000))
        at, audit_id = page.below
        more = "" if page.complete else convert.make_token(filters, (at - _EPOCH) // timedelta(microseconds=1), audit_id)
        return access_pb2.ListAuditResponse(rows=[_row(row) for row in page.rows], next_page_token=more)

    async def ExportAudit(self, request: access_pb2.ExportAuditRequest, context: Any) -> AsyncIterator[access_pb2.ExportAuditResponse]:  # noqa: N802
        below = None
        while True:
            wanted = _filter(request.filter, context)  # each time: the right to see all domains may end meanwhile
            page = await self._page(wanted, below, EXPORT_ROWS)
            if page.rows:
                yield access_pb2.ExportAuditResponse(rows=[_row(row) for row in page.rows])
            if page.complete:
                return
            below = page.below

    async def _page(self, wanted: AuditFilter, below: tuple[datetime, int] | None, limit: int) -> AuditPage:
        try:
            return await self._audit.page(wanted, below=below, limit=limit)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(f"the database did not answer in time: {type(error).__name__}") from error


def _name(name: str) -> str:
    if not TOKEN_NAME.fullmatch(name):
        raise InvalidField("name", f"a token's name is 1 to 100 characters of A-Z a-z 0-9 . _ - @ : /, found {name[:60]!r}")
    return name


def _expires_in_s(request: access_pb2.CreateTokenRequest | access_pb2.RotateTokenRequest) -> float | None:
    if not request.HasField("expires_in"):
        return None
    found = convert.seconds("expires_in", request.expires_in)
    if found < 1:
        raise InvalidField("expires_in", f"at least 1 s, found {found:g} s")
    return found


def _reason(reason: str) -> str:
    return convert.text("reason", reason, convert.MAX_REASON)


def _filter(wanted: access_pb2.AuditFilter, context: Any) -> AuditFilter:
    from_, to = ALWAYS
    if wanted.HasField("at_from"):
        from_ = datetime.fromtimestamp(convert.unix_s("filter.at_from", wanted.at_from), UTC)
    if wanted.HasField("at_to"):
        to = datetime.fromtimestamp(convert.unix_s("filter.at_to", wanted.at_to), UTC)
    actor, target, action = (convert.text(f"filter.{field}", getattr(wanted, field), 300) or None for field in ("actor", "target", "action"))
    return AuditFilter(scope(wanted.all_domains, context), actor, target, action, from_, to)


def _token(row: TokenRow) -> access_pb2.Token:
    message = access_pb2.Token(
        token_id=row.token_id, name=row.name, domain=row.domain or "", role=int(row.role), created_at=to_timestamp(row.created_at), created_by=row.created_by  # type: ignore[arg-type]
    )  # fmt: skip
    for field, at in (("expires_at", row.expires_at), ("old_secret_until", row.old_until), ("revoked_at", row.revoked_at)):
        if at is not None:
            getattr(message, field).CopyFrom(to_timestamp(at))
    return message


def _row(row: AuditRow) -> access_pb2.AuditRow:
    return access_pb2.AuditRow(
        audit_id=row.audit_id, at=to_timestamp(row.at), domain=row.domain or "", actor=row.actor, token_id=row.token_id or 0, on_behalf_of=row.on_behalf_of,
        action=row.action, target=row.target, before=row.before or "", after=row.after or "", reason=row.reason, request_id=row.request_id,
    )  # fmt: skip
