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

from tests.support.processes import BrokerProcess, start_agent
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
    """A broker with an agent of `tests.support.handlers`, on a database of its own."""
    with shared_broker(postgres, name, *options) as shared, asyncio.Runner() as runner:
        agent = runner.run(start_agent(directory, shared.broker.address))
        try:
            yield Site(shared.broker, shared.base, shared.secrets, directory)
        finally:
            runner.run(agent.kill())


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
