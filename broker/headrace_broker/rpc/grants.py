"""The Grants service: who may do what, beside what the role says."""

from collections.abc import Sequence
from typing import Any

from headrace_proto.v1 import grants_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions.grants import MAX_ID, GrantTable, act_named, source_of
from headrace_broker.actions.reach import MAY, Principal, types_for
from headrace_broker.model.errors import InvalidField, RoleDenied
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.callers import caller_of, scope
from headrace_broker.store.grants import GrantRow

CALLS = {method.rpartition(".")[2]: need for method, need in LEAST.items()}
"""What each call needs, by its name without the package: Jobs/GetJob, or KEDA's ExternalScaler/GetMetrics."""


class GrantsService:
    """See the module."""

    def __init__(self, grants: GrantTable) -> None:
        self._grants = grants

    async def AddGrant(self, request: grants_pb2.AddGrantRequest, context: Any) -> grants_pb2.AddGrantResponse:  # noqa: N802
        caller = caller_of(context)
        who = convert.text("who", request.who, 300, required=True)
        source = source_of(request.actions, request.domains, request.types, caller.domain)
        reason = convert.text("reason", request.reason, convert.MAX_REASON)
        return grants_pb2.AddGrantResponse(grant=_grant(await self._grants.add(who, source, caller=caller, reason=reason)))

    async def EndGrant(self, request: grants_pb2.EndGrantRequest, context: Any) -> grants_pb2.EndGrantResponse:  # noqa: N802
        caller, reason = caller_of(context), convert.text("reason", request.reason, convert.MAX_REASON)
        if request.grant_id <= 0:
            raise InvalidField("grant_id", f"a grant's number is positive, found {request.grant_id}")
        return grants_pb2.EndGrantResponse(grant=_grant(await self._grants.end(request.grant_id, caller=caller, reason=reason)))

    async def ListGrants(self, request: grants_pb2.ListGrantsRequest, context: Any) -> grants_pb2.ListGrantsResponse:  # noqa: N802
        who, domain = convert.text("who", request.who, 300), scope(request.all_domains, context)
        limit = convert.page_size(request.page_size, 100, 1000)
        belongs_to = f"grants {domain} {who} {request.include_ended}"
        [below] = convert.page_token(request.page_token, belongs_to, MAX_ID) or [MAX_ID]
        rows = await self._grants.list_grants(domain, who, ended=request.include_ended, below=below, limit=limit)
        more = convert.make_token(belongs_to, rows[-1].grant_id) if len(rows) == limit else ""
        return grants_pb2.ListGrantsResponse(grants=[_grant(row) for row in rows], next_page_token=more)

    async def CheckAccess(self, request: grants_pb2.CheckAccessRequest, context: Any) -> grants_pb2.CheckAccessResponse:  # noqa: N802
        domain, may = convert.domain_of(context), MAY.get()
        act = _act_or_call(request.action)
        name = convert.type_name("type", request.type) if request.type else None
        principals: Sequence[Principal] = may.principals if may is not None else ()
        if request.who:
            if not types_for(Act.MANAGE_ACCESS):
                raise RoleDenied(f"to ask about others takes the right {Act.MANAGE_ACCESS}")
            principals = [(await self._grants.find(convert.text("who", request.who, 300), domain))[0]]
        lines = [[(yes, f"{one.called}: {text}") for yes, text in self._grants.explain(one, domain, act, name)] for one in principals]
        allowed = all(any(yes for yes, _ in of_one) for of_one in lines)
        reasons = [grants_pb2.CheckAccessResponse.Reason(allows=yes, text=text) for of_one in lines for yes, text in of_one]
        if not principals:
            reasons = [grants_pb2.CheckAccessResponse.Reason(allows=True, text="this broker wants no tokens: everybody may do everything")]
        return grants_pb2.CheckAccessResponse(allowed=allowed, action=str(act), reasons=reasons, who=[one.called for one in principals])


def _act_or_call(name: str) -> Act:
    need = CALLS.get(name)
    return need.act if need is not None and need.act is not None else act_named("action", name)


def _grant(row: GrantRow) -> grants_pb2.Grant:
    message = grants_pb2.Grant(
        grant_id=row.grant_id, who=row.named, domains=row.domains, types=row.types, actions=row.actions, granted_at=to_timestamp(row.granted_at),
        granted_by=row.granted_by, reason=row.reason, ended_by=row.ended_by or "",
    )  # fmt: skip
    if row.ended_at is not None:
        message.ended_at.CopyFrom(to_timestamp(row.ended_at))
    return message
