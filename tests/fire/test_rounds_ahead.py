"""Two rounds under way: the next one is decided while one is being stored, and what goes wrong with either is right for both."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import DatabaseUnavailable, InvalidState, NotOwner, QueueFull, ResultUnknown
from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards import changes, flusher
from headrace_broker.shards import owner as owner_module
from headrace_broker.shards.flusher import IN_A_ROW, Flusher
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.intents import Change, Completions, Ending, PlainJobs, Verb
from headrace_broker.shards.round import Round
from headrace_broker.store import ledger as store
from headrace_broker.store.batch import Batch
from headrace_broker.store.ledger import Fenced, Flushed, Ledger, NothingStored

from tests.fire.steps import begin, end, granted, kinds
from tests.property.machine import TESTER, Machine
from tests.support.crews import complete, join
from tests.support.processes import until


@pytest.fixture(autouse=True)
def small_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single job is enough to decide a round ahead."""
    monkeypatch.setattr(owner_module, "AHEAD_ROWS", 1)


def submit(machine: Machine, count: int) -> "asyncio.Future[list[int]]":
    """Plain jobs; their ids when they are durable."""
    return machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * count), 2 * count)


def ahead(machine: Machine) -> Round:
    """The round that is decided while another one is under way."""
    round_ = machine.owner.build_ahead()
    assert round_ is not None
    return round_


async def stored(machine: Machine, *rounds: Round) -> None:
    """Stores these and tells, in the order of the flusher: the next one is on its way before the one before is told."""
    assert machine.ledger is not None
    for before, round_ in zip((None, *rounds), (*rounds, None), strict=True):
        if round_ is not None:
            await machine.ledger.flush(round_.batch)
        if before is not None:
            machine.owner.settle(before)


# What it may decide ----------------------------------------------------------------------------------------------------------------------------


async def test_it_grants_what_the_round_under_way_submits(machine: Machine) -> None:
    session = await join(machine)
    done = submit(machine, 2)
    first = machine.owner.build(grant=False)
    session.set_credit(0, 10, [])
    machine.owner.hungry[session] = None
    more = submit(machine, 1)
    second = ahead(machine)
    assert len(second.batch.event_job) == 3 and not done.done()
    await stored(machine, first, second)
    job_ids = done.result() + more.result()
    assert [live.job_id for live, *_ in session.out.assigned] == job_ids
    for job_id in job_ids:
        assert await kinds(machine, job_id) == ["granted"]
    assert machine.owner.counts("default")["work"] == {State.PROCESSING: 3}


async def test_nobody_is_told_of_it_before_it_is_durable(machine: Machine) -> None:
    first_done = submit(machine, 1)
    first = machine.owner.build()
    second_done = submit(machine, 1)
    second = ahead(machine)
    assert machine.ledger is not None
    await machine.ledger.flush(first.batch)
    machine.owner.settle(first)
    assert first_done.done() and not second_done.done()
    await stored(machine, second)
    assert second_done.done()


async def test_a_job_that_waits_again_is_granted_when_that_is_durable(machine: Machine) -> None:
    [job_id] = await granted(machine)
    session = machine.session
    assert session is not None
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED, machine)])
    first = machine.owner.build(grant=False)
    session.set_credit(session.assign_no, 10, [])
    machine.owner.hungry[session] = None
    done = submit(machine, 1)
    second = ahead(machine)
    machine.owner.wake.clear()
    await stored(machine, first, second)
    assert second.batch.event_job == done.result(), "one event of a job at a time"
    assert machine.owner.wake.is_set(), "and it is granted soon"
    await machine.flush(grant=True)
    assert await kinds(machine, job_id) == ["granted", "released", "granted"]


async def test_an_outcome_that_comes_late_waits_until_the_loss_is_durable(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.LOST, cleared=True)])
    first = machine.owner.build(grant=False)
    machine.owner.end([Completions([job_id], [1], None, machine)])
    second = ahead(machine)
    assert not second.batch.event_job
    await stored(machine, first, second)
    await machine.flush()
    assert machine._acks[job_id, 1] is Disposition.ACCEPTED_LATE
    assert await kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_completions_and_notes_are_decided(machine: Machine) -> None:
    one, two = await granted(machine, 2)
    submit(machine, 1)
    first = machine.owner.build(grant=False)
    machine.owner.end([Completions([one], [1], None, machine)])
    machine.owner.checkpoint(two, 1, b"half")
    second = ahead(machine)
    await stored(machine, first, second)
    assert machine._acks == {(one, 1): Disposition.ACCEPTED}
    assert [bytes(row["data"]) for row in await machine.pool.fetch("select data from headrace.note")] == [b"half"]


