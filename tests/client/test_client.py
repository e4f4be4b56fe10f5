"""The clients against a real broker."""

import asyncio
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace_client import Client, ClientClosed, Conflict, InvalidRequest, JobSpec, NotFound, State, Submitted, SyncClient, WaitTimeout

from tests.support.processes import ROOT, BrokerProcess, Process, run_command, start_broker, until


async def test_the_same_key_twice_is_one_job_and_with_another_body_a_conflict(client: Client) -> None:
    first = await client.submit("t", {"a": 1}, key="once")
    again = await client.submit("t", {"a": 1}, key="once")
    assert (again.job_id, first.existing, again.existing) == (first.job_id, False, True)
    with pytest.raises(Conflict):
        await client.submit("t", {"a": 2}, key="once")
    raced = await asyncio.gather(*(client.submit("t", {"a": 3}, key="raced") for _ in range(200)))
    assert len({submitted.job_id for submitted in raced}) == 1 and sum(not submitted.existing for submitted in raced) == 1
    assert (await client.count()).totals == {State.WAITING: 2}


async def test_a_batch_gives_a_result_for_each_job_in_order(client: Client) -> None:
    naive = datetime(2030, 1, 1)
    specs = [JobSpec("t", 1), JobSpec("", 2), JobSpec("t", object()), JobSpec("t", 3, key="k"), JobSpec("t", start_at=naive), JobSpec("t", payload=b"x" * 2_000_000)]
    results = await client.submit_many([*specs, JobSpec("t", 3, key="k")])
    assert [type(result).__name__ for result in results] == ["Submitted", *["InvalidRequest"] * 2, "Submitted", *["InvalidRequest"] * 2, "Submitted"]
    fields = [result.field for result in results if isinstance(result, InvalidRequest)]
    assert fields == ["type", "data", "start_at", "payload"]
    assert isinstance(results[3], Submitted) and isinstance(results[6], Submitted) and results[3].job_id == results[6].job_id


async def test_large_jobs_are_sent_in_batches_that_fit_into_messages(client: Client) -> None:
    results = await client.submit_many([JobSpec("t", "x" * 900_000) for _ in range(40)])
    assert all(isinstance(result, Submitted) for result in results)
    jobs = await client.list(page_size=3)
    assert [job.payload_bytes for job in jobs.jobs] == [900_002] * 3


async def test_jobs_start_when_they_are_due(client: Client) -> None:
    later = datetime.now(UTC) + timedelta(hours=2)
    at = await client.get((await client.submit("t", start_at=later)).job_id)
    delayed = await client.get((await client.submit("t", delay_s=3600)).job_id)
    assert at.available_at is not None and abs(at.available_at - later) < timedelta(milliseconds=2)
    assert delayed.available_at is not None and abs(delayed.available_at - delayed.created_at - timedelta(hours=1)) < timedelta(seconds=1)
    assert (at.wait_reason, delayed.wait_reason) == ("scheduled", "scheduled")


async def test_absent_jobs_waits_and_wrong_values_have_errors_of_their_own(client: Client) -> None:
    assert await client.find(12345) is None
    with pytest.raises(NotFound):
        await client.get(12345)
    with pytest.raises(NotFound):
        await client.wait(12345)
    with pytest.raises(InvalidRequest, match="positive number"):
        await client.get(-1)
    with pytest.raises(InvalidRequest, match="waiting, processing"):
        await client.list(states=["done"])
    with pytest.raises(InvalidRequest, match="made by this call"):
        await client.list(page_token="nonsense")
    job = await client.submit("t")
    with pytest.raises(WaitTimeout):
        await client.wait(job.job_id, timeout_s=0.1)


async def test_lists_page_through_everything_once_newest_first(client: Client) -> None:
    await client.submit_many([JobSpec("a" if number % 2 else "b", number, instance_id=f"i{number % 3}") for number in range(50)])
    seen = [job.job_id async for job in client.iter_jobs(page_size=7)]
    assert len(seen) == 50 and seen == sorted(seen, reverse=True)
    assert len([job async for job in client.iter_jobs(types=["a"], page_size=7)]) == 25
    assert len([job async for job in client.iter_jobs(instance_id="i0", states=["waiting"])]) == 17
    assert [job async for job in client.iter_jobs(states=[State.ERROR])] == []


async def test_a_client_requeues_aborts_and_purges(client: Client) -> None:
    ids = [(await client.submit("t", number)).job_id for number in range(2)]
    assert [result.state for result in await client.abort(ids, reason="not wanted")] == [State.ABORTED, State.ABORTED]
    assert [(result.ok, result.state) for result in await client.requeue(ids[:1])] == [(True, State.WAITING)]
    assert [(result.ok, result.reason) for result in await client.purge([*ids, 999])] == [(False, "INVALID_STATE"), (True, ""), (False, "JOB_NOT_FOUND")]


