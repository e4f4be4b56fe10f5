"""Claims between real clients, brokers and agents: what is large lies in a directory, the broker has references, and handlers and callers notice nothing."""

import asyncio
import functools
import hashlib
import json
import sys
import textwrap
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import (
    AdminClient,
    AesGcm,
    ClaimCheck,
    ClaimError,
    ClaimUnavailable,
    Client,
    Conflict,
    DirectoryStore,
    InvalidRequest,
    JobFilter,
    JobSpec,
    State,
    Submitted,
    SyncClient,
    WaitTimeout,
    Zstd,
)
from headrace_proto.claim import CLAIM_TYPE, Reference, is_reference

from tests.support.processes import BrokerProcess, Process, run_command, start_agent, until

LARGE = "large " * 1000
SECRET = "4111-1111-1111-1111 " * 500


@pytest.fixture
def folder(directory: Path) -> Path:
    """Where claims are kept."""
    (directory / "claims").mkdir()
    return directory / "claims"


@pytest.fixture
def claims(folder: Path) -> ClaimCheck:
    """The same as the agent's."""
    return ClaimCheck(DirectoryStore(folder), 1000)


@pytest.fixture
async def claiming(broker: BrokerProcess, claims: ClaimCheck, stack: AsyncExitStack) -> Client:
    """A client that keeps large payloads outside."""
    return await stack.enter_async_context(Client(broker.address, claims=claims, timeout_s=20))


