"""People who log in to the manager: the part of the administrator's client about them, and the values that it gives."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import users_pb2
from headrace_proto.wire import ROLE_NAMES, ROLE_NUMBERS, name_of, to_datetime

from headrace_client.base import Base
from headrace_client.decode import time_of
from headrace_client.encode import build, duration
from headrace_client.errors import InvalidRequest

USER_ROLES = ("viewer", "operator", "admin", "guest")


@dataclass(frozen=True, slots=True)
class User:
    """A user. `domain` empty: all domains; `password_at` None: no password was chosen yet; `invited_until`: of the link with which to choose one."""

    user_id: int
    name: str
    domain: str
    role: str
    created_at: datetime
    created_by: str
    password_at: datetime | None
    logged_in_at: datetime | None
    invited_until: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Invitation:
    """A user, and the link to choose a password, without the address of the manager: it is good once, and never shown again."""

    user: User
    path: str


class UserCalls(Base):
    """Mixed into `AdminClient`."""

    async def put_user(self, name: str, role: str, *, all_domains: bool = False, reason: str = "") -> tuple[User, bool]:
        """(the user, whether it is new). Makes a user, or changes its role: viewer, operator, admin or guest. Raises Conflict: another domain's user has the name."""
        if role not in USER_ROLES:
            raise InvalidRequest(f"a user is one of {', '.join(USER_ROLES)}, found {role!r}", details={"field": "role"})
        request = build(
            users_pb2.PutUserRequest, name=name, role=ROLE_NUMBERS[role], all_domains=all_domains, reason=reason  # type: ignore[arg-type]  # enum numbers
        )  # fmt: skip
        answer = await self._call(lambda stubs: stubs.users.PutUser, request)
        return user(answer.user), answer.created

    async def list_users(self, *, all_domains: bool = False, include_disabled: bool = False) -> list[User]:
        """The users of this client's domain, or those of all domains, by name."""
        request = build(users_pb2.ListUsersRequest, all_domains=all_domains, include_disabled=include_disabled)
        return [user(item) for item in (await self._call(lambda stubs: stubs.users.ListUsers, request)).users]

    async def invite_user(self, name: str, *, valid_for_s: float | None = None, all_domains: bool = False, reason: str = "") -> Invitation:
        """A link with which the person chooses a password (default: good for 3 days).

        Raises:
            NotFound. InvalidState: the user is disabled. ResultUnknown: it may have been made, and is lost: invite again.
        """
        request = build(users_pb2.InviteUserRequest, name=name, valid_for=duration("valid_for_s", valid_for_s), all_domains=all_domains, reason=reason)
        answer = await self._call(lambda stubs: stubs.users.InviteUser, request, repeatable=False)
        return Invitation(user(answer.user), answer.path)

    async def set_user_password(self, name: str, password: str, *, all_domains: bool = False, reason: str = "") -> User:
        """Sets a password of 15 to 256 characters, and ends the user's sessions. Raises NotFound."""
        request = build(users_pb2.SetUserPasswordRequest, name=name, password=password, all_domains=all_domains, reason=reason)
        return user((await self._call(lambda stubs: stubs.users.SetUserPassword, request)).user)

    async def disable_user(self, name: str, *, all_domains: bool = False, reason: str = "") -> User:
        """Ends a user's sessions within seconds, and lets it begin none. Raises NotFound."""
        request = build(users_pb2.DisableUserRequest, name=name, all_domains=all_domains, reason=reason)
        return user((await self._call(lambda stubs: stubs.users.DisableUser, request)).user)

    async def enable_user(self, name: str, *, all_domains: bool = False, reason: str = "") -> User:
        """Lets a user in again, with the password that it had. Raises NotFound."""
        request = build(users_pb2.EnableUserRequest, name=name, all_domains=all_domains, reason=reason)
        return user((await self._call(lambda stubs: stubs.users.EnableUser, request)).user)

    async def end_user_sessions(self, name: str, *, all_domains: bool = False, reason: str = "") -> User:
        """Logs a user out everywhere. Raises NotFound."""
        request = build(users_pb2.EndUserSessionsRequest, name=name, all_domains=all_domains, reason=reason)
        return user((await self._call(lambda stubs: stubs.users.EndUserSessions, request)).user)


def user(message: users_pb2.User) -> User:
    """A user from its message."""
    times = (time_of(message, field) for field in ("password_at", "logged_in_at", "invited_until", "disabled_at"))
    return User(message.user_id, message.name, message.domain, name_of(message.role, ROLE_NAMES), to_datetime(message.created_at), message.created_by, *times)
