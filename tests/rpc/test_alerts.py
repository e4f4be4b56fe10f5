"""Alerts through a real broker, to a real SMTP server and a real webhook: counts that add up, servers that are away, brokers that die, secrets that stay."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trustme
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, NotFound
from headrace_client.alerts import AlertChannel, AlertRule, AppriseChannel, EmailChannel, WebhookChannel

from tests.support.mailbox import Mailbox, hooked, serving
from tests.support.processes import BrokerProcess, Process, run_command, start_broker, until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
QUICK: dict[str, Any] = {"alert_group_wait_s": 1.0, "alert_group_interval_s": 2.0, "alert_resolve_after_s": 3.0}


def email(box: Mailbox, **fields: Any) -> EmailChannel:
    """Where the box listens."""
    return EmailChannel(**{"host": "127.0.0.1", "port": box.port, "tls": "none", "sender": "headrace@example.org", "recipients": ["ops@example.org"], **fields})


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    """An SMTP server in the clear."""
    async with serving() as found:
        yield found


async def told(box: Mailbox, count: int, timeout_s: float = 40.0) -> None:
    """The mails tell of so many failures, all together."""

    async def enough() -> bool:
        return box.failures >= count

    await until(enough, timeout_s=timeout_s, what=f"{count} failures in mails, found {box.failures}")


@pytest.mark.timeout(300)
async def test_ten_thousand_failures_are_a_handful_of_mails_whose_counts_sum_to_them(box: Mailbox, client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.put_alert_channel(AlertChannel("ops", email(box)))
    await admin.set_type("permanent", alert_channels="ops", **{**QUICK, "alert_resolve_after_s": 3600.0})  # a machine may stand still for a while before it is over
    loop = asyncio.get_running_loop()
    began = loop.time()
    await client.submit_many([JobSpec("permanent", number) for number in range(10_000)])
    await told(box, 10_000, timeout_s=200)
    assert box.failures == 10_000 and len(box.mails) <= 2 + (loop.time() - began) / QUICK["alert_group_interval_s"]
    await admin.set_type("permanent", alert_resolve_after_s=QUICK["alert_resolve_after_s"])

    async def over() -> bool:
        return any("resolved" in str(mail["Subject"]) for mail in box.mails)

    await until(over, what="a word that it is over")
    assert box.failures == 10_000
    [group] = (await admin.list_alert_groups())[0]
    assert (group.source, group.type, group.total, group.pending, group.firing) == ("job_error", "permanent", 10_000, 0, False)
    assert sum(int(mail["X-Headrace-Count"]) > 0 for mail in box.mails) == len({str(mail["Message-ID"]) for mail in box.mails if int(mail["X-Headrace-Count"])})


async def test_a_server_that_refuses_and_a_broker_that_is_killed_lose_nothing(
    box: Mailbox, database: str, directory: Path, client: Client, admin: AdminClient, broker: BrokerProcess, agent: Process, con: "asyncpg.Connection[Any]"
) -> None:
    await admin.put_alert_channel(AlertChannel("ops", email(box)))
    await admin.set_type("permanent", **QUICK)
    box.refusing = 2
    await client.submit_many([JobSpec("permanent", number) for number in range(30)])

    async def refused_once() -> bool:
        return box.refused >= 1 and (await admin.list_alert_channels())[0].error != ""

    await until(refused_once, what="a refused mail")
    assert "451" in (await admin.list_alert_channels())[0].error
    await broker.kill()
    second = await start_broker(directory, database=database, listen=broker.address, name="second")
    try:
        await con.execute("update headrace.alert_notice set next_try_at = now() where sent_at is null")  # the pause is not what is tested
        await told(box, 30)
        assert box.failures == 30 and box.refused == 2
        assert {str(mail["Message-ID"]) for mail in box.mails if int(mail["X-Headrace-Count"])} == {"<headrace-1@example.org>"}
    finally:
        await second.kill()


async def test_mail_with_starttls_and_a_login(database: str, directory: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    box = await stack.enter_async_context(serving(tls=context, login=("robot", "s3cret-p4ss")))
    admin_of = EmailChannel("localhost", "headrace@example.org", ["ops@example.org", "nobody@example.org"], box.port, "starttls", "robot")
    stranger = await start_broker(directory, database=database, name="stranger")
    try:
        async with AdminClient(stranger.address) as admin:
            await admin.put_alert_channel(AlertChannel("mail", admin_of), secret="s3cret-p4ss")
            delivered, said = await admin.test_alert_channel("mail")
            assert not delivered and "certificate" in said.lower() and not box.logins, "a certificate that nobody vouches for gets no password"
    finally:
        await stranger.stop()
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.pem"))
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    admin = await stack.enter_async_context(AdminClient(broker.address))
    delivered, said = await admin.test_alert_channel("mail")
    assert delivered and "nobody@example.org" in said, "one recipient that is refused keeps no other from the mail"
    assert box.logins == [("robot", "s3cret-p4ss")] and "test of the channel mail" in str(box.mails[0]["Subject"])
    await admin.put_alert_channel(AlertChannel("mail", admin_of), secret="wrong")
    delivered, said = await admin.test_alert_channel("mail")
    assert not delivered and "535" in said and "wrong" not in said


async def test_a_webhook_is_signed_and_follows_nobody_elsewhere(client: Client, admin: AdminClient, agent: Process) -> None:
    async with hooked() as hook:
        await admin.put_alert_channel(AlertChannel("hook", WebhookChannel(f"http://127.0.0.1:{hook.port}/alerts")), secret=SECRET)
        await admin.set_type("permanent", **QUICK)
        job_id = (await client.submit("permanent")).job_id
        async with asyncio.timeout(20):
            await hook.came.wait()
        headers, body = hook.posts[0]
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        message = json.loads(body)
        [alert] = message["data"]["alerts"]
        assert (message["type"], message["data"]["count"], alert["status"], alert["type"], alert["first_job_id"]) == (
            "headrace.alert",
            1,
            "firing",
            "permanent",
            str(job_id),
        )
        hook.status = 307
        assert await admin.test_alert_channel("hook") == (False, "HTTP 307")
        assert all(json.loads(body)["type"] != "headrace.test" for _, body in hook.posts[:-1])


async def test_apprise_hands_on_what_failed_and_its_address_is_a_secret(
    client: Client, admin: AdminClient, agent: Process, broker: BrokerProcess, con: "asyncpg.Connection[Any]", directory: Path
) -> None:
    async with hooked() as hook:
        address = f"json://robot:t0p-s3cret@127.0.0.1:{hook.port}/alerts"
        stored = await admin.put_alert_channel(AlertChannel("chat", AppriseChannel()), secret=address, reason="they live there")
        assert stored.has_secret and stored.target == AppriseChannel()
        await admin.set_type("permanent", **QUICK)
        job_id = (await client.submit("permanent")).job_id
        async with asyncio.timeout(20):
            await hook.came.wait()
        headers, body = hook.posts[0]
        assert headers["authorization"] == "Basic " + base64.b64encode(b"robot:t0p-s3cret").decode()
        message = json.loads(body)
        assert "permanent" in message["title"] and str(job_id) in message["message"]
        assert await admin.test_alert_channel("chat") == (True, "")
        hook.status = 500
        delivered, said = await admin.test_alert_channel("chat")
        assert not delivered and "did not take it" in said and "s3cret" not in said
    for wrong in ("nothing://x", "t0p-s3cret", "json://a json://b"):
        with pytest.raises(InvalidRequest) as refused:
            await admin.put_alert_channel(AlertChannel("chat", AppriseChannel()), secret=wrong)
        assert refused.value.field == "secret" and wrong not in str(refused.value)
    (directory / "address").write_text(address + "\n")
    done = await asyncio.to_thread(
        run_command, "headrace", "alerts", "channels", "put-apprise", "chat", "--secret-file", str(directory / "address"), "--broker", broker.address
    )
    assert done.returncode == 0, done.stderr
    listed = await asyncio.to_thread(run_command, "headrace", "alerts", "channels", "list", "--broker", broker.address)
    assert "apprise" in listed.stdout and "an address that is secret" in listed.stdout
    audit = "".join(str(tuple(row)) for row in await con.fetch("select * from headrace.audit"))
    assert '"apprise"' in audit and all("s3cret" not in text for text in (audit, broker.log.read_text(), listed.stdout, done.stdout + done.stderr))


async def test_what_is_set_is_shown_audited_and_checked_and_secrets_stay(
    box: Mailbox, admin: AdminClient, broker: BrokerProcess, con: "asyncpg.Connection[Any]", database: str
) -> None:
    channel = AlertChannel("ops", email(box, username="robot"), cap_per_hour=7)
    stored = await admin.put_alert_channel(channel, secret="p4ssw0rd", reason="first")
    assert stored.has_secret and stored.cap_per_hour == 7 and stored.target == email(box, username="robot", recipients=("ops@example.org",))
    again = await admin.put_alert_channel(AlertChannel("ops", email(box, username="robot"), cap_per_hour=8))
    assert again.has_secret, "it stays unless it is given"
    with pytest.raises(InvalidRequest) as refused:
        await admin.put_alert_channel(AlertChannel("ops", WebhookChannel("https://example.org")))
    assert refused.value.field == "secret", "what one kind keeps means nothing to the other"
    rule = await admin.put_alert_rule(AlertRule("late", "oldest_waiting", type="mail.send", channels=["ops"]))
    assert (rule.threshold, rule.lasting_s, rule.group_wait_s, rule.repeat_interval_s) == (600, 0, 30, 14_400) and await admin.list_alert_rules() == [rule]
    silence = await admin.add_alert_silence("deploy", type="mail.send", lasts_s=60)
    assert (silence.author, silence.reason) == ("tester", "deploy") and (silence.ends_at - silence.starts_at).total_seconds() == 60
    assert (await admin.end_alert_silence(silence.silence_id)).ended_by == "tester"
    assert await admin.list_alert_silences() == [] and len(await admin.list_alert_silences(include_ended=True)) == 1
    await admin.delete_alert_rule("late", reason="enough")
    await admin.delete_alert_channel("ops")
    for call in (admin.delete_alert_channel("ops"), admin.test_alert_channel("ops"), admin.delete_alert_rule("late"), admin.end_alert_silence(silence.silence_id)):
        with pytest.raises(NotFound):
            await call
    rows = await con.fetch("select action, target, before, after, reason from headrace.audit where action like 'alert%' order by audit_id")
    assert [row["action"] for row in rows] == [
        "alert_channel.put", "alert_channel.put", "alert_rule.put", "alert_silence.add", "alert_silence.end", "alert_rule.delete", "alert_channel.delete",
    ]  # fmt: skip
    assert json.loads(rows[0]["after"])["secret"] == "set" and rows[0]["reason"] == "first"
    everything = await con.fetch("select to_jsonb(a)::text as text from headrace.audit a")
    assert not any("p4ssw0rd" in row["text"] for row in everything) and "p4ssw0rd" not in broker.log.read_text()
    assert await con.fetchval("select count(*) from headrace.alert_secret") == 0
    for table in ("alert_secret", "alert_channel"):
        assert not await con.fetchval("select has_table_privilege('pg_read_all_settings', $1, 'select')", f"headrace.{table}")


async def test_the_command_line(box: Mailbox, broker: BrokerProcess, directory: Path) -> None:
    """The other commands are run as docs/alerts.md has them."""

    def run(*words: str, expected: int = 0) -> str:
        done = run_command("headrace", "alerts", *words, environment={"HEADRACE_BROKER": broker.address})
        assert done.returncode == expected, done.stderr
        return done.stdout

    (directory / "key").write_text(SECRET + "\n")
    for words, expected in (
        (("channels", "put-webhook", "hook", "--url", "http://127.0.0.1:9/x", "--secret-file", str(directory / "key"), "--no-default", "--cap", "5"), 0),
        (("channels", "test", "hook"), 1),
        (("channels", "test", "none"), 3),
        (("rules", "put", "x", "--kind", "error_rate", "--threshold", "many"), 2),
    ):
        await asyncio.to_thread(run, *words, expected=expected)
    [channel] = json.loads(await asyncio.to_thread(run, "channels", "list", "-o", "json"))
    assert (channel["name"], channel["default"], channel["has_secret"], channel["cap_per_hour"]) == ("hook", False, True, 5)
    assert "whsec" not in json.dumps(channel)
