"""The pages in a real Chromium: nothing overflows at 390 px, axe finds nothing, keys and live update work, and no stored text runs."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from headrace_client import AdminClient, Client, JobFilter, ScheduleSpec
from playwright.async_api import Locator, Page, async_playwright

from tests.support.openid import CLIENT, SECRET, OpenIdProvider
from tests.support.ports import free_ports
from tests.support.processes import ROOT, BrokerProcess, Process, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.support.web import PASSWORD
from tests.web.test_login import _routes
from tests.web.test_manager import HOSTILE

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if os.path.exists(path)), None)
AXE = ROOT / "tests" / "web" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None or not AXE.exists(), reason="needs Debian's chromium, and axe-core from npm (make tests/web/node_modules/.set-up)")
LOOKS = ((390, "dark"), (1400, "light"))
"""Each width and each colour scheme once."""
LONG_TYPE = "com.example." + "department." * 8 + "recount"
EMPTY = (
    "/", "/jobs", "/types", "/agents", "/operations", "/alerts", "/schedules", "/schedule-new", "/trend", "/capacity", "/access", "/access?tab=users",
    "/access?tab=sessions", "/grants", "/account", "/audit",
)  # fmt: skip
FULL = (
    "/",
    "/jobs",
    "/types",
    "/types/echo",
    "/trend?period=1h&by=type",
    "/capacity",
    "/capacity?type=echo&hours=6&slots=-100&arrivals=1.5&work=0.8",
    "/alerts",
    "/alerts?type=echo&source=job_error&fingerprint={text}",
    "/jobs/{hostile}",
    "/jobs/{hostile}?tab=data",
    "/jobs/{failed}",
    "/jobs/{failed}?tab=data&from=0&to={version}",
    "/jobs/{talk}?tab=log&find=fail",
    "/jobs/{talk}?tab=graph",
    "/jobs/{hostile}?tab=graph",
    "/agents",
    "/types/permanent",
    "/types/{type}",
    "/jobs/{unnamed}",
    "/nothing/at/all",
    "/type-preview/nobody?name=depth_limit&value=1",
    "/operations",
    "/operations/new?deed=requeue&state=error",
    "/schedules",
    "/schedules/nightly/{long}",
    "/schedules/poll",
    "/schedule-new?name=poll",
    "/access",
    "/access?tab=users",
    "/access?tab=sessions",
    "/grants?ended=true&whose=user/gone&act=view_data&type=x",
    "/account",
    "/audit",
    "/trend?period=1h&by=agent",
    "/operations/{operation}",
)
"""Addresses of pages that have something to show."""


REFUSED = ("status of 400", "status of 404")
"""Of a form that comes back with what is wrong in it, and of a page that says that there is nothing."""


@asynccontextmanager
async def chromium(refused: tuple[str, ...] = REFUSED) -> AsyncIterator[Page]:
    """A browser; what a page logs as an error, or throws, fails the test; but for what is `refused`."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = await browser.new_context()
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" and not any(text in message.text for text in refused) else None)
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
        yield page
        await browser.close()
        assert not wrong, wrong


@pytest.fixture
async def page(broker: BrokerProcess) -> AsyncIterator[Page]:
    """A logged-in browser."""
    async with chromium() as page:
        await page.goto(broker.ready["web"])
        yield page


async def fill_alerts(base: str, page: Page) -> None:
    """A channel, a rule and a silence with hostile texts, made by the forms of the page."""
    await page.goto(f"{base}/alerts")
    for summary, fields in (
        ("Webhook: make", {"name": "hook", "url": "http://127.0.0.1:9/" + "x" * 300, "secret": "whsec_" + "a2tr" * 12}),
        ("Make or replace a rule", {"name": "late", "threshold": "10m", "type": "permanent"}),
        ("Silence something", {"lasts": "2h", "reason": HOSTILE, "fingerprint": HOSTILE}),
    ):
        form = page.locator("details", has=page.locator("summary", has_text=summary))
        await form.locator("summary").click()
        for name, value in fields.items():
            await form.locator(f'[name="{name}"]').fill(value)
        await follow(page, form.locator("button"))
        await page.wait_for_selector(".notice.done")