def _an_outcome_of_another_kind(machine: Machine, job_id: int) -> None:
    machine.owner.end([Ending(job_id, 1, Kind.FAILED, machine, None, "{}")])


def _a_key(machine: Machine, job_id: int) -> None:
    machine.put_held([job_id])


def _a_lease_that_a_takeover_found(machine: Machine, job_id: int) -> None:
    machine.owner.doors.restored[job_id] = 1


def _an_abort(machine: Machine, job_id: int) -> None:
    machine.owner.aborting[job_id] = machine.owner.live_jobs[job_id]


def _news(machine: Machine, job_id: int) -> None:
    machine.owner.graph.waiters[job_id] = {0: set()}
    machine.owner.graph._tell_later(job_id, State.COMPLETED)


def _too_little(machine: Machine, job_id: int) -> None:
    machine.owner._submissions.clear()
    machine.owner._pending_jobs = 0


@pytest.mark.parametrize("pending", [_an_outcome_of_another_kind, _a_key, _a_lease_that_a_takeover_found, _an_abort, _news, _too_little])
async def test_whatever_is_not_plain_waits_for_a_round_of_its_own(machine: Machine, pending: Callable[[Machine, int], None]) -> None:
    [job_id] = await granted(machine)
    first = machine.owner.build(grant=False)
    submit(machine, 1)
    pending(machine, job_id)
    assert machine.owner.build_ahead() is None
    await stored(machine, first)


async def test_a_change_by_force_waits_for_a_round_of_its_own(machine: Machine) -> None:
    one, two = await granted(machine, 2)
    first = machine.owner.build(grant=False)
    submit(machine, 1)
    second = ahead(machine)
    task = await begin(machine, Verb.ABORT, one, force=True)
    submit(machine, 1)
    await stored(machine, first)
    machine.owner.add_changes(second)
    assert not second.batch.event_job and machine.owner.has_changes, "nobody has asked for the lock of the job"
    assert machine.owner.build_ahead() is None, "and the next round is the one that does"
    await stored(machine, second)
    assert (await end(machine, task)).error is None
    assert [await kinds(machine, job_id) for job_id in (one, two)] == [["granted", "aborted"], ["granted"]]


async def test_changes_by_force_have_their_turn_where_the_locks_of_too_many_jobs_would_be_asked_for(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "FORCED_AT_ONCE", 2)
    jobs, asked = await granted(machine, 5), list[list[int]]()
    assert machine.ledger is not None
    lock_jobs = machine.ledger.lock_jobs

    async def noted(leases: list[tuple[int, int]]) -> tuple[set[int], set[int]]:
        asked.append([job_id for job_id, _ in leases])
        return await lock_jobs(leases)

    monkeypatch.setattr(machine.ledger, "lock_jobs", noted)
    tasks = [await begin(machine, Verb.ABORT, job_id, force=number != 3) for number, job_id in enumerate(jobs)]
    await machine.flush()
    assert asked == [jobs[:2]]
    for task in tasks:
        assert (await end(machine, task)).error is None
    assert asked == [jobs[:2], [jobs[2], jobs[4]]]
    assert [await kinds(machine, job_id) for number, job_id in enumerate(jobs) if number != 3] == [["granted", "aborted"]] * 4


