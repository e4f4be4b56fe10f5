"""A broker that takes over from a killed one reads its checkpoint and what came since: nothing is missed, and every job runs to its end."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_broker.store.pool import open_pool
from headrace_client import AdminClient, Client, State
from headrace_proto.v1 import agents_pb2

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, pause, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome

SOON_S = 5.0  # what waits for a time waits until after the takeover


class Play:
    """Brokers, one after another on the same address, and an agent for each act; `part` leaves a job of every kind behind."""

    def __init__(self, database: str, directory: Path, stack: AsyncExitStack) -> None:
        self.database = database
        self.directory = directory
        self.stack = stack
        self.brokers = 0
        self.agents = [ScriptedAgent("", name=f"hand-{act}", types=(f"act-{act}",), columns=bool(act)) for act in range(2)]
        self.jobs: dict[str, int] = {}

    async def broker(self) -> BrokerProcess:
        """The next broker; the agents come back to it with what they hold."""
        listen = self.running.address if self.brokers else "127.0.0.1:0"
        self.brokers += 1
        self.running: BrokerProcess = await start_broker(self.directory, database=self.database, listen=listen, name=f"broker-{self.brokers}")
        self.stack.push_async_callback(self.running.kill)
        for agent in self.agents:
            agent.address = self.running.address
            assert not (await agent.connect()).not_held
        return self.running

    async def open(self) -> None:
        """The first broker, its client and a connection to the database."""
        for agent in self.agents:
            self.stack.push_async_callback(agent.close)
        await self.broker()
        self.client = await self.stack.enter_async_context(Client(self.running.address, timeout_s=20))
        admin = await self.stack.enter_async_context(AdminClient(self.running.address, timeout_s=20))
        for act in range(2):
            await admin.set_type(f"act-{act}", retry_delay_s=SOON_S, retry_jitter=0.0)
        self.con = await asyncpg.connect(self.database)
        self.stack.push_async_callback(self.con.close)

    async def part(self, act: int) -> None:
        """A job that runs, one that is to be aborted, one that waits for its retry, one that is settled; ready, scheduled, keyed and aborted ones."""
        agent, type_ = self.agents[act], f"act-{act}"
        for name in ("runs", "asked", "retries", "settled"):
            self.jobs[f"{name} {act}"] = (await self.client.submit(type_, name)).job_id
        _, _, retries, settled = await agent.take(4)
        assert await agent.report(outcome(retries, "failed"), outcome(settled, "completed")) == ["accepted", "accepted"]
        await self.client.abort([self.jobs[f"asked {act}"]])
        keyed = (("keyed", 0.0, f"key {act}"), ("both", SOON_S, f"both {act}"))
        for name, delay_s, key in (("ready", 0.0, ""), ("later", 0.0, ""), ("aborted", 0.0, ""), ("scheduled", SOON_S, ""), *keyed):
            self.jobs[f"{name} {act}"] = (await self.client.submit(type_, name, delay_s=delay_s, key=key)).job_id
        await self.client.abort([self.jobs[f"aborted {act}"]])

    async def more(self) -> None:
        """What was in the checkpoint moves on: begins, ends, is asked for again."""
        agent = self.agents[0]
        [ready] = await agent.take(1)
        assert ready.job_id == self.jobs["ready 0"]
        runs = agent.held[self.jobs["runs 0"]]
        assert await agent.report(outcome(runs, "released")) == ["accepted"]
        await self.client.abort([self.jobs["later 0"], self.jobs["scheduled 0"]])
        await self.client.requeue([self.jobs["settled 0"]], include_completed=True)

    async def checkpoint(self) -> None:
        """Waits until the broker that serves has made a checkpoint of its own; what it began with is in it."""

        async def made() -> bool:
            return bool(await self.con.fetchval("select life_id = (select max(life_id) from headrace.life) from headrace.checkpoint"))

        await until(made, what="a checkpoint of this broker")

    async def end(self) -> None:
        """Every job runs to its end."""
        while {State.WAITING, State.PROCESSING} & {state for state, count in (await self.client.count()).totals.items() if count}:
            for agent in self.agents:
                await agent.send(accept=agents_pb2.Accept(assign_no=agent.assign_no), credit=agents_pb2.Credit(assign_no=agent.assign_no, free=20))
                if agent.held:
                    said = await agent.report(*(outcome(job, "completed") for job in agent.held.values()))
                    assert set(said) == {"accepted"}
            await pause()


@pytest.fixture
async def play(database: str, directory: Path, stack: AsyncExitStack) -> Play:
    """A broker that was killed after its second life's checkpoint, with jobs of every kind before it and since; nobody took over yet."""
    play = Play(database, directory, stack)
    await play.open()
    await play.part(0)
    await play.running.kill()
    await play.broker()
    await play.checkpoint()
    await play.part(1)
    await play.more()
    await play.running.kill()
    return play


