"""Lists of jobs, agents and types: pages in both directions, what is done to many jobs at once, draining, and what a setting would do."""

import html
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, JobFilter, JobSpec, ScheduleSpec, State

from tests.support.processes import until
from tests.support.shared import Site, site, text_of
from tests.support.web import Browser


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One broker and agent for all of these."""
    with site(postgres, "lists", tmp_path_factory.mktemp("lists")) as one:
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


@pytest.fixture
async def admin(shop: Site, stack: AsyncExitStack) -> AdminClient:
    """An administrator's client."""
    return await stack.enter_async_context(AdminClient(shop.broker.address, actor="tester", timeout_s=20))


def ids(page: str) -> list[int]:
    """The jobs of a list, in order."""
    return [int(value) for value in re.findall(r'name="job_id" value="(\d+)"', page)]


def link(page: str, words: str) -> str:
    """Where a link leads; empty: there is none."""
    found = re.search(rf'<a href="([^"]+)"[^>]*>{words}</a>', page)
    return html.unescape(found[1]) if found else ""


async def test_pages_go_on_and_back_from_both_ends_in_both_orders(browser: Browser, client: Client) -> None:
    made = sorted(result.job_id for result in await client.submit_many([JobSpec("paged", n, instance_id="paging") for n in range(120)]))  # type: ignore[union-attr]
    for order, all_ in (("newest", made[::-1]), ("oldest", made)):
        first = await browser.get(f"/jobs?instance=paging&order={order}")
        assert ids(first) == all_[:50] and not link(first, "Previous") and not link(first, "First page")
        second = await browser.get(link(first, "Next"))
        assert ids(second) == all_[50:100]
        third = await browser.get(link(second, "Next"))
        assert ids(third) == all_[100:] and not link(third, "Next") and not link(third, "Last page")
        assert ids(await browser.get(link(third, "Previous"))) == all_[50:100]
        last = await browser.get(link(first, "Last page"))
        assert ids(last) == all_[70:] and not link(last, "Next")
        before = await browser.get(link(last, "Previous"))
        assert ids(before) == all_[20:70] and ids(await browser.get(link(before, "Next"))) == all_[70:]
        answer = await browser.client.get(link(before, "Previous"), follow_redirects=True)
        assert ids(answer.text) == all_[:50], "the first page is always a whole one"
    text = await browser.get("/jobs?type=paged&state=waiting&order=score")
    assert ids(text) == made[:50] and link(text, "Next") and not link(text, "Last page") and "120 jobs match" in text_of(text)
    await client.submit("single")
    assert "1 job matches" in text_of(await browser.get("/jobs?type=single"))


async def test_what_is_done_to_chosen_jobs_is_shown_first(browser: Browser, client: Client) -> None:
    failed = (await client.submit("permanent")).job_id
    await client.wait(failed)
    waiting = [(await client.submit("nobody", instance_id="chosen")).job_id for _ in range(3)]
    all_ = [str(job_id) for job_id in (failed, *waiting)]
    answer = await browser.post("/jobs-chosen", 200, deed="abort", job_id=all_)
    said = text_of(answer.text)
    assert "Abort 4 chosen jobs?" in said and "3 of 4" in said and "are told why" in said and "Abort 3 jobs" in said
    answer = await browser.post("/jobs-chosen", 200, deed="abort", job_id=all_[:1])
    assert "None of them is in a state that takes it." in text_of(answer.text) and 'action="/job-abort"' not in answer.text
    assert {(await client.get(job_id)).state for job_id in waiting} == {State.WAITING}, "nothing was done yet"
    back = "/jobs?instance=chosen"
    done = await browser.post("/job-abort", job_id=all_, reason="not wanted", back=back)
    assert done.headers["location"] == back
    said = text_of(await browser.get("/jobs"))
    assert "3 of 4 jobs were told to end." in said and "there is nothing to abort" in said
    for target in ("//elsewhere.example/", "https://elsewhere.example/jobs", "/\\elsewhere.example"):
        done = await browser.post("/job-hold", job_id=all_, reason="x", back=target)
        assert "elsewhere" not in done.headers["location"]
    assert (await client.get(failed)).hold
    await browser.post("/job-release", job_id=all_, reason="x")
    more = str((await client.submit("nobody")).job_id)
    await browser.post("/job-priority", job_id=more, reason="x", priority="77")
    assert (await client.get(int(more))).priority == 77
    await browser.post("/jobs-chosen", deed="abort")
    assert "No job was chosen." in await browser.get("/jobs")
    await browser.post("/jobs-chosen", deed="explode", job_id=more)
    assert "deed: one of" in await browser.get("/jobs")


