"""An outage of the database, of which nothing can be recorded: who is told of it, and of its end."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from headrace_broker.alerts import duty as duty_module
from headrace_broker.alerts.duty import Alerting
from headrace_broker.alerts.facts import Watch
from headrace_broker.alerts.outage import Outage
from headrace_broker.alerts.sending import Send
from headrace_broker.alerts.words import Message
from headrace_broker.metrics import Metrics
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import DEFAULTS, Rule
from headrace_broker.model.alerting import Source, Timing
from headrace_broker.model.shard import ONLY
from headrace_broker.shards.health import FlushHealth
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.statistics import Statistics
from structlog.testing import capture_logs

from tests.fire.alarms import MAIL, Receiver
from tests.property.machine import Machine
from tests.support.processes import until


async def test_an_outage_of_the_database_is_told_directly_and_its_end_too() -> None:
    receiver = Receiver()
    outage = Outage(receiver)
    default = DEFAULTS[Source.DATABASE]
    rule = Rule(1, "default", "db", Source.DATABASE, "", default.threshold, default.window_s, 0, 30.0, (), Timing(repeat_interval_s=600))
    other = Channel("other", "default", "email", MAIL, default=False, channel_id=2)
    outage.know([rule], [Channel("ops", "default", "email", MAIL, channel_id=1), other], {})
    for now in range(0, 100, 10):
        outage.failed(float(now), "connection refused")
        await outage.tell()
        assert len(receiver.got) == (now >= 30), now
    assert receiver.got[0][0] == "ops" and "connection refused" in receiver.got[0][1].text
    outage.failed(640.0, "connection refused")
    await outage.tell()
    assert len(receiver.got) == 2, "again after the repeat interval"
    receiver.away = True
    assert outage.answered(700.0)
    await outage.tell()
    receiver.away = False
    assert not outage.answered(701.0)
    await outage.tell()
    await outage.tell()
    assert len(receiver.got) == 3 and "answers again" in receiver.got[2][1].subject
    outage.failed(800.0, "once")
    await outage.tell()
    assert not outage.answered(801.0) and len(receiver.got) == 3, "what is short is told to nobody"


async def test_an_outage_whose_end_could_not_be_told_is_followed_by_the_next_one() -> None:
    """The end cannot be told to a channel that is away, nor ever to one that was deleted: neither keeps the next outage from being told."""
    receiver = Receiver()
    outage = Outage(receiver)
    default = DEFAULTS[Source.DATABASE]
    rule = Rule(1, "default", "db", Source.DATABASE, "", default.threshold, default.window_s, 0, 30.0, (), Timing(repeat_interval_s=600))
    ops, desk = (Channel(name, "default", "email", MAIL, channel_id=number) for number, name in enumerate(("ops", "desk"), 1))

    async def down(*times: float) -> list[str]:
        for now in times:
            outage.failed(now, "connection refused")
            await outage.tell()
        told, receiver.got = [f"{channel}: {message.subject}" for channel, message in receiver.got], []
        return told

    outage.know([rule], [ops], {})
    assert len(await down(0.0, 40.0)) == 1
    outage.know([rule], [desk], {})  # the first pass that was stored reads what holds now
    assert not outage.answered(50.0), "nobody is left who could be told that it is over"
    await outage.tell()
    assert await down(100.0, 120.0) == [], "it lasts for less than 30 s yet"
    [told] = await down(140.0)
    assert told.startswith("desk: ") and "answers again" not in told
    receiver.away = True
    assert outage.answered(150.0)
    await outage.tell()
    receiver.away = False
    assert await down(200.0, 240.0) == [], "who has not heard of its end is not told once more, and never of an end while it goes on"
    assert outage.answered(250.0)
    await outage.tell()
    assert ["answers again" in message.subject for _, message in receiver.got] == [True]


async def test_a_channel_that_does_not_answer_or_stumbles_delays_no_other_and_each_is_told_once() -> None:
    told, others, patience_s = list[str](), asyncio.Event(), 10.0

    async def deliver(channel: Channel, _secret: str | None, message: Message, _now: float) -> str:
        if channel.name == "odd" and "answers again" not in message.subject:
            raise KeyError("what nobody expected")
        if channel.name == "slow":
            async with asyncio.timeout(patience_s):
                await others.wait()
        told.append(channel.name)
        if len(told) % 2:
            others.set()
        return ""

    outage = Outage(deliver)
    rules = [Rule(number, "default", f"db{number}", Source.DATABASE, "", 1.0, 60.0, 0, 30.0, (), Timing(repeat_interval_s=600)) for number in (1, 2)]
    outage.know(rules, [Channel(name, "default", "email", MAIL, channel_id=number) for number, name in enumerate(("slow", "odd", "ops"), 1)], {})
    for now in (0.0, 40.0):
        outage.failed(now, "connection refused")
        with capture_logs() as logs:
            await outage.tell()
    assert told == ["ops", "slow"] and [(entry["log_level"], entry["channel"]) for entry in logs] == [("error", "odd")]
    others.clear()
    assert outage.answered(50.0)
    await outage.tell()
    assert told == ["ops", "slow", "ops", "slow"], "whoever was told of it is told that it is over"
    assert not outage.answered(60.0)


def _outage(deliver: Send, *names: str) -> Outage:
    """Of which these channels are told after 30 s."""
    outage = Outage(deliver)
    rule = Rule(1, "default", "db", Source.DATABASE, "", 1.0, 60.0, 0, 30.0, (), Timing(repeat_interval_s=600))
    outage.know([rule], [Channel(name, "default", "email", MAIL, channel_id=number) for number, name in enumerate(names, 1)], {})
    return outage


async def test_a_channel_that_answers_late_is_told_once_and_then_of_the_end() -> None:
    """Meanwhile others are told, and what it is told of is over."""
    asked, told, answer, first = list[str](), list[str](), asyncio.Event(), asyncio.Event()

    async def deliver(channel: Channel, _secret: str | None, message: Message, _now: float) -> str:
        asked.append(channel.name)
        if channel.name == "slow":
            await answer.wait()
        told.append(f"{channel.name}: {'over' if 'answers again' in message.subject else 'down'}")
        first.set()
        return ""

    outage = _outage(deliver, "slow", "ops")
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        outage.failed(0.0, "connection refused")
        outage.failed(40.0, "connection refused")
        tasks.create_task(outage.tell())
        await first.wait()
        outage.failed(41.0, "connection refused")
        await outage.tell()
        assert asked == ["slow", "ops"], "neither is asked again"
        outage.failed(641.0, "connection refused")
        await outage.tell()
        assert asked == ["slow", "ops", "ops"] and told == ["ops: down"] * 2, "the other one after its time, while the first one does not answer"
        assert outage.answered(650.0)
        await outage.tell()
        assert told == ["ops: down", "ops: down", "ops: over"]
        answer.set()
    assert told[3:] == ["slow: down"]
    await outage.tell()
    assert told[4:] == ["slow: over"]
    assert not outage.answered(660.0)


async def test_the_end_of_an_outage_is_told_to_the_only_channel_although_it_answers_late() -> None:
    told, asked, answer = list[str](), asyncio.Event(), asyncio.Event()

    async def deliver(_channel: Channel, _secret: str | None, message: Message, _now: float) -> str:
        asked.set()
        await answer.wait()
        told.append("over" if "answers again" in message.subject else "down")
        return ""

    outage = _outage(deliver, "ops")
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        outage.failed(0.0, "connection refused")
        outage.failed(40.0, "connection refused")
        tasks.create_task(outage.tell())
        await asked.wait()
        assert outage.answered(41.0)
        await outage.tell()
        answer.set()
    await outage.tell()
    assert told == ["down", "over"]


async def test_a_broker_that_stands_by_since_an_outage_tells_that_it_is_over(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one was faster when the database came back, and knows of nothing."""
    receiver, ready = Receiver(), asyncio.Event()

    async def failing(*_: object) -> bool:
        raise OSError("connection refused")

    async def told(count: int) -> None:
        async def enough() -> bool:
            return len(receiver.got) >= count

        await until(enough, what="the messages")

    ready.set()
    ownership = SimpleNamespace(ready=ready, owner=machine.owner, shard=ONLY, role="active")
    watch = Watch(Statistics(machine.pool), Inbox(machine.pool), FlushHealth(), lambda: machine.now)
    duty = Alerting(AlertStore(machine.pool), cast(Any, ownership), watch, Metrics(), deliver=receiver)
    monkeypatch.setattr(duty_module, "PASS_S", 0.0)
    monkeypatch.setattr(duty, "run_once", failing)
    monkeypatch.setattr(duty, "_outage", outage := _outage(receiver, "ops"))
    outage.failed(machine.owner.clock.now_s() - 60, "connection refused")
    running = asyncio.create_task(duty.run())
    await told(1)
    ownership.role = "starting"
    ready.clear()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(receiver.got) == 1, "the database is away as before"
    ownership.role = "standby"
    await told(2)
    running.cancel()
    await asyncio.wait([running])
    assert ["answers again" in message.subject for _, message in receiver.got] == [False, True]


