"""Who is let in, with what, for how long; and which page and form each role may have."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest
from headrace_broker.model.access import USER_ROLES, Role
from headrace_broker.rpc.access import LEAST
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.web import rights
from headrace_broker.web.manager import Manager
from headrace_broker.web.rights import RIGHTS, Rights
from headrace_client import AdminClient
from starlette.routing import Route

from tests.support.processes import start_broker, until
from tests.support.web import PASSWORD, Browser, Shared, shared_broker

ADDRESSES = itertools.count(2)


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """One broker for the module."""
    with shared_broker(postgres, "web_login") as found:
        yield found


class Browsers:
    """Opens browsers of one address, each with its own cookies."""

    def __init__(self, stack: AsyncExitStack, base: str, address: str) -> None:
        self._address = address
        self._stack = stack
        self._base = base

    async def new(self, **fields: str) -> Browser:
        """One that has logged in with these fields, or with none."""
        way = httpx.AsyncHTTPTransport(local_address=self._address)
        client = await self._stack.enter_async_context(httpx.AsyncClient(base_url=self._base, timeout=20, transport=way))
        browser = Browser(client, self._base)
        if fields:
            await browser.log_in(**fields)
        return browser


@pytest.fixture
def browsers(stack: AsyncExitStack, shared: Shared) -> Browsers:
    """Of that broker, each test at an address of its own, since wrong passwords are counted by address."""
    return Browsers(stack, shared.base, f"127.0.0.{next(ADDRESSES)}")


@pytest.fixture
async def boss(stack: AsyncExitStack, shared: Shared) -> AdminClient:
    """An administrator's client."""
    return await stack.enter_async_context(AdminClient(shared.broker.address, actor="tester", timeout_s=20))


async def ends(browser: Browser) -> None:
    """Waits until the session has ended."""

    async def out() -> bool:
        return not await browser.is_in()

    await until(out, what="the end of the session")


async def test_a_password_lets_in_and_whatever_is_wrong_is_answered_alike(browsers: Browsers, boss: AdminClient) -> None:
    await boss.put_user("ada", "operator")
    await boss.set_user_password("ada", PASSWORD)
    await boss.put_user("gone", "operator")
    await boss.set_user_password("gone", PASSWORD)
    await boss.disable_user("gone")
    await boss.put_user("fresh", "operator")
    answers = set()
    for name, password in (("ada", PASSWORD + "x"), ("nobody", PASSWORD), ("gone", PASSWORD), ("fresh", PASSWORD), ("a\x00", PASSWORD), ("ada", ""), ("", "")):
        browser = await browsers.new()
        answer = await browser.log_in(403, name=name, password=password)
        answers.add(re.sub(r'name="name" value="[^"]*"', "", answer.text))
        assert not browser.client.cookies and "ada" not in answer.headers.get("set-cookie", "")
    assert len(answers) == 1 and "do not go together" in answers.pop()
    browser = await browsers.new(name="ADA", password=PASSWORD)
    assert "ada" in await browser.get("/account") and "operator" in await browser.get("/")
    cookie = next(iter(browser.client.cookies.jar))
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "strict" and cookie.path == "/" and not cookie.secure
    assert cookie.expires is not None and 0 < cookie.expires - time.time() <= 12 * 3600
    assert [user.name for user in await boss.list_users() if user.logged_in_at is not None] == ["ada"]


async def test_after_a_few_wrong_passwords_even_the_right_one_waits(browsers: Browsers, boss: AdminClient) -> None:
    await boss.put_user("slow", "viewer")
    await boss.set_user_password("slow", PASSWORD)
    browser = await browsers.new()
    for _ in range(5):
        await browser.log_in(403, name="slow", password="wrong")
    answer = await browser.log_in(429, name="Slow", password=PASSWORD)
    assert 1 <= int(answer.headers["retry-after"]) <= 3 and "The next one is looked at in" in answer.text
    await boss.put_user("other", "viewer")
    await boss.set_user_password("other", PASSWORD)
    await browser.log_in(name="other", password=PASSWORD)


