"""Gives back the space of jobs that are gone, and of flush rows that the counts no longer need.

Everything here runs beside the flushes. A lock that flushes would have to wait for is asked for with a short timeout, so that nobody queues behind it for long; when it
cannot be had, nothing has happened and the caller tries again later. Interrupted at any point, the next run finds what is left to do in the catalogue.
"""

import asyncio
import time
from dataclasses import dataclass
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
"""How many pieces of a range `look` begins with."""
PIECE_S = 0.05
"""How long it should take to look at one."""


@dataclass(frozen=True, slots=True)
class Retired:
    """What became of the jobs of a range."""

    kept: int
    gone: int


class LockBusy(Exception):
    """Somebody reads or writes there; nothing was changed, try again later."""


class Retirement:
    """Statements of its own connection, taken from the pool for each."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def look(self, range_: FactRange, *, due_minute: int, keyed_from: int, most_kept: int) -> Retired:
        """How many jobs of a range would stay and go; what lies beyond the job that is one too many to keep is not looked at.

        A range is looked at in pieces, with a pause as long as the piece took after each: work on a million jobs leaves the processors to those who wait for an answer.
        """
        kept = gone = 0
        low, width = range_.lo, max(1, (range_.hi - range_.lo) // PIECES)
        while low < range_.hi and kept <= most_kept:
            began = time.monotonic()
            row = await self._piece(range_.class_, low, min(low + width, range_.hi), due_minute, keyed_from)
            seconds = time.monotonic() - began
            kept, gone, low = kept + row["kept"], gone + row["gone"], low + width
            width = max(1, int(width * min(2.0, max(0.5, PIECE_S / max(seconds, 0.001)))))
            await asyncio.sleep(seconds)
        return Retired(kept, gone)

    async def _piece(self, class_: int, low: int, high: int, due_minute: int, keyed_from: int) -> asyncpg.Record:
        async with self._pool.acquire() as con, con.transaction(readonly=True):
            await con.execute(f"set local statement_timeout = '{LONGEST}'")
            return await con.fetchrow(sql("range_gone"), class_, low, high, due_minute, keyed_from, timeout=150)

    async def retire(self, range_: FactRange, *, due_minute: int, keyed_from: int) -> Retired:
        """Removes the jobs of a range that are gone, with their events, notes, log lines and keys. Raises LockBusy."""
        async with _lockable(), self._pool.acquire() as con, con.transaction():
            await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; set local statement_timeout = '{LONGEST}'")
            row = await con.fetchrow(sql("range_retire"), range_.class_, range_.lo, due_minute, keyed_from, timeout=150)
            if row["gone"]:
                await con.execute(sql("range_forget_ties"), range_.class_, range_.lo, range_.hi, timeout=150)
        return Retired(row["kept"], row["gone"])

    async def drop(self, range_: FactRange) -> None:
        """Drops the leaves of a range that holds nothing any more and never will. Waits for transactions that may still look at them; flushes do not wait for it."""
        async with _lockable(), self._pool.acquire() as con:
            await con.execute(f"set statement_timeout = '{LONGEST}'")
            try:
                for leaf in await con.fetch(sql("range_leaves"), range_.class_, range_.lo):
                    if leaf["pending"]:
                        await con.execute(f"alter table headrace.{leaf['branch']} detach partition headrace.{leaf['leaf']} finalize", timeout=150)
                    elif leaf["attached"]:
                        await con.execute(f"alter table headrace.{leaf['branch']} detach partition headrace.{leaf['leaf']} concurrently", timeout=150)
                    await con.execute(f"drop table if exists headrace.{leaf['leaf']}")
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


class _lockable:  # noqa: N801  # reads as a phrase where it is used
    """Turns a lock that cannot be had into LockBusy."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)):
            raise LockBusy(str(error)) from error
