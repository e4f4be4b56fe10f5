"""The clients at the edges of what users give them and do with them: times that are none, threads that close what others use, interrupts."""

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from headrace_client import Client, ClientClosed, InvalidRequest, JobSpec, Submitted, SyncClient, Unavailable, base
from headrace_client.blocking import Blocking

from tests.support.ports import free_ports
from tests.support.processes import PATIENCE_S, BrokerProcess, run_command

SOON_S = 10.0


@pytest.mark.parametrize("timeout_s", [math.nan, 0, -1.0, "5"])
def test_a_client_with_a_time_that_makes_no_sense_is_refused(timeout_s: Any) -> None:
    with pytest.raises(InvalidRequest, match="timeout_s is") as refused:
        Client("127.0.0.1:1", timeout_s=timeout_s)
    assert refused.value.field == "timeout_s"


async def test_times_that_no_clock_reaches_are_refused_by_every_call(client: Client) -> None:
    """Who waited until then would ask again without a pause, or never hear that it is over."""
    job_id = (await client.submit("t", 1)).job_id
    for call in (
        lambda: client.wait(job_id, timeout_s=math.nan),
        lambda: client.submit("t", 1, timeout_s=math.nan),
        lambda: client.submit("t", 1, start_at="tomorrow"),  # type: ignore[arg-type]
        lambda: anext(client.logs(job_id, min_level="loud")),
        lambda: anext(client.tail_logs(job_id, min_level="loud")),
    ):
        async with asyncio.timeout(SOON_S):
            with pytest.raises(InvalidRequest):
                await call()
    for with_a_time in (
        lambda: client.update([job_id], delete_at=datetime(2030, 1, 1)),
        lambda: client.list(created_from=datetime(2030, 1, 1)),
        lambda: client.submit("t", 1, start_at=datetime(2030, 1, 1)),
    ):
        with pytest.raises(InvalidRequest, match="must say its time zone"):
            await with_a_time()
    async with Client(client.brokers, timeout_s=math.inf) as patient:
        assert (await patient.get(job_id)).job_id == job_id


async def test_a_submit_fails_at_once_when_its_client_is_closed_before_anything_was_sent() -> None:
    client = Client("127.0.0.1:1", timeout_s=PATIENCE_S)
    submitting = asyncio.ensure_future(client.submit("t", 1))
    await asyncio.sleep(0)  # it has begun to wait, and the task that is to send has not begun
    await client.close()
    async with asyncio.timeout(SOON_S):
        with pytest.raises(Unavailable, match="the client was closed"):
            await submitting


def test_calls_that_are_under_way_fail_when_another_thread_closes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait for ever: for a loop that does not run any more."""
    [port], pausing = free_ports(1), threading.Semaphore(0)

    def pause_s(_failures: int) -> float:
        pausing.release()
        return 500.0

    monkeypatch.setattr(base, "backoff_s", pause_s)
    client = SyncClient(f"127.0.0.1:{port}", timeout_s=1000)
    with ThreadPoolExecutor(2) as threads:
        calls: list[Future[Any]] = [threads.submit(client.count), threads.submit(lambda: list(client.iter_jobs()))]
        for _ in calls:
            assert pausing.acquire(timeout=PATIENCE_S)
        client.close()
        client.close()
        for call in calls:
            with pytest.raises(ClientClosed):
                call.result(SOON_S)


def says_so(client: SyncClient, specs: Callable[[], Iterator[JobSpec]]) -> None:
    """Submits what uses the client while it is read, in the client's own thread; a client that waits for itself is stopped."""
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(lambda: list(client.submit_stream(specs())))
        try:
            with pytest.raises(InvalidRequest, match="in its own thread"):
                call.result(SOON_S)
        finally:
            if not call.done():
                client._loop.call_soon_threadsafe(client._loop.stop)


def test_a_blocking_client_that_is_called_in_its_own_thread_says_so(broker: BrokerProcess) -> None:
    with SyncClient(broker.address, timeout_s=PATIENCE_S) as client:

        def specs() -> Iterator[JobSpec]:
            for number in range(sum(client.count().totals.values()) + 1):
                yield JobSpec("t", number)

        says_so(client, specs)
        assert client.count().totals == {}


