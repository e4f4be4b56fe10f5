"""Fixtures: scripted agents at the test's broker; and an owner that is driven step by step."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.property.machine import Machine
from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent

Connect = Callable[..., Awaitable[ScriptedAgent]]


@pytest.fixture
def connect(broker: BrokerProcess, stack: AsyncExitStack) -> Connect:
    """Makes agents that are connected to the broker; arguments as for ScriptedAgent."""

    async def make(**options: Any) -> ScriptedAgent:
        agent = ScriptedAgent(broker.address, **options)
        stack.push_async_callback(agent.close)
        await agent.connect()
        return agent

    return make


@pytest.fixture
async def hand(connect: Connect) -> ScriptedAgent:
    """One of them."""
    return await connect()


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Machine]:
    """The owner, on a database of its own."""
    machine = Machine(database)
    await machine.open()
    yield machine
    await machine.close()
