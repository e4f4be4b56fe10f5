"""Several brokers under load: restarted one after another; and an owner that was frozen and is succeeded meanwhile does none of its duties."""

import asyncio
import contextlib
import itertools
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from headrace_client import AdminClient, Client, HeadraceError, JobFilter, OperationState, ResultUnknown, ScheduleSpec, State

from tests.support.agreement import agree
from tests.support.ports import free_ports
from tests.support.processes import start_agent, start_broker, until


class Load:
    """Jobs with keys, one after another, until it is told to stop; every one is acknowledged in the end."""

    def __init__(self, brokers: str) -> None:
        self.brokers = brokers
        self.ids: list[int] = []
        self.stopping = False

    async def run(self) -> None:
        """Submits; what was refused or is unknown is submitted again under its key."""
        async with Client(self.brokers, timeout_s=20) as client:
            for number in itertools.count():
                if self.stopping:
                    return
                while True:
                    try:
                        self.ids.append((await client.submit("echo", number, key=f"load-{number}")).job_id)
                        break
                    except HeadraceError:
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.005)


def _starts(directory: Path) -> list[tuple[float, int, int]]:
    """(when, job, epoch) of each start of a handler, in order of time."""
    found = [line.split() for line in (directory / "ran.txt").read_text().splitlines()]
    return sorted((float(at), int(job_id), int(epoch)) for what, job_id, epoch, _, at in found if what == "start")


async def test_brokers_are_restarted_one_after_another_under_load(database: str, directory: Path, stack: AsyncExitStack) -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    async with asyncio.TaskGroup() as starting:
        begun = [starting.create_task(start_broker(directory, database=database, listen=address, name=f"broker{n}")) for n, address in enumerate(addresses)]
    brokers = [task.result() for task in begun]
    for broker in brokers:
        stack.push_async_callback(broker.kill)
    for number in range(2):
        agent = await start_agent(directory, ",".join(addresses), name=f"agent{number}")
        stack.push_async_callback(agent.kill)
    load = Load(",".join(addresses[::-1]))  # begins at one that stands by
    loading = asyncio.create_task(load.run())
    stack.callback(loading.cancel)

    async def runs() -> bool:
        return len(load.ids) > 50 and (directory / "ran.txt").exists()

    await until(runs, what="the load")
    for number, address in enumerate(addresses):
        assert await brokers[number].stop() == 0
        brokers[number] = await start_broker(directory, database=database, listen=address, name=f"broker{number}")
        stack.push_async_callback(brokers[number].kill)
        done = len(load.ids)

        async def goes_on(done: int = done) -> bool:
            return len(load.ids) > done + 20

        await until(goes_on, what="the load to go on")
    load.stopping = True
    await loading
    async with Client(addresses[0], timeout_s=20) as client:

        async def all_done() -> bool:
            return (await client.count(["echo"])).totals == {State.COMPLETED: len(load.ids)}

        await until(all_done, what="the end of all jobs")
        assert len(set(load.ids)) == len(load.ids)
        starts = _starts(directory)
        assert sorted(job_id for _, job_id, _ in starts) == sorted(load.ids), "each ran once"
        longest = max(later - earlier for (earlier, *_), (later, *_) in itertools.pairwise(starts))
        print(f"the longest pause between two starts: {longest:.2f} s; benchmarks/rolling.py measures it")
        await agree(client, database)


async def test_a_frozen_owner_is_replaced_and_does_none_of_its_duties_when_it_wakes(database: str, directory: Path, stack: AsyncExitStack) -> None:
    """Schedules, bulk operations, alerts, roll-ups, retention, and what tidies up: each duty writes, and none of what it writes is the old owner's."""
    options = ["--retention-period-s", "1"]
    first = await start_broker(directory, *options, "--log-format", "json", database=database, name="first")
    stack.push_async_callback(first.kill)
    second = await start_broker(directory, *options, "--log-format", "json", database=database, name="second")
    stack.push_async_callback(second.kill)
    agent = await start_agent(directory, f"{first.address},{second.address}")
    stack.push_async_callback(agent.kill)
    admin = await stack.enter_async_context(AdminClient(second.address, timeout_s=30))
    client = await stack.enter_async_context(Client(second.address, timeout_s=30))
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    ids = [(await client.submit("waits", n)).job_id for n in range(30)]
    await admin.put_schedule("often", ScheduleSpec("fired", interval_s=1), reason="a test")
    operation = await admin.start_operation("priority", JobFilter(types=("waits",)), priority=5, rate=5.0, reason="a test")
    old_life = await con.fetchval("select life_id from headrace.shard limit 1")

    async def fired() -> bool:
        return (await client.count(["fired"])).totals.get(State.WAITING, 0) >= 1

    await until(fired, what="the schedule")
    await client.wait((await client.submit("echo", 1)).job_id, timeout_s=30)
    first.signal(signal.SIGSTOP)

    async def took_over() -> bool:
        return bool(await con.fetchval("select bool_and(life_id <> $1) from headrace.shard", old_life))

    await until(took_over, what="the takeover")

    async def submitted() -> int | None:
        with contextlib.suppress(ResultUnknown):  # said of what was still passed on to the frozen one: ask again with the same key
            return (await client.submit("echo", 2, key="after")).job_id
        return None

    job_id = await until(submitted, what="a submit to the new owner")
    assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    last = {
        "flushes": await con.fetchval("select max(n) from headrace.flush where life_id = $1", old_life),
        "roll-ups": await con.fetchval("select count(*) from headrace.stat where life_id = $1", old_life),
    }
    sums = await con.fetch("select numbers, at from headrace.stat where life_id = $1 order by at, type_id, agent_id", old_life)
    term = await con.fetchval("select term from headrace.alert_state")
    first.signal(signal.SIGCONT)

    async def stands_by() -> bool:
        text = first.log.read_text()
        return "fenced" in text and "standing by" in text.rpartition("fenced")[2]

    await until(stands_by, what="the woken broker to stand by")

    assert (await admin.wait_operation(operation.operation_id)).state is OperationState.FINISHED
    assert last == {
        "flushes": await con.fetchval("select max(n) from headrace.flush where life_id = $1", old_life),
        "roll-ups": await con.fetchval("select count(*) from headrace.stat where life_id = $1", old_life),
    }, "schedules and operations are flushes; nothing of the old life was added to either"
    assert sums == await con.fetch("select numbers, at from headrace.stat where life_id = $1 order by at, type_id, agent_id", old_life)
    assert await con.fetchval("select term from headrace.alert_state") in (term, term + 1), "alerts: the duty is not taken back"
    woken = first.log.read_text().rpartition("fenced")[2]
    assert '"event": "done"' not in woken, "retention, index of logs, inbox and operations: no pass of the woken broker did anything"
    fires = await con.fetch("select nominal_at, count(*) as n from headrace.schedule_fire group by nominal_at having count(*) > 1")
    assert not fires, "no tick fired twice"
    await admin.pause_schedule("often", reason="seen enough")
    assert {(await client.get(each)).priority for each in ids} == {5} and (await client.get(job_id)).lease_epoch == 1
    await agree(client, database)
