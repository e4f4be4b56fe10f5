"""Alerts: what fires and what did; channels with a test, rules, silences."""

from typing import Any

from starlette.responses import Response

from headrace_broker.actions.reach import secrets
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_rules import DEFAULTS, KINDS, Rule
from headrace_broker.model.alerting import Silence, Source, Timing
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.ids import MAX_ID
from headrace_broker.web import forms, parts
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit

PAGE = 25
MOST_FIRING = 200
PORTS = {"starttls": 587, "tls": 465, "none": 25}
ENCRYPTIONS = {"starttls": "STARTTLS", "tls": "TLS", "none": "none"}


async def page(visit: Visit) -> Response:
    """Everything about the domain's alerts; the page itself asks for those that fire, and for the newest that are over."""
    desk, domain = _desk(visit), visit.domain
    before = visit.query("before")
    firing = await desk.groups(domain, secrets, is_open=True, limit=MOST_FIRING)
    resolved = await desk.groups(domain, secrets, is_open=False, below=forms.whole("before", before, 0, MAX_ID) if before else MAX_ID, limit=PAGE)
    following = visit.address("/alerts", before=str(resolved[-1][0].group_id)) if len(resolved) == PAGE else ""
    values: dict[str, Any] = {"firing": firing, "resolved": resolved, "next": following, "channels": await desk.channels(domain), "paged": bool(before)}
    if parts.follows(visit):
        return parts.page(visit, "alerts", title="Alerts", fragment=True, **values)
    prefill = {name: visit.query(name) for name in ("type", "source", "rule", "fingerprint")}
    return parts.page(
        visit, "alerts", title="Alerts", fragment=False, rules=await desk.rules(domain), silences=await desk.silences(domain), kinds=KINDS, sources=list(Source),
        prefill=prefill, types=visit.owner.types.of_domain(domain), **values,
    )  # fmt: skip


async def put_channel(visit: Visit) -> Response:
    """Makes or replaces a channel; an empty secret leaves the one that is there."""
    kind, tls = visit.field("kind"), visit.field("tls") or "starttls"
    settings: dict[str, Any] = {"url": visit.field("url")}
    if kind == "email":
        if tls not in PORTS:
            raise InvalidField("tls", f"one of {', '.join(PORTS)}, found {tls!r}")
        settings = {
            "host": visit.field("host"), "port": _number("port", visit.field("port"), PORTS[tls]), "tls": tls, "username": visit.field("username"),
            "sender": visit.field("sender"), "recipients": visit.field("recipients").replace(",", " ").split(),
        }  # fmt: skip
    elif kind == "apprise":
        settings = {}
    elif kind != "webhook":
        raise InvalidField("kind", f"email, webhook or apprise, found {kind!r}")
    channel = Channel(
        visit.field("name"), visit.domain, kind, settings, bool(visit.field("default")), bool(visit.field("send_resolved")), _number("cap", visit.field("cap"), 20)
    )
    await _desk(visit).put_channel(channel, visit.field("secret") or None, caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"The channel {channel.name} is stored; test it before you need it.")
    return visit.back("/alerts")


async def delete_channel(visit: Visit) -> Response:
    """Deletes a channel."""
    await _desk(visit).delete_channel(visit.field("name"), caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"The channel {visit.field('name')} is deleted, with what waited to be sent there.")
    return visit.back("/alerts")


async def try_channel(visit: Visit) -> Response:
    """Sends a message now."""
    name = visit.field("name")
    delivered, said = await _desk(visit).test_channel(name, caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done" if delivered else "failed", f"The test message to {name} was {'taken' if delivered else 'not taken'}{f': {said}' if said else ''}.")
    return visit.back("/alerts")


async def put_rule(visit: Visit) -> Response:
    """Makes or replaces a rule; what is left empty is the default of its kind."""
    if visit.field("kind") not in {str(kind) for kind in KINDS}:
        raise InvalidField("kind", f"one of {', '.join(KINDS)}, found {visit.field('kind')!r}")
    kind = Source(visit.field("kind"))
    default = DEFAULTS[kind]
    threshold = _share(visit.field("threshold"), default.threshold) if kind is Source.ERROR_RATE else _span("threshold", visit.field("threshold"), default.threshold)
    rule = Rule(
        0, visit.domain, visit.field("name"), kind, visit.field("type"), threshold, _span("window", visit.field("window"), default.window_s),
        _number("minimum", visit.field("minimum"), default.minimum), _span("lasting", visit.field("lasting"), default.for_s),
        tuple(visit.field("channels").replace(",", " ").split()), _timing(visit),
    )  # fmt: skip
    await _desk(visit).put_rule(rule, caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"The rule {rule.name} is in force.")
    return visit.back("/alerts")


async def delete_rule(visit: Visit) -> Response:
    """Deletes a rule."""
    await _desk(visit).delete_rule(visit.field("name"), caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"The rule {visit.field('name')} is deleted; what it found is over with it.")
    return visit.back("/alerts")


async def add_silence(visit: Visit) -> Response:
    """Makes a silence."""
    fields = {name: visit.field(name) for name in ("type", "source", "rule", "fingerprint")}
    silence = Silence(0, visit.domain, **fields, starts_s=0.0, ends_s=0.0, author="", reason=visit.field("reason"))
    stored = await _desk(visit).add_silence(silence, _span("lasts", visit.field("lasts"), 0.0), caller=visit.caller())
    visit.session.tell("done", f"Silence {stored.silence_id} holds: nobody is told of what it matches.")
    return visit.back("/alerts")


async def end_silence(visit: Visit) -> Response:
    """Ends a silence."""
    silence_id = _number("silence_id", visit.field("silence_id"), 0)
    await _desk(visit).end_silence(silence_id, caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"Silence {silence_id} is over.")
    return visit.back("/alerts")


def _desk(visit: Visit) -> AlertDesk:
    return visit.services.alerts


def _timing(visit: Visit) -> Timing:
    default = Timing()
    return Timing(
        _span("group_wait", visit.field("group_wait"), default.group_wait_s), _span("group_interval", visit.field("group_interval"), default.group_interval_s),
        _span("repeat_interval", visit.field("repeat_interval"), default.repeat_interval_s),
    )  # fmt: skip


def _number(name: str, text: str, default: int) -> int:
    if not text:
        return default
    return forms.whole(name, text, 0, 999_999_999)


def _span(name: str, text: str, default: float) -> float:
    return forms.duration_s(name, text) if text else default


def _share(text: str, default: float) -> float:
    """Such as 5% or 0.05."""
    if not text:
        return default
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InvalidField("threshold", f"a share such as 5%, found {text[:20]!r}") from None


PAGES: dict[str, Page] = {"/alerts": page}
ACTIONS: dict[str, Page] = {
    "/alert-channel-put": put_channel,
    "/alert-channel-delete": delete_channel,
    "/alert-channel-test": try_channel,
    "/alert-rule-put": put_rule,
    "/alert-rule-delete": delete_rule,
    "/alert-silence-add": add_silence,
    "/alert-silence-end": end_silence,
}
CHOICES: dict[str, Choices] = {
    "/alert-channel-put": {"tls": ENCRYPTIONS}, "/alert-rule-put": {"kind": {kind.value: kind.value.replace("_", " ") for kind in KINDS}},
    "/alert-silence-add": {"source": {"": "any", **{source.value: source.value.replace("_", " ") for source in Source}}},
}  # fmt: skip
