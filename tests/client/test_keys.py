"""Unique keys, through clients, against a real broker: raced, refused, given back by endings, and taken again by requeues."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import CompletedProcess

import grpc
import pytest
from headrace_client import Client, Conflict, HeadraceError, InvalidRequest, JobSpec, State, Submitted, SyncClient, UniqueKeyTaken
from headrace_proto.v1 import jobs_pb2, jobs_pb2_grpc, types_pb2

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, run_command, start_broker

RACERS = 1000


async def test_a_thousand_calls_with_one_unique_key_make_one_job(broker: BrokerProcess, client: Client, database: str, stack: AsyncExitStack) -> None:
    others = [await stack.enter_async_context(Client(broker.address, timeout_s=20)) for _ in range(4)]

    async def call(number: int) -> Submitted | HeadraceError:
        racer = others[number % 4]
        try:
            if number % 3:
                return await racer.submit("t", number, unique_key="one", on_conflict="reject" if number % 2 else "return")
            [result] = await racer.submit_many([JobSpec("t", number, unique_key="one")])
            return result
        except UniqueKeyTaken as error:
            return error

    answers = await asyncio.gather(*(call(number) for number in range(RACERS)))
    stored = [answer.job_id for answer in answers if isinstance(answer, Submitted) and not answer.existing]
    assert len(stored) == 1
    assert {answer.job_id for answer in answers if isinstance(answer, (Submitted, UniqueKeyTaken))} == set(stored)
    refused = [number for number, answer in enumerate(answers) if isinstance(answer, UniqueKeyTaken)]
    assert refused and all(number % 3 and number % 2 for number in refused)
    assert (await client.count()).totals == {State.WAITING: 1}
    assert (await client.get(stored[0])).unique_key == "one"
    await agree(client, database)


async def test_a_unique_key_is_free_again_when_its_holder_has_settled(client: Client, agent: Process, directory: Path, database: str) -> None:
    first = await client.submit("gate", "open", unique_key="nightly")
    assert (await client.submit("gate", "open", unique_key="nightly")) == Submitted(first.job_id, existing=True)
    with pytest.raises(UniqueKeyTaken) as refused:
        await client.submit("gate", "open", unique_key="nightly", on_conflict="reject")
    assert refused.value.job_id == first.job_id and isinstance(refused.value, Conflict)
    (directory / "open").touch()
    await client.wait(first.job_id, timeout_s=20)
    second = await client.submit("echo", 2, unique_key="nightly", delay_s=3600)
    assert not second.existing and second.job_id != first.job_id
    await client.abort([second.job_id])
    third = await client.submit("echo", 3, unique_key="nightly", delay_s=3600)
    assert not third.existing
    await agree(client, database)


async def test_a_settled_job_whose_key_was_taken_meanwhile_is_not_requeued(client: Client, database: str) -> None:
    jobs = []
    for number in range(3):
        jobs.append((await client.submit("t", number, unique_key="u")).job_id)
        if number < 2:
            await client.abort([jobs[-1]])
    [refused] = await client.requeue(jobs[:1])
    assert (refused.ok, refused.reason, refused.state) == (False, "UNIQUE_KEY_TAKEN", State.ABORTED) and str(jobs[2]) in refused.message
    await client.abort(jobs[2:])
    both = await client.requeue(jobs[:2])  # in one call, and so in one round
    assert [(result.ok, result.reason) for result in both] == [(True, ""), (False, "UNIQUE_KEY_TAKEN")]
    assert (await client.submit("t", 9, unique_key="u")) == Submitted(jobs[0], existing=True)
    await client.abort(jobs[:1])
    assert [result.ok for result in await client.requeue(jobs[1:2])] == [True]
    await agree(client, database)


async def test_requeues_and_submits_that_race_leave_one_live_job(client: Client, database: str) -> None:
    settled = []
    for number in range(8):
        settled.append((await client.submit("t", number, unique_key="u")).job_id)
        await client.abort(settled[-1:])
    for _ in range(10):
        results = await asyncio.gather(
            *(client.requeue([job_id]) for job_id in settled),
            *(client.submit("t", "new", unique_key="u", on_conflict="reject") for _ in range(8)),
            return_exceptions=True,
        )
        assert not [result for result in results if isinstance(result, BaseException) and not isinstance(result, UniqueKeyTaken)]
        live = [job.job_id async for job in client.iter_jobs(states=[State.WAITING])]
        assert len(live) == 1
        assert (await client.submit("t", "other", unique_key="u")).job_id == live[0]
        await client.abort(live)
        settled = list(dict.fromkeys([*settled, *live]))
    await agree(client, database)


async def test_both_keys_of_a_job_count_and_the_idempotency_key_is_looked_at_first(client: Client) -> None:
    first = await client.submit("t", 1, key="k", unique_key="u")
    assert (await client.submit("t", 1, key="k", unique_key="u", on_conflict="reject")).existing
    with pytest.raises(Conflict, match="another body"):
        await client.submit("t", 2, key="k", unique_key="other")
    with pytest.raises(UniqueKeyTaken):
        await client.submit("t", 1, key="k2", unique_key="u", on_conflict="reject")
    await client.abort([first.job_id])
    assert (await client.submit("t", 1, key="k", unique_key="u")) == Submitted(first.job_id, existing=True), "the idempotency key outlives the job's end"
    second = await client.submit("t", 1, key="k2", unique_key="u")
    assert not second.existing, "a refused submit leaves no key behind"
    with pytest.raises(Conflict, match="another body"):
        await client.submit("t", 1, key="k2", unique_key="v")
    assert not (await client.submit("t", 1, unique_key="v")).existing, "nor does it take the unique key"


async def test_a_unique_key_belongs_to_its_domain(broker: BrokerProcess, client: Client, stack: AsyncExitStack) -> None:
    elsewhere = await stack.enter_async_context(Client(broker.address, domain="elsewhere"))
    assert not (await client.submit("t", unique_key="u")).existing
    assert not (await elsewhere.submit("t", unique_key="u")).existing


async def test_a_unique_key_is_still_held_after_the_broker_was_killed(
    database: str, directory: Path, broker: BrokerProcess, client: Client, stack: AsyncExitStack
) -> None:
    first = await client.submit("t", 1, unique_key="u")
    settled = await client.submit("t", 1, unique_key="v")
    await client.abort([settled.job_id])
    await broker.kill()
    again = await start_broker(directory, database=database, listen=broker.address)
    stack.push_async_callback(again.kill)
    assert await client.submit("t", 1, unique_key="u") == Submitted(first.job_id, existing=True)
    assert not (await client.submit("t", 1, unique_key="v")).existing
    await agree(client, database)


async def test_what_a_submit_says_of_unique_keys_is_checked(broker: BrokerProcess, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="return, reject"):
        await client.submit("t", unique_key="u", on_conflict="explode")
    with pytest.raises(InvalidRequest) as refused:
        await client.submit("t", on_conflict="reject")
    assert refused.value.field == "on_conflict"
    with pytest.raises(InvalidRequest) as refused:
        await client.submit("t", unique_key="u" * 201)
    assert refused.value.field == "unique_key"
    async with grpc.aio.insecure_channel(broker.address) as channel:
        stub = jobs_pb2_grpc.JobsStub(channel)  # type: ignore[no-untyped-call]  # generated
        job = types_pb2.JobSpec(type="t", unique_key="u", on_conflict=types_pb2.UNIQUE_CONFLICT_REJECT)
        held = (await stub.Submit(jobs_pb2.SubmitRequest(job=job))).job_id
        with pytest.raises(grpc.aio.AioRpcError) as taken:
            await stub.Submit(jobs_pb2.SubmitRequest(job=job))
    assert taken.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert ("headrace-job-id", str(held)) in list(taken.value.trailing_metadata() or ())


async def test_a_blocking_client_and_the_command_line_take_unique_keys(broker: BrokerProcess, client: Client) -> None:
    def submit() -> Submitted:
        with SyncClient(broker.address) as blocking:
            return blocking.submit("t", unique_key="u")

    first = await asyncio.to_thread(submit)

    def headrace(*words: str) -> "CompletedProcess[str]":
        return run_command("headrace", "submit", "t", "--unique-key", "u", *words, "-o", "json", environment={"HEADRACE_BROKER": broker.address})

    done = await asyncio.to_thread(headrace)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"job_id": str(first.job_id), "existing": True, "pressure": 0.0, "replaced": False})
    done = await asyncio.to_thread(headrace, "--on-conflict", "reject")
    told = json.loads(done.stderr)
    assert (done.returncode, told["code"], told["reason"], told["details"]) == (4, "ALREADY_EXISTS", "UNIQUE_KEY_TAKEN", {"job_id": str(first.job_id)})
