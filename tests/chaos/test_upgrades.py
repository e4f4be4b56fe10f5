"""An upgrade under load, as docs/deploy.md tells: brokers, agents and submitters of two releases side by side, in both orders, while migrations of both phases run.

The short form runs the next release from a changed copy of this tree, and goes one way. The long form builds a wheel of either, installs each into an environment of
its own, and goes back and forth, by SIGTERM and by SIGKILL. What was lost or doubled is judged by a ledger outside of headrace.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker import __version__
from headrace_broker.store.migrate import newest

from tests.support.ports import free_ports
from tests.support.processes import ROOT, BrokerProcess, Process, run_command, start_agent, start_broker, until
from tests.support.record import Reader
from tests.support.releases import NEXT, Release, copied, in_place, installed, next_tree
from tests.support.verdict import Verdict, count, drained, judge

OWNER = "select l.version from headrace.shard s join headrace.life l using (life_id) where not l.dead limit 1"


class Mixed:
    """Processes of two releases on one database. `old` and `new` are their numbers among brokers, agents and submitters: 0 and 1."""

    def __init__(self, database: str, directory: Path, con: "asyncpg.Connection[Any]", releases: tuple[Release, Release], stack: AsyncExitStack) -> None:
        self.database = database
        self.submitted, self.ran = directory / "submitted.txt", directory / "ran.txt"
        self._directory = directory
        self._con = con
        self._releases = releases
        self._stack = stack
        self._ports = free_ports(2)
        self._addresses = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self._brokers: dict[int, BrokerProcess] = {}
        self._agents: dict[int, Process] = {}
        self._submitters: list[Process] = []

    async def start_broker(self, number: int) -> None:
        """A broker of that release, on its port; `start` waits for its ready line."""
        release = self._releases[number]
        broker = await start_broker(
            self._directory, "--log-level", "warning", database=self.database, listen=f"127.0.0.1:{self._ports[number]}", name=f"broker{number}",
            python=release.python, environment=release.environment,
        )  # fmt: skip
        self._stack.push_async_callback(broker.kill)
        assert broker.ready["version"] == release.version
        self._brokers[number] = broker

    async def end_broker(self, number: int, *, kill: bool) -> None:
        """Ends one; the other one owns the queue then."""
        broker = self._brokers.pop(number)
        if kill:
            await broker.kill()
        else:
            assert await broker.stop() == 0
        await self.owned_by(1 - number)

    async def owned_by(self, number: int) -> None:
        """Waits until a broker of that release owns the queue."""
        version = self._releases[number].version

        async def check() -> bool:
            return bool(await self._con.fetchval(OWNER) == version)

        await until(check, what=f"that {version} owns the queue")

    async def start_others(self, number: int) -> None:
        """An agent and a submitter of that release."""
        release = self._releases[number]
        agent = await start_agent(
            self._directory, self._addresses, "--slots", "20", "--log-level", "error", name=f"agent{number}", python=release.python, environment=release.environment
        )
        self._stack.push_async_callback(agent.kill)
        self._agents[number] = agent
        log = self._directory / f"submitter{number}.log"
        command = [release.python, "-m", "tests.support.submitter", self._addresses, str(self.submitted), f"release{number}"]
        with open(log, "ab") as output:
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=output, stderr=output, env={**os.environ, **release.environment})
        submitter = Process(process, log)
        self._stack.push_async_callback(submitter.kill)
        self._submitters.append(submitter)

    async def all_work(self, more: int = 15) -> None:
        """Waits until every submitter has had so many more jobs acknowledged, and every agent has run as many."""
        acknowledged, ran = Reader(self.submitted), Reader(self.ran)
        acknowledged.read()
        ran.read()
        left = {f"release{number}": more for number in self._agents} | {str(agent.pid): more for agent in self._agents.values()}

        async def check() -> bool:
            names = [name.partition("-")[0] for what, name, *_ in acknowledged.read() if what == "got"]
            for name in names + [pid for what, _, _, pid, *_ in ran.read() if what == "end"]:
                left[name] = left.get(name, 0) - 1
            return max(left.values()) <= 0

        await until(check, timeout_s=60, what="work of all submitters and agents")

    async def migrate(self, phase: str) -> "subprocess.CompletedProcess[str]":
        """`headrace-broker migrate` of the next release."""
        return await self._command("migrate", "--phase", phase, number=1)

    async def does_not_start(self, number: int) -> str:
        """Starts a broker that ends at once, and returns what it says."""
        done = await self._command("run", "--listen", "127.0.0.1:0", "--http-listen", "off", number=number)
        assert done.returncode == 1, done.stderr
        return done.stderr

    async def _command(self, *words: str, number: int) -> "subprocess.CompletedProcess[str]":
        release = self._releases[number]
        return await asyncio.to_thread(
            run_command, release.python, "-m", "headrace_broker", *words, "--database-url", self.database, environment=dict(release.environment)
        )

    async def end(self) -> Verdict:
        """Ends the submitters, waits until every job has settled, and judges."""
        for submitter in self._submitters:
            await submitter.kill()
        counts = await drained(self._addresses)
        verdict = await judge(self._con, self.submitted, self.ran, {})
        assert counts["completed"] == verdict.jobs
        assert await count(self._addresses, searched=True) == counts
        return verdict


async def upgrade(mixed: Mixed, *, back_and_forth: bool) -> None:
    """From the release before to the next one."""
    await mixed.start_broker(0)
    await mixed.start_others(0)
    await mixed.all_work()
    done = await mixed.migrate("pre")
    assert (done.returncode, done.stdout) == (0, f"applied {newest() + 1:04} named\n"), done.stderr
    done = await mixed.migrate("post")
    assert done.returncode == 1 and "takes away what brokers need that still run" in done.stderr and f"(headrace {__version__})" in done.stderr, done.stderr
    await mixed.start_broker(1)
    await mixed.start_others(1)
    await mixed.owned_by(0)
    await mixed.all_work()  # of the new ones at the old owner too
    for kill in (True, False) if back_and_forth else ():
        await mixed.end_broker(0, kill=kill)
        await mixed.all_work()
        await mixed.start_broker(0)
        await mixed.all_work()
        await mixed.end_broker(1, kill=not kill)
        await mixed.all_work()
        await mixed.start_broker(1)
        await mixed.all_work()
    await mixed.end_broker(0, kill=False)
    done = await mixed.migrate("post")
    assert (done.returncode, done.stdout) == (0, f"applied {newest() + 2:04} address (post)\n"), done.stderr
    assert "it is older than the database; run a newer headrace" in await mixed.does_not_start(0)
    await mixed.all_work()  # of agents and submitters of the old release too


async def judged(mixed: Mixed, con: "asyncpg.Connection[Any]", record_property: Callable[[str, object], None]) -> None:
    """What the outside says of it."""
    verdict = await mixed.end()
    record_property("jobs", verdict.jobs)
    print(f"\nupgrade: {verdict}")
    assert not verdict.faults(), f"{verdict}\n{verdict.faults()}"
    written = dict(await con.fetch("select coalesce(release, 'before'), count(*)::int from headrace.event group by 1"))
    assert set(written) == {"before", NEXT} and min(written.values()) > 20, written


@pytest.mark.timeout(240)
async def test_an_upgrade_under_load_loses_and_doubles_nothing(
    database: str, directory: Path, stack: AsyncExitStack, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    mixed = Mixed(database, directory, con, (Release(), in_place(next_tree(tmp_path))), stack)
    await upgrade(mixed, back_and_forth=False)
    await judged(mixed, con, record_property)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_wheels_work_side_by_side_in_both_orders(
    database: str, directory: Path, stack: AsyncExitStack, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    def build(name: str, version: str, make: Callable[[Path], Path]) -> Release:
        (tree := tmp_path / name / "tree").mkdir(parents=True)
        return installed(make(tree), version, tmp_path / name)

    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    releases = await asyncio.to_thread(lambda: (build("before", Release().version, copied), build("next", NEXT, next_tree)))
    mixed = Mixed(database, directory, con, releases, stack)
    await upgrade(mixed, back_and_forth=True)
    await judged(mixed, con, record_property)
