"""The duty: what fails goes into groups, groups make notices, notices are sent. One pass a second, at the broker that owns the queue.

`run` is one task, which starts another for each channel that has something to send, and for telling of an outage: a channel that does not answer delays no other, and no
group.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from headrace_broker.alerts import words
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.facts import Roster, Watch, broken
from headrace_broker.alerts.outage import Outage
from headrace_broker.alerts.sending import LONGEST_S, Send, send
from headrace_broker.metrics import Metrics
from headrace_broker.model import alert_queue
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import Rule, evaluate
from headrace_broker.model.alerting import JOBS, OWN_TYPE, Group, GroupKey, Notice, Silence, Source, Timing, ended, fired, is_silenced, look, place, places
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.alerts import MOST_SIGNALS, AlertStore, LostDuty, Move, NewNotice, StoredNotice
from headrace_broker.store.pool import ANY_FAILURE

PASS_S = 1.0
RULES_S = 5.0
RULES_SHARE = 0.01
"""Rules are looked at every RULES_S, less often where a look would take more than this share of the time."""
TRIM_S, TRIM_AGAIN_S = 600.0, 5.0
"""Between two portions of what is forgotten, and while there is more of it: 400 alerts a second."""

log = structlog.get_logger("headrace.alerts")


@dataclass
class Held:
    """What the duty knows since it was taken up; whatever cannot be stored, this is thrown away and read anew."""

    owner: Owner
    term: int
    version: int = -1
    channels: dict[int, Channel] = field(default_factory=dict)
    secrets: dict[int, str] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    groups: dict[GroupKey, Group] = field(default_factory=dict)
    waiting: dict[int, list[StoredNotice]] = field(default_factory=dict)  # by channel
    sent_s: dict[int, list[float]] = field(default_factory=dict)  # by channel: its messages of the last hour
    since: dict[GroupKey, float] = field(default_factory=dict)  # since when rules find this
    lasting: dict[GroupKey, str] | None = None  # what they found at the last look that has lasted long enough, in words; None: nobody has looked
    sending: set[int] = field(default_factory=set)  # channels that have a message on its way
    stale: bool = True  # `waiting` is not what is stored
    passed_s: float = math.inf  # when the last pass was
    next_rules: float = 0.0  # monotonic
    next_trim: float = 0.0

    @property
    def rules_moved(self) -> bool:
        """Whether what rules found opens a group, or ends one: that it goes on is not worth a transaction."""
        if self.lasting is None:
            return False
        going_on = {*places(self.lasting, self.groups).values()}
        opens = any(key not in self.groups or self.groups[key].ended_s is not None for key in going_on)
        return opens or any(key.source not in JOBS and group.ended_s is None and key not in going_on for key, group in self.groups.items())

    def set_back(self, now: float) -> None:
        """The database's clock may show less than it did: nothing is waited for any longer than the timers say, and nothing has happened later than now."""
        self.since = {key: min(since, now) for key, since in self.since.items()}
        for key, group in self.groups.items():
            timing = self.timing(key)
            next_s = min(group.next_s, now + max(timing.group_wait_s, timing.group_interval_s, timing.settle_s or 0.0))
            notified_s = min(group.notified_s, now) if group.notified_s is not None else None
            self.groups[key] = replace(group, next_s=next_s, changed_s=min(group.changed_s, now), notified_s=notified_s)

    def fires(self, key: GroupKey) -> bool:
        """Whether a rule's group is open and not over: it has lasted long enough, whoever saw it begin."""
        group = self.groups.get(key)
        return group is not None and group.ended_s is None

    def timing(self, key: GroupKey) -> Timing:
        """The timers of a group: of its rule, or of its job type."""
        if key.source not in JOBS | OWN_TYPE:
            return next((rule.timing for rule in self.rules if (rule.domain, rule.name) == (key.domain, key.rule)), Timing())
        entry = self.owner.types.find(key.domain, key.type)
        if entry is None:
            return Timing()
        settings = entry.settings
        wait_s, settle_s = settings.alert_group_wait_s, None
        if key.source in OWN_TYPE:  # there is nothing to gather: told at once; that it is over as soon as that has lasted, so that what flaps is told once
            wait_s, settle_s = 0.0, wait_s
        return Timing(wait_s, settings.alert_group_interval_s, settings.alert_repeat_interval_s, settings.alert_resolve_after_s, settle_s)

    def channels_of(self, key: GroupKey) -> list[Channel]:
        """Who is told of a group: those that its rule or job type names; the default ones of its domain when it names none, or none that there is."""
        if key.source in JOBS | OWN_TYPE:
            entry = self.owner.types.find(key.domain, key.type)
            names = set((entry.settings.alert_channels or "").split(",")) - {""} if entry is not None else set()
        else:
            names = set(next((rule.channels for rule in self.rules if (rule.domain, rule.name) == (key.domain, key.rule)), ()))
        there = [channel for channel in self.channels.values() if channel.domain == key.domain]
        return [channel for channel in there if channel.name in names] or [channel for channel in there if channel.default]


