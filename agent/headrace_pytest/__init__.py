"""pytest fixtures for programs that use headrace; pytest finds them by itself (entry point `headrace`).

    def test_greeting(headrace_client, headrace_agent):
        headrace_agent(agent)                                   # runs beside the test until it ends
        job = headrace_client.wait(headrace_client.submit("greet", {"name": "Ada"}).job_id, timeout_s=10)
        assert job.json_result() == "Hello Ada"

One broker with a Postgres of its own serves the whole session (each worker of pytest-xdist has its own); every test has a domain of its own. Nothing of headrace is
imported, and nothing started, until a fixture is used.
"""

import asyncio
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from headrace_agent import Agent
    from headrace_agent.testing import Drained
    from headrace_client import SyncClient

T = TypeVar("T")
START_S = 60.0
STOP_S = 30.0
PR_SET_PDEATHSIG = 1  # prctl(2)


class Broker:
    """The broker of the session."""

    def __init__(self, address: str) -> None:
        self.address = address

    def advance(self, seconds: float) -> datetime:
        """Sets its clock forward, for all tests; returns what it shows then. What is scheduled, put off or to be deleted comes as if that time had passed."""
        from headrace_client import AdminClient

        async def go() -> datetime:
            async with AdminClient(self.address) as admin:
                return await admin.advance_clock(seconds)

        return _in_thread(go())


class RunningAgent:
    """An agent that runs in a thread beside the test."""

    def __init__(self, agent: "Agent", broker: Broker, domain: str, slots: int | None) -> None:
        self._loop = asyncio.new_event_loop()
        self._drain = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(agent, broker, domain, slots), name=f"headrace-agent-{agent.name}", daemon=True)
        self._thread.start()

    def _run(self, agent: "Agent", broker: Broker, domain: str, slots: int | None) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(agent.run(broker.address, domain=domain, slots=slots, drain=self._drain, drain_timeout_s=5.0))
        except BaseException as error:
            self._failure = error

    def stop(self) -> None:
        """Finishes what runs within 5 s, gives back the rest, and ends. Raises what the agent failed with, once."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._drain.set)
            self._thread.join(STOP_S)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --headrace-broker."""
    text = "HOST:PORT of a broker that runs with --testing; without it, one is started with a Postgres of its own"
    parser.getgroup("headrace").addoption("--headrace-broker", metavar="HOST:PORT", default=None, help=text)


@pytest.fixture(scope="session")
def headrace_broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker for the session: `address`, and `advance(seconds)` for its clock."""
    address = request.config.getoption("--headrace-broker")
    if address:
        yield Broker(str(address))
        return
    directory = Path(tempfile.mkdtemp(prefix="headrace-pytest-"))
    directory.chmod(0o755)  # the database's user must enter it when tests run as root
    try:
        process, found = _start(directory)
        try:
            yield Broker(found)
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def headrace_domain() -> str:
    """A domain that nobody used before."""
    return f"test-{uuid.uuid4().hex[:16]}"


@pytest.fixture
def headrace_client(headrace_broker: Broker, headrace_domain: str) -> "Iterator[SyncClient]":
    """A client of the test's domain, for tests with and without an event loop. In a coroutine use `Client(headrace_broker.address, domain=headrace_domain)`."""
    from headrace_client import SyncClient

    with SyncClient(headrace_broker.address, domain=headrace_domain) as client:
        yield client


@pytest.fixture
def headrace_agent(headrace_broker: Broker, headrace_domain: str) -> Iterator[Callable[..., RunningAgent]]:
    """A function that runs an agent on the test's domain until the test ends: `headrace_agent(agent, slots=4)`."""
    running: list[RunningAgent] = []

    def start(agent: "Agent", *, slots: int | None = None) -> RunningAgent:
        running.append(RunningAgent(agent, headrace_broker, headrace_domain, slots))
        return running[-1]

    yield start
    for agent in running:
        agent.stop()


@pytest.fixture
def headrace_drain(headrace_broker: Broker, headrace_domain: str) -> "Callable[..., Drained]":
    """A function that runs an agent until nothing waits that could run: `headrace_drain(agent, advance=True)`; see `headrace_agent.testing.drain`."""

    def run(agent: "Agent", *, advance: bool = False, timeout_s: float = 60.0) -> "Drained":
        from headrace_agent.testing import drain

        return _in_thread(drain(agent, headrace_broker.address, domain=headrace_domain, advance=advance, timeout_s=timeout_s))

    return run


def _start(directory: Path) -> tuple["subprocess.Popen[bytes]", str]:
    """A broker that listens, and where. Fails the session when it does not start."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

    def die_with_us() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    options = ["run", "--testing", "--data-dir", str(directory / "data"), "--listen", "127.0.0.1:0", "--http-listen", "off", "--log-level", "warning"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    log = directory / "broker.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from headrace_client._launch import broker; broker()", *options], stdout=subprocess.PIPE, stderr=output, env=environment,
            preexec_fn=die_with_us,
        )  # fmt: skip
    assert process.stdout is not None
    overdue = threading.Timer(START_S, process.kill)
    overdue.start()
    line = process.stdout.readline()
    overdue.cancel()
    if not line:
        process.wait()
        raise pytest.UsageError(f"the broker for the tests did not start:\n{log.read_text(errors='replace')[-4000:]}")
    return process, str(json.loads(line)["grpc"][0])


def _in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Its result, from an event loop of its own: the caller may be inside another one."""
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="headrace-test", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
