"""Codecs between real clients and agents: what the database holds nobody can read, and what people get is what was meant."""

import asyncio
import base64
import functools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import AesGcm, Client, CodecError, CodecMissing, Conflict, JobSpec, State, Submitted, SyncClient, Zstd

from tests.support.processes import BrokerProcess, Process, run_command, start_agent, until

OLD, NEW = os.urandom(32), os.urandom(32)
SECRET = "4111-1111-1111-1111"


@pytest.fixture
async def sealed(broker: BrokerProcess, stack: AsyncExitStack) -> Client:
    """A client whose payloads nobody reads."""
    return await stack.enter_async_context(Client(broker.address, codecs=[Zstd(min_bytes=10), AesGcm({"old": OLD}, required=True)], timeout_s=20))


@asynccontextmanager
async def agent_with(directory: Path, broker: BrokerProcess, keys: str, **options: str) -> AsyncIterator[Process]:
    """The agent of tests.support.sealed_handlers with these keys."""
    os.environ["HEADRACE_TEST_KEYS"] = keys
    os.environ.update(options)
    process = await start_agent(directory, broker.address, agent="tests.support.sealed_handlers:agent", name=f"sealed-{len(list(directory.iterdir()))}")
    try:
        yield process
    finally:
        await process.kill()
        for name in ("HEADRACE_TEST_KEYS", *options):
            del os.environ[name]


def text(**keys: bytes) -> str:
    """Keys as an environment variable holds them."""
    return ",".join(f"{key_id}={base64.b64encode(key).decode()}" for key_id, key in keys.items())


async def everything_stored(database: str) -> bytes:
    """All bytes of payloads, results, checkpoints and errors in the database."""
    con = await asyncpg.connect(database)
    try:
        found = [
            row[0] for row in await con.fetch("select payload from headrace.job union all select result from headrace.event union all select data from headrace.note")
        ]
        errors = [row[0].encode() for row in await con.fetch("select error::text from headrace.event where error is not null")]
        return b"|".join(filter(None, [*found, *errors]))
    finally:
        await con.close()


async def test_the_database_holds_nothing_that_can_be_read(database: str, directory: Path, broker: BrokerProcess, client: Client, sealed: Client) -> None:
    async with agent_with(directory, broker, text(old=OLD)):
        jobs = {name: await sealed.submit(f"sealed.{name}", SECRET) for name in ("async", "thread", "process", "fail", "twice", "child")}
        many = await sealed.submit_many([JobSpec("sealed.async", SECRET, instance_id="i"), JobSpec("sealed.async", SECRET)])
        done = {name: await sealed.wait(submitted.job_id, timeout_s=30) for name, submitted in jobs.items()}
        assert [(await sealed.wait(item.job_id)).json_result() for item in many if isinstance(item, Submitted)] == [f"got {SECRET}"] * 2
    for name in ("async", "thread", "process", "twice"):
        assert (done[name].state, done[name].json_result(), done[name].payload) == (State.COMPLETED, f"got {SECRET}", f'"{SECRET}"'.encode())
    assert done["async"].encoding in ("aes-gcm(old)", "zstd aes-gcm(old)")
    error = done["fail"].error
    assert done["fail"].state is State.ERROR and error is not None and SECRET in error.message and "Traceback" in error.traceback
    [attempt] = await sealed.attempts(jobs["fail"].job_id)
    assert attempt.error == error and [event.error for event in await sealed.events(jobs["fail"].job_id) if event.error] == [error]
    child = await sealed.wait(int(done["child"].json_result()))
    assert child.json_result() == f"got child {SECRET}"
    assert SECRET.encode() not in await everything_stored(database)
    # a client without the codecs sees that there is something, and what
    seen = await client.get(jobs["async"].job_id, full=True)
    assert seen.encoding == done["async"].encoding and SECRET.encode() not in seen.payload + seen.result
    with pytest.raises(CodecMissing, match=r"the result went through .*aes-gcm\(old\)"):
        seen.json_result()
    hidden = (await client.get(jobs["fail"].job_id)).error
    assert hidden is not None and hidden.code == "Leak" and SECRET not in hidden.message + hidden.traceback


async def test_keys_rotate_without_a_pause(directory: Path, broker: BrokerProcess, sealed: Client, stack: AsyncExitStack) -> None:
    before = await sealed.submit("sealed.async", 1)
    both = await stack.enter_async_context(Client(broker.address, codecs=[AesGcm({"new": NEW, "old": OLD})]))
    after = await both.submit("sealed.async", 2)
    async with agent_with(directory, broker, text(new=NEW, old=OLD)):
        assert [(await both.wait(item.job_id, timeout_s=30)).json_result() for item in (before, after)] == ["got 1", "got 2"]
    assert (await both.get(before.job_id, full=True)).encoding.endswith("aes-gcm(old)")
    assert (await both.get(before.job_id, full=True)).result_encoding.endswith("aes-gcm(new)")
    with pytest.raises(CodecMissing, match="encrypted with key 'new'; there are keys old"):
        await sealed.get(after.job_id, full=True)


