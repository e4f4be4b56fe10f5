"""The Alerts service: channels, rules, silences, and the groups of what fires."""

from collections.abc import Mapping
from typing import Any

from headrace_proto.v1 import alerts_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions.reach import secrets
from headrace_broker.alerts.desk import YEAR_S, AlertDesk
from headrace_broker.model import alert_channel
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import DAY_S, DEFAULTS, KINDS, Rule
from headrace_broker.model.alerting import Group, Silence, Timing
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.settings import MAX_CHANNELS
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.store.alerts import EndedSilence, Standing

PORTS = {"starttls": 587, "tls": 465, "none": 25}
DEFAULT_CAP = 20
MAX_SECRET = 1000
MAX_COUNT = 2**31 - 1
FAR_S = 366 * 86_400.0


class AlertsService:
    """See the module."""

    def __init__(self, desk: AlertDesk) -> None:
        self._desk = desk

    async def PutChannel(self, request: alerts_pb2.PutChannelRequest, context: Any) -> alerts_pb2.PutChannelResponse:  # noqa: N802
        caller, reason = caller_of(context), _reason(request.reason)
        secret = convert.text("secret", request.secret, MAX_SECRET) if request.HasField("secret") else None
        stored = await self._desk.put_channel(_channel_of(request.channel, caller.domain), secret, caller=caller, reason=reason)
        return alerts_pb2.PutChannelResponse(channel=_channel(stored))

    async def ListChannels(self, request: alerts_pb2.ListChannelsRequest, context: Any) -> alerts_pb2.ListChannelsResponse:  # noqa: N802
        found = await self._desk.channels(convert.domain_of(context))
        return alerts_pb2.ListChannelsResponse(channels=[_channel(standing.channel, standing) for standing in found])

    async def DeleteChannel(self, request: alerts_pb2.DeleteChannelRequest, context: Any) -> alerts_pb2.DeleteChannelResponse:  # noqa: N802
        await self._desk.delete_channel(_name(request.name), caller=caller_of(context), reason=_reason(request.reason))
        return alerts_pb2.DeleteChannelResponse()

    async def TestChannel(self, request: alerts_pb2.TestChannelRequest, context: Any) -> alerts_pb2.TestChannelResponse:  # noqa: N802
        delivered, said = await self._desk.test_channel(_name(request.name), caller=caller_of(context), reason=_reason(request.reason))
        return alerts_pb2.TestChannelResponse(delivered=delivered, error=said)

    async def PutRule(self, request: alerts_pb2.PutRuleRequest, context: Any) -> alerts_pb2.PutRuleResponse:  # noqa: N802
        caller, reason = caller_of(context), _reason(request.reason)
        stored = await self._desk.put_rule(_rule_of(request.rule, caller.domain), caller=caller, reason=reason)
        return alerts_pb2.PutRuleResponse(rule=_rule(stored))

    async def ListRules(self, request: alerts_pb2.ListRulesRequest, context: Any) -> alerts_pb2.ListRulesResponse:  # noqa: N802
        return alerts_pb2.ListRulesResponse(rules=[_rule(rule) for rule in await self._desk.rules(convert.domain_of(context))])

    async def DeleteRule(self, request: alerts_pb2.DeleteRuleRequest, context: Any) -> alerts_pb2.DeleteRuleResponse:  # noqa: N802
        await self._desk.delete_rule(_name(request.name), caller=caller_of(context), reason=_reason(request.reason))
        return alerts_pb2.DeleteRuleResponse()

    async def AddSilence(self, request: alerts_pb2.AddSilenceRequest, context: Any) -> alerts_pb2.AddSilenceResponse:  # noqa: N802
        caller = caller_of(context)
        if request.HasField("lasts") == request.silence.HasField("ends_at"):
            raise InvalidField("lasts", "say when the silence ends, or how long it lasts; one of them")
        lasts_s = _seconds("lasts", request, "lasts", 0.0, 1.0, YEAR_S) if request.HasField("lasts") else None
        stored = await self._desk.add_silence(_silence_of(request.silence, caller.domain), lasts_s, caller=caller)
        return alerts_pb2.AddSilenceResponse(silence=_silence(EndedSilence(stored, "")))

    async def ListSilences(self, request: alerts_pb2.ListSilencesRequest, context: Any) -> alerts_pb2.ListSilencesResponse:  # noqa: N802
        found = await self._desk.silences(convert.domain_of(context), ended=request.include_ended)
        return alerts_pb2.ListSilencesResponse(silences=[_silence(item) for item in found])

    async def EndSilence(self, request: alerts_pb2.EndSilenceRequest, context: Any) -> alerts_pb2.EndSilenceResponse:  # noqa: N802
        caller = caller_of(context)
        if request.silence_id <= 0:
            raise InvalidField("silence_id", f"a positive number, found {request.silence_id}")
        ended = await self._desk.end_silence(request.silence_id, caller=caller, reason=_reason(request.reason))
        return alerts_pb2.EndSilenceResponse(silence=_silence(EndedSilence(ended, caller.shown)))

    async def ListAlertGroups(self, request: alerts_pb2.ListAlertGroupsRequest, context: Any) -> alerts_pb2.ListAlertGroupsResponse:  # noqa: N802
        domain, limit = convert.domain_of(context), convert.page_size(request.page_size, 50, 1000)
        if request.state not in (0, 1, 2):
            raise InvalidField("state", f"firing (1), resolved (2) or both (0), found {request.state}")
        filters = f"alert groups {domain} {request.state}"
        [below] = convert.page_token(request.page_token, filters, MAX_ID) or [MAX_ID]
        found = await self._desk.groups(domain, secrets, is_open=None if not request.state else request.state == 1, below=below, limit=limit)
        token = convert.make_token(filters, found[-1][0].group_id) if len(found) == limit else ""
        return alerts_pb2.ListAlertGroupsResponse(groups=[_group(group, silenced) for group, silenced in found], next_page_token=token)


