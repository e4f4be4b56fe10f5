"""A browser's view of a broker: logged in over HTTP."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.processes import BrokerProcess, running, start_broker


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

    async def post(self, path: str, status: int = 303, **fields: str | list[str]) -> httpx.Response:
        """Sends a form as a page of the manager would."""
        answer = await self.client.post(path, data={"csrf": self.token(await self.get("/jobs")), **fields}, headers={"Origin": self.base})
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """A broker that prints a link to log in."""
    process = await start_broker(directory, "--login-link", database=database)
    await stack.enter_async_context(running(process))
    return process


@pytest.fixture
def base(broker: BrokerProcess) -> str:
    """Where the pages are."""
    return f"http://{broker.ready['http']}"


@pytest.fixture
async def browser(broker: BrokerProcess, base: str) -> AsyncIterator[Browser]:
    """Logged in with the link of the ready line."""
    async with httpx.AsyncClient(base_url=base) as client:
        answer = await client.get(broker.ready["web"])
        assert answer.status_code == 303, answer.text
        yield Browser(client, base)