async def test_a_job_for_which_a_key_is_missing_fails_or_waits_as_its_agent_says(directory: Path, broker: BrokerProcess, client: Client, sealed: Client) -> None:
    job_id = (await sealed.submit("sealed.async", SECRET)).job_id
    async with agent_with(directory, broker, text(new=NEW), HEADRACE_TEST_UNDECODABLE="wait"):

        async def put_off() -> bool:
            job = await client.get(job_id)
            return job.lease_epoch > 0 and job.state is State.WAITING and job.wait_reason == "retry"

        await until(put_off)
    assert (await client.get(job_id)).attempt == 0  # nothing was charged
    other = (await sealed.submit("sealed.async", SECRET)).job_id
    async with agent_with(directory, broker, text(new=NEW)):
        failed = await client.wait(other, timeout_s=30)
    assert failed.state is State.ERROR and failed.error is not None and failed.error.code == "undecodable_payload" and failed.attempt == 1


async def test_an_agent_without_codecs_says_what_is_missing(agent: Process, client: Client, sealed: Client) -> None:
    failed = await client.wait((await sealed.submit("echo", SECRET)).job_id, timeout_s=30)
    assert failed.state is State.ERROR and failed.error is not None and "no codecs are here" in failed.error.message and "aes-gcm(old)" in failed.error.message


async def test_a_keyed_job_is_the_same_however_its_payload_was_encrypted(broker: BrokerProcess, client: Client, sealed: Client, stack: AsyncExitStack) -> None:
    first = await sealed.submit("t", {"a": 1}, key="k")
    assert await sealed.submit("t", {"a": 1}, key="k") == Submitted(first.job_id, True)
    turned = await stack.enter_async_context(Client(broker.address, codecs=[AesGcm({"new": NEW, "old": OLD})]))
    assert (await turned.submit("t", {"a": 1}, key="k")).job_id == first.job_id
    for other in (sealed.submit("t", {"a": 2}, key="k"), client.submit("t", {"a": 1}, key="k"), turned.submit("t", {"a": 1}, key="k", priority=1)):
        with pytest.raises(Conflict):
            await other
    again = [JobSpec("t", {"a": 1}, key="k"), JobSpec("t", {"a": 3}, key="k")]
    same, conflict = await sealed.submit_many(again)
    assert same == Submitted(first.job_id, True) and isinstance(conflict, Conflict)


async def test_what_is_required_is_refused_when_it_was_not_encrypted(client: Client, sealed: Client) -> None:
    plain = await client.submit("t", 1)
    with pytest.raises(CodecError, match="required"):
        await sealed.get(plain.job_id, full=True)


def _blocking(address: str) -> tuple[Any, Any]:
    with SyncClient(address, codecs=[Zstd(), AesGcm({"old": OLD})]) as blocking:
        job_id = blocking.submit("t", SECRET).job_id
        return job_id, blocking.get(job_id, full=True).payload


async def test_the_blocking_client_and_the_command_line_have_codecs_too(broker: BrokerProcess, directory: Path, sealed: Client) -> None:
    job_id, payload = await asyncio.to_thread(_blocking, broker.address)
    assert payload == f'"{SECRET}"'.encode()
    (directory / "keys.py").write_text(f"from headrace_client import AesGcm\ncodecs = [AesGcm.from_text({text(old=OLD)!r})]\n")
    shell = {"HEADRACE_BROKER": broker.address}
    for codecs, shown in (("keys:codecs", True), ("", False)):
        environment = {**shell, **({"HEADRACE_CODECS": codecs} if codecs else {})}
        command = ("headrace", "jobs", "show", str(job_id), "-o", "json")
        done = await asyncio.to_thread(functools.partial(run_command, *command, environment=environment, cwd=directory))
        assert done.returncode == 0 and (SECRET in done.stdout) is shown and "aes-gcm(old)" in done.stdout
    written = await asyncio.to_thread(
        lambda: run_command("headrace", "submit", "t", "--data", f'"{SECRET}"', environment={**shell, "HEADRACE_CODECS": "keys"}, cwd=directory)
    )
    assert (await sealed.get(int(written.stdout), full=True)).payload == f'"{SECRET}"'.encode()
    wrong = await asyncio.to_thread(lambda: run_command("headrace", "jobs", "count", environment={**shell, "HEADRACE_CODECS": "none:none"}, cwd=directory))
    assert wrong.returncode == 2 and "--codecs" in wrong.stderr