async def test_an_agent_is_drained_and_goes_on(browser: Browser, client: Client, admin: AdminClient) -> None:
    page = await browser.get("/agents")
    said = text_of(page)
    assert "tester" in said and "0 / 8" in said and "zone" not in said and "1 of 1 connected" in said
    agent = re.search(r'name="agent" value="([^"]+)"', page)
    assert agent
    await browser.post("/agent-drain", agent=agent[1], reason="the machine is replaced")
    assert "is drained" in await browser.get("/agents")
    job_id = (await client.submit("echo", 1)).job_id
    assert "drained" in text_of(await browser.get("/agents")) and (await client.get(job_id)).state is State.WAITING
    await browser.post("/agent-resume", agent=agent[1], reason="it was not")
    assert (await client.wait(job_id)).state is State.COMPLETED
    audit = await browser.get("/audit?action=agent.drain")
    assert "the machine is replaced" in audit
    assert "no agent" in (await browser.post("/agent-drain", 404, agent="nobody", reason="x")).text
    assert "No agent matches" in await browser.get("/agents?find=nobody-of-this-name")


async def test_a_type_tells_rates_and_groups_its_errors(browser: Browser, client: Client) -> None:
    for _ in range(3):
        await client.wait((await client.submit("permanent")).job_id)
    said = text_of(await browser.get("/types/permanent"))
    assert "never_again" in said and "Recent errors" in said and "last hour" in said
    group = re.search(r"(\d+) never_again never all of them", said)
    assert group and int(group[1]) >= 3
    assert "permanent" in await browser.get("/types")


async def test_what_a_setting_would_do_is_said_before_it_is_done(browser: Browser, client: Client, admin: AdminClient) -> None:
    for _ in range(4):
        await client.submit("crowded")
    said = text_of(await browser.get("/type-preview/crowded?name=depth_limit&value=3"))
    assert "4 jobs wait, so further submits are refused until fewer than 3 do." in said and "then 3" in said
    assert "4 waiting jobs get another score" in text_of(await browser.get("/type-preview/crowded?name=priority&value=5"))
    assert "None of its 4 waiting jobs is granted" in text_of(await browser.get("/type-preview/crowded?name=paused&value=true"))
    assert "at least 2.00 s" in text_of(await browser.get("/type-preview/crowded?name=rate_limit_count&value=2"))
    said = text_of(await browser.get("/type-preview/crowded?name=timeout_s&value=15m"))
    assert "then 900 (15 min)" in said and "longest time of one attempt" in said
    assert "exhausted_state: error or aborted, found" in text_of(await browser.get("/type-preview/crowded?name=exhausted_state&value=gone", 400))
    assert "such as 90, 15m, 2h or 7d, found" in text_of(await browser.get("/type-preview/crowded?name=timeout_s&value=soon", 400))
    assert (await admin.get_type("crowded")).effective["priority"] == 0, "a preview changes nothing"
    await browser.get("/type-preview/crowded?name=priority&value=high", status=400)
    await browser.get("/type-preview/crowded?name=colour&value=1", status=400)
    done = await browser.post("/type-settings/crowded", name="priority", value="5", reason="they are late")
    assert done.headers["location"] == "/types/crowded"
    assert (await admin.get_type("crowded")).effective["priority"] == 5
    said = text_of(await browser.get("/type-preview/crowded?name=priority&clear=1"))
    assert "now 5 then 0" in said and "Take back what a person set" in said
    [rescore] = (await admin.list_rescores())[:1]
    assert rescore.name == "crowded"

    async def kept() -> bool:
        return "they are late" in await browser.get("/audit?action=type.set")

    await until(kept)


