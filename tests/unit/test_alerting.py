"""Groups, rules, queues, channels and words: all that decides who is told of what and when, with a clock of the test's own."""

import base64
import dataclasses
import hashlib
import hmac
import itertools
import sys
from typing import Any

import pytest
from headrace_broker.alerts import by_apprise, mail, words
from headrace_broker.alerts.errors import Undelivered
from headrace_broker.alerts.sending import DELIVER, send
from headrace_broker.model.alert_channel import Channel, check, signature, signing_key
from headrace_broker.model.alert_queue import GIVE_UP_S, HOUR_S, RETRY_S, Waiting, plan, retry_s
from headrace_broker.model.alert_rules import DEFAULTS, DatabaseFacts, Facts, LostAgent, OpenDoor, Rule, TypeFacts, evaluate
from headrace_broker.model.alert_rules import check as check_rule
from headrace_broker.model.alerting import MAX_FINGERPRINTS, OTHER, Group, GroupKey, Notice, Silence, Source, Timing, ended, fired, is_silenced, look, place
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.settings import check as check_settings
from hypothesis import given
from hypothesis import strategies as st

KEY = GroupKey("default", Source.JOB_ERROR, "", "mail.send", "abc")
RULE = GroupKey("default", Source.NO_AGENT, "alone", "mail.send", "")
TIMING = Timing()  # 30 s, 5 min, 4 h, 15 min


def failures(group: Group | None, now: float, count: int) -> Group:
    """So many more of them."""
    return fired(group, KEY, now, TIMING, count=count, summary="Boom: it broke", first_job_id=1, last_job_id=2)


def test_a_group_waits_then_tells_what_is_new_then_repeats_then_is_over() -> None:
    group = failures(None, 0, 3)
    group, notice = look(group, 29.9, TIMING)
    assert notice is None
    group = failures(group, 29.9, 2)
    group, notice = look(group, 30, TIMING)
    assert notice is not None and (notice.resolved, notice.count, notice.group.total) == (False, 5, 5)
    group = failures(group, 31, 4)
    assert look(group, 329.9, TIMING)[1] is None, "not before group_interval is over"
    group, notice = look(group, 330, TIMING)
    assert notice is not None and (notice.count, notice.repeated) == (4, False)
    told = []
    for minute in range(6, 24 * 60):
        group = failures(group, minute * 60, 0)  # it goes on, but nothing is new
        group, notice = look(group, minute * 60, TIMING)
        if notice is not None:
            told.append((notice.repeated, notice.count, minute * 60))
    assert told and all(repeated and not count for repeated, count, _ in told)
    assert {b - a >= TIMING.repeat_interval_s for a, b in itertools.pairwise(at for _, _, at in told)} == {True} and len(told) == 5
    over = group.changed_s + TIMING.resolve_after_s
    now = group.next_s
    while group.resolved_s is None:
        group, notice = look(group, now, TIMING)
        now = group.next_s
    assert notice is not None and notice.resolved and over <= (group.resolved_s or 0) < over + TIMING.group_interval_s


@given(st.lists(st.tuples(st.floats(0, 2000), st.integers(0, 50), st.booleans()), max_size=60))
def test_every_failure_is_in_one_notice_or_silenced(steps: list[tuple[float, int, bool]]) -> None:
    now, total, told, silenced = 0.0, 0, 0, 0
    group: Group | None = None
    for pause, count, quiet in [*steps, (2000.0, 0, False), (2000.0, 0, False)]:
        now += pause
        if count:
            group, total = failures(group, now, count), total + count
        if group is not None:
            group, notice = look(group, now, TIMING, silenced=quiet)
            told += notice.count if notice is not None else 0
            if group.resolved_s is not None:
                silenced += group.silenced
                group = None
    assert group is None and told + silenced == total