async def test_a_token_lets_in_and_the_session_ends_with_it(browsers: Browsers, boss: AdminClient) -> None:
    made = await boss.create_token("pager", "operator")
    browser = await browsers.new(token=made.secret)
    text = await browser.get("/account")
    assert "pager" in text and "operator" in text and 'id="domain"' not in text
    for secret in ("hr_nobody", made.secret[:-1]):
        answer = await (await browsers.new()).log_in(403, token=secret)
        assert "The token is not known" in answer.text and secret not in answer.text
    await boss.revoke_token("pager")
    await ends(browser)
    await browser.log_in(403, token=made.secret)


@pytest.mark.parametrize("role", ["agent", "submitter"])
async def test_tokens_of_programs_are_told_so(browsers: Browsers, shared: Shared, role: str) -> None:
    answer = await (await browsers.new()).log_in(403, token=shared.secrets[role])
    assert "it is for programs" in answer.text


async def test_a_session_ends_when_its_user_is_disabled_changed_or_logged_out(browsers: Browsers, boss: AdminClient) -> None:
    await boss.put_user("eve", "operator")
    await boss.set_user_password("eve", PASSWORD)
    for change in (
        lambda: boss.end_user_sessions("eve"),
        lambda: boss.put_user("eve", "viewer"),
        lambda: boss.disable_user("eve"),
        lambda: boss.set_user_password("eve", PASSWORD + "!"),
    ):
        await boss.enable_user("eve")
        browser = await browsers.new(name="eve", password=PASSWORD)
        await change()
        await ends(browser)
    await browser.log_in(403, name="eve", password=PASSWORD)
    await browser.log_in(name="eve", password=PASSWORD + "!")


async def test_a_form_whose_session_ends_while_it_comes_does_nothing(browsers: Browsers, boss: AdminClient, shared: Shared) -> None:
    browser = await browsers.new(token=(await boss.create_token("slow-form", "admin")).secret)
    form = urlencode({"csrf": await browser.csrf(), "name": "by-a-slow-form", "role": "viewer"}).encode()
    host, _, port = shared.base.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /token-create HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {shared.base}\r\nCookie: headrace_session={browser.client.cookies['headrace_session']}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n".encode()
    )
    async with asyncio.timeout(30):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 "), "the broker has found the session, and waits for the form"
        await boss.revoke_token("slow-form")
        await ends(browser)
        writer.write(form)
        answer = (await reader.read()).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 403 ") and "You are not logged in any more" in answer
    assert "by-a-slow-form" not in [token.name for token in await boss.list_tokens()]


async def test_a_user_changes_the_password_and_logs_out_everywhere(browsers: Browsers, boss: AdminClient) -> None:
    await boss.put_user("mary", "viewer")
    await boss.set_user_password("mary", PASSWORD)
    here, there = await browsers.new(name="mary", password=PASSWORD), await browsers.new(name="mary", password=PASSWORD)
    new = "another one that is long enough"
    for fields, status, said in (
        ({"old": "wrong", "new": new, "again": new}, 403, "is another one"),
        ({"old": PASSWORD, "new": new, "again": "x"}, 400, "not the same"),
        ({"old": PASSWORD, "new": "short", "again": "short"}, 400, "15 to 256 characters"),
    ):
        answer = await here.post("/account-password", status, **fields)
        assert said in answer.text and new not in answer.text
    cookie = here.client.cookies.get("headrace_session")
    await here.post("/account-password", old=PASSWORD, new=new, again=new)
    assert "Your password is changed" in await here.get("/account") and here.client.cookies.get("headrace_session") != cookie
    await ends(there)
    assert await here.is_in(), "this one goes on"
    await there.log_in(403, name="mary", password=PASSWORD)
    await there.log_in(name="mary", password=new)
    await here.post("/account-logout")
    assert not await here.is_in()
    await ends(there)


async def test_an_invited_person_chooses_a_password_once(browsers: Browsers, boss: AdminClient) -> None:
    await boss.put_user("ivy", "viewer")
    stale = (await boss.invite_user("ivy")).path
    path = (await boss.invite_user("ivy")).path
    key = path.partition("key=")[2]
    browser = await browsers.new()
    assert 'autocomplete="new-password"' in await browser.get(path)

    async def choose(key: str, password: str, again: str, status: int, origin: str = "") -> str:
        answer = await browser.client.post("/invitation", data={"key": key, "password": password, "again": again}, headers={"Origin": origin or browser.base})
        assert answer.status_code == status, answer.text
        return answer.text

    await choose(key, PASSWORD, PASSWORD, 403, "http://elsewhere.example")
    assert "not the same" in await choose(key, PASSWORD, "x", 400)
    assert "15 to 256" in await choose(key, "short", "short", 400)
    assert "is over" in await choose(stale.partition("key=")[2], PASSWORD, PASSWORD, 403)
    await choose(key, PASSWORD, PASSWORD, 303)
    assert "ivy" in await browser.get("/account")
    assert "is over" in await choose(key, PASSWORD, PASSWORD, 403)
    [row] = (await boss.list_audit(action="user.accept"))[0]
    assert (row.actor, row.target) == ("user/ivy", "user/ivy")


