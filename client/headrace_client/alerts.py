"""Alerts: channels, rules, silences and what is firing. The calls of AdminClient about them, and what they give and take. Secrets go in and never come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_proto.v1 import alerts_pb2
from headrace_proto.wire import name_of, to_datetime, to_seconds

from headrace_client.base import Base
from headrace_client.decode import time_of
from headrace_client.encode import build, duration, timestamp
from headrace_client.errors import InvalidRequest

TLS = ("starttls", "tls", "none")
RULE_KINDS = ("oldest_waiting", "error_rate", "agent_lost", "no_agent", "database", "door_open")
GROUP_STATES = ("firing", "resolved")
_TLS = dict(enumerate(("starttls", *TLS)))  # by their numbers on the wire; the first is what 0 stands for
_RULE_KINDS = dict(enumerate(RULE_KINDS, 1))


@dataclass(frozen=True, slots=True)
class EmailChannel:
    """E-mail by SMTP. `port` 0: that of the kind of encryption: `tls` "starttls" (587), "tls" (465), "none" (25). The password of `username` is the channel's secret."""

    host: str
    sender: str
    recipients: Sequence[str]
    port: int = 0
    tls: str = "starttls"
    username: str = ""


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts of JSON, signed as Standard Webhooks says with the channel's secret: whsec_ and 24 to 64 bytes as base64."""

    url: str


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One of the services that apprise knows, where the broker has it (`headrace[apprise]`). Its address, such as slack://..., is the channel's secret."""


@dataclass(frozen=True, slots=True)
class UnknownChannel:
    """A kind that only a newer release knows. It cannot be put: that release sets it."""


Target = EmailChannel | WebhookChannel | AppriseChannel | UnknownChannel


