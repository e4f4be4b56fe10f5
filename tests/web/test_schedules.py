"""The pages of schedules and of access: what they show, what their forms do, and what they say of what makes no sense."""

import html
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from urllib.parse import unquote, urljoin, urlsplit

import asyncpg
import httpx
import pytest
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.schedule import Schedule, Spec, When
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.web.schedules import FIELDS, spec_of, values_of, when_text
from headrace_client import AdminClient, Client, InvalidRequest, ScheduleSpec

from tests.support.processes import until
from tests.support.web import Browser, Shared, shared_broker
from tests.web.test_manager import HOSTILE

AT = datetime(2090, 1, 1, 8, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """One broker for the module."""
    with shared_broker(postgres, "web_pages") as found:
        yield found


@pytest.fixture
async def browser(stack: AsyncExitStack, shared: Shared) -> AsyncIterator[Browser]:
    """Logged in as an administrator of all domains."""
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20))
    browser = Browser(client, shared.base)
    await browser.log_in(token=shared.secrets["admin@all"])
    yield browser
    await browser.client.post("/logout", headers={"Origin": shared.base})


@pytest.fixture
async def boss(stack: AsyncExitStack, shared: Shared) -> AdminClient:
    """An administrator's client."""
    return await stack.enter_async_context(AdminClient(shared.broker.address, actor="tester", timeout_s=20))


def form(**fields: str) -> dict[str, str]:
    """A form that is good but for these fields."""
    return {**dict.fromkeys(FIELDS, ""), "name": "s", "type": "t", "kind": "cron", "cron": "0 0 1 1 *", "time_zone": "UTC", **fields}


WHENS = [
    When(cron="30 2 * * *", time_zone="Europe/Berlin", start_at=AT), When(interval_s=90), When(interval_s=7200, anchor=AT), When(interval_s=86_400, end_at=AT),
    When(at=AT),
]  # fmt: skip


@pytest.mark.parametrize("when", WHENS)
def test_the_form_says_what_the_schedule_says(when: When) -> None:
    spec = Spec(when, "t", b'{"a":["\xc3\xa9",1.5]}', "", "case-1", -3, {"team": "a b=c", "x": ""}, "queue", "all", 7, 1.5)
    schedule = Schedule(1, "default", "s", 1, False, spec, 1, None, "", "", None, None, None, None, None, None, 0, 0, AT, AT)
    assert spec_of(values_of(schedule)) == spec
    assert when_text(when)


