"""What a real browser does while somebody looks and types: live parts, focus, forms that outlive a change, a broker that falls silent, two clicks, keys, no script."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from headrace_client import AdminClient, Client
from playwright.async_api import Page, Route

from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.web.test_chromium import REFUSED, chromium, follow, judge
from tests.web.test_chromium import pytestmark as pytestmark

LATER = "new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(go))))"
"""Ends once the page has done what was due: a form that is to be sent is under way."""


@pytest.fixture
async def page(broker: BrokerProcess) -> AsyncIterator[Page]:
    """A logged-in browser."""
    async with chromium() as page:
        await page.goto(broker.ready["web"])
        yield page


@pytest.mark.timeout(180)
async def test_types_and_alerts_are_live_and_the_focus_stays_where_it_was(page: Page, base: str, client: Client, admin: AdminClient) -> None:
    job_id = (await client.submit("nobody")).job_id
    await admin.set_type("nobody", alert_on_abort=True)
    await page.goto(f"{base}/types")
    assert await page.get_attribute("#part", "data-live") == "10"
    await page.evaluate("document.querySelector('#part').dataset.live = '1'")
    await client.submit("newer.type")
    await page.wait_for_selector('#part a:text-is("newer.type")')
    await judge(page, "types, live")
    await page.goto(f"{base}/jobs")
    await page.focus(f'a[href="/jobs/{job_id}"]')
    newer = (await client.submit("nobody")).job_id
    await page.wait_for_selector(f'#rows a[href="/jobs/{newer}"]')
    assert await page.evaluate("document.activeElement.getAttribute('href')") == f"/jobs/{job_id}"
    async with page.expect_response(lambda answer: "seen=" in answer.url and answer.status == 204):
        pass  # what has not changed is not drawn anew: what somebody has selected there stays
    await page.goto(f"{base}/alerts")
    await page.wait_for_selector("#part >> text=Nothing fires")
    await client.abort([job_id])
    await page.wait_for_selector('#part a:text-is("nobody")')
    await judge(page, "alerts, live")


@pytest.mark.timeout(180)
async def test_a_form_that_somebody_fills_in_outlives_the_state_of_its_job(page: Page, base: str, client: Client, broker: BrokerProcess) -> None:
    job_id = (await client.submit("scripted")).job_id
    await page.goto(f"{base}/jobs/{job_id}")
    await page.click("text=Abort …")
    await page.fill('#actions details[open] [name="reason"]', "not wanted any more")
    agent = ScriptedAgent(broker.address, types=("scripted",))
    await agent.connect()
    [job] = await agent.take(1)
    await page.wait_for_selector("#job-state .state.processing")
    assert await page.input_value('#actions details[open] [name="reason"]') == "not wanted any more"
    await agent.report(outcome(job, "completed"))
    await page.wait_for_selector("#job-state .state.completed")
    assert await page.input_value('#actions details[open] [name="reason"]') == "not wanted any more"
    await page.click("text=Abort …")  # folds it up
    await page.wait_for_selector("#actions >> text=Requeue …")
    assert await page.locator("#actions >> text=Abort …").count() == 0
    await agent.close()


@pytest.mark.timeout(180)
async def test_a_page_says_so_when_nothing_answers_and_goes_on_when_it_does(base: str, client: Client, broker: BrokerProcess) -> None:
    async with chromium((*REFUSED, "htmx:", "net::ERR")) as page:  # it tells the console, too
        await page.goto(broker.ready["web"])
        await _silence(page, base, client)


async def _silence(page: Page, base: str, client: Client) -> None:
    await page.goto(f"{base}/jobs")
    patience_ms = await page.evaluate("htmx.config.timeout")
    assert 10_000 <= patience_ms <= 20_000
    await page.evaluate("htmx.config.timeout = 1000")
    back = asyncio.Event()

    async def hold(route: Route) -> None:
        await back.wait()
        await route.abort()

    await page.route("**/jobs?*", hold)  # as where a machine or a network is gone: nobody refuses, and nobody answers
    await page.wait_for_selector("#stale:not([hidden]) >> text=the broker does not answer", timeout=60_000)
    await page.evaluate("patience_ms => { htmx.config.timeout = patience_ms }", patience_ms)
    back.set()
    await page.unroute_all(behavior="wait")
    newer = (await client.submit("nobody")).job_id
    await page.wait_for_selector(f'#rows a[href="/jobs/{newer}"]', timeout=60_000)
    assert await page.is_hidden("#stale")


@pytest.mark.timeout(180)
async def test_two_clicks_send_a_form_once(page: Page, base: str) -> None:
    await page.goto(f"{base}/access")
    sent = await page.evaluate("""() => {
        const sent = [], form = document.querySelector('form[action="/token-create"]');
        window.addEventListener("submit", (event) => { sent.push(!event.defaultPrevented); event.preventDefault(); });
        form.elements.name.value = "twice";
        form.requestSubmit();
        form.requestSubmit();
        return sent;
    }""")
    assert sent == [True, False], "the second one would be told that there is such a token, and the secret be gone"


@pytest.mark.timeout(180)
async def test_a_domain_is_chosen_by_keys_without_a_stay_in_those_on_the_way(page: Page, base: str, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    for name in ("other", "third"):
        async with Client(broker.address, domain=name, timeout_s=20) as client:
            await client.submit("nobody")
    await page.goto(f"{base}/jobs")
    domain = page.locator("#domain select")
    await domain.focus()
    await page.keyboard.press("ArrowDown")
    await page.evaluate(LATER)
    await page.keyboard.press("ArrowDown")
    await page.evaluate(LATER)
    assert await domain.input_value() == "third", "it was not sent meanwhile"
    await page.keyboard.press("Tab")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    assert await domain.input_value() == "third" and await domain.locator("[selected]").text_content() == "third"


@pytest.mark.timeout(180)
async def test_jobs_are_chosen_without_script(page: Page, base: str, client: Client) -> None:
    job_id = (await client.submit("nobody")).job_id
    browser = page.context.browser
    assert browser is not None
    context = await browser.new_context(java_script_enabled=False, storage_state=await page.context.storage_state())
    plain = await context.new_page()
    await plain.goto(f"{base}/jobs")
    await plain.check(f'[name="job_id"][value="{job_id}"]')
    await follow(plain, "text=Abort …")
    await plain.fill('[name="reason"]', "not wanted")
    await follow(plain, "text=Abort 1 job")
    await plain.wait_for_selector(f"text=Job {job_id} was told to end.")
    assert (await client.get(job_id)).state == "aborted"
    await context.close()
