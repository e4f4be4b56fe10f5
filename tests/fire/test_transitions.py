"""Every transition under every fault that hits the broker, its connection to Postgres, or its messages."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_client import AdminClient, Client

from tests.fire.board import Board
from tests.support.agreement import agree
from tests.support.processes import start_broker, until

MOMENTS = ("at once", "with the first answer")
FAULTS = pytest.mark.parametrize(("moment", "columns"), [(MOMENTS[0], False), (MOMENTS[1], True)])


class Stage:
    """A broker with a board of jobs before it."""

    def __init__(self, database: str, directory: Path, stack: AsyncExitStack) -> None:
        self.database = database
        self.directory = directory
        self.stack = stack

    async def open(self, *, columns: bool) -> Board:
        """Starts the broker; everything is prepared."""
        self.broker = await start_broker(self.directory, database=self.database)
        self.stack.push_async_callback(self.broker.kill)
        client = await self.stack.enter_async_context(Client(self.broker.address, timeout_s=20))
        admin = await self.stack.enter_async_context(AdminClient(self.broker.address, timeout_s=20))
        board = Board(client, admin, self.broker.address, self.stack, columns=columns)
        await board.prepare()
        return board


@pytest.fixture
async def stage(database: str, directory: Path, stack: AsyncExitStack) -> Stage:
    return Stage(database, directory, stack)


async def _act_and(board: Board, moment: str) -> "asyncio.Task[None]":
    """Begins all transitions; returns at the moment of the fault."""
    acting = asyncio.create_task(board.act())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while moment == MOMENTS[1] and not board.answers:  # no pause: the next answers must still be under way
            await asyncio.sleep(0)
    return acting


@pytest.mark.parametrize(("times", "columns"), [(1, False), (2, True)], ids=["once", "twice"])
async def test_every_transition_happens_once_however_often_it_is_asked_for(stage: Stage, times: int, columns: bool) -> None:
    board = await stage.open(columns=columns)
    await board.act(times=times)
    await board.settle(takeover=False)
    await board.act()
    await board.settle(takeover=False)
    board.check_dispositions()
    await agree(board.client, stage.database)
    alerts, _ = await board.admin.list_alerts()
    alerted = {case.job_id for case in board.cases if case.name in ("failed for the last time", "failed for good", "failed into aborted", "timed out for the last time")}
    alerted |= {case.job_id for case in board.cases if case.name in ("lost for the last time", "requeue of an error", "not started in time")}
    assert sorted(alert.job_id for alert in alerts) == sorted(alerted), "one alert for each job that ended badly, in the same commit"


@FAULTS
async def test_every_transition_while_the_broker_is_killed(stage: Stage, moment: str, columns: bool) -> None:
    board = await stage.open(columns=columns)
    acting = await _act_and(board, moment)
    await stage.broker.kill()
    again = await start_broker(stage.directory, database=stage.database, listen=stage.broker.address, name="again")
    stage.stack.push_async_callback(again.kill)
    await board.come_back(again.address)
    await acting
    await board.act()
    await board.settle(takeover=True)
    board.check_dispositions()
    await agree(board.client, stage.database)


async def test_every_transition_while_the_broker_is_stopped_for_a_moment(stage: Stage) -> None:
    board = await stage.open(columns=True)
    stage.broker.signal(signal.SIGSTOP)
    acting = asyncio.create_task(board.act())
    hand = board.agents["hand"]
    number = hand.number

    async def sent() -> bool:
        return hand.number > number + 20

    await until(sent, what="the transitions, sent to a stopped broker")
    stage.broker.signal(signal.SIGCONT)
    await acting
    await board.settle(takeover=False)
    board.check_dispositions()
    await agree(board.client, stage.database)


@FAULTS
async def test_every_transition_while_the_connection_to_postgres_breaks(stage: Stage, moment: str, columns: bool) -> None:
    board = await stage.open(columns=columns)
    con = await asyncpg.connect(stage.database)
    stage.stack.push_async_callback(con.close)
    acting = await _act_and(board, moment)
    cut = await con.fetch("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'headrace flush' and datname = current_database()")
    assert len(cut) == 1
    await acting
    await board.act()
    await board.settle(takeover=False)
    board.check_dispositions()
    await agree(board.client, stage.database)


@FAULTS
async def test_every_transition_while_the_agents_streams_break(stage: Stage, moment: str, columns: bool) -> None:
    board = await stage.open(columns=columns)
    acting = await _act_and(board, moment)
    for name in ("hand", "taker"):
        await board.agents[name].close()
    await board.come_back(stage.broker.address)
    await acting
    await board.act()
    await board.settle(takeover=True)  # an Assign that was under way is given back and granted again
    board.check_dispositions()
    await agree(board.client, stage.database)