async def _check(play: Play, *, from_checkpoint: bool) -> None:
    await play.broker()
    assert f"from_checkpoint={from_checkpoint}" in play.running.log.read_text()
    await agree(play.client, play.database)
    held = [{name for name, job_id in play.jobs.items() if job_id in agent.held} for agent in play.agents]
    assert held == [{"asked 0", "ready 0"}, {"asked 1", "runs 1"}], "no lease was lost"
    for act in range(2):
        for name, key, delay_s in (("keyed", f"key {act}", 0.0), ("both", f"both {act}", SOON_S)):
            again = await play.client.submit(f"act-{act}", name, key=key, delay_s=delay_s)
            assert (again.job_id, again.existing) == (play.jobs[f"{name} {act}"], True)
    for act in range(2):
        await play.agents[act].until(lambda act=act: play.jobs[f"asked {act}"] in play.agents[act].aborts, "the order to abort")  # type: ignore[misc]
    await play.end()
    await agree(play.client, play.database)
    states = {name: (await play.client.get(job_id)).state for name, job_id in play.jobs.items()}
    aborted = {"aborted 0", "aborted 1", "later 0", "scheduled 0"}
    assert states == {name: State.ABORTED if name in aborted else State.COMPLETED for name in play.jobs}
    runs = {name: [attempt.ending for attempt in await play.client.attempts(play.jobs[name])] for name in ("runs 0", "runs 1", "ready 0", "retries 0", "settled 0")}
    assert runs == {
        "runs 0": ["released", "completed"],
        "runs 1": ["completed"],
        "ready 0": ["completed"],
        "retries 0": ["failed", "completed"],
        "settled 0": ["completed", "completed"],
    }


async def test_a_broker_begins_with_the_checkpoint_and_what_came_since(play: Play) -> None:
    await _check(play, from_checkpoint=True)


async def test_a_checkpoint_that_lacks_a_chunk_is_not_used_and_all_events_are_read(play: Play) -> None:
    newest = "select life_id, n, chunks / 2 + 1 from headrace.checkpoint"
    assert await play.con.execute(f"delete from headrace.checkpoint_chunk where (life_id, n, chunk) in ({newest})") == "DELETE 1"
    await _check(play, from_checkpoint=False)


async def test_nothing_is_missed_when_the_databases_clock_was_set_back_after_the_checkpoint(play: Play) -> None:
    assert await play.con.execute("update headrace.event e set at = e.at - interval '1 hour' from headrace.checkpoint c where e.at > c.at") != "UPDATE 0"
    later = "from headrace.checkpoint c where f.life_id = c.life_id and f.n > c.n and f.at > c.at"
    assert await play.con.execute(f"update headrace.flush f set at = f.at - interval '1 hour' {later}") != "UPDATE 0"
    await _check(play, from_checkpoint=True)


async def test_a_broker_that_froze_in_the_middle_of_a_checkpoint_holds_nobody_up(database: str, directory: Path, stack: AsyncExitStack) -> None:
    pool = await open_pool(database)  # as the frozen broker's: it does not answer any more, and its transaction holds the table of chunks
    stack.push_async_callback(pool.close)
    con = await stack.enter_async_context(pool.acquire())
    await con.execute("begin")
    await con.execute("lock table headrace.checkpoint_chunk_0, headrace.checkpoint_chunk_1 in access exclusive mode")
    async with asyncio.timeout(15):
        broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    assert broker.ready["role"] == "active"