def test_the_form_keeps_a_payload_as_it_was_written() -> None:
    payload = b'{"rate":1.0,"big":12345678901234567890123,"long":0.1000000000000000055511151231257827,"small":1E-400,"twice":1,"twice":[2,{}],"n":-0,"t":"\xc3\xa9\\n"}'
    spec = Spec(When(interval_s=90), "t", payload)
    schedule = Schedule(1, "default", "s", 1, False, spec, 1, None, "", "", None, None, None, None, None, None, 0, 0, AT, AT)
    shown = values_of(schedule)
    assert '"rate": 1.0,\n' in shown["data"] and spec_of(shown).payload == payload
    for typed in ('{"a": NaN}', "[Infinity]", "[" * 500 + "1" + "]" * 500 + "]", "[" * 100_000 + "]" * 100_000):
        with pytest.raises(InvalidField) as refused:
            spec_of(form(data=typed))
        assert refused.value.field == "payload"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "never"}, "spec.when"), ({"cron": ""}, "spec.cron"), ({"kind": "interval"}, "spec.interval"), ({"kind": "interval", "interval": "0"}, "spec.interval"),
        ({"kind": "interval", "interval": "1.5 s"}, "spec.interval"), ({"kind": "interval", "interval": "a while"}, "spec.interval"), ({"kind": "at"}, "spec.at"),
        ({"kind": "at", "at": "tomorrow"}, "spec.at"), ({"start_at": "0001-01-01"}, "spec.start_at"), ({"data": "{"}, "payload"), ({"labels": "alone"}, "spec.labels"),
        ({"priority": "high"}, "spec.priority"), ({"max_missed": "ten"}, "spec.max_missed"), ({"jitter": "-1"}, "spec.jitter"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_by_its_field(fields: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        spec_of(form(**fields))
    assert refused.value.field == field


async def test_a_schedule_is_made_changed_paused_run_and_deleted(browser: Browser, boss: AdminClient) -> None:
    for fields, said in (
        ({"cron": "* * *"}, "five fields"),
        ({"time_zone": "Mars/Olympus"}, "IANA"),
        ({"type": "a b"}, "a job type is"),
        ({"labels": "headrace.schedule=x"}, "is set by the broker"),
        ({"max_missed": "101"}, "1 to 100"),
        ({"name": "a b"}, "1 to 200 characters"),
        ({"priority": "1000001"}, "between -1,000,000"),
    ):
        answer = await browser.post("/schedule-put", 400, **form(**fields))
        assert said in answer.text and 'aria-invalid="true"' in answer.text, fields
        assert html.escape(next(iter(fields.values()))) in answer.text, "what was typed stays"
    answer = await browser.post("/schedule-put", 400, **form(cron="* * *", type="a b", data="{", priority="high", jitter="-1"))
    assert answer.text.count('aria-invalid="true"') == 5 and "5 fields need another look" in answer.text, "all are told at once"
    assert await boss.list_schedules() == []
    answer = await browser.post("/schedule-put", **form(name="nightly", type="report", data='{"kind": "daily"}', labels="team=a", reason="asked for"))
    assert answer.headers["location"] == "/schedules/nightly"
    for field in ("start_at", "end_at"):
        far = await browser.post("/schedule-put", 400, **form(name="far", type="report", **{field: "9999-12-31T23:59:59-12:00"}))
        assert "a time between the years 1970 and 9999" in far.text
    assert "there is one of this name already" in (await browser.post("/schedule-put", 400, **form(name="nightly"))).text
    await browser.post("/schedule-put", known="true", **form(name="nightly", type="report", kind="interval", interval="15 min", overlap="skip"))
    found = await boss.get_schedule("nightly")
    assert (found.spec.interval_s, found.spec.overlap, found.spec.cron, len(found.next)) == (900, "skip", "", 5)
    await browser.post("/schedule-pause/nightly", reason="month end")
    text = await browser.get("/schedules/nightly")
    assert "month end" in text and "Resume: go on" in text and "once it is resumed" in text
    await browser.post("/schedule-run/nightly", request_id="once")
    await browser.post("/schedule-run/nightly", request_id="once")
    assert len((await boss.get_schedule("nightly")).fires) == 1, "a form that is sent twice makes one job"
    text = await browser.get("/schedules")
    assert "nightly" in text and "every 15 min" in text and "paused" in text and "Resume" in text
    await browser.post("/schedule-resume/nightly")
    assert not (await boss.get_schedule("nightly")).paused
    await browser.post("/schedule-delete/nightly", reason="not needed")
    await browser.get("/schedules/nightly", status=404)
    rows, _ = await boss.list_audit(target="schedule/nightly")
    assert [row.action for row in reversed(rows)] == [f"schedule.{verb}" for verb in ("put", "put", "pause", "run", "resume", "delete")]
    assert {row.actor for row in rows} == {"admin@all"} and rows[0].reason == "not needed" and all(row.token_id for row in rows)


async def test_the_preview_tells_the_next_ticks_or_what_is_wrong(browser: Browser) -> None:
    answer = await browser.post("/schedule-preview", 200, **form(cron="30 2 * * *", time_zone="Europe/Berlin"))
    assert answer.text.count("<li>") == 5 and answer.text.count("02:30:00 CE") == 5 and "<html" not in answer.text
    assert "five fields" in (await browser.post("/schedule-preview", 200, **form(cron="30 2"))).text
    assert "It would not tick" in (await browser.post("/schedule-preview", 200, **form(kind="at", at="2001-01-01"))).text


async def test_lists_of_schedules_are_filtered_and_go_on(browser: Browser, boss: AdminClient) -> None:
    for number in range(53):
        await boss.put_schedule(f"many-{number:02}", ScheduleSpec("many", at=AT))
    text = await browser.get("/schedules?find=MANY")
    assert text.count("Run now") == 50
    following = html.unescape(re.findall(r'href="([^"]+)" rel="next"', text)[0])
    text = await browser.get(following)
    assert text.count("Run now") == 3 and "First page" in text and "once, 2090-01-01 08:30:00Z" in text
    assert "No schedule matches" in await browser.get("/schedules?find=nothing")


async def test_a_token_is_made_rotated_and_revoked_and_its_secret_shown_once(browser: Browser, boss: AdminClient, shared: Shared) -> None:
    made = await browser.post("/token-create", 200, name="shop", role="submitter", expires_in_s="86400", reason="web shop")
    secret = re.findall(r'value="(hr_[\w-]+)"', made.text)[0]
    assert made.headers["cache-control"] == "no-store"
    [token] = [token for token in await boss.list_tokens() if token.name == "shop"]
    assert token.role == "submitter" and token.expires_at is not None and token.created_by == "admin@all"
    assert secret not in await browser.get("/access") and "shop" in await browser.get("/access")
    assert "is valid already" in await _told(browser, "/token-create", name="shop", role="submitter")
    rotated = await browser.post("/token-rotate", 200, name="shop", overlap="3600")
    assert re.findall(r'value="(hr_[\w-]+)"', rotated.text)[0] != secret
    await browser.post("/token-revoke", name="shop", reason="sold")
    assert "Rotate or revoke shop" not in await browser.get("/access") and "revoked" in await browser.get("/access?ended=true")
    wrong = (
        ({"name": "a b", "role": "viewer"}, "a token"),
        ({"name": "x", "role": "boss"}, "one of viewer"),
        ({"name": "x", "role": "viewer", "expires_in_s": "-1"}, "seconds"),
    )
    for fields, said in wrong:
        assert said in await _told(browser, "/token-create", **fields)
    everywhere = await browser.post("/token-create", 200, name="root", role="admin", everywhere="true")
    assert "of all domains" in everywhere.text
    assert [token.name for token in await boss.list_tokens(all_domains=True) if token.name == "root"] == ["root"]
    rows, _ = await boss.list_audit(target="token/shop")
    assert [row.action for row in reversed(rows)] == ["token.create", "token.rotate", "token.revoke"] and rows[0].reason == "sold"


async def _told(browser: Browser, path: str, **fields: str) -> str:
    await browser.post(path, **fields)
    return await browser.get("/access")


async def test_an_administrator_of_one_domain_touches_nothing_of_all(browser: Browser, boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20))
    one = Browser(client, shared.base)
    await one.log_in(token=shared.secrets["admin"])
    await boss.put_user("root-user", "viewer", all_domains=True)
    text = await one.get("/access") + await one.get("/access?tab=users") + await one.get("/access?tab=sessions")
    assert "@all" not in text and "root-user" not in text and "of all domains" not in text
    for path, fields in (
        ("/token-create", {"name": "x", "role": "admin", "everywhere": "true"}),
        ("/token-revoke", {"name": "admin@all", "everywhere": "true"}),
        ("/token-revoke", {"name": "admin@all"}),
        ("/user-put", {"name": "root-user2", "role": "admin", "everywhere": "true"}),
        ("/user-disable", {"name": "root-user", "everywhere": "true"}),
        ("/user-disable", {"name": "root-user"}),
    ):
        answer = await one.client.post(path, data={"csrf": await one.csrf(), **fields}, headers={"Origin": one.base})
        assert answer.status_code == 404, (path, answer.text)
    assert "admin@all" in {token.name for token in await boss.list_tokens(all_domains=True)}
    [user] = await boss.list_users(all_domains=True)
    assert user.disabled_at is None


async def test_a_right_to_give_access_in_one_domain_is_none_over_people_of_all(browser: Browser, boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    secret = (await boss.create_token("keeper", "guest", all_domains=True)).secret
    await boss.grant("token/keeper", ["manage_access", "view"], reason="of the default domain alone")
    await boss.put_user("root-user-2", "viewer", all_domains=True)
    keeper, admin = [Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20)), shared.base) for _ in range(2)]
    await admin.log_in(token=shared.secrets["admin"])
    await keeper.log_in(token=secret)
    await until(lambda: _opens(keeper, "/access"), what="the grant")
    text = await keeper.get("/access") + await keeper.get("/access?tab=users") + await keeper.get("/access?tab=sessions")
    assert "@all" not in text and "root-user-2" not in text and "of all domains" not in text and 'class="text">admin@default<br>' in text
    every = await browser.get("/access?tab=sessions")
    numbers = {name: re.findall(r'name="number" value="(\w+)"', every.partition(f'class="text">{name}<br>')[2])[0] for name in ("keeper", "admin@default")}
    [mine] = re.findall(r'name="number" value="(\w+)"', every.partition("(you)")[2])[:1]
    await keeper.post("/token-create", 404, name="x", role="guest", everywhere="true")
    for number, said in ((mine, "has ended already"), (numbers["admin@default"], "takes the right")):
        await keeper.post("/session-end", number=number)
        assert said in await keeper.get("/access")
    assert await browser.is_in() and await admin.is_in(), "and nobody ends the sessions of those who may do more"
    await browser.post("/session-end", number=numbers["admin@default"])
    assert not await admin.is_in()
    [row] = (await boss.list_audit(target=f"session/{numbers['admin@default']}"))[0]
    assert (row.action, row.actor, (row.before or {})["actor"]) == ("session.end", "admin@all", "admin@default") and numbers["keeper"] not in text


