"""The database does not answer: nothing can be recorded, so rules of kind `database` tell their channels directly, from what is known of them in memory."""

import asyncio
from collections.abc import Sequence

import structlog

from headrace_broker.alerts import words
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.sending import Send
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import Rule
from headrace_broker.model.alerting import Source

log = structlog.get_logger("headrace.alerts")


class Outage:
    """One outage after another. Told once it has lasted for a rule's `for_s`, again after its repeat_interval, and when it is over; what fails is tried again."""

    def __init__(self, deliver: Send) -> None:
        self._deliver = deliver
        self._rules: list[Rule] = []
        self._channels: list[Channel] = []
        self._there: set[int] = set()  # channels that are told of outages
        self._secrets: dict[int, str] = {}
        self._since: float | None = None
        self._now = 0.0
        self._over_s: float | None = None  # when it ended that is still to be told of
        self._error = ""
        self._told: dict[int, float] = {}  # channel_id -> when it was told last
        self._telling: set[int] = set()  # channels that have a message on its way

    def know(self, rules: Sequence[Rule], channels: Sequence[Channel], secrets: dict[int, str]) -> None:
        """What holds from now on."""
        self._rules = [rule for rule in rules if rule.kind is Source.DATABASE]
        self._channels, self._secrets = list(channels), dict(secrets)
        self._there = {channel.channel_id for rule in self._rules for channel in self._of(rule)}
        self._told = {channel_id: told_s for channel_id, told_s in self._told.items() if channel_id in self._there}  # nobody can tell the others that it is over

    def failed(self, now: float, why: str) -> None:
        """A pass could not be stored."""
        self._now, self._error = now, why
        if self._since is None or self._over_s is not None:  # the next one: to whom the end of the one before could not be told yet, that one goes on
            self._since, self._over_s = now, None

    def answered(self, now: float) -> bool:
        """A pass was stored; returns whether somebody was told of the outage that is over with it, or is about to be."""
        self._now = now
        if self._since is None or self._over_s is not None:
            return False
        if not self._told and not self._telling:
            self._since = None
            return False
        self._over_s = now
        return True

    async def tell(self) -> None:
        """Sends what is due, to all channels side by side: one that does not answer delays no other, and is given up after its own time (`Send`). Returns when they have
        answered; may be called again before that: a channel that has a message on its way gets no other one.
        """
        since_s = self._since
        if since_s is None:
            return
        due: dict[int, tuple[Rule, Channel]] = {}
        for rule in self._rules:
            for channel in self._of(rule):
                if self._is_due(rule, channel, since_s):
                    due.setdefault(channel.channel_id, (rule, channel))  # two rules tell a channel once
        self._telling.update(due)
        now, over = self._now, self._over_s is not None
        async with asyncio.TaskGroup() as tasks:
            for rule, channel in due.values():
                tasks.create_task(self._tell(rule, channel, since_s, now, over=over))
        if self._over_s is not None and not self._told and not self._telling:
            self._since = self._over_s = None

    def _of(self, rule: Rule) -> list[Channel]:
        """Who is told of what a rule finds."""
        return [channel for channel in self._channels if channel.domain == rule.domain and (channel.name in rule.channels if rule.channels else channel.default)]

    def _is_due(self, rule: Rule, channel: Channel, since_s: float) -> bool:
        now, told = self._now, self._told.get(channel.channel_id)
        if channel.channel_id in self._telling:
            return False
        if self._over_s is not None:
            return told is not None
        return not (now - since_s < rule.for_s or (told is not None and now - told < rule.timing.repeat_interval_s))

    async def _tell(self, rule: Rule, channel: Channel, since_s: float, now: float, *, over: bool) -> None:
        name = f"headrace-outage-{int(since_s)}-{'over' if over else int(now)}"
        message = words.outage(name, rule.domain, now, since_s=since_s, over=over, why="" if over else self._error)
        try:
            await self._deliver(channel, self._secrets.get(channel.channel_id), message, now)
        except Undelivered as error:
            log.warning("nobody could be told of the outage", domain=channel.domain, channel=channel.name, reason=str(error))
            return
        except Exception as error:  # a defect: it costs this channel a try, and the others nothing
            log.error("nobody could be told of the outage; it will be tried again", domain=channel.domain, channel=channel.name, exc_info=error)
            return
        finally:
            self._telling.discard(channel.channel_id)
        if over:
            self._told.pop(channel.channel_id, None)
        elif channel.channel_id in self._there:
            self._told[channel.channel_id] = now
