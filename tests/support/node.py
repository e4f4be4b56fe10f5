"""The programs of examples/node as processes, and whether they can run here."""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT, Process

EXAMPLE = ROOT / "examples" / "node"
OLDEST = 18  # the oldest major version of Node that the example is written for


def _missing() -> str | None:
    """Why the example cannot run here; None: it can."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return "Node is optional, and node or npm is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    found = re.match(r"v(\d+)", version)
    if found is None or int(found[1]) < OLDEST:
        return f"the example needs Node {OLDEST}, found {version or 'none that runs'}"
    if not (EXAMPLE / "node_modules" / ".set-up").exists():
        return "examples/node/node_modules was not set up: make examples/node/node_modules/.set-up"
    return None


MISSING = _missing()
needs_node = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")


async def start_node_agent(directory: Path, broker: str, *options: str, handlers: Path = ROOT / "tests" / "support" / "node_handlers.mjs") -> Process:
    """examples/node/agent.mjs with the handlers of the tests."""
    log = directory / "node-agent.log"
    with open(log, "ab") as output:
        process = await asyncio.create_subprocess_exec(
            "node", str(EXAMPLE / "agent.mjs"), str(handlers), *options, stdout=output, stderr=output,
            env={**os.environ, "HEADRACE_TEST_DIR": str(directory), "HEADRACE_BROKER": broker},
        )  # fmt: skip
    return Process(process, log)


async def node_submit(broker: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """examples/node/submit.mjs to its end."""
    environment = {**os.environ, "HEADRACE_BROKER": broker}
    return await asyncio.to_thread(
        subprocess.run, ["node", str(EXAMPLE / "submit.mjs"), *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
