"""Fixtures: scripted agents at the test's broker, whose messages are columns or not; and an owner that is driven step by step."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.store.logs import LogWriter

from tests.fire.alarms import Bench
from tests.fire.services import Ownership
from tests.property.machine import Machine
from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent

Connect = Callable[..., Awaitable[ScriptedAgent]]


BOTH = ("test_doubled",)
"""Modules whose tests run with either kind of agent. Elsewhere a test runs with one, by its name, to save time: half of them with columns."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whether a test's agents use columns: what holds for either kind must hold for the other."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "columns" in metafunc.fixturenames and not any("columns" in names for names in named):
        choices = [False, True] if metafunc.module.__name__.rpartition(".")[2] in BOTH else [zlib.crc32(metafunc.function.__name__.encode()) % 2 == 1]
        metafunc.parametrize("columns", choices, ids=["columns" if choice else "one-by-one" for choice in choices])


@pytest.fixture
def connect(broker: BrokerProcess, stack: AsyncExitStack, columns: bool) -> Connect:
    """Makes agents that are connected to the broker; arguments as for ScriptedAgent."""

    async def make(**options: Any) -> ScriptedAgent:
        agent = ScriptedAgent(broker.address, columns=columns, **options)
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


@pytest.fixture
async def agents(machine: Machine, stack: AsyncExitStack) -> AgentsService:
    """The service, whose agent is the machine's. What is not flushed is not stored."""
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    return AgentsService(Ownership(machine), machine.settings, LogWriter(machine.pool, machine.types.log_limits, Metrics()), tasks)  # type: ignore[arg-type]


@pytest.fixture
async def bench(machine: Machine) -> Bench:
    """With a channel, and the duty taken up."""
    bench = Bench(machine)
    await bench.channel()
    await bench.step()
    return bench
