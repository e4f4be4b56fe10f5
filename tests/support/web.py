"""The manager over HTTP: a browser's view, and one broker for all tests of a module."""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from headrace_broker.store.embedded import EmbeddedPostgres

from tests.support.databases import clone
from tests.support.processes import BrokerProcess, start_broker
from tests.support.tokens import make_tokens

PASSWORD = "correct horse battery staple"


class Browser:
    """One session. `get` and `post` give the answer; forms carry the session's token, and the Origin that a browser sends."""

    def __init__(self, client: httpx.AsyncClient, base: str) -> None:
        self.client = client
        self.base = base

    async def get(self, path: str, status: int = 200) -> str:
        """A page."""
        answer = await self.client.get(path)
        assert answer.status_code == status, f"{path} gave {answer.status_code}: {answer.text[:2000]}"
        return answer.text

    @staticmethod
    def token(text: str) -> str:
        """What a page's forms carry."""
        found = re.search(r'name="csrf" value="([^"]+)"', text)
        assert found
        return found[1]

    async def csrf(self) -> str:
        """The token of this session."""
        return self.token(await self.get("/account"))

    async def post(self, path: str, status: int = 303, /, **fields: str | list[str]) -> httpx.Response:
        """Sends a form as a page of the manager would."""
        answer = await self.client.post(path, data={"csrf": await self.csrf(), **fields}, headers={"Origin": self.base})
        assert answer.status_code == status, answer.text
        return answer

    async def log_in(self, status: int = 303, /, **fields: str) -> httpx.Response:
        """Sends the form of the page that asks who it is: name and password, or token."""
        answer = await self.client.post("/login", data=fields, headers={"Origin": self.base})
        assert answer.status_code == status, answer.text
        return answer

    async def is_in(self) -> bool:
        """Whether the session lives; asking does not prolong it."""
        return (await self.client.get("/account", headers={"HX-Request": "true"})).status_code == 200


@dataclass(frozen=True)
class Shared:
    """A broker, its address for browsers, and a token's secret for each role, of domain default and of all ("admin@all")."""

    broker: BrokerProcess
    base: str
    secrets: dict[str, str]
    database: str


@contextmanager
def shared_broker(postgres: EmbeddedPostgres, name: str, *options: str) -> Iterator[Shared]:
    """One broker for many tests, on a database of its own."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    directory.chmod(0o755)
    dsn = postgres.dsn.replace("/headrace?", f"/{name}?")

    async def administer(statement: str) -> None:
        con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
        await con.execute(statement)
        await con.close()

    with asyncio.Runner() as runner:
        runner.run(administer(clone(name)))
        secrets = runner.run(make_tokens(dsn))
        secrets |= {f"{role}@all": secret for role, secret in runner.run(make_tokens(dsn, None)).items()}
        broker = runner.run(start_broker(directory, "--login-link", *options, database=dsn))
        try:
            yield Shared(broker, f"http://{broker.ready['http']}", secrets, dsn)
        finally:
            runner.run(broker.kill())
            runner.run(administer(f"drop database {name} with (force)"))
            shutil.rmtree(directory, ignore_errors=True)
