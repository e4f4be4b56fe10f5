"""Checkpoints in the database: written beside the flushes, made valid by one row that the life's own connection writes.

Chunks go to the side that the newest checkpoint is not in, on a connection of the pool: a broker that has lost the queue may still write there, and does no harm, since
a checkpoint counts only when the row names it and all its chunks are there. That row is written on the flush connection, which has ended before anybody takes over.
"""

import json
import sys
from array import array
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

import asyncpg

from headrace_broker.model.terms import Terms, restore
from headrace_broker.store.statements import sql

AT_ONCE = 8  # chunks of one read
LOCK_TIMEOUT = "100ms"


class ChunkKind(IntEnum):
    """What a chunk says of its jobs; the numbers are stored."""

    READY = 1
    TIMED = 2
    LIVE = 3  # something happened to them: their newest event says where they stand
    DROPPED = 4  # entries of the other kinds that do not count
    TERMS = 5  # waiting jobs that have terms, ready or not


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some jobs. `what` (type_id << 32 | priority + 2^31) and `due` (seconds since 1970) are those of TIMED jobs; type and priority those of READY ones.

    Of TERMS jobs `what` is place << 32 | priority + 2^31, where place is a position in `terms`: (type_id, terms); `due` is 0 for those that are ready.
    """

    kind: ChunkKind
    job_ids: "array[int]"
    type_id: int | None = None
    priority: int | None = None
    what: "array[int] | None" = None
    due: "array[float] | None" = None
    terms: list[tuple[int, Terms]] | None = None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A whole checkpoint, after flush `n` of a life. No event stored since is older than `floor`."""

    life_id: int
    n: int
    side: int
    max_id: int
    floor: datetime


class CheckpointStore:
    """Writes and reads chunks of a shard on connections of the pool. Everything raises what asyncpg raises."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: int = 0) -> None:
        self._pool = pool
        self._shard = shard

    async def write(self, life_id: int, n: int, chunks: Iterable[Chunk]) -> tuple[int, int] | None:
        """Stores chunks on the free side; returns (side, how many), or None when another broker's checkpoint took that side meanwhile.

        Each chunk is packed when its turn comes, so that the event loop is held up for one at a time.
        """
        async with self._pool.acquire() as con, con.transaction():
            await con.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'; set local statement_timeout = 0")
            first = 2 * self._shard  # of its two sides
            side = first + 1 - int(await con.fetchval(sql("checkpoint_begin"), self._shard) or 0) % 2
            if not await con.fetchval(sql("checkpoint_clear"), side):
                return None
            count = 0
            for count, chunk in enumerate(chunks, 1):
                packed = [None if column is None else _pack(column) for column in (chunk.what, chunk.due)]
                terms = None if chunk.terms is None else json.dumps([[type_id, terms.members()] for type_id, terms in chunk.terms])
                await con.execute(sql("checkpoint_chunk"), side, life_id, n, count, int(chunk.kind), chunk.type_id, chunk.priority, _pack(chunk.job_ids), *packed, terms)
        return side, count

    async def find(self) -> StoredCheckpoint | None:
        """The newest checkpoint, if it is whole."""
        row = await self._pool.fetchrow(sql("checkpoint_get"), self._shard, timeout=60)
        if row is None:
            return None
        [chunks] = await self._of_side("checkpoint_count", row["side"], row["life_id"], row["n"])
        return StoredCheckpoint(row["life_id"], row["n"], row["side"], row["max_id"], row["floor"]) if chunks["count"] == row["chunks"] else None

    async def chunks(self, stored: StoredCheckpoint) -> AsyncIterator[Chunk]:
        """Its chunks, in the order in which they were written."""
        first = 1
        while True:
            rows = await self._of_side("checkpoint_chunks", stored.side, stored.life_id, stored.n, first, AT_ONCE)
            for row in rows:
                terms = None if row["terms"] is None else [(type_id, restore(members)) for type_id, members in json.loads(row["terms"])]
                yield Chunk(ChunkKind(row["kind"]), _ints(row["job_ids"]), row["type_id"], row["priority"], _ints(row["what"]), _floats(row["due"]), terms)
            if len(rows) < AT_ONCE:
                return
            first += AT_ONCE

    async def _of_side(self, name: str, side: int, *args: Any) -> list[Any]:
        """Rows of one side. The plan is for it alone: one for any side has to lock all of them, and the owner of another shard may be writing its own, which nobody else
        may read until then.
        """
        async with self._pool.acquire() as con, con.transaction(readonly=True):
            await con.execute("set local plan_cache_mode = force_custom_plan")
            rows: list[Any] = await con.fetch(sql(name), side, *args, timeout=60)
        return rows

    async def summarize(self) -> None:
        """Has the indexes of events by time take in what was written last."""
        await self._pool.execute(sql("event_times_summarize"), timeout=60)


def _pack(numbers: "array[Any]") -> bytes:
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()


def _ints(data: bytes | None) -> "array[int]":
    return _unpack(array("q"), data)


def _floats(data: bytes | None) -> "array[float]":
    return _unpack(array("d"), data)


def _unpack(numbers: "array[Any]", data: bytes | None) -> "array[Any]":
    numbers.frombytes(data or b"")
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
