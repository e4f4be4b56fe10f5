"""Logging in by an OpenID provider: a browser's whole way, and whatever can be wrong on it."""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import jwt
import pytest
from headrace_broker.oidc import sealed
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.web.throttle import ADDRESSES
from headrace_client import AdminClient
from playwright.async_api import async_playwright

from tests.support.openid import CLIENT, SECRET, Claims, OpenIdProvider, new_key, signed
from tests.support.ports import free_ports
from tests.support.processes import start_broker, until
from tests.support.web import Browser, Shared, shared_broker

GROUPS = "ops=operator@*;dev=viewer@default;letters=user/letters"
CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)


@dataclass(frozen=True)
class Scene:
    """A broker, its provider, what it says of it at its start, and its options for another broker."""

    shared: Shared
    provider: OpenIdProvider
    at_start: httpx.Response
    options: list[str]


@pytest.fixture(scope="module")
def running(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One broker for the module, that started before its provider."""
    provider, [port], secret = OpenIdProvider(), free_ports(1), tmp_path_factory.mktemp("oidc") / "secret"
    secret.write_text(SECRET)
    options = [
        f"--oidc-issuer={provider.issuer}", f"--oidc-client-id={CLIENT}", f"--oidc-client-secret-file={secret}", f"--oidc-groups={GROUPS}",
        f"--public-url=http://127.0.0.1:{port}/", "--oidc-contact=the desk at extension 100",
    ]  # fmt: skip
    with shared_broker(postgres, "web_oidc", f"--http-listen=127.0.0.1:{port}", *options) as shared:
        at_start = httpx.get(f"{shared.base}/login/oidc", timeout=20)
        provider.reset()
        deadline = time.monotonic() + 30
        while httpx.get(f"{shared.base}/login/oidc", timeout=20).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        try:
            yield Scene(shared, provider, at_start, options)
        finally:
            provider.stop()


@pytest.fixture
def scene(running: Scene) -> Scene:
    """With the provider as it is at first."""
    running.provider.reset()
    return running


@pytest.fixture
async def browser(scene: Scene, stack: AsyncExitStack) -> Browser:
    """One that nobody has logged in with."""
    return Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=scene.shared.base, timeout=20)), scene.shared.base)


@pytest.fixture
async def boss(stack: AsyncExitStack, scene: Scene) -> AdminClient:
    """An administrator's client."""
    return await stack.enter_async_context(AdminClient(scene.shared.broker.address, actor="tester", timeout_s=20))


async def to_provider(browser: Browser, wanted: str = "") -> str:
    """Where the provider sends a browser back to, that came to log in."""
    begun = await browser.client.get("/login/oidc", params={"next": wanted})
    assert begun.status_code == 303, begun.text
    async with httpx.AsyncClient(timeout=20) as elsewhere:
        back = (await elsewhere.get(begun.headers["location"])).headers["location"]
    assert back.startswith(f"{browser.base}/login/oidc/callback?")
    return str(back)


async def come(browser: Browser, status: int = 200, wanted: str = "") -> str:
    """The page at the end of a login."""
    answer = await browser.client.get(await to_provider(browser, wanted))
    assert answer.status_code == status, answer.text
    return answer.text


def target(text: str) -> str:
    """Where a page goes on to by itself."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', text)
    assert found, text
    return found[1]


async def test_a_broker_serves_while_the_provider_is_away_and_says_so(scene: Scene) -> None:
    assert scene.at_start.status_code == 503 and "does not answer as it should" in scene.at_start.text and "Log in with a password or a token" in scene.at_start.text
    assert "OpenID provider does not answer" in scene.shared.broker.log.read_text()


async def test_somebody_logs_in_does_something_under_the_name_of_the_claim_and_logs_out(browser: Browser, scene: Scene, boss: AdminClient) -> None:
    text = await browser.get("/login?next=/types")
    assert f"Log in by 127.0.0.1:{scene.provider.port}" in text and "/login/oidc?next=/types" in text
    begun = await browser.client.get("/login/oidc")
    cookie = begun.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie and "path=/login/oidc" in cookie and "max-age=600" in cookie
    page = await come(browser, wanted="/types")
    assert target(page) == "/types" and "logged in as grace" in page
    kept = next(cookie for cookie in browser.client.cookies.jar if cookie.name == "headrace_session")
    assert kept.has_nonstandard_attr("HttpOnly") and kept.get_nonstandard_attr("SameSite") == "strict"
    assert not [cookie for cookie in browser.client.cookies.jar if cookie.name == "headrace_oidc"]
    account = await browser.get("/account")
    assert "grace" in account and "operator" in account and "<dt>provider</dt>" in account and "Change your password" not in account
    await browser.post("/account-password", 400, old="a", new="b" * 15, again="b" * 15)
    await boss.set_type("made.here", max_losses=5)
    await browser.post("/type-pause/made.here", paused="true", reason="by hand")
    rows, _ = await boss.list_audit(target="type/made.here", actor="oidc/grace")
    assert len(rows) == 1
    answer = await browser.client.post("/logout", headers={"Origin": browser.base})
    assert answer.headers["location"] == "/login?left=provider" and not await browser.is_in()
    assert "/login/oidc/logout" in await browser.get("/login?left=provider")
    there = httpx.URL((await browser.client.get("/login/oidc/logout")).headers["location"])
    assert str(there).startswith(f"{scene.provider.issuer}/end?client_id={CLIENT}")
    assert jwt.decode(there.params["id_token_hint"], options={"verify_signature": False})["preferred_username"] == "grace"
    there = httpx.URL((await browser.client.get("/login/oidc/logout")).headers["location"])
    assert "id_token_hint" not in there.params and there.params["post_logout_redirect_uri"] == f"{browser.base}/login"


async def test_a_session_from_before_ends_though_its_cookie_does_not_come_back_from_the_provider(browser: Browser, scene: Scene, stack: AsyncExitStack) -> None:
    await browser.log_in(token=scene.shared.secrets["viewer"])
    before = browser.client.cookies["headrace_session"]
    other = Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=scene.shared.base, cookies={"headrace_session": before}, timeout=20)), scene.shared.base)
    back = await to_provider(browser)
    assert await other.is_in(), "for as long as nobody else has come in"
    browser.client.cookies.delete("headrace_session")  # SameSite=Strict: a browser keeps it, and does not send it from there
    assert (await browser.client.get(back)).status_code == 200
    assert "grace" in await browser.get("/account") and not await other.is_in()


async def test_the_id_token_is_kept_where_no_script_and_no_other_site_gets_at_it(browser: Browser, scene: Scene) -> None:
    answer = await browser.client.get(await to_provider(browser))
    [kept] = [cookie for cookie in answer.headers.get_list("set-cookie") if cookie.startswith("headrace_oidc_token=")]
    assert "eyJhbGci" not in kept and {"HttpOnly", "Path=/login/oidc", "SameSite=strict"} <= set(kept.split("; ")), kept
    scene.provider.person["groups"] = ["ops", *(secrets.token_hex(16) for _ in range(200))]
    answer = await browser.client.get(await to_provider(browser))
    assert answer.status_code == 200 and not [cookie for cookie in browser.client.cookies.jar if cookie.name == "headrace_oidc_token"], "it is too long, and goes"
    assert "id_token_hint" not in (await browser.client.get("/login/oidc/logout")).headers["location"]


async def test_a_domain_of_ones_own_and_the_rights_of_a_user_that_end_with_it(browser: Browser, scene: Scene, boss: AdminClient) -> None:
    scene.provider.person |= {"groups": ["dev"], "preferred_username": "linus"}
    await come(browser)
    account = await browser.get("/account")
    assert "viewer" in account and 'id="domain"' not in account
    scene.provider.person |= {"groups": ["letters"], "preferred_username": "mary"}
    assert "that user does not exist" in await come(browser, 403)
    await boss.put_user("letters", "guest")
    await boss.grant("user/letters", ["view", "oversee"], types="mail.*")
    await until(lambda: allowed(browser), what="the grant")
    assert "mary" in await browser.get("/account")
    await browser.get("/audit", 403)
    assert "Log out everywhere" in await browser.get("/account")
    await boss.disable_user("letters")

    async def out() -> bool:
        return not await browser.is_in()

    await until(out, what="the end of the session")
    assert "disabled" in await come(browser, 403)


async def allowed(browser: Browser) -> bool:
    """Whether whoever comes now may see jobs."""
    await come(browser)
    return (await browser.client.get("/jobs")).status_code == 200


async def test_who_is_in_no_group_is_told_whom_to_ask(browser: Browser, scene: Scene) -> None:
    for groups, said in ((["strangers"], "None of your groups is for this"), (None, "It names no group of yours")):
        scene.provider.person["groups"] = groups
        text = await come(browser, 403)
        assert said in text and "Ask the desk at extension 100" in text and "grace" in text
        assert not await browser.is_in()


STRANGER = new_key()


@pytest.mark.parametrize(
    ("twist", "said", "kind"),
    [
        (lambda claims: claims.update(aud="another"), "for another program", "wrong_audience"),
        (lambda claims: claims.update(exp=claims["iat"] - 120), "has expired already", "expired"),
        (lambda claims: claims.update(nonce="another"), "of another login", "wrong_nonce"),
        (lambda claims: claims.update(iss="https://evil.example"), "names another provider", "wrong_issuer"),
        (lambda claims: claims.update(preferred_username="a b"), "does not say who you are", "no_name"),
        (None, "a key that it does not publish", "unknown_key"),
    ],
)
async def test_a_token_that_is_wrong_lets_nobody_in_and_is_told_without_secrets(
    browser: Browser, scene: Scene, twist: Callable[[Claims], object] | None, said: str, kind: str
) -> None:
    if twist is None:
        scene.provider.sign = lambda claims: signed(claims, STRANGER)
    else:
        scene.provider.twist = twist
    back = await to_provider(browser)
    answer = await browser.client.get(back)
    assert answer.status_code == 403 and said in answer.text and not browser.client.cookies
    log = scene.shared.broker.log.read_text()
    code = httpx.URL(back).params["code"]
    assert kind in log and code not in log and SECRET not in log and "eyJ" not in log


async def test_clocks_may_differ_by_a_minute(browser: Browser, scene: Scene) -> None:
    scene.provider.twist = lambda claims: claims.update(exp=claims["iat"] - 30)
    await come(browser)
    assert await browser.is_in()


async def test_an_answer_that_this_browser_did_not_ask_for_is_refused(browser: Browser, scene: Scene, stack: AsyncExitStack) -> None:
    back = await to_provider(browser)
    stranger = Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=browser.base, timeout=20)), browser.base)
    answer = await stranger.client.get(back)
    assert answer.status_code == 400 and "not begun in this browser" in answer.text and not stranger.client.cookies
    await to_provider(stranger)
    answer = await stranger.client.get(back)  # one that it began itself, with somebody else's code
    assert answer.status_code == 400 and "another login than the one" in answer.text and not stranger.client.cookies
    value = sealed.seal(sealed.Begun("s", "n", "v", "https://evil.example"), "a secret that somebody guessed")
    answer = await stranger.client.get("/login/oidc/callback?state=s&code=c", headers={"Cookie": f"headrace_oidc={value}"})
    assert answer.status_code == 400
    scene.provider.refuse = "access_denied"
    answer = await browser.client.get(await to_provider(browser, "/jobs?state=error"))
    assert answer.status_code == 403 and "did not let you in: access_denied" in answer.text
    assert [f'href="{path}?next=/jobs%3Fstate%3Derror"' in answer.text for path in ("/login/oidc", "/login")] == [True, True], "another try leads there"
    scene.provider.refuse = ""
    back = await to_provider(browser)
    scene.provider.stop()
    answer = await browser.client.get(back)
    assert answer.status_code == 503 and "does not answer as it should" in answer.text


async def test_an_answer_that_comes_again_lets_nobody_in_and_a_session_is_never_one_that_somebody_chose(browser: Browser, scene: Scene) -> None:
    back = await to_provider(browser)
    kept = {"Cookie": f"headrace_oidc={browser.client.cookies['headrace_oidc']}; headrace_session=chosen"}
    browser.client.cookies.clear()
    answer = await browser.client.get(back, headers=kept)
    assert answer.status_code == 200 and browser.client.cookies["headrace_session"] not in ("", "chosen")
    browser.client.cookies.clear()
    answer = await browser.client.get(back, headers=kept)
    assert answer.status_code == 403 and "does not take its own code any more" in answer.text and not browser.client.cookies
    browser.client.cookies.set("headrace_session", "chosen")
    assert not await browser.is_in()


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/login/oidc", "/logout"])
async def test_a_login_leads_to_pages_of_the_manager_alone(browser: Browser, wanted: str) -> None:
    assert target(await come(browser, wanted=wanted)) == "/"


async def test_the_address_of_a_request_does_not_say_where_the_provider_sends_back_to(browser: Browser) -> None:
    answer = await browser.client.get("/login/oidc?next=/jobs", headers={"Host": "evil.example"})
    assert answer.headers["location"] == f"{browser.base}/login/oidc?next=%2Fjobs&here=yes"
    answer = await browser.client.get("/login/oidc?here=yes", headers={"Host": "evil.example"})
    assert httpx.URL(answer.headers["location"]).params["redirect_uri"] == f"{browser.base}/login/oidc/callback"


async def test_groups_that_only_the_userinfo_endpoint_tells_count(browser: Browser, scene: Scene) -> None:
    scene.provider.kept_back = {"groups"}
    await come(browser)
    assert "operator" in await browser.get("/account")
    scene.provider.userinfo = {"sub": "another"}
    assert "speaks of somebody else" in await come(browser, 403)


async def test_codes_that_are_none_are_tried_only_so_often(scene: Scene, stack: AsyncExitStack, directory: Path) -> None:
    other = await start_broker(directory, *scene.options, database=scene.shared.database)
    stack.push_async_callback(other.kill)
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{other.ready['http']}", timeout=20))

    async def came(code: str = "") -> httpx.Response:
        begun = (await client.get("/login/oidc", params={"here": "yes"})).headers["location"]
        back = httpx.URL(scene.provider.authorize(dict(httpx.URL(begun).params)))
        return await client.get("/login/oidc/callback", params={**back.params, **({"code": code} if code else {})})

    for _ in range(ADDRESSES.free - 1):
        assert (await came("guessed")).status_code == 403
    scene.provider.raw["/token"] = (503, {}, b"")
    assert (await came()).status_code == 503, "it is away, which is nobody's guess"
    scene.provider.raw.clear()
    assert (await came()).status_code == 200, "nor is a code that is right"
    assert (await came("guessed")).status_code == 403
    asked = scene.provider.asked["/token"]
    answer = await came("guessed")
    assert answer.status_code == 429 and "from your address have failed" in answer.text and scene.provider.asked["/token"] == asked


async def test_a_login_at_an_address_with_tls_leaves_no_cookie_that_travels_without(scene: Scene, stack: AsyncExitStack, directory: Path) -> None:
    options = [option for option in scene.options if not option.startswith("--public-url")]
    other = await start_broker(directory, *options, "--public-url=https://jobs.example", database=scene.shared.database)
    stack.push_async_callback(other.kill)
    client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{other.ready['http']}", timeout=20))
    begun = await client.get("/login/oidc", params={"here": "yes"})
    back = httpx.URL(scene.provider.authorize(dict(httpx.URL(begun.headers["location"]).params)))
    assert str(back).startswith("https://jobs.example/login/oidc/callback?")
    cookie = begun.headers["set-cookie"].partition(";")[0]
    answer = await client.get("/login/oidc/callback", params=back.params, headers={"Cookie": cookie})
    assert answer.status_code == 200, answer.text
    for given in (begun.headers["set-cookie"], *answer.headers.get_list("set-cookie")):
        assert "; Secure" in given or "Max-Age=0" in given, given
    assert len(answer.headers.get_list("set-cookie")) == 3


async def test_a_session_that_the_provider_began_ends_after_the_time_that_is_set(browser: Browser, scene: Scene, stack: AsyncExitStack, directory: Path) -> None:
    await come(browser)
    con = await asyncpg.connect(scene.shared.database)
    await con.execute("update headrace.web_session set began_at = began_at - interval '100 s' where actor = 'oidc/grace'")
    await con.close()
    cookies = {cookie.name: cookie.value or "" for cookie in browser.client.cookies.jar}
    for seconds, status in ((90, 200), (3600, 303)):  # the page that asks who it is, and away from it
        other = await start_broker(directory, *scene.options, f"--oidc-session-s={seconds}", database=scene.shared.database, name=f"after-{seconds}")
        stack.push_async_callback(other.kill)
        async with httpx.AsyncClient(base_url=f"http://{other.ready['http']}", timeout=20, cookies=cookies) as client:
            assert (await client.get("/login")).status_code == status


async def test_what_one_broker_began_another_one_ends_and_both_know_the_session(browser: Browser, scene: Scene, stack: AsyncExitStack, directory: Path) -> None:
    other = await start_broker(directory, *scene.options, database=scene.shared.database)
    stack.push_async_callback(other.kill)
    back = httpx.URL(await to_provider(browser)).copy_with(port=int(str(other.ready["http"]).rpartition(":")[2]))
    answer = await browser.client.get(back)
    assert answer.status_code == 200 and "logged in as grace" in answer.text, answer.text
    assert "grace" in await browser.get("/account")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
async def test_a_whole_login_in_a_real_browser(scene: Scene) -> None:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = await chromium.new_page()
        await page.goto(f"{scene.shared.base}/jobs?state=error")
        await page.click("text=Log in by")
        await page.wait_for_url(f"{scene.shared.base}/jobs?state=error")
        assert await page.inner_text(".who a") == "grace"
        await page.click("text=Log out")
        await page.click("text=log out there, too")
        await page.wait_for_url(f"{scene.provider.issuer}/end?*id_token_hint=*")
        await page.goto(f"{scene.shared.base}/login/oidc")
        await page.wait_for_url(f"{scene.shared.base}/")
        await page.goto(f"http://localhost:{scene.provider.port}/elsewhere")
        await page.evaluate("there => { location.href = there }", f"{scene.shared.base}/login/oidc/logout")
        await page.wait_for_url(f"{scene.provider.issuer}/end?*")
        assert "id_token_hint" not in page.url, "another site has nobody logged out without a question"
        await chromium.close()
