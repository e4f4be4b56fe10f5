"""What people ask of the alerts, over gRPC and on the pages alike: checked here, stored with a row in the audit."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from headrace_broker.alerts import by_apprise, words
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.sending import Send, send
from headrace_broker.model import alert_channel, alert_rules
from headrace_broker.model.alert_channel import NAME, Channel
from headrace_broker.model.alert_rules import Rule
from headrace_broker.model.alerting import Group, Silence, Source, is_silenced
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField, ResultUnknown
from headrace_broker.model.fields import MAX_REASON, text
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.masked_text import masked_text
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.alerts import AlertStore, EndedSilence, Standing
from headrace_broker.store.pool import READ_FAILURES

T = TypeVar("T")
MAX_SECRET = 1000
MOST_CHANNELS, MOST_RULES, MOST_SILENCES = 100, 200, 500
"""Of one domain."""
YEAR_S = 366 * 86_400.0
KEPT_S = 90 * 86_400.0
AWAY = "the database cannot be reached; nothing was changed"


class AlertDesk:
    """Raises what the model refuses, Unavailable when this broker does not own the queue, DatabaseUnavailable."""

    def __init__(self, store: AlertStore, ownership: Ownership, *, deliver: Send = send) -> None:
        self._store = store
        self._ownership = ownership
        self._deliver = deliver

    async def put_channel(self, channel: Channel, secret: str | None, *, caller: Caller, reason: str) -> Channel:
        """Makes a channel or replaces what it is. `secret`: see `AlertStore.put_channel`."""
        known = [standing.channel for standing in await self._answered(self._store.channels(channel.domain))]
        old = next((found for found in known if found.name == channel.name), None)
        if old is None and len(known) >= MOST_CHANNELS:
            raise Busy(f"there are {MOST_CHANNELS} channels already", retry_after_s=60)
        if old is not None and old.kind != channel.kind and secret is None:
            secret = ""  # what one kind keeps means nothing to the other
        if secret is not None:
            text("secret", secret, MAX_SECRET)
        alert_channel.check(replace(channel, has_secret=old is not None and old.has_secret), secret)
        if channel.kind == "apprise" and secret:
            await by_apprise.check(secret)
        return await self._answered(self._store.put_channel(channel, secret, caller=caller, reason=_reason(reason)))

    async def channels(self, domain: str) -> list[Standing]:
        """By name."""
        return await self._answered(self._store.channels(domain))

    async def delete_channel(self, name: str, *, caller: Caller, reason: str) -> None:
        """Raises AlertPartNotFound."""
        await self._answered(self._store.delete_channel(_name(name), caller=caller, reason=_reason(reason)))

    async def test_channel(self, name: str, *, caller: Caller, reason: str) -> tuple[bool, str]:
        """Sends a message to a channel now: (whether it was delivered, what there is to say). Raises AlertPartNotFound; ResultUnknown: it was sent, and the audit does
        not know of it."""
        owner = self._ownership.owner
        channel = await self._answered(self._store.find_channel(caller.domain, _name(name)))
        secret = (await self._answered(self._store.secrets(channel.channel_id))).get(channel.channel_id)
        now = owner.clock.now_s()
        message = words.trial(f"headrace-test-{uuid.uuid4().hex[:16]}", channel.domain, channel.name, caller.shown, now)
        try:
            delivered, said = True, await self._deliver(channel, secret, message, now)
        except Undelivered as error:
            delivered, said = False, str(error)
        try:
            await self._store.tested(name, "" if delivered else said, caller=caller, reason=_reason(reason))
        except READ_FAILURES as error:  # who hears that nothing was changed would send it again
            told = "was delivered" if delivered else f"was not delivered: {said}"
            raise ResultUnknown(f"the message {told}; the database cannot be reached, and the audit may not know of it") from error
        return delivered, said

    async def put_rule(self, rule: Rule, *, caller: Caller, reason: str) -> Rule:
        """Makes a rule or replaces what it says."""
        if not NAME.fullmatch(rule.name):
            raise InvalidField("rule.name", f"a rule's name is 1 to 100 characters of A-Z a-z 0-9 . _ -, found {rule.name[:60]!r}")
        alert_rules.check(rule)
        text("rule.type", rule.type)
        for name in rule.channels:
            if not NAME.fullmatch(name):
                raise InvalidField("rule.channels", f"names of channels, found {name[:60]!r}")
        known = await self.rules(rule.domain)
        if len(known) >= MOST_RULES and all(found.name != rule.name for found in known):
            raise Busy(f"there are {MOST_RULES} rules already", retry_after_s=60)
        return await self._answered(self._store.put_rule(rule, caller=caller, reason=_reason(reason)))

    async def rules(self, domain: str) -> list[Rule]:
        """By name."""
        return await self._answered(self._store.rules(domain))

    async def delete_rule(self, name: str, *, caller: Caller, reason: str) -> None:
        """Raises AlertPartNotFound."""
        await self._answered(self._store.delete_rule(_name(name), caller=caller, reason=_reason(reason)))

    async def add_silence(self, silence: Silence, lasts_s: float | None, *, caller: Caller) -> Silence:
        """Makes a silence; `starts_s` 0: now, `lasts_s` None: until `ends_s`. Its author is the caller."""
        now = self._ownership.owner.clock.now_s()
        starts_s = silence.starts_s or now
        ends_s = starts_s + lasts_s if lasts_s is not None else silence.ends_s
        if not max(now, starts_s) < ends_s <= now + YEAR_S:
            raise InvalidField("silence.ends_at", "after now and after its beginning, and within a year")
        if silence.source and silence.source not in {str(source) for source in Source}:
            raise InvalidField("silence.source", f"one of {', '.join(Source)}, found {silence.source[:60]!r}")
        for field in ("type", "rule", "fingerprint"):
            text(f"silence.{field}", getattr(silence, field))
        text("silence.reason", silence.reason, MAX_REASON)
        if not silence.reason:
            raise InvalidField("silence.reason", "must be set: who comes next wants to know")
        if len(await self.silences(silence.domain)) >= MOST_SILENCES:
            raise Busy(f"there are {MOST_SILENCES} silences already", retry_after_s=60)
        return await self._answered(self._store.add_silence(replace(silence, starts_s=starts_s, ends_s=ends_s, author=caller.shown), caller=caller))

    async def silences(self, domain: str, *, ended: bool = False) -> list[EndedSilence]:
        """Those that have not ended, or all that are kept; the last to end first."""
        now = self._ownership.owner.clock.now_s()
        return await self._answered(self._store.silences(domain, now - KEPT_S if ended else now))

    async def end_silence(self, silence_id: int, *, caller: Caller, reason: str) -> Silence:
        """Raises AlertPartNotFound."""
        return await self._answered(self._store.end_silence(silence_id, self._ownership.owner.clock.now_s(), caller=caller, reason=_reason(reason)))

    async def groups(self, domain: str, secrets: Callable[[str], Sequence[str]], *, is_open: bool | None, below: int = MAX_ID, limit: int) -> list[tuple[Group, bool]]:
        """(group, whether it is silenced now), newest first, with ids below `below`. `secrets`: of a job type, the names behind which errors are masked."""
        now = self._ownership.owner.clock.now_s()
        silences = [found.silence for found in await self.silences(domain)]
        found = await self._answered(self._store.groups(domain, is_open=is_open, below=below, limit=limit))
        shown = [replace(group, summary=masked_text(group.summary, secrets(group.key.type))) for group in found]
        return [(group, group.resolved_s is None and is_silenced(silences, group.key, now)) for group in shown]

    @staticmethod
    async def _answered(asked: Awaitable[T]) -> T:
        try:
            return await asked
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise InvalidField("name", f"1 to 100 characters of A-Z a-z 0-9 . _ -, found {name[:60]!r}")
    return name


def _reason(reason: str) -> str:
    return text("reason", reason, MAX_REASON)
