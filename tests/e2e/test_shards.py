"""A queue of four shards as real brokers serve it: one that owns all of them, and two that own two each."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from headrace_agent import Agent, Fail, JobContext
from headrace_client import AdminClient, Client, JobFilter, JobSpec, NotFound, ScheduleSpec, State

from tests.support.agreement import agree
from tests.support.ports import free_ports
from tests.support.processes import BrokerProcess, pause, run_command, start_broker, until
from tests.support.shards import set_shards
from tests.support.web import Browser

SHARDS = 4
DOMAINS = ("default", "north", "east", "west")


@pytest.fixture
async def sharded(database: str) -> str:
    """A database whose queue has four shards."""
    await set_shards(database, SHARDS)
    con = await asyncpg.connect(database)
    for domain in DOMAINS:  # one after another, so that each lies in a shard of its own
        await con.execute("insert into headrace.domain (name) values ($1)", domain)
    await con.close()
    return database


async def run_agent(stack: AsyncExitStack, brokers: str, domain: str, name: str, also: str = "refuse") -> None:
    """An agent of a domain, in this process, that doubles numbers, and does nothing for another type, of which it refuses odd ones."""
    agent, drain = Agent(name, slots=4), asyncio.Event()

    @agent.job("double")
    async def double(_ctx: JobContext, data: int) -> int:
        return 2 * data

    @agent.job(also)
    async def other(_ctx: JobContext, data: int) -> None:
        if data % 2:
            raise Fail("odd")

    running = asyncio.create_task(agent.run(brokers, domain=domain, drain=drain))

    async def end() -> None:
        drain.set()
        await running

    stack.push_async_callback(end)


async def ready(broker: BrokerProcess) -> dict[str, Any]:
    """What the broker says of itself."""
    async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}") as http:
        answer = await http.get("/readyz")
    return {**json.loads(answer.text), "status": answer.status_code}


async def work(brokers: str, domain: str, count: int) -> list[int]:
    """Submits jobs in a domain; returns their ids when all are done."""
    async with Client(brokers, domain=domain, timeout_s=30) as client:
        ids = [item.job_id for item in await client.submit_many([JobSpec("double", n) for n in range(count)]) if not isinstance(item, Exception)]
        assert len(ids) == count
        for number, job_id in enumerate(ids):
            job = await client.wait(job_id, timeout_s=30)
            assert job.state is State.COMPLETED
            assert (await client.get(job_id, full=True)).json_result() == 2 * number
    return ids


async def submit_until(over: asyncio.Event, broker: str, domain: str) -> list[int]:
    """Submits jobs without keys, one after another, over the stream of a client that knows one broker, one more once it is over; ids of all. None may fail."""
    ids: list[int] = []
    async with Client(broker, domain=domain, timeout_s=30) as client:
        while True:
            ids.append((await client.submit("nobody", len(ids))).job_id)
            if over.is_set():
                return ids
            await pause()


async def counted(brokers: str, domain: str) -> dict[State, int]:
    """The jobs of a domain by state."""
    async with Client(brokers, domain=domain, timeout_s=30) as client:
        return {state: count for state, count in ((await client.count()).totals or {}).items() if count}


async def look_at(browser: Browser, domain: str) -> str:
    """The list of jobs of a domain, as somebody sees it who changes to it."""
    await browser.post("/domain", domain=domain)
    return await browser.get("/jobs")


async def test_one_broker_owns_all_shards_and_serves_the_domains_of_each(sharded: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--login-link", database=sharded)
    stack.push_async_callback(lambda: broker.kill())
    assert (broker.ready["role"], broker.ready["shards"]) == ("active", {"owned": SHARDS, "of": SHARDS})
    assert await ready(broker) == {"ready": True, "role": "active", "shards": SHARDS, "status": 200}
    async with AsyncExitStack() as agents:
        for domain in DOMAINS:
            await run_agent(agents, broker.address, domain, f"agent of {domain}")
        found = dict(zip(DOMAINS, await asyncio.gather(*(work(broker.address, domain, 5) for domain in DOMAINS)), strict=True))
    assert len({job_id for ids in found.values() for job_id in ids}) == 5 * len(DOMAINS)
    for domain in DOMAINS:
        assert await counted(broker.address, domain) == {State.COMPLETED: 5}
        async with Client(broker.address, domain=domain) as client, AdminClient(broker.address, domain=domain) as admin:
            assert {item.name for item in await admin.list_domains()} >= set(DOMAINS), "of all shards"
            other = next(other for other in DOMAINS if other != domain)
            with pytest.raises(NotFound):
                await client.get(found[other][0])
            [refused] = await admin.abort([found[other][0]], reason="not mine")
            assert refused.reason == "JOB_NOT_FOUND"
            assert [agent.name for agent in await admin.list_agents()] == [f"agent of {domain}"]
            waiting = await client.submit("nobody", 1)
            assert (await client.get(waiting.job_id)).wait_reason == "no_agent"
            [aborted] = await admin.abort([waiting.job_id], reason="over")
            assert aborted.state is State.ABORTED
    async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}") as client:
        browser = Browser(client, f"http://{broker.ready['http']}")
        await browser.get(broker.ready["web"].removeprefix(browser.base), 303)
        for domain in DOMAINS:
            page = await look_at(browser, domain)
            assert str(found[domain][0]) in page and not any(str(ids[0]) in page for other, ids in found.items() if other != domain)
        metrics = (await client.get("/metrics")).text
        assert "headrace_shards_owned 4.0" in metrics and 'headrace_type_submitted_total{domain="west",type="double"} 5.0' in metrics
    assert await broker.stop() == 0
    broker = await start_broker(directory, database=sharded)
    for domain in DOMAINS:
        assert await counted(broker.address, domain) == {State.COMPLETED: 5, State.ABORTED: 1}


async def test_two_brokers_own_two_shards_each_and_either_serves_every_domain(sharded: str, directory: Path, stack: AsyncExitStack) -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    brokers: list[BrokerProcess] = []

    async def start(number: int) -> None:
        brokers.append(await start_broker(directory, "--login-link", database=sharded, listen=addresses[number], name=f"broker{number}"))
        stack.push_async_callback(brokers[-1].kill)

    streamed = [f"{domain}.streamed" for domain in DOMAINS]  # in the same shards
    con = await asyncpg.connect(sharded)
    stack.push_async_callback(con.close)
    for domain in streamed:
        await con.execute("insert into headrace.domain (name) values ($1)", domain)

    async def even() -> bool:
        said = [await ready(broker) for broker in brokers]
        return all(one["ready"] and one["shards"] == SHARDS // 2 for one in said)

    over = asyncio.Event()
    await start(0)
    async with asyncio.TaskGroup() as tasks:
        streams = [tasks.create_task(submit_until(over, addresses[0], domain)) for domain in streamed]
        await start(1)
        await until(even, what="two shards at each broker")
        over.set()
    acknowledged = sorted(job_id for stream in streams for job_id in stream.result())
    assert [row["job_id"] for row in await con.fetch("select job_id from headrace.job order by 1")] == acknowledged, "a hand-over loses and doubles nothing"
    async with httpx.AsyncClient(base_url=f"http://{brokers[0].ready['http']}") as http:
        assert 'headrace_forwarded_calls_total{method="/headrace.v1.Jobs/SubmitStream"}' in (await http.get("/metrics")).text, (
            "two of the streams go on at the other broker"
        )
    async with AsyncExitStack() as agents:
        for number, domain in enumerate(DOMAINS):
            for reached in (addresses[number % 2], ",".join(addresses)):  # one is passed on where its broker does not own the shard
                await run_agent(agents, reached, domain, f"agent at {reached}")
        for broker in brokers:
            await asyncio.gather(*(work(broker.address, domain, 10) for domain in DOMAINS))
    for broker in brokers:
        for domain in DOMAINS:
            assert await counted(broker.address, domain) == {State.COMPLETED: 20}
    first, second = brokers
    for domain in DOMAINS:
        async with Client(first.address, domain=domain) as client, Client(second.address, domain=domain) as elsewhere:
            job = await client.submit("nobody", 1)
            changes = elsewhere.watch(job_ids=[job.job_id])
            assert (await anext(changes)).state is State.WAITING
            async with AdminClient(first.address, domain=domain) as admin:
                [aborted] = await admin.abort([job.job_id], reason="over")
                kept = await admin.save_filter("over", JobFilter(types=["nobody"]), ages={"created_from": 3600.0}, shared=True)
            async with AdminClient(second.address, domain=domain) as admin_elsewhere:
                assert await admin_elsewhere.list_filters() == [kept]
            assert aborted.state is (await anext(changes)).state is State.ABORTED
            await changes.aclose()
    await _pages(brokers)
    assert await first.stop() == 0
    for domain in DOMAINS:
        assert await counted(second.address, domain) == {State.COMPLETED: 20, State.ABORTED: 1}
        async with AdminClient(second.address, domain=domain) as admin:
            assert list((await admin.get_filter("over"))[1].types) == ["nobody"], "who took the shard over knows the type that the filter names"
    assert (await ready(second))["shards"] == SHARDS


async def _pages(brokers: list[BrokerProcess]) -> None:
    """Each domain's pages are at one broker, and the other one sends there, with the domain that is looked at."""
    bases = [f"http://{broker.ready['http']}" for broker in brokers]
    shown = {}
    async with AsyncExitStack() as stack:
        browsers = []
        for broker, base in zip(brokers, bases, strict=True):
            browsers.append(Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=base)), base))
            key = broker.ready["web"].removeprefix(base)
            assert (await browsers[-1].client.get(key)).status_code == 303
        for domain in DOMAINS:
            for number, browser in enumerate(browsers):
                answer = await browser.client.get(f"/jobs?state=aborted&look={domain}")
                assert (answer.status_code, answer.headers["location"]) == (303, "/jobs?state=aborted")
                answer = await browser.client.get("/jobs?state=aborted")
                if answer.status_code == 307:
                    assert answer.headers["location"] == f"{bases[1 - number]}/jobs?state=aborted&look={domain}"
                    part = await browser.client.get("/jobs", headers={"HX-Request": "true"})
                    assert part.headers["hx-redirect"] == f"{bases[1 - number]}/?look={domain}"
                    moved = await browser.client.get(answer.headers["location"])  # the session is known there too
                    assert (moved.status_code, moved.headers["location"]) == (303, "/jobs?state=aborted")
                    assert (await browser.client.get(f"{bases[1 - number]}/jobs?state=aborted")).status_code == 200
                else:
                    assert answer.status_code == 200 and domain not in shown
                    shown[domain] = number
    assert sorted(shown.values()) == [0, 0, 1, 1]


