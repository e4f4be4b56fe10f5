"""People who log in to the manager: what administrators do to them, and what they do themselves.

Nobody but its owner needs to know a password: an administrator makes a user and hands on a link, which is good once and for three days, and with which the person chooses
one. Whatever changes what a user may do ends the user's sessions: the row's epoch rises, and every broker compares it twice a second (`web/register.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from headrace_broker.actions.passwords import Passwords, check_password
from headrace_broker.actions.reach import require_role
from headrace_broker.model.access import USER_NAME, Role, hash_of, new_secret
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import DatabaseUnavailable, InvalidState, ResultUnknown, UserNameTaken, UserNotFound
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.users import Lock, UserRow, UserStore, ending_sessions, invited, named, numbered

INVITATION_S = 3 * 86_400.0
MOST_INVITATION_S = 30 * 86_400.0

T = TypeVar("T")


class Users:
    """See the module. `domain` None stands for users of all domains."""

    def __init__(self, store: UserStore, passwords: Passwords, check: Callable[[UserRow], None] = lambda row: None) -> None:
        """`check` raises when the caller may not change a user."""
        self._store = store
        self._check = check
        self._passwords = passwords

    # What administrators do ------------------------------------------------------------------------------------------------------------------------

    async def list_users(self, domain: str | None, *, disabled: bool) -> list[UserRow]:
        """Users of a domain by name; disabled ones too, if asked for."""
        return await _read(self._store.of_domain(domain, disabled=disabled))

    async def put(self, name: str, domain: str | None, role: Role, *, caller: Caller, reason: str) -> tuple[UserRow, bool]:
        """(the user, whether it is new). Makes a user, or changes its role, which ends its sessions. Raises UserNameTaken: somebody of another domain has the name;
        RightDenied: the caller may not do all that the user may, or would."""
        require_role(role, domain, f"making a user with the role {role.name.lower()}")

        def change(row: UserRow) -> UserRow:
            self._check(row)
            return row if row.role is role else replace(ending_sessions(row), role=role)

        row = await _write(self._store.change(named(domain, name), change, "user.role", caller=caller, reason=reason))
        if row is not None:
            return row, False
        made = await _write(self._store.add(name, domain, role, caller=caller, reason=reason))
        if made is None:
            raise UserNameTaken(name)
        return made, True

    async def invite(self, name: str, domain: str | None, valid_s: float, *, caller: Caller, reason: str) -> tuple[UserRow, str]:
        """(the user, the key of a link with which to choose a password). A link before it ends; the password, if there is one, stays until then."""
        key = new_secret()

        def change(row: UserRow) -> UserRow:
            if row.disabled_at is not None:
                raise InvalidState(f"user {row.name} is disabled: enable it first")
            return replace(row, invite_hash=hash_of(key), invite_until=row.now + timedelta(seconds=valid_s))

        return await self._change(named(domain, name), name, change, "user.invite", caller, reason), key

    async def set_password(self, name: str, domain: str | None, password: str, *, caller: Caller, reason: str) -> UserRow:
        """Replaces a user's password, which ends its sessions. Raises InvalidField, UserNotFound."""
        check_password("password", password)
        kept = await self._passwords.hash(password)
        return await self._change(named(domain, name), name, lambda row: _with_password(row, kept), "user.password", caller, reason)

    async def disable(self, name: str, domain: str | None, *, caller: Caller, reason: str) -> UserRow:
        """Ends a user's sessions, and lets it begin none."""

        def change(row: UserRow) -> UserRow:
            return row if row.disabled_at is not None else replace(ending_sessions(row), disabled_at=row.now, invite_hash=None, invite_until=None)

        return await self._change(named(domain, name), name, change, "user.disable", caller, reason)

    async def enable(self, name: str, domain: str | None, *, caller: Caller, reason: str) -> UserRow:
        """Lets a user in again, with the password that it had."""
        return await self._change(named(domain, name), name, lambda row: replace(row, disabled_at=None), "user.enable", caller, reason)

    async def end_sessions(self, name: str, domain: str | None, *, caller: Caller, reason: str) -> UserRow:
        """Logs a user out everywhere."""
        return await self._change(named(domain, name), name, ending_sessions, "user.logout", caller, reason)

    # What they do themselves -----------------------------------------------------------------------------------------------------------------------

    async def log_in(self, name: str, password: str) -> UserRow | None:
        """The user of this name and password; None: there is none. Takes as long for a name that nobody has. Raises Busy, DatabaseUnavailable."""
        row = await _read(self._store.find(name)) if USER_NAME.fullmatch(name) else None
        right = await self._passwords.verify(row.password if row is not None and row.disabled_at is None else None, password)
        if row is None or not right:
            return None
        if row.password is not None and self._passwords.is_outdated(row.password):
            await _write(self._store.rehash(row, await self._passwords.hash(password)))

        def change(now: UserRow) -> UserRow:  # what was right a moment ago must be right still
            return replace(now, logged_in_at=now.now) if now.epoch == row.epoch and now.disabled_at is None else now

        logged_in = await _write(self._store.change(numbered(row.user_id), change, "user.login", caller=None))
        return logged_in if logged_in is not None and logged_in.epoch == row.epoch and logged_in.disabled_at is None else None

    async def allowed(self, name: str) -> UserRow | None:
        """The user of this name, if it may log in; None: there is none, or it is disabled. Raises DatabaseUnavailable."""
        row = await _read(self._store.find(name))
        return row if row is not None and row.disabled_at is None else None

    async def accept(self, key: str, password: str) -> UserRow | None:
        """The user who had this link and has chosen this password with it; None: the link is not good, or not any more. Raises InvalidField."""
        check_password("password", password)
        kept = await self._passwords.hash(password)
        return await _write(self._store.change(invited(hash_of(key)), lambda row: _with_password(row, kept), "user.accept", caller=None))

    async def change_own(self, user_id: int, old: str, new: str) -> UserRow | None:
        """The user with its new password; None: the old one is not right. Ends the user's other sessions: the caller takes the new epoch over. Raises InvalidField."""
        check_password("new", new)
        row = await _read(self._store.get(user_id))
        if not await self._passwords.verify(row.password if row is not None else None, old) or row is None:
            return None
        kept = await self._passwords.hash(new)

        def change(now: UserRow) -> UserRow:
            return _with_password(now, kept) if now.epoch == row.epoch and now.disabled_at is None else now

        changed = await _write(self._store.change(numbered(user_id), change, "user.password", caller=None))
        return changed if changed is not None and changed.password == kept else None

    async def end_own(self, user_id: int) -> None:
        """Logs the user out everywhere."""
        await _write(self._store.change(numbered(user_id), ending_sessions, "user.logout", caller=None))

    async def epochs(self, user_ids: Sequence[int]) -> dict[int, int]:
        """The epochs of those of these users who may log in. Raises DatabaseUnavailable."""
        return await _read(self._store.epochs(user_ids))

    async def _change(self, which: Lock, name: str, change: Callable[[UserRow], UserRow], action: str, caller: Caller, reason: str) -> UserRow:
        def checked(row: UserRow) -> UserRow:
            self._check(row)
            return change(row)

        row = await _write(self._store.change(which, checked, action, caller=caller, reason=reason))
        if row is None:
            raise UserNotFound(name)
        return row


def _with_password(row: UserRow, kept: str) -> UserRow:
    return replace(ending_sessions(row), password=kept, password_at=row.now, invite_hash=None, invite_until=None)


async def _read(reading: Awaitable[T]) -> T:
    try:
        return await reading
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database did not answer in time") from error


async def _write(writing: Awaitable[T]) -> T:
    try:
        return await writing
    except READ_FAILURES as error:
        raise ResultUnknown("the database cannot be reached; if the connection broke at the commit, the user may have been changed: list the users") from error
