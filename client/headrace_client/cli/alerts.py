"""`headrace alerts`: what went wrong, who is told of it, and when."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.alerts import AlertChannel, AlertRule, AppriseChannel, EmailChannel, UnknownChannel, WebhookChannel
from headrace_client.cli.common import Common, Reason, argument, duration_s, run_admin
from headrace_client.cli.output import Done, Output, errors

app = App(name="alerts")
KIND = {EmailChannel: "email", WebhookChannel: "webhook", AppriseChannel: "apprise", UnknownChannel: "unknown"}
channels_app = App(name="channels", help="Where notices go: e-mail, webhooks, apprise.")
rules_app = App(name="rules", help="What is watched beside the failures of jobs.")
silences_app = App(name="silences", help="What nobody is told of for a while.")
for part in (channels_app, rules_app, silences_app):
    app.command(part)

Limit = Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=1), help="at most so many")]
ChannelName = Annotated[str, Parameter(help="name of the channel")]
RuleName = Annotated[str, Parameter(help="name of the rule")]
Cap = Annotated[int, Parameter(help="messages in any hour; what is held back is told in one message later")]
Default = Annotated[bool, Parameter(help="it gets what names no channel")]
Resolved = Annotated[bool, Parameter(help="it is told when something is over")]
SECRET_HELP = "file with the secret, - for standard input; or HEADRACE_ALERT_SECRET. Without either the secret stays as it was"  # noqa: S105
SecretFile = Annotated[str | None, Parameter(allow_leading_hyphen=True, help=SECRET_HELP)]
Span = Annotated[str | None, Parameter(help="such as 90s, 10m, 4h, 2d")]


@app.command(name="list")
def list_alerts(*, limit: Limit = 50, common: Common | None = None) -> int:
    """List alerts of single jobs, newest first."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await _pages(client.list_alerts, limit)
        output.rows(found, ["alert_id", "at", "kind", "job_id", "type", "instance_id", "error"], empty="no alerts")

    return run_admin(common or Common(), command)


@app.command(name="groups")
def list_groups(*, state: Annotated[Literal["firing", "resolved"] | None, Parameter(help="only those")] = None, limit: Limit = 50, common: Common | None = None) -> int:
    """List what fires, and what did, newest first: alike failures, and what rules find."""

    async def command(client: AdminClient, output: Output) -> None:
        async def page(*, page_size: int, page_token: str = "") -> tuple[list[Any], str]:
            return await client.list_alert_groups(state=state or "", page_size=page_size, page_token=page_token)

        found = await _pages(page, limit)
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [
            {
                "state": "resolved" if not g.firing else "silenced" if g.silenced_now else "firing", "source": g.source, "rule": g.rule, "type": g.type,
                "fingerprint": g.fingerprint, "total": g.total, "told": g.total - g.pending - g.silenced, "started_at": g.started_at, "notified_at": g.notified_at,
                "message": g.summary,
            }
            for g in found
        ]  # fmt: skip
        columns = ["state", "source", "rule", "type", "fingerprint", "total", "told", "started_at", "notified_at", "message"]
        output.rows(rows, columns, empty="nothing fires")

    return run_admin(common or Common(), command)