async def test_a_watch_tells_changes_and_says_when_it_may_have_missed_some(
    database: str, directory: Path, broker: BrokerProcess, client: Client, stack: AsyncExitStack
) -> None:
    job = (await client.submit("t")).job_id
    watch = client.watch(job_ids=[job])
    assert (await anext(watch)).state is State.WAITING
    await broker.kill()
    again = await start_broker(directory, database=database, listen=broker.address)
    stack.push_async_callback(again.kill)
    seen = await anext(watch)
    assert (seen.state, seen.gap) == (State.WAITING, True)
    await client.abort([job])
    assert [(seen.kind, seen.state, seen.gap) for seen in [await anext(watch)]] == [("aborted", State.ABORTED, False)]
    await watch.aclose()


async def test_a_watch_of_ids_tells_of_those_that_are_not_there(broker: BrokerProcess, client: Client) -> None:
    """Whoever waits for their end would wait for ever."""
    job = (await client.submit("t")).job_id
    await client.abort([job])
    await client.purge([job])
    watch = client.watch(job_ids=[12345, job])
    async with asyncio.timeout(20):
        assert [(seen.job_id, seen.state, seen.type, seen.kind) for seen in (await anext(watch), await anext(watch))] == [(12345, None, "", ""), (job, None, "", "")]
    await watch.aclose()
    shown = await asyncio.to_thread(run_command, "headrace", "jobs", "watch", str(job), environment={"HEADRACE_BROKER": broker.address})
    assert shown.returncode == 0 and f"{job}  is not there" in shown.stdout


async def test_a_closed_client_says_so(broker: BrokerProcess) -> None:
    client = Client(broker.address)
    await client.submit("t")
    await client.close()
    await client.close()
    with pytest.raises(ClientClosed):
        await client.submit("t")
    with pytest.raises(ClientClosed):
        await client.count()


async def test_a_client_belongs_to_one_event_loop(broker: BrokerProcess) -> None:
    client = Client(broker.address)
    await client.submit("t")
    with pytest.raises(ClientClosed, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(client.count()))
    await client.close()


async def test_the_blocking_client_serves_many_threads(broker: BrokerProcess, agent: Process) -> None:
    def work() -> int:
        with SyncClient(broker.address) as client, ThreadPoolExecutor(16) as threads:
            ids = [submitted.job_id for submitted in threads.map(lambda number: client.submit("echo", number), range(200))]
            results = list(threads.map(lambda job_id: client.wait(job_id, timeout_s=30).json_result(), ids))
            assert results == list(range(200))
            assert [job.job_id for job in client.iter_jobs(types=["echo"])] == sorted(ids, reverse=True)
            changes = client.watch(job_ids=ids[:1])
            assert next(changes).state is State.COMPLETED
            changes.close()  # type: ignore[attr-defined]  # it is a generator
        with pytest.raises(ClientClosed):
            client.count()
        return len(set(ids))

    assert await asyncio.to_thread(work) == 200


FORKED = """
    import asyncio, os, sys
    from headrace_client import Client, ForkError, SyncClient

    sync = SyncClient(sys.argv[1])
    sync.submit("t")

    async def both():
        client = Client(sys.argv[1])
        await client.submit("t")
        return client

    client = asyncio.new_event_loop().run_until_complete(both())
    if os.fork() == 0:
        told = 0
        try:
            sync.submit("t")
        except ForkError as error:
            told += "new client in the child" in str(error)
        sync.close()

        async def use():
            await client.submit("t")

        try:
            asyncio.new_event_loop().run_until_complete(use())
        except ForkError as error:
            told += "new client in the child" in str(error)
        os._exit(told)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    sync.submit("t")
    os._exit(0)
"""


async def test_a_client_made_before_a_fork_fails_clearly_in_the_child_and_works_on_in_the_parent(broker: BrokerProcess, client: Client) -> None:
    command = [sys.executable, "-c", textwrap.dedent(FORKED), broker.address]
    env = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}  # gRPC's own handlers crash the child in every third fork, before we could say anything
    done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env=env))
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    assert (await client.count()).totals == {State.WAITING: 3}


async def test_the_client_waits_out_a_restart_of_the_broker(database: str, directory: Path, broker: BrokerProcess, client: Client, stack: AsyncExitStack) -> None:
    job = (await client.submit("t")).job_id
    waiting = asyncio.ensure_future(client.wait(job, timeout_s=60))
    assert await broker.stop() == 0
    again = await start_broker(directory, database=database, listen=broker.address)
    stack.push_async_callback(again.kill)
    await until(lambda: client.find(job))
    await client.abort([job])
    assert (await waiting).state is State.ABORTED