async def _opens(browser: Browser, path: str) -> bool:
    return (await browser.client.get(path)).status_code == 200


async def test_the_graph_counts_jobs_that_the_person_may_not_see(boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(Client(shared.broker.address, timeout_s=20))
    first, second = [(await client.submit("billing.first", number)).job_id for number in range(2)]
    mine = (await client.submit("mail.next", depends_on=[first, second], instance_id="graph of some")).job_id
    last = (await client.submit("billing.last", depends_on=[mine], instance_id="graph of some")).job_id
    secret = (await boss.create_token("some", "guest")).secret
    await boss.grant("token/some", ["view"], types="mail.*")
    some = Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20)), shared.base)
    await some.log_in(token=secret)
    await until(lambda: _opens(some, f"/jobs/{mine}"), what="the grant")
    page = await some.get(f"/jobs/{mine}?tab=graph")
    assert page.count("<rect ") == 3 and page.count('class="tie depends"') == 2
    assert "waits for 2 jobs that you may not see" in re.sub(r"\s+", " ", page) and "<td>a job that you may not see</td>" in page
    for tab in ("graph", "details"):
        page = await some.get(f"/jobs/{mine}?tab={tab}")
        assert not [job_id for job_id in (first, second, last) if str(job_id) in page], tab


async def test_a_form_leads_nowhere_else_whatever_page_it_came_from(browser: Browser) -> None:
    for referer in (
        f"{browser.base}//evil.example/x",
        f"{browser.base}/\\evil.example/x",
        "//evil.example/x",
        "https://evil.example/x",
        "http://[",
        f"{browser.base}.evil.example/",
    ):
        answer = await browser.client.post("/domain", data={"csrf": await browser.csrf(), "domain": "a b"}, headers={"Origin": browser.base, "Referer": referer})
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), referer
    assert "A domain is 1 to 100" in await browser.get("/access")
    for path in ("/login?next=//[", "/login?next=http://["):
        assert (await browser.client.get(path)).status_code == 303