@pytest.fixture
def start(database: str, broker: BrokerProcess, directory: Path, folder: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts the agent of tests.support.claim_handlers."""
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("HEADRACE_TEST_CLAIMS", str(folder))

    async def go(*, encrypt: bool = False) -> Process:
        if encrypt:
            monkeypatch.setenv("HEADRACE_TEST_ENCRYPT", "yes")
        process = await start_agent(directory, broker.address, agent="tests.support.claim_handlers:agent", name=f"claimer-{len(list(directory.glob('claimer*')))}")
        stack.push_async_callback(process.kill)
        return process

    return go


def kept_in(folder: Path) -> dict[str, bytes]:
    """What lies in the store, by key."""
    return {path.name: path.read_bytes() for path in folder.glob("??/*")}


async def stored(database: str) -> list[bytes]:
    """All payloads and results in the database."""
    con = await asyncpg.connect(database)
    try:
        return [row[0] for row in await con.fetch("select payload from headrace.job union all select result from headrace.event") if row[0]]
    finally:
        await con.close()


async def test_what_is_large_passes_the_broker_as_a_reference(database: str, folder: Path, client: Client, claiming: Client, start: Any) -> None:
    await start()
    huge = "h" * 3_000_000  # three times what the broker takes
    jobs = {name: await claiming.submit(f"claim.{name}", LARGE) for name in ("async", "thread", "process", "parent", "door", "door.thread", "door.process")}
    beyond, small = await claiming.submit("claim.thread", huge), await claiming.submit("claim.async", "small")
    done = {name: await claiming.wait(submitted.job_id, timeout_s=60) for name, submitted in jobs.items()}
    for name in ("async", "thread", "door", "door.thread", "door.process"):
        assert (done[name].state, done[name].json_result(), done[name].payload) == (State.COMPLETED, LARGE, f'"{LARGE}"'.encode()), name
        assert done[name].content_type == "application/json" and done[name].encoding.startswith("kept outside: 6.0 kB, sha256 ") and done[name].result_encoding
    for child in (done["process"].json_result()["child"], done["parent"].json_result()):
        assert (await claiming.wait(int(child), timeout_s=30)).json_result() == f"child {LARGE}"
    assert (await claiming.wait(beyond.job_id, timeout_s=60)).json_result() == huge
    assert (await claiming.wait(small.job_id, timeout_s=30)).encoding == ""
    assert max(map(len, await stored(database))) < 1000
    assert all(hashlib.sha256(data).hexdigest() == key for key, data in kept_in(folder).items())
    # whoever has no claims sees where it is, and is told what is missing
    seen = await client.get(jobs["async"].job_id, full=True)
    assert seen.content_type == CLAIM_TYPE and is_reference(seen.payload) and seen.encoding == done["async"].encoding
    with pytest.raises(ClaimError, match=r"the result is kept outside: 6.0 kB, .*; no claims are set up here: give Client or Agent the same ClaimCheck"):
        seen.json_result()
    [run] = await client.runs(jobs["async"].job_id, full=True)
    with pytest.raises(ClaimError, match="no claims are set up here"):
        run.json_result()
    [run] = await claiming.runs(jobs["async"].job_id, full=True)
    assert (run.json_result(), run.payload) == (LARGE, f'"{LARGE}"'.encode())


async def test_what_is_kept_is_encrypted_when_the_payload_is(broker: BrokerProcess, claims: ClaimCheck, folder: Path, start: Any, stack: AsyncExitStack) -> None:
    await start(encrypt=True)
    secret = await stack.enter_async_context(Client(broker.address, claims=claims, codecs=[Zstd(min_bytes=1 << 20), AesGcm({"k": b"k" * 32})]))
    first = await secret.submit("claim.async", SECRET, key="once")
    again = await secret.submit("claim.async", SECRET, key="once")  # encrypted anew, so kept anew
    assert again == Submitted(first.job_id, True)
    assert (await secret.wait(first.job_id, timeout_s=30)).json_result() == SECRET
    assert kept_in(folder) and SECRET[:20].encode() not in b"".join(kept_in(folder).values())
    # who has the claims and not the keys has what is encrypted; who has the keys and not the claims has the reference
    keyless = await stack.enter_async_context(Client(broker.address, claims=claims))
    assert (await keyless.get(first.job_id, full=True)).payload.startswith(b"\x00HRC")
    strict = await stack.enter_async_context(Client(broker.address, codecs=[Zstd(), AesGcm({"k": b"k" * 32}, required=True)]))
    assert is_reference((await strict.get(first.job_id, full=True)).payload)


async def test_the_same_key_and_payload_are_the_same_job(claiming: Client, folder: Path) -> None:
    first = await claiming.submit("t", LARGE, key="k", content_type="application/vnd.x+json")
    assert await claiming.submit("t", LARGE, key="k", content_type="application/vnd.x+json") == Submitted(first.job_id, True)
    [again] = await claiming.submit_many([JobSpec("t", LARGE, key="k", content_type="application/vnd.x+json")])
    assert again == Submitted(first.job_id, True) and len(kept_in(folder)) == 1
    for data, content_type in ((LARGE + "x", "application/vnd.x+json"), (LARGE, "")):
        with pytest.raises(Conflict):
            await claiming.submit("t", data, key="k", content_type=content_type)
    assert (await claiming.get(first.job_id, full=True)).content_type == "application/vnd.x+json"


class Failing:
    """A store that does not take some of it, and tells how many it was given at once."""

    def __init__(self, inner: DirectoryStore) -> None:
        self.inner = inner
        self.now = self.most = 0

    async def put(self, key: str, data: bytes) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            if b"refuse" in data:
                raise OSError("the bucket is gone")
            await self.inner.put(key, data)
        finally:
            self.now -= 1

    async def get(self, key: str, most: int) -> bytes:
        return await self.inner.get(key, most)

    async def delete(self, key: str) -> None:
        await self.inner.delete(key)


async def test_what_cannot_be_kept_is_not_submitted(broker: BrokerProcess, client: Client, folder: Path, claims: ClaimCheck, stack: AsyncExitStack) -> None:
    store = Failing(DirectoryStore(folder))
    failing = await stack.enter_async_context(Client(broker.address, claims=ClaimCheck(store, 1000, max_bytes=100_000)))
    with pytest.raises(ClaimUnavailable, match=r"the payload \(6.0 kB\) cannot be kept outside now: OSError: the bucket is gone"):
        await failing.submit("t", "refuse" * 1000)
    with pytest.raises(ClaimUnavailable):
        await failing.create_batch("t", "refuse" * 1000)
    with pytest.raises(InvalidRequest, match="at most 100000 are kept"):
        await failing.submit("t", "x" * 100_000)
    assert (await client.count()).totals == {}
    specs = [JobSpec("t", ("refuse" if number % 10 == 3 else f"number {number:03} ") * 500, instance_id="i" * (number % 2)) for number in range(60)]
    results = await failing.submit_many([*specs, JobSpec("t", float("nan")), JobSpec("t", "small"), JobSpec("t", "x" * 100_000)])
    assert [number for number, result in enumerate(results) if isinstance(result, ClaimUnavailable)] == [3, 13, 23, 33, 43, 53]
    assert isinstance(results[60], InvalidRequest) and isinstance(results[61], Submitted) and isinstance(results[62], InvalidRequest)
    for number, result in enumerate(results[:60]):
        if isinstance(result, Submitted):
            assert json.loads((await failing.get(result.job_id, full=True)).payload) == specs[number].data
    assert (await client.count()).totals == {State.WAITING: 55} and 1 < store.most <= 8


async def test_a_client_that_dies_before_it_submits_leaves_only_bytes(broker: BrokerProcess, client: Client, claiming: Client, folder: Path) -> None:
    program = """
        import asyncio, os, sys
        from headrace_client import ClaimCheck, Client, DirectoryStore

        class Dying(DirectoryStore):
            async def put(self, key, data):
                await super().put(key, data)
                os._exit(9)

        async def main():
            async with Client(sys.argv[1], claims=ClaimCheck(Dying(sys.argv[2]), 1000)) as client:
                await client.submit("t", sys.argv[3], key="k")

        asyncio.run(main())
    """
    dying = await asyncio.create_subprocess_exec(sys.executable, "-c", textwrap.dedent(program), broker.address, str(folder), LARGE)
    assert await dying.wait() == 9
    assert (await client.count()).totals == {} and list(kept_in(folder).values()) == [f'"{LARGE}"'.encode()]
    submitted = await claiming.submit("t", LARGE, key="k")  # the same again: the bytes are there
    assert not submitted.existing and len(kept_in(folder)) == 1
    await DirectoryStore(folder).prune(-1)
    assert kept_in(folder) == {}


async def test_a_cancelled_upload_submits_nothing(broker: BrokerProcess, client: Client, folder: Path, stack: AsyncExitStack) -> None:
    class Waiting(DirectoryStore):
        began, go = asyncio.Event(), asyncio.Event()

        async def put(self, key: str, data: bytes) -> None:
            self.began.set()
            await self.go.wait()
            await super().put(key, data)

    store = Waiting(folder)
    slow = await stack.enter_async_context(Client(broker.address, claims=ClaimCheck(store, 1000)))
    tasks = [asyncio.create_task(call) for call in (slow.submit("t", LARGE), slow.submit_many([JobSpec("t", LARGE)]))]
    await store.began.wait()
    for task in tasks:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    store.go.set()
    assert (await client.submit("u")).job_id and (await client.count()).totals == {State.WAITING: 1}


async def test_a_payload_that_is_missing_is_waited_for(folder: Path, client: Client, claiming: Client, start: Any) -> None:
    job_id = (await claiming.submit("claim.async", LARGE)).job_id
    [(key, data)] = kept_in(folder).items()
    await DirectoryStore(folder).delete(key)
    await start()

    async def failed_once() -> bool:
        return any(event.error is not None and event.error.code == "payload_unavailable" for event in await client.events(job_id))

    await until(failed_once)
    await DirectoryStore(folder).put(key, data)
    done = await claiming.wait(job_id, timeout_s=30)
    assert done.state is State.COMPLETED and done.json_result() == LARGE and done.attempt > 1


async def test_hostile_references_fail_their_jobs_and_read_nothing_else(directory: Path, folder: Path, client: Client, claiming: Client, start: Any) -> None:
    (directory / "outside").write_bytes(b'"what nobody may see"')
    kept = (await claiming.submit("t", LARGE)).job_id
    assert kept
    [key] = kept_in(folder)
    good = json.loads(Reference(key, len(LARGE) + 2).pack())
    forged = [
        {**good, "sha256": "../../outside"}, {**good, "sha256": str(directory / "outside")}, {**good, "sha256": "file:///etc/passwd"}, {**good, "url": "file:///etc"},
        {**good, "size_bytes": 1 << 40}, {**good, "size_bytes": 10}, {**good, "size_bytes": "x"}, {**good, "headrace_claim": 2}, {"headrace_claim": 1},
    ]  # fmt: skip
    ids = [(await client.submit("claim.async", payload=json.dumps(fields, separators=(",", ":")).encode(), content_type=CLAIM_TYPE)).job_id for fields in forged]
    await start()
    for job_id, fields in zip(ids, forged, strict=True):
        failed = await client.wait(job_id, timeout_s=30)
        assert failed.state is State.ERROR and failed.attempt == 1 and failed.error is not None, fields
        assert failed.error.code == "undecodable_payload" and "what nobody may see" not in failed.error.message + failed.error.traceback
        with pytest.raises(ClaimError):
            await claiming.get(job_id, full=True)
    assert not (directory / "ran.txt").exists()  # no handler began


async def test_an_agent_without_claims_says_what_is_missing(agent: Process, client: Client, claiming: Client) -> None:
    failed = await client.wait((await claiming.submit("echo", LARGE)).job_id, timeout_s=30)
    assert failed.state is State.ERROR and failed.error is not None and "no claims are set up here" in failed.error.message and failed.attempt == 1


async def test_results_of_dependencies_come_as_far_as_there_is_room(claiming: Client, start: Any) -> None:
    await start()
    size = 5 * 1024 * 1024
    before = [(await claiming.submit("claim.async", "x" * length)).job_id for length in (size, size, 2000)]
    done = await claiming.wait((await claiming.submit("claim.after", depends_on=before)).job_id, timeout_s=60)
    assert done.json_result() == [size, -1, -1]
    found = await claiming.dependencies(done.job_id, max_bytes=3 * size)
    assert [len(item.json_result()) for item in found] == [size, size, 2000] and not any(item.left_out for item in found)


async def test_new_payloads_of_jobs_and_batches_are_kept_too(broker: BrokerProcess, claims: ClaimCheck, claiming: Client, start: Any, stack: AsyncExitStack) -> None:
    job_id, other = [(await claiming.submit("claim.async", number, delay_s=3600)).job_id for number in range(2)]
    await claiming.update([job_id, other], data=LARGE, content_type="application/vnd.x+json")
    read = await claiming.get(job_id, full=True)
    assert (read.payload, read.content_type, read.encoding[:12]) == (f'"{LARGE}"'.encode(), "application/vnd.x+json", "kept outside")
    version = await claiming.payload(job_id, read.payload_version)
    assert (version.payload, version.content_type) == (read.payload, "application/vnd.x+json")
    assert (await claiming.payload(job_id, 0)).payload == b"0"
    sealed = await stack.enter_async_context(Client(broker.address, claims=claims, codecs=[AesGcm({"k": b"k" * 32})]))
    await sealed.update([other], data=SECRET)
    assert (await sealed.get(other, full=True)).payload == f'"{SECRET}"'.encode() and (await claiming.get(other, full=True)).payload.startswith(b"\x00HRC")
    await claiming.abort([job_id])
    await start()
    [result] = await claiming.requeue([job_id], data=LARGE + "again")
    assert result.ok and (await claiming.wait(job_id, timeout_s=30)).json_result() == LARGE + "again"
    [result] = await claiming.requeue([job_id], data=LARGE + "descendants", include_completed=True, descendants=True)
    assert result.ok and (await claiming.wait(job_id, timeout_s=30)).json_result() == LARGE + "descendants"
    async with claiming.batch("claim.async", LARGE) as batch:
        await batch.submit("claim.async", LARGE)
    assert (await claiming.wait(batch.batch_id, timeout_s=30)).json_result() == LARGE
    assert (await claiming.batch_status(batch.batch_id)).completed == 1
    admin = await stack.enter_async_context(AdminClient(broker.address, actor="tester", claims=claims))
    where = JobFilter(types=["claim.async"], states=[State.COMPLETED])
    operation = await admin.wait_operation((await admin.start_operation("requeue", where, data=LARGE + "all", include_completed=True, reason="test")).operation_id)
    assert operation.done >= 3 and (await claiming.wait(job_id, timeout_s=30)).json_result() == LARGE + "all"


async def test_a_payload_is_fetched_where_it_is_wanted_and_not_each_time_that_a_job_is_asked_for(
    claiming: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr("headrace_client.client.WAIT_SLICE_S", 0.05)
    job_id = (await claiming.submit("claim.async", LARGE, delay_s=3600)).job_id
    [key] = kept_in(folder)
    await DirectoryStore(folder).delete(key)
    with pytest.raises(WaitTimeout):
        await claiming.wait(job_id, timeout_s=0.2)
    with pytest.raises(ClaimUnavailable):
        await claiming.get(job_id, full=True)
    assert (await claiming.get(job_id)).payload == b""


def _blocking(address: str, claims: ClaimCheck) -> tuple[int, bytes]:
    with SyncClient(address, claims=claims) as blocking:
        job_id = blocking.submit("t", LARGE).job_id
        return job_id, blocking.get(job_id, full=True).payload


async def test_the_blocking_client_and_the_command_line_have_claims(broker: BrokerProcess, client: Client, claims: ClaimCheck, claiming: Client, folder: Path) -> None:
    job_id, payload = await asyncio.to_thread(_blocking, broker.address, claims)
    assert payload == f'"{LARGE}"'.encode()
    shell = {"HEADRACE_BROKER": broker.address}

    async def run(*words: str, **environment: str) -> Any:
        return await asyncio.to_thread(functools.partial(run_command, "headrace", *words, environment={**shell, **environment}))

    for environment, shown in (({"HEADRACE_CLAIMS": str(folder)}, True), ({}, False)):
        done = await run("jobs", "show", str(job_id), "-o", "json", **environment)
        assert done.returncode == 0 and (LARGE in done.stdout) is shown and "kept outside: 6.0 kB, sha256 " in done.stdout
    for words in (("--claims", str(folder), "--claims-above", "1000"), ("--claims", str(folder))):
        written = await run("submit", "t", "--data", json.dumps(LARGE), *words)
        assert is_reference((await client.get(int(written.stdout), full=True)).payload) is (len(words) == 4)
        assert (await claiming.get(int(written.stdout), full=True)).payload == json.dumps(LARGE).encode()
    wrong = await run("submit", "t", "--claims", str(folder / "none"))
    assert wrong.returncode == 1 and "which is no directory: make it, or mount the share" in wrong.stderr
