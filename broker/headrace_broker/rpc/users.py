"""The Users service: people who log in to the manager."""

from typing import Any

from headrace_proto.v1 import users_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions.users import INVITATION_S, MOST_INVITATION_S, Users
from headrace_broker.model.access import USER_NAME, USER_ROLES, Role
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of, scope
from headrace_broker.store.users import UserRow


class UsersService:
    """See the module."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def PutUser(self, request: users_pb2.PutUserRequest, context: Any) -> users_pb2.PutUserResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        if int(request.role) not in USER_ROLES:
            raise InvalidField("role", f"a user is a viewer (1), an operator (4), an admin (5) or a guest (6), found {request.role}")
        row, created = await self._users.put(name, domain, Role(request.role), caller=caller, reason=reason)
        return users_pb2.PutUserResponse(user=_user(row), created=created)

    async def ListUsers(self, request: users_pb2.ListUsersRequest, context: Any) -> users_pb2.ListUsersResponse:  # noqa: N802
        rows = await self._users.list_users(scope(request.all_domains, context), disabled=request.include_disabled)
        return users_pb2.ListUsersResponse(users=[_user(row) for row in rows])

    async def InviteUser(self, request: users_pb2.InviteUserRequest, context: Any) -> users_pb2.InviteUserResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        valid_s = convert.seconds("valid_for", request.valid_for, MOST_INVITATION_S) if request.HasField("valid_for") else INVITATION_S
        if valid_s < 60:
            raise InvalidField("valid_for", f"at least a minute, found {valid_s:g} s")
        row, key = await self._users.invite(name, domain, valid_s, caller=caller, reason=reason)
        return users_pb2.InviteUserResponse(user=_user(row), path=f"/invitation?key={key}")

    async def SetUserPassword(self, request: users_pb2.SetUserPasswordRequest, context: Any) -> users_pb2.SetUserPasswordResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        return users_pb2.SetUserPasswordResponse(user=_user(await self._users.set_password(name, domain, request.password, caller=caller, reason=reason)))

    async def DisableUser(self, request: users_pb2.DisableUserRequest, context: Any) -> users_pb2.DisableUserResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        return users_pb2.DisableUserResponse(user=_user(await self._users.disable(name, domain, caller=caller, reason=reason)))

    async def EnableUser(self, request: users_pb2.EnableUserRequest, context: Any) -> users_pb2.EnableUserResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        return users_pb2.EnableUserResponse(user=_user(await self._users.enable(name, domain, caller=caller, reason=reason)))

    async def EndUserSessions(self, request: users_pb2.EndUserSessionsRequest, context: Any) -> users_pb2.EndUserSessionsResponse:  # noqa: N802
        caller, name, domain, reason = _begin(request, context)
        return users_pb2.EndUserSessionsResponse(user=_user(await self._users.end_sessions(name, domain, caller=caller, reason=reason)))


def _begin(request: Any, context: Any) -> tuple[Caller, str, str | None, str]:
    """(caller, name, domain, reason) of a call that changes something."""
    caller, name = caller_of(context), request.name
    if not USER_NAME.fullmatch(name):
        raise InvalidField("name", f"a user's name is 1 to 100 characters of A-Z a-z 0-9 . _ @ + -, found {name[:60]!r}")
    return caller, name, scope(request.all_domains, context), convert.text("reason", request.reason, convert.MAX_REASON)


def _user(row: UserRow) -> users_pb2.User:
    message = users_pb2.User(
        user_id=row.user_id, name=row.name, domain=row.domain or "", role=int(row.role), created_at=to_timestamp(row.created_at), created_by=row.created_by  # type: ignore[arg-type]
    )  # fmt: skip
    times = {"password_at": row.password_at, "logged_in_at": row.logged_in_at, "invited_until": row.invite_until if row.invited else None, "disabled_at": row.disabled_at}
    for field, at in times.items():
        if at is not None:
            getattr(message, field).CopyFrom(to_timestamp(at))
    return message