async def test_a_user_is_made_invited_changed_and_disabled_and_sessions_are_ended(browser: Browser, boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    made = await browser.post("/user-put", 200, name="ada", role="operator", invite="true", reason="on call")
    link = html.unescape(re.findall(r'value="(http[^"]+)"', made.text)[0])
    assert link.startswith(shared.base + "/invitation?key=hr_")
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20))
    ada = Browser(client, shared.base)
    fields = {"key": link.partition("key=")[2], "password": "correct horse battery staple", "again": "correct horse battery staple"}
    assert (await client.post("/invitation", data=fields, headers={"Origin": shared.base})).status_code == 303
    assert await ada.is_in()
    text = await browser.get("/access?tab=sessions")
    number = re.findall(r'name="number" value="(\w+)"', text.partition(">ada")[2])[0]
    assert "ada" in await browser.get("/access?tab=users")
    await browser.post("/session-end", number=number)
    assert not await ada.is_in()
    await browser.post("/session-end", number=number)
    assert "has ended already" in await browser.get("/access")
    assert "there is a user Ada already" in await _told(browser, "/user-put", name="Ada", role="admin", invite="true"), "the form for a new one changes nobody"
    await browser.post("/user-put", name="ada", role="viewer")
    await browser.post("/user-logout", name="ada")
    await browser.post("/user-disable", name="ada")
    assert "disabled" in await browser.get("/access?tab=users")
    assert "is disabled: enable it first" in await _told(browser, "/user-invite", name="ada")
    await browser.post("/user-enable", name="ada")
    again = await browser.post("/user-invite", 200, name="ada")
    assert "/invitation?key=hr_" in again.text
    rows, _ = await boss.list_audit(target="user/ada")
    assert [row.action.removeprefix("user.") for row in reversed(rows)] == ["create", "invite", "accept", "role", "logout", "disable", "enable", "invite"]