async def test_the_number_of_shards_changes_and_every_job_stands_where_it_stood(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(lambda: broker.kill())
    held: dict[str, int] = {}
    for domain in DOMAINS:
        held[domain] = await _one_of_each(broker.address, domain)
    standing = {domain: await counted(broker.address, domain) for domain in DOMAINS}
    assert standing["west"] == {State.WAITING: 3, State.COMPLETED: 3, State.ERROR: 1, State.ABORTED: 1}
    assert await broker.stop() == 0
    for number in (3, 1):
        done = await asyncio.to_thread(run_command, "headrace-broker", "shards", str(number), "--database-url", database)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == number and all(done.stdout.count(domain) == 1 for domain in DOMAINS)
        broker = await start_broker(directory, database=database)
        for domain in DOMAINS:
            assert await counted(broker.address, domain) == standing[domain]
            async with Client(broker.address, domain=domain) as client, AdminClient(broker.address, domain=domain) as admin:
                await agree(client, database, domain)
                assert (await client.submit("nobody", 0, key="k", instance_id="i")).existing
                assert (await client.get(held[domain])).wait_reason == "dependency"
                assert [schedule.name for schedule in await admin.list_schedules()] == ["s"]
                assert [operation.done for operation in (await admin.list_operations())[0]] == [3]
        refused = await asyncio.to_thread(run_command, "headrace-broker", "shards", "2", "--database-url", database)
        assert refused.returncode == 1 and str(broker.pid) in refused.stderr
        if number == 3:
            await broker.kill()  # nothing is written down at the end

            async def gone() -> bool:
                done = await asyncio.to_thread(run_command, "headrace-broker", "shards", "2", "--dry-run", "--database-url", database)
                return done.returncode == 0

            await until(gone, what="the end of the broker's connections")
    async with AsyncExitStack() as agents:
        for domain in DOMAINS:
            await run_agent(agents, broker.address, domain, "late", also="nobody")
            async with Client(broker.address, domain=domain) as client:
                assert (await client.wait(held[domain], timeout_s=30)).state is State.COMPLETED


async def _one_of_each(broker: str, domain: str) -> int:
    """Jobs of a domain that waited, failed, completed and were aborted, a schedule, an operation; the id of the one that waits for another."""
    async with AsyncExitStack() as agents, Client(broker, domain=domain) as client, AdminClient(broker, domain=domain) as admin:
        await run_agent(agents, broker, domain, "early")
        await work(broker, domain, 3)
        refused = await client.submit("refuse", 1)
        assert (await client.wait(refused.job_id, timeout_s=30)).state is State.ERROR
        first = await client.submit("nobody", 0, key="k", instance_id="i")
        second = await client.submit("nobody", 0, depends_on=[first.job_id])
        await client.submit("nobody", 0, delay_s=3600)
        await admin.abort([(await client.submit("double", 1, delay_s=3600)).job_id], reason="over")
        await admin.put_schedule("s", ScheduleSpec("nobody", cron="0 0 1 1 *"))
        operation = await admin.start_operation("priority", JobFilter(types=["nobody"]), priority=5, reason="first")
        assert (await admin.wait_operation(operation.operation_id)).done == 3
        return second.job_id
