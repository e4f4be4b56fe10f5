"""Pages and forms while the database is frozen: each answers in its time, says what works, and loses nothing that was typed."""

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from html import unescape
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from headrace_broker.model.errors import NotOwner
from headrace_broker.rpc.access import LEAST
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.migrate import migrate
from headrace_broker.web.failing import Patience, Returned, TooSlow, returned
from headrace_broker.web.manager import Manager
from headrace_client import AdminClient, Client
from playwright.async_api import async_playwright
from starlette.datastructures import FormData
from starlette.requests import Request

from tests.support.processes import freeze, thaw, until
from tests.support.web import Browser, Shared, shared_broker
from tests.web.test_chromium import AXE, CHROMIUM, judge

RULE = {"name": "late", "kind": "oldest_waiting", "threshold": "10m", "type": "nobody", "reason": "they wait <too> long"}
SECRET = "whsec_" + "a2tr" * 12


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that a test may freeze."""
    path = Path(tempfile.mkdtemp(prefix="headrace-pg-"))
    path.chmod(0o755)
    server = EmbeddedPostgres(path / "data", durable=False, shared_buffers="64MB")
    server.start()
    asyncio.run(migrate(server.dsn))
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def site(server: EmbeddedPostgres) -> Iterator[Shared]:
    """A broker on it."""
    with shared_broker(server, "failing") as found:
        yield found


@pytest.fixture
async def browser(site: Shared) -> AsyncIterator[Browser]:
    """An administrator's session."""
    async with httpx.AsyncClient(base_url=site.base, timeout=60) as client:
        browser = Browser(client, site.base)
        await browser.log_in(token=site.secrets["admin@all"])
        yield browser


def fields(text: str) -> dict[str, str]:
    """What the form that is shown again holds."""
    form = text.partition('id="returned"')[2].partition("</form>")[0]
    found = dict(re.findall(r'<input[^>]*? name="(\w+)" value="([^"]*)"', form)) | dict(re.findall(r'<textarea name="(\w+)"[^>]*>\n([^<]*)<', form))
    found |= dict(re.findall(r'<select name="(\w+)">(?:<option value="[^"]*">[^<]*</option>)*<option value="([^"]*)" selected>', form))
    return {name: unescape(value) for name, value in found.items()}


async def test_a_form_that_is_refused_is_shown_again_once_with_what_was_typed(browser: Browser) -> None:
    await browser.post("/alert-rule-put", **{**RULE, "threshold": "soon"})
    text = await browser.get("/alerts")
    assert "such as 90s, 15m" in text
    kept = fields(text)
    assert {name: kept.get(name) for name in RULE} == {**RULE, "threshold": "soon"}
    assert '<option value="oldest_waiting" selected>oldest waiting</option>' in text and '<option value="agent_lost">agent lost</option>' in text.partition("</form>")[2]
    assert 'id="returned"' not in await browser.get("/alerts")
    answer = await browser.client.post("/alert-rule-put", data={**kept, "threshold": "10m"}, headers={"Origin": browser.base})
    assert answer.status_code == 303 and "The rule late is in force." in await browser.get("/alerts")
    await browser.post("/job-abort", job_id="seven", reason="")  # nothing was typed
    assert 'id="returned"' not in await browser.get("/jobs")