async def test_a_change_that_waits_for_its_round_is_refused_when_the_next_one_breaks_off(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = await granted(machine, 2)
    first = machine.owner.build(grant=False)
    submitted = submit(machine, 1)
    second = ahead(machine)
    asked: list[asyncio.Future[Any]] = [submitted, await begin(machine, Verb.ABORT, one, force=True), await begin(machine, Verb.ABORT, two)]
    await stored(machine, first)

    def fail(*_: Any) -> None:
        raise RuntimeError("test")

    monkeypatch.setattr(changes, "decide", fail)
    with pytest.raises(RuntimeError, match="test"):
        machine.owner.add_changes(second)
    machine.owner.refuse(NotOwner("test"))
    for done in asked:
        async with asyncio.timeout(20):
            with pytest.raises(NotOwner):
                await done


async def test_a_change_that_reads_meanwhile_reads_again_what_either_round_moves(machine: Machine) -> None:
    one, two = await granted(machine, 2)
    machine.owner.end([Completions([one], [1], None, machine)])
    first = machine.owner.build(grant=False)
    machine.owner.end([Completions([two], [1], None, machine)])
    second = ahead(machine)
    aborts = [await begin(machine, Verb.ABORT, job_id) for job_id in (one, two)]  # they read the jobs as they were
    await stored(machine, first, second)
    for task in aborts:
        assert isinstance((await end(machine, task)).error, InvalidState)
    assert [await kinds(machine, job_id) for job_id in (one, two)] == [["granted", "completed"]] * 2


async def test_limits_count_what_either_round_grants(machine: Machine) -> None:
    await machine.types.override(machine.type, {"concurrency": 3}, [], caller=TESTER)
    session = await join(machine)
    submit(machine, 2)
    session.set_credit(0, 10, [])
    machine.owner.hungry[session] = None
    first = machine.owner.build()
    submit(machine, 4)
    second = ahead(machine)
    assert (len(first.batch.event_job), len(second.batch.event_job)) == (2, 1)
    await stored(machine, first, second)
    complete(machine, first.batch.event_job[0])
    third = machine.owner.build()
    assert len(third.batch.event_job) == 2, "an end, and the grant that takes its place"
    await stored(machine, third)


async def test_depth_limits_count_what_either_round_stores(machine: Machine) -> None:
    await machine.types.override(machine.type, {"depth_limit": 3}, [], caller=TESTER)
    submit(machine, 1)
    first = machine.owner.build()
    submit(machine, 2)
    second = ahead(machine)
    with pytest.raises(QueueFull):
        submit(machine, 1)
    await stored(machine, first, second)
    with pytest.raises(QueueFull):
        submit(machine, 1)


# What may go wrong -----------------------------------------------------------------------------------------------------------------------------


class Hands:
    """A flusher whose flushes wait to be let go. `fates`: of each flush in turn, what is done instead of storing it and telling so."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.machine = machine
        self.begun: asyncio.Queue[Batch] = asyncio.Queue()
        self.go = asyncio.Semaphore(0)
        self.fates: list[Callable[[Ledger, Batch], Awaitable[Flushed]]] = []
        self.lives = 0
        send = Ledger.flush

        async def flush(ledger: Ledger, batch: Batch) -> Flushed:
            self.begun.put_nowait(batch)
            await self.go.acquire()
            return await (self.fates.pop(0) if self.fates else send)(ledger, batch)

        monkeypatch.setattr(Ledger, "flush", flush)
        monkeypatch.setattr(flusher, "PROOF_S", 3600.0)
        monkeypatch.setattr(flusher, "LAST_CHECKPOINT_S", 0.0)  # nobody writes it
        self.send = send
        assert machine.ledger is not None
        self.flusher = Flusher(machine.owner, machine.ledger, self.succeed, machine.checkpoints, Metrics(), FlushHealth(), make_partitions=machine.make_partitions)
        self.task = asyncio.ensure_future(self.flusher.run())

    async def succeed(self, dead: Ledger) -> Ledger:
        """A new life that takes over from one whose connection is lost."""
        self.lives += 1
        ledger = await Ledger.open(self.machine._dsn, address="test", version="test")
        await ledger.succeed(dead)
        await ledger.terminate(dead.life_id)
        while not await ledger.take_over(dead.life_id):
            await asyncio.sleep(0.005)
        self.machine.ledger = ledger
        return ledger

    async def lost_before(self, ledger: Ledger, batch: Batch) -> Flushed:
        """The connection breaks before the commit took effect."""
        ledger.n += 1
        raise store.ResultUnknown("test")

    async def lost_after(self, ledger: Ledger, batch: Batch) -> Flushed:
        """The connection breaks after it."""
        await self.send(ledger, batch)
        raise store.ResultUnknown("test")

    async def refused(self, ledger: Ledger, batch: Batch) -> Flushed:
        """The database cannot store it now."""
        ledger.n += 1
        raise NothingStored("test")

    async def fenced(self, ledger: Ledger, batch: Batch) -> Flushed:
        """Another broker has taken over."""
        raise Fenced("test")

    async def one_under_way(self) -> "list[asyncio.Future[list[int]]]":
        """Submits a job; returns when its round is under way."""
        first = submit(self.machine, 1)
        while (await self.begun.get()).job_id == []:
            self.go.release()
        return [first]

    async def two_under_way(self) -> "list[asyncio.Future[list[int]]]":
        """Submits a job, and another one while the round of the first is under way; returns when the round of the second is decided too."""
        owner = self.machine.owner
        [first] = await self.one_under_way()
        second = submit(self.machine, 1)
        while len(owner.under_way) < 2:
            await asyncio.sleep(0.001)
        return [first, second]

    async def one_more_decided(self) -> None:
        """Returns when the round after the one under way is decided, or when there was time enough for that: a run of rounds may be at its end."""
        for _ in range(200):
            if len(self.machine.owner.under_way) > 1:
                return
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        """Ends it gently."""
        self.flusher.stop()
        for _ in range(20):
            self.go.release()
        await self.task


@pytest.fixture
def hands(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hands]:
    """A flusher on the machine's ledger."""
    hands = Hands(machine, monkeypatch)
    yield hands
    hands.task.cancel()


async def stored_jobs(machine: Machine) -> list[int]:
    """The jobs that are in the ledger."""
    return [row["job_id"] for row in await machine.pool.fetch("select job_id from headrace.job order by job_id")]


async def test_the_next_round_is_sent_before_anybody_is_told_of_the_one_before(hands: Hands) -> None:
    first, second = await hands.two_under_way()
    sent: list[bool] = []
    first.add_done_callback(lambda _: sent.append(not hands.begun.empty()))
    hands.go.release()
    await first
    assert sent == [True] and not second.done()
    hands.go.release()
    assert await second
    await hands.stop()


async def durable(hands: Hands, count: int) -> list[int]:
    """Jobs that are stored, and nothing is under way."""
    done = submit(hands.machine, count)
    while len((await hands.begun.get()).job_id) < count:
        hands.go.release()
    hands.go.release()
    return await done


async def update(machine: Machine, job_id: int, priority: int) -> "asyncio.Task[list[Change]]":
    """A change of a job's priority, which has read where it stands and waits to be decided."""
    queued = len(machine.owner._changes)
    wanted = Update(priority=priority)
    task = asyncio.ensure_future(changes.request(machine.owner, machine.heads, Verb.UPDATE, [job_id], caller=TESTER, reason="", update=wanted))
    while len(machine.owner._changes) == queued:
        await asyncio.sleep(0)
    return task


async def test_under_a_standing_flood_a_change_is_in_the_first_round_that_begins_after_it_came(hands: Hands, machine: Machine) -> None:
    job_ids = await durable(hands, IN_A_ROW - 2)  # so many rounds are decided ahead from the second on
    await hands.two_under_way()
    for number, job_id in enumerate(job_ids):
        task = await (update(machine, job_id, 5) if number % 2 else begin(machine, Verb.ABORT, job_id))
        hands.go.release()
        batch = await hands.begun.get()
        assert batch.event_job == [job_id], "although that round was decided before the change came"
        submit(machine, 1)
        while len(machine.owner.under_way) < 2:
            await asyncio.sleep(0.001)
        assert not task.done(), "nobody is told before it is durable"
    await hands.stop()
    found = await machine.pool.fetch("select job_id, kind from headrace.event order by job_id")
    assert [(row["job_id"], row["kind"]) for row in found] == [(job_id, (Kind.ABORTED, Kind.UPDATED)[number % 2]) for number, job_id in enumerate(job_ids)]


async def test_a_change_of_what_the_round_before_it_moved_need_not_read_again(hands: Hands, machine: Machine) -> None:
    [job_id] = await durable(hands, 1)
    one = await update(machine, job_id, 1)
    while not (batch := await hands.begun.get()).rows():
        hands.go.release()
    assert batch.event_job == [job_id]
    submit(machine, 1)
    while len(machine.owner.under_way) < 2:
        await asyncio.sleep(0.001)
    two = await update(machine, job_id, 2)
    hands.go.release()
    assert (await hands.begun.get()).event_job == [job_id]
    await hands.stop()
    assert [(await task)[0].error for task in (one, two)] == [None, None]
    assert await kinds(machine, job_id) == ["updated", "updated"]
    assert await machine.pool.fetchval("select count(*) from headrace.audit where target = $1", f"job/{job_id}") == 2


async def test_nothing_is_granted_ahead_once_the_flusher_is_to_stop(hands: Hands, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    session, looked, decide = await join(machine), asyncio.Event(), hands.flusher._decide_ahead

    async def noted(round_: Round, storing: "asyncio.Task[None]") -> Round | None:
        try:
            return await decide(round_, storing)
        finally:
            looked.set()

    monkeypatch.setattr(hands.flusher, "_decide_ahead", noted)
    await hands.one_under_way()
    session.set_credit(0, 10, [])
    machine.owner.hungry[session] = None
    hands.flusher.stop()
    submit(machine, 1)
    await looked.wait()
    await hands.stop()
    assert not session.leases and len(await stored_jobs(machine)) == 2


@pytest.mark.parametrize("fate", ["lost_before", "lost_after", "refused"])
@pytest.mark.parametrize("which", [0, 1])
async def test_both_are_stored_once_whatever_becomes_of_the_answer(hands: Hands, fate: str, which: int) -> None:
    asked = await hands.two_under_way()
    if which == 1:
        hands.go.release()
        await asked[0]
    hands.fates.append(getattr(hands, fate))
    for _ in range(20):
        hands.go.release()
    job_ids = [job_id for done in asked for job_id in await done]
    assert await stored_jobs(hands.machine) == sorted(job_ids) and len(job_ids) == 2
    assert hands.lives == (fate != "refused")
    assert hands.machine.owner.counts("default")["work"] == {State.WAITING: 2}
    await hands.stop()


async def test_callers_of_both_hear_that_the_queue_is_anothers(hands: Hands) -> None:
    asked = await hands.two_under_way()
    hands.fates.append(hands.fenced)
    hands.go.release()
    for done in asked:
        with pytest.raises(NotOwner):
            await done
    with pytest.raises(Fenced):
        await hands.task
    assert await stored_jobs(hands.machine) == []


async def test_callers_of_both_hear_when_the_database_does_not_answer(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher, "UNKNOWN_AFTER_S", 0.05)
    asked = await hands.two_under_way()
    for done in asked:
        with pytest.raises((ResultUnknown, DatabaseUnavailable)):
            await done
    await hands.stop()
    assert len(await stored_jobs(hands.machine)) == 2, "that the answer came too late does not undo anything"


async def test_callers_of_both_hear_when_the_database_refuses_for_long(hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its disk is full: what was sent is sent again until it is stored, however long nobody hears of it."""
    monkeypatch.setattr(flusher, "UNKNOWN_AFTER_S", 0.05)
    monkeypatch.setattr(flusher, "REPEAT_S", 0.05)
    asked = await hands.two_under_way()
    hands.fates += [hands.refused] * 3
    for _ in range(3):
        hands.go.release()
    for done in asked:
        with pytest.raises(ResultUnknown, match="test"):
            await done
    await hands.stop()
    assert len(await stored_jobs(hands.machine)) == 2


@pytest.mark.parametrize("rounds", [1, 2])
async def test_all_callers_hear_when_the_flusher_is_cancelled(hands: Hands, rounds: int) -> None:
    asked = await (hands.one_under_way() if rounds == 1 else hands.two_under_way())
    hands.task.cancel()
    await asyncio.wait([hands.task])
    for done in asked:
        with pytest.raises(ResultUnknown):
            await done
    assert not [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "_store"], "nothing goes on without it"  # type: ignore[union-attr]  # a coroutine


async def test_the_locks_of_jobs_fall_when_it_cannot_be_read_whether_their_leases_have_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept, they would hold up whoever completes one of the jobs in a transaction, for as long as the connection lasts."""
    [job_id] = await granted(machine)
    assert machine.ledger is not None
    await machine.ledger._con.execute("set lock_timeout = '50ms'")
    machine.owner.end([Ending(job_id, 1, Kind.LOST)])
    async with machine.pool.acquire() as con, con.transaction():
        await con.execute("lock table headrace.event in access exclusive mode")
        hands = Hands(machine, monkeypatch)
        assert (await hands.begun.get()).event_job == []

    async def ended() -> bool:
        machine.owner.wake.set()
        hands.go.release()
        return await kinds(machine, job_id) == ["granted", "lost"]

    await until(ended, what="the end of the lease")
    await hands.stop()
    assert await machine.pool.fetchval("select pg_try_advisory_xact_lock($1)", job_id)


async def test_what_is_done_between_rounds_has_its_turn_however_much_is_pending(hands: Hands, machine: Machine) -> None:
    await hands.two_under_way()
    key = machine.owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "key", b"", 2)
    for _ in range(2 * IN_A_ROW):
        if key.done():
            break
        submit(machine, 1)
        hands.go.release()
        while hands.begun.empty() and not key.done():
            await asyncio.sleep(0.001)
        while not hands.begun.empty():
            hands.begun.get_nowait()
        await hands.one_more_decided()
    assert key.done()
    await hands.stop()


async def test_a_run_of_rounds_ends(hands: Hands, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    build = machine.owner.build

    def counted(**options: Any) -> Round:
        begun.append(machine.owner.rounds)
        return build(**options)

    await hands.two_under_way()
    monkeypatch.setattr(machine.owner, "build", counted)
    while len(begun) < 2 and machine.owner.rounds < 5 * IN_A_ROW:
        submit(machine, 1)
        hands.go.release()
        await hands.begun.get()
        await hands.one_more_decided()
    assert begun[1] - begun[0] <= IN_A_ROW
    await hands.stop()