def _name(name: str) -> str:
    if not alert_channel.NAME.fullmatch(name):
        raise InvalidField("name", f"1 to 100 characters of A-Z a-z 0-9 . _ -, found {name[:60]!r}")
    return name


def _reason(reason: str) -> str:
    return convert.text("reason", reason, convert.MAX_REASON)


def _seconds(field: str, message: Any, name: str, default: float, least: float, most: float) -> float:
    """A duration in seconds, or the default when it is not set."""
    if not message.HasField(name):
        return default
    found = convert.seconds(field, getattr(message, name), most)
    if found < least:
        raise InvalidField(field, f"a duration from {least:g} to {most:g} s, found {found:g} s")
    return found


def _channel_of(message: alerts_pb2.Channel, domain: str) -> Channel:
    kind = message.WhichOneof("kind")
    settings: Mapping[str, Any]
    if kind == "email":
        email = message.email
        if email.tls not in (0, 1, 2, 3):
            raise InvalidField("channel.email.tls", f"STARTTLS (1), TLS (2) or none (3), found {email.tls}")
        tls = alert_channel.TLS[max(0, email.tls - 1)]
        settings = {
            "host": email.host, "port": email.port or PORTS[tls], "tls": tls, "username": convert.text("channel.email.username", email.username),
            "sender": email.sender, "recipients": list(email.recipients),
        }  # fmt: skip
    elif kind == "webhook":
        settings = {"url": message.webhook.url}
    elif kind == "apprise":
        settings = {}
    else:
        raise InvalidField("channel.kind", "must be set: email, webhook or apprise")
    return Channel(
        message.name, domain, kind, settings, message.default if message.HasField("default") else True,
        message.send_resolved if message.HasField("send_resolved") else True, message.cap_per_hour or DEFAULT_CAP,
    )  # fmt: skip


def _channel(channel: Channel, standing: Standing | None = None) -> alerts_pb2.Channel:
    settings = channel.settings
    message = alerts_pb2.Channel(
        name=channel.name, default=channel.default, send_resolved=channel.send_resolved, cap_per_hour=channel.cap_per_hour, has_secret=channel.has_secret,
        waiting=standing.waiting if standing is not None else 0, error=standing.error if standing is not None else "",
    )  # fmt: skip
    if channel.kind == "email":
        number: Any = alert_channel.TLS.index(settings["tls"]) + 1
        message.email.CopyFrom(
            alerts_pb2.EmailChannel(
                host=settings["host"], port=settings["port"], tls=number, username=settings["username"], sender=settings["sender"], recipients=settings["recipients"]
            )
        )
    elif channel.kind == "apprise":
        message.apprise.SetInParent()
    else:
        message.webhook.url = settings["url"]
    if standing is not None and standing.sent_at is not None:
        message.sent_at.CopyFrom(to_timestamp(standing.sent_at))
    return message


