"""The page of one job: what its tabs show, what its forms do, and who sees what."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from headrace_agent import Agent, Fail, JobContext
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, JobSpec, State, Submitted

from tests.support.handlers import LEAK
from tests.support.processes import until
from tests.support.shared import Site, site, text_of
from tests.support.web import Browser


@pytest.fixture(scope="module")
def shop(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One broker and agent for all of these."""
    with site(postgres, "job_page", tmp_path_factory.mktemp("job_page")) as one:
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


async def test_details_tell_score_reason_runs_attempts_settings_and_who_did_what(browser: Browser, client: Client, admin: AdminClient) -> None:
    await admin.set_type("fail", priority=7, reason="test")
    job_id = (await client.submit("fail", {"a": 1}, priority=2, labels={"side": "left"}, instance_id="case-1")).job_id
    await client.wait(job_id)
    await browser.post(f"/jobs/{job_id}/requeue", reason="the server was repaired")
    assert (await client.wait(job_id)).run == 2
    said = text_of(await browser.get(f"/jobs/{job_id}"))
    assert "9 = type 7 + instance 0 + job 2" in said
    assert "run 2, attempt 3 of 3" in said and "side=left" in said
    assert "requeued: run 2 began by" in said and "the server was repaired" in said
    assert "attempt 3 failed" in said and "attempt 3 began on tester" in said
    assert "priority 7 person 0" in said and "max_attempts 3 code 5" in said
    assert "job.requeue" in said, "the audit of the job"
    waiting = (await client.submit("nobody")).job_id
    said = text_of(await browser.get(f"/jobs/{waiting}"))
    assert "No connected agent serves its type nobody" in said and "Nobody has changed this job" in said


async def test_every_form_of_a_job_does_what_it_says_and_asks_why(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("nobody", {"a": 1})).job_id
    at = f"/jobs/{job_id}"
    await browser.post(f"{at}/priority", priority="12")
    assert "say why" in await browser.get(at) and (await client.get(job_id)).priority == 0
    wishes: tuple[tuple[str, dict[str, str]], ...] = (
        ("priority", {"priority": "12"}),
        ("keep", {"how": "after", "value": "3d"}),
        ("hold", {}),
        ("payload", {"payload": '{"a": 1.10}'}),
    )
    for path, fields in wishes:
        await browser.post(f"{at}/{path}", 303, reason="so it was wished", **fields)
    job = await client.get(job_id, full=True)
    assert (job.priority, job.delete_after_s, job.hold, job.payload) == (12, 3 * 86_400, True, b'{"a": 1.10}')
    said = text_of(await browser.get(at))
    assert "priority 12" in said and "held" in said and "another payload" in said and said.count("so it was wished") >= 4
    await browser.post(f"{at}/release", reason="enough")
    await browser.post(f"{at}/abort", reason="not wanted")
    job = await client.get(job_id)
    assert job.state is State.ABORTED and not job.hold
    await browser.post(f"{at}/keep", reason="longer", how="at", value="2100-01-01")
    assert (job := await client.get(job_id)).delete_at is not None and job.delete_at.year == 2100
    await browser.post(f"{at}/keep", reason="as usual", how="type", value="")
    assert (job := await client.get(job_id)).delete_at is not None and job.delete_at.year < 2100
    await browser.post(f"{at}/priority", reason="x", priority="12.5")
    assert "a whole number" in await browser.get(at)
    await browser.post(f"{at}/keep", reason="x", how="at", value="some day")
    assert "how long from now" in await browser.get(at)
    answer = await browser.post(f"{at}/purge", reason="gone")
    assert answer.headers["location"].endswith("/jobs")
    await browser.get(at, status=404)


async def test_a_running_job_is_aborted_and_started_anew(browser: Browser, client: Client, shop: Site) -> None:
    job_id = (await client.submit("gate", "never-there")).job_id

    async def runs() -> bool:
        return (await client.get(job_id)).state is State.PROCESSING

    await until(runs)
    said = text_of(await browser.get(f"/jobs/{job_id}"))
    assert "was heard" in said and "Attempt 1 of run 1 runs on agent tester" in said
    await browser.post(f"/jobs/{job_id}/requeue", reason="it hangs", abort_first="true", grace="5s")

    async def again() -> bool:
        job = await client.get(job_id)
        return job.run == 2 and job.state is State.PROCESSING

    await until(again)
    await browser.post(f"/jobs/{job_id}/abort", reason="enough", force="true")
    assert (await client.wait(job_id)).state is State.ABORTED
    said = text_of(await browser.get(f"/jobs/{job_id}"))
    assert "asked for" in said and "enough" in said and "none: by force" in said


