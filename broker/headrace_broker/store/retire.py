"""Gives back the space of jobs that are gone, and of flush rows that the counts no longer need.

Everything here runs beside the flushes. A lock that flushes would have to wait for is asked for with a short timeout, so that nobody queues behind it for long; when it
cannot be had, nothing has happened and the caller tries again later. Interrupted at any point, the next run finds what is left to do in the catalogue.
"""

from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace_broker.store.ledger import FLUSHES_PER_SLOT
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.statements import sql

LOCK_TIMEOUT = "100ms"
LONGEST = "120s"


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

    async def look(self, range_: FactRange, *, due_minute: int, keyed_from: int) -> Retired:
        """How many jobs of a range would stay and go."""
        async with self._pool.acquire() as con, con.transaction(readonly=True):
            await con.execute(f"set local statement_timeout = '{LONGEST}'")
            row = await con.fetchrow(sql("range_gone"), range_.class_, range_.lo, range_.hi, due_minute, keyed_from, timeout=150)
        return Retired(row["kept"], row["gone"])

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
                await con.execute("reset statement_timeout")

    async def trim_flushes(self, per_slot: int = FLUSHES_PER_SLOT) -> int:
        """Empties the slots of flush rows that nobody needs; returns how many. Raises LockBusy."""
        async with _lockable(), self._pool.acquire() as con, con.transaction():
            await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; set local statement_timeout = '{LONGEST}'")
            return int(await con.fetchval(sql("flush_trim"), per_slot, timeout=150))


class _lockable:  # noqa: N801  # reads as a phrase where it is used
    """Turns a lock that cannot be had into LockBusy."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)):
            raise LockBusy(str(error)) from error
