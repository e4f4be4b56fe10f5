"""The audit: rows that ride in the transaction of the change that they tell of, and their reader. `model/audit.py` tells how a change leaves its row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from headrace_broker.model.audit import AuditEntry
from headrace_broker.model.ids import MAX_ID
from headrace_broker.store.statements import sql

SCAN_ROWS = 5000
"""Rows that one page looks at: a filter that matches little answers with fewer rows and says how far it came, instead of reading on without end."""
ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


async def write_audit(con: "asyncpg.Connection[Any]", entries: Sequence[AuditEntry]) -> None:
    """Adds rows within the transaction that `con` is in: that of the change. Raises what asyncpg raises."""
    await con.execute(sql("audit_add"), *audit_columns(entries))


def audit_columns(entries: Sequence[AuditEntry]) -> tuple[list[Any], ...]:
    """The parameters of audit_add.sql."""
    return (
        [e.domain for e in entries], [e.caller.actor for e in entries], [e.caller.token_id for e in entries], [e.caller.on_behalf_of for e in entries],
        [e.action for e in entries], [e.target for e in entries], [_json(e.before) for e in entries], [_json(e.after) for e in entries],
        [e.reason for e in entries], [e.caller.request_id for e in entries],
    )  # fmt: skip


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows. None does not narrow; `domain` None: all domains, and what belongs to none."""

    domain: str | None
    actor: str | None = None
    target: str | None = None
    action: str | None = None
    from_: datetime = ALWAYS[0]
    to: datetime = ALWAYS[1]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A stored row; `before` and `after` are JSON."""

    audit_id: int
    at: datetime
    domain: str | None
    actor: str
    token_id: int | None
    on_behalf_of: str
    action: str
    target: str
    before: str | None
    after: str | None
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Rows of one page, newest first. `below`: where the next one begins, as (at, audit_id); `complete`: there is none."""

    rows: list[AuditRow]
    below: tuple[datetime, int]
    complete: bool


class AuditStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def add(self, entries: Sequence[AuditEntry]) -> None:
        """Adds rows about changes that no transaction makes, since they live in memory only: to be called before the change."""
        await self._pool.execute(sql("audit_add"), *audit_columns(entries))

    async def page(self, wanted: AuditFilter, *, below: tuple[datetime, int] | None, limit: int) -> AuditPage:
        """Up to `limit` rows that match, newest first, below (at, audit_id)."""
        name = "audit_list_target" if wanted.target else "audit_list_actor" if wanted.actor else "audit_list_domain" if wanted.domain is not None else "audit_list"
        at, audit_id = below or (ALWAYS[1], MAX_ID)
        rows: list[AuditRow] = []
        seen_all = False
        for most in (limit + 1, SCAN_ROWS - limit - 1):  # mostly every row matches; where few do, a second look goes further
            found = await self._pool.fetch(sql(name), wanted.domain, wanted.actor, wanted.target, wanted.action, wanted.from_, wanted.to, at, audit_id, most)
            for row in found:
                if len(rows) == limit:
                    break
                at, audit_id = row["at"], row["audit_id"]
                if row["matches"]:
                    rows.append(_row(row))
            seen_all = len(found) < most and (not found or found[-1]["audit_id"] == audit_id)
            if seen_all or len(rows) == limit:
                break
        return AuditPage(rows, (at, audit_id), seen_all)


def _row(row: Any) -> AuditRow:
    return AuditRow(*(value for name, value in row.items() if name != "matches"))
