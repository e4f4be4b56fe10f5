"""Saved filters: a small table that changes, each change with its row in the audit in the same transaction."""

import json
from collections.abc import Callable
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import FilterChanged, FilterNotFound, InvalidState
from headrace_broker.model.saved_filter import MOST_OF_DOMAIN, MOST_OF_OWNER, SHARED, SavedFilter
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql

Check = Callable[[SavedFilter], None]
"""Raises when the caller may not change this one."""


class SavedFilterStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def seen_by(self, domain: str, owner: str, name: str | None = None) -> list[SavedFilter]:
        """Those of an owner in a domain, then those that everybody there has, each by name. `name`: those of this name alone."""
        return [_row(row) for row in await self._pool.fetch(sql("saved_filter_list"), domain, owner, name)]

    async def put(
        self, domain: str, owner: str, name: str, stored: dict[str, Any], *, expected_version: int, check: Check, caller: Caller, reason: str
    ) -> SavedFilter:  # fmt: skip
        """Makes one, or replaces that of this version; what is the same already is left as it is.

        Raises:
            FilterChanged: there is one of another version; or none is expected (0), and there is one.
            FilterNotFound: a version is expected, and there is none. InvalidState: there are too many. What `check` raises of the one that is there.
        """
        async with changing(self._pool) as con:
            await con.execute(sql("saved_filter_lock"), domain)
            found = await con.fetchrow(sql("saved_filter_find"), domain, owner, name)
            old = _row(found) if found is not None else None
            if old is None:
                if expected_version:
                    raise FilterNotFound(name)
                await self._room(con, domain, owner)
            else:
                check(old)
                if old.stored == stored:
                    return old
                if old.version != expected_version:
                    raise FilterChanged(name, old.version, old.saved_by)
            new = _row(await con.fetchrow(sql("saved_filter_put"), domain, owner, name, json.dumps(stored), caller.shown))
            before = old.facts() if old is not None else None
            await write_audit(con, [caller.entry("filter.save", f"saved_filter/{name}", reason=reason, before=before, after=new.facts())])
        return new

    async def delete(self, domain: str, owner: str, name: str, *, check: Check, caller: Caller, reason: str) -> None:
        """Deletes one. Raises FilterNotFound, and what `check` raises of it."""
        async with changing(self._pool) as con:
            found = await con.fetchrow(sql("saved_filter_find"), domain, owner, name)
            if found is None:
                raise FilterNotFound(name)
            old = _row(found)
            check(old)
            await con.execute(sql("saved_filter_delete"), domain, owner, name)
            await write_audit(con, [caller.entry("filter.delete", f"saved_filter/{name}", reason=reason, before=old.facts())])

    @staticmethod
    async def _room(con: Any, domain: str, owner: str) -> None:
        row = await con.fetchrow(sql("saved_filter_counts"), domain, owner)
        if row["of_owner"] >= MOST_OF_OWNER:
            whose = "shared with this domain" if owner == SHARED else "of yours in this domain"
            raise InvalidState(f"there are {MOST_OF_OWNER} saved filters {whose} already: delete one that nobody uses")
        if row["of_domain"] >= MOST_OF_DOMAIN:
            raise InvalidState(f"there are {MOST_OF_DOMAIN:,} saved filters in this domain already, of all people together: some must be deleted first")


def _row(row: Any) -> SavedFilter:
    return SavedFilter(row["domain"], row["owner"], row["name"], json.loads(row["filter"]), row["version"], row["saved_by"], row["saved_at"])
