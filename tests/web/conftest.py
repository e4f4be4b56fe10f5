"""A browser's view of a broker: logged in over HTTP."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.processes import BrokerProcess, running, start_broker
from tests.support.web import Browser as Browser


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
