"""Writes down what the owner counted, adds minutes up into hours and hours into days, and deletes what is too old.

A row of the present minute is replaced at each pass, so a broker that dies loses the counts of one period of passes at most; jobs and their own counts lose nothing.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from headrace_broker.model.errors import BrokerError
from headrace_broker.model.job import State
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.tally import Key, Line
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.store.statistics import DAY, HOUR, KEPT_MINUTES, MINUTE, Statistics

PERIOD_S = 5.0
LATE = 5  # minutes after a period's end at which it is added up; who writes into it even later adds it up again


class Rollup:
    """`owner` gives the present owner of a shard. `sums`: it adds up and deletes too, what all shards wrote: the owner of the first shard does."""

    def __init__(self, store: Statistics, owner: Callable[[], Owner], *, sums: bool = True) -> None:
        self._store = store
        self._owner = owner
        self._sums = sums
        self._last: Owner | None = None
        self._rolled: dict[int, int] = {}  # span -> the period that was added up last

    async def run_once(self) -> dict[str, int]:
        """One pass; returns nothing worth a line in the log."""
        owner = self._owner()
        await self._write(owner)
        if not self._sums:
            return {}
        minute = int(owner.clock.now_s() // 60)
        for part, whole in ((MINUTE, HOUR), (HOUR, DAY)):
            await self.roll(part, whole, minute)
        for span, kept in KEPT_MINUTES.items():
            await self._store.trim(span, minute - kept)
        return {}

    def before_the_end(self) -> None:
        """The present owner is about to stop: `write_last` will store what it counts until then."""
        with contextlib.suppress(BrokerError):  # there is none
            self._last = self._owner()

    async def write_last(self) -> None:
        """Stores what the owner counted that has stopped now."""
        if self._last is not None:
            await self._write(self._last)

    async def _write(self, owner: Owner) -> None:
        """Stores what was counted since the last call. Raises what asyncpg raises; nothing is lost by it."""
        now_s = owner.clock.now_s()
        look(owner, owner.tally.minute(now_s))
        taken = owner.tally.take(now_s)
        if not taken:
            return
        rows = [_row(key, line) for key, line in taken]  # before anything is awaited: lines of the present minute go on
        try:
            await self._store.put(owner.first_life_id, rows)
            await self._roll_again({key[0] for key, _ in taken}, int(owner.clock.now_s() // 60))  # by now they may be late
        except ANY_FAILURE:
            owner.tally.give_back(taken)
            raise

    async def _roll_again(self, stored: set[int], minute: int) -> None:
        """Minutes that were stored late, since the database was away, go into the sums that the owner of the first shard has made without them."""
        for part, whole in ((MINUTE, HOUR), (HOUR, DAY)):
            oldest, last = minute - KEPT_MINUTES[part], minute - whole - LATE  # of what is older the other parts may be gone
            stored = {at // whole * whole for at in stored}
            if late := sorted(at for at in stored if oldest <= at <= last):
                await self._store.roll_again(part, whole, late, last)

    async def roll(self, part: int, whole: int, minute: int) -> None:
        """Adds up the periods that have ended and are not added up yet, oldest first.

        A sum that is there before its time is of a clock that was ahead. It hides no period before it, and is made anew in the minute in which its time has come.
        """
        last = minute - whole - LATE
        newest = await self._store.newest(whole, last - 1)
        at = await self._store.oldest(part, 0 if newest is None else newest + whole)
        while at is not None and (at := at // whole * whole) <= last:
            if self._rolled.get(whole) != at:  # once in that minute
                await self._store.roll(part, whole, at)
                self._rolled[whole] = at
            at = await self._store.oldest(part, at + whole)


def look(owner: Owner, minute: int) -> None:
    """Notes how many jobs of each type wait and how many slots could run them."""
    waiting = owner.counted.unsettled(State.WAITING)
    slots: dict[int, int] = {}
    for session in owner.sessions():
        if session.stream is not None:
            for served in session.served.values():
                type_id = served.entry.type_id
                slots[type_id] = slots.get(type_id, 0) + min(served.slots or session.slots, session.slots)
    for type_id in waiting.keys() | slots.keys():
        line = owner.tally.line(minute, type_id)
        line.waiting, line.slots = waiting.get(type_id, 0), slots.get(type_id, 0)


def _row(key: Key, line: Line) -> dict[str, Any]:
    at, type_id, agent_id = key
    return {
        "at": at, "type_id": type_id, "agent_id": agent_id, "numbers": dict(line.numbers), "wait": dict(line.wait), "run": dict(line.run),
        "wait_s": line.wait_s, "run_s": line.run_s, "slots": line.slots, "waiting": line.waiting,
    }  # fmt: skip
