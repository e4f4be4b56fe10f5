"""Reads what is not settled, for a broker that takes shards over. Open leases come first, so that nothing is granted before they are known."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import asyncpg

from headrace_broker.model.amended import Amended, effective
from headrace_broker.model.ids import class_of
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.terms import Terms
from headrace_broker.store.heads import WaitsFor, terms_of, waits_for
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.statements import sql

TIMEOUT_S = 600.0
AT_ONCE = 50_000  # jobs of one read


@dataclass(frozen=True, slots=True)
class StoredLive:
    """An unsettled job that something happened to (`kind` says what), or that waits for others."""

    job_id: int
    type_id: int
    priority: int
    instance_id: str | None
    available_at: datetime | None
    seq: int
    kind: Kind | None
    state: State
    run: int
    attempt: int
    losses: int
    agent_id: int | None
    lease_s: float | None
    waits_for: WaitsFor | None  # it is held until these have completed; empty: it is the callback of a batch
    owner_changes: int  # leases of this run that ended unclaimed; counted for open leases only
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class StoredWaiting:
    """Jobs of one type, priority and terms to which nothing happened yet. `due`: seconds since 1970 at which each may be granted; None: at once."""

    type_id: int
    priority: int
    job_ids: list[int]
    due: list[float] | None
    held: bool  # they wait for other jobs
    terms: Terms | None


@dataclass(frozen=True, slots=True)
class StoredAbort:
    """A request that concerns an open lease, or (`kind` ABORT_STEP) how far it came; `data` says what was asked for, or which step."""

    job_id: int
    kind: NoteKind
    actor: str
    reason: str
    data: bytes


class Recovery:
    """The reads of one takeover, on one connection and in one transaction, of which each statement sees what is stored by then; use as an async context manager.

    Work stands still during a takeover, so what counts on a busy machine are round trips.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._exits = AsyncExitStack()
        self._con: Any = None

    async def __aenter__(self) -> Self:
        async with self._exits:
            con = await self._exits.enter_async_context(self._pool.acquire(timeout=10))
            await self._exits.enter_async_context(con.transaction(readonly=True))
            await con.execute(sql("recover_settings"))
            self._exits, self._con = self._exits.pop_all(), con
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._exits.__aexit__(type_, error, traceback)

    async def live(self, range_: FactRange, above: int) -> list[StoredLive]:
        """Unsettled jobs of a range above an id to which something happened. Reads all their events."""
        first = max(range_.lo, above + 1)
        rows, found = await self._read("recover_live", range_.class_, first, range_.hi) if first < range_.hi else [], list[StoredLive]()
        for first in range(0, len(rows), AT_ONCE):
            found += map(_stored, rows[first : first + AT_ONCE])
            await asyncio.sleep(0)  # others have their turn
        return found

    async def touched(self, range_: FactRange, most: int, since: datetime) -> tuple[list[int], list[int]]:
        """Jobs of a range up to an id to which something happened since a time: those that are not settled by then, and those that are. Reads the events from then on."""
        if most < range_.lo:
            return [], []
        [row] = await self._read("recover_touched", range_.class_, range_.lo, range_.hi, most, since)
        return row["unsettled"], row["settled"]

    async def forced(self, range_: FactRange, now: datetime, lease_s: float) -> list[tuple[int, float]]:
        """Jobs of a range whose lease was ended by force and may not be over yet, and how many seconds it had: `lease_s` at least, which is what leases have now."""
        return [(row["job_id"], row["lease_s"]) for row in await self._read("recover_forced", range_.class_, range_.lo, range_.hi, now, lease_s)]

    async def heads(self, job_ids: Iterable[int]) -> AsyncIterator[StoredLive]:
        """Those of these jobs that are not settled; not for jobs to which nothing happened and that only wait for an agent or a time."""
        for class_, group in itertools.groupby(sorted(job_ids, key=class_of), key=class_of):
            while chunk := list(itertools.islice(group, AT_ONCE)):
                for row in await self._read("recover_heads", chunk, class_):
                    yield _stored(row)

    async def waiting(self, range_: FactRange, above: int) -> AsyncIterator[StoredWaiting]:
        """Jobs of a range above an id to which nothing happened yet, grouped, lower ids first; a window at a time, so that memory is bounded."""
        first = max(range_.lo, above + 1)
        while first < range_.hi:
            [window] = await self._read("recover_window", range_.class_, first - 1, range_.hi, AT_ONCE)
            if window["last"] is None:
                return
            for row in await self._read("recover_waiting", range_.class_, first, window["last"]):
                due = row["due"]
                yield StoredWaiting(row["type_id"], row["priority"], row["job_ids"], due if due[0] is not None else None, row["held"], terms_of(row))
            first = window["last"] + 1

    async def aborts(self, leases: list[tuple[int, int]]) -> list[StoredAbort]:
        """Requests that concern these open leases (job_id, epoch) and their steps, newest last."""
        rows = await self._read("recover_aborts", [job_id for job_id, _ in leases], [epoch for _, epoch in leases])
        return [StoredAbort(r["job_id"], NoteKind(r["kind"]), r["actor"] or "", r["reason"] or "", r["data"] or b"") for r in rows]

    async def amended(self, job_ids: Iterable[int]) -> dict[int, Amended]:
        """The amendments that hold for these jobs; those without any are left out."""
        found = {}
        for class_, group in itertools.groupby(sorted(job_ids, key=class_of), key=class_of):
            while chunk := list(itertools.islice(group, AT_ONCE)):
                for row in await self._read("recover_amended", chunk, class_):
                    found[row["job_id"]] = effective(row["amended"], row["more"]) or Amended()
        return found

    async def owed(self, range_: FactRange, seconds: float) -> list[tuple[int, str | None, int]]:
        """(type_id, limit key, how many) leases of a range that ended within the last seconds and may go on at their agents. Reads the events since then."""
        rows = await self._read("recover_owed", range_.class_, range_.lo, range_.hi, seconds)
        return [(row["type_id"], row["limit_key"], row["n"]) for row in rows]

    async def counts(self, shard: int = 0) -> tuple[dict[tuple[int, State, int], int], int]:
        """((type_id, state, delete minute) -> number of jobs, highest id given out) over everything ever flushed in a shard."""
        rows = await self._read("recover_counts", shard)
        counts = {(r["type_id"], State(r["state"]), r["minute"]): r["n"] for r in rows if r["type_id"] is not None}
        return counts, next((r["n"] or 0 for r in rows if r["type_id"] is None), 0)

    async def _read(self, name: str, *args: Any) -> list[Any]:
        rows: list[Any] = await self._con.fetch(sql(name), *args, timeout=TIMEOUT_S)
        return rows


def _stored(row: Any) -> StoredLive:
    return StoredLive(
        row["job_id"], row["type_id"], row["priority"], row["instance_id"], row["available_at"],
        row["seq"], Kind(row["kind"]) if row["kind"] else None, State(row["state"]),
        row["run"], row["attempt"], row["losses"], row["agent_id"], row["lease_s"], waits_for(row["waits_for"]),
        row["owner_changes"], terms_of(row),
    )  # fmt: skip
