"""Grants: the part of the administrator's client about who may do what, and the values that it gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import grants_pb2
from headrace_proto.wire import to_datetime

from headrace_client.base import Base
from headrace_client.decode import time_of
from headrace_client.encode import build


@dataclass(frozen=True, slots=True)
class Grant:
    """A right of somebody. `who`: token/NAME, user/NAME or certificate/URI; `domains`, `types`: patterns; `ended_at` None: it is in force."""

    grant_id: int
    who: str
    actions: tuple[str, ...]
    domains: str
    types: str
    granted_at: datetime
    granted_by: str
    reason: str
    ended_at: datetime | None
    ended_by: str


@dataclass(frozen=True, slots=True)
class Access:
    """Whether somebody may do something, and why: for each role and grant whether it allows it, and what it says."""

    allowed: bool
    action: str
    who: tuple[str, ...]
    reasons: tuple[tuple[bool, str], ...]


class GrantCalls(Base):
    """Mixed into `AdminClient`."""

    async def grant(self, who: str, actions: Sequence[str], *, domains: str = "", types: str = "*", reason: str = "") -> Grant:
        """Gives somebody a right: token/NAME, user/NAME or certificate/URI. `domains` and `types` are patterns (* any characters, ? one); domains: this client's.

        Raises:
            PermissionDenied: nobody can give what they may not do themselves. NotFound. ResultUnknown: it may have been made: list the grants.
        """
        request = build(grants_pb2.AddGrantRequest, who=who, actions=list(actions), domains=domains, types=types, reason=reason)
        return grant_of((await self._call(lambda stubs: stubs.grants.AddGrant, request, repeatable=False)).grant)

    async def end_grant(self, grant_id: int, *, reason: str = "") -> Grant:
        """Ends a grant at every broker within a second. Raises NotFound, PermissionDenied."""
        request = build(grants_pb2.EndGrantRequest, grant_id=grant_id, reason=reason)
        return grant_of((await self._call(lambda stubs: stubs.grants.EndGrant, request, repeatable=False)).grant)

    async def list_grants(
        self, who: str = "", *, include_ended: bool = False, all_domains: bool = False, page_size: int = 100, page_token: str = ""
    ) -> tuple[list[Grant], str]:  # fmt: skip
        """(grants that count in this client's domain, newest first; token of the next page or empty)."""
        request = build(
            grants_pb2.ListGrantsRequest, who=who, include_ended=include_ended, all_domains=all_domains, page_size=page_size, page_token=page_token
        )  # fmt: skip
        answer = await self._call(lambda stubs: stubs.grants.ListGrants, request)
        return [grant_of(item) for item in answer.grants], answer.next_page_token

    async def check_access(self, action: str, *, who: str = "", type: str = "") -> Access:  # noqa: A002
        """Why somebody (empty: the caller) may take an action, or make a call such as Jobs/GetJob, or may not. `type`: a job type; empty: any."""
        request = build(grants_pb2.CheckAccessRequest, action=action, who=who, type=type)
        answer = await self._call(lambda stubs: stubs.grants.CheckAccess, request)
        return Access(answer.allowed, answer.action, tuple(answer.who), tuple((reason.allows, reason.text) for reason in answer.reasons))


def grant_of(message: grants_pb2.Grant) -> Grant:
    """A grant from its message."""
    return Grant(
        message.grant_id, message.who, tuple(message.actions), message.domains, message.types, to_datetime(message.granted_at), message.granted_by, message.reason,
        time_of(message, "ended_at"), message.ended_by,
    )  # fmt: skip
