"""Ids and the partitions that hold them, when the database's clock is not where they were made for: what is submitted is stored all the same."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from headrace_broker.model.ids import class_of, created_at_s, lowest_id_at
from headrace_broker.model.shard import ONLY
from headrace_broker.shards import ownership as ownership_module
from headrace_broker.shards.intents import PlainJobs

from tests.property.machine import TESTER, Machine
from tests.support.shards import run_owner

DAY_S, HOUR_S = 86_400.0, 3600.0


async def test_a_clock_beyond_all_partitions_holds_up_no_submit(database: str, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set forward, the machine slept, or the database was away for longer than they are made ahead."""
    monkeypatch.setattr(ownership_module, "RANGES_S", 3600.0)  # nobody else looks whether there are enough
    ownership = await run_owner(database, ONLY, stack)
    owner = ownership.owner
    entry = await owner.types.ensure("default", "work")
    newest = 0
    for number in range(3):
        owner.clock.advance(40 * DAY_S)
        async with asyncio.timeout(20):
            [plain] = await owner.submit(PlainJobs(entry, 0, [b"1"]), 1)
            keyed, _ = await owner.submit_keyed((entry, 0, 0.0, b"1"), entry.domain_id, f"key {number}", b"", 1)
        assert newest < plain < keyed and abs(created_at_s(keyed) - owner.clock.now_s()) < HOUR_S
        newest = keyed


async def test_a_job_lies_in_the_default_class_while_its_own_has_no_partition_for_it(machine: Machine) -> None:
    """As when the database is back after a quarter of an hour: others are made within seconds."""
    short = await machine.add_type("short", delete_completed_after_s=60.0)
    classes = []
    for made in (True, False, True):
        if made:
            await machine.make_partitions(6)
        ids = [machine.owner.submit(PlainJobs(short, 0, [b"1"]), 1), machine.owner.submit([(short, 0, 0.0, b"1")], 1)]
        await machine.flush()
        classes += [class_of(job_id) for done in ids for job_id in done.result()]
        machine.pass_time(HOUR_S)
    assert classes == [6, 6, 2, 2, 6, 6]


async def test_a_class_that_is_first_used_while_ids_are_ahead_of_the_clock_has_partitions_for_them(database: str, stack: AsyncExitStack) -> None:
    """As after the clock was an hour ahead, and set back: ids go on from where they were."""
    ownership = await run_owner(database, ONLY, stack)
    owner = ownership.owner
    owner.numbering.recover(lowest_id_at(owner.clock.now_s() + HOUR_S))
    entry = await owner.types.ensure("default", "short")
    await owner.types.override(entry, {"delete_completed_after_s": 60.0}, [], caller=TESTER)
    await ownership._open_classes(owner)
    async with asyncio.timeout(20):
        [job_id] = await owner.submit(PlainJobs(entry, 0, [b"1"]), 1)
    assert class_of(job_id) == 6 and created_at_s(job_id) > owner.clock.now_s() + HOUR_S / 2