async def save_a_filter(base: str, page: Page) -> None:
    """Beside those that are there, and judges the page with all that folds open."""
    await page.goto(f"{base}/jobs?state=error&created_from=24h")
    await page.click("summary:has-text('Save this filter')")
    await page.fill('form[action="/filter-save"] [name="name"]', "failed today")
    await follow(page, "button:text-is('Save this filter')")
    await page.wait_for_selector(".notice.done")
    assert await page.inner_text(".saved [aria-current]") == "failed today"
    await page.goto(f"{base}/jobs?type=nobody")
    for summary in ("summary:has-text('Save this filter')", "summary:text-is('Replace …') >> nth=0", "summary:text-is('Delete …') >> nth=1"):
        await page.click(summary)
    await judge(page, "saved filters")
    await follow(page, "text=Replace failed today by what is filtered now")
    await page.wait_for_selector(".notice.done")
    assert await page.inner_text(".saved [aria-current]") == "failed today"


async def look(page: Page, base: str, path: str, status: int = 200) -> None:
    """Opens a page and judges it."""
    answer = await page.goto(base + path)
    assert answer is not None and answer.status == status, path
    await judge(page, path)


async def follow(page: Page, what: str | Locator) -> None:
    """Clicks on what leads to another page, or to the same one made anew, and waits until that one is whole: a click alone waits for its first bytes at most, and what is
    typed before its scripts are there is not heard.
    """
    async with page.expect_navigation():
        await (page.locator(what).first if isinstance(what, str) else what).click()


async def judge(page: Page, path: str) -> None:
    """What is shown now, narrow and wide, dark and light; with its style sheet, for which a selector does not wait."""
    await page.wait_for_load_state()
    await page.evaluate(AXE.read_text())  # the page's policy lets no script in, the debugger does
    for width, scheme in LOOKS:
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        over = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over <= 0, f"{path} is {over} px wider than {width}"
        found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults = [(fault["id"], [node["target"] for node in fault["nodes"]][:3]) for fault in found["violations"]]
        assert not faults, f"{path} at {width} px, {scheme}: {faults}"


@pytest.mark.timeout(300)
async def test_pages_of_a_full_broker(page: Page, base: str, client: Client, admin: AdminClient, agent: Process, directory: Path) -> None:
    hostile = (await client.submit("nobody", {HOSTILE: HOSTILE}, instance_id=HOSTILE, labels={"a": HOSTILE})).job_id
    await client.abort([hostile], reason=HOSTILE)
    failed = (await client.submit("permanent", {"a": 1}, instance_id="case")).job_id
    await client.wait(failed)
    await admin.requeue([failed], reason=HOSTILE, data={HOSTILE: 2})
    version = (await client.wait(failed)).payload_version
    talk = (await client.submit("fail", HOSTILE, instance_id="case")).job_id
    await client.submit("nobody", 1, depends_on=[talk], instance_id=HOSTILE)
    await client.wait(talk)
    unnamed = (await client.submit(LONG_TYPE)).job_id
    await admin.put_schedule("nightly/" + "long." * 20, ScheduleSpec("nobody", cron="30 2 * * *", time_zone="Europe/Berlin", instance_id=HOSTILE, labels={"a": HOSTILE}))
    await admin.pause_schedule("nightly/" + "long." * 20, reason=HOSTILE)
    await admin.put_schedule("poll", ScheduleSpec("echo", interval_s=60, overlap="skip"))
    await admin.run_schedule("poll")
    await admin.create_token("shop@" + "long." * 15, "submitter", expires_in_s=3600, reason=HOSTILE)
    await admin.put_user("ada." + "long." * 15, "operator")
    await admin.invite_user("ada." + "long." * 15)
    await admin.disable_user((await admin.put_user("gone", "viewer"))[0].name)
    for types in ("*", "mail." * 30 + "*"):
        made = await admin.grant("user/ada." + "long." * 15, ["view", "manage_schedules"], types=types, reason=HOSTILE)
    await admin.end_grant(made.grant_id)
    await fill_alerts(base, page)
    operation = await admin.start_operation("hold", JobFilter(types=("nobody",)), reason=HOSTILE)
    await admin.wait_operation(operation.operation_id)
    known = {"hostile": hostile, "failed": failed, "talk": talk, "version": version, "text": quote(HOSTILE), "long": "long." * 20, "operation": operation.operation_id}
    known |= {"type": LONG_TYPE, "unnamed": unnamed}
    await admin.save_filter("x" * 60, JobFilter(types=["nobody"], instance_id=HOSTILE, log_text=HOSTILE), shared=True)
    await admin.save_filter("on the command line alone", JobFilter(labels={"a": HOSTILE, "b": "c d"}), ages={"created_from": 86_400.0}, shared=True)
    for path in FULL:
        await look(page, base, path.format(**known), 404 if path.startswith("/nothing") else 200)
    await save_a_filter(base, page)
    await page.goto(f"{base}/jobs")
    await page.check("#all")
    await follow(page, "text=Abort …")
    await page.wait_for_url("**/jobs-chosen")
    await judge(page, "what would be done to chosen jobs")
    await page.goto(f"{base}/access")
    await page.click("summary:has-text('New token')")
    form = page.locator('form[action="/token-create"]')
    await form.locator('[name="name"]').fill("judged")
    await follow(page, form.locator("button"))
    await page.wait_for_selector("text=Token judged is made")
    await judge(page, "a secret")


