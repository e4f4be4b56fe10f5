"""`headrace top` as a person at a terminal and a script meet it: one broker, looked at through terminals of their own."""

import asyncio
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import Client, JobSpec
from headrace_client.cli.common import Common
from headrace_client.cli.terminal import ENTER, HOME, LEAVE
from headrace_client.cli.top_calls import OLDEST, Calls
from headrace_client.cli.top_figures import Rates, figures

from tests.support.ports import free_ports
from tests.support.processes import PATIENCE_S, run_command, start_agent, until
from tests.support.proxy import Proxy
from tests.support.web import Shared, shared_broker

PROGRAM = str(Path(sys.executable).parent / "headrace")
CONTROL = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """A broker that wants tokens, with an agent, three jobs of a type that nobody serves, and ten that have completed."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    directory.chmod(0o755)

    async def fill(address: str, token: str) -> None:
        async with Client(address, token=token, timeout_s=PATIENCE_S) as client:
            await client.submit_many([JobSpec("nobody", number) for number in range(3)])
            for result in await client.submit_many([JobSpec("echo", number) for number in range(10)]):
                assert not isinstance(result, Exception)
                await client.wait(result.job_id)

    with shared_broker(postgres, "top", "--auth", "required") as found, asyncio.Runner() as runner:
        agent = runner.run(start_agent(directory, found.broker.address, "--token", found.secrets["agent"]))
        try:
            runner.run(fill(found.broker.address, found.secrets["admin"]))
            yield found
        finally:
            runner.run(agent.kill())
            shutil.rmtree(directory, ignore_errors=True)


class Person:
    """At a terminal in which `headrace top` runs: presses keys, resizes it, and reads what it shows now."""

    def __init__(self, process: asyncio.subprocess.Process, screen: int, inside: int) -> None:
        self.process = process
        self._screen = screen
        self.inside = inside
        self.modes = termios.tcgetattr(inside)
        self.output = ""
        self._size = (80, 24)

    def take(self) -> None:
        """What has come."""
        with suppress(OSError):
            self.output += os.read(self._screen, 65_536).decode(errors="replace")

    def lines(self) -> list[str]:
        """Of the newest screen that came whole."""
        columns, rows = self._size
        for frame in reversed(self.output.replace("\r\r\n", "\n").replace("\r\n", "\n").split(HOME)[1:]):
            found = CONTROL.sub("", frame).split("\n")
            if len(found) == rows and len(found[-1]) == columns:
                return found
        return []

    async def sees(self, pattern: str, *, gone: bool = False) -> str:
        """The line that has it; with `gone`, waits until no line has."""

        async def look() -> str:
            lines = self.lines()
            line = next((line for line in lines if re.search(pattern, line)), "")
            return ("gone" if not line else "") if gone and lines else line

        return str(await until(look, what=f"{pattern!r} on the screen\n" + "\n".join(self.lines())))

    def press(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        self._size = (columns, rows)
        fcntl.ioctl(self.inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    async def ends(self) -> int:
        """Waits for its end; the terminal is as it was, and the exit code is returned."""
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        await until(self.has_left, what="the end of the output")
        assert termios.tcgetattr(self.inside) == self.modes
        return code

    async def has_left(self) -> bool:
        return self.output.endswith(LEAVE)


@asynccontextmanager
async def top(address: str, token: str, *words: str) -> AsyncIterator[Person]:
    """A terminal of 80 columns and 24 lines, and the program in it as a shell would start it."""
    screen, inside = pty.openpty()
    os.set_blocking(screen, False)
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "GRPC_VERBOSITY": "NONE", "COLUMNS": "60", "LINES": "10", "HEADRACE_BROKER": address, "HEADRACE_TOKEN": token}
    process = await asyncio.create_subprocess_exec(
        "setsid", "--ctty", PROGRAM, "top", *words, stdin=inside, stdout=inside, stderr=inside, env=environment
    )  # fmt: skip
    person = Person(process, screen, inside)
    loop = asyncio.get_running_loop()
    loop.add_reader(screen, person.take)
    try:
        yield person
    finally:
        loop.remove_reader(screen)
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(screen)
        os.close(inside)


async def test_a_person_looks_sorts_resizes_and_quits(shared: Shared) -> None:
    async with top(shared.broker.address, shared.secrets["admin@all"], "--every", "0.5") as person:
        assert (await person.sees("^nobody")).split()[:2] == ["nobody", "3"]
        assert "waiting 3  processing 0" in (await person.sees("waiting"))
        await person.sees("^TYPE .*AGENTS *$")
        person.press("<")

        async def by_name() -> bool:
            return [line.split()[0] for line in person.lines()[5:8]] == ["chaos", "checkpoint", "child"]

        await until(by_name, what="types in the order of their names")
        person.press("/nob")
        await person.sees("^filter: nob_")
        await person.sees("^chaos", gone=True)
        person.press("\n")
        await person.sees("^filter: nob ")
        person.press("a")
        assert (await person.sees("^tester")).split()[1:4] == ["connected", "0", "8"]
        person.press("b")
        await person.sees("active")
        person.resize(60, 20)
        person.press("t")
        await person.sees("^TYPE .*FAILED *$")
        person.resize(120, 30)
        await person.sees("^TYPE .*AGENTS *$")
        person.press("p")
        await person.sees("paused")
        async with Client(shared.broker.address, token=shared.secrets["admin"], timeout_s=PATIENCE_S) as client:
            job = await client.submit("later", None)
            person.press(" ")
            await person.sees("^later +1 ")
            await client.abort([job.job_id])
        person.press("pq")
        assert await person.ends() == 0
        assert person.output.count(ENTER) == 1 and "Traceback" not in person.output


async def test_a_broker_that_goes_and_comes_back_is_told_and_the_view_goes_on(shared: Shared) -> None:
    async with Proxy(shared.broker.address) as proxy, top(proxy.address, shared.secrets["viewer"], "--every", "0.2") as person:
        await person.sees("^nobody")
        proxy.stall()
        await person.sees("^no answer for [^:]+: ")  # the round was given up: it says why
        await person.sees("^nobody +3 ")
        proxy.heal()
        await person.sees("^no answer for ", gone=True)
        person.process.send_signal(signal.SIGTERM)
        assert await person.ends() == 143


async def test_a_terminal_that_is_interrupted_or_suspended_is_as_it_was(shared: Shared) -> None:
    async with top(shared.broker.address, shared.secrets["viewer"]) as person:
        await person.sees("^nobody")
        person.press("\x1a")  # Ctrl-Z

        async def stopped() -> bool:
            return Path(f"/proc/{person.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

        await until(stopped, what="that it has stopped")
        await until(person.has_left, what="the terminal of the shell")
        assert termios.tcgetattr(person.inside) == person.modes
        person.process.send_signal(signal.SIGCONT)

        async def is_back() -> bool:
            return person.output.count(ENTER) == 2 and not person.output.endswith(ENTER)

        await until(is_back, what="the view")
        person.press("\x03")  # Ctrl-C
        assert await person.ends() == 130


def run(shared: Shared, *words: str, code: int = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
    done = run_command("headrace", "top", *words, environment={"HEADRACE_BROKER": shared.broker.address, "HEADRACE_TOKEN": shared.secrets["admin@all"], **environment})
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_where_there_is_no_terminal_it_is_printed_once(shared: Shared) -> None:
    lines = run(shared).stdout.splitlines()
    assert lines[0].startswith("headrace top  domain default") and "waiting 3 " in lines[1] and "\x1b" not in "".join(lines)
    assert lines[4].split()[:4] == ["TYPE", "WAITING", "OLDEST", "RUNNING"] and lines[5].split()[:2] == ["nobody", "3"]
    assert run(shared, "--once", "--view", "agents", "--sort", "running").stdout.splitlines()[5].split()[:2] == ["tester", "connected"]
    assert run(shared, "--sort", "nothing", code=2).stderr.startswith("headrace: types are sorted by one of type, waiting,")
    assert "0.2 to 3600" in run(shared, "--every", "0", code=2).stderr
    assert run(shared, "--timeout-s", "0.2", code=5, HEADRACE_BROKER="127.0.0.1:1").stdout == ""


def test_one_object_says_all_of_it(shared: Shared) -> None:
    silent = f"127.0.0.1:{free_ports(1)[0]}"
    found = json.loads(run(shared, "-o", "json", HEADRACE_BROKER=f"{shared.broker.address},{silent}").stdout)
    assert (found["domain"], found["waiting"], found["processing"], found["notes"]) == ("default", 3, 0, [])
    [nobody] = [row for row in found["types"] if row["type"] == "nobody"]
    assert (nobody["waiting"], nobody["agents"]) == (3, 0) and nobody["oldest_wait_s"] > 0 and nobody["oldest_wait_below_s"] is None
    assert [(row["agent"], row["slots"], row["state"]) for row in found["agents"]] == [("tester", 8, "connected")]
    assert [(row["state"], row["shards"]) for row in found["brokers"]] == [("active", [0]), ("no answer", [])] and found["brokers"][1]["broker"] == silent


def test_who_sees_one_domain_sees_no_brokers(shared: Shared) -> None:
    found = json.loads(run(shared, "-o", "json", HEADRACE_TOKEN=shared.secrets["viewer"]).stdout)
    assert found["brokers"] == [] and found["notes"] == [] and found["waiting"] == 3 and found["completed_per_s"] is not None


async def test_several_domains_are_looked_at_together(shared: Shared) -> None:
    for domain, count in (("north", 2), ("south", 5)):
        async with Client(shared.broker.address, domain=domain, token=shared.secrets["admin@all"], timeout_s=PATIENCE_S) as client:
            await client.submit_many([JobSpec("ship", number) for number in range(count)])
    found = json.loads((await asyncio.to_thread(run, shared, "--domain", "north", "--domain", "south,default", "-o", "json")).stdout)
    assert (found["domain"], found["waiting"]) == ("north,south,default", 10)
    assert [(row["domain"], row["waiting"]) for row in found["domains"]] == [("north", 2), ("south", 5), ("default", 3)]
    assert {(row["type"], row["domain"], row["waiting"]) for row in found["types"] if row["waiting"]} == {
        ("ship", "north", 2), ("ship", "south", 5), ("nobody", "default", 3),
    }  # fmt: skip
    lines = (await asyncio.to_thread(run, shared, "--all-domains")).stdout.splitlines()
    assert re.match(r"headrace top  \d+ domains  ", lines[0]) and lines[4].split()[:3] == ["TYPE", "DOMAIN", "WAITING"]
    ships = [line.split()[:3] for line in lines if line.startswith(("ship", "nobody"))]
    assert ships == [["ship", "south", "5"], ["nobody", "default", "3"], ["ship", "north", "2"]], "sorted over all of them"
    lines = (await asyncio.to_thread(run, shared, "--all-domains", "--view", "domains", "--sort", "domain")).stdout.splitlines()
    assert [name for line in lines[5:] if (name := line.split()[0]) in ("default", "north", "south")] == ["default", "north", "south"]


def test_who_sees_one_domain_of_several_is_told_of_the_others(shared: Shared) -> None:
    viewer = shared.secrets["viewer"]
    found = json.loads(run(shared, "--all-domains", "-o", "json", HEADRACE_TOKEN=viewer, HEADRACE_DOMAIN="elsewhere").stdout)
    assert (found["domain"], [row["domain"] for row in found["domains"]], found["notes"]) == ("default", ["default"], [])
    found = json.loads(run(shared, "--domain", "default,north", "-o", "json", HEADRACE_TOKEN=viewer).stdout)
    assert found["domain"] == "default" and re.match("no domain north: .*is not for domain 'north'", found["notes"][0])
    assert "is not for domain 'north'" in run(shared, "--domain", "north", code=4, HEADRACE_TOKEN=viewer).stderr
    assert "at most 100 domains" in run(shared, "--domain", ",".join(map(str, range(101))), code=2).stderr


async def test_a_line_for_each_refresh_until_it_is_ended(shared: Shared) -> None:
    words = ["top", "-o", "jsonl", "--every", "0.5", "--broker", shared.broker.address, "--token", shared.secrets["viewer"]]
    process = await asyncio.create_subprocess_exec(PROGRAM, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        found: list[Any] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < 2 or not any(row["run_p95_s"] for row in found[-1]["types"] if row["type"] == "echo"):  # counts are written every few seconds
                found.append(json.loads(await process.stdout.readline()))
        assert found[1]["at"] > found[0]["at"] and found[-1]["waiting"] == 3
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            await process.stdout.read()
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_jobs_that_older_ones_hide_are_found_in_the_next_round(shared: Shared) -> None:
    common = Common(broker=shared.broker.address, domain="hidden", token=shared.secrets["admin@all"])
    async with Client(common.broker, domain=common.domain, token=common.token, timeout_s=PATIENCE_S) as client, Calls(common, PATIENCE_S, ["hidden"]) as calls:
        await client.submit_many([JobSpec("many", number) for number in range(OLDEST)])
        await client.submit("one", None)
        rows = [{row.type: row for row in figures((await calls.round()).found["hidden"], Rates(), "hidden").types} for _ in range(3)]
    for number, row in enumerate(rows):
        assert row["many"].oldest_wait_s is not None
        assert (row["one"].oldest_wait_s is None) == (number == 0) == (row["one"].oldest_wait_below_s is not None)
