"""The streams of 2,000 idle agents, and their connections, are dropped at once: every agent is back within a minute, as the one that it was.

`benchmarks/streams.py` does it with 10,000, and a connection for each.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from headrace_client import AdminClient

from tests.support.processes import ROOT, Process, running, start_broker, until

STREAMS = 2000
OVER_ONE = 20  # streams of a connection: a connection of its own for each takes more time than the rest of it
BACK_S = 60.0


async def test_idle_agents_that_are_all_dropped_at_once_are_back_within_a_minute(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--lease-s", "60", "--disconnect-grace-s", "60", "--log-level", "warning", database=database)
    stack.push_async_callback(broker.kill)
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=30))
    command = [sys.executable, "-m", "benchmarks.streams", "--drive", broker.address, "--streams", str(STREAMS), "--per-connection", str(OVER_ONE)]
    driver = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert driver.stdin is not None and driver.stdout is not None
    async with running(Process(driver, directory / "driver.log")):

        async def said() -> dict[str, Any]:
            assert driver.stdout is not None
            line: dict[str, Any] = json.loads(await driver.stdout.readline())
            return line

        async with asyncio.timeout(90):
            assert (await said())["connected"] == STREAMS
        known = {agent.incarnation_id for agent in await admin.list_agents()}
        driver.stdin.write(b"drop\n")
        assert await said() == {"broken": 0, "late": 0}
        async with asyncio.timeout(90):
            assert (await said())["back"] < BACK_S

        async def all_connected() -> bool:
            return sum(agent.connected for agent in await admin.list_agents()) == STREAMS

        await until(all_connected, what="everybody's connection")
        assert {agent.incarnation_id for agent in await admin.list_agents()} == known and len(known) == STREAMS