def _rule_of(message: alerts_pb2.Rule, domain: str) -> Rule:
    if message.kind not in range(1, len(KINDS) + 1):
        raise InvalidField("rule.kind", f"a kind is 1 to {len(KINDS)}, found {message.kind}")
    kind = KINDS[message.kind - 1]
    default, timers = DEFAULTS[kind], Timing()
    if len(message.channels) > MAX_CHANNELS or not all(alert_channel.NAME.fullmatch(name) for name in message.channels):
        raise InvalidField("rule.channels", f"at most {MAX_CHANNELS} names of channels")
    if message.minimum > MAX_COUNT:
        raise InvalidField("rule.minimum", f"at most {MAX_COUNT}, found {message.minimum}")
    timing = Timing(
        _seconds("rule.group_wait", message, "group_wait", timers.group_wait_s, 0.0, DAY_S),
        _seconds("rule.group_interval", message, "group_interval", timers.group_interval_s, 1.0, 7 * DAY_S),
        _seconds("rule.repeat_interval", message, "repeat_interval", timers.repeat_interval_s, 1.0, FAR_S),
    )
    return Rule(
        0, domain, message.name, kind, convert.type_name("rule.type", message.type) if message.type else "",
        message.threshold if message.HasField("threshold") else default.threshold, _seconds("rule.window", message, "window", default.window_s, 0.0, DAY_S),
        message.minimum if message.HasField("minimum") else default.minimum, _seconds("rule.lasting", message, "lasting", default.for_s, 0.0, DAY_S),
        tuple(dict.fromkeys(message.channels)), timing,
    )  # fmt: skip


def _rule(rule: Rule) -> alerts_pb2.Rule:
    number: Any = KINDS.index(rule.kind) + 1
    return alerts_pb2.Rule(
        name=rule.name, kind=number, type=rule.type, threshold=rule.threshold, window=to_duration(rule.window_s), minimum=rule.minimum, lasting=to_duration(rule.for_s),
        channels=rule.channels, group_wait=to_duration(rule.timing.group_wait_s), group_interval=to_duration(rule.timing.group_interval_s),
        repeat_interval=to_duration(rule.timing.repeat_interval_s),
    )  # fmt: skip


def _silence_of(message: alerts_pb2.Silence, domain: str) -> Silence:
    return Silence(
        0, domain, convert.type_name("silence.type", message.type) if message.type else "", message.source, convert.text("silence.rule", message.rule),
        convert.text("silence.fingerprint", message.fingerprint), convert.unix_s("silence.starts_at", message.starts_at) if message.HasField("starts_at") else 0.0,
        convert.unix_s("silence.ends_at", message.ends_at), "", convert.text("silence.reason", message.reason, convert.MAX_REASON),
    )  # fmt: skip


def _silence(found: EndedSilence) -> alerts_pb2.Silence:
    silence = found.silence
    return alerts_pb2.Silence(
        silence_id=silence.silence_id, type=silence.type, source=silence.source, rule=silence.rule, fingerprint=silence.fingerprint,
        starts_at=to_timestamp(silence.starts_s), ends_at=to_timestamp(silence.ends_s), author=silence.author, reason=silence.reason, ended_by=found.ended_by,
    )  # fmt: skip


def _group(group: Group, silenced: bool) -> alerts_pb2.AlertGroup:
    message = alerts_pb2.AlertGroup(
        group_id=group.group_id, source=str(group.key.source), rule=group.key.rule, type=group.key.type, fingerprint=group.key.fingerprint, summary=group.summary,
        firing=group.resolved_s is None, silenced_now=silenced, started_at=to_timestamp(group.started_s), changed_at=to_timestamp(group.changed_s), total=group.total,
        pending=group.pending, silenced=group.silenced, notices=group.notices, first_job_id=group.first_job_id or 0, last_job_id=group.last_job_id or 0,
    )  # fmt: skip
    for name, at in (("notified_at", group.notified_s), ("resolved_at", group.resolved_s)):
        if at is not None:
            getattr(message, name).CopyFrom(to_timestamp(at))
    return message