def test_every_page_is_looked_at_empty_and_full() -> None:
    """But for a part of a page, and where forms are sent: a browser that comes back there is led elsewhere."""
    routes = _routes()
    pages = {path for method, path in routes if method == "GET"} - {path for method, path in routes if method == "POST"} - {"/jobs/{job_id}/tail"}
    single = {path for path in pages if "{" in path} | {"/schedule-new", "/operations/new"}
    for paths, wanted in ((EMPTY, pages - single), (FULL, pages)):
        plain = [path.partition("?")[0] for path in paths]
        assert not [page for page in wanted if not any(re.fullmatch(re.sub(r"\{[^}]*\}", ".+", page), path) for path in plain)]


@pytest.mark.timeout(180)
async def test_pages_of_an_empty_broker_and_keys_that_move_choose_and_open_and_live_update_can_be_paused(page: Page, base: str, client: Client) -> None:
    for path in EMPTY:
        await look(page, base, path)
    await look(page, base, "/jobs/1", 404)
    await page.goto(base)
    first = (await client.submit("nobody")).job_id
    await page.wait_for_selector('.tiles a[href="/jobs?state=waiting"] >> text="1"')  # live
    await page.goto(f"{base}/jobs")
    newer = (await client.submit("nobody")).job_id
    await page.wait_for_selector(f"text={newer}")  # live
    await page.keyboard.press("p")
    assert await page.get_attribute("#live", "aria-pressed") == "false"
    await page.reload()
    assert await page.get_attribute("#live", "aria-pressed") == "false", "it stays paused"
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    assert await page.inner_text("#count") == "1 chosen"
    await page.keyboard.press("o")
    await page.wait_for_url(f"**/jobs/{first}")
    await page.goto(f"{base}/jobs")
    await page.check("#all")
    await follow(page, "text=Abort …")
    await page.fill('input[name="reason"]', "not wanted")
    await follow(page, "text=Abort 2 jobs")
    await page.wait_for_selector("text=2 of 2 jobs were told to end.")