def test_a_condition_that_passed_within_its_group_wait_is_told_to_nobody() -> None:
    group = fired(None, RULE, 0, TIMING, count=0, summary="alone")
    group, notice = look(ended(group, 10, TIMING), 30, TIMING)
    assert notice is None and group.resolved_s == 30
    group = fired(None, RULE, 0, TIMING, count=0, summary="alone")
    group, notice = look(group, 30, TIMING)
    assert notice is not None and not notice.resolved
    group, notice = look(ended(group, 40, TIMING), 330, TIMING)
    assert notice is not None and notice.resolved
    again = fired(ended(fired(None, RULE, 0, TIMING, count=0, summary=""), 5, TIMING), RULE, 10, TIMING, count=0, summary="")
    assert again.ended_s is None, "it came back before it was over"


def test_what_is_silenced_is_told_when_the_silence_ends_if_it_goes_on() -> None:
    group = failures(None, 0, 3)
    group, notice = look(group, 30, TIMING, silenced=True)
    assert notice is None and group.pending == 3
    group, notice = look(failures(group, 31, 1), 330, TIMING)
    assert notice is not None and notice.count == 4
    group, notice = look(failures(group, 331, 7), 331 + 900, TIMING, silenced=True)
    assert notice is None and group.resolved_s is not None and (group.silenced, group.pending) == (7, 0)


def test_a_silence_matches_what_it_names_while_it_lasts() -> None:
    silence = Silence(1, "default", "mail.send", "", "", "", 10, 20, "ada", "deploy")
    assert [is_silenced([silence], KEY, now) for now in (9, 10, 19.9, 20)] == [False, True, True, False]
    others: list[dict[str, Any]] = [{"type": "other"}, {"source": "job_aborted"}, {"rule": "x"}, {"fingerprint": "x"}, {"domain": "x"}]
    for other in others:
        assert not is_silenced([dataclasses.replace(silence, **other)], KEY, 15), other
    assert is_silenced([dataclasses.replace(silence, fingerprint="abc", source="job_error")], KEY, 15)


def test_fingerprints_without_end_share_a_group() -> None:
    assert place(KEY, is_open=False, alike=MAX_FINGERPRINTS - 1) == KEY
    assert place(KEY, is_open=True, alike=MAX_FINGERPRINTS) == KEY
    assert place(KEY, is_open=False, alike=MAX_FINGERPRINTS).fingerprint == OTHER


# Queues ----------------------------------------------------------------------------------------------------------------------------------------


def waiting(*ids: int, made_s: float = 0.0) -> list[Waiting]:
    """Notices that were not tried."""
    return [Waiting(notice_id, made_s) for notice_id in ids]


def test_the_last_message_before_the_cap_tells_all_that_waits() -> None:
    notices = waiting(*range(1, 31))
    sent: list[float] = []
    told: list[list[int]] = []
    for _ in range(10):
        step = plan(notices, sent, 10, 100)
        told.append([notice.notice_id for notice in step.notices])
        assert step.last == (len(told) == 10)
        notices = [notice for notice in notices if notice.notice_id not in told[-1]]
        sent.append(100.0)
    assert told == [[number] for number in range(1, 10)] + [list(range(10, 31))] and not notices
    held = plan(waiting(31, 32), sent, 10, 200)
    assert not held.notices and held.until_s == 100 + HOUR_S
    later = plan(waiting(31, 32), sent, 10, 100 + HOUR_S)
    assert len(later.notices) == 1, "there is room for several again"
    assert len(plan(waiting(31, 32), [*[100.0] * 9, 300.0][1:], 9, 100 + HOUR_S - 1).notices) == 0


