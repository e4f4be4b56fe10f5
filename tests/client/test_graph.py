"""Dependencies through clients, against a real broker and real agents."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.shards.graph import AT_ONCE
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, NotFound, State, Submitted, SyncClient

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, run_command, start_agent, start_broker, until

MET = "select count(*) from headrace.event where kind = 13"


async def _ids(client: Client, specs: list[JobSpec]) -> list[int]:
    results = await client.submit_many(specs)
    assert all(isinstance(result, Submitted) for result in results), results
    return [result.job_id for result in results if isinstance(result, Submitted)]


async def test_jobs_run_in_the_order_of_their_dependencies(client: Client, agent: Process, database: str, directory: Path) -> None:
    first = (await client.submit("gate", "open")).job_id
    middle = [(await client.submit("echo", number, depends_on=[first])).job_id for number in range(3)]
    last = await client.submit("echo", "last", depends_on=[*middle, first, first])
    job = await client.get(last.job_id)
    assert (job.state, job.wait_reason, job.depends_on) == (State.WAITING, "dependency", (*middle, first))
    told = await client.explain(last.job_id)
    assert told.wait_reason == "dependency" and "4 jobs" in told.text and str(first) in told.text

    async def runs() -> bool:
        return (await client.get(first)).state is State.PROCESSING

    await until(runs, what="the first to run")
    assert (await client.count()).totals == {State.WAITING: 4, State.PROCESSING: 1}
    assert len([job async for job in client.iter_jobs(states=[State.WAITING])]) == 4
    await agree(client, database)
    (directory / "open").touch()
    assert (await client.wait(last.job_id, timeout_s=20)).state is State.COMPLETED
    started = {job_id: (await client.get(job_id)).started_at for job_id in (first, *middle, last.job_id)}
    settled = {job_id: (await client.get(job_id)).settled_at for job_id in (first, *middle)}
    for job_id in middle:
        assert started[job_id] >= settled[first] and started[last.job_id] >= settled[job_id]  # type: ignore[operator]  # they have run
    assert [event.kind for event in await client.events(last.job_id)] == ["submitted", "dependencies_met", "granted", "completed"]
    await agree(client, database)


async def test_a_job_may_depend_on_what_has_completed_long_ago(client: Client, agent: Process) -> None:
    first = (await client.submit("echo", 1)).job_id
    await client.wait(first, timeout_s=20)
    second = (await client.submit("echo", 2, depends_on=[first])).job_id
    assert (await client.wait(second, timeout_s=20)).state is State.COMPLETED


async def test_what_a_failed_dependency_does_follows_the_type(client: Client, admin: AdminClient, agent: Process, database: str) -> None:
    for name, policy in (("a", "abort"), ("e", "error"), ("w", "wait")):
        await admin.set_type(name, on_dependency_failed=policy)
        assert (await admin.get_type(name)).effective["on_dependency_failed"] == policy
    parent = (await client.submit("never", delay_s=3600)).job_id
    ids = {name: (await client.submit(name, depends_on=[parent])).job_id for name in "aew"}
    after = (await client.submit("a", depends_on=[ids["a"]])).job_id
    await client.abort([parent], reason="not wanted")
    for name, state in (("a", State.ABORTED), ("e", State.ERROR)):
        job = await client.wait(ids[name], timeout_s=20)
        assert (job.state, job.error and job.error.code) == (state, "dependency_failed") and str(parent) in str(job.error)
    assert (await client.wait(after, timeout_s=20)).state is State.ABORTED
    assert (await client.get(ids["w"])).wait_reason == "dependency"
    alerts, _ = await admin.list_alerts()
    assert [alert.job_id for alert in alerts] == [ids["e"]]
    await client.purge([parent])  # an error would be told to its waiters once more, but this one waits on
    await agree(client, database)
    assert (await client.get(ids["w"])).state is State.WAITING


async def test_jobs_that_are_named_must_be_there(client: Client, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    elsewhere = await stack.enter_async_context(Client(broker.address, domain="elsewhere"))
    theirs = (await elsewhere.submit("t")).job_id
    ours, gone = [(await client.submit("t")).job_id for _ in range(2)]
    await client.abort([gone])
    await client.purge([gone])
    for missing in (theirs, gone, 12345):
        with pytest.raises(NotFound) as refused:
            await client.submit("t", depends_on=[ours, missing])
        assert refused.value.details == {"field": "depends_on[1]", "job_id": missing}
    results = await client.submit_many([JobSpec("t", depends_on=[ours]), JobSpec("t", depends_on=[gone]), JobSpec("t")])
    assert [type(result).__name__ for result in results] == ["Submitted", "NotFound", "Submitted"]
    with pytest.raises(InvalidRequest) as invalid:
        await client.submit("t", depends_on=[ours, 0])
    assert invalid.value.field == "depends_on[1]"
    with pytest.raises(InvalidRequest) as invalid:
        await client.submit("t", depends_on=range(1, 1002))
    assert invalid.value.field == "depends_on"


async def test_a_key_and_ties_go_together(client: Client) -> None:
    parent = (await client.submit("t")).job_id
    first = await client.submit("t", 1, key="k", unique_key="u", depends_on=[parent])
    assert await client.submit("t", 1, key="k", unique_key="u", depends_on=[parent]) == Submitted(first.job_id, existing=True)
    assert await client.submit("t", 2, unique_key="u", depends_on=[parent]) == Submitted(first.job_id, existing=True)


async def test_ten_thousand_dependants_are_released_once_while_others_are_served(client: Client, agent: Process, database: str, directory: Path) -> None:
    """No commit has more than a portion of the releases, and what others submit is stored between them."""
    parent = (await client.submit("gate", "open")).job_id
    children = await _ids(client, [JobSpec("none", depends_on=[parent])] * 10_000)
    over = False

    async def others() -> None:
        while not over:
            await client.submit("other", "meanwhile")

    meanwhile = [asyncio.ensure_future(others()) for _ in range(5)]
    (directory / "open").touch()
    await client.wait(parent, timeout_s=20)
    con = await asyncpg.connect(database)
    try:
        await until(lambda: _released(con, len(children)), what="the releases")
        over = True
        await asyncio.gather(*meanwhile)
        assert await con.fetchval("select max(n) from (select count(*) as n from headrace.event where kind = 13 group by job_id) once") == 1
        commits = await con.fetch("select xmin::text::bigint as xid, count(*) as n from headrace.event where kind = 13 group by 1 order by 1")
        assert len(commits) >= 10 and max(row["n"] for row in commits) <= AT_ONCE
        stored = "select count(*) from headrace.job j join headrace.job_type t using (type_id) where t.name = 'other' and j.xmin::text::bigint between $1 and $2"
        assert await con.fetchval(stored, commits[0]["xid"], commits[-1]["xid"]) > 0
    finally:
        await con.close()
    assert (await client.get(children[-1])).wait_reason == "no_agent"


async def _released(con: "asyncpg.Connection[Any]", count: int) -> bool:
    return bool(await con.fetchval(MET) == count)


async def test_no_dependant_is_stuck_when_the_broker_dies_between_a_completion_and_the_releases(
    database: str, directory: Path, broker: BrokerProcess, client: Client, stack: AsyncExitStack
) -> None:
    parent = (await client.submit("gate", "open")).job_id
    children = await _ids(client, [JobSpec("echo", number, depends_on=[parent]) for number in range(8000)])
    agent = await start_agent(directory, broker.address, "--slots", "100")
    stack.push_async_callback(agent.kill)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    (directory / "open").touch()
    while not await con.fetchval(MET):
        await asyncio.sleep(0)
    await broker.kill()
    released = await con.fetchval(MET)
    again = await start_broker(directory, database=database, listen=broker.address, name="again")
    stack.push_async_callback(again.kill)
    assert released > 0
    print(f"{released} of {len(children)} were released before the kill")

    async def done() -> bool:
        return (await client.count(["echo"])).totals.get(State.COMPLETED, 0) == len(children)

    await until(done, timeout_s=60, what="all dependants to complete")
    assert await con.fetchval(MET) == len(children)
    assert await con.fetchval("select max(n) from (select count(*) as n from headrace.event where kind = 13 group by job_id) once") == 1


async def test_a_blocking_client_and_the_command_line_take_dependencies(broker: BrokerProcess, client: Client) -> None:
    def submit() -> Submitted:
        with SyncClient(broker.address) as blocking:
            parent = blocking.submit("t")
            return blocking.submit("t", depends_on=[parent.job_id])

    child = (await asyncio.to_thread(submit)).job_id
    environment = {"HEADRACE_BROKER": broker.address}
    line = json.dumps({"type": "t", "depends_on": [str(child)]})
    one = await asyncio.to_thread(run_command, "headrace", "submit", "t", "--depends-on", str(child), environment=environment)
    many = await asyncio.to_thread(run_command, "headrace", "submit", "--jsonl", "-", environment=environment, stdin=line)
    for done in (one, many):
        assert (await client.get(int(done.stdout))).depends_on == (child,)
    shown = await asyncio.to_thread(run_command, "headrace", "jobs", "show", one.stdout.strip(), "-o", "json", environment=environment)
    assert json.loads(shown.stdout)["depends_on"] == [str(child)]
    lost = await asyncio.to_thread(run_command, "headrace", "submit", "t", "--depends-on", "77", environment=environment)
    assert lost.returncode == 3
