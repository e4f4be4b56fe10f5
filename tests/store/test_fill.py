"""The filled database of `make fill` is one that a broker could have left behind."""

from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_broker.model.ids import class_for, class_of, shard_of
from headrace_broker.model.job import State, fold
from headrace_client import Client
from headrace_client import State as Shown

from benchmarks.fill import Plan, Refused, fill
from benchmarks.stories import RETRYING, SETTLED
from tests.support.ledger import check_ledger
from tests.support.processes import start_broker, until

PLAN = Plan(3000, waiting=200, scheduled=300, stuck=1, log_lines=1.5, chunk=700)
STRAY_LINES = """select count(*) from headrace.log_line l
where not exists (select from headrace.event e where e.job_id = l.job_id and e.seq = l.lease_epoch and e.kind = 1)"""
AGES = "select extract(epoch from now() - min(headrace.created_at(job_id))), max(headrace.created_at(job_id)) < now() from headrace.job"


async def test_a_filled_ledger_is_possible_and_its_counts_are_exact(database: str) -> None:
    await fill(database, PLAN)
    con = await asyncpg.connect(database)
    try:
        heads = await check_ledger(con)
        states = Counter(head.state for head in heads.values())
        assert sum(states.values()) == 3000 and states[State.WAITING] == 501
        assert states[State.COMPLETED] > 2200 and states[State.ERROR] > 20 and states[State.ABORTED] > 10
        assert sum(head.seq == 2 for head in heads.values() if head.state is State.WAITING) > 0, "none waits for a retry"
        assert await con.fetchval("select count(*) from headrace.alert") == states[State.ERROR]
        instances = await con.fetch("select array_agg(job_id) as ids from headrace.job where instance_id is not null group by instance_id")
        assert len(instances) > 50 and all(len({shard_of(job_id) for job_id in row["ids"]}) == 1 for row in instances)
        assert 3000 < await con.fetchval("select count(*) from headrace.log_line") < 7000
        assert await con.fetchval(STRAY_LINES) == 0
        assert await con.fetchval("select count(*) from headrace.job where octet_length(payload) <> 200") == 0
        oldest, past = await con.fetchrow(AGES)
        assert past and 6 * 86_400 <= oldest < 6 * 86_400 + 120
    finally:
        await con.close()


async def test_a_broker_serves_what_was_filled(database: str, directory: Path, stack: AsyncExitStack) -> None:
    await fill(database, Plan(500, waiting=100, scheduled=50, stuck=1, connections=1))
    await fill(database, Plan(200, waiting=10, seed=2))
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))

    async def serves() -> bool:
        return (await client.count()).totals.get(Shown.WAITING) == 161

    await until(serves, what="the counts of what was filled")
    assert sum((await client.count()).totals.values()) == 700
    submitted = await client.submit("mail.send", {"n": 1})
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    assert submitted.job_id > await con.fetchval("select max(job_id) from headrace.job where job_id <> $1", submitted.job_id)
    with pytest.raises(Refused, match="a broker serves this database"):
        await fill(database, Plan(10))


async def test_what_is_filled_after_a_checkpoint_is_not_missed(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database)
    async with Client(broker.address) as client:
        await client.submit("mine", 1)
    assert await broker.stop() == 0  # with a checkpoint
    await fill(database, Plan(100, waiting=40))
    again = await start_broker(directory, database=database, name="again")
    stack.push_async_callback(again.kill)
    async with Client(again.address) as client:
        assert len([job async for job in client.iter_jobs(states=[Shown.WAITING])]) == 41


async def test_a_long_history_is_kept_as_long_as_it_is_old(database: str) -> None:
    await fill(database, Plan(400, days=20, types={"mail.send": 1}, domain="old"))
    con = await asyncpg.connect(database)
    try:
        heads = await check_ledger(con)
        assert {class_of(job_id) for job_id in heads} == {class_for(28 * 86_400)}
        assert await con.fetchval("select count(*) from headrace.job_state where state = 'gone'") == 0
    finally:
        await con.close()


async def test_a_plan_that_does_not_add_up_is_refused(database: str) -> None:
    with pytest.raises(Refused):
        await fill(database, Plan(10, waiting=11))


def test_stories_are_possible_and_share_out_a_thousand() -> None:
    assert sum(story.weight for story in SETTLED) == 1000
    for story in (*SETTLED, RETRYING):
        assert fold(story.events()).state is (State.WAITING if story is RETRYING else story.steps[-1][2])
        assert [at_s for at_s, _, _ in story.steps] == sorted(at_s for at_s, _, _ in story.steps)
