"""One broker and one agent for all tests of a module that pages are tested with: processes, and a browser's view for each test."""

import asyncio
import html
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from headrace_broker.store.embedded import EmbeddedPostgres

from tests.support.processes import BrokerProcess, start_agent, until
from tests.support.web import Browser, shared_broker


@dataclass(frozen=True)
class Site:
    """A broker with pages and an agent; a token's secret for each role; `directory`: where the agent's handlers look for files."""

    broker: BrokerProcess
    base: str
    secrets: dict[str, str]
    directory: Path

    @asynccontextmanager
    async def browser(self, role: str = "admin") -> AsyncIterator[Browser]:
        """A session of this role."""
        async with httpx.AsyncClient(base_url=self.base, timeout=30) as client:
            browser = Browser(client, self.base)
            await browser.log_in(token=self.secrets[role])
            yield browser


@contextmanager
def site(postgres: EmbeddedPostgres, name: str, directory: Path, *options: str) -> Iterator[Site]:
    """A broker with an agent of `tests.support.handlers`, on a database of its own. The agent is connected, unless tokens are asked for, of which it has none."""
    with shared_broker(postgres, name, *options) as shared, asyncio.Runner() as runner:
        agent = runner.run(start_agent(directory, shared.broker.address))
        try:
            if "--auth" not in options:  # or it is refused, for want of a token
                runner.run(_connected(shared.base))
            yield Site(shared.broker, shared.base, shared.secrets, directory)
        finally:
            runner.run(agent.kill())


async def _connected(base: str) -> None:
    """Waits until the agent has its stream: any test may be the first of its module, and look at the agents at once."""
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:

        async def check() -> bool:
            return "\nheadrace_agents_connected 1.0\n" in (await client.get("/metrics")).text

        await until(check, what="the agent's stream")


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