async def test_a_payload_that_is_not_json_is_not_lost_and_changes_nothing(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("permanent", {"a": 1})).job_id
    await client.wait(job_id)
    answer = await browser.post(f"/jobs/{job_id}/requeue", 200, reason="try", payload='{"mine": 7,}')
    assert "not JSON" in answer.text and "{&#34;mine&#34;: 7,}" in answer.text
    assert (await client.get(job_id)).run == 1
    again = await browser.client.get(f"/jobs/{job_id}/requeue")
    assert (again.status_code, again.headers["location"]) == (303, f"/jobs/{job_id}")
    await browser.post(f"/jobs/{job_id}/requeue", reason="try", payload='{"mine": 12345678901234567890}')
    job = await client.wait(job_id)
    assert job.run == 2 and (await client.get(job_id, full=True)).payload == b'{"mine": 12345678901234567890}'


async def test_data_folds_and_tells_versions_and_their_difference(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("permanent", {"a": 1, "big": 12345678901234567890, "same": [1, 2]})).job_id
    await client.wait(job_id)
    await browser.post(f"/jobs/{job_id}/requeue", reason="try", payload='{"a": 2, "big": 12345678901234567890, "same": [1, 2]}')
    version = (await client.wait(job_id)).payload_version
    page = await browser.get(f"/jobs/{job_id}?tab=data&from=0&to={version}")
    assert "<details" in page and "12345678901234567890" in page and "Versions of the payload" in page
    assert '<span class="removed">-   &#34;a&#34;: 1,</span>' in page and '<span class="added">+   &#34;a&#34;: 2,</span>' in page
    first = text_of(await browser.get(f"/jobs/{job_id}?tab=data&run=1"))
    assert '"a": 1' in first and "There is none: this run has not completed." in first
    await browser.get(f"/jobs/{job_id}?tab=data&run=9", status=400)
    await browser.get(f"/jobs/{job_id}?tab=data&from=0&to=77", status=400)
    done = (await client.submit("echo", "result")).job_id
    await client.wait(done)
    assert "&#34;result&#34;" in await browser.get(f"/jobs/{done}?tab=data")
    for payload, type_, said in ((b"\xff\x00\x01", "image/png", "3 B of image/png: not text"), (b"\x00HRC\x01\x01\x04zstd\x00data", "", "encoded with zstd")):
        other = (await client.submit("nobody", payload=payload, content_type=type_)).job_id
        assert said in await browser.get(f"/jobs/{other}?tab=data")


async def test_the_version_below_a_page_is_that_of_the_broker(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("nobody", {"a": 1})).job_id
    below = {re.search(r"<footer>headrace ([^ <]+)", await browser.get(f"/jobs/{job_id}?tab={tab}"))[1] for tab in ("details", "log", "data", "graph")}  # type: ignore[index]  # each page has one
    assert len(below) == 1 and next(iter(below)).count(".") >= 2


async def test_who_is_no_operator_sees_no_secrets_and_no_forms(browser: Browser, client: Client, shop: Site) -> None:
    secret = "hunter2-and-more"
    job_id = (await client.submit("echo", {"user": "ada", "deep": {"API-key": secret}}, labels={"authToken": secret})).job_id
    await client.wait(job_id)
    other = (await client.submit("nobody", payload=f"password={secret}".encode(), content_type="text/plain")).job_id
    async with shop.browser("viewer") as viewer:
        for path in (f"/jobs/{job_id}", f"/jobs/{job_id}?tab=data", f"/jobs/{other}?tab=data"):
            page = await viewer.get(path)
            assert secret not in page and '<form method="post" action="/jobs/' not in page
            assert secret in await browser.get(path), "an operator sees it"
        data = text_of(await viewer.get(f"/jobs/{job_id}?tab=data"))
        assert data.count("1 value is masked") == 2 and "ada" in data, "payload and result"
        details = await viewer.get(f"/jobs/{job_id}")
        assert "Who did what" not in details and "label=authToken" not in details and "label=authToken" in await browser.get(f"/jobs/{job_id}")
        assert "view_secrets" in await viewer.get(f"/jobs?label=authToken%3D{secret}", 403), "no guess is confirmed"
        for form in ("requeue", "abort", "purge", "hold", "release", "priority", "keep", "payload"):
            await viewer.post(f"/jobs/{job_id}/{form}", 403, reason="x")