async def test_a_place_in_a_list_that_makes_no_sense_is_refused_by_name(browser: Browser) -> None:
    for path in (
        "/audit?before=x/1",
        "/audit?before=2026-01-01/\u00b2",
        "/audit?before=2026-01-01/99999999999999999999",
        "/audit?before=0001-01-01T00:00:00%2B14:00/5",
        "/audit?actor=%00",
    ):
        page = text_of(await browser.get(path, 400))
        assert ("before:" if "before" in path else "NUL") in page, path
    for path in ("/alerts?before=\u00b2", "/alerts?before=99999999999999999999", "/alerts?before=-1"):
        assert "before:" in text_of(await browser.get(path, 400)), path
    assert "Audit" in await browser.get("/audit?before=2026-01-01T00:00:00%2B00:00/5")
    answer = await browser.post("/alert-silence-end", 303, silence_id="\u00b2", reason="r")
    assert "silence_id:" in await browser.get(answer.headers["location"])


async def test_a_list_of_jobs_that_has_not_changed_is_not_sent_again(browser: Browser, client: Client) -> None:
    await client.submit("nobody", instance_id="still")
    asked = {"HX-Request": "true"}
    [address] = re.findall(r'<tbody id="rows" hx-get="([^"]+)"', await browser.get("/jobs?instance=still"))
    part = await browser.client.get(html.unescape(address), headers=asked)
    assert part.status_code == 200 and "<html" not in part.text
    [address] = re.findall(r'<tbody id="rows" hx-get="([^"]+)"', part.text)
    assert (await browser.client.get(html.unescape(address), headers=asked)).status_code == 204
    newer = (await client.submit("nobody", instance_id="still")).job_id
    assert newer in ids((await browser.client.get(html.unescape(address), headers=asked)).text)


async def test_who_oversees_types_and_sees_no_jobs_is_told_nothing_of_them(
    browser: Browser, client: Client, admin: AdminClient, shop: Site, stack: AsyncExitStack
) -> None:  # fmt: skip
    job_id = (await client.submit("permanent", instance_id="unseen")).job_id
    await client.wait(job_id)
    await admin.put_schedule("of.permanent", ScheduleSpec("permanent", cron="0 0 1 1 *", instance_id="unseen"))
    operation = await admin.start_operation("hold", JobFilter(instance_id="unseen"), reason="x")
    await admin.wait_operation(operation.operation_id)
    secret = (await admin.create_token("overseer", "guest")).secret
    await admin.grant("token/overseer", ["oversee"])
    overseer = Browser(await stack.enter_async_context(httpx.AsyncClient(base_url=shop.base, timeout=20)), shop.base)
    await overseer.log_in(token=secret)

    async def known() -> bool:
        return 'href="/types"' in await overseer.get("/account")

    await until(known, what="the grant")
    said = text_of(await overseer.get("/types/permanent"))
    assert "never_again" not in said and str(job_id) not in said and "You may see this type, and not its jobs." in said
    assert "never_again" in text_of(await browser.get("/types/permanent"))
    one = f"/operations/{operation.operation_id}"
    for path in ("/", "/types", "/types/permanent", "/agents", "/operations", one, "/schedules", "/schedules/of.permanent", "/trend", "/capacity", "/alerts"):
        for address in set(re.findall(r'<a [^>]*?href="(/[^"]*)"', await overseer.get(path))):
            assert (await overseer.client.get(html.unescape(address))).status_code in (200, 303), f"{path} leads to {address}"
