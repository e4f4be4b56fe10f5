"""The duty of alerts beside a machine, with time under control, and a receiver of what it sends."""

import asyncio
import json
from typing import Any, cast

from headrace_broker.alerts.duty import Alerting
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.facts import Watch
from headrace_broker.alerts.words import Message
from headrace_broker.metrics import Metrics
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import DEFAULTS, Rule
from headrace_broker.model.alerting import Source, Timing
from headrace_broker.model.job import Kind
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.intents import Ending
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.statistics import Statistics

from tests.fire.steps import granted
from tests.property.machine import TESTER, Machine

MAIL = {"host": "localhost", "port": 25, "tls": "none", "username": "", "sender": "a@example.org", "recipients": ["b@example.org"]}


class Receiver:
    """Where all channels of a test send to. `away`: nothing is taken. `hold`: what is taken is never acknowledged."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message]] = []
        self.tries = 0
        self.away = False
        self.hold = False
        self.taken = asyncio.Event()

    async def __call__(self, channel: Channel, secret: str | None, message: Message, now: float) -> str:
        self.tries += 1
        if self.away:
            raise Undelivered("the server is away")
        self.got.append((channel.name, message))
        if self.hold:
            self.taken.set()
            await asyncio.Event().wait()
        return ""

    @property
    def count(self) -> int:
        """The failures of all messages, each message once."""
        return sum({message.message_id: message.count for _, message in self.got}.values())


class Bench:
    """A broker's duty beside a machine. `step` lets time pass and makes a pass."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.store = AlertStore(machine.pool)
        self.receiver = Receiver()
        self.health = FlushHealth()
        self.metrics = Metrics()
        self.duty = self.new()

    def new(self) -> Alerting:
        """The duty of a broker that has just started."""
        watch = Watch(Statistics(self.machine.pool), Inbox(self.machine.pool), self.health, lambda: self.machine.now)
        return Alerting(self.store, cast(Any, None), watch, self.metrics, deliver=self.receiver, chance=lambda: 0.5)

    def measured(self, name: str, **labels: str) -> float:
        """A series of the metrics, its name without the prefix."""
        return self.metrics.registry.get_sample_value(f"headrace_alert_{name}", labels) or 0.0

    async def step(self, seconds: float = 0.0, duty: Alerting | None = None) -> None:
        """Time passes, then one pass and what it sends."""
        self.machine.pass_time(seconds)
        try:
            async with asyncio.TaskGroup() as tasks:
                while await (duty or self.duty).run_once(self.machine.owner, tasks):
                    pass
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group

    async def run(self, seconds: float, step_s: float = 30.0) -> None:
        """Passes for so long."""
        for _ in range(round(seconds / step_s)):
            await self.step(step_s)

    async def channel(self, name: str = "ops", **fields: Any) -> None:
        """A channel."""
        await self.store.put_channel(Channel(name, "default", "email", MAIL, **fields), None, caller=TESTER, reason="")

    async def rule(self, kind: Source, **fields: Any) -> None:
        """A rule with the defaults of its kind."""
        default, fields = DEFAULTS[kind], {"timing": Timing(0.0, 60.0, 3600.0), **fields}
        values = {"threshold": default.threshold, "window_s": default.window_s, "minimum": default.minimum, "for_s": default.for_s, "channels": (), **fields}
        await self.store.put_rule(Rule(0, "default", str(kind), kind, "", **values), caller=TESTER, reason="")

    async def fail(self, count: int, fingerprint: str = "a") -> None:
        """So many jobs fail for good, in one flush."""
        machine = self.machine
        ids = await granted(machine, count)
        error = json.dumps({"code": "Boom", "message": "it broke", "fingerprint": fingerprint})
        machine.owner.end([Ending(job_id, machine.jobs[job_id].seq, Kind.FAILED, None, None, error, True) for job_id in ids])
        await machine.flush()
        for job_id in ids:
            machine._end(machine.jobs[job_id], Kind.FAILED, permanent=True)
