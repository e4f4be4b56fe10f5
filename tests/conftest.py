"""Fixtures: a Postgres for the session, a database for each test, brokers and agents on it."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client

from tests.support.databases import clone, session_server
from tests.support.processes import BrokerProcess, Process, forking, start_agent, start_broker

LOG_TAIL = 4000  # characters


def pytest_configure() -> None:
    """A shell has what it runs in the background ignore Ctrl-C, and that is inherited: programs under test would ignore it too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows what its processes said last."""
    report = yield
    directory = getattr(item, "funcargs", {}).get("directory")
    if report.failed and isinstance(directory, Path):
        report.sections += [(str(log.relative_to(directory)), log.read_text(errors="replace")[-LOG_TAIL:]) for log in sorted(directory.rglob("*.log"))]
    return report


@pytest.fixture
def directory() -> Iterator[Path]:
    """An empty directory that other users may enter, as the database's user must when tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def quick_starts() -> Iterator[None]:
    """Our programs start in a tenth of the time."""
    forking.on = True
    yield
    forking.end()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for the session (for each worker of xdist), without fsync; its template database is migrated."""
    with session_server() as server:
        yield server


_number = 0


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A migrated database of the test's own; its DSN. Fails the test that leaves facts that do not follow from each other."""
    global _number
    _number += 1
    name = f"test_{_number}"
    admin_dsn = postgres.dsn.replace("/headrace?", "/postgres?")
    con = await asyncpg.connect(admin_dsn)
    try:
        await con.execute(clone(name))
        dsn = postgres.dsn.replace("/headrace?", f"/{name}?")
        yield dsn
        await _check_histories(dsn)
        await con.execute(f"drop database {name} with (force)")
    finally:
        await con.close()


async def _check_histories(dsn: str) -> None:
    """Every history in the ledger is one that the model allows, and the counts of the flushes are those of the jobs."""
    from tests.support.ledger import check_ledger

    con = await asyncpg.connect(dsn)
    try:
        await check_ledger(con)
    finally:
        await con.close()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """Things to be closed at the end of the test."""
    async with AsyncExitStack() as exits:
        yield exits


@pytest.fixture
async def con(database: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """To the test's database."""
    con = await asyncpg.connect(database)
    yield con
    await con.close()


@pytest.fixture
def broker_options() -> tuple[str, ...]:
    """Options of `broker`; a file of tests may have its own."""
    return ()


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack, broker_options: tuple[str, ...]) -> BrokerProcess:
    """A broker on the test's database."""
    process = await start_broker(directory, *broker_options, database=database)
    stack.push_async_callback(process.kill)
    return process


@pytest.fixture
async def client(broker: BrokerProcess, stack: AsyncExitStack) -> Client:
    """A client of that broker."""
    return await stack.enter_async_context(Client(broker.address, timeout_s=20))


@pytest.fixture
async def admin(broker: BrokerProcess, stack: AsyncExitStack) -> AdminClient:
    """An administrator's client of that broker."""
    return await stack.enter_async_context(AdminClient(broker.address, actor="tester", timeout_s=20))


@pytest.fixture
async def agent(broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> Process:
    """An agent process with the handlers of tests.support.handlers."""
    process = await start_agent(directory, broker.address)
    stack.push_async_callback(process.kill)
    return process


@pytest.fixture(autouse=True)
async def no_tasks_left() -> AsyncIterator[None]:
    """Fails a test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    left: list[Any] = [task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done() and "grpc" not in repr(task.get_coro())]
    if left:
        await asyncio.wait(left, timeout=10)
    running = [task for task in left if not task.done()]
    assert not running, f"tasks left: {running}"
