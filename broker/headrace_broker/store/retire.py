"""Gives back the space of jobs that are gone, and of flush rows that the counts no longer need.

Everything here runs beside the flushes and the reads of agents. A range is looked at without locks: a job that is gone stays gone (nobody can change it any more, and
no job is added to a range whose time is over), so what was found stays true however late it is acted upon; whether something was stored meanwhile all the same is looked
at before anything goes. A lock that others would have to wait for is asked for with a short timeout, so that nobody queues behind it for long, and held for as long as it
takes to put aside and back the few jobs that stay; when it cannot be had, nothing has happened and the caller tries again later. Interrupted at any point, the next run
finds what is left to do in the catalogue.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.store.ledger import SLOT_S
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.pool import put_right
from headrace_broker.store.statements import sql

LOCK_TIMEOUT = "100ms"
LONGEST = "120s"
SLOTS = 4
"""Of flush rows, each a table of its own."""
PIECES = 64
"""Into how many a range is divided at first."""
PIECE_S = 0.02
"""How long work on one should take."""
PAUSES = 3
"""So many times as long as a piece took nothing is done after it: two processors that are three quarters busy have a quarter of one left."""
NARROWER = 16
"""By so much is a piece narrower than one that took too long."""
NARROWEST = 64
"""By so much is a piece narrower than at first, at most, unless even that is cancelled: each takes some time however little is in it, and on a busy machine that may be
longer than it should take, for ever."""
LOCKED_S = 1.5
"""How long what stays may take under the lock where jobs live: a flush waits for two seconds, and one that waited twice in vain costs its shard a takeover. They may have
millions of log lines."""
UNTIE_LONGEST = "1s"
"""For the keys of a piece: a flush that is given one of them again waits for their end, and for no more than two seconds."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in a range: when the looking began (the database's clock), the highest id, the jobs that stay, how many of them live, and how many are gone."""

    at: datetime
    last: int
    kept: list[int]
    live: int
    gone: int


class LockBusy(Exception):
    """Somebody reads or writes there, or would have to wait for too long; nothing was removed, try again later."""