@pytest.mark.timeout(180)
async def test_a_log_a_graph_and_forms_live_while_somebody_looks(page: Page, base: str, client: Client, agent: Process, directory: Path) -> None:
    job_id = (await client.submit("gate", "go", instance_id="seen")).job_id
    fails = (await client.submit("fail", 1, depends_on=[job_id], instance_id="seen")).job_id
    await page.goto(f"{base}/jobs/{fails}?tab=log")
    await page.wait_for_selector("text=lines come here as they are logged")
    for said in ("Paused", "Live"):  # before the job has settled: a moment after that the log has ended, and is live no more
        await page.click("#live")
        assert await page.inner_text("#live") == said
    graph = await page.context.new_page()
    await graph.goto(f"{base}/jobs/{job_id}?tab=graph")
    await graph.wait_for_selector("svg .job.processing")
    await graph.click("text=Priority …")
    await graph.fill('input[name="priority"]', "41")
    (directory / "go").touch()
    await client.wait(job_id)
    await graph.wait_for_selector("svg .job.completed")
    await client.wait(fails)
    await page.wait_for_selector("text=about to fail")
    assert await page.locator("#lines tr").count() >= 1 and await page.locator("#no-lines").count() == 0
    await page.goto(f"{base}/jobs/{fails}?tab=data")
    await page.click("text=Requeue with another payload …")
    await page.fill("textarea", '{"mine": 7,}')
    await page.fill('.payload-form input[name="reason"]', "try")
    await follow(page, "text=Start run 2 with this payload")
    await page.wait_for_selector("text=Nothing was changed.")
    assert await page.input_value("textarea") == '{"mine": 7,}'
    await page.fill("textarea", '{"mine": 7}')
    await page.fill('.payload-form input[name="reason"]', "try")
    await follow(page, "text=Start run 2 with this payload")
    await page.wait_for_selector("text=starts anew")
    assert (await client.get(fails, full=True)).payload == b'{"mine": 7}'
    await graph.close()


@pytest.mark.timeout(180)
async def test_breakers_on_the_list_of_types_and_on_the_page_of_one(page: Page, base: str, client: Client, admin: AdminClient, broker: BrokerProcess) -> None:
    await page.goto(f"{base}/types")
    for name, wait_s in (("fragile", 3600.0), ("tried", 0.1), ("fine", 3600.0)):
        await admin.set_type(name, breaker_share=0.5, breaker_minimum=2, breaker_open_s=wait_s, breaker_open_max_s=3600.0, max_attempts=1)
    agent = ScriptedAgent(broker.address, types=("fragile", "tried"))
    await agent.connect()
    for name in ("fragile", "tried"):
        for _ in range(2):
            await client.submit(name)
        await agent.report(*[outcome(job, "failed") for job in await agent.take(2)])
    await admin.pause_type("fragile", reason=HOSTILE)
    await client.submit("fragile")

    async def phases() -> bool:
        return [getattr((await admin.get_type(name)).breaker, "phase", "") for name in ("fragile", "tried", "fine")] == ["open", "half_open", "closed"]

    await until(phases, what="a breaker of each phase")
    await look(page, base, "/types")
    columns = await page.locator("thead th").all_inner_texts()
    for name, paused, breaker in (("fragile", "paused", "open"), ("tried", "", "half-open"), ("fine", "", "closed")):
        cells = page.locator("tbody tr", has=page.locator(f'a:text-is("{name}")')).locator("td")
        assert [await cells.nth(columns.index(column)).inner_text() for column in ("Paused", "Breaker")] == [paused, breaker]
    await page.set_viewport_size({"width": LOOKS[0][0], "height": 900})
    box = await page.locator("td .state.error").first.bounding_box()
    assert box is not None and box["x"] + box["width"] <= LOOKS[0][0], "it is seen without scrolling the table"
    for name, said in (("fragile", "Its breaker opened"), ("tried", "0 of 1 have completed that close it"), ("fine", "Its breaker is closed")):
        await look(page, base, f"/types/{name}")
        assert said in await page.inner_text("main")
    await page.goto(f"{base}/types/fragile")
    await page.click("text=Close the breaker …")
    await judge(page, "what closing a breaker would do")

    async def told() -> bool:
        return "breaker_open" in [group.source for group in (await admin.list_alert_groups())[0]]

    await until(told, what="the alert of a breaker")
    await page.goto(f"{base}/alerts")
    assert await page.is_visible('[aria-labelledby="firing"] td:text-is("breaker open")')
    await judge(page, "the alert of a breaker")
    await agent.close()


