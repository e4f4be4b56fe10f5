"""Random sequences of what comes from outside beside plain submits: jobs and completions in other people's transactions, idempotency keys, unique keys.

Transactions commit, roll back, or stay open while everything else goes on; a broker dies with them open, or between the flush of what carries keys and that of the rest.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from headrace_broker.model.amended import Amended
from headrace_broker.model.errors import Busy, IdempotencyConflict, UniqueKeyTaken
from headrace_broker.model.job import Kind, State
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.rpc.admission import Patience
from headrace_broker.rpc.doors import DoorReader
from headrace_broker.rpc.replacing import Stored, Wish, in_turn
from headrace_broker.shards import changes, doors
from headrace_broker.shards.intents import Verb
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.inbox import Inbox
from headrace_proto.v1 import types_pb2
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property import case
from tests.property.machine import TESTER, Job, Machine
from tests.property.test_machine import Lives

SUBMIT = "select headrace.submit_job('work', payload_bytes => $1, idempotency_key => $2, more => $3)"
REJECT, REPLACE = "UNIQUE_CONFLICT_REJECT", "UNIQUE_CONFLICT_REPLACE"
UNSETTLED = (State.WAITING, State.PROCESSING)


@dataclass(slots=True, eq=False)
class Row:
    """A submission through the door: where it comes in order, and what it says. `stored`: its job, when a broker died before it was taken up as a whole."""

    place: tuple[int, int]  # xid, inbox_id
    payload: bytes
    key: str
    unique: str
    reject: bool


@dataclass(slots=True, eq=False)
class Door:
    """A lease that somebody's transaction ends. `pending`: how it ends otherwise, as soon as that transaction is rolled back."""

    job: Job
    committed: bool = False
    pending: Kind | None = None


@dataclass(slots=True, eq=False)
class Transaction:
    """An open one."""

    con: "asyncpg.Connection[Any]"
    rows: list[Row] = field(default_factory=list)
    job_id: int = 0  # that it completes


