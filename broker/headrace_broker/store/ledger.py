"""One life of one broker in the database: its row, its lock, and the one connection that writes its facts.

The protocol, and what is true after every failure:

- A life is a row in `life`, a session advisory lock, and this connection. Every flush reads the row FOR SHARE and compares the backend pid: a life that was
  marked dead, or a connection that is not the life's own, stores nothing (`Fenced`).
- Shards change hands in two ways: their owner gives them away, or a taker has marked the owner's life dead in a commit of its own. `take_over` does the
  latter, and only after it holds the dead life's lock: the lock falls when the dead broker's connection closes. A life that hangs, lock in hand, is ended first
  (`terminate`).
- A flush whose answer was lost may have happened or not (`ResultUnknown`). To find out, open a new life, end the old backend, take its lock, and only then look for
  the flush row (`landed`): before that, the old backend could still commit.
- A flush that fails in any other way has stored nothing (`NothingStored`, `KeyTaken`).

One task uses a Ledger at a time: the flusher, or whoever takes over before the flusher starts.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.job import State
from headrace_broker.store import arrays
from headrace_broker.store.audit import write_audit
from headrace_broker.store.batch import Batch, FireRow, KeyedRow, UniqueName, body_columns
from headrace_broker.store.database import Database
from headrace_broker.store.migrate import LIFE_LOCKS, MigrationError, newest
from headrace_broker.store.peers import Peer, peer_of
from headrace_broker.store.send_buffer import widen
from headrace_broker.store.statements import sql

LIFE_CHANNEL = "headrace_life"
SLOT_S = 1800  # flush rows of so many seconds share one of four slots, whichever life's: what an idle one writes holds no slot of a busy one
CONNECT_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 2.0

SETTINGS = {
    "application_name": "headrace flush",
    "lock_timeout": "2s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


LOST_CONNECTION = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.ReadOnlySQLTransactionError,  # the server has become a standby: another one takes writes
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Fenced(Exception):
    """This life has ended: another broker owns its shards. Forget everything, close all streams."""


class ResultUnknown(Exception):
    """The connection was lost, or its server takes writes no more: what was sent may or may not have been stored."""


class FactsLost(Exception):
    """What was stored and acknowledged is not there any more: another server took over that did not have it, or the database was set back. Read the ledger again."""


class NothingStored(Exception):
    """Postgres refused the statement (disk full, lock timeout, ...); it left nothing behind and may be sent again."""


class Blocked(NothingStored):
    """A lock that the statement needs was not to be had in time."""


class Unstorable(NothingStored):
    """The batch holds a value that no column takes: sent again it would be refused again."""


class KeyTaken(NothingStored):
    """An event or job of the batch is stored already: somebody else wrote facts of this life's shards."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """Answer to a flush: the database's time, and for a keyed one the ids of the jobs whose key was new."""

    at: datetime
    stored: frozenset[int] = frozenset()
    fired: str = ""  # of ticks: what became of each, as `flush_fires.sql` says


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who holds an idempotency key."""

    job_id: int
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class Holder:
    """A life that owns shards, and how many flushes it has stored: what does not rise any more hangs. `peer` None: it does not say how it is reached."""

    life_id: int
    address: str
    flushes: int
    peer: Peer | None = None


