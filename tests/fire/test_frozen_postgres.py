"""A Postgres server that stops in the middle of flushes, or is shut down at once: submitters get their id or are told that it is unknown; the same key gives one job."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.migrate import migrate
from headrace_client import AdminClient, Client, Unavailable

from tests.fire.board import Board
from tests.support.agreement import agree
from tests.support.processes import freeze, start_broker, thaw, until

KEYS = 400
TOGETHER = 20


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    """A server that this test may hurt; with fsync, since what it acknowledged must outlive an immediate shutdown."""
    server = EmbeddedPostgres(directory / "data", shared_buffers="64MB")
    server.start()
    asyncio.run(migrate(server.dsn))
    yield server
    server.stop()


class Submitters:
    """Many callers, each with a key of its own; `told` has what each got: an id, or that the job may be stored or is not."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: dict[str, int | Unavailable] = {}

    async def run(self) -> None:
        """Submits every key once."""
        keys = iter(range(KEYS))

        async def some() -> None:
            for n in keys:
                try:
                    self.told[f"key-{n}"] = (await self.client.submit("unserved", n, key=f"key-{n}", timeout_s=1.5)).job_id
                except Unavailable as error:
                    self.told[f"key-{n}"] = error

        async with asyncio.TaskGroup() as tasks:
            for _ in range(TOGETHER):
                tasks.create_task(some())

    @property
    def unknown(self) -> int:
        """Callers who got no id."""
        return sum(isinstance(answer, Unavailable) for answer in self.told.values())

    async def again(self) -> None:
        """Every key once more: who had an id gets the same, and each key has one job."""
        ids = {}
        for key, answer in self.told.items():
            ids[key] = (await self.client.submit("unserved", int(key.removeprefix("key-")), key=key, timeout_s=20)).job_id
            assert isinstance(answer, Unavailable) or ids[key] == answer, f"{key} was job {answer} and is now {ids[key]}"
        assert len(set(ids.values())) == KEYS


@pytest.fixture
async def board(server: EmbeddedPostgres, directory: Path, stack: AsyncExitStack) -> Board:
    broker = await start_broker(directory, "--accept-timeout-s", "60", database=server.dsn)  # the hands accept only once all keys were asked for again
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    board = Board(client, admin, broker.address, stack, columns=True)
    await board.prepare()
    return board


async def _begin(board: Board, submitters: Submitters) -> "list[asyncio.Task[None]]":
    """Load that has begun to be answered, and all transitions on their way."""
    tasks = [asyncio.create_task(submitters.run())]

    async def answered() -> bool:
        return len(submitters.told) >= 40

    await until(answered, what="the first answers")
    tasks.append(asyncio.create_task(board.act()))
    return tasks


async def _end(board: Board, submitters: Submitters, tasks: "list[asyncio.Task[None]]", server: EmbeddedPostgres) -> None:
    for task in tasks:
        await task
    await submitters.again()
    await board.act()
    await board.settle(takeover=False)
    board.check_dispositions()
    await agree(board.client, server.dsn)


async def test_a_postgres_that_is_stopped_and_goes_on(board: Board, server: EmbeddedPostgres) -> None:
    submitters = Submitters(board.client)
    tasks = await _begin(board, submitters)
    stopped = freeze(server.pid)

    async def unknown() -> bool:
        return submitters.unknown > 0

    try:
        await until(unknown, what="a submitter who is told that it is unknown")
    finally:
        thaw(stopped)
    await _end(board, submitters, tasks, server)


async def test_a_postgres_that_is_shut_down_at_once_and_comes_back(board: Board, server: EmbeddedPostgres) -> None:
    submitters = Submitters(board.client)
    tasks = await _begin(board, submitters)
    os.kill(server.pid, signal.SIGQUIT)

    async def back() -> bool:
        return server.ensure_running()

    await until(back, what="the server's end and its new start")
    await _end(board, submitters, tasks, server)