class Alerting:
    """See the module. `chance` gives floats in [0, 1)."""

    def __init__(
        self, store: AlertStore, ownership: Ownership, watch: Watch, metrics: Metrics, *, deliver: Send = send, chance: Callable[[], float] = random.random
    ) -> None:
        self._store = store
        self._ownership = ownership
        self._watch = watch
        self._metrics = metrics
        self._deliver = deliver
        self._chance = chance
        self._held: Held | None = None
        self._roster_of: Owner | None = None
        self._delivered: dict[int, float] = {}  # notices whose delivery could not be recorded yet -> when it was
        self._outage = Outage(deliver)

    async def run(self) -> None:
        """Serves until cancelled."""
        owner: Owner | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(PASS_S * random.uniform(0.9, 1.1))
                if self._ownership.ready.is_set():
                    owner = self._ownership.owner
                    await self._pass(owner, tasks)
                else:
                    self._held = None
                    self._metrics.alerting(self._ownership.shard.number, 0, {}, 0.0)
                    if owner is None or self._ownership.role != "standby":
                        continue
                    self._outage.answered(owner.clock.now_s())  # another broker has the shard now, and knows of no outage that this one has told of
                tasks.create_task(self._tell_of_outage())

    async def _pass(self, owner: Owner, tasks: asyncio.TaskGroup) -> None:
        try:
            while await self.run_once(owner, tasks):
                pass
        except LostDuty as error:
            log.info("the duty of alerts was taken up elsewhere", reason=str(error))
            self._held = None
        except Exception as error:
            log.warning("a pass of the alerts failed; it will be tried again", reason=f"{type(error).__name__}: {error}")
            self._held = None
            if isinstance(error, ANY_FAILURE):
                self._outage.failed(owner.clock.now_s(), f"{type(error).__name__}: {error}")
        else:
            if self._outage.answered(owner.clock.now_s()):
                self._watch.health.forget()

    async def _tell_of_outage(self) -> None:
        try:
            await self._outage.tell()
        except Exception as error:  # a defect: it ends neither the duty nor the broker
            log.error("an outage could not be told; it will be tried again", exc_info=error)

    async def run_once(self, owner: Owner, tasks: asyncio.TaskGroup) -> bool:
        """One pass; returns whether there is more to do at once. Raises LostDuty, and what asyncpg raises."""
        now = owner.clock.now_s()
        held = await self._take_up(owner)
        term, version, fresh = await self._store.poll(_types(owner))
        if term != held.term:
            raise LostDuty(f"term {held.term} was followed by {term}")
        if version != held.version:
            await self._load(held, now)
            held.version, held.next_rules = version, 0.0
        if now < held.passed_s:
            held.set_back(now)
        held.passed_s = now
        await self._ask_rules(held, now)
        more = False
        if fresh or held.rules_moved or any(group.next_s <= now for group in held.groups.values()):
            more = await self._move(held, now, fresh=fresh)
        await self._send_waiting(held, now, tasks)
        self._measure(held, now)
        if self._watch.monotonic() >= held.next_trim:
            held.next_trim = self._watch.monotonic() + TRIM_S
            if owner.shard.number == 0 and await self._store.trim():  # for all shards
                held.next_trim = self._watch.monotonic() + TRIM_AGAIN_S
        return more

    def _measure(self, held: Held, now: float) -> None:
        waiting: Counter[str] = Counter()
        for channel_id, notices in held.waiting.items():
            if channel_id in held.channels:
                waiting[held.channels[channel_id].kind] += len(notices)
        oldest_s = min((notices[0].waiting.made_s for notices in held.waiting.values()), default=now)
        firing = sum(group.ended_s is None for group in held.groups.values())
        self._metrics.alerting(held.owner.shard.number, firing, waiting, max(0.0, now - oldest_s))

    async def _take_up(self, owner: Owner) -> Held:
        held = self._held
        if held is None or held.owner is not owner:
            held = Held(owner, await self._store.claim(owner.life_id))
            await self._record_delivered()  # they count for the cap
            held.groups = {group.key: group for group in await self._store.open_groups()}
            held.sent_s = await self._store.messages_sent(owner.clock.now_s())
            if self._roster_of is not owner:  # after an outage the memory of the same owner knows more
                self._watch.roster = Roster(await self._store.agents(owner.orphans), owner.clock.now_s())
                self._roster_of = owner
            self._held = held
        return held

    async def _load(self, held: Held, now: float) -> None:
        """What people have set."""
        held.channels = {standing.channel.channel_id: standing.channel for standing in await self._store.channels(None)}
        held.secrets = await self._store.secrets()
        held.rules = await self._store.rules(None)
        held.silences = [found.silence for found in await self._store.silences(None, now, limit=None)]
        held.stale = True
        self._outage.know(held.rules, list(held.channels.values()), held.secrets)

    async def _ask_rules(self, held: Held, now: float) -> None:
        """Looks at what the rules find that has lasted long enough, if it is time to."""
        began = self._watch.monotonic()
        if began < held.next_rules:
            return
        facts = await self._watch.look(held.owner, held.rules, now)
        put, dropped = self._watch.roster.unsaved(now)
        if put or dropped:
            await self._store.save_agents(put, dropped, held.term)
            self._watch.roster.saved(put, dropped)
        found: dict[GroupKey, tuple[str, float]] = {}
        for rule in held.rules:
            for finding in evaluate(rule, facts[rule.rule_id]):
                found[GroupKey(rule.domain, rule.kind, rule.name, finding.type, finding.fingerprint)] = finding.summary, rule.for_s
        held.since = {key: held.since.get(key, now) for key in found}
        placed = places(found, held.groups)
        lasting = {key: summary for key, (summary, for_s) in found.items() if now - held.since[key] >= for_s or held.fires(placed[key])}
        lasting |= broken(held.owner)
        took = self._watch.monotonic() - began
        held.next_rules = began + max(RULES_S, took / RULES_SHARE)
        held.lasting = lasting

    async def _move(self, held: Held, now: float, *, fresh: bool) -> bool:
        """Brings the groups up to date and stores them, with their notices, in one transaction; returns whether there are more alerts to take."""
        groups, changed = dict(held.groups), set[GroupKey]()
        async with self._store.moving(held.term) as move:
            cursor, more = await self._take_signals(held, move, groups, changed, now) if fresh else (move.cursor, False)
            if held.lasting is not None:
                _take_findings(held, groups, changed, now, held.lasting)
            notices = _look(held, groups, changed, now)
            ids = await move.put([groups[key] for key in changed], notices, cursor) if changed or notices or cursor > move.cursor else {}
        self._metrics.alert_notices.labels("made").inc(len(notices))
        for key, group_id in ids.items():
            groups[key] = replace(groups[key], group_id=group_id)
        held.groups = {key: group for key, group in groups.items() if group.resolved_s is None}
        held.stale = held.stale or bool(notices)
        return more

    async def _take_signals(self, held: Held, move: Move, groups: dict[GroupKey, Group], changed: set[GroupKey], now: float) -> tuple[int, bool]:
        """Puts failures into their groups; returns (cursor, whether there may be more)."""
        cursor, taken = move.cursor, 0
        alike = Counter((key.domain, key.source, key.type) for key in groups)
        for signal in await move.signals(_types(held.owner)):
            cursor, taken = max(cursor, signal.newest), taken + signal.failures
            if signal.kind not in JOBS:
                continue  # doors are watched by rules
            self._metrics.alert_failures.inc(signal.failures)
            entry = held.owner.types.by_id[signal.type_id]
            own = GroupKey(entry.domain, Source(signal.kind), "", entry.name, signal.fingerprint[:200])
            key = place(own, is_open=own in groups, alike=alike[own.domain, own.source, own.type])
            alike[key.domain, key.source, key.type] += key not in groups
            groups[key] = fired(
                groups.get(key), key, now, held.timing(key), count=signal.failures, summary=signal.summary, first_job_id=signal.first_job_id,
                last_job_id=signal.last_job_id,
            )  # fmt: skip
            changed.add(key)
        return cursor, taken >= MOST_SIGNALS

    # Sending -----------------------------------------------------------------------------------------------------------------------------------

    async def _send_waiting(self, held: Held, now: float, tasks: asyncio.TaskGroup) -> None:
        if await self._record_delivered():
            held.stale = True
        if held.stale:
            held.stale = False  # before the read: what changes meanwhile says so anew
            stored = await self._store.waiting()
            held.waiting = {}
            for notice in stored:
                held.waiting.setdefault(notice.channel_id, []).append(notice)
        for channel_id, notices in held.waiting.items():
            channel = held.channels.get(channel_id)
            if channel is None or channel_id in held.sending:
                continue
            plan = alert_queue.plan([notice.waiting for notice in notices], held.sent_s.get(channel_id, []), channel.cap_per_hour, now)
            if plan.given_up:
                log.error("notices are given up: they could not be delivered for days", domain=channel.domain, channel=channel.name, notices=len(plan.given_up))
                await self._store.give_up(plan.given_up, now)
                self._metrics.alert_notices.labels("given_up").inc(len(plan.given_up))
                held.stale = True
            if plan.notices:
                held.sending.add(channel_id)
                chosen = {waiting.notice_id for waiting in plan.notices}
                message = words.message(
                    f"headrace-{plan.batch_id}", [notice.facts for notice in notices if notice.waiting.notice_id in chosen], cap=channel.cap_per_hour, last=plan.last
                )
                tasks.create_task(self._send(held, channel, plan, message))

    async def _record_delivered(self) -> bool:
        """Stores of which notices that could not be done when they were delivered; returns whether there were any."""
        unrecorded = dict(self._delivered)
        if unrecorded:
            await self._store.sent(list(unrecorded), max(unrecorded.values()))
        for notice_id in unrecorded:
            self._delivered.pop(notice_id, None)
        return bool(unrecorded)

    async def _send(self, held: Held, channel: Channel, plan: alert_queue.Plan, message: words.Message) -> None:
        """Sends one message and records what became of it. Cancelled, or killed, in the middle: it is sent again."""
        ids, clock = [waiting.notice_id for waiting in plan.notices], held.owner.clock
        wait_s = alert_queue.retry_s(plan.notices[0].tries + 1, self._chance())
        try:
            allowed = await self._store.trying(ids, plan.batch_id, clock.now_s() + LONGEST_S + wait_s, held.term)
            if len(allowed) < len(ids):
                return  # the duty was lost, or the channel deleted
            try:
                with self._metrics.alert_message_seconds.labels(channel.kind).time():
                    remark = await self._deliver(channel, held.secrets.get(channel.channel_id), message, clock.now_s())
            except Undelivered as error:
                self._metrics.alert_messages.labels(channel.kind, "failed").inc()
                log.warning("a message was not delivered", domain=channel.domain, channel=channel.name, reason=str(error), again_in_s=round(wait_s, 1))
                await self._store.failed(ids, str(error), clock.now_s() + wait_s)
                return
            now = clock.now_s()
            self._metrics.alert_messages.labels(channel.kind, "delivered").inc()
            self._metrics.alert_notices.labels("delivered").inc(len(ids))
            held.sent_s[channel.channel_id] = [*(at for at in held.sent_s.get(channel.channel_id, []) if at > now - alert_queue.HOUR_S), now]
            self._delivered.update(dict.fromkeys(ids, now))
            log.info("a message was sent", domain=channel.domain, channel=channel.name, notices=len(ids), failures=message.count)
            await self._store.sent(ids, now, remark)
            for notice_id in ids:
                self._delivered.pop(notice_id, None)
        except ANY_FAILURE as error:
            log.warning("what became of a message is not recorded yet", channel=channel.name, reason=f"{type(error).__name__}: {error}")
        except Exception as error:  # a defect: it costs this message a try, and neither the duty nor the broker
            log.error("a message could not be sent, or what became of it not recorded; it will be tried again", channel=channel.name, exc_info=error)
        finally:
            held.sending.discard(channel.channel_id)
            held.stale = True


