"""The outbox: jobs of services whose data is in another database than the queue. They insert a row in their own transaction; a relay submits it and deletes it.

Each row carries an idempotency key. A relay that dies between the submit and the deletion submits again, and that is the same job: at least once becomes once, as long as
the row is submitted again within the time for which the broker keeps keys (the job's life, and at least 24 hours).
"""

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from headrace_client.client import Client
from headrace_client.errors import Busy, HeadraceError, ResultUnknown, Unavailable
from headrace_client.models import JobSpec, Submitted

TABLE = """\
-- Jobs to be submitted to headrace: insert in the transaction that changes your data; the relay deletes what it has submitted.
create table if not exists headrace_outbox (
    outbox_id bigint generated always as identity primary key,
    key text not null default gen_random_uuid()::text,  -- idempotency key: may be one of your own
    type text not null check (type ~ '^[A-Za-z0-9._:/-]{1,200}$'),
    payload jsonb,
    payload_bytes bytea,                                -- instead of payload, for what is not JSON
    content_type text not null default '',
    instance_id text not null default '',
    priority int not null default 0,
    start_at timestamptz,
    labels jsonb not null default '{}',
    trace_context text not null default '',
    created_at timestamptz not null default now(),
    refused text,                                       -- why the broker did not take it; such rows stay: set it to null to try again
    check (payload is null or payload_bytes is null)
);
create index if not exists headrace_outbox_due on headrace_outbox (outbox_id) where refused is null;
"""
AT_ONCE = 500
FROM_THE_START_S = 2.0
"""How often to look from the first row on. In between it goes on after the last one, so that deleted rows, which nobody can clean up while a transaction is open,
are not stepped over at every look; rows of transactions that ended late are found at the next look from the start."""
PAUSES_S = (0.1, 5.0)  # after failures

_NEXT = (
    "select outbox_id, key, type, payload::text as payload, payload_bytes, content_type, instance_id, priority, start_at, labels::text as labels, trace_context"
    " from headrace_outbox where refused is null and outbox_id > $1 order by outbox_id limit $2 for update skip locked"
)
_DELETE = "delete from headrace_outbox where outbox_id = any ($1::bigint[])"
_REFUSE = "update headrace_outbox o set refused = u.refused from unnest($1::bigint[], $2::text[]) as u (outbox_id, refused) where o.outbox_id = u.outbox_id"

log = logging.getLogger("headrace.outbox")


@dataclass(frozen=True, slots=True)
class Relayed:
    """What one pass did: rows submitted, refused by the broker for good, and left for the next pass."""

    submitted: int = 0
    refused: int = 0
    left: int = 0


class Relay:
    """Moves rows from the outbox to a broker. Any number may run at the same time: each row is locked by one. `connect` opens a connection of asyncpg."""

    def __init__(self, client: Client, connect: Callable[[], Awaitable[Any]], *, poll_s: float = 0.2, at_once: int = AT_ONCE) -> None:
        self._client = client
        self._connect = connect
        self._poll_s = poll_s
        self._at_once = at_once
        self._after = 0

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Relays until `stop` is set or it is cancelled. A database or a broker that is away is waited for."""
        stop = stop or asyncio.Event()
        loop = asyncio.get_running_loop()
        con: Any = None
        pause_s, from_start = PAUSES_S[0], 0.0
        try:
            while not stop.is_set():
                try:
                    if con is None:
                        con = await self._connect()
                    if loop.time() >= from_start:
                        self._after, from_start = 0, loop.time() + FROM_THE_START_S
                    done = await self.run_once(con)
                except Exception as error:  # of whatever driver
                    log.warning("outbox not relayed; trying again: %s: %s", type(error).__name__, error)
                    done, from_start = Relayed(left=1), 0.0
                    if con is not None:
                        con.terminate()
                        con = None
                if done.left:
                    await _first(stop, pause_s * random.uniform(0.5, 1.0))
                    pause_s = min(PAUSES_S[1], pause_s * 2)
                    continue
                pause_s = PAUSES_S[0]
                if done.submitted + done.refused < self._at_once:
                    await _first(stop, self._poll_s)
        finally:
            if con is not None:
                con.terminate()

    async def run_once(self, con: Any) -> Relayed:
        """One pass over the next rows. If this program dies in it, the rows are still there and their locks are not."""
        async with con.transaction():
            rows = await con.fetch(_NEXT, self._after, self._at_once)
            if not rows:
                return Relayed()
            results = await self._client.submit_many([_spec(row) for row in rows])
            submitted = [row["outbox_id"] for row, result in zip(rows, results, strict=True) if isinstance(result, Submitted)]
            refused = [(row["outbox_id"], result) for row, result in zip(rows, results, strict=True) if _is_final(result)]
            await con.execute(_DELETE, submitted)
            if refused:
                await con.execute(_REFUSE, [outbox_id for outbox_id, _ in refused], [_why(result) for _, result in refused])
        left = len(rows) - len(submitted) - len(refused)
        if not left:
            self._after = rows[-1]["outbox_id"]
        return Relayed(len(submitted), len(refused), left)


def _spec(row: Any) -> JobSpec:
    payload = row["payload_bytes"] if row["payload_bytes"] is not None else (row["payload"] or "null").encode()
    return JobSpec(
        row["type"], payload=payload, key=f"outbox:{row['key']}", content_type=row["content_type"], instance_id=row["instance_id"], priority=row["priority"],
        start_at=row["start_at"], labels=json.loads(row["labels"]), trace_context=row["trace_context"],
    )  # fmt: skip


def _is_final(result: Submitted | HeadraceError) -> bool:
    return isinstance(result, HeadraceError) and not isinstance(result, (Unavailable, ResultUnknown, Busy))


def _why(result: Submitted | HeadraceError) -> str:
    return f"{getattr(result, 'reason', '')}: {result}"


async def _first(stop: asyncio.Event, seconds: float) -> None:
    """Until `stop` is set, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
