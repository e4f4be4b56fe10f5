"""Limits from outside: the greatest overlap in the handlers' own record, racing submitters, settings that code declares and people override, pauses over restarts."""

import asyncio
import json
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest
from headrace_client import AdminClient, Client, HeadraceError, InvalidRequest, JobSpec, QueueFull, RateLimit, State, Submitted

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, start_agent, start_broker, until


def overlap(directory: Path, of: dict[int, str] | None = None) -> dict[str, int]:
    """The greatest number of handlers that ran at a time, by what `of` says of their jobs, as each handler wrote down; one that was killed ended with its agent."""
    ends = {"end", "fail", "stopped", "killed"}
    running: dict[str, set[tuple[str, str]]] = {}
    greatest: Counter[str] = Counter()
    lines = [line.split() for line in (directory / "ran.txt").read_text().splitlines()]
    for what, job_id, epoch, _, _ in sorted(lines, key=lambda line: float(line[4])):
        key = of.get(int(job_id), "") if of is not None else ""
        mine = running.setdefault(key, set())
        mine.discard((job_id, epoch)) if what in ends else mine.add((job_id, epoch))
        greatest[key] = max(greatest[key], len(mine))
    return dict(greatest)


def bury(directory: Path, pid: int, at: float) -> None:
    """Notes the end of what a killed agent was running."""
    open_: set[tuple[str, str]] = set()
    for line in (directory / "ran.txt").read_text().splitlines():
        what, job_id, epoch, owner, _ = line.split()
        if int(owner) == pid:
            (open_.add if what == "start" else open_.discard)((job_id, epoch))
    with open(directory / "ran.txt", "a") as file:
        for job_id, epoch in open_:
            file.write(f"killed {job_id} {epoch} {pid} {at:.3f}\n")


async def connected(admin: AdminClient) -> None:
    """Waits for an agent."""

    async def listed() -> bool:
        return bool(await admin.list_agents())

    await until(listed, what="an agent")


async def test_the_overlap_never_passes_a_limit_with_agents_killed_and_brokers_restarted(database: str, directory: Path, stack: AsyncExitStack) -> None:
    options = ("--lease-s", "3", "--heartbeat-s", "1", "--disconnect-grace-s", "1")
    first = await start_broker(directory, *options, database=database, name="first")
    stack.push_async_callback(first.kill)
    admin = await stack.enter_async_context(AdminClient(first.address, timeout_s=30))
    client = await stack.enter_async_context(Client(first.address, timeout_s=30))
    await admin.set_type("chaos", concurrency=4, concurrency_per_key=2)
    agents = [await start_agent(directory, first.address, "--slots", "10", name=f"agent{number}") for number in range(3)]
    for agent in agents:
        stack.push_async_callback(agent.kill)
    keys = {}
    for number in range(150):
        key = ("a", "b", "c", "")[number % 4]
        keys[(await client.submit("chaos", f"job {number}", limit_key=key)).job_id] = key

    async def done(count: int) -> bool:
        return (await client.count()).totals.get(State.COMPLETED, 0) >= count

    await until(lambda: done(20), timeout_s=30, what="20 jobs")
    await agents[0].kill()
    bury(directory, agents[0].pid, time.time())
    await until(lambda: done(50), timeout_s=30, what="50 jobs")
    second = await start_broker(directory, *options, database=database, name="second")
    stack.push_async_callback(second.kill)
    await first.kill()
    third = await start_broker(directory, *options, database=database, listen=first.address, name="third")
    stack.push_async_callback(third.kill)
    await second.kill()
    await until(lambda: done(90), timeout_s=60, what="90 jobs")
    await admin.set_type("chaos", concurrency=3)
    await until(lambda: done(150), timeout_s=60, what="all jobs")
    assert overlap(directory)[""] == 4, "as many as may, and no more"
    by_key = overlap(directory, keys)
    assert max(by_key["a"], by_key["b"], by_key["c"]) == 2
    await agree(client, database)