@pytest.mark.timeout(180)
async def test_pages_of_a_login_by_a_provider_and_of_one_that_fails(database: str, directory: Path, stack: AsyncExitStack) -> None:
    provider, [port], secret = OpenIdProvider(), free_ports(1), directory / "secret"
    provider.reset()
    stack.callback(provider.stop)
    secret.write_text(SECRET)
    broker = await start_broker(
        directory, f"--http-listen=127.0.0.1:{port}", f"--public-url=http://127.0.0.1:{port}", f"--oidc-issuer={provider.issuer}", f"--oidc-client-id={CLIENT}",
        f"--oidc-client-secret-file={secret}", "--oidc-groups=ops=admin@*;letters=user/letters", f"--oidc-contact={HOSTILE} {'long.' * 30}", database=database,
    )  # fmt: skip
    stack.push_async_callback(broker.kill)
    base = f"http://127.0.0.1:{port}"
    async with chromium((*REFUSED, "status of 403", "status of 503")) as page:
        await look(page, base, "/login?next=%2Fjobs%3Fstate%3Derror")
        assert await page.is_visible(f'a.button:text-is("Log in by 127.0.0.1:{provider.port}")')
        await look(page, base, "/login?left=provider")
        await look(page, base, "/login/oidc/callback?state=x&code=y", 400)
        provider.person["groups"] = [HOSTILE]
        provider.person["preferred_username"] = "<b>" + "x" * 97
        await look(page, base, "/login/oidc?next=%2Fjobs", 403)
        assert "None of your groups is for this" in await page.inner_text("main")
        provider.person["groups"] = ["letters"]
        await look(page, base, "/login/oidc", 403)
        provider.refuse = "access_denied" * 10
        await look(page, base, "/login/oidc", 403)
        provider.refuse = ""
        provider.twist = lambda claims: claims.update(aud="another")
        await look(page, base, "/login/oidc", 403)
        provider.twist = lambda claims: None
        provider.raw["/token"] = (503, {}, b"")
        await look(page, base, "/login/oidc", 503)
        provider.raw.clear()
        provider.person["groups"] = ["ops"]
        await page.route("**/trend", lambda route: route.fulfill(status=204))  # the page that goes on by itself stays
        await look(page, base, "/login/oidc?next=%2Ftrend")
        assert "You are logged in as <b>xxx" in await page.inner_text("main")
        await look(page, base, "/account")


@pytest.mark.timeout(180)
async def test_logging_in_by_password_and_making_a_schedule_with_its_ticks_shown_meanwhile(page: Page, base: str, admin: AdminClient) -> None:
    await admin.put_user("ada", "operator")
    path = (await admin.invite_user("ada")).path
    await follow(page, "text=Log out")
    await look(page, base, "/login?next=%2Fschedules")
    await look(page, base, path)
    for name in ("password", "again"):
        await page.fill(f'input[name="{name}"]', PASSWORD)
    await follow(page, "text=Set the password and log in")
    await page.wait_for_url(f"{base}/")
    await follow(page, "text=Log out")
    await page.goto(f"{base}/schedules")
    await page.fill('input[name="name"]', "ada")
    await page.fill('input[name="password"]', PASSWORD)
    await follow(page, 'button:text-is("Log in")')
    await page.wait_for_url(f"{base}/schedules")
    assert not await page.query_selector('nav a:text-is("Access")')
    await follow(page, "text=Make the first one")
    assert not await page.is_visible('input[name="interval"]')
    await page.fill('input[name="cron"]', "30 2 * *")
    await page.wait_for_selector("#preview >> text=five fields")
    await page.fill('input[name="cron"]', "30 2 * * *")
    await page.fill('input[name="time_zone"]', "Europe/Berlin")
    await page.wait_for_selector("#preview li:nth-child(5) >> text=02:30:00 CE")
    await page.fill('input[name="name"]', "nightly")
    await page.fill('input[name="type"]', "report")
    await page.fill('textarea[name="data"]', "{not json")
    await follow(page, "text=Make the schedule")
    await page.wait_for_selector("text=not JSON: ")
    assert await page.input_value('input[name="cron"]') == "30 2 * * *", "what was typed stays"
    await page.check('input[name="kind"][value="interval"]')
    await page.fill('input[name="interval"]', "15 min")
    await page.wait_for_selector("#preview li:nth-child(5)")
    await page.fill('textarea[name="data"]', '{"kind": "daily"}')
    await follow(page, "text=Make the schedule")
    await page.wait_for_url("**/schedules/nightly")
    found = await admin.get_schedule("nightly")
    assert (found.spec.interval_s, found.spec.payload, found.spec.type) == (900, b'{"kind":"daily"}', "report")