@channels_app.command(name="list")
def list_channels(*, common: Common | None = None) -> int:
    """List channels and how their deliveries stand."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_alert_channels()
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [
            {
                "name": c.name, "kind": KIND[type(c.target)], "value": _target(c), "default": c.default,
                "secret": "set" if c.has_secret else "not set", "cap": c.cap_per_hour, "waiting": c.waiting, "sent_at": c.sent_at, "error": c.error,
            }
            for c in found
        ]  # fmt: skip
        titles = {"value": "to", "cap": "an hour"}
        output.rows(rows, ["name", "kind", "value", "default", "secret", "cap", "waiting", "sent_at", "error"], titles=titles, empty="there are no channels")

    return run_admin(common or Common(), command)


@channels_app.command
def put_email(
    name: ChannelName,
    *,
    to: Annotated[list[str], Parameter(help="recipient; may be repeated")],
    sender: Annotated[str, Parameter(name="--from", help="address that mails come from")],
    host: Annotated[str, Parameter(help="SMTP server")],
    port: Annotated[int, Parameter(help="its port; 0: 587, with tls 465, with none 25")] = 0,
    tls: Annotated[Literal["starttls", "tls", "none"], Parameter(help="how it is spoken to")] = "starttls",
    username: Annotated[str, Parameter(help="who logs in; the password is the secret")] = "",
    secret_file: SecretFile = None,
    cap: Cap = 20,
    default: Default = True,
    resolved: Resolved = True,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Make a channel for e-mail, or replace what it is."""
    return _put(AlertChannel(name, EmailChannel(host, sender, to, port, tls, username), default, resolved, cap), secret_file, reason, common)