@dataclass(frozen=True, slots=True)
class AlertChannel:
    """A channel. `default`: it gets what names no channel. `cap_per_hour`: messages in any hour; what is held back is told in one message when there is room again.

    The fields below are told by the broker: whether a secret is set, notices that wait, why the oldest of them was not delivered, when a message last was.
    """

    name: str
    target: Target
    default: bool = True
    send_resolved: bool = True
    cap_per_hour: int = 20
    has_secret: bool = False
    waiting: int = 0
    error: str = ""
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A rule; what is None is the default of its kind. `kind`, and what `threshold` (seconds, or a share), `window_s` and `minimum` say:

    "oldest_waiting": a job that could start waits longer than `threshold`. "error_rate": more than `threshold` of the attempts that ended in `window_s` failed, when
    `minimum` ended. "agent_lost": an agent went away without a word; told of for `window_s`. "no_agent": `minimum` jobs could start and no agent serves their type.
    "database": a flush took longer than `threshold`, or failed, within `window_s`. "door_open": a transaction keeps a job for longer than `threshold`.

    `type`: one job type; empty: each of them. `lasting_s`: how long it must be so. `channels` empty: the default ones. Intervals: as in Prometheus Alertmanager.
    """

    name: str
    kind: str
    type: str = ""
    threshold: float | None = None
    window_s: float | None = None
    minimum: int | None = None
    lasting_s: float | None = None
    channels: Sequence[str] = ()
    group_wait_s: float | None = None
    group_interval_s: float | None = None
    repeat_interval_s: float | None = None


@dataclass(frozen=True, slots=True)
class AlertSilence:
    """A silence; empty texts match everything."""

    silence_id: int
    type: str
    source: str
    rule: str
    fingerprint: str
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str
    ended_by: str


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """What is alike, from its first alert to its end. `total` failures; `pending`: of them, those that no notice has told of; `silenced`: those that none ever will."""

    group_id: int
    source: str
    rule: str
    type: str
    fingerprint: str
    summary: str
    firing: bool
    silenced_now: bool
    started_at: datetime
    changed_at: datetime
    notified_at: datetime | None
    resolved_at: datetime | None
    total: int
    pending: int
    silenced: int
    notices: int
    first_job_id: int | None
    last_job_id: int | None


class AlertCalls(Base):
    """The part of AdminClient that is about alerts."""

    async def put_alert_channel(self, channel: AlertChannel, *, secret: str | None = None, reason: str = "") -> AlertChannel:
        """Makes a channel, or replaces what it is. `secret`: its password or key; None: as it was; empty: none."""
        request = build(alerts_pb2.PutChannelRequest, channel=_channel_message(channel), secret=secret, reason=reason)
        return _channel((await self._call(lambda stubs: stubs.alerts.PutChannel, request)).channel)

    async def list_alert_channels(self) -> list[AlertChannel]:
        """The channels of the domain, by name."""
        return [_channel(item) for item in (await self._call(lambda stubs: stubs.alerts.ListChannels, alerts_pb2.ListChannelsRequest())).channels]

    async def delete_alert_channel(self, name: str, *, reason: str = "") -> None:
        """Deletes a channel, and what waits to be sent there. Raises NotFound."""
        await self._call(lambda stubs: stubs.alerts.DeleteChannel, build(alerts_pb2.DeleteChannelRequest, name=name, reason=reason), repeatable=False)

    async def test_alert_channel(self, name: str, *, reason: str = "", timeout_s: float = 60.0) -> tuple[bool, str]:
        """Sends a message to a channel now: (whether its server took it, what there is to say). Raises NotFound."""
        request = build(alerts_pb2.TestChannelRequest, name=name, reason=reason)
        answer = await self._call(lambda stubs: stubs.alerts.TestChannel, request, repeatable=False, timeout_s=timeout_s)
        return answer.delivered, answer.error

    async def put_alert_rule(self, rule: AlertRule, *, reason: str = "") -> AlertRule:
        """Makes a rule, or replaces what it says; returns it with its defaults."""
        request = build(alerts_pb2.PutRuleRequest, rule=_rule_message(rule), reason=reason)
        return _rule((await self._call(lambda stubs: stubs.alerts.PutRule, request)).rule)

    async def list_alert_rules(self) -> list[AlertRule]:
        """The rules of the domain, by name."""
        return [_rule(item) for item in (await self._call(lambda stubs: stubs.alerts.ListRules, alerts_pb2.ListRulesRequest())).rules]

    async def delete_alert_rule(self, name: str, *, reason: str = "") -> None:
        """Deletes a rule; what it found is over with it. Raises NotFound."""
        await self._call(lambda stubs: stubs.alerts.DeleteRule, build(alerts_pb2.DeleteRuleRequest, name=name, reason=reason), repeatable=False)

    async def add_alert_silence(
        self, reason: str, *, type: str = "", source: str = "", rule: str = "", fingerprint: str = "", lasts_s: float | None = None,  # noqa: A002
        starts_at: datetime | None = None, ends_at: datetime | None = None,
    ) -> AlertSilence:  # fmt: skip
        """Nobody is told of what matches, for `lasts_s` or until `ends_at`; empty texts match everything."""
        silence = build(
            alerts_pb2.Silence, type=type, source=source, rule=rule, fingerprint=fingerprint, starts_at=timestamp("starts_at", starts_at),
            ends_at=timestamp("ends_at", ends_at), reason=reason,
        )  # fmt: skip
        request = build(alerts_pb2.AddSilenceRequest, silence=silence, lasts=duration("lasts_s", lasts_s))
        return _silence((await self._call(lambda stubs: stubs.alerts.AddSilence, request, repeatable=False)).silence)

    async def list_alert_silences(self, *, include_ended: bool = False) -> list[AlertSilence]:
        """Those that have not ended, or all of the last 90 days; the last to end first."""
        request = build(alerts_pb2.ListSilencesRequest, include_ended=include_ended)
        return [_silence(item) for item in (await self._call(lambda stubs: stubs.alerts.ListSilences, request)).silences]

    async def end_alert_silence(self, silence_id: int, *, reason: str = "") -> AlertSilence:
        """Ends a silence before its time. Raises NotFound when there is none that has not ended."""
        request = build(alerts_pb2.EndSilenceRequest, silence_id=silence_id, reason=reason)
        return _silence((await self._call(lambda stubs: stubs.alerts.EndSilence, request, repeatable=False)).silence)

    async def list_alert_groups(self, *, state: str = "", page_size: int = 50, page_token: str = "") -> tuple[list[AlertGroup], str]:
        """(groups, newest first; token of the next page or empty). `state`: "firing", "resolved", or both."""
        number: Any = _number("state", state, GROUP_STATES) if state else 0
        request = build(alerts_pb2.ListAlertGroupsRequest, state=number, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.alerts.ListAlertGroups, request)
        return [_group(item) for item in answer.groups], answer.next_page_token


def _number(name: str, value: str, known: Sequence[str]) -> int:
    """What a word is on the wire. Raises InvalidRequest."""
    if value not in known:
        raise InvalidRequest(f"{name} is one of {', '.join(known)}, found {value!r}", details={"field": name})
    return known.index(value) + 1


def _channel_message(channel: AlertChannel) -> alerts_pb2.Channel:
    target = channel.target
    if isinstance(target, UnknownChannel):
        raise InvalidRequest(f"channel {channel.name} is of a kind that this release does not know: change it by a newer one", details={"field": "target"})
    message = build(
        alerts_pb2.Channel, name=channel.name, default=channel.default, send_resolved=channel.send_resolved, cap_per_hour=channel.cap_per_hour,
    )  # fmt: skip
    if isinstance(target, EmailChannel):
        number: Any = _number("tls", target.tls, TLS)
        email = build(
            alerts_pb2.EmailChannel, host=target.host, port=target.port, tls=number, username=target.username, sender=target.sender, recipients=list(target.recipients)
        )
        message.email.CopyFrom(email)
    elif isinstance(target, AppriseChannel):
        message.apprise.SetInParent()
    else:
        message.webhook.CopyFrom(build(alerts_pb2.WebhookChannel, url=target.url))
    return message


def _channel(message: alerts_pb2.Channel) -> AlertChannel:
    email = message.email
    kind = message.WhichOneof("kind")
    target: Target = AppriseChannel() if kind == "apprise" else UnknownChannel()
    if kind == "webhook":
        target = WebhookChannel(message.webhook.url)
    elif kind == "email":
        target = EmailChannel(email.host, email.sender, tuple(email.recipients), email.port, name_of(email.tls, _TLS), email.username)
    return AlertChannel(
        message.name, target, message.default, message.send_resolved, message.cap_per_hour, message.has_secret, message.waiting, message.error,
        time_of(message, "sent_at"),
    )  # fmt: skip


def _rule_message(rule: AlertRule) -> alerts_pb2.Rule:
    number: Any = _number("kind", rule.kind, RULE_KINDS)
    times: dict[str, Any] = {name: duration(f"{name}_s", getattr(rule, f"{name}_s")) for name in ("window", "lasting", "group_wait", "group_interval", "repeat_interval")}
    optional: dict[str, Any] = {"threshold": rule.threshold, "minimum": rule.minimum}
    return build(alerts_pb2.Rule, name=rule.name, kind=number, type=rule.type, channels=list(rule.channels), **optional, **times)


def _rule(message: alerts_pb2.Rule) -> AlertRule:
    return AlertRule(
        message.name, name_of(message.kind, _RULE_KINDS), message.type, message.threshold, to_seconds(message.window), message.minimum, to_seconds(message.lasting),
        tuple(message.channels), to_seconds(message.group_wait), to_seconds(message.group_interval), to_seconds(message.repeat_interval),
    )  # fmt: skip


def _silence(message: alerts_pb2.Silence) -> AlertSilence:
    return AlertSilence(
        message.silence_id, message.type, message.source, message.rule, message.fingerprint, to_datetime(message.starts_at), to_datetime(message.ends_at),
        message.author, message.reason, message.ended_by,
    )  # fmt: skip


def _group(message: alerts_pb2.AlertGroup) -> AlertGroup:
    return AlertGroup(
        message.group_id, message.source, message.rule, message.type, message.fingerprint, message.summary, message.firing, message.silenced_now,
        to_datetime(message.started_at), to_datetime(message.changed_at), time_of(message, "notified_at"), time_of(message, "resolved_at"), message.total,
        message.pending, message.silenced, message.notices, message.first_job_id or None, message.last_job_id or None,
    )  # fmt: skip
