"""The duty of alerts on a real ledger, with time under control: what fails is told once, whatever dies or does not answer in between."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from headrace_broker.alerts import words
from headrace_broker.alerts.duty import TRIM_S
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.facts import Roster
from headrace_broker.alerts.outage import Outage
from headrace_broker.alerts.sending import send
from headrace_broker.model.alert_rules import ExpectedAgent
from headrace_broker.model.alerting import GroupKey, Notice, Silence, Source, Timing, fired
from headrace_broker.shards.session import AgentFacts, Session
from headrace_broker.store.alerts import TRIMMED, LostDuty, Move, NewNotice
from headrace_broker.store.breakers import BreakerStore
from headrace_broker.store.statistics import Statistics
from structlog.testing import capture_logs

from tests.fire.alarms import Bench
from tests.property.machine import TESTER
from tests.support.processes import until


async def test_ten_thousand_failures_of_a_minute_are_few_messages_that_sum_to_them(bench: Bench) -> None:
    for number in range(20):
        await bench.fail(100, "ab"[number % 2])
        await bench.step(3)
    # the machine's agent runs 100 at once; the rest comes as rows, as a flush writes them
    await bench.machine.pool.execute(
        """insert into headrace.alert (job_id, type_id, seq, kind, error)
        select job_id, type_id, seq, kind, error from headrace.alert a, generate_series(1, 4) where a.alert_id <= 2000"""
    )
    await bench.run(3600)
    assert bench.receiver.count == 10_000
    assert len(bench.receiver.got) <= 8 and {message.payload["data"]["status"] for _, message in bench.receiver.got} == {"firing", "resolved"}
    groups = await bench.store.groups("default", is_open=None, below=1 << 62, limit=10)
    assert sorted((group.key.fingerprint, group.total, group.pending) for group in groups) == [("a", 5000, 0), ("b", 5000, 0)]
    assert all(group.resolved_s is not None and group.summary == "Boom: it broke" and group.first_job_id for group in groups)


async def test_a_server_that_is_away_for_ten_minutes_loses_none(bench: Bench) -> None:
    bench.receiver.away = True
    for _ in range(20):
        await bench.fail(50)
        await bench.step(30)
    assert not bench.receiver.got and bench.receiver.tries < 25, "it is not called again and again"
    [standing] = await bench.store.channels("default")
    assert standing.waiting >= 2 and standing.error == "the server is away"
    assert bench.measured("notices_waiting", kind="email") == standing.waiting and bench.measured("oldest_notice_seconds") > 400
    assert bench.measured("groups_firing") == 1 and bench.measured("failures_total") == 1000
    failed = bench.measured("messages_total", kind="email", result="failed")
    assert failed == bench.receiver.tries and bench.measured("messages_total", kind="email", result="delivered") == 0
    bench.receiver.away = False
    await bench.run(1800)
    assert bench.receiver.count == 1000 and (await bench.store.channels("default"))[0].waiting == 0
    assert bench.measured("messages_total", kind="email", result="delivered") == len(bench.receiver.got) and bench.measured("notices_waiting", kind="email") == 0
    assert bench.measured("notices_total", result="made") == bench.measured("notices_total", result="delivered") >= 2
    assert bench.measured("message_seconds_count", kind="email") == bench.receiver.tries and bench.measured("oldest_notice_seconds") == 0


async def test_a_broker_that_dies_between_sending_and_recording_sends_once_more_under_the_same_id(bench: Bench) -> None:
    await bench.fail(7)
    await bench.step()
    bench.receiver.hold = True
    sending = asyncio.ensure_future(bench.step(31))
    await bench.receiver.taken.wait()
    sending.cancel()
    await asyncio.wait([sending])
    bench.receiver.hold = False
    await bench.machine.crash(check=False)
    bench.duty = bench.new()
    await bench.step()
    assert len(bench.receiver.got) == 1, "not at once: if it was the message that killed the broker, it would kill the next one too"
    await bench.run(120)
    assert [message.message_id for _, message in bench.receiver.got] == ["headrace-1"] * 2 and bench.receiver.count == 7


async def test_a_broker_that_has_lost_the_duty_stores_and_sends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.fail(3)

    async def broken(*_: object) -> None:
        raise OSError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(Move, "put", broken)
        with pytest.raises(OSError, match="broke"):
            await bench.step()
    await bench.step()
    other = bench.new()
    await bench.step(duty=other)
    await bench.fail(4)
    with pytest.raises(LostDuty):
        await bench.step(31)
    await bench.step(duty=other)
    await bench.step(600, duty=other)
    assert bench.receiver.count == 7 and bench.receiver.tries == 1
    bench.receiver.away = True
    await bench.fail(1, "b")
    await bench.step(duty=other)
    await bench.step(31, duty=other)
    term, _, _ = await bench.store.poll()
    now = bench.machine.owner.clock.now_s()
    assert await bench.store.trying([2], 2, now, term - 1) == [], "a message of an older term is not sent"
    assert await bench.store.trying([2], 2, now, term) == [2]
    with pytest.raises(LostDuty):  # also when it was lost after the pass had begun
        async with bench.store.moving(term - 1):
            pass
    await bench.store.sent([2], now)
    assert await bench.store.trying([2], 2, now, term) == [], "what was delivered is not sent again"
    await bench.machine.pool.execute("update headrace.life set dead = true where life_id = $1", bench.machine.owner.life_id)
    with pytest.raises(LostDuty, match="has ended"):
        await bench.step(duty=bench.new())


async def test_a_cap_holds_back_and_says_how_many(bench: Bench) -> None:
    await bench.channel(cap_per_hour=3)
    for number in range(12):
        await bench.fail(number + 1, f"f{number}")
    await bench.step()
    await bench.run(120, 1)
    assert len(bench.receiver.got) == 3, "two by themselves, the others in one"
    last = bench.receiver.got[-1][1]
    assert bench.receiver.count == sum(range(1, 13)) and "10 more notices were held back" in last.text and "The cap of 3 messages an hour is reached" in last.text
    await bench.fail(100, "late")
    await bench.run(3400)
    assert len(bench.receiver.got) == 3
    await bench.run(600)
    assert bench.receiver.count == sum(range(1, 13)) + 100 and len(bench.receiver.got) <= 6
    assert bench.duty._held is not None and len(bench.duty._held.sent_s[1]) <= 3, "what was sent more than an hour ago is not remembered"


async def test_who_is_told_and_silences(bench: Bench) -> None:
    machine = bench.machine
    await bench.channel("oncall", default=False, send_resolved=False)
    await machine.types.override(
        machine.type, {"alert_channels": "oncall", "alert_group_wait_s": 5.0, "alert_group_interval_s": 60.0, "alert_resolve_after_s": 10.0}, [], caller=TESTER
    )
    await bench.fail(1)
    await bench.step()
    await bench.step(6)
    assert [name for name, _ in bench.receiver.got] == ["oncall"]
    await bench.run(600)
    assert len(bench.receiver.got) == 1, "it wants nothing of what is over"
    now = machine.owner.clock.now_s()
    await bench.store.add_silence(Silence(0, "default", "work", "job_error", "", "", now, now + 3600, "ada", "deploy"), caller=TESTER)
    await bench.fail(2)
    await bench.step()
    await bench.run(1200)
    assert len(bench.receiver.got) == 1
    newest = (await bench.store.groups("default", is_open=False, below=1 << 62, limit=1))[0]
    assert (newest.total, newest.silenced) == (2, 2)
    await bench.step(3600)
    bench.receiver.got.clear()
    await bench.fail(1)
    await bench.step()
    await bench.step(6)
    await bench.fail(2)
    await bench.step()
    await bench.step(90)
    told = [(message.count, message.payload["data"]["status"]) for _, message in bench.receiver.got]
    assert told == [(1, "firing"), (2, "resolved")], "what is over has failures that the channel does not know of"


async def test_rules_fire_when_it_has_lasted_and_end_when_it_is_over(bench: Bench) -> None:
    machine = bench.machine
    await bench.rule(Source.NO_AGENT, for_s=60.0)
    await bench.rule(Source.OLDEST_WAITING, threshold=300.0)
    await machine.submit(3)
    await bench.run(50, 10)
    assert not bench.receiver.got
    await bench.run(20, 10)
    assert [message.payload["data"]["alerts"][0]["source"] for _, message in bench.receiver.got] == ["no_agent"]
    assert "3 jobs wait" in bench.receiver.got[0][1].text
    await bench.run(300, 10)
    assert [message.payload["data"]["alerts"][0]["source"] for _, message in bench.receiver.got] == ["no_agent", "oldest_waiting"]
    await machine.grant(3)
    await bench.run(120, 10)
    over = [message.payload["data"]["alerts"][0] for _, message in bench.receiver.got[2:]]
    assert sorted((alert["source"], alert["status"]) for alert in over) == [("no_agent", "resolved"), ("oldest_waiting", "resolved")]
    assert "work" in bench.receiver.got[0][1].subject
    await bench.rule(Source.ERROR_RATE, threshold=0.5, minimum=10)
    await bench.rule(Source.DATABASE, for_s=0.0)
    bench.receiver.got.clear()
    bench.health.begin(machine.now)
    bench.health.stored(machine.now + 0.5)
    await bench.run(20, 5)
    assert not bench.receiver.got
    bench.health.failed(machine.now, "no space left on device")
    numbers = {"completed": 4, "failed": 6}
    row = {"at": int(machine.owner.clock.now_s() // 60), "type_id": machine.type.type_id, "agent_id": 0, "numbers": numbers, "wait": {}, "run": {}}
    await Statistics(machine.pool).put(machine.owner.life_id, [{**row, "wait_s": 0, "run_s": 0, "slots": 0, "waiting": 0}])
    await bench.run(20, 5)
    texts = sorted(message.text for _, message in bench.receiver.got)
    assert len(texts) == 2 and any("6 of 10 attempts failed" in text for text in texts) and any("no space left on device" in text for text in texts)


async def test_an_agent_that_goes_without_a_word_is_missed_until_its_name_is_back(bench: Bench) -> None:
    machine = bench.machine
    await bench.rule(Source.AGENT_LOST, for_s=30.0)
    await machine.submit(1)
    await machine.grant(1)
    await bench.run(60, 5)
    assert not bench.receiver.got
    await machine.lose()
    for _ in range(12):
        machine.now += 5
        await bench.step()
    assert ["agent lost: agent" in message.subject for _, message in bench.receiver.got] == [True]
    await machine.connect({})
    await bench.run(120, 5)
    assert [message.payload["data"]["status"] for _, message in bench.receiver.got] == ["firing", "resolved"]


async def test_fingerprints_without_end_do_not_make_groups_without_end(bench: Bench) -> None:
    await bench.fail(1)
    await bench.machine.pool.execute(
        """insert into headrace.alert (job_id, type_id, seq, kind, error)
        select job_id, type_id, seq, kind, jsonb_build_object('fingerprint', n::text) from headrace.alert, generate_series(1, 400) n"""
    )
    await bench.step()
    groups = await bench.store.groups("default", is_open=True, below=1 << 62, limit=1000)
    assert len(groups) == 101 and sum(group.total for group in groups) == 401
    await bench.run(60, 1)
    assert bench.receiver.count == 401 and len(bench.receiver.got) <= 20


async def test_an_agent_that_dies_while_nobody_owns_the_queue_is_missed_by_the_next_owner(bench: Bench) -> None:
    machine = bench.machine
    await bench.rule(Source.AGENT_LOST, for_s=10.0)
    await machine.submit(1)
    await machine.grant(1)
    await bench.run(15, 5)
    [row] = await bench.store.agents()
    assert (row.name, row.gone_s) == ("agent", None)
    await machine.crash(check=False)  # the agent does not come to the new owner
    bench.duty = bench.new()
    await bench.run(10, 5)
    assert not bench.receiver.got, "it has a while to come back"
    await bench.run(30, 5)
    assert ["agent lost: agent" in message.subject for _, message in bench.receiver.got] == [True]
    [row] = await bench.store.agents()
    assert row.gone_s is not None
    await machine.crash(check=False)
    bench.duty = bench.new()
    await bench.run(30, 5)
    assert len(bench.receiver.got) == 1, "the next owner goes on with it"
    await machine.connect({})
    await bench.run(120, 5)
    assert [message.payload["data"]["status"] for _, message in bench.receiver.got] == ["firing", "resolved"]
    assert [(row.name, row.gone_s) for row in await bench.store.agents()] == [("agent", None)]
    await bench.store.save_agents([], [row.incarnation_id], 0)
    assert len(await bench.store.agents()) == 1, "whoever has lost the duty stores nothing"


async def test_an_agent_that_held_nothing_when_nobody_owned_the_queue_may_have_ended_in_good_order(bench: Bench) -> None:
    machine = bench.machine
    await bench.rule(Source.AGENT_LOST, for_s=10.0)
    await machine.connect({})
    await bench.run(15, 5)
    assert len(await bench.store.agents()) == 1
    await machine.crash()
    bench.duty = bench.new()
    await bench.run(60, 5)
    assert not bench.receiver.got and await bench.store.agents() == []
    await machine.connect({})
    await bench.run(15, 5)
    await machine.lose()
    await bench.run(60, 5)
    assert ["agent lost: agent" in message.subject for _, message in bench.receiver.got] == [True], "it came after all, and is missed as any other"


def _session(name: str, incarnation: str) -> Session:
    session = Session(AgentFacts(1, name, incarnation, "default", "host", 1, "", "", {}, datetime.now(UTC)), [], 1, 0.0)
    session.stream = object()
    return session


def test_an_agent_that_came_back_or_was_replaced_or_said_that_it_goes_is_not_missed_by_the_next_owner() -> None:
    known = [ExpectedAgent(name, "default", name, "host", holds=True) for name in ("back", "new", "dead")]
    roster = Roster([*known, ExpectedAgent("old", "default", "old", "host", 900.0)], 1000.0)
    roster.see([], 1001.0)
    assert [agent.name for agent in roster.lost("default", 1001.0)] == ["old"] and roster.unsaved(1001.0) == ([], [])
    back = _session("back", "back")
    roster.see([back, _session("new", "another")], 1002.0)
    put, dropped = roster.unsaved(1002.0)
    assert ([row.incarnation_id for row in put], dropped) == (["another"], ["new"])
    roster.saved(put, dropped)
    assert roster.unsaved(1002.0) == ([], [])
    roster.see([back], 1100.0)
    assert sorted(agent.name for agent in roster.lost("default", 1100.0)) == ["dead", "new", "old"]
    back.draining = True
    assert roster.unsaved(1100.0)[1] == ["back"]
    roster.see([], 1200.0)
    assert sorted(agent.name for agent in roster.lost("default", 1200.0)) == ["dead", "new", "old"]
    roster.see([], 900.0 + 86_401.0)
    assert "old" not in [agent.name for agent in roster.lost("default", 900.0 + 86_401.0)]


def test_agents_that_are_gone_when_the_clock_was_set_back_are_missed_at_once() -> None:
    roster, there = Roster(), _session("there", "there")
    roster.see([_session("gone", "gone"), there], 10_000.0)
    roster.see([there], 10_010.0)
    roster.see([there], 6_415.0)
    assert [agent.name for agent in roster.lost("default", 6_415.0)] == ["gone"]
    roster.see([], 6_420.0)
    assert sorted(agent.name for agent in roster.lost("default", 6_420.0)) == ["gone", "there"], "it came before, whatever the clock showed then"
    roster.see([_session("gone", "another"), _session("there", "yet another")], 6_425.0)
    assert roster.lost("default", 6_425.0) == []
    after = Roster([ExpectedAgent("old", "default", "old", "host", 10_000.0)], 6_400.0)
    after.see([], 6_405.0)
    assert [agent.name for agent in after.lost("default", 6_405.0)] == ["old"]


async def test_a_breaker_that_opens_and_closes_is_told_though_no_rule_asks_for_it(bench: Bench) -> None:
    machine = bench.machine
    told: dict[str, Any] = {"alert_on_error": False, "alert_group_wait_s": 600.0, "alert_group_interval_s": 60.0, "alert_channels": "own"}
    await machine.types.override(machine.type, {"breaker_share": 0.5, "breaker_minimum": 2, "breaker_open_s": 3600.0, **told}, [], caller=TESTER)
    machine.owner.breakers.review()
    await bench.channel("own", default=False)
    await bench.fail(2)
    await bench.step(6.0)
    [(channel, message)] = bench.receiver.got
    assert channel == "own" and "FIRING" in message.subject and "breaker" in message.subject and "work" in message.subject
    assert "2 of 2 attempts failed within 60 s" in message.text and "Type: work." in message.text
    await bench.run(180)
    assert len(bench.receiver.got) == 1, "that it goes on is not news"
    assert await machine.owner.breakers.close(BreakerStore(machine.pool), machine.type, caller=TESTER, reason="")
    await bench.step(20.0)
    await bench.run(570)
    assert len(bench.receiver.got) == 1, "it has not been closed for alert_group_wait_s"
    await bench.run(60)
    assert len(bench.receiver.got) == 2 and "resolved" in bench.receiver.got[1][1].subject


async def test_that_a_breaker_has_closed_is_told_soon_and_of_one_that_flaps_once(bench: Bench) -> None:
    machine = bench.machine
    told: dict[str, Any] = {"alert_on_error": False, "alert_group_wait_s": 30.0, "alert_group_interval_s": 3600.0}
    await machine.types.override(machine.type, {"breaker_share": 0.5, "breaker_minimum": 2, "breaker_open_s": 3600.0, **told}, [], caller=TESTER)
    machine.owner.breakers.review()
    for _ in range(5):
        await bench.fail(2)
        await bench.run(12, 6.0)
        assert await machine.owner.breakers.close(BreakerStore(machine.pool), machine.type, caller=TESTER, reason="")
        await bench.run(24, 6.0)
        assert ["FIRING" in message.subject for _, message in bench.receiver.got] == [True], "closed for less than 30 s, which is not over"
    await bench.run(12, 6.0)
    assert len(bench.receiver.got) == 2 and "resolved" in bench.receiver.got[1][1].subject, "an hour before the next look at what goes on"
    await bench.fail(2)
    await bench.step(6.0)
    assert len(bench.receiver.got) == 3 and "FIRING" in bench.receiver.got[2][1].subject


async def test_kinds_that_only_a_newer_release_knows_are_passed_over_and_said_so(bench: Bench) -> None:
    """A group that is open, a rule, a notice that waits and a channel: of an upgrade that goes on, or was taken back."""
    pool, key = bench.machine.pool, GroupKey("default", Source.BREAKER_OPEN, "", "work", "")
    facts = words.facts_of(Notice(fired(None, key, 0, Timing(), count=0, summary="so"), False, 0), 0)
    await pool.execute("alter table headrace.alert_rule drop constraint alert_rule_kind_check")
    await pool.execute("alter table headrace.alert_channel drop constraint alert_channel_kind_check")
    await bench.rule(Source.NO_AGENT)
    await bench.channel("pigeons")
    await pool.execute("update headrace.alert_rule set kind = 'moon_phase'")
    await pool.execute("update headrace.alert_channel set kind = 'pigeon' where name = 'pigeons'")
    group_id = await pool.fetchval(
        """insert into headrace.alert_group (domain, source, rule, type, fingerprint, started_at, changed_at, next_at, total, pending, silenced, notices, summary)
        values ('default', 'moon_phase', '', 'work', '', now(), now(), now() - interval '1 hour', 0, 0, 0, 0, '') returning group_id"""
    )
    await pool.execute(
        """insert into headrace.alert_notice (group_id, channel_id, facts, made_at) select $1, channel_id, $2::text::jsonb, now() from headrace.alert_channel
        where name = 'ops'""",
        group_id, json.dumps({**facts, "source": "moon_phase"}),
    )  # fmt: skip
    bench.duty = bench.new()
    with capture_logs() as logs:
        await bench.fail(3)
        await bench.run(120)
    assert [message.subject for channel, message in bench.receiver.got if channel == "ops" and not message.count] == ["[default] FIRING: moon phase: work"]
    assert sum(message.count for channel, message in bench.receiver.got if channel == "ops") == 3
    passed = {(entry["column"], entry["kind"]) for entry in logs if entry["event"] == "alerts of a newer release are passed over here"}
    assert passed == {("source", "moon_phase"), ("kind", "moon_phase")}
    assert await pool.fetchval("select resolved_at from headrace.alert_group where group_id = $1", group_id) is None, "it is not for this release to end it"
    assert [group.key.source for group in await bench.store.groups("default", is_open=None, below=1 << 62, limit=10)] == [Source.JOB_ERROR]
    assert [group.key.source for group in await bench.store.groups("default", is_open=True, below=1 << 62, limit=10)] == [Source.JOB_ERROR]
    assert await bench.store.rules("default") == []
    [pigeons] = [standing.channel for standing in await bench.store.channels("default") if standing.channel.name == "pigeons"]
    with pytest.raises(Undelivered, match="too old to know channels of kind 'pigeon'"):
        await send(pigeons, None, bench.receiver.got[0][1], 0.0)
    await bench.rule(Source.NO_AGENT)
    await pool.execute("update headrace.alert_rule set kind = 'moon_phase'")
    await bench.store.delete_rule(str(Source.NO_AGENT), caller=TESTER, reason="")
    rows = await pool.fetch("select action, before ->> 'kind' as kind from headrace.audit where target like 'alert_rule/%' order by audit_id")
    assert [tuple(row) for row in rows][1:] == [("alert_rule.put", "moon_phase"), ("alert_rule.delete", "moon_phase")]


async def test_a_channel_that_is_deleted_while_it_gets_a_notice_waits_for_that(bench: Bench) -> None:
    """Each would wait for the other otherwise, until the database ends one of them."""
    pool, name = bench.machine.pool, "leaves"
    await bench.channel(name)
    [channel] = [standing.channel for standing in await bench.store.channels("default") if standing.channel.name == name]
    key = GroupKey("default", Source.BREAKER_OPEN, "", "work", "")
    group = fired(None, key, 0, Timing(), count=0, summary="so")
    term, _, _ = await bench.store.poll()
    async with bench.store.moving(term) as move:
        deleting = asyncio.ensure_future(bench.store.delete_channel(name, caller=TESTER, reason=""))

        async def waits() -> bool:
            return bool(await pool.fetchval("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"))

        await until(waits, what="the deletion to wait")
        await move.put([group], [NewNotice(key, channel.channel_id, words.facts_of(Notice(group, False, 0), 0), 0.0)], 0)
    await deleting
    assert await pool.fetchval("select count(*) from headrace.alert_notice") == 0 and name not in [row.channel.name for row in await bench.store.channels("default")]


async def test_what_is_old_goes_portion_after_portion_until_nothing_is_left(bench: Bench) -> None:
    """As many as a broker that fails jobs all the time adds: a portion at each pass would be too little."""
    pool = bench.machine.pool
    await pool.execute(
        "insert into headrace.alert (job_id, type_id, seq, kind, at) select n, $1, 1, 'job_error', now() - interval '500 days' from generate_series(1, $2) n",
        bench.machine.type.type_id, 2 * TRIMMED + 1,
    )  # fmt: skip
    await pool.execute("update headrace.alert_state set cursor = (select max(alert_id) from headrace.alert)")
    left = []
    for seconds in (TRIM_S, 6.0, 6.0):
        await bench.step(seconds)
        left.append(await pool.fetchval("select count(*) from headrace.alert"))
    assert left == [TRIMMED + 1, 1, 0]


def test_an_agent_that_said_that_it_goes_is_not_missed() -> None:
    roster = Roster()
    session = _session("agent", "i" * 16)
    roster.see([session], 100)
    roster.see([], 105)
    assert [agent.name for agent in roster.lost("default", 105)] == ["agent"] and roster.lost("other", 105) == []
    session.draining = True
    roster.see([], 110)
    assert roster.lost("default", 110) == []


async def test_what_nobody_expected_of_a_delivery_costs_a_try_and_not_the_duty(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver = bench.duty._deliver

    async def stumbling(*_: object) -> str:
        raise KeyError("what nobody expected")

    bench.duty._deliver = stumbling
    with capture_logs() as logs:
        await bench.fail(3)
        await bench.run(60)
    assert bench.receiver.got == []
    assert {entry["log_level"] for entry in logs if entry["event"].startswith("a message could not be sent")} == {"error"}
    bench.duty._deliver = deliver
    await bench.run(600)
    assert bench.receiver.count == 3
    monkeypatch.setattr(Outage, "tell", stumbling)
    with capture_logs() as logs:
        await bench.duty._tell_of_outage()
    assert [entry["event"] for entry in logs] == ["an outage could not be told; it will be tried again"]
