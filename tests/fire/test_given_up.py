"""An owner meets an error that nobody expected: its shard is given up and taken again, by another broker or after a pause, and all else goes on."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, cast

import asyncpg
import httpx
import pytest
import structlog
from headrace_broker.http import http_app
from headrace_broker.metrics import Metrics
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import NotOwner, Unavailable
from headrace_broker.model.shard import ONLY, all_of
from headrace_broker.rpc.doors import DoorReader, _looked_at
from headrace_broker.shards import ownership as ownership_module
from headrace_broker.shards import types as types_module
from headrace_broker.shards.doors import DoorJob
from headrace_broker.shards.flusher import Flusher
from headrace_broker.shards.intents import PlainJobs
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.shards.stumbles import PAUSE_S, WELL_S, Stumbles
from headrace_broker.store.batch import FullBody
from headrace_broker.store.heads import Heads
from headrace_broker.store.inbox import InboxRow, Suspects
from headrace_broker.store.migrate import MigrationError
from headrace_broker.store.settings import SettingsStore

from tests.fire.test_hand_over import Broker, broker
from tests.support.processes import until
from tests.support.shards import make_domains, run_owner

STUMBLED = "an error that should not be: the shard is given up, and taken again after a pause; please report it"


class Trap:
    """A side task of owners that waits until it is sprung, and fails then; `owners`: those that have begun it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.owners: list[Owner] = []
        self._sprung: dict[Owner, tuple[asyncio.Event, list[BaseException]]] = {}

        async def side(owner: Owner, *_: object) -> None:
            self.owners.append(owner)
            event, errors = self._sprung[owner] = asyncio.Event(), []
            await event.wait()
            raise errors[0]

        monkeypatch.setattr(ownership_module, "judge_stale", side)

    def spring(self, owner: Owner, error: BaseException) -> None:
        """Has it fail."""
        event, errors = self._sprung[owner]
        errors.append(error)
        event.set()


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Trap:
    return Trap(monkeypatch)


async def _another(one: Broker, before: Owner) -> Owner:
    """The owner after this one, once it serves."""
    async with asyncio.timeout(30):
        while True:
            await one.ownership.ready.wait()
            if one.ownership.owner is not before:
                return one.ownership.owner
            await asyncio.sleep(0.01)


async def test_a_side_task_fails_and_the_shard_is_taken_again_after_a_pause(database: str, trap: Trap) -> None:
    async with broker(database) as one:
        before, left = one.ownership.owner, one.ownership.left
        [job_id] = await one.submit(1)
        loop = asyncio.get_running_loop()
        with structlog.testing.capture_logs() as said:
            trap.spring(before, ZeroDivisionError("what nobody expected"))
            began = loop.time()
            async with asyncio.timeout(30):
                await left.wait()
            assert not one.ownership.ready.is_set() and one.ownership.stumbles == 1
            with pytest.raises(Unavailable):
                before.submit(PlainJobs(await before.types.ensure("default", "work"), 0, [b"{}"]), 2)
            after = await _another(one, before)
        assert loop.time() - began >= PAUSE_S[0]
        assert after.life_id > before.life_id, "the life ended"
        assert [job_id] == [job_id for _, _, ids in after.lanes.copies() for job_id in ids], "what was stored is there"
        assert (await one.submit(1))[0] > job_id
        [line] = [line for line in said if line["event"] == STUMBLED]
        assert (line["log_level"], line["in_a_row"], line["shard"], line["pause_s"]) == ("error", 1, 0, PAUSE_S[0])
        assert "what nobody expected" in line["reason"] and line["exc_info"] is not None
        assert one.ownership._metrics.shard_failures._value.get() == 1