async def _grants(browser: Browser, path: str, **fields: str | list[str]) -> str:
    await browser.post(path, **fields)
    return await browser.get("/grants")


async def test_a_right_is_given_explained_and_ended(browser: Browser, boss: AdminClient) -> None:
    await boss.create_token("letters", "guest")
    assert '<option value="token/letters">' in await browser.get("/grants")
    given: dict[str, str | list[str]] = {"who": "token/letters", "actions": ["view", "view_data"], "types": "mail.*", "domains": "default"}
    assert "token/letters may view, view data from now on" in await _grants(browser, "/grant-add", **given, reason="letters")
    [grant] = (await boss.list_grants("token/letters"))[0]
    assert (grant.actions, grant.types, grant.domains, grant.reason, grant.granted_by) == (("view", "view_data"), "mail.*", "default", "letters", "admin@all")
    why = await browser.get("/grants?whose=token/letters&act=view&type=mail.in")
    assert ">allowed<" in why and f"grant {grant.grant_id} has view for job types" in why
    assert ">denied<" in await browser.get("/grants?whose=token/letters&act=view&type=billing")
    assert "was granted nothing that counts here" in await browser.get("/grants?who=token/nobody")
    assert "has ended, at every broker" in await _grants(browser, "/grant-end", grant_id=str(grant.grant_id), reason="over")
    assert f"End grant {grant.grant_id} of" not in await browser.get("/grants?who=token/letters")
    assert "by admin@all" in await browser.get("/grants?who=token/letters&ended=true")
    wrong: tuple[tuple[str, dict[str, str | list[str]], str], ...] = (
        ("/grant-add", {**given, "who": "nobody"}, "user/NAME or certificate/URI"),
        ("/grant-add", {**given, "who": "user/nobody-here"}, ""),  # 404
        ("/grant-add", {**given, "actions": []}, "at least one of view"),
        ("/grant-add", {**given, "actions": ["fly"]}, "actions[0]"),
        ("/grant-add", {**given, "types": "[a]"}, "a pattern is"),
        ("/grant-end", {"grant_id": "x"}, "a whole number"),
    )
    for path, fields, said in wrong:
        if said:
            assert said in await _grants(browser, path, **fields), fields
        else:
            assert "nobody-here" in (await browser.post(path, 404, **fields)).text
    rows = [row for row in (await boss.list_audit(target="token/letters"))[0] if row.action.startswith("access.")]
    assert [(row.action, row.actor, row.reason) for row in reversed(rows)] == [("access.grant", "admin@all", "letters"), ("access.revoke", "admin@all", "over")]