class Retirement:
    """Statements of its own connection, taken from the pool for each."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def look(self, range_: FactRange, *, due_minute: int, keyed_from: int, most_kept: int) -> Looked:
        """Which jobs of a range stay; what lies beyond the piece with the job that is one too many to keep is not looked at. Raises LockBusy."""
        rows: list[Any] = []
        kept: list[int] = []

        async def look_at(low: int, high: int) -> bool:
            rows.append(await self._read("range_gone", range_.class_, low, high, due_minute, keyed_from, list(floors), list(floors.values())))
            kept.extend(rows[-1]["kept"])
            return len(kept) <= most_kept

        async with _lockable():
            floors = await self._floors()
            await _through(range_, look_at)
            after = await self._floors()
            if any(type_id in after and after[type_id] < floor for type_id, floor in floors.items()):
                raise LockBusy("the database's clock was set back, so that what was stored since then looks older than it is")
        last = max([range_.lo, *(row["last"] or 0 for row in rows)])
        return Looked(rows[0]["at"], last, kept, sum(row["live"] for row in rows), sum(row["gone"] for row in rows))

    async def _floors(self) -> dict[int, datetime]:
        """By type: no event that its newest checkpoint does not know of is earlier. Read apart from the pieces: under load it goes through the flushes of a minute, and a
        piece has to take little."""
        row = await self._read("range_floors")
        return dict(zip(row["types"], row["floors"], strict=True))

    async def retire(self, range_: FactRange, found: Looked) -> None:
        """Removes the jobs that are gone, with their keys and ties; where none stays their facts are left to `drop`. Raises LockBusy."""

        async def untie(low: int, high: int) -> bool:
            async with self._pool.acquire() as con, con.transaction():
                await con.execute(f"set local statement_timeout = '{UNTIE_LONGEST}'")
                await con.execute(sql("range_untie"), range_.class_, low, high, found.kept)
            return True

        async with _lockable():
            if await self._read("range_moved", range_.class_, range_.lo, range_.hi, found.at, found.last, found.kept):
                raise LockBusy("something was stored in the range since it was looked at")
            await _through(range_, untie)
            if found.kept:
                await self._rewrite(range_, found)

    async def _rewrite(self, range_: FactRange, found: Looked) -> None:
        """Puts the facts of the jobs that stay aside, empties the leaves, puts them back. Locks are taken in the flush's order: the other one would deadlock with it."""
        async with self._pool.acquire() as con:
            leaves = [f"headrace.{row['leaf']}" for row in await con.fetch(sql("range_leaves"), range_.class_, range_.lo) if row["attached"]]
            async with con.transaction():
                await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; set local statement_timeout = '{LONGEST}'; set local enable_seqscan = off")
                await _put_aside(con, leaves[:1], found.kept)  # jobs never change: no lock is needed for them
                async with asyncio.timeout(LOCKED_S if found.live else None):
                    await con.execute("".join(f"lock table {leaf} in access exclusive mode;" for leaf in leaves))
                    # Now: what was on its way is stored.
                    if await con.fetchval(sql("range_moved"), range_.class_, range_.lo, range_.hi, found.at, found.last, found.kept):
                        raise LockBusy("something was stored in the range since it was looked at")
                    await _put_aside(con, leaves[1:], found.kept)
                    await con.execute(
                        "".join(f"truncate {leaf}; insert into {leaf} select * from {_aside(leaf)};" for leaf in leaves)  # noqa: S608  # names from the catalogue
                    )

    async def _read(self, name: str, *parameters: object) -> Any:
        """The one row, or its one value, of a read of a range."""
        async with self._pool.acquire() as con, con.transaction(readonly=True):
            await con.execute(f"set local statement_timeout = '{LONGEST}'")
            row = await con.fetchrow(sql(name), *parameters, timeout=150)
            return row if len(row) > 1 else row[0]

    async def drop(self, range_: FactRange) -> None:
        """Drops the leaves of a range of which all jobs are gone. Waits for transactions that may still look at them; nobody waits for it.

        A pause follows each, as long as it took: removing hundreds of megabytes makes commits of that time slow.
        """
        async with _lockable(), self._pool.acquire() as con:
            await con.execute(f"set statement_timeout = '{LONGEST}'")
            try:
                for leaf in await con.fetch(sql("range_leaves"), range_.class_, range_.lo):
                    if leaf["pending"]:
                        await con.execute(f"alter table headrace.{leaf['branch']} detach partition headrace.{leaf['leaf']} finalize", timeout=150)
                    elif leaf["attached"]:
                        await con.execute(f"alter table headrace.{leaf['branch']} detach partition headrace.{leaf['leaf']} concurrently", timeout=150)
                    began = time.monotonic()
                    await con.execute(f"drop table if exists headrace.{leaf['leaf']}")
                    await asyncio.sleep(time.monotonic() - began)
                await con.execute(sql("range_forget"), range_.class_, range_.lo)
            finally:
                await put_right(con)

    async def trim_flushes(self, kept_s: float = SLOT_S) -> int:
        """Empties the slots of flush rows that nobody needs, and that are older than `kept_s`; returns how many. Raises LockBusy."""
        emptied = 0
        async with _lockable(), self._pool.acquire() as con:
            for slot in range(SLOTS):
                if not await con.fetchval(sql("flush_slot_spent"), slot, kept_s):
                    continue
                async with con.transaction():
                    await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; lock table headrace.flush_{slot} in access exclusive mode")
                    if await con.fetchval(sql("flush_slot_spent"), slot, kept_s):  # somebody may have begun to write there
                        await con.execute(f"truncate headrace.flush_{slot}")
                        emptied += 1
        return emptied


def _aside(leaf: str) -> str:
    return leaf.replace("headrace.", "pg_temp.")


async def _put_aside(con: Any, leaves: list[str], job_ids: list[int]) -> None:
    """Copies the facts of these jobs, until the end of the transaction."""
    for leaf in leaves:
        await con.execute(f"create temp table {_aside(leaf)} (like {leaf}) on commit drop")
        await con.execute(f"insert into {_aside(leaf)} select * from {leaf} where job_id = any ($1)", job_ids)  # noqa: S608  # names from the catalogue


async def _through(range_: FactRange, work: Callable[[int, int], Awaitable[bool]]) -> None:
    """Has work done on parts of a range, (lowest id, id above the highest), for as long as it says True. Their width follows how long it takes, within bounds; what is
    cancelled since it takes too long is done in smaller ones: jobs of a day may lie within a minute.

    There is a pause after each: work on a million jobs leaves the processors to those who wait for an answer.
    """
    low, width = range_.lo, max(1, (range_.hi - range_.lo) // PIECES)
    least = max(1, width // NARROWEST)
    while low < range_.hi:
        began = time.monotonic()
        try:
            if not await work(low, min(low + width, range_.hi)):
                return
        except asyncpg.QueryCanceledError:
            if width == 1:
                raise
            width = max(1, width // NARROWER)
            least = min(least, width)
            continue
        seconds = time.monotonic() - began
        low += width
        width = max(least, int(width * min(2.0, max(0.5, PIECE_S / max(seconds, 0.001)))))
        await asyncio.sleep(PAUSES * seconds)


class _lockable:  # noqa: N801  # reads as a phrase where it is used
    """Turns a lock that cannot be had, or would be held for too long, into LockBusy."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, TimeoutError):
            raise LockBusy("what stays there takes too long to be put back while others wait for it") from error
        if isinstance(error, (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)):
            raise LockBusy(str(error)) from error