def _types(owner: Owner) -> list[int] | None:
    """The types of the owner's shard; None: there is one shard."""
    if owner.shard.of == 1:
        return None
    return [entry.type_id for entry in owner.types.by_id.values() if owner.shard.holds(entry.domain_id)]


def _take_findings(held: Held, groups: dict[GroupKey, Group], changed: set[GroupKey], now: float, findings: dict[GroupKey, str]) -> None:
    """Opens groups for what rules find, keeps those that go on, and ends the others."""
    placed = places(findings, groups)
    going_on = {*placed.values()}
    for own, summary in findings.items():
        key = placed[own]
        known = groups.get(key)
        groups[key] = fired(known, key, now, held.timing(key), count=0, summary=summary)
        if known is None or known.ended_s is not None:  # that it goes on is not worth a write
            changed.add(key)
    for key, group in groups.items():
        if key.source not in JOBS and key not in going_on and group.ended_s is None:
            groups[key] = ended(group, now, held.timing(key))
            changed.add(key)


def _look(held: Held, groups: dict[GroupKey, Group], changed: set[GroupKey], now: float) -> list[NewNotice]:
    """Looks at the groups whose time has come."""
    notices: list[NewNotice] = []
    for key in [key for key, group in groups.items() if group.next_s <= now]:
        groups[key], notice = look(groups[key], now, held.timing(key), silenced=is_silenced(held.silences, key, now))
        changed.add(key)
        if notice is not None:
            notices += [NewNotice(key, channel.channel_id, words.facts_of(notice, now), now) for channel in _told(held.channels_of(key), notice)]
    return notices


def _told(channels: Iterable[Channel], notice: Notice) -> list[Channel]:
    """A channel that wants nothing of what is over is told all the same when there are failures in it that it does not know of."""
    return [channel for channel in channels if channel.send_resolved or not notice.resolved or notice.count]
