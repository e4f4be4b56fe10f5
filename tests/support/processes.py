"""Real processes of ours, started and ended by id."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
START_S = 60.0
PATIENCE_S = 30.0


class Process:
    """One process; its output is in `log`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


class BrokerProcess(Process):
    """A broker; `ready` is its ready line."""

    ready: dict[str, Any]

    @property
    def address(self) -> str:
        """Where it serves gRPC."""
        return str(self.ready["grpc"][0])

    @property
    def port(self) -> int:
        """Of its first listener."""
        return int(self.address.rpartition(":")[2])


async def start_broker(
    directory: Path, *options: str, database: str | None = None, listen: str = "127.0.0.1:0", name: str = "broker",
    wrap: Sequence[str] = (), environment: Mapping[str, str] | None = None, python: str = sys.executable,
) -> BrokerProcess:  # fmt: skip
    """A broker that listens; with short leases unless options say otherwise.

    `wrap`: the command that it is run by; `environment`: what is added to ours; `python`: whose headrace it is.
    """
    arguments = ["--listen", listen, "--http-listen", "127.0.0.1:0", "--lease-s", "3", "--heartbeat-s", "1", "--disconnect-grace-s", "1"]
    if database is not None:
        arguments += ["--database-url", database]
    log = directory / f"{name}.log"
    with open(log, "ab") as output:
        process = await asyncio.create_subprocess_exec(
            *wrap, python, "-m", "headrace_broker", "run", *arguments, *options, stdout=subprocess.PIPE, stderr=output, cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    broker = BrokerProcess(process, log)
    assert process.stdout is not None
    async with asyncio.timeout(START_S):
        line = await process.stdout.readline()
    if not line:
        await process.wait()
        raise AssertionError(f"the broker did not start:\n{log.read_text()[-4000:]}")
    broker.ready = json.loads(line)
    return broker


async def start_agent(
    directory: Path, broker: str, *options: str, agent: str = "tests.support.handlers:agent", name: str = "agent", cwd: Path = ROOT,
    wrap: Sequence[str] = (), environment: Mapping[str, str] | None = None, python: str = sys.executable,
) -> Process:  # fmt: skip
    """An agent process with the handlers of `tests.support.handlers`. `wrap`, `environment` and `python` as for `start_broker`."""
    log = directory / f"{name}.log"
    with open(log, "ab") as output:
        process = await asyncio.create_subprocess_exec(
            *wrap, python, "-m", "headrace_agent", "run", agent, "--broker", broker, *options, stdout=output, stderr=output, cwd=cwd,
            env={**os.environ, "HEADRACE_TEST_DIR": str(directory), **(environment or {})},
        )  # fmt: skip
    return Process(process, log)


@asynccontextmanager
async def running(*processes: Process) -> AsyncIterator[None]:
    """Kills what still runs at the end."""
    try:
        yield
    finally:
        for process in processes:
            await process.kill()


async def until(check: Callable[[], Awaitable[Any]], *, timeout_s: float = PATIENCE_S, what: str = "the condition") -> Any:
    """The first true answer of `check`, asked again and again. Fails when the time is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while True:
        answer = await check()
        if answer:
            return answer
        assert loop.time() < end, f"{what} did not come true within {timeout_s:g} s"
        await pause()


async def pause() -> None:
    """The only wait for time, between two looks at something that has no event to wait for."""
    await asyncio.sleep(0.03)


def run_command(
    *command: str, environment: dict[str, str] | None = None, stdin: str = "", cwd: Path | None = None, timeout_s: float = 60
) -> "subprocess.CompletedProcess[str]":
    """Runs a command of the virtual environment that the tests run in."""
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [program if program.exists() else command[0], *command[1:]], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False,
        cwd=cwd or ROOT, env={**os.environ, **(environment or {})},
    )  # fmt: skip


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> Sequence[int]:
    """Direct children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
