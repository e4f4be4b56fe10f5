"""What an owner counts in each minute is stored once, whatever becomes of its connection and of the database's clock."""

from contextlib import AsyncExitStack

from headrace_broker.maintenance.rollup import Rollup
from headrace_broker.model.shard import ONLY
from headrace_broker.shards.intents import PlainJobs
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import open_pool
from headrace_broker.store.statistics import Statistics

from tests.property.machine import Machine
from tests.support.processes import until
from tests.support.shards import run_owner

SUBMITTED = "select sum((numbers ->> 'submitted')::int) from headrace.stat where agent_id = 0"


async def _submit(ownership: Ownership, count: int) -> None:
    entry = await ownership.owner.types.ensure("default", "work")
    await ownership.owner.submit(PlainJobs(entry, 0, [b"1"] * count), count)


async def test_a_minute_in_which_the_connection_is_lost_is_counted_once(database: str, stack: AsyncExitStack) -> None:
    ownership, pool = await run_owner(database, ONLY, stack), await open_pool(database, size=2)
    stack.push_async_callback(pool.close)
    owner, rollup = ownership.owner, Rollup(Statistics(pool), lambda: ownership.owner, sums=False)
    await _submit(ownership, 3)
    await rollup.run_once()
    life = owner.life_id
    await pool.execute("select pg_terminate_backend(backend_pid) from headrace.life where life_id = $1", life)

    async def succeeded() -> bool:
        return owner.life_id != life and owner.refusing is None

    await until(succeeded, what="the next life of the owner")
    assert ownership.owner is owner
    await _submit(ownership, 2)
    await rollup.run_once()
    assert await pool.fetchval(SUBMITTED) == 5


async def test_minutes_that_have_ended_keep_their_counts_when_the_clock_is_set_back(machine: Machine) -> None:
    rollup = Rollup(Statistics(machine.pool), lambda: machine.owner, sums=False)
    for _ in range(2):
        await machine.submit(2)
        await rollup.run_once()
        machine.pass_time(600)
    machine.owner.clock.advance(-1200)
    await rollup.run_once()
    assert await machine.pool.fetchval(SUBMITTED) == 4