@given(st.lists(st.tuples(st.floats(0, 1200), st.integers(0, 5), st.booleans()), max_size=80), st.integers(1, 5))
def test_no_hour_sees_more_messages_than_the_cap_and_nothing_is_lost(steps: list[tuple[float, int, bool]], cap: int) -> None:
    now, numbers, notices = 0.0, itertools.count(1), list[Waiting]()
    sent: list[float] = []
    told: list[int] = []
    for pause, new, reachable in [*steps, *[(HOUR_S, 0, True)] * 12]:
        now += pause
        notices += [Waiting(next(numbers), now) for _ in range(new)]
        for _ in range(10):
            step = plan(notices, sent, cap, now)
            assert not step.given_up or now - notices[0].made_s >= GIVE_UP_S
            if not step.notices:
                break
            ids = {notice.notice_id for notice in step.notices}
            if reachable:
                sent.append(now)
                told += sorted(ids)
                notices = [notice for notice in notices if notice.notice_id not in ids]
            else:
                notices = [
                    dataclasses.replace(n, batch_id=step.batch_id, tries=n.tries + 1, next_try_s=now + retry_s(n.tries + 1, 0.5)) if n.notice_id in ids else n
                    for n in notices
                ]
    assert not notices and sorted(told) == list(range(1, next(numbers))), "each is told once"
    assert all(b - a >= HOUR_S for a, b in zip(sent, sent[cap:], strict=False)), sent


def test_a_message_is_tried_again_as_it_was_with_growing_pauses() -> None:
    tried = [Waiting(1, 0, 1, 1, 50), Waiting(2, 0, 1, 1, 50), Waiting(3, 5)]
    assert not plan(tried, [], 10, 49).notices and plan(tried, [], 10, 49).until_s == 50
    step = plan(tried, [], 10, 50)
    assert [notice.notice_id for notice in step.notices] == [1, 2] and step.batch_id == 1
    often = [dataclasses.replace(notice, tries=5, next_try_s=500.0) if notice.batch_id else notice for notice in tried]
    assert [notice.notice_id for notice in plan(often, [], 10, 60).notices] == [3], "a message that nobody takes does not hold up the others for ever"
    pauses = [retry_s(tries, 0.5) for tries in range(1, 9)]
    assert pauses == sorted(pauses) and (pauses[0], pauses[-1]) == RETRY_S
    assert plan([Waiting(1, 0, 1, 900, 0)], [], 10, GIVE_UP_S).given_up == (1,)
    assert plan([Waiting(1, 0)], [], 10, GIVE_UP_S).given_up == (), "what was never tried is not given up"


# Rules -----------------------------------------------------------------------------------------------------------------------------------------


def rule(kind: Source, **fields: Any) -> Rule:
    """A rule with the defaults of its kind."""
    default = DEFAULTS[kind]
    return dataclasses.replace(Rule(1, "default", "r", kind, "", default.threshold, default.window_s, default.minimum, default.for_s, (), Timing()), **fields)


TYPES = [TypeFacts("old", 601, 5, 1, False), TypeFacts("young", 599, 5, 0, False), TypeFacts("paused", 9999, 5, 0, True), TypeFacts("idle", 0, 0, 0, False)]


@pytest.mark.parametrize(
    ("made", "facts", "found"),
    [
        (rule(Source.OLDEST_WAITING), Facts(TYPES), [("old", "")]),
        (rule(Source.OLDEST_WAITING, type="young"), Facts(TYPES), []),
        (rule(Source.OLDEST_WAITING, threshold=598.0), Facts(TYPES), [("old", ""), ("young", "")]),
        (rule(Source.NO_AGENT), Facts(TYPES), [("young", "")]),
        (rule(Source.NO_AGENT, minimum=6), Facts(TYPES), []),
        (rule(Source.ERROR_RATE), Facts(ended={"a": (20, 2), "b": (20, 3), "few": (19, 19), "none": (0, 0)}), [("b", "")]),
        (rule(Source.ERROR_RATE, type="a", threshold=0.05), Facts(ended={"a": (20, 2), "b": (20, 3)}), [("a", "")]),
        (rule(Source.AGENT_LOST), Facts(lost=[LostAgent("m", "h1", 70), LostAgent("m", "h2", 80), LostAgent("n", "", 3601)]), [("", "m")]),
        (rule(Source.DATABASE), Facts(database=DatabaseFacts(0.9, 0, "")), []),
        (rule(Source.DATABASE), Facts(database=DatabaseFacts(1.1, 0, "")), [("", "")]),
        (rule(Source.DATABASE), Facts(database=DatabaseFacts(0.0, 1, "away")), [("", "")]),
        (rule(Source.DOOR_OPEN), Facts(doors=[OpenDoor(7, "t", 61, "backend 1"), OpenDoor(8, "t", 59, "backend 2")]), [("t", "7")]),
        (rule(Source.DOOR_OPEN, type="u"), Facts(doors=[OpenDoor(7, "t", 61, "backend 1")]), []),
    ],
)
def test_what_rules_find(made: Rule, facts: Facts, found: list[tuple[str, str]]) -> None:
    findings = evaluate(made, facts)
    assert [(finding.type, finding.fingerprint) for finding in findings] == found
    assert all(finding.summary for finding in findings)


