"""The processes of the demo: broker, agents, and an SMTP server in this one."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP

READY_S = 60.0


@dataclass
class Server:
    """A process of ours, ended by its id."""

    name: str
    process: "asyncio.subprocess.Process"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    async def stop(self, timeout_s: float = 30.0) -> None:
        """SIGTERM; SIGKILL when it takes too long."""
        if self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    async def kill(self) -> None:
        """SIGKILL, as when the machine fails."""
        self.process.kill()
        await self.process.wait()


async def start_broker(directory: Path, listen: str) -> tuple[Server, dict[str, Any]]:
    """A broker with an embedded Postgres; returns it and its ready line."""
    data_dir = await asyncio.to_thread(_data_dir, directory)
    log = open(directory / "broker.log", "wb")  # noqa: SIM115  # given to the process
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace_broker", "run", "--data-dir", str(data_dir), "--listen", listen, "--http-listen", "127.0.0.1:0", "--lease-s", "9",
        "--heartbeat-s", "1", "--disconnect-grace-s", "1", stdout=subprocess.PIPE, stderr=log,
    )  # fmt: skip
    log.close()
    assert process.stdout is not None
    async with asyncio.timeout(READY_S):
        line = await process.stdout.readline()
    if not line:
        raise SystemExit(f"the broker did not start:\n{(directory / 'broker.log').read_text()[-3000:]}")
    return Server("broker", process), json.loads(line)


async def start_agent(directory: Path, broker: str, number: int, agent: str = "demo.handlers:agent") -> Server:
    """An agent with the demo's handlers."""
    log = open(directory / f"agent-{number}.log", "wb")  # noqa: SIM115
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headrace_agent", "run", agent, "--broker", broker, stdout=log, stderr=log,
        env={**os.environ, "HEADRACE_DEMO_DIR": str(directory)}, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    log.close()
    return Server(f"agent {number}", process)


def _data_dir(directory: Path) -> Path:
    """The broker's directory; one that the database's user can enter when we are root."""
    path = directory / "broker"
    path.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        directory.chmod(0o755)
    return path


@dataclass
class MailServer:
    """A real SMTP server that refuses the first mails with "try later"."""

    refuse: int
    received: dict[str, list[str]] = field(default_factory=dict)  # recipient -> message ids
    refused: int = 0
    _server: asyncio.Server = field(init=False)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # aiosmtpd's name
        """Takes or refuses one mail."""
        if self.refused < self.refuse:
            self.refused += 1
            return "451 4.3.2 Too busy, try again later"
        text = envelope.content.decode(errors="replace")
        message_id = next((line for line in text.splitlines() if line.lower().startswith("message-id:")), "")
        for recipient in envelope.rcpt_tos:
            self.received.setdefault(recipient, []).append(message_id)
        return "250 OK"

    async def start(self) -> str:
        """Returns its address."""
        self._server = await asyncio.get_running_loop().create_server(lambda: SMTP(self, hostname="localhost"), "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        """Takes no more mails."""
        self._server.close()