class Doors(Machine):
    """`inbox`: rows that were committed and are not taken up; `keys`: idempotency key -> (job, payload); `holders`: unique key -> the job that took it last."""

    def __init__(self, dsn: str, domain: str = "default", shard: Shard = ONLY) -> None:
        super().__init__(dsn, domain, shard)
        self.open_ones: list[Transaction] = []
        self.doors: dict[int, Door] = {}
        self.inbox: list[Row] = []
        self.keys: dict[str, tuple[int, bytes]] = {}
        self.holders: dict[str, Job] = {}
        self.reader = DoorReader(1 << 20)

    # Other people's transactions ---------------------------------------------------------------------------------------------------------------

    async def begin(self) -> Transaction:
        """A transaction on a connection of its own."""
        con = await asyncpg.connect(self._dsn)
        await con.execute("begin")
        self.open_ones.append(Transaction(con))
        return self.open_ones[-1]

    async def submit_through_door(self, transaction: Transaction, payload: bytes, key: str, unique: str, reject: bool) -> None:
        """A row of the inbox, which counts once the transaction is committed."""
        more = f'{{"unique_key": "{unique}", "on_conflict": "{REJECT if reject else ""}"}}' if reject else f'{{"unique_key": "{unique}"}}'
        inbox_id = await transaction.con.fetchval(SUBMIT, payload, key or None, more if unique else None)
        xid = await transaction.con.fetchval("select xid::text::bigint from headrace.inbox where inbox_id = $1", inbox_id)
        transaction.rows.append(Row((xid, inbox_id), payload, key, unique, reject))

    async def complete_through_door(self, transaction: Transaction, job_id: int, epoch: int) -> bool:
        """Completes a lease; whether it was the current one."""
        job = self.jobs[job_id]
        current = job.state is State.PROCESSING and job.seq == epoch
        await transaction.con.execute("savepoint here")
        try:
            await transaction.con.execute("select headrace.complete_job($1, $2)", job_id, epoch)
        except asyncpg.PostgresError as error:
            if error.sqlstate != "HR001" or current:
                raise
            await transaction.con.execute("rollback to savepoint here")
            return False
        assert current, "a lease that is not the current one ends nothing"
        transaction.job_id = job_id
        self.doors[job_id] = Door(job)
        return True

    async def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Commits or rolls back. What waited for a lease that it would have ended is decided then."""
        self.open_ones.remove(transaction)
        await transaction.con.execute("commit" if commit else "rollback")
        await transaction.con.close()
        if commit:
            self.inbox += transaction.rows
        if transaction.job_id and commit:
            self.doors[transaction.job_id].committed = True
        elif transaction.job_id:
            door = self.doors.pop(transaction.job_id)
            self.pass_time(1.0)
            await self.flush()
            if door.pending is not None:
                self._end(door.job, door.pending)

    # The broker --------------------------------------------------------------------------------------------------------------------------------

    async def take_inbox(self, *, die: bool = False) -> None:
        """All that was committed is taken up. `die`: the broker does, when what carries keys is stored and the rest is not."""
        inbox, owner = Inbox(self.pool, self.shard), self.owner
        owner.doors.cursor = await inbox.cursor()
        while await self._chunk(asyncio.ensure_future(doors._take_chunk(owner, inbox, self.reader, self.heads)), die=die):
            pass
        self.inbox.sort(key=lambda row: row.place)
        if die:
            await self._half_taken()
            return
        results = {row["inbox_id"]: row for row in await self.pool.fetch("select inbox_id, job_id, reason from headrace.inbox_result")}
        for row in self.inbox:
            self._taken(row, results[row.place[1]]["job_id"], results[row.place[1]]["reason"])
        self.inbox.clear()
        for job_id in [job_id for job_id, door in self.doors.items() if door.committed]:
            super()._end(self.doors.pop(job_id).job, Kind.COMPLETED)

    async def _chunk(self, task: "asyncio.Task[bool]", *, die: bool) -> bool:
        """Whether there may be more."""
        while not task.done():
            if self.owner.keyed:
                await self.store_keyed()
            elif self.owner.doors and die:
                task.cancel()
                await asyncio.wait([task])
                return False
            elif self.owner.has_intents:
                await self.flush()
            await asyncio.sleep(0)
        return task.result()

    def _taken(self, row: Row, job_id: int | None, reason: str | None) -> None:
        """What a row came to is what the keys that it carries allow."""
        if not row.key and not row.unique:
            assert job_id is not None
            self._made(job_id, row.payload)
            return
        key = row.key or f"inbox:{row.place[1]}"
        if key in self.keys:
            known, payload = self.keys[key]
            assert (job_id, reason) == ((known, None) if payload == row.payload else (None, "IDEMPOTENCY_CONFLICT"))
            return
        holder = self.holder(row.unique)
        if holder is not None:
            assert (job_id, reason) == ((None, "UNIQUE_KEY_TAKEN") if row.reject else (self.id_of(holder), None))
            return
        assert job_id is not None
        self._made(job_id, row.payload, key, row.unique)

    def _made(self, job_id: int, payload: bytes, key: str = "", unique: str = "") -> None:
        assert job_id not in self.jobs
        job = self.jobs[job_id] = Job(payload=payload, unique=unique)
        if key:
            self.keys[key] = job_id, payload
        if unique:
            self.holders[unique] = job

    async def _half_taken(self) -> None:
        """Those that carry keys are stored, if their keys are free; the next broker finds their rows again."""
        for row in self.inbox:
            key = row.key or f"inbox:{row.place[1]}"
            if (row.key or row.unique) and key not in self.keys and self.holder(row.unique) is None:
                self._made(await self.pool.fetchval("select job_id from headrace.idempotency_key where key = $1", key), row.payload, key, row.unique)

    async def submit_unique(self, payload: bytes, unique: str, how: str) -> None:
        """A submit over gRPC whose unique key may have a holder: that is returned, the submit is refused, or the holder is replaced while it waits."""
        spec = types_pb2.JobSpec(type="work", payload=payload, unique_key=unique, on_conflict=how or "UNIQUE_CONFLICT_UNSPECIFIED")
        job, size = await self.reader._read(self.owner, "default", spec)
        holder = self.holder(unique)
        found: Any
        if how == REPLACE:
            wish = in_turn(self.reader, self.owner, self.heads, TESTER, [Wish(0, spec, job, size)], Patience())
            [found] = await self.until_done(asyncio.ensure_future(wish))
        else:
            found = await self.until_done(asyncio.ensure_future(self._queued(spec, job, size)))
        if holder is None:
            assert isinstance(found, Stored)
            assert not found.existing
            self._made(found.job_id, payload, unique=unique)
        elif how == REJECT:
            assert isinstance(found, UniqueKeyTaken)
        else:
            replaced = how == REPLACE and holder.state is State.WAITING
            assert found == Stored(self.id_of(holder), existing=True, replaced=replaced)
            if replaced:
                holder.seq, holder.lost_epoch, holder.payload = holder.seq + 1, 0, payload
                holder.amended = Amended(priority=0, labels={}, content_type="", hold=holder.amended.hold)

    async def submit_key(self, payload: bytes, key: str) -> None:
        """A submit with an idempotency key: the same job for the same payload, for ever."""
        spec = types_pb2.JobSpec(type="work", payload=payload, idempotency_key=key)
        job, size = await self.reader._read(self.owner, "default", spec)
        found = await self.until_done(asyncio.ensure_future(self._queued(spec, job, size)))
        if key not in self.keys:
            assert isinstance(found, Stored)
            self._made(found.job_id, payload, key)
        elif self.keys[key][1] == payload:
            assert found == Stored(self.keys[key][0], existing=True)
        else:
            assert isinstance(found, IdempotencyConflict)

    async def _queued(self, spec: types_pb2.JobSpec, job: Any, size: int) -> Any:
        try:
            return Stored(*await (await self.reader._queue_keyed(self.owner, spec, job, size, Patience())))
        except (UniqueKeyTaken, IdempotencyConflict) as error:
            return error

    # Model -------------------------------------------------------------------------------------------------------------------------------------

    def holder(self, unique: str) -> Job | None:
        """The live job that has a unique key."""
        job = self.holders.get(unique)
        completed = any(door.job is job for door in self.doors.values() if door.committed)
        return job if job is not None and job.state in UNSETTLED and not completed else None

    def key_is_free(self, job: Job) -> bool:
        return not job.unique or self.holder(job.unique) in (None, job)

    def claimed(self, job: Job) -> None:
        if job.unique:
            self.holders[job.unique] = job

    def _end(self, job: Job, kind: Kind, *, permanent: bool = False) -> None:
        door = next((door for door in self.doors.values() if door.job is job), None)
        if door is None:
            super()._end(job, kind, permanent=permanent)
        elif door.pending is None:
            door.pending = kind

    async def change(self, verb: Verb, job_id: int, *, force: bool = False, **options: Any) -> None:
        """A lease that somebody's transaction may end cannot be ended by force; when it is committed, nothing can be done to the job before that is taken up."""
        door = self.doors.get(job_id)
        ends = verb is Verb.ABORT or (verb is Verb.REQUEUE and options.get("abort_first", False))
        if door is None or (not door.committed and not (force and ends)):
            await super().change(verb, job_id, force=force, **options)
            return
        asking = doors_change(self, verb, job_id, force, {"include_completed": True, **options})
        assert isinstance(await self.until_done(asyncio.ensure_future(asking)), Busy)

    async def crash(self, *, check: bool = True, full: bool = False) -> None:
        """What was committed is taken up by the next broker at once."""
        await super().crash(check=False, full=full)
        for door in self.doors.values():
            door.pending = None
        await self.take_inbox()
        if check:
            self._check_lanes()

    async def finish(self) -> None:
        for transaction in list(self.open_ones):
            await self.end(transaction, commit=False)
        await self.take_inbox()

    async def close(self) -> None:
        for transaction in self.open_ones:
            await transaction.con.close()
        await super().close()


