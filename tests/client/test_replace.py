"""Submits that replace the waiting job which has their unique key, through clients, against a real broker."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import grpc
import pytest
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, QueueFull, State, Submitted, UniqueKeyTaken
from headrace_proto.v1 import graph_pb2, jobs_pb2, types_pb2
from headrace_proto.v1.jobs_pb2_grpc import JobsStub

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.support.wire import refusal_of

RACERS = 100


async def replace(client: Client, data: Any, **options: Any) -> Submitted:
    return await client.submit("t", data, unique_key="u", on_conflict="replace", **options)


async def test_a_waiting_job_becomes_what_is_submitted_with_its_key_and_every_version_is_kept(
    client: Client, broker: BrokerProcess, database: str, stack: AsyncExitStack
) -> None:
    first = await replace(client, 1, priority=1, labels={"a": "b"}, delay_s=600)
    assert not first.existing and not first.replaced
    assert await replace(client, 2, priority=7, labels={"c": "d"}, delete_after_s=3600, content_type="text/x") == Submitted(first.job_id, existing=True, replaced=True)
    job = await client.get(first.job_id, full=True)
    assert (job.state, job.priority, job.labels, job.payload, job.content_type, job.delete_after_s) == (State.WAITING, 7, {"c": "d"}, b"2", "text/x", 3600.0)
    assert job.available_at is None or job.wait_reason != "scheduled", "it starts when the new one is to start"
    await client.hold([first.job_id])
    assert (await replace(client, 3, delay_s=60)).replaced
    job = await client.get(first.job_id, full=True)
    assert (job.priority, job.labels, job.payload, job.hold, job.delete_after_s, job.wait_reason) == (0, {}, b"3", True, None, "scheduled")
    versions = await client.payloads(first.job_id)
    assert [(version.payload_bytes, version.content_type) for version in versions] == [(1, ""), (1, "text/x"), (1, "")]
    assert [(await client.payload(first.job_id, version.version)).payload for version in versions] == [b"3", b"2", b"1"]
    assert versions[0].version == job.payload_version and versions[-1].version == 0
    assert [version.version for version in await client.payloads(first.job_id, before_version=versions[0].version, limit=1)] == [versions[1].version]
    with pytest.raises(InvalidRequest, match="version"):
        await client.payload(first.job_id, 99)
    assert (await replace(client, 4)).replaced
    agent = ScriptedAgent(broker.address)
    stack.push_async_callback(agent.close)
    await agent.connect()
    [granted] = await agent.take(1)
    assert (granted.job_id, granted.payload) == (first.job_id, b"4")
    runs = await replace(client, 5, priority=9)
    assert (runs.job_id, runs.existing, runs.replaced) == (first.job_id, True, False), "it runs, and stays as it is"
    assert (await client.get(first.job_id, full=True)).payload == b"4"
    assert await agent.report(outcome(granted, "completed")) == ["accepted"]
    assert not (await replace(client, 6)).existing, "the key is free"
    con = await asyncpg.connect(database)
    try:
        rows = await con.fetch("select action, count(*) as n from headrace.audit where target = $1 group by 1", f"job/{first.job_id}")
    finally:
        await con.close()
    assert {row["action"]: row["n"] for row in rows} == {"job.replace": 3, "job.update": 1}
    await agree(client, database)


async def test_calls_that_race_are_versions_of_one_job_and_the_last_one_wins(client: Client, broker: BrokerProcess, database: str, stack: AsyncExitStack) -> None:
    others = [await stack.enter_async_context(Client(broker.address, timeout_s=30)) for _ in range(3)]
    done: list[int] = []

    async def call(number: int) -> Submitted:
        if number % 5 == 0:
            [result] = await others[number % 3].submit_many([JobSpec("t", number, unique_key="u", on_conflict="replace")])
            assert isinstance(result, Submitted)
        else:
            result = await replace(others[number % 3], number)
        done.append(number)
        return result

    answers = await asyncio.gather(*(call(number) for number in range(RACERS)))
    assert len({answer.job_id for answer in answers}) == 1
    assert Counter((answer.existing, answer.replaced) for answer in answers) == {(False, False): 1, (True, True): RACERS - 1}
    versions = await client.payloads(answers[0].job_id, limit=1000)
    payloads = [(await client.payload(answers[0].job_id, version.version)).payload for version in versions]
    assert sorted(map(int, payloads)) == list(range(RACERS))
    job = await client.get(answers[0].job_id, full=True)
    assert job.payload == payloads[0] and job.payload_version == versions[0].version
    assert (await client.count()).totals == {State.WAITING: 1}
    await agree(client, database)


async def test_within_one_call_jobs_replace_each_other_in_order(client: Client, database: str) -> None:
    specs = [JobSpec("t", number, unique_key=f"u{number % 2}", on_conflict="replace", key=f"k{number}" if number > 6 else "") for number in range(10)]
    results = await client.submit_many(specs)
    stored = [result for result in results if isinstance(result, Submitted)]
    assert [result.replaced for result in stored] == [False, False, *[True] * 8]
    assert [(await client.get(result.job_id, full=True)).payload for result in stored[:2]] == [b"8", b"9"]
    await agree(client, database)


async def test_replacing_needs_no_room_and_a_job_that_differs_is_refused(client: Client, admin: AdminClient, database: str) -> None:
    first = await replace(client, 1, instance_id="i", limit_key="l")
    await admin.set_type("t", depth_limit=1)
    with pytest.raises(QueueFull):
        await client.submit("t", 2)
    assert (await replace(client, 2, instance_id="i", limit_key="l")).replaced
    await admin.set_type("t", clear=["depth_limit"])
    for differs, options in (("instance", {"limit_key": "l"}), ("limit key", {"instance_id": "i"}), ("limit key", {"instance_id": "i", "limit_key": "m"})):
        with pytest.raises(UniqueKeyTaken, match=f"another {differs}") as refused:
            await replace(client, 3, **options)
        assert refused.value.job_id == first.job_id
    with pytest.raises(UniqueKeyTaken, match="another type"):
        await client.submit("other", 3, unique_key="u", on_conflict="replace", instance_id="i", limit_key="l")
    ties: list[dict[str, Any]] = [{"depends_on": [first.job_id]}, {"batch_id": first.job_id}]
    for tie in ties:
        with pytest.raises(InvalidRequest) as wrong:
            await replace(client, 3, **tie)
        assert wrong.value.field == "on_conflict"
    callback = types_pb2.JobSpec(type="t", unique_key="v", on_conflict=types_pb2.UNIQUE_CONFLICT_REPLACE)
    with pytest.raises(InvalidRequest, match="replaces no other job"):
        await client._call(lambda stubs: stubs.graph.CreateBatch, graph_pb2.CreateBatchRequest(callback=callback))
    assert (await client.get(first.job_id, full=True)).payload == b"2"
    await agree(client, database)


async def test_a_call_that_is_refused_for_what_it_says_of_its_caller_stores_none_of_its_jobs(client: Client, broker: BrokerProcess) -> None:
    replacing = types_pb2.JobSpec(type="t", payload=b"1", unique_key="u", on_conflict=types_pb2.UNIQUE_CONFLICT_REPLACE)
    request = jobs_pb2.SubmitManyRequest(jobs=[types_pb2.JobSpec(type="t", payload=b"2"), replacing])
    async with grpc.aio.insecure_channel(broker.address) as channel:
        stub: Any = JobsStub(channel)  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.SubmitMany(request, metadata=(("headrace-request-id", "has a space"),), timeout=10)
        assert refusal_of(refused.value).field == "headrace-request-id"
    await client.submit("t", 3)  # it is in a later flush than what the call had queued
    assert (await client.count()).totals == {State.WAITING: 1}