@pytest.mark.parametrize(
    ("made", "field"),
    [
        (rule(Source.AGENT_LOST, type="t"), "rule.type"),
        (rule(Source.ERROR_RATE, threshold=1.1), "rule.threshold"),
        (rule(Source.DATABASE, threshold=-1.0), "rule.threshold"),
        (rule(Source.ERROR_RATE, window_s=59.0), "rule.window"),
    ],
)
def test_rules_that_make_no_sense_are_refused(made: Rule, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_rule(made)
    assert refused.value.field == field


# Channels and messages -------------------------------------------------------------------------------------------------------------------------

MAIL = {"host": "mx.example.org", "port": 587, "tls": "starttls", "username": "u", "sender": "headrace@example.org", "recipients": ["ops@example.org"]}
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    ("settings", "secret", "field"),
    [
        (MAIL, "s3cret", None),
        ({**MAIL, "username": ""}, None, None),
        (MAIL, None, "channel.email.username"),
        ({**MAIL, "username": ""}, "s3cret", "channel.email.username"),
        ({**MAIL, "tls": "none"}, "s3cret", "channel.email.tls"),
        ({**MAIL, "tls": "none", "host": "127.0.0.1"}, "s3cret", None),
        ({**MAIL, "host": "a b"}, "s3cret", "channel.email.host"),
        ({**MAIL, "port": 70_000}, "s3cret", "channel.email.port"),
        ({**MAIL, "sender": "nobody"}, "s3cret", "channel.email.sender"),
        ({**MAIL, "recipients": []}, "s3cret", "channel.email.recipients"),
        ({**MAIL, "recipients": ["a@b", "x@y\r\nBcc: z@z"]}, "s3cret", "channel.email.recipients[1]"),
        ({"url": "https://example.org/hook"}, SECRET, None),
        ({"url": "https://example.org/hook"}, None, "secret"),
        ({"url": "https://example.org/hook"}, "whsec_c2hvcnQ=", "secret"),
        ({"url": "https://example.org/hook"}, base64.b64encode(b"k" * 32).decode(), "secret"),
        ({"url": "ftp://example.org"}, SECRET, "channel.webhook.url"),
        ({"url": "https://user:pw@example.org"}, SECRET, "channel.webhook.url"),
        ({"url": "https://example.org:port"}, SECRET, "channel.webhook.url"),
        ({}, "json://robot:pw@127.0.0.1/", None),
        ({}, None, "secret"),
        ({}, "no address", "secret"),
        ({}, "json://one json://two", "secret"),
        ({"url": "https://999.1.1.1/"}, SECRET, "channel.webhook.url"),
    ],
)
def test_channels_that_cannot_work_are_refused(settings: dict[str, Any], secret: str | None, field: str | None) -> None:
    channel = Channel("c", "default", "webhook" if "url" in settings else "email" if settings else "apprise", settings)
    if field is None:
        check(channel, secret)
        return
    with pytest.raises(InvalidField) as refused:
        check(channel, secret)
    assert refused.value.field == field
    assert not secret or secret not in str(refused.value)


async def test_where_apprise_is_not_installed_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(InvalidField, match=r"pip install .headrace\[apprise\]"):
        await by_apprise.check("json://127.0.0.1/")
    message = words.trial("m", "default", "chat", "tester", 0.0)
    with pytest.raises(Undelivered, match="not installed"):
        await by_apprise.send({}, "json://127.0.0.1/", message, 0.0)