async def test_a_delegate_gives_what_it_has_and_sees_the_jobs_of_its_types(boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    jobs = await stack.enter_async_context(Client(shared.broker.address, timeout_s=20))
    mine, other = [(await jobs.submit(name, {"to": "ada"})).job_id for name in ("mail.page", "billing.page")]
    secret = (await boss.create_token("delegate", "guest")).secret
    await boss.create_token("friend", "guest")
    await boss.grant("token/delegate", ["view", "abort", "manage_access"], types="mail.*")
    wide = await boss.grant("token/friend", ["view"])
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, timeout=20))
    browser = Browser(client, shared.base)
    await browser.log_in(token=secret)
    assert "this is for the role admin" in await browser.get("/access", 403)
    text = await browser.get("/grants")
    assert 'href="/grants" aria-current="page"' in text and "not yours to end" in text and 'href="/access' not in text and "<datalist" not in text
    assert 'value="abort"' in text.partition("<fieldset")[2].partition("</fieldset>")[0] and 'value="purge"' not in text.partition("</fieldset>")[0]
    assert "may view from now on" in await _grants(browser, "/grant-add", who="token/friend", actions="view", types="mail.in", domains="default")
    for fields in ({"actions": "purge"}, {"types": "*"}, {"domains": "*"}):
        given = {"who": "token/friend", "actions": "view", "types": "mail.in", "domains": "default", **fields}
        assert "nobody can give, take or take over more" in await _grants(browser, "/grant-add", **given), fields
    assert "nobody can give, take or take over more" in await _grants(browser, "/grant-end", grant_id=str(wide.grant_id))
    text = await browser.get(f"/jobs/{mine}")
    assert f'action="/jobs/{mine}/abort"' in text and f"/jobs/{mine}/priority" not in text and f"/jobs/{mine}/hold" not in text and "/types/mail.page" not in text
    data = await browser.get(f"/jobs/{mine}?tab=data")
    assert "you may see this job, and not its data" in data and "ada" not in data and "<textarea" not in data
    await browser.get(f"/jobs/{other}", 404)
    assert "billing.page" not in await browser.get("/jobs")
    assert 'href="/types"' not in await browser.get("/account") and "this is for the role" in await browser.get("/types", 403), "to see jobs is not to see types"
    await boss.grant("token/delegate", ["oversee", "manage_schedules", "submit"], types="mail.*")
    for name in ("mail.page", "billing.page"):
        await boss.put_schedule(f"of.{name}", ScheduleSpec(name, interval_s=3600))

    async def known() -> bool:
        return 'href="/types"' in await browser.get("/account")

    await until(known)
    for path in ("/", "/types", "/agents", "/operations", "/schedules", "/trend?by=type", "/capacity", "/types/mail.page", "/schedules/of.mail.page"):
        text = await browser.get(path)
        assert "billing.page" not in text, path
        for link in set(re.findall(r'<a [^>]*?href="(/[^"]*)"', text)):
            assert (await browser.client.get(html.unescape(link))).status_code in (200, 303), f"{path} leads to {link}"
    assert "mail.page" in await browser.get("/types") and "of.mail.page" in await browser.get("/schedules")
    assert "/type-pause/" not in await browser.get("/types/mail.page"), "to see settings is not to change them"
    for path in ("/types/billing.page", "/schedules/of.billing.page"):
        await browser.get(path, 404)
    await browser.post("/schedule-pause/of.mail.page", reason="x")
    assert (await boss.get_schedule("of.mail.page")).paused_at is not None
    await browser.post("/schedule-pause/of.billing.page", 404, reason="x")
    await browser.post("/type-pause/mail.page", 403, paused="true")
    await browser.get("/alerts", 403)  # they are of a whole domain
    await browser.post(f"/jobs/{mine}/priority", 403, priority="1", reason="x")
    await browser.post(f"/jobs/{mine}/abort", reason="not needed")
    assert (await jobs.get(mine)).state == "aborted"