async def test_racing_submitters_fill_a_queue_to_its_limit_exactly(client: Client, admin: AdminClient, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    await admin.set_type("deep", depth_limit=300)
    others = [await stack.enter_async_context(Client(broker.address)) for _ in range(3)]
    results = await asyncio.gather(*(other.submit_many([JobSpec("deep", n) for n in range(150)]) for other in others), *(_one(client) for _ in range(200)))
    flat = [item for result in results for item in (result if isinstance(result, list) else [result])]
    stored = [item for item in flat if isinstance(item, Submitted)]
    refused = [item for item in flat if isinstance(item, QueueFull)]
    assert (len(stored), len(stored) + len(refused)) == (300, 650)
    assert {item.reason for item in refused} == {"QUEUE_FULL"} and {item.retry_after_s for item in refused} == {1.0}
    assert (await client.count()).totals[State.WAITING] == 300
    with pytest.raises(QueueFull):
        await client.submit("deep", 1)
    await admin.set_type("deep", depth_limit=0)
    assert (await client.submit("deep", 1)).pressure == 0


async def test_a_batch_fills_the_room_that_there_is(client: Client, admin: AdminClient) -> None:
    await admin.set_type("shallow", depth_limit=10)
    results = await client.submit_many([JobSpec("shallow", n) for n in range(25)])
    assert [isinstance(result, Submitted) for result in results] == [True] * 10 + [False] * 15
    assert all(isinstance(result, QueueFull) for result in results[10:])


async def _one(client: Client) -> Submitted | HeadraceError:
    try:
        return await client.submit("deep", 1)
    except HeadraceError as error:
        return error


async def test_pressure_comes_before_a_limit_and_a_submitter_can_wait_for_room(client: Client, admin: AdminClient, broker: BrokerProcess) -> None:
    await admin.set_type("deep", depth_limit=10)
    told = [(await client.submit("deep", n)).pressure for n in range(10)]
    assert told[:7] == [0] * 7 and told[7:] == pytest.approx([0.8, 0.9, 1.0])
    waiting = asyncio.create_task(client.submit("deep", 11, wait_for_room=True, timeout_s=15))
    many = asyncio.create_task(client.submit_many([JobSpec("deep", 12)], wait_for_room=True))

    async def refused() -> bool:
        async with httpx.AsyncClient() as web:
            text = (await web.get(f"http://{broker.ready['http']}/metrics")).text
        return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith('headrace_submits_refused_total{reason="QUEUE_FULL"}')) >= 2

    await until(refused, what="the refusals")
    assert not waiting.done() and not many.done()
    jobs = await client.list(types=["deep"])
    await client.abort([job.job_id for job in jobs.jobs[:2]])
    assert (await waiting).job_id and isinstance((await many)[0], Submitted)
    domain = await admin.set_domain(depth_limit=12)
    assert (domain.depth_limit, domain.waiting) == (12, 10)
    await client.submit_many([JobSpec("other", n) for n in range(2)])
    with pytest.raises(QueueFull, match="domain default"):
        await client.submit("other", 1)


