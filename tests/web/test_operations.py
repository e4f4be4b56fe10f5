"""What is done to everything that matches: stated first, started once, followed, stopped and resumed, and what was passed over told."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from html import unescape

import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import Client, JobSpec, State

from tests.support.processes import until
from tests.support.shared import Site, site, text_of
from tests.support.web import Browser


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One broker and agent for all of these."""
    with site(postgres, "operations_page", tmp_path_factory.mktemp("operations")) as one:
        yield one


@pytest.fixture
async def browser(shop: Site) -> AsyncIterator[Browser]:
    """An administrator's session."""
    async with shop.browser() as one:
        yield one


@pytest.fixture
async def client(shop: Site, stack: AsyncExitStack) -> Client:
    """A client."""
    return await stack.enter_async_context(Client(shop.broker.address, timeout_s=20))


def form_of(page: str) -> dict[str, str]:
    """The hidden fields of the form that starts an operation."""
    form = page.partition('action="/operation-start"')[2].partition("</form>")[0]
    return {name: value for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form) if name != "csrf"}


async def test_everything_that_matches_is_counted_first_and_done_once(browser: Browser, client: Client, shop: Site) -> None:
    assert "There are no operations yet" in await browser.get("/operations")
    await client.submit_many([JobSpec("swept", n, instance_id="left" if n % 3 else "right") for n in range(90)])
    page = await browser.get("/operations/new?deed=abort&instance=left")
    said = text_of(page)
    assert "Abort everything that matches?" in said and "instance left" in said and "match now 60" in said and "Abort 60 jobs" in said
    idle = await browser.get("/operations/new?deed=purge&instance=left")
    assert "None of them is in a state that takes it" in text_of(idle) and 'action="/operation-start"' not in idle
    assert (await client.count(types=["swept"])).totals == {State.WAITING: 90}, "a preview changes nothing"
    fields = form_of(page)
    refused = await browser.post("/operation-start", 303, **fields)
    assert refused.headers["location"] == "/" and "say why" in await browser.get("/")
    first = await browser.post("/operation-start", 303, reason="not wanted any more", **fields)
    again = await browser.post("/operation-start", 303, reason="not wanted any more", **fields)
    at = first.headers["location"]
    assert at == again.headers["location"] and at.startswith("/operations/"), "the same form twice is one operation"

    async def finished() -> bool:
        return "finished" in text_of(await browser.get(at))

    await until(finished)
    said = text_of(await browser.get(at))
    series = (await browser.client.get("/metrics")).text
    assert 'headrace_operation_jobs_total{action="abort",result="done"} 60.0' in series and 'headrace_operation_finished_total{action="abort"} 1.0' in series
    assert "60 of 60 jobs" in said and "done 60" in said and "not wanted any more" in said and "100 %" in said
    assert (await client.count(types=["swept"])).totals == {State.WAITING: 30, State.ABORTED: 60}
    listed = text_of(await browser.get("/operations"))
    assert "abort instance left" in listed and "60" in listed
    job_id = re.search(r'name="job_id" value="(\d+)"', await browser.get("/jobs?state=aborted&instance=left"))
    assert job_id and f'href="{at}"' in await browser.get(f"/jobs/{job_id[1]}"), "the job's timeline leads to it"
    page = await browser.get("/operations/new?deed=requeue&instance=left")
    assert (await browser.post("/operation-start", 303, reason="again", payload="{", **form_of(page))).headers["location"] == "/", "that is no JSON"
    at = (await browser.post("/operation-start", 303, reason="again", payload='{"n": 1}', **form_of(page))).headers["location"]
    await until(finished)
    assert (await client.get(int(job_id[1]), full=True)).payload == b'{"n": 1}'
    async with shop.browser("viewer") as viewer:
        assert "You are logged in as viewer, who may not abort jobs" in await viewer.get("/operations/new?deed=abort&type=swept", 403)
        await viewer.post("/operation-start", 403, **fields)
        await viewer.post(f"{at}/stop", 403, reason="x")


async def test_an_operation_is_stopped_slowed_and_resumed_and_tells_what_it_passed_over(browser: Browser, client: Client) -> None:
    jobs = await client.submit_many([JobSpec("slow.sweep", n) for n in range(40)])
    held = jobs[0].job_id  # type: ignore[union-attr]
    await client.abort([job.job_id for job in jobs[:5]])  # type: ignore[union-attr]
    await client.update([held], hold=True)
    fields = form_of(await browser.get("/operations/new?deed=abort&type=slow.sweep"))
    at = (await browser.post("/operation-start", 303, reason="sweep", rate="2", **{**fields, "deed": "purge"})).headers["location"]
    await browser.post(f"{at}/stop", 303, reason="wait a moment")
    said = text_of(await browser.get(at))
    assert "stopped" in said and "wait a moment" in said and "Resume …" in said
    await browser.post(f"{at}/rate", 303, reason="faster", rate="0")
    await browser.post(f"{at}/resume", 303, reason="go on")

    async def finished() -> bool:
        return "finished" in text_of(await browser.get(at))

    await until(finished)
    page = await browser.get(at)
    said = text_of(page)
    assert "done 4" in said and f'href="/jobs/{held}"' in page and "is held" in said, "what was passed over, and why"
    await browser.post(f"{at}/stop", 303, reason="too late")
    assert "notice failed" in await browser.get(at)
    again = await browser.client.get(f"{at}/stop")
    assert again.headers["location"] == at


async def test_all_jobs_are_meant_only_by_name(browser: Browser, client: Client) -> None:
    await client.submit("everything")
    page = await browser.get("/operations/new?deed=hold")
    assert "I mean all jobs of the domain" in text_of(page)
    await browser.post("/operation-start", 303, reason="x", **form_of(page))
    assert "say that all jobs of the domain are meant" in await browser.get("/operations")
    for path in ("/operations/new?deed=explode", "/operations/new?deed=abort&state=sleeping"):
        await browser.get(path, status=400)
    await browser.get("/operations/999999", status=404)
    assert "Nothing matches" in await browser.get("/operations/new?deed=abort&type=nothing")


async def test_ages_of_a_filter_stand_still_once_it_was_shown_what_they_match(browser: Browser, client: Client) -> None:
    await client.submit_many([JobSpec("aged", n) for n in range(3)])
    page = await browser.get("/operations/new?deed=hold&type=aged&created_from=2h")
    shown = re.search(r"created since (\S+ \S+) UTC", text_of(page))
    fields = {name: unescape(value) for name, value in form_of(page).items()}
    assert shown and datetime.fromisoformat(fields["created_from"]).strftime("%Y-%m-%d %H:%M:%S") == shown[1]
    assert 'href="/jobs?type=aged&amp;created_from=2h"' in page, "the list goes on with the age"
    first, again = [await browser.post("/operation-start", 303, reason="x", **fields) for _ in range(2)]
    assert first.headers["location"] == again.headers["location"], "the same form twice is one operation"
    assert shown[1] in text_of(await browser.get(first.headers["location"]))