async def test_secrets_in_words_are_masked_on_every_page(browser: Browser, client: Client, shop: Site) -> None:
    job_id = (await client.submit("leaky", "leak-now")).job_id
    details, log, tail = f"/jobs/{job_id}", f"/jobs/{job_id}?tab=log", f"/jobs/{job_id}/tail?after=0.0"

    async def told() -> bool:
        return LEAK in await browser.get(log) and LEAK in await browser.get(details)

    await until(told, what="its log line and its progress")
    async with shop.browser("viewer") as viewer:
        seen = {path: await viewer.get(path) for path in (details, log, tail)}
        (shop.directory / "leak-now").touch()
        await client.wait(job_id)
        for path in (details, log, tail, "/types/leaky"):
            assert LEAK in await browser.get(path), "an operator sees it"
            seen[f"then {path}"] = await viewer.get(path)
        for path in ("/", "/jobs", "/jobs?state=error"):
            seen[path] = await viewer.get(path)
        assert not [path for path, page in seen.items() if LEAK in page]
        assert "login of ada" in seen[log] and "was refused" in seen[f"then {details}"] and "was refused" in seen["then /types/leaky"]
        assert "view_secrets" in await viewer.get("/jobs?log=hunter2-a", 403), "it cannot be guessed letter by letter"


async def test_what_handlers_tell_steers_no_page(browser: Browser, client: Client, shop: Site) -> None:
    agent, drain, rude = Agent("rude"), asyncio.Event(), "x\u202ey\x1b[2J\u200bz"

    @agent.job("rude", max_attempts=1)
    async def tells(ctx: JobContext, data: str) -> None:
        ctx.log.info(data)
        raise Fail(data, code=data)

    running = asyncio.create_task(agent.run(shop.broker.address, drain=drain))
    job_id = (await client.submit("rude", rude, labels={"by": rude}, instance_id=rude)).job_id
    await client.wait(job_id)
    await client.update([job_id], hold=True, reason=rude)
    drain.set()
    await running  # its log is stored
    at = f"/jobs/{job_id}"
    for path in (at, f"{at}?tab=log", f"{at}?tab=log&find=y", f"{at}/tail?after=0.0", f"{at}?tab=data", "/jobs?type=rude", "/types/rude"):
        page = await browser.get(path)
        assert "\\u202e" in page and not {*rude} - {*"xy[2Jz"} & {*page}, path


async def test_the_log_is_searched_filtered_and_followed(browser: Browser, client: Client, shop: Site) -> None:
    await client.wait((await client.submit("flaky", 1)).job_id)
    job_id = (await client.submit("gate", "log-gate")).job_id
    other = (await client.submit("fail", 1)).job_id
    await client.wait(other)

    async def logged() -> bool:
        return "about to fail" in await browser.get(f"/jobs/{other}?tab=log")

    await until(logged)
    page = await browser.get(f"/jobs/{other}?tab=log&find=TO+fail")
    assert page.count("about <mark>to fail</mark>") == 3 and page.count('class="level-4"') == 3
    assert "No line holds this" in await browser.get(f"/jobs/{other}?tab=log&find=nowhere")
    epochs = re.findall(r'<option value="(\d+)">run 1, attempt', page)
    assert len(epochs) == 3 and (await browser.get(f"/jobs/{other}?tab=log&attempt={epochs[0]}")).count('class="level-4"') == 1
    assert "lines come here as they are logged" in await browser.get(f"/jobs/{job_id}?tab=log")
    answer = await browser.client.get(f"/jobs/{other}/tail?after=0.0", headers={"HX-Request": "true"})
    told = json.loads(answer.headers["hx-trigger"])["headrace:tail"]
    assert answer.text.count("about to fail") == 3 and told["at"] != "0.0"
    answer = await browser.client.get(f"/jobs/{other}/tail?after={told['at']}", headers={"HX-Request": "true"})
    assert "about to fail" not in answer.text and json.loads(answer.headers["hx-trigger"])["headrace:tail"]["at"] == told["at"]
    (shop.directory / "log-gate").touch()
    await client.wait(job_id)


