"""Priorities of types, instances and jobs, as agents meet them: in which order jobs come, what a changed priority does to those that wait, and what survives."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, State, Submitted
from headrace_proto.v1 import agents_pb2

from tests.rpc.test_agent_stream import HandMade, channel
from tests.support.processes import BrokerProcess, Process, run_command, start_agent, start_broker, until

__all__ = ["channel"]  # a fixture


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """One whose clock may be set forward."""
    process = await start_broker(directory, "--testing", database=database)
    stack.push_async_callback(process.kill)
    return process


class Order(HandMade):
    """An agent that takes one job after another and tells which they were."""

    @classmethod
    async def connect(cls, channel: grpc.aio.Channel, stack: AsyncExitStack, *types: str, incarnation: str = "order-of-the-jobs") -> "Order":
        """Serves these types."""
        from headrace_proto.v1.agents_pb2_grpc import AgentsStub

        call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
        stack.callback(call.cancel)
        agent = cls(call)
        served = [agents_pb2.ServedType(type=name) for name in types]
        await agent.send(hello=agents_pb2.Hello(agent_name="hand", incarnation_id=incarnation, slots=100, types=served))
        await agent.until("welcome")
        return agent

    async def take(self, count: int) -> list[int]:
        """Payloads (numbers) of the next jobs, one by one; each is done before the next is asked for."""
        found = []
        for _ in range(count):
            job = await self.job()
            found.append(int(job.payload))
            await self.send(outcomes=[agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED)])
            await self.until("outcome_acks")
        return found


async def followed(admin: AdminClient, number: int) -> tuple[int, int]:
    """(done, total) of a change of a priority, once all have followed."""

    async def done() -> bool:
        [operation] = await admin.list_rescores(number=number)
        return operation.state == "done"

    await until(done)
    [operation] = await admin.list_rescores(number=number)
    return operation.done, operation.total


async def test_jobs_of_all_types_come_by_score_then_by_since_when_they_are_ready(
    channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient
) -> None:  # fmt: skip
    await admin.set_type("high", priority=10)
    specs = [("low", 0, ""), ("high", 0, ""), ("low", 11, ""), ("low", 10, ""), ("high", -1, ""), ("low", 5, "case"), ("high", 0, ""), ("low", 0, "")]
    await admin.set_instance_priority("case", 6)
    for number, (type_, priority, instance_id) in enumerate(specs):
        await client.submit(type_, number, priority=priority, instance_id=instance_id)
    agent = await Order.connect(channel, stack, "low", "high")
    assert await agent.take(8) == [2, 5, 1, 3, 6, 4, 0, 7]  # 11, 11, 10, 10, 10, 9, 0, 0


async def test_what_was_put_off_is_as_old_as_its_time(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    first = (await client.submit("low", 1, delay_s=0.4)).job_id
    await client.submit("high", 2)

    async def due() -> bool:
        return (await client.get(first)).wait_reason == "no_agent"

    await until(due)
    await client.submit("high", 3)
    agent = await Order.connect(channel, stack, "low", "high")
    assert await agent.take(3) == [2, 1, 3]


async def test_a_changed_priority_of_a_type_holds_for_those_that_wait(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient) -> None:
    for number in range(6):
        await client.submit("ab"[number % 2], number)
    await admin.set_type("b", priority=1)
    [operation] = await admin.list_rescores()
    assert (operation.kind, operation.name, operation.priority, operation.state, operation.done, operation.total) == ("type", "b", 1, "done", 3, 3)
    agent = await Order.connect(channel, stack, "a", "b")
    assert await agent.take(2) == [1, 3]
    await admin.set_type("b", priority=-1)
    assert await agent.take(4) == [0, 2, 4, 5]


async def test_a_changed_priority_of_an_instance_brings_those_that_wait_in_batches(
    channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient
) -> None:  # fmt: skip
    specs = [JobSpec("t", number, instance_id="case" if number % 2 else "other") for number in range(3000)]
    specs += [JobSpec("t", 5000 + number, instance_id="case", delay_s=1.0, priority=1) for number in range(3)]
    results = await client.submit_many(specs)
    assert all(isinstance(result, Submitted) for result in results)
    operation = await admin.set_instance_priority("case", 7, reason="a customer waits")
    assert await followed(admin, operation.number) == (1503, 1503)
    [row] = (await admin.list_instance_priorities())[0]
    assert (row.instance_id, row.priority, row.reason) == ("case", 7, "a customer waits")
    [odd, even] = [result.job_id for result in results[1:3] if isinstance(result, Submitted)]
    assert ((await client.get(odd)).score, (await client.get(even)).score) == (7, 0)

    async def due() -> bool:
        return not [job async for job in client.iter_jobs(types=["t"], instance_id="case") if job.wait_reason == "scheduled"]

    await until(due)
    agent = await Order.connect(channel, stack, "t")
    assert await agent.take(6) == [5000, 5001, 5002, 1, 3, 5]
    await client.submit("t", 9999, instance_id="case")
    lower = await admin.set_instance_priority("case", -1)
    assert await followed(admin, lower.number) == (1498, 1498)
    assert await agent.take(3) == [0, 2, 4]
    gone = await admin.set_instance_priority("case", 0)
    await followed(admin, gone.number)
    assert (await admin.list_instance_priorities())[0] == []
    assert await agent.take(3) == [6, 7, 8]


async def test_jobs_with_keys_limits_and_retries_follow_too(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient) -> None:
    await admin.set_type("t", concurrency_per_key=5, retry_delay_s=0.0, retry_jitter=0.0)
    await client.submit("t", 0)
    await client.submit("t", 1, instance_id="case", key="k")
    await client.submit("t", 2, instance_id="case", limit_key="l")
    await client.submit("t", 3, instance_id="case", fairness_key="f")
    agent = await Order.connect(channel, stack, "t")
    first = await agent.job()  # fails, and waits again
    assert int(first.payload) == 0
    failed = await client.submit("t", 4, instance_id="case", priority=50)
    job = await agent.job()
    assert job.job_id == failed.job_id
    await agent.send(outcomes=[agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_FAILED)])
    await agent.until("outcome_acks")
    operation = await admin.set_instance_priority("case", 9)
    assert await followed(admin, operation.number) == (4, 4)
    await client.submit("t", 5, priority=8)
    seen = [await agent.job() for _ in range(5)]
    numbers = [int(job.payload) for job in seen]
    assert (numbers[0], sorted(numbers[1:4]), numbers[4]) == (4, [1, 2, 3], 5)  # of equal score, fairness keys take turns
    assert [job.priority for job in seen] == [50, 0, 0, 0, 8]  # the job's own


async def test_priorities_hold_after_a_broker_was_killed_in_the_middle(
    database: str, directory: Path, broker: BrokerProcess, client: Client, admin: AdminClient, stack: AsyncExitStack
) -> None:  # fmt: skip
    await client.submit_many([JobSpec("t", number, instance_id="case" if number >= 4000 else "other") for number in range(8000)])
    await admin.set_instance_priority("case", 3)
    await broker.kill()  # most have not followed
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    again = await stack.enter_async_context(AdminClient(second.address))
    [operation] = await again.list_rescores()
    assert await followed(again, operation.number) == (4000, 4000)
    other = await stack.enter_async_context(grpc.aio.insecure_channel(second.address))
    agent = await Order.connect(other, stack, "t")
    assert await agent.take(3) == [4000, 4001, 4002]


async def test_a_gentle_stop_and_a_start_keep_the_order(
    database: str, directory: Path, broker: BrokerProcess, client: Client, admin: AdminClient, stack: AsyncExitStack
) -> None:  # fmt: skip
    await admin.set_instance_priority("case", 3)
    await client.submit_many([JobSpec("t", number, instance_id="case" if number % 2 else "", limit_key="l" if number % 3 else "") for number in range(12)])
    assert await broker.stop() == 0  # writes a checkpoint
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    other = await stack.enter_async_context(grpc.aio.insecure_channel(second.address))
    again = await stack.enter_async_context(AdminClient(second.address))
    [operation] = await again.list_rescores()
    assert await followed(again, operation.number) == (6, 6)
    agent = await Order.connect(other, stack, "t")
    assert sorted(await agent.take(6)) == [1, 3, 5, 7, 9, 11]
    assert sorted(await agent.take(6)) == [0, 2, 4, 6, 8, 10]


async def test_no_more_jobs_go_before_a_better_one_than_are_leased_when_it_comes(broker: BrokerProcess, directory: Path, client: Client) -> None:
    """The bound: what is leased, or granted in the round under way, when the better job is stored. An agent is never granted more than it has slots."""
    slots = 7
    await client.submit_many([JobSpec("chaos", f"low-{number}") for number in range(400)])
    agent = await start_agent(directory, broker.address, "--slots", str(slots))
    try:

        async def begun() -> bool:
            return (await client.count()).totals.get(State.COMPLETED, 0) > 20

        await until(begun)
        better = (await client.submit("chaos", "better", priority=5)).job_id
        done = await client.wait(better, timeout_s=30)
        assert done.started_at is not None
        later = [job async for job in client.iter_jobs(types=["chaos"]) if job.job_id != better]
        began_in_between = [job for job in later if job.started_at is not None and done.created_at < job.started_at < done.started_at]
        assert len(began_in_between) <= slots
    finally:
        await agent.kill()


async def test_age_counts_where_a_type_says_so(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient) -> None:
    shown = await admin.set_type("t", ageing_s=1.0, ageing_max=50)
    assert (shown.effective["ageing_s"], shown.effective["ageing_max"]) == (1.0, 50)
    await client.submit("t", 1)
    await client.submit("t", 2, priority=1)
    await admin.advance_clock(60)
    await client.submit("t", 3, priority=2)
    await client.submit("t", 4, priority=999)
    agent = await Order.connect(channel, stack, "t")
    assert await agent.take(4) == [4, 2, 1, 3]  # 999, 1 + 50, 0 + 50, and 2 for as long as it is new


async def test_what_comes_after_an_old_job_is_only_as_old_as_it_is(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, admin: AdminClient) -> None:
    await admin.set_type("t", ageing_s=0.1, ageing_max=1000)
    await client.submit("t", 1)
    await admin.advance_clock(2.6)
    await client.submit_many([JobSpec("t", 2), JobSpec("t", 3), JobSpec("t", 4, priority=20)])
    agent = await Order.connect(channel, stack, "t")
    await agent.send(credit=agents_pb2.Credit(assign_no=0, free=4))
    assert [int(job.payload) for job in (await agent.until("assign")).jobs] == [1, 4, 2, 3]


async def test_by_the_command_line(broker: BrokerProcess, client: Client, agent: Process) -> None:
    async def shell(*words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(run_command, "headrace", *words, environment={"HEADRACE_BROKER": broker.address})
        assert done.returncode == code, done.stderr
        return done.stdout

    await client.submit_many([JobSpec("none", number, instance_id="case") for number in range(10)])
    operation = json.loads(await shell("instances", "set-priority", "case", "-5", "--reason", "later", "--wait", "-o", "json"))
    assert (operation["state"], operation["done"], operation["total"]) == ("done", 10, 10)
    [row] = json.loads(await shell("instances", "list", "-o", "json"))
    assert (row["instance_id"], row["priority"], row["reason"]) == ("case", -5, "later")
    assert [item["name"] for item in json.loads(await shell("instances", "rescores", "-o", "json"))] == ["case"]
    await shell("instances", "set-priority", "case", "2000000", code=4)


async def test_values_that_make_no_sense_are_refused(admin: AdminClient) -> None:
    for instance_id, priority, field in (("", 1, "instance_id"), ("x" * 201, 1, "instance_id"), ("case", 1_000_001, "priority")):
        with pytest.raises(InvalidRequest) as refused:
            await admin.set_instance_priority(instance_id, priority)
        assert refused.value.field == field
    with pytest.raises(InvalidRequest):
        await admin.list_instance_priorities(page_token="\u00e9")