@channels_app.command
def put_webhook(
    name: ChannelName,
    *,
    url: Annotated[str, Parameter(help="where to post")],
    secret_file: SecretFile = None,
    cap: Cap = 20,
    default: Default = True,
    resolved: Resolved = True,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Make a channel for a webhook, or replace what it is; the secret is whsec_ and 24 to 64 bytes as base64."""
    return _put(AlertChannel(name, WebhookChannel(url), default, resolved, cap), secret_file, reason, common)


@channels_app.command
def put_apprise(
    name: ChannelName,
    *,
    secret_file: SecretFile = None,
    cap: Cap = 20,
    default: Default = True,
    resolved: Resolved = True,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Make a channel for a service that apprise knows, or replace what it is; the secret is its address there, such as slack://TOKENS."""
    return _put(AlertChannel(name, AppriseChannel(), default, resolved, cap), secret_file, reason, common)


@channels_app.command(name="delete")
def delete_channel(name: ChannelName, *, reason: Reason = "", common: Common | None = None) -> int:
    """Delete a channel, and what waits to be sent there."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.delete_alert_channel(name, reason=reason)
        errors.print(f"channel {name} is deleted")

    return run_admin(common or Common(), command)


@channels_app.command(name="test")
def try_channel(name: ChannelName, *, reason: Reason = "", common: Common | None = None) -> int:
    """Send a message to a channel now; exit code 1: it was not delivered."""

    async def command(client: AdminClient, output: Output) -> int:
        delivered, said = await client.test_alert_channel(name, reason=reason)
        output.one({"delivered": delivered, "error": said})
        return 0 if delivered else 1

    return run_admin(common or Common(), command)


@rules_app.command(name="list")
def list_rules(*, common: Common | None = None) -> int:
    """List rules."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_alert_rules()
        columns = ["name", "kind", "type", "threshold", "window_s", "minimum", "lasting_s", "channels", "group_wait_s", "group_interval_s", "repeat_interval_s"]
        output.rows(found, columns, empty="there are no rules")

    return run_admin(common or Common(), command)


@rules_app.command(name="put")
def put_rule(
    name: RuleName,
    *,
    kind: Annotated[Literal["oldest_waiting", "error_rate", "agent_lost", "no_agent", "database", "door_open"], Parameter(help="what is watched")],
    type_: Annotated[str, Parameter(name="--type", help="one job type; else each of them")] = "",
    threshold: Annotated[str | None, Parameter(help="a time such as 10m; of error_rate a share such as 0.1 or 10%%")] = None,
    window: Span = None,
    minimum: Annotated[int | None, Parameter(help="attempts that must have ended (error_rate), jobs that wait (no_agent)")] = None,
    lasting: Span = None,
    channel: Annotated[list[str] | None, Parameter(help="name of a channel; may be repeated; else the default ones")] = None,
    group_wait: Span = None,
    group_interval: Span = None,
    repeat_interval: Span = None,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Make a rule, or replace what it says; what is not given is the default of its kind."""
    times = {"window_s": window, "lasting_s": lasting, "group_wait_s": group_wait, "group_interval_s": group_interval, "repeat_interval_s": repeat_interval}
    spans: dict[str, Any] = {key: argument(duration_s, text) if text is not None else None for key, text in times.items()}
    limit = None if threshold is None else _share(threshold) if kind == "error_rate" else argument(duration_s, threshold)
    rule = AlertRule(name, kind, type_, limit, minimum=minimum, channels=channel or (), **spans)

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.put_alert_rule(rule, reason=reason))

    return run_admin(common or Common(), command)


@rules_app.command(name="delete")
def delete_rule(name: RuleName, *, reason: Reason = "", common: Common | None = None) -> int:
    """Delete a rule; what it found is over with it."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.delete_alert_rule(name, reason=reason)
        errors.print(f"rule {name} is deleted")

    return run_admin(common or Common(), command)


@silences_app.command(name="list")
def list_silences(*, all_: Annotated[bool, Parameter(name="--all", negative="", help="those that have ended, too")] = False, common: Common | None = None) -> int:
    """List silences, the last to end first."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_alert_silences(include_ended=all_)
        columns = ["silence_id", "type", "source", "rule", "fingerprint", "starts_at", "ends_at", "author", "reason", "ended_by"]
        output.rows(found, columns, empty="there are no silences")

    return run_admin(common or Common(), command)


@silences_app.command(name="add")
def add_silence(
    lasts: Annotated[str, Parameter(help="how long, such as 90s, 10m, 4h, 2d")],
    *,
    reason: Annotated[str, Parameter(help="why; everybody sees it")],
    type_: Annotated[str, Parameter(name="--type", help="job type; else any")] = "",
    source: Annotated[str, Parameter(help="job_error, job_aborted, breaker_open or the kind of a rule; else any")] = "",
    rule: Annotated[str, Parameter(help="name of a rule; else any")] = "",
    fingerprint: Annotated[str, Parameter(help="of an error, or name of an agent; else any")] = "",
    common: Common | None = None,
) -> int:
    """Tell nobody of what matches, for a while."""
    seconds = argument(duration_s, lasts)

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.add_alert_silence(reason, type=type_, source=source, rule=rule, fingerprint=fingerprint, lasts_s=seconds))

    return run_admin(common or Common(), command)


@silences_app.command(name="end")
def end_silence(silence_id: Annotated[int, Parameter(help="number of the silence")], *, reason: Reason = "", common: Common | None = None) -> int:
    """End a silence before its time."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.end_alert_silence(silence_id, reason=reason)
        errors.print(f"silence {silence_id} is over")

    return run_admin(common or Common(), command)


async def _pages(page: Callable[..., Awaitable[tuple[list[Any], str]]], limit: int) -> list[Any]:
    found, token = await page(page_size=min(limit, 1000))
    while token and len(found) < limit:
        more, token = await page(page_size=min(limit - len(found), 1000), page_token=token)
        found += more
    return found[:limit]


def _put(channel: AlertChannel, secret_file: str | None, reason: str, common: Common | None) -> int:
    secret = _secret(secret_file)

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.put_alert_channel(channel, secret=secret, reason=reason))

    return run_admin(common or Common(), command)


def _secret(file: str | None) -> str | None:
    """Never from an argument, which every user of the machine can see."""
    if file is None:
        return os.environ.get("HEADRACE_ALERT_SECRET")
    try:
        return (sys.stdin.read() if file == "-" else Path(file).read_text()).strip()
    except OSError as error:
        errors.print(f"headrace: cannot read {file}: {error.strerror}")
        raise Done(2) from error


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError as error:
        errors.print(f"headrace: {text!r} is not a share such as 0.1 or 10%")
        raise Done(2) from error


def _target(channel: AlertChannel) -> str:
    if isinstance(channel.target, EmailChannel):
        return ", ".join(channel.target.recipients)
    if isinstance(channel.target, WebhookChannel):
        return channel.target.url
    return "an address that is secret" if isinstance(channel.target, AppriseChannel) else "only a newer release knows"