def test_a_blocking_client_that_is_closed_in_its_own_thread_says_so(broker: BrokerProcess) -> None:
    with SyncClient(broker.address, timeout_s=PATIENCE_S) as client:

        def specs() -> Iterator[JobSpec]:
            client.close()
            yield JobSpec("t", 1)

        says_so(client, specs)
        assert client.count().totals == {}, "it serves on"


class Slow:
    """In place of a client: its stream takes a while to end."""

    def __init__(self) -> None:
        self.waits = threading.Event()
        self.ended = False

    async def close(self) -> None:
        """Nothing is open."""

    async def numbers(self) -> AsyncGenerator[int, None]:
        """One, and no other."""
        try:
            yield 1
            asyncio.get_running_loop().call_soon(self.waits.set)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            self.ended = True


class Interrupted:
    """A call whose waiter is interrupted while it waits."""

    def __init__(self, future: Any, waits: threading.Event) -> None:
        self._future = future
        self._waits = waits
        self.cancel = future.cancel

    def result(self) -> Any:
        """As Ctrl-C."""
        assert self._waits.wait(PATIENCE_S)
        raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["it waits", "it knows of the call"])
def test_a_stream_whose_reader_is_interrupted_ends_and_the_interrupt_is_what_it_meets(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for the next one, or a moment before: it does not know of the call yet, and cannot give it up itself."""
    slow, calls, schedule = Slow(), [], asyncio.run_coroutine_threadsafe
    make: Callable[[], Any] = lambda: slow  # noqa: E731
    blocking: Blocking[Any] = Blocking(make)

    def interrupted(coroutine: Any, loop: Any) -> Any:
        future = schedule(coroutine, loop)
        calls.append(future)
        if len(calls) != 2:
            return future
        if when == "it waits":
            return Interrupted(future, slow.waits)
        slow.waits.wait(PATIENCE_S)
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        for _ in blocking._iterate(slow.numbers):
            pass
    assert slow.ended
    blocking.close()


@pytest.mark.parametrize("follow", [lambda client: client.watch(job_ids=[1]), lambda client: client.tail_logs(1)], ids=["watch", "tail_logs"])
async def test_who_follows_and_reaches_no_broker_hears_so(follow: Any) -> None:
    [port] = free_ports(1)
    async with Client(f"127.0.0.1:{port}", timeout_s=0.2) as client, asyncio.timeout(SOON_S):
        with pytest.raises(Unavailable, match=f"no broker reached at 127.0.0.1:{port}"):
            await anext(follow(client))


def test_a_client_may_be_closed_when_its_event_loop_is_over(broker: BrokerProcess) -> None:
    client = Client(broker.address)
    asyncio.run(client.submit("t"))
    asyncio.run(client.close())
    with pytest.raises(ClientClosed, match="is closed"):
        asyncio.run(client.submit("t"))


def test_a_program_that_leaves_a_stream_open_ends(broker: BrokerProcess, directory: Path) -> None:
    (directory / "leaves.py").write_text(
        f"from headrace_client import SyncClient\nclient = SyncClient('{broker.address}')\n"
        "changes = client.watch(job_ids=[client.submit('t').job_id])\nprint(next(changes).state)\n"
    )
    done = run_command("python", str(directory / "leaves.py"), timeout_s=PATIENCE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "waiting\n", "")


async def test_what_is_no_job_is_refused_in_its_place(client: Client) -> None:
    wrong: Any = {"type": "t"}
    stored, refused = await client.submit_many([JobSpec("t"), wrong])
    assert isinstance(stored, Submitted) and isinstance(refused, InvalidRequest) and "JobSpec(type, data, ...), found dict" in refused.message
    for timeout_s in (0, -1):
        with pytest.raises(InvalidRequest, match="timeout_s is how many seconds a call may take, above 0"):
            await client.submit("t", timeout_s=timeout_s)
    with pytest.raises(InvalidRequest, match="give them as payload="):
        await client.submit("t", b"bytes")
