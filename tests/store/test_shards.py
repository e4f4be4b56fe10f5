"""How many shards a queue has is changed while no broker runs: counts, ids and checkpoints follow, and nobody begins with another number in mind."""

import asyncio
import zlib
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.ids import SHARDS, TICK_SHIFT
from headrace_broker.model.job import State
from headrace_broker.model.shard import Shard
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.numbering import Numbering
from headrace_broker.store.batch import Batch
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.migrate import MigrationError
from headrace_broker.store.recovery import Recovery
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.shards import BrokersRun, set_shards, shard_count, shards

from tests.store.test_ledger import Bench, bench
from tests.support.processes import run_command

__all__ = ["bench"]


async def _counts(bench: Bench, number: int, domains: dict[int, int]) -> tuple[Counter[Any], set[int]]:
    """(all counts, the highest ids) of the shards; each has those of its domains alone."""
    found, highest = Counter[Any](), set()
    async with Recovery(bench.pool) as recovery:
        for shard in range(number):
            counts, max_id = await recovery.counts(shard)
            assert all(domains[type_id] % number == shard for type_id, _, _ in counts)
            found.update(counts)
            highest.add(max_id)
    return found, highest


async def test_counts_lie_in_the_shards_of_their_domains_whatever_their_number(bench: Bench, stack: AsyncExitStack) -> None:
    rows = [await SettingsStore(bench.pool).add_type(f"domain{number}", "t") for number in range(5)]
    domains = {row.type_id: row.domain_id for row in rows}
    ledger = await bench.owner(stack)
    expected, highest = Counter[Any](), 0
    for number, row in enumerate(rows, 1):
        bench.type_id, batch = row.type_id, Batch()
        for place in range(number):
            job_id = bench.job(batch)
            if place % 2:
                bench.grant(batch, job_id)
        highest = batch.max_id
        expected.update({key: count for key, count in batch.counts.items() if count})
        await ledger.flush(batch)
        if number == 2:  # some counts are in a base, others in flushes alone
            await ledger.base_counts(dict(expected), highest, absorb=True)
    with pytest.raises(BrokersRun) as refused:
        await set_shards(bench.dsn, 4)
    assert "stop test" in str(refused.value) and await shard_count(bench.pool) == 1
    await ledger.close()
    await set_shards(bench.dsn, 4, dry_run=True)
    assert await shard_count(bench.pool) == 1
    for number in (4, 7, 1, 64, 2, 1):
        await set_shards(bench.dsn, number)
        assert await _counts(bench, number, domains) == (expected, {highest})
    assert expected[rows[4].type_id, State.PROCESSING, 0] == 2


async def test_a_life_is_for_a_shard_that_there_is(bench: Bench, stack: AsyncExitStack) -> None:
    await set_shards(bench.dsn, 3)
    for wrong in (Shard(0, 1), Shard(2, 4)):
        with pytest.raises(MigrationError, match="3 shards"):
            await Ledger.open(bench.dsn, address="test", version="0", shard=wrong.number, of=wrong.of)
    lives = [await Ledger.open(bench.dsn, address=f"owner of {number}", version="0", shard=number, of=3) for number in range(3)]
    for life in lives:
        stack.push_async_callback(life.close)
        assert await life.take_over(0) and await life.owns_its_shard()
    shown = await shards(bench.dsn)
    assert [row.address for row in shown] == ["owner of 0", "owner of 1", "owner of 2"] and all(row.since is not None for row in shown)
    assert [name for row in shown for name in row.domains] == ["default"]
    await lives[1].leave()
    assert [row.address for row in await shards(bench.dsn)] == ["owner of 0", "", "owner of 2"]


async def test_the_command_shows_and_sets_shards(database: str) -> None:
    async def command(*words: str) -> tuple[int, str]:
        done = await asyncio.to_thread(run_command, "headrace-broker", "shards", *words, "--database-url", database)
        return done.returncode, done.stdout + done.stderr

    con = await asyncpg.connect(database)
    try:
        await con.execute("insert into headrace.domain (name) values ('north'), ('south')")
    finally:
        await con.close()
    code, said = await command("2")
    assert code == 0 and said.splitlines()[0].startswith("shard 0: no owner; ") and "; 1 domain: south" in said and len(said.splitlines()) == 2
    assert await command() == (0, said)
    for wrong in ("65", "0", "four"):
        code, said = await command(wrong)
        assert code == 2 and f"a queue has 1 to 64 shards, found '{wrong}'" in said
    life = await Ledger.open(database, address="somebody", version="0", shard=1, of=2)
    code, said = await command("1")
    assert code == 1 and "stop somebody" in said
    await life.close()
    assert (await command("1", "--dry-run"))[0] == 0 and len((await command())[1].splitlines()) == 2


async def test_the_command_says_what_a_database_without_a_schema_lacks(postgres: EmbeddedPostgres) -> None:
    for words in ([], ["2"]):
        empty = postgres.dsn.replace("/headrace?", "/postgres?")
        done = await asyncio.to_thread(run_command, "headrace-broker", "shards", *words, "--database-url", empty)
        assert done.returncode == 1 and "run headrace-broker migrate" in done.stderr


def test_owners_beside_each_other_give_no_id_twice() -> None:
    for of in (1, 2, 3, 6, 64):
        places = [Numbering(DatabaseClock(lambda: 0.0), Shard(number, of)) for number in range(of)]
        seen: dict[int, int] = {}
        for rounds in range(130):
            for number, numbering in enumerate(places):
                numbering._shard = numbering._place(rounds)
                for bits in (numbering._shard, numbering._place(zlib.crc32(f"instance {rounds}".encode()))):
                    assert 0 <= bits < SHARDS and seen.setdefault(bits, number) == number
        assert len(seen) >= min(SHARDS // of * of, 64) and TICK_SHIFT > 6