async def test_what_others_stored_is_text(browser: Browser, boss: AdminClient, shared: Shared, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(Client(shared.broker.address, timeout_s=20))
    await client.submit("hostile", instance_id=HOSTILE)
    spec = ScheduleSpec("hostile", at=AT, data={HOSTILE: HOSTILE}, instance_id=HOSTILE, labels={"a": HOSTILE})
    await boss.put_schedule("hostile", spec, reason=HOSTILE)
    await boss.pause_schedule("hostile", reason=HOSTILE)
    await boss.put_user("hostile", "guest")
    await boss.grant("user/hostile", ["view"], reason=HOSTILE)
    hostile = await stack.enter_async_context(httpx.AsyncClient(base_url=shared.base, headers={"User-Agent": HOSTILE}))
    await Browser(hostile, shared.base).log_in(token=shared.secrets["viewer"])
    for path in (
        "/schedules?find=hostile",
        "/schedules/hostile",
        "/schedule-new?name=hostile",
        "/access?tab=sessions",
        "/grants",
        "/audit",
        "/login?next=/%22%3E%3Cscript%3E",
    ):
        text = (await browser.client.get(path)).text
        assert "<script>alert" not in text and "<img src=x" not in text, path
    answer = await browser.post("/schedule-put", 400, **form(**dict.fromkeys(FIELDS, HOSTILE)))
    assert "<script>alert" not in answer.text and "<img src=x" not in answer.text
    wrong = await Browser(hostile, shared.base).log_in(403, name=HOSTILE, password="x")
    assert "<script>alert" not in wrong.text


async def test_a_tick_at_the_end_of_time_is_shown(browser: Browser) -> None:
    far = form(name="far", kind="at", at="9999-12-31T23:59:59Z", time_zone="Asia/Tokyo", jitter="1 d")
    later = form(name="later", kind="interval", interval="1 d", start_at="9999-12-31T00:00Z")
    for fields in (far, later):
        assert "9999-12-31" in (await browser.post("/schedule-preview", 200, **fields)).text
        await browser.post("/schedule-put", 303, known="false", **fields)
        assert "9999-12-31" in await browser.get(f"/schedules/{fields['name']}")
    assert "It would not tick" in (await browser.post("/schedule-preview", 200, **form(time_zone="Asia/Tokyo", start_at="9999-12-31T23:59Z"))).text


async def test_no_name_of_a_schedule_has_a_button_do_something_else(browser: Browser, boss: AdminClient, shared: Shared) -> None:
    await boss.put_schedule("nightly", ScheduleSpec("t", interval_s=3600))
    name = "../schedule-delete/nightly"
    with pytest.raises(InvalidRequest, match="between slashes"):
        await boss.put_schedule(name, ScheduleSpec("t", interval_s=3600))
    await boss.put_schedule("odd", ScheduleSpec("t", interval_s=3600))
    con = await asyncpg.connect(shared.database)
    await con.execute("update headrace.schedule set name = $1, version = version + 1, changed_at = clock_timestamp() where name = 'odd'", name)  # as in older versions
    await con.close()

    async def known() -> bool:
        return name in await browser.get("/schedules")

    await until(known, what="the name")
    text = await browser.get("/schedules")
    row = next(row for row in text.split("<tr>") if f">{name}</a>" in row)
    for action in re.findall(r'formaction="([^"]+)"', row):
        await browser.post(_as_browsers_ask(shared.base, action))
    found = {schedule.name: schedule for schedule in await boss.list_schedules()}
    assert found.keys() >= {"nightly", name} and found[name].paused_at is not None and found["nightly"].paused_at is None
    [link] = re.findall(r'href="(/schedules[^"]+)"', row)
    page = await browser.get(_as_browsers_ask(shared.base, link))
    for action in re.findall(r'formaction="([^"]+)"', page):
        assert unquote(_as_browsers_ask(shared.base, action)).endswith(f"/{name}"), action
    await boss.delete_schedule(name)
    await boss.delete_schedule("nightly")


def _as_browsers_ask(base: str, address: str) -> str:
    """The path of an address of a page at the root, as a browser asks for it."""
    return urlsplit(urljoin(f"{base}/", html.unescape(address))).path
