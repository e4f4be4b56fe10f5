"""One broker and one agent for all tests of a module that pages are tested with: processes, and a browser's view for each test."""

import asyncio
import html
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from headrace_broker.store.embedded import EmbeddedPostgres

from tests.support.processes import BrokerProcess, Process, start_agent, start_broker
from tests.web.conftest import Browser


@dataclass(frozen=True)
class Site:
    """A broker with pages, and who logs in: the cookie of an administrator's session."""

    broker: BrokerProcess
    agent: Process
    base: str
    cookies: dict[str, str]
    directory: Path
    database: str

    @asynccontextmanager
    async def browser(self) -> AsyncIterator[Browser]:
        """The administrator's session."""
        async with httpx.AsyncClient(base_url=self.base, cookies=self.cookies) as client:
            yield Browser(client, self.base)


@contextmanager
def site(postgres: EmbeddedPostgres, name: str, *options: str) -> Iterator[Site]:
    """A broker with an agent of `tests.support.handlers`, on a database of its own."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    directory.chmod(0o755)
    dsn = postgres.dsn.replace("/headrace?", f"/{name}?")

    async def administer(statement: str) -> None:
        con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
        await con.execute(statement)
        await con.close()

    async def log_in(base: str, link: str) -> dict[str, str]:
        async with httpx.AsyncClient(base_url=base) as client:
            assert (await client.get(link)).status_code == 303
            return dict(client.cookies)

    with asyncio.Runner() as runner:
        runner.run(administer(f"create database {name} template headrace"))
        broker = runner.run(start_broker(directory, "--login-link", *options, database=dsn))
        agent = runner.run(start_agent(directory, broker.address))
        base = f"http://{broker.ready['http']}"
        try:
            yield Site(broker, agent, base, runner.run(log_in(base, broker.ready["web"])), directory, dsn)
        finally:
            runner.run(agent.kill())
            runner.run(broker.kill())
            runner.run(administer(f"drop database {name} with (force)"))
            shutil.rmtree(directory, ignore_errors=True)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))