def test_the_flush_that_an_outage_held_up_is_told_with_it_alone() -> None:
    health = FlushHealth()
    health.begin(0.0)
    health.failed(1.0, "connection refused")
    assert health.recent(60.0, 60.0)[:2] == (60.0, 1)
    health.forget()
    health.stored(61.0)
    assert health.recent(62.0, 60.0)[:2] == (0.0, 0)
    health.begin(63.0)
    health.stored(65.0)
    assert health.recent(66.0, 60.0)[:2] == (2.0, 0)


async def test_a_channel_that_does_not_answer_in_an_outage_holds_up_no_pass(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, asked, later = 0, asyncio.Event(), asyncio.Event()

    async def deliver(_channel: Channel, _secret: str | None, _message: Message, _now: float) -> str:
        asked.set()
        await asyncio.Event().wait()
        return ""

    async def failing(*_: object) -> bool:
        nonlocal passes
        passes += asked.is_set()
        if passes > 1:
            later.set()
        raise OSError("connection refused")

    ready = asyncio.Event()
    ready.set()
    watch = Watch(Statistics(machine.pool), Inbox(machine.pool), FlushHealth(), lambda: machine.now)
    duty = Alerting(AlertStore(machine.pool), cast(Any, SimpleNamespace(ready=ready, owner=machine.owner, shard=ONLY)), watch, Metrics(), deliver=deliver)
    monkeypatch.setattr(duty_module, "PASS_S", 0.0)
    monkeypatch.setattr(duty, "run_once", failing)
    monkeypatch.setattr(duty, "_outage", outage := _outage(deliver, "ops"))
    outage.failed(machine.owner.clock.now_s() - 60, "connection refused")
    running = asyncio.create_task(duty.run())
    async with asyncio.timeout(30):
        await later.wait()
    running.cancel()
    await asyncio.wait([running])