async def test_the_decisions_of_a_round_fail(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker(database) as one:
        before, build = one.ownership.owner, Owner.build

        def failing(owner: Owner, **options: Any) -> Any:
            if owner is before:
                raise KeyError(7)
            return build(owner, **options)

        monkeypatch.setattr(Owner, "build", failing)
        await _another(one, before)
        assert await one.submit(1)


@pytest.mark.parametrize("step", ["_refusal", "add_job"])
async def test_who_waits_for_a_keyed_job_is_told_at_once_when_the_decision_of_its_round_fails(database: str, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def failing(*_: object) -> None:
        raise KeyError(7)

    async with broker(database) as one:
        owner = one.ownership.owner
        entry = await owner.types.ensure("default", "work")
        monkeypatch.setattr(owner.keyed if step == "_refusal" else owner.numbering, step, failing)
        jobs = [(key, batch_id) for batch_id in (0, 1) for key in ("one", "other")]
        asked = [owner.submit_keyed((entry, 0, 0.0, b"1"), entry.domain_id, key, b"", 1, batch_id=batch_id) for key, batch_id in jobs]
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers] == [NotOwner] * 4
        await _another(one, owner)


async def test_who_waits_for_a_run_of_a_schedule_is_told_at_once_when_the_decision_of_its_round_fails(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> bool:
        raise KeyError(7)

    async with broker(database) as one:
        owner = one.ownership.owner
        monkeypatch.setattr(owner.schedules, "_add", failing)
        monkeypatch.setitem(owner.schedules.by_id, 7, cast(Any, object()))
        asked = owner.schedules.run_now(7, "request", Caller("test", "default", "request"), "")
        async with asyncio.timeout(10):
            with pytest.raises(NotOwner):
                await asked
        await _another(one, owner)


async def test_a_cancellation_that_nobody_asked_for_does_not_leave_the_shard_alone(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker(database) as one:
        before, build = one.ownership.owner, Owner.build

        def failing(owner: Owner, **options: Any) -> Any:
            if owner is before:
                raise asyncio.CancelledError
            return build(owner, **options)

        monkeypatch.setattr(Owner, "build", failing)
        await _another(one, before)
        assert not one.running.done() and one.ownership.stumbles == 1


async def test_another_broker_has_it_at_once_and_is_known(database: str, trap: Trap, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace_broker.shards.stumbles.PAUSE_S", (600.0, 600.0))
    first = await stack.enter_async_context(broker(database))
    second = await stack.enter_async_context(broker(database))
    trap.spring(first.ownership.owner, AssertionError())
    async with asyncio.timeout(30):
        await second.ownership.ready.wait()
        while first.ownership.holder is None:
            await asyncio.sleep(0.01)
    assert first.ownership.role == "standby" and first.ownership.holder.life_id == second.ownership.owner.life_id, "calls are passed on"


async def test_the_other_shards_of_the_broker_go_on(database: str, trap: Trap, stack: AsyncExitStack) -> None:
    domains = await make_domains(database, "north", "south")
    each = [await run_owner(database, shard, stack) for shard in all_of(2)]
    failing, beside = each
    ownerships = Ownerships(each, beside._types, SettingsStore(beside._pool))
    trap.spring(failing.owner, RuntimeError("x"))
    kept, left = beside.owner, failing.left
    async with asyncio.timeout(30):
        await left.wait()
    assert ownerships.owned() == [beside] and beside.owner is kept
    entry = await beside._types.ensure(domains[1], "work")
    assert await beside.owner.submit(PlainJobs(entry, 0, [b"{}"]), 2) and entry.domain == domains[1]
    app = http_app(Metrics(), ownerships, [])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://broker") as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, {"0": 1})
        async with asyncio.timeout(30):
            await failing.ready.wait()
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (200, {"0": 1}), "it is not well yet"


SAID = "select message from headrace.inbox_result where inbox_id = $1"


async def taken_up(con: "asyncpg.Connection[Any]", ids: list[int]) -> list[tuple[bool, str | None]]:
    """Waits for all these rows of the inbox; of each in turn whether it has become a job, and why not."""

    async def results() -> list[tuple[bool, str | None]]:
        rows = await con.fetch("select job_id is not null as became, reason from headrace.inbox_result where inbox_id = any ($1) order by inbox_id", ids)
        return [(row["became"], row["reason"]) for row in rows] if len(rows) == len(ids) else []

    return list(await until(results, what="all rows taken up"))


async def test_a_row_of_the_inbox_that_meets_a_defect_is_refused_and_holds_up_nobody(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    read = DoorReader.job

    async def failing(reader: DoorReader, owner: Owner, row: InboxRow, heads: Heads) -> DoorJob:
        if row.payload == b"1":
            raise ZeroDivisionError("what nobody expected")
        return await read(reader, owner, row, heads)

    monkeypatch.setattr(DoorReader, "job", failing)
    ownership = await run_owner(database, ONLY, stack)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    ids = [await con.fetchval("select headrace.submit_job('work', payload => $1)", payload) for payload in ("1", "2")]
    assert await taken_up(con, ids) == [(False, "INTERNAL"), (True, None)]
    assert ownership.stumbles == 0


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_row_of_the_inbox_that_the_database_refuses_to_store_is_refused_and_holds_up_nobody(
    database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, keyed: bool
) -> None:
    """As if something that the database does not take were overlooked when the row is read."""
    read = DoorReader.job

    async def overlooking(reader: DoorReader, owner: Owner, row: InboxRow, heads: Heads) -> DoorJob:
        if row.payload != b"1":
            return await read(reader, owner, row, heads)
        entry = await owner.types.ensure("default", "work")
        job = (entry, 0, 0.0, FullBody(row.payload, labels='{"a": "\\u0000"}'))
        if not keyed:
            return DoorJob(job, None)
        answer = owner.submit_keyed(job, entry.domain_id, "key", b"", 1)
        answer.add_done_callback(_looked_at)
        return DoorJob(job, answer)

    monkeypatch.setattr(DoorReader, "job", overlooking)
    ownership = await run_owner(database, ONLY, stack)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    async with con.transaction():  # they are read together
        ids = [await con.fetchval("select headrace.submit_job('work', payload => $1)", payload) for payload in ("0", "1", "2")]

    assert await taken_up(con, ids) == [(True, None), (False, "INVALID_FIELD"), (True, None)]
    said = await con.fetchval(SAID, ids[1])
    assert said.startswith("job: it has a value that the database does not take: unsupported Unicode escape sequence; DETAIL: ")
    assert [bytes(row["payload"]) for row in await con.fetch("select payload from headrace.job order by job_id")] == [b"0", b"2"]
    again = await con.fetchval("select headrace.submit_job('work', payload => '3')")
    await until(lambda: con.fetchval("select headrace.submitted_job($1)", again), what="the job of a later row")
    assert ownership.stumbles == 0 and ownership.inbox.suspects == Suspects()


async def test_a_row_of_the_inbox_of_a_type_for_which_there_is_no_room_is_refused_and_holds_up_nobody(
    database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ownership = await run_owner(database, ONLY, stack)
    await ownership.owner.types.ensure("default", "work")
    monkeypatch.setattr(types_module, "MAX_TYPES", 1)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    async with con.transaction():  # they are read together
        ids = [await con.fetchval("select headrace.submit_job($1, payload => '1')", name) for name in ("work", "another", "work")]
    assert await taken_up(con, ids) == [(True, None), (False, "INVALID_FIELD"), (True, None)]
    assert await con.fetchval(SAID, ids[1]) == "type: there are 1 job types already; are ids part of type names?"


async def test_a_schema_that_went_on_ends_the_broker(database: str, trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    async with broker(database) as one:
        await one.ownership.drain()
        await one.running

        async def refused(_: object) -> None:
            raise MigrationError("run a newer headrace")

        monkeypatch.setattr(one.ownership, "_open", lambda: refused(None))
        monkeypatch.setattr(one.ownership, "_draining", False)
        with pytest.raises(MigrationError):
            await asyncio.wait_for(one.ownership.run(), 30)
        one.ownership._draining = True


async def test_whoever_cancels_an_owner_has_it_ended(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    run = Flusher.run

    async def noted(flusher: Flusher) -> None:
        try:
            await run(flusher)
        finally:
            ended.set()

    monkeypatch.setattr(Flusher, "run", noted)
    async with broker(database) as one:
        one.running.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([one.running])
        assert one.running.cancelled() and ended.is_set() and not one.ownership.ready.is_set()


def test_pauses_grow_and_begin_anew_once_all_is_well() -> None:
    stumbles, now = Stumbles(), 100.0
    assert stumbles.in_a_row(now) == 0 and stumbles.until < now
    pauses = []
    for _ in range(7):
        pauses.append(stumbles.note(now))
        assert stumbles.until == now + pauses[-1]
        now += pauses[-1] + 1
    assert pauses == [1, 2, 4, 8, 16, 30, 30] and stumbles.in_a_row(now) == 7
    now += WELL_S
    assert stumbles.in_a_row(now) == 0
    assert stumbles.note(now) == 1 and stumbles.in_a_row(now) == 1


def test_the_time_for_which_a_shard_is_not_given_back_grows_and_begins_anew_once_all_is_well() -> None:
    stumbles, now = Stumbles(), 100.0
    assert stumbles.away_until < now
    times = []
    for _ in range(8):
        stumbles.note(now)
        times.append(stumbles.away_until - now)
        now = stumbles.away_until + WELL_S - 1  # it was given it, and it went well for a while
    assert times == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    stumbles.note(now + 1)
    assert stumbles.away_until == now + 1 + 60
