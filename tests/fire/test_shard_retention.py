"""Retention in a queue of two shards, whose jobs lie in the same ranges: what is gone of either goes, and what stays and all counts are right at either's successor."""

import asyncio
import functools
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance.retention import Retention
from headrace_broker.metrics import Metrics
from headrace_broker.model.audit import Caller
from headrace_broker.model.job import Kind, State
from headrace_broker.model.shard import all_of
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.store import partitions
from headrace_broker.store.retire import Retirement

from tests.fire.steps import end, granted
from tests.property.machine import Machine
from tests.support.databases import clone
from tests.support.ledger import check_ledger
from tests.support.processes import until
from tests.support.shards import make_domains

DAY_S = 86_400.0
HEADS = (
    "select distinct on (j.job_id) j.job_id, j.type_id, coalesce(e.state, 1) as state, coalesce(e.delete_minute, 0) as minute"
    " from headrace.job j left join headrace.event e using (job_id) order by j.job_id, e.seq desc"
)


@pytest.fixture
async def dsn(postgres: Any, stack: AsyncExitStack) -> str:
    """A database of its own, whose flush rows tell of more jobs than there are in the end."""
    admin = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
    stack.push_async_callback(admin.close)
    await admin.execute("drop database if exists retiring_shards with (force)")
    await admin.execute(clone("retiring_shards"))
    return str(postgres.dsn.replace("/headrace?", "/retiring_shards?"))


async def _work(machine: Machine) -> int:
    """Jobs that wait, have failed once, were lost, have completed; and one that was purged, which is returned."""
    await machine.submit(4)
    done, failed, purged, _ = await granted(machine, 4)
    for job_id, kind in ((done, Kind.COMPLETED), (failed, Kind.FAILED), (purged, Kind.COMPLETED)):
        await machine.report(job_id, machine.jobs[job_id].seq, kind)
    asking = changes.request(machine.owner, machine.heads, Verb.PURGE, [purged], caller=Caller("test", machine.domain, "tested"), reason="")
    assert (await end(machine, asyncio.ensure_future(asking))).error is None
    del machine.jobs[purged]
    await machine.lose()
    machine.check_memory()
    return purged


@pytest.mark.parametrize("full", [False, True], ids=["from its checkpoint", "from all of history"])
async def test_jobs_of_both_shards_are_retired_and_the_counts_agree_after_takeovers(dsn: str, stack: AsyncExitStack, full: bool) -> None:
    domains = await make_domains(dsn, "north", "south")
    machines = [Machine(dsn, domains[shard.number], shard) for shard in all_of(2)]
    gone: set[int] = set()
    for machine in machines:
        stack.push_async_callback(machine.close)
        await machine.open()
        gone.add(await _work(machine))
        await machine.checkpoint(store=True, publish=True)
    for machine in machines:
        machine.pass_time(40 * DAY_S)
        await machine.make_partitions()
        due = {job_id for job_id, job in machine.jobs.items() if job.state is State.COMPLETED}
        gone |= due
        for job_id in due:
            del machine.jobs[job_id]
        await machine.flush()
    pool = machines[0].pool
    retired = Counter((row["type_id"], row["state"], row["minute"]) for row in await pool.fetch(HEADS) if row["job_id"] in gone)
    retention = Retention(Retirement(pool), functools.partial(partitions.ranges, pool), machines[0].owner.clock.now_s, Metrics())
    done: Counter[str] = Counter()

    async def all_gone() -> bool:
        done.update(await retention.run_once())
        return done["jobs"] >= len(gone)

    await until(all_gone, what="the end of what is due, once nothing looks at its range")
    stay = {job_id for machine in machines for job_id in machine.jobs}
    assert len(gone) == 4 and {row["job_id"] for row in await pool.fetch("select job_id from headrace.job")} == stay
    for dying, beside in (machines, machines[::-1]):
        await dying.crash(full=full)
        dying.check_memory()
        await beside.submit(1)
        beside.check_memory()
        await _work(dying)
    con = await asyncpg.connect(dsn)
    stack.push_async_callback(con.close)
    await check_ledger(con, retired)
