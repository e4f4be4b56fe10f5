"""Real processes of ours, started and ended by id."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

from tests.support.fork_server import PROGRAMS, Child, ForkServer

ROOT = Path(__file__).parents[2]
START_S = 60.0
PATIENCE_S = 30.0


class _Forking:
    """Whether programs are forked, which makes their starts quicker, and from what: a server that the first start makes."""

    def __init__(self) -> None:
        self.on = False
        self._server: ForkServer | None = None
        self._making = threading.Lock()

    def server(self) -> ForkServer | None:
        """None: real programs are to be started."""
        with self._making:
            if self.on and self._server is None:
                self._server = ForkServer()
            return self._server

    def end(self) -> None:
        """With the tests."""
        self.on = False
        if self._server is not None:
            self._server.close()
            self._server = None


forking = _Forking()


class Started(Protocol):
    """What of `asyncio.subprocess.Process` is used."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    async def wait(self) -> int: ...


class Forked:
    """A process of the fork server."""

    def __init__(self, child: Child) -> None:
        self._child = child

    @property
    def pid(self) -> int:
        """Its id."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        return self._child.poll()

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    async def wait(self) -> int:
        """Returns the exit code."""
        while (code := self._child.poll()) is None:
            end = os.dup(self._child.fileno())  # several may wait, and a loop knows one of them for each descriptor
            try:
                await _readable(end)
            finally:
                os.close(end)
        return code


class Process:
    """One process; its output is in `log`."""

    def __init__(self, process: Started, log: Path) -> None:
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
    wrap: Sequence[str] = (), environment: Mapping[str, str] | None = None, python: str = sys.executable, ahead_rows: int = 0,
) -> BrokerProcess:  # fmt: skip
    """A broker that listens; with short leases unless options say otherwise. `ahead_rows`: with so few facts pending it decides a round while another one is being
    stored, which others do under a load that no test has; 0: it is as others are.

    `wrap`: the command that it is run by; `environment`: what is added to ours; `python`: whose headrace it is. With any of them it is a program of
    its own from the start.
    """
    arguments = ["--listen", listen, "--http-listen", "127.0.0.1:0", "--lease-s", "3", "--heartbeat-s", "1", "--disconnect-grace-s", "1"]
    if database is not None:
        arguments += ["--database-url", database]
    log = directory / f"{name}.log"
    said, theirs = os.pipe()
    try:
        command = ["headrace-broker", "run", *arguments, *options]
        broker = BrokerProcess(
            await _start(command, log, stdout=theirs, environment=environment or {}, real=bool(wrap or environment), wrap=wrap, python=python, ahead_rows=ahead_rows), log
        )
    finally:
        os.close(theirs)
    try:
        async with asyncio.timeout(START_S):
            line = await _line(said)
    finally:
        os.close(said)  # a broker says nothing more there
    if not line:
        await broker.process.wait()
        raise AssertionError(f"the broker did not start:\n{log.read_text()[-4000:]}")
    broker.ready = json.loads(line)
    return broker


async def start_agent(
    directory: Path, broker: str, *options: str, agent: str = "tests.support.handlers:agent", name: str = "agent", cwd: Path = ROOT,
    wrap: Sequence[str] = (), environment: Mapping[str, str] | None = None, python: str = sys.executable,
) -> Process:  # fmt: skip
    """An agent process with the handlers of `tests.support.handlers`. `wrap`, `environment` and `python` as for `start_broker`."""
    log = directory / f"{name}.log"
    command = ["headrace-agent", "run", agent, "--broker", broker, *options]
    whole = {"HEADRACE_TEST_DIR": str(directory), **(environment or {})}
    return Process(await _start(command, log, cwd=cwd, environment=whole, real=bool(wrap or environment), wrap=wrap, python=python), log)


async def _start(
    command: list[str], log: Path, *, environment: Mapping[str, str], real: bool, wrap: Sequence[str], python: str, stdout: int | None = None, cwd: Path = ROOT,
    ahead_rows: int = 0,
) -> Started:  # fmt: skip
    """Starts a program of ours. Its output goes to the log, and to `stdout` what it writes there."""
    whole = {**os.environ, **environment}
    with open(log, "ab") as output:
        server = forking.server() if not real and python == sys.executable else None
        if server is None:
            program = [*wrap, python, "-m", command[0].replace("-", "_"), *command[1:]]
            said = output if stdout is None else stdout
            return await asyncio.create_subprocess_exec(*program, stdin=subprocess.DEVNULL, stdout=said, stderr=output, cwd=cwd, env=whole)
        with open(os.devnull) as nothing:
            return Forked(server.start(command, whole, cwd, nothing.fileno(), output.fileno() if stdout is None else stdout, output.fileno(), ahead_rows))


async def _line(descriptor: int) -> bytes:
    """A line from a pipe; what there was, when it was closed before its end."""
    found = b""
    os.set_blocking(descriptor, False)
    while not found.endswith(b"\n"):
        await _readable(descriptor)
        part = os.read(descriptor, 4096)
        if not part:
            break
        found += part
    return found


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)


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
    environment = {**os.environ, **(environment or {})}
    if command[0] in PROGRAMS and (server := forking.server()) is not None:
        return _run_forked(server, command, environment, stdin, cwd or ROOT, timeout_s)
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [program if program.exists() else command[0], *command[1:]], input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False,
        cwd=cwd or ROOT, env=environment,
    )  # fmt: skip


def _run_forked(server: ForkServer, command: Sequence[str], environment: dict[str, str], stdin: str, cwd: Path, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    with TemporaryFile("w+") as given, TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        given.write(stdin)
        given.seek(0)
        child = server.start(command, environment, cwd, given.fileno(), output.fileno(), errors.fileno())
        try:
            code = child.wait(timeout_s)
        except TimeoutError:
            os.kill(child.pid, signal.SIGKILL)
            child.wait(timeout_s)
            raise subprocess.TimeoutExpired(list(command), timeout_s) from None
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess(list(command), code, output.read(), errors.read())


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


def freeze(pid: int) -> list[int]:
    """Stops a process and its children where they are; returns them for `thaw`."""
    os.kill(pid, signal.SIGSTOP)
    frozen = [pid, *children(pid)]
    for child in frozen[1:]:
        os.kill(child, signal.SIGSTOP)
    return frozen


def thaw(frozen: Sequence[int]) -> None:
    """They go on, the parent last: a child that ends at once is there as long as nobody asks for its end."""
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