async def test_code_declares_a_person_overrides_and_both_are_told(admin: AdminClient, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    (directory / "declaring.py").write_text(
        "from headrace_agent import Agent, RateLimit\n"
        "agent = Agent('declaring', slots=4)\n"
        "@agent.job('kept', concurrency=5, concurrency_per_key=2, rate_limit=RateLimit(30, per_s=60, burst=3), depth_limit=100, start_within_s=9.5,\n"
        "           fairness_weights={'gold': 3.0})\n"
        "async def kept(ctx, data): ...\n"
    )
    agent = await start_agent(directory, broker.address, agent="declaring:agent", cwd=directory)
    stack.push_async_callback(agent.kill)
    await connected(admin)
    declared = {
        "concurrency": 5, "concurrency_per_key": 2, "rate_limit": RateLimit(30, 60.0, 3), "depth_limit": 100, "start_within_s": 9.5, "fairness_weights": {"gold": 3.0},
    }  # fmt: skip
    found = await admin.get_type("kept")
    assert {name: found.declared[name] for name in declared} == {name: found.effective[name] for name in declared} == declared
    found = await admin.set_type("kept", concurrency=1, rate_limit=RateLimit(0))
    assert (found.effective["concurrency"], found.overrides["concurrency"], found.declared["concurrency"]) == (1, 1, 5)
    found = await admin.set_type("kept", clear=["concurrency", "rate_limit"])
    assert found.effective["concurrency"] == 5 and found.effective["rate_limit"].count == 30 and not found.overrides
    with pytest.raises(InvalidRequest) as wrong:
        await admin.set_type("kept", fairness_weights={"gold": 0.0})
    assert wrong.value.field == "settings.fairness_weights"


async def test_a_setting_that_another_broker_stored_is_in_force_within_a_second(
    client: Client, admin: AdminClient, agent: Process, database: str, directory: Path
) -> None:
    jobs = [(await client.submit("gate", "open")).job_id for _ in range(2)]
    await until(lambda: _processing(client, 2), what="both run")
    con = await asyncpg.connect(database)
    try:
        await con.execute("update headrace.job_type set overrides = $1, changed_at = clock_timestamp() where name = 'gate'", json.dumps({"concurrency": 2}))

        async def known() -> bool:
            return (await admin.get_type("gate")).effective.get("concurrency") == 2

        await until(known, what="the setting")
        third = (await client.submit("gate", "open")).job_id
        assert (await client.get(third)).wait_reason == "capped"
        assert "2 jobs of type gate" in (await client.explain(third)).text
        await con.execute("update headrace.job_type set overrides = $1, changed_at = clock_timestamp() where name = 'gate'", "{}")
        await until(lambda: _processing(client, 3), what="the third")
    finally:
        await con.close()
        (directory / "open").touch()
    for job_id in (*jobs, third):
        assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED


async def _processing(client: Client, count: int) -> bool:
    return (await client.count()).totals.get(State.PROCESSING, 0) == count


async def test_pauses_outlive_the_broker_and_say_who_and_why(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database, name="first")
    stack.push_async_callback(first.kill)
    client = await stack.enter_async_context(Client(first.address, timeout_s=30))
    admin = await stack.enter_async_context(AdminClient(first.address, actor="ada", timeout_s=30))
    await admin.pause_agent("tester", reason="it leaks")
    await admin.pause_domain(reason="maintenance")
    await admin.pause_type("echo", reason="the mail server is down")
    job_id = (await client.submit("echo", 1)).job_id
    await first.kill()
    second = await start_broker(directory, database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    agent = await start_agent(directory, first.address)
    stack.push_async_callback(agent.kill)
    await connected(admin)
    assert [(pause.kind, pause.name, pause.actor, pause.reason) for pause in await admin.list_pauses()] == [
        ("agent", "tester", "ada", "it leaks"), ("domain", "default", "ada", "maintenance"), ("type", "echo", "ada", "the mail server is down"),
    ]  # fmt: skip
    explained = await client.explain(job_id)
    assert explained.wait_reason == "paused" and "paused by ada" in explained.text and "the mail server is down" in explained.text
    await admin.resume_type("echo")
    assert "maintenance" in (await client.explain(job_id)).text
    assert await admin.resume_domain() and not await admin.resume_domain()
    assert (await client.explain(job_id)).wait_reason == "no_agent"
    [info] = await admin.list_agents()
    assert info.pause is not None and info.pause.reason == "it leaks"
    assert await admin.unpause_agent("tester")
    assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED


async def test_labels_keys_and_rates_are_told(client: Client, admin: AdminClient, agent: Process, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    job_id = (await client.submit("echo", 1, limit_key="k", fairness_key="f", required_labels={"zone": "eu"}, key="once")).job_id
    assert (await client.submit("echo", 1, limit_key="k", fairness_key="f", required_labels={"zone": "eu"}, key="once")).existing
    with pytest.raises(HeadraceError, match="another body"):
        await client.submit("echo", 1, limit_key="other", key="once")
    await connected(admin)
    job = await client.get(job_id)
    assert (job.limit_key, job.fairness_key, job.required_labels, job.wait_reason) == ("k", "f", {"zone": "eu"}, "no_matching_agent")
    assert "zone=eu" in (await client.explain(job_id)).text
    european = await start_agent(directory, broker.address, "--label", "zone=eu", name="european")
    stack.push_async_callback(european.kill)
    assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED
    await european.kill()
    await admin.set_type("echo", rate_limit=RateLimit(1, per_s=3600.0))
    slow = (await client.submit("echo", 2)).job_id
    assert (await client.get(slow)).wait_reason == "rate_limited"
    assert "at most 1 jobs in 3600 s" in (await client.explain(slow)).text
    await admin.set_type("echo", clear=["rate_limit"])
    assert (await client.wait(slow, timeout_s=20)).state is State.COMPLETED
    await admin.set_type("gate", concurrency_per_key=1)
    first, second = [(await client.submit("gate", "open", limit_key="one")).job_id for _ in range(2)]

    async def capped() -> bool:
        return (await client.get(second)).wait_reason == "capped"

    await until(capped, what="the second is capped")
    text = (await client.explain(second)).text
    assert "limit key 'one'" in text and f"such as {first}" in text
    (directory / "open").touch()
    assert (await client.wait(second, timeout_s=20)).state is State.COMPLETED


async def test_a_job_that_does_not_start_in_time_ends_in_error_with_an_alert(client: Client, admin: AdminClient, database: str) -> None:
    await admin.set_type("late", start_within_s=0.3)
    job = await client.wait((await client.submit("late", 1)).job_id, timeout_s=10)
    assert (job.state, job.error and job.error.code, job.attempt) == (State.ERROR, "not_started", 0)
    [alert], _ = await admin.list_alerts()
    assert alert.job_id == job.job_id
    assert [event.kind for event in await client.events(job.job_id)] == ["submitted", "expired"]
    await client.requeue([job.job_id])
    assert (await client.wait(job.job_id, timeout_s=10)).run == 2
    await agree(client, database)
