"""People who log in, in the database: a small table that changes, each change with its row in the audit in the same transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.access import Role
from headrace_broker.model.audit import Caller
from headrace_broker.store.audit import write_audit
from headrace_broker.store.statements import sql

MAX_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class UserRow:
    """A stored user. `domain` None: all domains; `password`: argon2id in PHC form, None: none was chosen yet; `epoch` rises with whatever ends the user's sessions;
    `now`: the database's clock when it was read."""

    user_id: int
    name: str
    domain: str | None
    role: Role
    password: str | None
    epoch: int
    invite_hash: bytes | None
    invite_until: datetime | None
    disabled_at: datetime | None
    password_at: datetime | None
    logged_in_at: datetime | None
    created_at: datetime
    created_by: str
    changed_at: datetime
    now: datetime

    @property
    def invited(self) -> bool:
        """Whether a link to choose a password is still good."""
        return self.invite_until is not None and self.invite_until > self.now and self.disabled_at is None

    def facts(self) -> dict[str, object]:
        """What the audit keeps of it: neither the password nor the key of an invitation, hashed or not. `epoch`: it rises when all its sessions end."""
        return {
            "user_id": self.user_id, "domain": self.domain, "role": self.role.name.lower(), "disabled_at": _text(self.disabled_at),
            "password_at": _text(self.password_at), "invited_until": _text(self.invite_until), "epoch": self.epoch,
        }  # fmt: skip


Lock = tuple[Any, ...]
"""Which row: the statement that locks it, and its parameters."""


def named(domain: str | None, name: str) -> Lock:
    """The user of this name in this domain, or of all domains (None)."""
    return "user_lock", domain, name


def numbered(user_id: int) -> Lock:
    """The user of this number."""
    return "user_lock_id", user_id


def invited(hash_: bytes) -> Lock:
    """The user who has a link of which the key has this hash, while it is good."""
    return "user_lock_invited", hash_


class UserStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def find(self, name: str) -> UserRow | None:
        """The user of this name, in whatever domain."""
        found = await self._pool.fetchrow(sql("user_find"), name)
        return _row(found) if found is not None else None

    async def get(self, user_id: int) -> UserRow | None:
        """The user of this number."""
        found = await self._pool.fetchrow(sql("user_get"), user_id)
        return _row(found) if found is not None else None

    async def of_domain(self, domain: str | None, *, disabled: bool) -> list[UserRow]:
        """Users of a domain, or those of all domains (None), by name."""
        return [_row(row) for row in await self._pool.fetch(sql("user_of_domain"), domain, disabled, MAX_LISTED)]

    async def epochs(self, user_ids: Sequence[int]) -> dict[int, int]:
        """The epochs of those of these users who may log in."""
        return {row["user_id"]: row["epoch"] for row in await self._pool.fetch(sql("user_epochs"), list(user_ids))}

    async def add(self, name: str, domain: str | None, role: Role, *, caller: Caller, reason: str) -> UserRow | None:
        """Makes a user; None: somebody has the name."""
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql("user_add"), name, domain, int(role), caller.shown)
            if found is None:
                return None
            row = _row(found)
            await write_audit(con, [caller.entry("user.create", f"user/{row.name}", reason=reason, after=row.facts(), everywhere=domain is None)])
        return row

    async def change(self, which: Lock, make: Callable[[UserRow], UserRow], action: str, *, caller: Caller | None, reason: str = "") -> UserRow | None:
        """Stores what `make` makes of the row, which is locked meanwhile; what it makes no different is left as it is. `caller` None: the user.

        Returns:
            The row as it is now; None: there is none. What `make` raises is raised, and nothing is changed.
        """
        async with self._pool.acquire() as con, con.transaction():
            found = await con.fetchrow(sql(which[0]), *which[1:])
            if found is None:
                return None
            before = _row(found)
            new = make(before)
            if new == before:
                return before
            values = (new.password, new.epoch, new.invite_hash, new.invite_until, new.disabled_at, new.password_at, new.logged_in_at)
            row = _row(await con.fetchrow(sql("user_set"), new.user_id, int(new.role), *values))
            by = caller or Caller(f"user/{row.name}", row.domain or "", f"{action}-{row.user_id}-{row.changed_at.timestamp():.6f}")
            entry = by.entry(action, f"user/{row.name}", reason=reason, before=before.facts(), after=row.facts(), everywhere=row.domain is None)
            await write_audit(con, [entry])
        return row

    async def rehash(self, row: UserRow, password: str) -> None:
        """Keeps the same password under other costs, unless it was changed since the row was read."""
        await self._pool.execute(sql("user_rehash"), row.user_id, row.password, password)


def ending_sessions(row: UserRow) -> UserRow:
    """The row after a change that ends the user's sessions."""
    return replace(row, epoch=row.epoch + 1)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _row(row: Any) -> UserRow:
    values = dict(row)
    return UserRow(**{**values, "role": Role(values["role"])})
