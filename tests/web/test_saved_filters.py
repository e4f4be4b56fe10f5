"""Saved filters on the page of jobs: links that say what they look for, and the forms that save, replace and delete one."""

import html
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, JobFilter, Order, State

from tests.support.shared import Site, site, text_of
from tests.support.web import Browser


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One broker for all of these, that wants tokens."""
    with site(postgres, "filters_pages", tmp_path_factory.mktemp("filters"), "--auth", "required") as one:
        yield one


@pytest.fixture
async def admin(shop: Site, stack: AsyncExitStack) -> AdminClient:
    """An administrator's client: the same token as that of the browser."""
    return await stack.enter_async_context(AdminClient(shop.broker.address, token=shop.secrets["admin"], timeout_s=20))


@pytest.fixture
async def client(shop: Site, stack: AsyncExitStack) -> Client:
    """A client."""
    return await stack.enter_async_context(Client(shop.broker.address, token=shop.secrets["admin"], timeout_s=20))


@pytest.fixture
async def browser(shop: Site) -> AsyncIterator[Browser]:
    """An administrator's session."""
    async with shop.browser() as one:
        yield one


def links(page: str) -> dict[str, str]:
    """Saved filters above the list: where each leads."""
    bar = re.search(r'<nav class="saved".*?</nav>', page, re.DOTALL)
    return {name: html.unescape(link) for link, name in re.findall(r'<a class="chip" href="([^"]+)"[^>]*>([^<]+?) ?<', bar[0])} if bar else {}


def sent(page: str, action: str, **wanted: str) -> dict[str, str]:
    """The fields of the form with this action that has these."""
    for form in re.findall(rf'<form method="post" action="{action}".*?</form>', page, re.DOTALL):
        fields = {name: html.unescape(value) for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)}
        if wanted.items() <= fields.items():
            return {name: value for name, value in fields.items() if name != "csrf"}
    raise AssertionError(f"no form {action} with {wanted}")


async def test_what_is_filtered_is_saved_used_replaced_and_deleted(browser: Browser, client: Client, admin: AdminClient) -> None:
    job_id = (await client.submit("page.kept", labels={"shop": "north"}, instance_id="web")).job_id
    here = "/jobs?type=page.kept&label=shop%3Dnorth&created_from=24h&order=oldest"
    assert "Save this filter" not in await browser.get("/jobs") and not links(await browser.get("/jobs"))
    await browser.post("/filter-save", **sent(await browser.get(here), "/filter-save"), name="north today")
    page = await browser.get(here)
    assert "The filter north today is saved for you." in text_of(page)
    link = links(page)["north today"]
    assert link == "/jobs?type=page.kept&label=shop%3Dnorth&created_from=1d&order=oldest", "an age stays one"
    assert f"/jobs/{job_id}" in await browser.get(link) and 'aria-current="page"' in page.partition('class="saved"')[2].partition("</nav>")[0]
    [kept] = await admin.list_filters()
    assert dict(kept.ages) == {"created_from": 86_400.0} and dict(kept.where.labels) == {"shop": "north"} and kept.order is Order.OLDEST and not kept.shared
    other = await browser.get("/jobs?state=error,aborted&instance=web")
    await browser.post("/filter-save", **sent(other, "/filter-save", name="north today"))
    [now] = await admin.list_filters()
    assert {*now.where.states} == {State.ERROR, State.ABORTED} and now.where.instance_id == "web" and not now.ages and now.version != kept.version
    stale = await browser.post("/filter-save", **{**sent(other, "/filter-save", name="north today"), "instance": "theirs"})
    assert stale.status_code == 303 and f"version {now.version}" in text_of(await browser.get("/jobs"))
    assert (await admin.list_filters()) == [now]
    await browser.post("/filter-delete", **sent(await browser.get("/jobs"), "/filter-delete", name="north today"))
    assert "The saved filter north today is deleted." in text_of(await browser.get("/jobs")) and await admin.list_filters() == []


async def test_what_everybody_has_is_marked_and_changed_by_those_who_may(shop: Site, browser: Browser, client: Client, admin: AdminClient) -> None:
    await client.submit("page.shared")
    asked = sent(await browser.get("/jobs?type=page.shared"), "/filter-save")
    await browser.post("/filter-save", **asked, name="ours", shared="1")
    async with shop.browser("viewer") as viewer:
        page = await viewer.get("/jobs?type=page.shared")
        assert links(page) == {"ours": "/jobs?type=page.shared"} and "for everybody in the domain" not in page and "/filter-delete" not in page
        await viewer.post("/filter-save", **asked, name="mine")
        assert [*links(await viewer.get("/jobs"))] == ["mine", "ours"]
        await viewer.post("/filter-delete", name="ours", shared="1")
        assert "the right operate is needed" in text_of(await viewer.get("/jobs"))
        await viewer.post("/filter-save", **asked, name="theirs", shared="1")
        assert "the right operate is needed" in text_of(await viewer.get("/jobs"))
        await viewer.post("/filter-delete", name="mine")
    assert [one.name for one in await admin.list_filters()] == ["ours"]
    await browser.post("/filter-delete", **sent(await browser.get("/jobs"), "/filter-delete", name="ours"))
    assert await admin.list_filters() == []


async def test_what_cannot_be_used_here_is_told_instead_of_a_link(browser: Browser, client: Client, admin: AdminClient) -> None:
    await client.submit("page.told")
    await admin.save_filter("spaces", JobFilter(labels={"a": "b c", "d": "e"}))
    page = text_of(await browser.get("/jobs"))
    assert "spaces not on this page" in page and "its labels cannot stand in an address" in page
    refused = await browser.post("/filter-save", name="a/b", state="error")
    assert refused.status_code == 303
    again = await browser.get("/jobs")
    assert "1 to 60 characters" in text_of(again) and 'value="a/b"' in again, "what was typed is shown again"
    await browser.post("/filter-save", name="nothing")
    assert "it is empty" in text_of(await browser.get("/jobs"))
    assert (await browser.client.get("/filter-save", follow_redirects=False)).headers["location"] == "/jobs"
    await admin.delete_filter("spaces")


async def test_what_is_not_there_any_more_is_told(shop: Site, postgres: EmbeddedPostgres, client: Client, admin: AdminClient, stack: AsyncExitStack) -> None:
    await client.submit("page.gone")
    secret = (await admin.create_token("narrow", "viewer")).secret
    narrow = await stack.enter_async_context(AdminClient(shop.broker.address, token=secret, timeout_s=20))
    await narrow.save_filter("gone", JobFilter(types=["page.gone"], states=[State.WAITING]), order=Order.OLDEST)
    async with shop.browser() as browser:
        await browser.client.post("/logout")
        await browser.log_in(token=secret)
        assert links(await browser.get("/jobs")) == {"gone": "/jobs?type=page.gone&state=waiting&order=oldest"}
        con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/filters_pages?"))
        await con.execute("update headrace.saved_filter set filter = filter || '{\"types\": [\"page.never\"]}' where name = 'gone'")
        await con.close()
        page = await browser.get("/jobs")
        assert "gone cannot be used" in text_of(page) and "there is no job type 'page.never' in this domain" in text_of(page) and links(page) == {}
        await browser.post("/filter-delete", **sent(page, "/filter-delete", name="gone"))
    assert await narrow.list_filters() == []
