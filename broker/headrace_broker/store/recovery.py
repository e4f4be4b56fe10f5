"""Reads what is not settled, for a broker that takes shards over. Open leases come first, so that nothing is granted before they are known."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.job import Kind, State
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.statements import sql

TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class StoredLive:
    """An unsettled job that something happened to, or that waits for a time. `kind` None: nothing happened yet."""

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
    owner_changes: int  # leases of this run that ended unclaimed; counted for open leases only


@dataclass(frozen=True, slots=True)
class StoredAbort:
    """A request that concerns an open lease."""

    job_id: int
    actor: str
    reason: str
    grace_s: float


class Recovery:
    """The reads of one takeover."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def live(self, range_: FactRange) -> list[StoredLive]:
        """Unsettled jobs of a range, but those that `ready` gives."""
        rows = await self._read("recover_live", range_.class_, range_.lo, range_.hi)
        return [
            StoredLive(
                r["job_id"], r["type_id"], r["priority"], r["instance_id"], r["available_at"], r["seq"], Kind(r["kind"]) if r["kind"] else None,
                State(r["state"]), r["run"], r["attempt"], r["losses"], r["agent_id"], r["lease_s"], r["owner_changes"],
            )
            for r in rows
        ]  # fmt: skip

    async def ready(self, range_: FactRange) -> list[tuple[int, int, list[int]]]:
        """(type_id, priority, ids in order) of jobs that only wait for their first agent."""
        rows = await self._read("recover_ready", range_.class_, range_.lo, range_.hi)
        return [(r["type_id"], r["priority"], r["job_ids"]) for r in rows]

    async def aborts(self, leases: list[tuple[int, int]]) -> list[StoredAbort]:
        """Requests that concern these open leases (job_id, epoch), newest last."""
        rows = await self._read("recover_aborts", [job_id for job_id, _ in leases], [epoch for _, epoch in leases])
        return [StoredAbort(r["job_id"], r["actor"] or "", r["reason"] or "", float(r["data"] or b"30")) for r in rows]

    async def counts(self) -> tuple[dict[tuple[int, State, int], int], int]:
        """((type_id, state, delete minute) -> number of jobs, highest id given out) over everything ever flushed."""
        rows = await self._read("recover_counts")
        counts = {(r["type_id"], State(r["state"]), r["minute"]): r["n"] for r in rows if r["type_id"] is not None}
        return counts, next((r["n"] or 0 for r in rows if r["type_id"] is None), 0)

    async def _read(self, name: str, *args: Any) -> list[Any]:
        async with self._pool.acquire(timeout=10) as con, con.transaction(readonly=True):
            await con.execute(sql("recover_settings"))
            rows: list[Any] = await con.fetch(sql(name), *args, timeout=TIMEOUT_S)
            return rows