async def doors_change(machine: Doors, verb: Verb, job_id: int, force: bool, options: dict[str, Any]) -> object:
    """The error of a change."""
    try:
        [change] = await changes.request(machine.owner, machine.heads, verb, [job_id], caller=TESTER, reason="", force=force, **options)
    except Busy as error:
        return error
    return change.error


ROWS = st.tuples(st.sampled_from([b"1", b"2"]), st.sampled_from(["", "", "key"]), st.sampled_from(["", "u", "v"]), st.booleans())


class Outside(Lives):
    driver = Doors
    machine: Doors

    @precondition(lambda self: len(self.machine.open_ones) < 2)
    @rule(data=st.data(), rows=st.lists(ROWS, max_size=3), completes=st.booleans(), end=st.sampled_from(["commit", "commit", "rollback", ""]))
    def transact(self, data: Any, rows: list[tuple[bytes, str, str, bool]], completes: bool, end: str) -> None:
        machine = self.machine
        transaction = self.run(machine.begin())
        for payload, key, unique, reject in rows:
            self.run(machine.submit_through_door(transaction, payload, key, "" if key else unique, reject))
        job_id = self.pick(data, granted=True) if completes else None
        if job_id is not None and job_id not in machine.doors:
            self.run(machine.complete_through_door(transaction, job_id, data.draw(st.sampled_from(machine.jobs[job_id].epochs[::-1]))))
        if end:
            self.run(machine.end(transaction, commit=end == "commit"))

    @precondition(lambda self: self.machine.open_ones)
    @rule(data=st.data(), commit=st.booleans())
    def end(self, data: Any, commit: bool) -> None:
        self.run(self.machine.end(data.draw(st.sampled_from(self.machine.open_ones)), commit=commit))

    @rule()
    def take_inbox(self) -> None:
        self.run(self.machine.take_inbox())

    @rule()
    def die_in_the_middle_of_the_inbox(self) -> None:
        self.run(self.machine.take_inbox(die=True))
        self.crash(back=True, full=False)

    @rule(payload=st.sampled_from([b"1", b"2"]), unique=st.sampled_from(["u", "v"]), how=st.sampled_from(["", REJECT, REPLACE]))
    def submit_unique(self, payload: bytes, unique: str, how: str) -> None:
        self.run(self.machine.submit_unique(payload, unique, how))

    @rule(payload=st.sampled_from([b"1", b"2"]), key=st.sampled_from(["key", "other"]))
    def submit_key(self, payload: bytes, key: str) -> None:
        self.run(self.machine.submit_key(payload, key))

    @precondition(lambda self: any(job.epochs for job_id, job in self.machine.jobs.items() if job_id not in self.machine.doors))
    @rule(data=st.data(), kind=st.sampled_from([Kind.COMPLETED, Kind.FAILED, Kind.RELEASED]), permanent=st.booleans(), newest=st.booleans(), door=st.booleans())
    def report(self, data: Any, kind: Kind, permanent: bool, newest: bool, door: bool) -> None:
        job_id = self.pick(data, granted=True)
        if job_id is not None and job_id not in self.machine.doors:
            epochs = self.machine.jobs[job_id].epochs
            self.run(self.machine.report(job_id, epochs[-1 if newest else data.draw(st.integers(0, len(epochs) - 1))], kind, permanent=permanent, door=door))


@case.LONG
def test_every_sequence_of_transactions_and_keys_is_one_that_the_model_allows(postgres: EmbeddedPostgres) -> None:
    case.check(Outside, postgres, examples=12, steps=25)
