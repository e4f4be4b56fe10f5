"""Children of handlers, results of dependencies, batches and the graph: real brokers and agents, some of which are killed."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_client import Client, InvalidRequest, InvalidState, JobSpec, NotFound, State, Submitted

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, run_command, start_agent, start_broker, until

MET = "select count(*) from headrace.event where kind = 13 and job_id = $1"


@pytest.fixture
async def family(broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> Process:
    """An agent with the handlers of tests.support.family."""
    process = await start_agent(directory, broker.address, agent="tests.support.family:agent")
    stack.push_async_callback(process.kill)
    return process


async def test_a_handler_that_is_tried_again_does_not_submit_its_children_twice(client: Client, family: Process, database: str) -> None:
    parent = await client.submit("family.parent", {"attempts": 3}, instance_id="case-1")
    job = await client.wait(parent.job_id, timeout_s=30)
    assert (job.state, job.attempt) == (State.COMPLETED, 3)
    children = [int(text) for text in job.json_result()]
    assert len(set(children)) == 5
    listed = [found async for found in client.iter_jobs(types=["family.child"])]
    assert sorted(found.job_id for found in listed) == sorted(children)
    assert {(found.parent_id, found.instance_id) for found in listed} == {(parent.job_id, "case-1")}
    first = await client.wait(children[0], timeout_s=20)
    assert first.json_result() == {"n": 1, "attempt": 1}, "the body is that of the first time"
    await client.requeue([parent.job_id], include_completed=True)
    again = await client.wait(parent.job_id, timeout_s=30)
    assert again.run == 2 and not set(children) & {int(text) for text in again.json_result()}, "a new run has children of its own"
    await agree(client, database)


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_threads_and_processes_have_children_and_dependencies_too(client: Client, family: Process, kind: str) -> None:
    first = (await client.submit("family.child", 4)).job_id
    job = await client.wait((await client.submit(f"family.{kind}", 1, depends_on=[first])).job_id, timeout_s=30)
    assert job.json_result()["results"] == [4]
    assert (await client.get(int(job.json_result()["child"]))).parent_id == job.job_id


async def test_a_handler_reads_the_results_of_its_dependencies(client: Client, family: Process) -> None:
    parts = [(await client.submit("family.child", number)).job_id for number in (3, 1, 2)]
    done = await client.wait((await client.submit("family.sum", depends_on=parts)).job_id, timeout_s=30)
    assert done.json_result() == {"ids": [str(part) for part in parts], "left_out": [False] * 3, "sum": 6}
    few = await client.dependencies(done.job_id, max_bytes=2)
    assert [(item.job_id, item.left_out, item.job.result) for item in few] == [(parts[0], False, b"3"), (parts[1], False, b"1"), (parts[2], True, b"")]
    with pytest.raises(NotFound):
        await client.dependencies(12345)
    assert await client.dependencies(parts[0]) == []


async def test_a_callback_runs_once_when_its_batch_is_sealed_and_all_have_settled(client: Client, family: Process, database: str, directory: Path) -> None:
    gate = str(directory / "gate")
    async with client.batch("family.report", instance_id="batch-7") as batch:
        failing = [(await batch.submit("family.member", {"fail": True})).job_id for _ in range(2)]
        slow = (await batch.submit("family.member", {"gate": gate, "add": str(batch.batch_id)})).job_id
        results = await client.submit_many([JobSpec("family.member", {}, batch_id=batch.batch_id) for _ in range(50)])
        assert all(isinstance(result, Submitted) for result in results)

        async def added() -> bool:
            return (await batch.status()).total == 54  # one of them by a handler

        await until(added, what="all members")
        aborted = (await batch.submit("nobody", delay_s=3600)).job_id
        assert (await batch.status()).open
    for job_id in failing:
        await client.wait(job_id, timeout_s=20)
    status = await client.batch_status(batch.batch_id)
    assert not status.open and status.callback.wait_reason == "dependency"
    await client.abort([aborted])
    Path(gate).touch()
    done = await client.wait(batch.batch_id, timeout_s=30)
    assert done.json_result() == {"total": 55, "completed": 52, "failed": [str(job_id) for job_id in sorted([*failing, aborted])], "open": False}
    await client.seal_batch(batch.batch_id)  # may be repeated
    with pytest.raises(InvalidState):
        await batch.submit("family.member", {})
    con = await asyncpg.connect(database)
    assert await con.fetchval(MET, batch.batch_id) == 1
    await con.close()
    assert (await client.get(slow)).batch_id == batch.batch_id
    await agree(client, database)


async def test_an_empty_batch_and_what_batches_refuse(client: Client, family: Process) -> None:
    async with client.batch("family.report") as empty:
        pass
    assert (await client.wait(empty.batch_id, timeout_s=20)).json_result()["total"] == 0
    first = await client.create_batch("family.report", key="batch")
    assert await client.create_batch("family.report", key="batch") == Submitted(first.job_id, existing=True)
    ordinary = (await client.submit("nobody")).job_id
    with pytest.raises(NotFound) as lost:
        await client.submit("nobody", batch_id=777)
    assert lost.value.details["field"] == "batch_id"
    for refused in (client.submit("nobody", batch_id=ordinary), client.seal_batch(ordinary), client.batch_status(ordinary)):
        with pytest.raises(InvalidState):
            await refused
    with pytest.raises(InvalidRequest, match="circle"):
        await client.submit("nobody", batch_id=first.job_id, depends_on=[first.job_id])
    after = (await client.submit("nobody", depends_on=[first.job_id])).job_id
    with pytest.raises(InvalidRequest, match="circle"):
        await client.submit("nobody", batch_id=first.job_id, depends_on=[after])
    await client.submit("nobody", 1, key="member", batch_id=first.job_id)
    await client.seal_batch(first.job_id)
    assert (await client.submit("nobody", 1, key="member", batch_id=first.job_id)).existing, "it was taken before the batch was sealed"
    with pytest.raises(InvalidState):
        await client.submit("nobody", 2, key="late", batch_id=first.job_id)


async def test_batches_survive_the_death_of_the_broker(database: str, directory: Path, broker: BrokerProcess, client: Client, stack: AsyncExitStack) -> None:
    open_ = (await client.create_batch("family.report")).job_id
    sealed = (await client.create_batch("family.report")).job_id
    for batch_id in (open_, sealed):
        for _ in range(3):
            await client.submit("family.member", {}, batch_id=batch_id)
    await client.seal_batch(sealed)
    await broker.kill()
    again = await start_broker(directory, database=database, listen=broker.address, name="again")
    stack.push_async_callback(again.kill)
    late = await client.submit("family.member", {"fail": True}, batch_id=open_)
    with pytest.raises(InvalidState):
        await client.submit("family.member", {}, batch_id=sealed)
    agent = await start_agent(directory, broker.address, agent="tests.support.family:agent")
    stack.push_async_callback(agent.kill)
    assert (await client.wait(sealed, timeout_s=30)).json_result() == {"total": 3, "completed": 3, "failed": [], "open": False}
    await client.wait(late.job_id, timeout_s=30)
    assert (await client.get(open_)).wait_reason == "dependency"
    await client.seal_batch(open_)
    assert (await client.wait(open_, timeout_s=30)).json_result() == {"total": 4, "completed": 3, "failed": [str(late.job_id)], "open": False}
    await agree(client, database)


async def test_the_graph_around_a_job_and_of_an_instance(broker: BrokerProcess, client: Client, family: Process) -> None:
    first = (await client.submit("family.parent", {"attempts": 1}, instance_id="g")).job_id
    children = {int(text) for text in (await client.wait(first, timeout_s=30)).json_result()}
    last = (await client.submit("nobody", depends_on=sorted(children), instance_id="g")).job_id
    alone = (await client.submit("nobody", instance_id="g")).job_id
    around = await client.graph(last)
    assert {job.job_id for job in around.jobs} == {first, last, *children} and around.jobs[0].job_id == last and around.complete
    wanted = {(first, child, "submitted") for child in children} | {(child, last, "depends") for child in children}
    assert {(edge.parent_id, edge.child_id, edge.kind) for edge in around.edges} == wanted
    part = await client.graph(last, page_size=3)
    assert len(part.jobs) == 3 and not part.complete and len(part.edges) == 2
    seen, token, edges = [], "", set()
    while True:
        page = await client.graph(instance_id="g", page_size=3, page_token=token)
        seen += [job.job_id for job in page.jobs]
        edges |= {(edge.parent_id, edge.child_id, edge.kind) for edge in page.edges}
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted([first, last, alone, *children]) and edges == wanted
    with pytest.raises(NotFound):
        await client.graph(12345)
    with pytest.raises(InvalidRequest):
        await client.graph(last, instance_id="g")

    def headrace(*words: str) -> str:
        done = run_command("headrace", "jobs", *words, environment={"HEADRACE_BROKER": broker.address, "COLUMNS": "200"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    tree = await asyncio.to_thread(headrace, "graph", str(last))
    assert tree.splitlines()[0].startswith(f"{first} family.parent completed") and tree.count(f"then {last} nobody waiting") == 5
    told = json.loads(await asyncio.to_thread(headrace, "graph", "--instance", "g", "-o", "json"))
    assert len(told["jobs"]) == 8 and {edge["kind"] for edge in told["edges"]} == {"submitted", "depends"} and told["edges"][0]["parent_id"] == str(first)
    batch = (await client.create_batch("nobody")).job_id
    assert json.loads(await asyncio.to_thread(headrace, "batch", str(batch), "-o", "json"))["total"] == 0