async def test_a_login_comes_from_our_page_and_leads_to_one_of_ours(browsers: Browsers, shared: Shared) -> None:
    browser = await browsers.new()
    token = shared.secrets["viewer"]
    for headers in ({}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}):
        answer = await browser.client.post("/login", data={"token": token}, headers=headers)
        assert answer.status_code == 403 and not browser.client.cookies
    wanted = await browser.client.get("/jobs?state=error")
    assert wanted.headers["location"] == "/login?next=%2Fjobs%3Fstate%3Derror"
    assert '<input type="hidden" name="next" value="/jobs?state=error">' in (await browser.client.get(wanted.headers["location"])).text
    assert (await browser.log_in(token=token, next="/jobs?state=error")).headers["location"] == "/jobs?state=error"
    for elsewhere in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"):
        assert (await browser.log_in(token=token, next=elsewhere)).headers["location"] == "/"
    part = await (await browsers.new()).client.get("/jobs", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login") and "<form" not in part.text
    here = {"HX-Request": "true", "HX-Current-URL": f"{browser.base}/jobs?state=error#rows"}
    part = await (await browsers.new()).client.get("/jobs?state=error&seen=1", headers=here)
    assert (part.status_code, part.headers["hx-redirect"]) == (401, "/login?next=%2Fjobs%3Fstate%3Derror"), "a page that was left open leads back to itself"
    large = await browser.client.post("/login", data={"name": "x" * 20_000}, headers={"Origin": browser.base})
    assert large.status_code == 413


async def test_who_may_see_all_domains_chooses_one_and_others_see_theirs(browsers: Browsers, shared: Shared, boss: AdminClient, stack: AsyncExitStack) -> None:
    from headrace_client import Client

    for domain in ("default", "billing"):
        client = await stack.enter_async_context(Client(shared.broker.address, domain=domain, timeout_s=20))
        await client.submit(f"of.{domain}")
    every, one = await browsers.new(token=shared.secrets["admin@all"]), await browsers.new(token=shared.secrets["admin"])
    assert "<option>billing</option>" in await every.get("/jobs") and "of.default" in await every.get("/jobs")
    await every.post("/domain", domain="billing")
    text = await every.get("/jobs")
    assert "of.billing" in text and "of.default" not in text and "<option selected>billing</option>" in text
    await every.post("/domain", domain="no such/domain")
    assert "A domain is 1 to 100 characters" in await every.get("/jobs")
    await one.post("/domain", domain="billing")
    text = await one.get("/jobs")
    assert "You may look at default alone." in text and "of.billing" not in text


def _routes() -> list[tuple[str, str]]:
    """(method, route) of every page and form that needs a session."""
    from unittest.mock import Mock

    manager = Manager(Mock(), Mock(), "x", LEAST, time.monotonic)
    routes = [route for route in manager.routes if isinstance(route, Route) and route.path not in ("/login", "/logout", "/invitation")]
    return [("POST" if route.methods == {"POST"} else "GET", route.path) for route in routes]


def test_every_route_has_its_right_and_every_right_a_route() -> None:
    assert {path for _, path in _routes()} == set(RIGHTS)
    assert rights.EVERYBODY not in {RIGHTS[path] for _, path in _routes() if not path.startswith(("/account", "/domain"))}


@pytest.mark.parametrize("role", USER_ROLES, ids=lambda role: role.name.lower())
async def test_each_role_gets_the_pages_and_the_forms_of_its_rights_and_no_others(browsers: Browsers, shared: Shared, role: Role) -> None:
    """Every form is sent with the session's token, as a page would that has the button; nothing in it makes sense, so nothing is done."""
    browser = await browsers.new(token=shared.secrets[role.name.lower()])
    csrf, allowed, wrong = await browser.csrf(), Rights(LEAST), []
    for method, route in _routes():
        if route == "/account-logout":
            continue
        path = re.sub(r"\{[^}]*\}", "1", route)
        if method == "GET":
            answer = await browser.client.get(path)
        else:
            answer = await browser.client.post(path, data={"csrf": csrf, "name": "no such/\x00name"}, headers={"Origin": browser.base})
        denied = answer.status_code == 403 and "this is for the role" in answer.text
        if denied == allowed.allow(role, route) or answer.status_code >= 500:
            wrong.append((method, route, answer.status_code))
    assert not wrong


BUTTONS = re.compile(r'(?:form)?action="([^"]+)"')


@pytest.mark.parametrize("role", USER_ROLES, ids=lambda role: role.name.lower())
async def test_nobody_sees_a_button_or_a_link_that_is_not_for_them(browsers: Browsers, shared: Shared, boss: AdminClient, role: Role) -> None:
    from headrace_client import Client

    async with Client(shared.broker.address, timeout_s=20) as client:
        job_id = (await client.submit("buttons")).job_id
    browser = await browsers.new(token=shared.secrets[role.name.lower()])
    allowed = Rights(LEAST)
    exact, patterns = set(RIGHTS), [(re.compile(re.sub(r"\{[^}:]*\}", "[^/]+", re.sub(r"\{[^}]*:path\}", ".+", path))), path) for path in RIGHTS if "{" in path]

    def right_of(address: str) -> str | None:
        """The route of an address."""
        plain = address.partition("?")[0]
        return plain if plain in exact else next((path for pattern, path in patterns if pattern.fullmatch(plain)), None)

    pages = [re.sub(r"\{[^}]*\}", "buttons", path) for path in RIGHTS if allowed.allow(role, path) and ("GET", path) in _routes()]
    for path in [page if not page.startswith("/jobs/") else f"/jobs/{job_id}" for page in pages]:
        answer = await browser.client.get(path)
        if answer.status_code == 404:
            continue
        for action in BUTTONS.findall(answer.text):
            route = right_of(action)
            assert action == "/logout" or (route is not None and allowed.allow(role, route)), f"{path} has a form for {action}"
        for link in re.findall(r'<a href="(/[^"?]*)"', answer.text):
            route = right_of(link)
            assert route is None or allowed.allow(role, route), f"{path} has a link to {link}"


async def test_what_a_proxy_says_counts_only_where_that_is_configured(browsers: Browsers, shared: Shared, stack: AsyncExitStack, directory: object) -> None:
    said = {"X-Forwarded-Prefix": "/ops", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "ops.example", "X-Forwarded-For": "192.0.2.7"}
    plain = await browsers.new()
    answer = await plain.client.get("/jobs", headers=said)
    assert answer.headers["location"] == "/login?next=%2Fjobs" and "/ops" not in (await plain.client.get("/login", headers=said)).text
    from pathlib import Path

    assert isinstance(directory, Path)
    con = await asyncpg.connect(shared.database)
    await con.execute("update headrace.peer set web = ''")  # or this broker, which stands by, would send on to the owner's pages
    await con.close()
    broker = await start_broker(directory, "--login-link", "--behind-proxy", database=shared.database)
    stack.push_async_callback(broker.kill)
    async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}", headers=said) as client:
        assert (await client.get("/jobs")).headers["location"] == "/ops/login?next=%2Fjobs"
        text = (await client.get("/login")).text
        assert 'href="/ops/static/style.css"' in text and 'action="/ops/login"' in text
        assert (await client.get("/static/style.css")).status_code == (await client.get("/ops/static/style.css")).status_code == 200
        answer = await client.post("/login", data={"token": shared.secrets["viewer"], "next": "/account"}, headers={"Origin": "https://ops.example"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/ops/account")
        cookie = answer.headers["set-cookie"].lower()
        assert "secure" in cookie and "httponly" in cookie and "samesite=strict" in cookie and "path=/ops" in cookie
        value = answer.cookies.get("headrace_session") or answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
        text = (await client.get("/ops/account", headers={"Cookie": f"headrace_session={value}"})).text
        assert "192.0.2.7" in text and 'href="/ops/jobs"' in text and 'action="/ops/account-logout"' in text
        assert not re.findall(r'(?:href|action|src)="/(?!ops/)', text)
        assert (await client.get("/ops")).status_code in (303, 307)
