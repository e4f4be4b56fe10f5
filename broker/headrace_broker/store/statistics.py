"""Stored statistics: rows for minutes, and their sums for hours and days."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace_broker.store.statements import sql

MINUTE, HOUR, DAY = 1, 60, 1440
KEPT_MINUTES = {MINUTE: 3 * DAY, HOUR: 62 * DAY, DAY: 400 * DAY}
"""How long rows of each span are kept; those of a shorter span are added up into the next one long before."""
LOCK = 8_020_114
"""Key of the advisory lock of whoever adds up: one that began before others had stored what it adds up could otherwise end after one that knows of it."""
MOST_ROWS = 50_000
"""Rows that one answer is made of; more ask for a longer step, a shorter period or fewer types."""
MOST_SUMMED = 200_000
"""Rows that the database adds up for one answer."""


@dataclass(frozen=True, slots=True)
class StatRow:
    """One type, or one type at one agent, in one period. `at`: its first minute since 1970; `agent` "": all together."""

    at: int
    type_id: int
    agent: str
    numbers: dict[str, int]
    wait: dict[int, int]
    run: dict[int, int]
    wait_s: float
    run_s: float
    slots: int
    waiting: int


@dataclass(frozen=True, slots=True)
class HourRow:
    """What was asked for in the hour from minute `at` on: attempts asked for, attempts that ended, and their seconds."""

    at: int
    asked: int
    ended: int
    run_s: float


class Statistics:
    """Raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def put(self, life_id: int, rows: list[dict[str, Any]]) -> None:
        """Stores what a life counted in some minutes, all of it each time; safe to repeat."""
        await self._pool.execute(sql("stat_put"), life_id, json.dumps(rows))

    async def roll(self, part: int, whole: int, at: int) -> None:
        """Adds up one period; safe to repeat."""
        async with self._pool.acquire() as con, con.transaction():
            await con.execute(sql("stat_roll_lock"), LOCK)
            await con.execute(sql("stat_roll"), part, whole, at)

    async def roll_again(self, part: int, whole: int, periods: Sequence[int], last: int) -> None:
        """Adds up those of these periods again that were added up already: of those up to `last` no later one was passed over."""
        async with self._pool.acquire() as con, con.transaction():
            await con.execute(sql("stat_roll_lock"), LOCK)
            newest = await con.fetchval(sql("stat_rolled"), whole, last)
            for at in periods:
                if newest is not None and at <= newest:
                    await con.execute(sql("stat_roll"), part, whole, at)

    async def newest(self, span: int, to_minute: int) -> int | None:
        """The newest period of this span that begins at `to_minute` or sooner; None: there is none."""
        found: int | None = await self._pool.fetchval(sql("stat_rolled"), span, to_minute)
        return found

    async def oldest(self, span: int, from_minute: int) -> int | None:
        """The oldest period of this span that begins at `from_minute` or later; None: there is none."""
        found: int | None = await self._pool.fetchval(sql("stat_oldest"), span, from_minute)
        return found

    async def trim(self, span: int, before: int) -> int:
        """Deletes a portion of what is older; returns how many rows went."""
        status: str = await self._pool.execute(sql("stat_trim"), span, before)
        return int(status.rpartition(" ")[2])

    async def sums_of_agents(self, span: int, from_minute: int, to_minute: int, type_ids: Sequence[int], *, step: int, most: int) -> tuple[list[StatRow], int | None]:
        """(sums by agent and point of `step` minutes, oldest first, of all these types; the first minute from which everything is in them, None: all is).

        More than MOST_ROWS sums mean that there are more, of older points. No more than `most` rows are added up, the newest.
        """
        found = await self._pool.fetch(sql("stat_sum_agents"), span, from_minute, to_minute, list(type_ids), step, most)
        left_out = found[0]["left_out"]
        sums = [
            StatRow(r["at"], 0, r["agent"], json.loads(r["numbers"]), {}, _histogram(r["run"]), 0.0, r["run_s"], 0, 0) for r in reversed(found) if r["at"] is not None
        ]
        return sums, left_out + span if left_out is not None else None

    async def demand(self, span: int, from_minute: int, to_minute: int, type_ids: Sequence[int], *, most: int = MOST_SUMMED) -> tuple[list[HourRow], int | None]:
        """(hours in which something was counted of these types together, oldest first; the first minute from which everything is in them, None: all is).

        No more than `most` rows are added up, the newest.
        """
        found = await self._pool.fetch(sql("stat_demand"), span, from_minute, to_minute, list(type_ids), most)
        left_out = found[0]["left_out"] if found else None
        return [HourRow(r["at"], r["asked"], r["ended"], r["run_s"]) for r in found], left_out + 1 if left_out is not None else None

    async def ended(self, from_minute: int, to_minute: int, type_ids: Sequence[int], *, most: int = MOST_SUMMED) -> dict[int, tuple[int, int]]:
        """(attempts that ended, that failed) in some minutes, by type id. No more than `most` rows are added up, the newest."""
        found = await self._pool.fetch(sql("stat_ended"), from_minute, to_minute, list(type_ids), most)
        return {r["type_id"]: (r["ended"], r["failed"]) for r in found}

    async def rows(self, span: int, from_minute: int, to_minute: int, type_ids: Sequence[int]) -> list[StatRow]:
        """Rows of all agents together of a period, oldest first; MOST_ROWS + 1 of them mean that there are more."""
        found = await self._pool.fetch(sql("stat_list"), span, from_minute, to_minute, list(type_ids))
        return [
            StatRow(
                r["at"], r["type_id"], r["agent"], json.loads(r["numbers"]),
                _histogram(r["wait"]), _histogram(r["run"]), r["wait_s"], r["run_s"], r["slots"], r["waiting"],
            )
            for r in found
        ]  # fmt: skip


def _histogram(text: str) -> dict[int, int]:
    return {int(bucket): count for bucket, count in json.loads(text).items()}
