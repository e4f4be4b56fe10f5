"""A job's life, from submit to its end, over real processes."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from headrace_client import AdminClient, Client, JobSpec, State

from tests.support.processes import BrokerProcess, Process, start_agent, until


async def test_a_job_is_completed_with_its_result_log_and_history(client: Client, agent: Process) -> None:
    submitted = await client.submit("echo", {"a": [1, None, "ü"]}, instance_id="case-7", labels={"colour": "red"})
    job = await client.wait(submitted.job_id, timeout_s=20)
    assert (job.state, job.json_result(), job.agent, job.attempt) == (State.COMPLETED, {"a": [1, None, "ü"]}, "tester", 1)
    assert (job.instance_id, job.labels, job.payload) == ("case-7", {"colour": "red"}, b'{"a":[1,null,"\\u00fc"]}')
    assert job.settled_at is not None and job.delete_at is not None and job.delete_at > job.settled_at
    assert [event.kind for event in await client.events(job.job_id)] == ["submitted", "granted", "completed"]
    assert [(attempt.ending, attempt.agent) for attempt in await client.attempts(job.job_id)] == [("completed", "tester")]

    async def logged() -> list[str]:
        return [line.text async for line in client.logs(job.job_id)]

    assert await until(logged) == ["echo"]


async def test_a_wait_that_begins_while_the_end_is_being_stored_hears_of_it(client: Client, agent: Process, database: str, directory: Path) -> None:
    """Nobody listened when the round was built, and the one who does now has read what was before it: the change must reach him all the same."""
    job_id = (await client.submit("gate", "open")).job_id

    async def started() -> bool:
        return (directory / "ran.txt").exists()

    await until(started)
    con = await asyncpg.connect(database)
    try:
        ours = con.transaction()
        await ours.start()  # holds the key of the job's next event, so that the flush waits for us
        await con.execute("create temp table next on commit drop as select * from headrace.event where job_id = $1", job_id)
        await con.execute("update next set seq = seq + 1")
        await con.execute("insert into headrace.event select * from next")
        (directory / "open").touch()

        async def flush_waits() -> bool:
            return bool(await con.fetchval("select count(*) from pg_locks where locktype = 'transactionid' and not granted"))

        await until(flush_waits)
        waiting = asyncio.create_task(client.wait(job_id, timeout_s=15))
        await asyncio.sleep(0)  # the wait goes first
        assert (await client.get(job_id)).state is State.PROCESSING  # asked after it on the same connection: by now the wait has begun
        await ours.rollback()
    finally:
        await con.close()
    async with asyncio.timeout(8):
        assert (await waiting).state is State.COMPLETED


async def test_a_failing_job_is_retried_then_ends_in_error_with_an_alert(client: Client, admin: AdminClient, agent: Process) -> None:
    submitted = await client.submit("fail", 1)
    job = await client.wait(submitted.job_id, timeout_s=20)
    assert (job.state, job.attempt, job.error and job.error.code, job.error and job.error.message) == (State.ERROR, 3, "ValueError", "attempt 3 failed")
    assert [attempt.ending for attempt in await client.attempts(job.job_id)] == ["failed", "failed", "failed"]
    assert job.delete_at is None
    alerts, _ = await admin.list_alerts()
    assert [(alert.kind, alert.job_id) for alert in alerts] == [("job_error", job.job_id)]


async def test_retry_fail_snooze_and_checkpoint_do_what_they_say(client: Client, agent: Process) -> None:
    ids = {name: (await client.submit(name, data)).job_id for name, data in (("flaky", 3), ("permanent", 0), ("snooze", 0), ("checkpoint", 0), ("slow", 0))}
    jobs = {name: await client.wait(job_id, timeout_s=20) for name, job_id in ids.items()}
    assert (jobs["flaky"].state, jobs["flaky"].json_result()) == (State.COMPLETED, 3)
    assert (jobs["permanent"].state, jobs["permanent"].attempt, jobs["permanent"].error and jobs["permanent"].error.code) == (State.ERROR, 1, "never_again")
    assert (jobs["snooze"].state, jobs["snooze"].json_result(), jobs["snooze"].lease_epoch) == (State.COMPLETED, 1, 3)
    assert (jobs["checkpoint"].state, jobs["checkpoint"].json_result()) == (State.COMPLETED, "half way")
    assert (jobs["slow"].state, jobs["slow"].error and jobs["slow"].error.code) == (State.ERROR, "timeout")


async def test_handlers_run_in_threads_and_processes(client: Client, agent: Process) -> None:
    thread = await client.wait((await client.submit("thread", 0.01)).job_id, timeout_s=20)
    assert str(thread.json_result()).startswith("headrace-handler")
    process = await client.wait((await client.submit("process", "pid")).job_id, timeout_s=30)
    assert process.json_result() not in (agent.pid, None)
    raised = await client.submit("process", "raise")

    async def failed_once() -> bool:
        return bool((await client.attempts(raised.job_id)) and (await client.attempts(raised.job_id))[0].error)

    await until(failed_once)
    error = (await client.attempts(raised.job_id))[0].error
    assert error is not None and error.code == "LookupError" and "raised in the other process" in error.traceback


async def test_a_process_that_dies_fails_its_own_attempt_only(client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.set_type("process", max_attempts=1)
    dead = await client.submit("process", "die")
    job = await client.wait(dead.job_id, timeout_s=30)
    assert (job.state, job.error and job.error.code) == (State.ERROR, "process_died")
    assert (await client.wait((await client.submit("process", "pid")).job_id, timeout_s=30)).state is State.COMPLETED


async def test_a_running_job_is_aborted_in_each_executor(client: Client, admin: AdminClient, agent: Process, directory: Path) -> None:
    ids = [(await client.submit(name, data)).job_id for name, data in (("gate", "never"), ("thread", 600.0), ("process", "hang"))]
    for job_id in ids:

        async def started(job_id: int = job_id) -> bool:
            ran = directory / "ran.txt"
            return ran.exists() and f"start {job_id} " in ran.read_text()

        await until(started, what="the handler's start")
    results = await admin.abort(ids, reason="enough", grace_s=0.5)
    assert all(result.ok for result in results)
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=20)
        assert job.state is State.ABORTED
        assert job.abort is not None and (job.abort.actor, job.abort.reason) == ("tester", "enough")
    assert (await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)).state is State.COMPLETED


async def test_force_ends_a_job_whose_handler_does_not_stop(client: Client, admin: AdminClient, agent: Process, directory: Path) -> None:
    job_id = (await client.submit("gate", "open")).job_id

    async def processing() -> bool:
        return (await client.get(job_id)).state is State.PROCESSING

    await until(processing)
    [result] = await admin.abort([job_id], force=True)
    assert (result.ok, result.state) == (True, State.ABORTED)
    [requeued] = await admin.requeue([job_id], reason="again")
    assert requeued.ok
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.run) == (State.COMPLETED, 2)


async def test_priority_and_delay_order_the_queue(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    low = [(await client.submit("echo", n)).job_id for n in range(5)]
    high = [(await client.submit("echo", n, priority=5)).job_id for n in range(5)]
    late = (await client.submit("echo", 0, priority=100, delay_s=0.5)).job_id
    assert (await client.get(late)).wait_reason == "scheduled"
    assert (await client.get(low[0])).wait_reason == "no_agent"
    agent = await start_agent(directory, broker.address, "--slots", "1")
    stack.push_async_callback(agent.kill)
    for job_id in [*low, *high, late]:
        await client.wait(job_id, timeout_s=20)
    started = [int(line.split()[1]) for line in (directory / "ran.txt").read_text().splitlines()]
    assert [job_id for job_id in started if job_id != late] == [*high, *low]


async def test_a_paused_type_is_not_granted_until_it_is_resumed(client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.pause_type("echo")
    job_id = (await client.submit("echo", 1)).job_id
    other = await client.wait((await client.submit("flaky", 1)).job_id, timeout_s=20)
    assert other.state is State.COMPLETED
    assert (await client.get(job_id)).wait_reason == "paused"
    await admin.resume_type("echo")
    assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED


async def test_requeue_and_purge_keep_and_remove(client: Client, admin: AdminClient, agent: Process) -> None:
    job_id = (await client.submit("echo", 1)).job_id
    await client.wait(job_id, timeout_s=20)
    [refused] = await admin.requeue([job_id])
    assert (refused.ok, refused.reason) == (False, "INVALID_STATE")
    [again] = await admin.requeue([job_id], include_completed=True, reason="once more")
    assert again.ok
    job = await client.wait(job_id, timeout_s=20)
    assert (job.run, job.attempt, job.state) == (2, 1, State.COMPLETED)
    assert [(a.run, a.attempt) for a in await client.attempts(job_id)] == [(1, 1), (2, 1)]
    [purged, unknown] = await admin.purge([job_id, 12345])
    assert purged.ok
    assert (unknown.ok, unknown.reason) == (False, "JOB_NOT_FOUND")
    assert await client.find(job_id) is None
    assert (await client.count(["echo"])).totals == {}


async def test_a_job_is_gone_after_its_date(client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.set_type("echo", delete_completed_after_s=0.0)
    job_id = (await client.submit("echo", 1)).job_id
    seen = [change async for change in _until_settled(client, job_id)]
    assert seen[-1].kind in ("completed", "")
    job = await client.find(job_id)
    assert job is None or (job.delete_at is not None and job.settled_at is not None and (job.delete_at - job.settled_at).total_seconds() <= 60)


async def _until_settled(client: Client, job_id: int):  # type: ignore[no-untyped-def]  # an async generator of changes
    async for change in client.watch(job_ids=[job_id]):
        yield change
        if change.state is None or change.state.settled:
            return


async def test_children_are_submitted_through_the_context(client: Client, agent: Process) -> None:
    parent = await client.wait((await client.submit("child", {"x": 1})).job_id, timeout_s=20)
    child = await client.wait(parent.json_result(), timeout_s=20)
    assert (child.state, child.json_result(), child.idempotency_key) == (State.COMPLETED, {"x": 1}, f"{parent.job_id}.1.child-of-{parent.job_id}")


async def test_watch_sees_every_change_of_many_jobs(client: Client, agent: Process) -> None:
    seen: dict[int, list[str]] = {}
    ready = asyncio.Event()

    async def watch() -> None:
        async for change in client.watch(types=["echo", "flaky"]):
            ready.set()
            seen.setdefault(change.job_id, []).append(change.kind)

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())

        async def watched() -> bool:
            await client.submit("flaky", 1)
            return ready.is_set()

        await until(watched, what="the watch's first change")
        results = await client.submit_many([JobSpec("echo", n) for n in range(200)])
        ids = [result.job_id for result in results if not isinstance(result, Exception)]

        async def all_seen() -> bool:
            return all(seen.get(job_id) == ["submitted", "granted", "completed"] for job_id in ids)

        await until(all_seen)
        watching.cancel()
