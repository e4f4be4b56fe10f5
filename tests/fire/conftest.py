"""Fixtures: scripted agents at the test's broker."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

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