@pytest.mark.parametrize("settings", [{"url": "https://999.1.1.1/"}, {"address": "https://example.org"}], ids=["no address", "from another version"])
async def test_whatever_a_delivery_stumbles_over_is_a_message_that_was_not_delivered(settings: dict[str, Any]) -> None:
    """Anything else would end the broker, and the next one, which tries the message again."""
    group, _ = look(failures(None, 0, 3), 30, TIMING)
    message = words.message("headrace-1", [words.facts_of(Notice(group, False, 3), 30)], cap=10, last=False)
    with pytest.raises(Undelivered):
        await send(Channel("c", "default", "webhook", settings), SECRET, message, 30.0)


def test_a_signature_is_what_standard_webhooks_says() -> None:
    key, body = signing_key(SECRET), b'{"a":1}'
    wanted = base64.b64encode(hmac.new(b"k" * 32, b"msg_1.1700000000." + body, hashlib.sha256).digest()).decode()
    assert signature(key, "msg_1", 1_700_000_000, body) == f"v1,{wanted}"


def test_names_of_channels_are_a_setting_of_a_type() -> None:
    check_settings({"alert_channels": "ops,on-call"})
    check_settings({"alert_channels": ""})
    for wrong in ("ops,", "a b", ",".join("c" * 21)):
        with pytest.raises(InvalidField):
            check_settings({"alert_channels": wrong})


def facts(count: int, **fields: Any) -> dict[str, Any]:
    """Of a notice."""
    group = dataclasses.replace(failures(None, 0, count), **{"group_id": 7, **fields})
    return words.facts_of(Notice(group, False, count), 100.0)


def test_a_message_says_how_many_and_a_digest_their_sum() -> None:
    one = words.message("headrace-1", [facts(12_345)], cap=20, last=False)
    assert one.count == 12_345 and "12,345 failed" in one.subject and "FIRING" in one.subject and "12,345 new failures" in one.text
    many = words.message("headrace-2", [facts(number) for number in range(1, 101)], cap=20, last=True)
    assert many.count == 5050 == many.payload["data"]["count"] and many.payload["data"]["held_back"] == 100
    assert "100 more notices were held back" in many.text and "and 50 more" in many.text and "The cap of 20 messages an hour is reached" in many.text


def test_a_hostile_error_writes_no_header_of_its_own() -> None:
    evil = "x\r\nBcc: evil@example.org"
    message = words.message("headrace-1", [facts(1, summary=evil, key=dataclasses.replace(KEY, fingerprint=evil))], cap=1, last=False)
    composed = mail.compose(MAIL, message, 100.0)
    assert composed["Bcc"] is None and composed["To"] == "ops@example.org" and composed["X-Headrace-Count"] == "1"
    assert composed["Message-ID"] == "<headrace-1@example.org>" and composed["Auto-Submitted"] == "auto-generated"


async def test_what_a_server_says_in_bytes_that_are_no_text_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    said = b"Empf\xe4nger\x00 unbekannt".decode("utf-8", "surrogateescape")  # as the library for mail has it

    async def refused(*_: object) -> str:
        raise Undelivered(f"550 {said}")

    async def stumbled(*_: object) -> str:
        raise RuntimeError(said)

    async def remarked(*_: object) -> str:
        return said

    channel, message = Channel("ops", "default", "email"), words.trial("id", "default", "ops", "ada", 0.0)
    for deliver, wanted in ((refused, "550 Empf?nger\ufffd unbekannt"), (stumbled, "RuntimeError: Empf?nger\ufffd unbekannt")):
        monkeypatch.setitem(DELIVER, "email", deliver)
        with pytest.raises(Undelivered) as error:
            await send(channel, None, message, 0.0)
        assert str(error.value) == wanted
    monkeypatch.setitem(DELIVER, "email", remarked)
    assert await send(channel, None, message, 0.0) == "Empf?nger\ufffd unbekannt"