async def test_a_long_log_is_read_in_pages_from_its_end(browser: Browser, client: Client, admin: AdminClient) -> None:
    await admin.set_type("talk", log_limit_lines=2000)
    job_id = (await client.submit("talk", 1200)).job_id
    await client.wait(job_id)

    async def whole() -> bool:
        return "Line 1199 of the talk" in await browser.get(f"/jobs/{job_id}?tab=log")

    await until(whole)
    seen: list[str] = []
    address = f"/jobs/{job_id}?tab=log"
    while address:
        page = await browser.get(address)
        seen = re.findall(r"Line (\d+) of the talk", page) + seen
        found = re.search(r'<a href="([^"]+)">Earlier lines', page)
        address = html.unescape(found[1]) if found else ""
    assert seen == [str(number) for number in range(1200)]
    found_ = await browser.get(f"/jobs/{job_id}?tab=log&find=Line+7+of")
    assert found_.count("<mark>") == 1, "a search looks at all of it"


async def test_the_graph_shows_instance_dependencies_and_children(browser: Browser, client: Client) -> None:
    alone = (await client.submit("nobody")).job_id
    assert "tied to no other" in await browser.get(f"/jobs/{alone}?tab=graph")
    first = (await client.submit("echo", 1, instance_id="graph-1")).job_id
    second = (await client.submit("nobody", 2, instance_id="graph-1", depends_on=[first])).job_id
    third = (await client.submit("nobody", 3, depends_on=[second])).job_id
    loose = (await client.submit("child", 4, instance_id="graph-1")).job_id
    child = int((await client.wait(loose)).json_result())
    await client.wait(child)
    page = await browser.get(f"/jobs/{second}?tab=graph")
    for job_id in (first, second, third, loose, child):
        assert f'href="/jobs/{job_id}?tab=graph"' in page
    assert page.count('class="tie depends"') == 2 and page.count('class="tie submitted"') == 1 and "<svg" in page
    assert "waits for" in text_of(page) and 'class="job completed' in page and 'class="job waiting self"' in page
    assert "style=" not in page and "<script>" not in page


async def test_a_graph_is_bounded_and_says_so(browser: Browser, client: Client) -> None:
    *_, last = await client.submit_many([JobSpec("nobody", number, instance_id="crowd") for number in range(330)])
    assert isinstance(last, Submitted)
    page = await browser.get(f"/jobs/{last.job_id}?tab=graph")  # itself, and the first of its instance
    assert page.count("<rect ") == 300 and "Not all of it is drawn" in page


def own_address(page: str) -> str:
    """Where the part of a page that follows its job asks."""
    found = re.search(r'hx-get="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


async def test_a_part_that_has_not_changed_is_not_sent_again(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("nobody")).job_id
    page = await browser.get(f"/jobs/{job_id}")
    address = own_address(page)
    part = {"HX-Request": "true"}
    answer = await browser.client.get(address, headers=part)
    assert answer.status_code == 200 and "<html" not in answer.text and 'hx-swap-oob="true"' in answer.text
    assert 'id="actions"' not in answer.text, "forms that somebody fills in stay as long as the job stands where it stood"
    address = own_address(answer.text)
    assert (await browser.client.get(address, headers=part)).status_code == 204
    await client.abort([job_id], reason="changed")
    answer = await browser.client.get(address, headers=part)
    assert answer.status_code == 200 and "changed" in answer.text and 'id="actions"' in answer.text


async def test_a_notice_is_not_lost_to_a_part_of_a_page(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("nobody")).job_id
    await browser.post(f"/jobs/{job_id}/hold", reason="x")
    await browser.client.get(f"/jobs/{job_id}", headers={"HX-Request": "true"})
    assert "is held: nothing deletes it" in await browser.get(f"/jobs/{job_id}")


async def test_nul_and_nonsense_are_refused_politely(browser: Browser, client: Client) -> None:
    job_id = (await client.submit("nobody")).job_id
    await browser.post(f"/jobs/{job_id}/hold", reason="a\x00b")
    assert "NUL" in await browser.get(f"/jobs/{job_id}")
    await browser.post("/job-abort", job_id=str(job_id), reason="a\x00b")
    assert "NUL" in await browser.get("/jobs") and (await client.get(job_id)).state is State.WAITING
    for path in (
        "/jobs?instance=%00",
        f"/jobs/{job_id}?tab=wrong",
        f"/jobs/{job_id}?tab=log&level=9",
        f"/jobs/{job_id}?tab=log&attempt=x",
        f"/jobs/{job_id}?tab=log&attempt=-%2B5",
        "/jobs?created_from=0001-01-01",
    ):
        await browser.get(path, status=400)