async def test_whatever_can_be_chosen_in_a_form_can_be_chosen_when_it_is_shown_again(browser: Browser, site: Shared, stack: AsyncExitStack) -> None:
    client = await stack.enter_async_context(Client(site.broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(site.broker.address, timeout_s=20))
    job_id = (await client.submit("chosen")).job_id
    await client.abort([job_id], reason="x")
    await admin.put_user("chosen", "viewer")
    known, seen = Manager(Mock(), Mock(), "x", LEAST, time.monotonic)._choices, set()
    for path in ("/alerts", "/access", "/access?tab=users", "/schedule-new", "/schedules", f"/jobs/{job_id}", "/jobs", "/grants", "/account", "/agents", "/types/chosen"):
        text = await browser.get(path)
        for form in re.findall(r'<form [^>]*method="post".*?</form>', text, re.DOTALL):
            routes = [re.sub(r"/jobs/\d+/", "/jobs/{job_id}/", route) for route in re.findall(r'action="([^"]*)"', form)]
            for name in re.findall(r'<select name="(\w+)"', form) + re.findall(r'type="radio" name="(\w+)"', form):
                if routes != ["/domain"]:
                    assert any(name in known.get(route, {}) for route in routes), f"{path}: {name} of {routes}"
                    seen.add(name)
                    offered = re.findall(r'<option(?: value="([^"]*)")?[^>]*>([^<]*)<', form.partition(f'<select name="{name}"')[2].partition("</select>")[0])
                    there = {value for route in routes for value in known.get(route, {}).get(name, {})}
                    assert {value or (words if words != "any" and words != "never" else "") for value, words in offered} <= there, f"{path}: {name}"
    assert seen == {"tls", "kind", "source", "role", "expires_in_s", "overlap", "missed", "how"}


async def test_a_form_whose_session_has_ended_is_shown_again_and_sent_after_a_new_login(browser: Browser) -> None:
    data = {"csrf": await browser.csrf(), **RULE}
    cookies = dict(browser.client.cookies)
    browser.client.cookies.clear()
    answer = await browser.client.post("/alert-rule-put", data=data, headers={"Origin": browser.base})
    assert answer.status_code == 403 and "not logged in any more" in answer.text and 'name="csrf"' not in answer.text
    kept = fields(answer.text)
    assert kept == RULE
    elsewhere = await browser.client.post("/alert-rule-put", data=data, headers={"Origin": "http://elsewhere.example"})
    assert elsewhere.status_code == 403 and "too&gt;" not in elsewhere.text
    browser.client.cookies.update(cookies)
    answer = await browser.client.post("/alert-rule-put", data={"csrf": "of the old session", **kept}, headers={"Origin": browser.base})
    assert answer.status_code == 403 and fields(answer.text) == {"csrf": data["csrf"], **RULE}


@pytest.mark.timeout(180)
async def test_a_frozen_database_keeps_no_page_waiting_and_no_form_is_lost(server: EmbeddedPostgres, site: Shared, browser: Browser, stack: AsyncExitStack) -> None:
    http, base = browser.client, site.base
    admin = await stack.enter_async_context(AdminClient(site.broker.address, timeout_s=20))
    await browser.get("/audit")
    csrf = await browser.csrf()
    stopped = freeze(server.pid)
    try:
        answer = await http.get("/audit")  # while nothing comes from the database
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert "no answer within" in answer.text and 'id="retry"' in answer.text and 'href="/agents"' in answer.text

        async def known() -> bool:
            return (await http.get("/readyz")).status_code == 503

        await until(known, what="a broker that knows that its database does not answer")
        agents = await browser.get("/agents")
        assert "Nothing can be changed now" in agents and 'id="retry"' not in agents
        for path in ("/audit", "/types"):
            part = await http.get(path, headers={"HX-Request": "true"})
            assert part.status_code == 503 and "answer" in part.text and "<" not in part.text
        sent = await http.post("/alert-rule-put", data={"csrf": csrf, **RULE, "name": "frozen"}, headers={"Origin": base})
        assert sent.status_code == 503 and "Nothing was done: whether your session still stands" in sent.text and 'id="retry"' not in sent.text
        kept = fields(sent.text)
        assert {name: kept.get(name) for name in RULE} == {**RULE, "name": "frozen"}
        secret = await http.post("/alert-channel-put", data={"csrf": csrf, "kind": "webhook", "name": "hook", "secret": SECRET}, headers={"Origin": base})
        assert secret.status_code == 503 and SECRET not in secret.text and 'type="password" name="secret"' in secret.text
        login = await http.post("/login", data={"name": "ada", "password": "x" * 20}, headers={"Origin": base, "Cookie": ""})
        assert login.status_code == 503 and 'value="ada"' in login.text
        if CHROMIUM is not None:
            playwright = await stack.enter_async_context(async_playwright())
            chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = await chromium.new_page()
            value = next(cookie.value for cookie in http.cookies.jar)
            await page.context.add_cookies([{"name": "headrace_session", "value": value or "", "url": base}])
            await page.goto(f"{base}/audit?actor=manager")
            await page.wait_for_selector("#retry")
            if AXE.exists():
                await judge(page, "a page that cannot be made")
    finally:
        thaw(stopped)
    if CHROMIUM is not None:
        await page.wait_for_selector("h1:has-text('Audit')", timeout=60_000)  # by itself
        await chromium.close()

    async def back() -> bool:
        return (await http.get("/readyz")).status_code == 200

    await until(back, what="a database that goes on")
    kept["reason"] = "again"
    again = await http.post("/alert-rule-put", data=kept, headers={"Origin": base})
    assert again.status_code == 303
    [rule] = [rule for rule in await admin.list_alert_rules() if rule.name == "frozen"]
    assert rule.threshold == 600


async def test_what_takes_too_long_is_given_up_and_not_waited_for() -> None:
    patience, go_on, ended = Patience(), asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await go_on.wait()  # as a connection does that cannot be cancelled
            ended.set()

    with pytest.raises(TooSlow):
        await patience.within(0.01, stubborn())
    go_on.set()
    await ended.wait()

    async def wrong() -> int:
        raise NotOwner("x")

    async def right() -> int:
        return 7

    with pytest.raises(NotOwner):
        await patience.within(20, wrong())
    assert await patience.within(20, right()) == 7


def test_secrets_are_not_kept_and_what_nobody_typed_is_no_loss() -> None:
    request = Request({"type": "http", "path": "/x", "headers": [], "query_string": b"", "server": ("a", 1), "scheme": "http"})

    def kept(**values: str) -> Returned:
        return returned(request, FormData(list(values.items())), {"role": {"viewer": "viewer", "admin": "gives access"}})

    form = kept(csrf="c", secret="s", job_id="7", force="true", name="a", data="{\n}")
    assert [(field.name, field.value, field.kind) for field in form.fields] == [
        ("secret", "", "secret"), ("job_id", "7", "hidden"), ("force", "true", "tick"), ("name", "a", "line"), ("data", "{\n}", "text"),
    ]  # fmt: skip
    request = Request({**request.scope, "path": "/schedule-run/../schedule-delete/x"})
    assert kept(name="a").address == "/schedule-run%2F../schedule-delete/x", "a browser sends it where it was sent"
    [role, odd] = kept(role="admin").fields + kept(role="king").fields
    assert (role.kind, role.value, dict(role.choices)) == ("choice", "admin", {"viewer": "viewer", "admin": "gives access"}) and "king" in odd.choices
    assert not kept(role="admin").typed and form.typed and kept(secret="s").typed and not kept(job_id="7", force="true", reason="").typed