class Ledger:
    """The writing connection of one life. Made by `open`; `close` gives the lock back."""

    def __init__(self, con: "asyncpg.Connection[Any]", life_id: int, shard: int = 0) -> None:
        self._con = con
        self.life_id = life_id
        self.shard = shard
        self.n = 0  # flushes sent
        self.acknowledged: tuple[int, int] | None = None
        """(life_id, n) of the newest flush that is known to be stored, of this life or of the one that it follows; None: there is none yet."""
        self._warned = False
        self._packs = False
        self._left = False
        self.on_lost: Callable[[], None] = _nothing
        """Called when the connection has ended, whoever ended it."""
        con.add_log_listener(self._on_log)
        con.add_termination_listener(lambda _: self.on_lost())

    @classmethod
    async def open(cls, dsn: str | Database, *, address: str, version: str, peer: Peer | None = None, shard: int = 0, broker: str = "", of: int = 0) -> "Ledger":
        """Starts a new life for a shard, at the server that takes writes. `peer`: how other brokers reach it; `broker`: the process, for all its lives the same;
        `of`: how many shards there have to be, 0: that is not asked.

        Raises:
            ResultUnknown: Postgres cannot be reached, or broke off; the new life owns nothing, so nothing is lost.
            NothingStored: the connection runs through a pooler that changes backends between transactions.
            MigrationError: the schema has gone on without this broker, or there are other shards now: it must not try again.
        """
        async with _translated(), asyncio.timeout(CONNECT_TIMEOUT_S):
            con = await Database.of(dsn).connect(server_settings=SETTINGS, command_timeout=None, timeout=CONNECT_TIMEOUT_S)
            widen(con)
            try:
                ledger = await cls._begin(con, address, version, peer, shard, broker)
                if of and (found := await con.fetchval(sql("shard_count"))) != of:  # its lock is held, so from now on nobody changes that
                    raise MigrationError(f"the queue has {found} shards now, and this broker was started when it had {of}: start it again")
                return ledger
            except BaseException:
                con.terminate()
                raise

    @classmethod
    async def _begin(cls, con: "asyncpg.Connection[Any]", address: str, version: str, peer: Peer | None, shard: int, broker: str) -> "Ledger":
        reached = peer.columns() if peer is not None else [None] * 5
        begun = await con.fetchrow(sql("life_begin"), address, version, newest(), *reached, shard, broker)
        if begun is None:
            raise MigrationError("the database was migrated to a schema that this broker is too old for: run a newer headrace")
        life_id, backend_pid = begun
        locked, pid_later = await con.fetchrow(sql("life_lock"), LIFE_LOCKS, life_id)
        if backend_pid != pid_later:
            raise NothingStored("the broker needs a connection of its own to Postgres; this one goes through a transaction pooler")
        if not locked:
            raise NothingStored(f"the lock of the new life {life_id} is taken")
        ledger = cls(con, life_id, shard)
        ledger._packs = await arrays.register(con)
        ledger._flush = await con.prepare(sql("flush"))
        ledger._flush_keyed = await con.prepare(sql("flush_keyed"))
        ledger._flush_fires = await con.prepare(sql("flush_fires"))
        return ledger

    _flush: "asyncpg.prepared_stmt.PreparedStatement[Any]"
    _flush_keyed: "asyncpg.prepared_stmt.PreparedStatement[Any]"
    _flush_fires: "asyncpg.prepared_stmt.PreparedStatement[Any]"

    def pack(self, batch: Batch) -> None:
        """Puts the longest columns of a batch together now, while another one is being stored: the connection would do it when that is over."""
        if self._packs:
            numbers = [arrays.Packed(arrays.int8_array(c)) for c in (batch.job_id, batch.job_what, batch.event_job, batch.event_place, batch.event_who, batch.event_step)]
            batch.packed = (*numbers[:2], arrays.Packed(arrays.bytea_array(body_columns(batch.job_body)[1])), *numbers[2:])

    async def flush(self, batch: Batch) -> Flushed:
        """Stores one batch in one commit.

        Raises:
            Fenced, ResultUnknown, NothingStored, KeyTaken: see the classes.

        Cancellation: never cancel a flush; the task that owns the ledger awaits it to its end.
        """
        self.n += 1
        (content_type, instance_id, labels, trace_context, more), payload = body_columns(batch.job_body)
        job_id, job_what, payload, event_job, event_place, event_who, event_step = batch.packed or (
            batch.job_id, batch.job_what, payload, batch.event_job, batch.event_place, batch.event_who, batch.event_step,
        )  # fmt: skip
        row = await self._send(
            self._flush, *self._flush_row(batch.max_id, batch.counts),
            batch.lease_s, job_id, job_what, batch.job_available_at, instance_id, content_type, labels, trace_context, more, payload,
            event_job, event_place, event_who, event_step, batch.event_result, batch.event_available_at, batch.event_actor, batch.event_reason,
            batch.event_error,
            batch.note_job, batch.note_epoch, batch.note_kind, batch.note_actor, batch.note_reason, batch.note_data,
            batch.alert_job, batch.alert_type, batch.alert_seq, batch.alert_kind, batch.alert_error,
            beside=batch if batch.has_more else None,
        )  # fmt: skip
        return Flushed(row["at"])

    async def flush_keyed(self, batch: Batch, keys: Sequence[KeyedRow]) -> Flushed:
        """Stores jobs that have keys or are tied to others (see their `more`): `keys` for each job of the batch. Errors as for `flush`."""
        self.n += 1
        (content_type, instance_id, labels, trace_context, more), payload = body_columns(batch.job_body)
        row = await self._send(
            self._flush_keyed, self.life_id, self.n, SLOT_S, batch.max_id,
            [k[0] for k in keys], [k[1] for k in keys], [k[2] for k in keys],
            batch.job_id, batch.job_what, batch.job_available_at, instance_id, content_type, labels, trace_context, more, payload,
        )  # fmt: skip
        return Flushed(row["at"], frozenset(row["stored"]))

    async def flush_fires(self, batch: Batch, rows: Sequence[FireRow]) -> Flushed:
        """Decides ticks of schedules and stores the jobs that they become; a row for each job of the batch. Errors as for `flush`."""
        self.n += 1
        (content_type, instance_id, labels, _, _), payload = body_columns(batch.job_body)
        row = await self._send(
            self._flush_fires, self.life_id, self.n, SLOT_S, batch.max_id, *([row[place] for row in rows] for place in range(6)),
            batch.job_id, batch.job_what, instance_id, content_type, labels, payload, beside=batch if batch.audit else None,
        )  # fmt: skip
        return Flushed(row["at"], fired=row["fired"])

    async def stored(self, job_ids: list[int]) -> frozenset[int]:
        """Which of these jobs are stored."""
        async with _translated():
            return frozenset(row["job_id"] for row in await self._con.fetch(sql("jobs_stored"), job_ids))

    async def unique_holders(self, names: list[UniqueName]) -> dict[UniqueName, int]:
        """Which live jobs hold these unique keys; keys that no live job holds are absent."""
        async with _translated():
            rows = await self._con.fetch(sql("unique_holders"), [name[0] for name in names], [name[1] for name in names])
        return {(r["domain_id"], r["key"]): r["job_id"] for r in rows}

    async def key_holders(self, keys: list[tuple[int, str]]) -> dict[tuple[int, str], KeyHolder]:
        """Who holds these (domain_id, key); keys that nobody holds are absent."""
        async with _translated():
            rows = await self._con.fetch(sql("key_holders"), [k[0] for k in keys], [k[1] for k in keys])
        return {(r["domain_id"], r["key"]): KeyHolder(r["job_id"], r["body_hash"]) for r in rows}

    async def lock_jobs(self, leases: list[tuple[int, int]]) -> tuple[set[int], set[int]]:
        """Takes the locks of these jobs (job_id, lease epoch), as far as they are free: (jobs whose lock this connection has now, those of them whose lease has ended).

        While it has the lock, no door can complete the job. Locks of others are not waited for.
        """
        async with _translated():
            locked = {row["job_id"] for row in await self._con.fetch(sql("job_lock"), [job_id for job_id, _ in leases])}
            held = [lease for lease in leases if lease[0] in locked]
            ended = await self._con.fetch(sql("lease_ended"), [job_id for job_id, _ in held], [epoch for _, epoch in held]) if held else []
        return locked, {row["job_id"] for row in ended}

    async def unlock_jobs(self, job_ids: set[int]) -> None:
        """Gives locks back."""
        async with _translated():
            await self._con.execute(sql("job_unlock"), list(job_ids))

    async def holders(self) -> list[Holder]:
        """The other life that owns the shard, if there is one, or the shard never had an owner."""
        async with _translated():
            rows = await self._con.fetch(sql("life_holders"), self.life_id, self.shard)
        return [Holder(r["life_id"], r["address"], r["flushes"], peer_of(r)) for r in rows]

    async def hear_of_ends(self, wake: Callable[[], None]) -> None:
        """Calls `wake` whenever a life has ended by itself. That of a broker that was killed tells nobody: it is found by looking."""
        async with _translated():
            await self._con.add_listener(LIFE_CHANNEL, lambda *_: wake())

    async def terminate(self, life_id: int) -> None:
        """Ends the backend of another life, if it still runs; its lock falls with it. No effect on a backend that merely has the same pid."""
        async with _translated():
            await self._con.fetch(sql("life_terminate"), life_id)

    async def has_ended(self, life_id: int) -> bool:
        """Whether another life has ended: by itself, or because its connection did."""
        async with _translated():
            return bool(await self._con.fetchval(sql("life_ended"), LIFE_LOCKS, life_id))

    async def take_over(self, life_id: int) -> bool:
        """Marks another life dead and takes its shard, if its lock is free; False: it is not. `life_id` 0 takes a shard that never had an owner."""
        async with _translated():
            if life_id and not await self._con.fetchval(sql("life_lock"), LIFE_LOCKS, life_id):
                return False
            if life_id:
                await self._con.execute(sql("life_mark_dead"), life_id)
            await self._con.execute(sql("shard_take"), life_id, self.life_id, self.shard)
            if life_id:
                await self._con.execute(sql("life_unlock"), LIFE_LOCKS, life_id)
            return True

    async def owns_its_shard(self) -> bool:
        """Whether the shard that it is for is this life's."""
        async with _translated():
            return bool(await self._con.fetchval(sql("shard_mine"), self.life_id, self.shard))

    async def landed(self, life_id: int, n: int) -> datetime | None:
        """When flush `n` of a life that is now dead was stored; None: it was not. Only right once `take_over(life_id)` returned True."""
        async with _translated():
            at: datetime | None = await self._con.fetchval(sql("flush_landed"), life_id, n)
        return at

    async def succeed(self, dead: "Ledger") -> None:
        """What the dead life of this broker knew to be stored must be there, and this life goes on from it.

        Raises:
            FactsLost: it is not. ResultUnknown.
        """
        if dead.acknowledged is not None and self.acknowledged is None:
            if await self.landed(*dead.acknowledged) is None:
                raise FactsLost(f"flush {dead.acknowledged[1]} of life {dead.acknowledged[0]} was stored and acknowledged, and is not there any more")
            self.acknowledged = dead.acknowledged

    async def database_time(self) -> float:
        """The database's clock now, in seconds since 1970."""
        async with _translated():
            return float(await self._con.fetchval("select extract(epoch from clock_timestamp())::float8"))

    async def put_checkpoint(self, life_id: int, n: int, side: int, chunks: int, max_id: int, floor: datetime) -> None:
        """Makes a checkpoint whose chunks are stored the newest: what was unsettled after flush `n` of `life_id`. No event stored since is older than `floor`."""
        async with _translated():
            await self._con.execute(sql("checkpoint_put"), life_id, n, side, chunks, max_id, floor, self.shard)

    async def base_counts(self, counts: dict[tuple[int, State, int], int], max_id: int, *, absorb: bool, floor: datetime | None = None) -> None:
        """Writes the counts as of the newest flush, so that older flush rows need not be read again. `absorb`: the counts hold those of all dead lives too.

        `floor`: no event stored since the newest checkpoint is older; the rows that told are not read for it any more. None: there is no checkpoint.
        """
        keys = list(counts)
        async with _translated(), self._con.transaction():
            if floor is not None:
                await self._con.execute(sql("checkpoint_floor"), floor, self.shard)
            if absorb:
                await self._con.execute(sql("count_absorb"), self.life_id)
            await self._con.execute(
                sql("count_base"), self.life_id, self.n, max_id,
                [k[0] for k in keys], [int(k[1]) for k in keys], [k[2] for k in keys], [counts[k] for k in keys],
            )  # fmt: skip

    async def leave(self) -> None:
        """Gives up the life: it stores nothing more, its lock falls, and a standby takes its shards at once. Raises ResultUnknown, NothingStored."""
        async with _translated(), asyncio.timeout(CLOSE_TIMEOUT_S):
            await self._con.execute(sql("life_leave"), LIFE_LOCKS, self.life_id)
        self._left = True

    async def close(self) -> None:
        """Ends the connection, and with it the life. Cancellation: it is dropped at once."""
        self._con.remove_log_listener(self._on_log)
        try:
            if not self._left:
                await self.leave()
            await self._con.close(timeout=CLOSE_TIMEOUT_S)
        except (ResultUnknown, NothingStored, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            pass  # whoever takes over finds the lock free
        finally:
            if not self._con.is_closed():
                self._con.terminate()

    def abandon(self) -> None:
        """Drops the connection at once, whatever it is doing."""
        self._con.terminate()

    def _flush_row(self, max_id: int, counts: Counter[tuple[int, State, int]]) -> tuple[Any, ...]:
        changed = [(key, delta) for key, delta in counts.items() if delta]
        return (
            self.life_id, self.n, SLOT_S, max_id,
            [key[0] for key, _ in changed], [key[1] for key, _ in changed], [key[2] for key, _ in changed], [delta for _, delta in changed],
        )  # fmt: skip

    async def _send(self, statement: "asyncpg.prepared_stmt.PreparedStatement[Any]", *args: Any, beside: Batch | None = None) -> Any:
        """Runs a flush statement, which is a commit of its own. With `beside`, what that batch has for other tables is stored in the same transaction."""
        self._warned = False
        async with _translated():
            if beside is None:
                row = self._alive(await statement.fetchrow(*args))
            else:
                async with self._con.transaction():
                    await self._claim(beside)
                    if beside.audit:
                        await write_audit(self._con, beside.audit)
                    for page in beside.pages:
                        await self._con.execute(sql("operation_page"), *page.columns())
                    if beside.inbox is not None:
                        await self._con.execute(sql("inbox_take"), *beside.inbox.columns())
                    row = self._alive(await statement.fetchrow(*args))
        if self._warned:
            raise ResultUnknown("Postgres warned at the commit: it may not be on the standby")
        self.acknowledged = (self.life_id, self.n)
        return row

    async def _claim(self, batch: Batch) -> None:
        claims = sorted(batch.claims.items())
        columns = ([name[0] for name, _ in claims], [name[1] for name, _ in claims], [job_id for _, job_id in claims])
        if claims and len(await self._con.fetch(sql("unique_claim"), *columns)) < len(claims):
            raise KeyTaken(f"unique keys of the jobs {columns[2]} are held by live jobs that this broker did not store")

    def _alive(self, row: Any) -> Any:
        if row is None or not row["alive"]:
            raise Fenced(f"life {self.life_id} has ended")
        return row

    def _on_log(self, _con: object, message: asyncpg.PostgresLogMessage) -> None:
        self._warned = self._warned or getattr(message, "severity_en", "") == "WARNING"


def _nothing() -> None:
    return None


class _translated:  # noqa: N801  # reads as a phrase where it is used
    """Turns the driver's errors into this module's."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, asyncpg.UniqueViolationError):
            raise KeyTaken(str(error)) from error
        if isinstance(error, asyncpg.LockNotAvailableError):
            raise Blocked(f"{type(error).__name__}: {error}") from error
        if isinstance(error, asyncpg.DataError):
            raise Unstorable(str(error)) from error
        if isinstance(error, LOST_CONNECTION):
            raise ResultUnknown(f"{type(error).__name__}: {error}") from error
        if isinstance(error, asyncpg.PostgresError):
            raise NothingStored(f"{type(error).__name__}: {error}") from error
