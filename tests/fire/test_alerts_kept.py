"""The duty of alerts is taken up by another broker, or begun anew, and meets more of something than one look holds: nothing is told twice, or to nobody."""

import asyncio
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.alert_rules import ExpectedAgent
from headrace_broker.model.alerting import Silence, Source
from headrace_broker.model.job import State
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.type_figures import type_figures
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.statistics import Statistics

from tests.fire.alarms import Bench
from tests.property.machine import TESTER
from tests.support.crews import submit


async def test_a_message_whose_delivery_could_not_be_recorded_counts_for_the_cap(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.channel(cap_per_hour=1)

    async def broken(*_: object) -> None:
        raise OSError("the connection broke")

    await bench.fail(1)
    await bench.step()
    with monkeypatch.context() as patch:
        patch.setattr(AlertStore, "sent", broken)
        await bench.step(31)
        with pytest.raises(OSError, match="broke"):
            await bench.step(1)
    bench.duty._held = None  # as after any pass that failed
    await bench.fail(1, "b")
    await bench.run(3500, 10)
    assert len(bench.receiver.got) == 1, "within the hour"
    await bench.run(200, 10)
    assert len(bench.receiver.got) == 2 and bench.receiver.count == 2


async def test_when_the_clock_is_set_back_nobody_waits_until_it_shows_again_what_it_showed(bench: Bench) -> None:
    clock = bench.machine.owner.clock
    await bench.fail(1)
    await bench.step()
    await bench.step(31)
    clock.set(clock.now_s() - 7200.0, bench.machine.now, bench.machine.now)
    await bench.fail(2)
    await bench.run(310, 10)
    assert [message.count for _, message in bench.receiver.got] == [1, 2]
    bench.receiver.away = True
    await bench.run(1200, 10)
    assert bench.receiver.tries > 3, "that it is over"
    bench.receiver.away = False
    clock.set(clock.now_s() - 7200.0, bench.machine.now, bench.machine.now)
    await bench.run(60, 10)
    assert [message.payload["data"]["status"] for _, message in bench.receiver.got] == ["firing", "firing", "resolved"]


async def test_a_silence_holds_however_many_others_end_later(bench: Bench) -> None:
    now = bench.machine.owner.clock.now_s()
    await bench.store.add_silence(Silence(0, "default", "", "", "", "", now, now + 3600, "ada", "deploy"), caller=TESTER)
    await bench.machine.pool.execute(
        """insert into headrace.alert_silence (domain, type, source, rule, fingerprint, starts_at, ends_at, author, reason)
        select 'another', '', '', '', n::text, now(), now() + interval '1 year', 'bob', 'they flap' from generate_series(1, 1000) n"""
    )
    await bench.fail(1)
    await bench.run(1800)
    assert bench.receiver.got == []


async def test_a_failure_that_is_being_stored_while_a_door_is_written_down_is_told_too(bench: Bench) -> None:
    """The alert of a door does not come with a flush: its id may be above those of one that is not committed yet."""
    await bench.fail(1)
    flush = await asyncpg.connect(bench.machine._dsn)
    async with flush.transaction():
        await flush.execute("insert into headrace.alert (job_id, type_id, seq, kind, error) select job_id, type_id, seq, kind, error from headrace.alert")
        assert await Inbox(bench.machine.pool).alert(1, bench.machine.type.type_id, 1, "{}")
        await bench.step()
    await flush.close()
    await bench.run(600)
    assert bench.receiver.count == 2
    assert not (await bench.store.poll())[2], "a door by itself is nothing new"


async def test_jobs_that_wait_are_found_behind_many_that_were_aborted(bench: Bench) -> None:
    """Whose entries stay in their lane until an agent comes by."""
    machine, later = bench.machine, bench.machine.now + 100
    await bench.rule(Source.NO_AGENT, for_s=0.0, minimum=30)
    aborted = await submit(machine, 4200)
    machine.now = later
    await submit(machine, 40)
    for start in range(0, 4200, 500):
        asked = changes.request(machine.owner, machine.heads, Verb.ABORT, aborted[start : start + 500], caller=TESTER, reason="")
        assert all(change.state is State.ABORTED for change in await machine.until_done(asyncio.ensure_future(asked)))
    machine.now += 50
    await bench.step()
    [(_, message)] = bench.receiver.got
    assert "40 jobs wait and no connected agent serves" in message.text
    [figures] = [each for each in type_figures([machine.owner], 10) if each.type == "work"]
    assert figures.oldest_s == pytest.approx(50, abs=1.0)
    lane = machine.owner.lanes._by_type[machine.type.type_id][0]
    assert machine.owner.lanes.oldest_in(lane) is not None and lane.passed == 4200, "they are not looked at again"
    machine.owner.lanes.pop(machine.type.type_id, 0, 4210)
    assert machine.owner.lanes.oldest(machine.type.type_id) is not None
    assert len(machine.owner.lanes.pop(machine.type.type_id, 0, 4210)) == 30 and machine.owner.lanes.oldest(machine.type.type_id) is None


async def test_a_rate_is_judged_by_the_newest_minutes_however_many_types_there_are(bench: Bench) -> None:
    """A day of forty types is more rows than one answer of the statistics has."""
    await bench.rule(Source.ERROR_RATE, window_s=86_400.0)
    machine, minute = bench.machine, int(bench.machine.owner.clock.now_s() // 60)
    types = [(await machine.types.ensure("default", f"t{number}")).type_id for number in range(40)]
    await machine.pool.execute(
        """insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
        select 1, at, type_id, 0, $1, case when type_id = $3 and at > $4 - 10 then '{"failed": 1000}' else '{"completed": 1}' end::jsonb, '{}', '{}', 0, 0, 0, 0
        from unnest($2::int[]) type_id, generate_series($4::int - 1430, $4::int) at""",
        machine.owner.life_id, types, types[7], minute,
    )  # fmt: skip
    await bench.run(20, 5)
    assert ["too many failures: t7" in message.subject for _, message in bench.receiver.got] == [True]
    assert "10,000 of 11,421 attempts failed" in bench.receiver.got[0][1].text
    newest = await Statistics(machine.pool).ended(minute - 1440, minute + 1, [types[7]], most=10)
    assert newest == {types[7]: (10_000, 10_000)}, "where there are more than are added up"


async def test_what_a_rule_has_found_goes_on_whoever_looks_next(bench: Bench) -> None:
    """A broker that takes the duty up has not seen how long it lasts; nor has one that could not store a pass, and begins anew."""
    await bench.rule(Source.NO_AGENT, for_s=600.0)
    await bench.machine.submit(3)
    await bench.run(660, 10)
    assert [message.payload["data"]["status"] for _, message in bench.receiver.got] == ["firing"]
    bench.duty = bench.new()
    await bench.run(300, 10)
    await bench.machine.crash()
    bench.duty = bench.new()
    await bench.run(300, 10)
    assert len(bench.receiver.got) == 1, "neither over nor new"
    await bench.machine.grant(3)
    await bench.run(120, 10)
    assert [message.payload["data"]["status"] for _, message in bench.receiver.got] == ["firing", "resolved"]


async def test_agents_that_share_a_group_with_all_others_are_missed_whoever_looks_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """More agents are gone than have a group of their own."""
    await bench.rule(Source.AGENT_LOST, for_s=120.0)
    await bench.step()
    gone_s = bench.machine.owner.clock.now_s() - 60.0
    agents = [ExpectedAgent(f"{number:032}", "default", f"agent-{number}", "host", gone_s) for number in range(150)]
    await bench.store.save_agents(agents, [], (await bench.store.poll())[0])

    for _ in range(2):
        await bench.machine.crash(check=False)
        bench.duty = bench.new()
        await bench.run(300, 5)
        groups = await bench.store.groups("default", is_open=None, below=1 << 62, limit=1000)
        assert len(groups) == 101 and "(others)" in {group.key.fingerprint for group in groups}
        assert all(group.resolved_s is None and group.notices == 1 for group in groups), "neither over nor new"
    moved: list[int] = []
    moving = bench.store.moving

    def counted(term: int) -> Any:
        moved.append(term)
        return moving(term)

    monkeypatch.setattr(bench.store, "moving", counted)
    await bench.run(20, 1)
    assert len(moved) <= 2, "that it goes on is no transaction"


async def test_an_agent_that_dies_after_the_clock_was_set_back_is_missed(bench: Bench) -> None:
    machine, clock = bench.machine, bench.machine.owner.clock
    await bench.rule(Source.AGENT_LOST, for_s=30.0)
    await machine.submit(1)
    await machine.grant(1)
    await bench.run(60, 5)
    clock.set(clock.now_s() - 7200.0, machine.now, machine.now)
    await bench.run(10, 5)
    await machine.lose()
    for _ in range(12):
        machine.now += 5
        await bench.step()
    assert ["agent lost: agent" in message.subject for _, message in bench.receiver.got] == [True]
