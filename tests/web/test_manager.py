"""Who is let in, what pages show and do, and that what others stored executes nothing."""

import asyncio
import csv
import html
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlencode

import asyncpg
import httpx
import pytest
from headrace_client import AdminClient, Client, State

from tests.support.mailbox import serving
from tests.support.processes import BrokerProcess, Process, run_command, running, start_agent, start_broker, until
from tests.support.web import Browser

PAGES = ["/", "/jobs", "/types", "/agents", "/alerts", "/schedules", "/schedule-new", "/trend", "/capacity", "/audit", "/access", "/grants", "/account"]
HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{7*7}}"


@pytest.mark.parametrize("path", [*PAGES, "/jobs/1", "/types/x"])
async def test_without_a_session_every_page_asks_to_log_in(base: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=base) as client:
        answer = await client.get(path)
        asked = "/login" if path == "/" else "/login?" + urlencode({"next": path})
        assert (answer.status_code, answer.headers["location"]) == (303, asked)


async def test_a_link_begins_one_session(broker: BrokerProcess, browser: Browser, base: str) -> None:
    async with httpx.AsyncClient(base_url=base) as other:
        answer = await other.get(broker.ready["web"])
        assert answer.status_code == 403 and "used already" in answer.text and not other.cookies
    await browser.get("/jobs")
    answer = await browser.client.post("/logout", headers={"Origin": base})
    assert answer.status_code == 303
    assert (await browser.client.get("/jobs")).status_code == 303


@pytest.mark.parametrize("path", PAGES)
async def test_an_empty_broker_says_what_to_do_next_and_headers_are_strict(browser: Browser, path: str) -> None:
    answer = await browser.client.get(path)
    assert answer.status_code == 200, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store" and answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text and "style=" not in answer.text and " onclick" not in answer.text
    cookie = next(iter(browser.client.cookies.jar))
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite") == "strict"


async def test_browsers_ask_whether_script_and_style_are_still_those_of_this_version(base: str) -> None:
    async with httpx.AsyncClient(base_url=base) as client:
        for name in ("manager.js", "style.css", "htmx.min.js", "icon.svg"):
            answer = await client.get(f"/static/{name}")
            assert (answer.status_code, answer.headers["cache-control"], answer.headers["x-content-type-options"]) == (200, "no-cache", "nosniff")
            again = await client.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
            assert (again.status_code, again.headers["cache-control"], again.content) == (304, "no-cache", b"")


async def test_an_address_without_a_page_says_so_and_leads_back(browser: Browser, base: str) -> None:
    answer = await browser.client.get("/nothing/at/all")
    assert answer.status_code == 404 and "There is no page at this address." in answer.text and 'href="/"' in answer.text
    assert "<title>Not found · headrace</title>" in answer.text and "Log out" in answer.text and answer.headers["cache-control"] == "no-store"
    async with httpx.AsyncClient(base_url=base) as stranger:
        answer = await stranger.get("/nothing/at/all")
        assert answer.status_code == 404 and "There is no page" in answer.text and "Log out" not in answer.text


async def test_a_change_needs_the_form_of_the_session(browser: Browser, base: str, client: Client) -> None:
    job_id = str((await client.submit("nobody")).job_id)
    token = {"csrf": browser.token(await browser.get("/jobs"))}
    for headers, fields in (({"Origin": base}, {}), ({"Origin": base}, {"csrf": "wrong.default"}), ({"Origin": "http://elsewhere.example"}, token), ({}, token)):
        answer = await browser.client.post("/job-abort", data={"job_id": job_id, **fields}, headers=headers)
        assert answer.status_code == 403
    assert (await client.get(int(job_id))).state is State.WAITING


async def test_jobs_are_requeued_aborted_and_deleted_with_a_row_in_the_audit(browser: Browser, client: Client, agent: Process) -> None:
    failed = (await client.submit("permanent")).job_id
    await client.wait(failed)
    await browser.post("/job-requeue", job_id=str(failed), reason="once more")
    assert (await client.wait(failed)).run == 2
    text = await browser.get(f"/jobs/{failed}")
    assert "requeued" in text and "once more" in text and "manager" in text
    waiting = [(await client.submit("nobody")).job_id for _ in range(3)]
    await browser.post("/job-abort", job_id=[str(job_id) for job_id in waiting], reason="not wanted")
    assert "3 of 3 jobs were told to end." in await browser.get("/jobs")
    assert {(await client.get(job_id)).state for job_id in waiting} == {State.ABORTED}
    await browser.post("/job-requeue", job_id="999")
    assert "no job 999" in await browser.get("/jobs")
    await browser.post("/job-purge", job_id=str(waiting[0]))
    await browser.get(f"/jobs/{waiting[0]}", status=404)
    audit = await browser.get(f"/audit?target=job/{failed}")
    assert "job.requeue" in audit and "once more" in audit


async def test_a_type_is_paused_and_its_settings_change(browser: Browser, client: Client, admin: AdminClient) -> None:
    await client.submit("report/weekly")
    await browser.post("/type-pause/report/weekly", paused="true", reason="month end")
    assert (await admin.get_type("report/weekly")).effective["paused"] is True
    await browser.post("/type-settings/report/weekly", name="max_attempts", value="9")
    text = await browser.get("/types/report/weekly")
    assert "max_attempts of report/weekly is 9 now." in text and "paused" in text
    await browser.post("/type-settings/report/weekly", name="max_attempts", value="many")
    assert "a number, found" in await browser.get("/types/report/weekly")
    await browser.post("/type-settings/report/weekly", name="max_attempts", clear="1")
    assert (await admin.get_type("report/weekly")).effective["max_attempts"] == 5


async def test_filters_are_in_the_address_and_pages_go_on(browser: Browser, client: Client, agent: Process) -> None:
    for number in range(55):
        await client.submit("nobody", instance_id=f"case-{number % 2}", labels={"side": "left" if number < 3 else "right"})
    text = await browser.get("/jobs?instance=case-1")
    assert text.count('name="job_id"') == 27
    assert (await browser.get("/jobs?label=side%3Dleft")).count('name="job_id"') == 3
    first = await browser.get("/jobs?state=waiting")
    assert first.count('name="job_id"') == 50
    following = first.split('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert (await browser.get(following)).count('name="job_id"') == 5
    opened = await browser.client.get("/jobs?state=error&job=+777+")
    assert (opened.status_code, opened.headers["location"]) == (303, "/jobs/777"), "whatever else is filtered"
    assert "as the list of jobs shows it; found &#39;case-1&#39;" in await browser.get("/jobs?job=case-1", status=400)
    await browser.get("/jobs?state=sleeping", status=400)
    assert "found &#39;yesterday&#39;" in await browser.get("/jobs?created_from=yesterday", status=400)
    assert (await browser.get("/jobs?state=waiting&order=score")).count('name="job_id"') == 50


async def test_the_overview_tells_alike_alerts_together(browser: Browser, client: Client, agent: Process) -> None:
    for type_, number in (("permanent", 3), ("fail", 1)):
        for _ in range(number):
            newest = (await client.submit(type_, "x")).job_id
            await client.wait(newest)
    alerts = (await browser.get("/")).partition("Newest alerts")[2]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(?=<td)(.*?)</tr>", alerts)]
    assert [(row[2], row[3]) for row in rows] == [("fail", "1"), ("permanent", "3")] and str(newest) in rows[0][4]
    assert "All there are, those that are alike together." in alerts


async def test_what_others_stored_is_text(browser: Browser, client: Client, agent: Process) -> None:
    job_id = (await client.submit("nobody", {HOSTILE: HOSTILE}, instance_id=HOSTILE, labels={"a": HOSTILE}, key=HOSTILE)).job_id
    await client.abort([job_id], reason=HOSTILE)
    talk = (await client.submit("talk", {"text": HOSTILE})).job_id
    await client.wait(talk)
    for path in (
        "/jobs",
        f"/jobs/{job_id}",
        f"/jobs/{job_id}?tab=data",
        f"/jobs/{talk}?tab=log",
        "/audit",
        "/",
        "/jobs?instance=" + "%3Cscript%3E",
        "/types/%3Cscript%3E",
    ):
        text = (await browser.client.get(path)).text
        assert "<script>alert" not in text and "<img src=x" not in text and "49" not in text.partition("{{7")[0][-3:], path
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in await browser.get(f"/jobs/{job_id}")


async def test_alerts_are_listed_and_channels_rules_and_silences_are_made_and_ended(browser: Browser, client: Client, admin: AdminClient, agent: Process) -> None:
    async with serving() as box:
        await browser.post(
            "/alert-channel-put", kind="email", name="ops", recipients="ops@example.org, b@example.org", sender="headrace@example.org", host="127.0.0.1",
            port=str(box.port), tls="none", default="1", send_resolved="1", cap="9",
        )  # fmt: skip
        await browser.post("/alert-channel-test", name="ops")
        text = await browser.get("/alerts")
        assert "The test message to ops was taken." in text and "not set" in text and len(box.mails) == 1
        await browser.post("/alert-channel-put", kind="webhook", name="hook", url="http://127.0.0.1:9/", secret="whsec_" + "a2tr" * 12)
        await browser.post("/alert-channel-test", name="hook")
        text = await browser.get("/alerts")
        assert "The test message to hook was not taken" in text and "a2tra2tr" not in text
        await browser.post("/alert-channel-put", kind="webhook", name="bad", url="ftp://x")
        assert "an address such as https://example.org/alerts" in await browser.get("/alerts")
        failing = {"name": "failing", "kind": "error_rate", "threshold": "5%", "window": "15m", "minimum": "50", "channels": "ops, hook"}
        timers = {"group_wait": "10s", "group_interval": "2m", "repeat_interval": "2h"}
        await browser.post("/alert-rule-put", reason="month end", **failing, **timers)
        await browser.post("/alert-rule-put", name="odd", kind="oldest_waiting", threshold="soon")
        assert "such as 90s, 15m" in await browser.get("/alerts")
        await browser.post("/alert-silence-add", lasts="inf", reason="r")
        assert "lasts: a duration such as" in await browser.get("/alerts")
        await browser.post("/alert-rule-put", name="odd", kind="oldest_waiting", repeat_interval="0")
        text = await browser.get("/alerts")
        assert "from 1 to 31,622,400 s" in text and "ops, hook" in text
        [rule] = await admin.list_alert_rules()
        assert (rule.threshold, rule.window_s, rule.minimum, list(rule.channels)) == (0.05, 900, 50, ["ops", "hook"])
        assert (rule.group_wait_s, rule.group_interval_s, rule.repeat_interval_s) == (10, 120, 7200)
        await admin.set_type("permanent", alert_group_wait_s=0, alert_channels="ops")
        await client.wait((await client.submit("permanent")).job_id)
        await box.until(2)

        async def listed() -> bool:
            text = await browser.get("/alerts")
            return "firing</span>" in text and "permanent" in text and "1 notice<" in text

        await until(listed)
        for address in ("/alerts?seen=x", "/types?seen=x"):
            part = await browser.client.get(address, headers={"HX-Request": "true"})
            assert part.status_code == 200 and "<html" not in part.text and "permanent" in part.text and "csrf" not in part.text
            assert 'id="over"' in part.text or address.startswith("/types")

        async def settled() -> bool:
            part = (await browser.client.get("/alerts?seen=x", headers={"HX-Request": "true"})).text
            return (await browser.client.get(f"/alerts?seen={part.partition('seen=')[2][:16]}", headers={"HX-Request": "true"})).status_code == 204

        await until(settled, what="nothing new")
        await browser.post("/alert-silence-add", lasts="2h", reason=HOSTILE, type="permanent")
        text = await browser.get("/alerts")
        assert "silenced</span>" in text and "manager" in text and "<script>alert" not in text
        [silence] = await admin.list_alert_silences()
        await browser.post("/alert-silence-end", silence_id=str(silence.silence_id))
        await browser.post("/alert-rule-delete", name="failing")
        await browser.post("/alert-channel-delete", name="hook")
        await browser.post("/alert-channel-delete", 404, name="hook")
        text = await browser.get("/alerts")
        assert "Nothing is silenced." in text and "There are no rules" in text
        actions = await browser.get("/audit?action=alert_channel.put")
        assert actions.count("alert_channel/hook") == 1 and "a2tra2tr" not in actions


NUMBERS = ("submitted", "completed", "failed", "error")


def _minutes(rows: Iterable[Mapping[str, object]]) -> dict[str, tuple[int, ...]]:
    """The minutes in which something happened, by "YYYY-MM-DD HH:MM"."""
    found = {str(row["at"])[:16].replace("T", " "): tuple(int(str(row[name])) for name in NUMBERS) for row in rows}
    return {at: numbers for at, numbers in found.items() if any(numbers)}


async def test_page_files_rpc_command_line_and_prometheus_tell_the_same_of_closed_minutes(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--login-link", "--testing", database=database)
    await stack.enter_async_context(running(broker))
    await stack.enter_async_context(running(await start_agent(directory, broker.address)))
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    http = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{broker.ready['http']}", timeout=20))
    await http.get(broker.ready["web"])
    ids = [(await client.submit("echo", number)).job_id for number in range(7)] + [(await client.submit("permanent")).job_id]
    for job_id in ids:
        await client.wait(job_id)
    assert ">7</strong>" in (part := (await http.get("/", headers={"HX-Request": "true"})).text) and 'id="newest" hx-swap-oob' in part and "<svg" not in part
    assert (await http.get(f"/?seen={part.partition('seen=')[2][:16]}", headers={"HX-Request": "true"})).status_code == 204

    async def told() -> dict[str, tuple[int, ...]]:
        answer = await http.get("/trend?period=1h&form=json")
        minutes = _minutes(answer.json())
        return minutes if sum(numbers[1] for numbers in minutes.values()) == 7 and sum(numbers[3] for numbers in minutes.values()) == 1 else {}

    await until(told)
    await admin.advance_clock(120)  # the minutes are over: nothing more happens in them
    wanted = await told()
    assert [sum(column) for column in zip(*wanted.values(), strict=True)] == [8, 7, 1, 1]
    assert _minutes(csv.DictReader(io.StringIO((await http.get("/trend?period=1h&form=csv")).text))) == wanted
    points = (await admin.trend(step_s=60.0)).series[0].points
    assert _minutes({"at": point.at.isoformat(), **{name: getattr(point, name) for name in NUMBERS}} for point in points) == wanted
    done = await asyncio.to_thread(run_command, "headrace", "stats", "trend", "--since", "1h", "--step-s", "60", "--csv", environment={"HEADRACE_BROKER": broker.address})
    assert done.returncode == 0 and _minutes(csv.DictReader(io.StringIO(done.stdout))) == wanted
    page = (await http.get("/trend?period=1h")).text
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in page.partition("<summary>Table")[2].split("</tr>")]
    shown = {row[0]: tuple(int(row[column]) for column in (1, 2, 3, 6)) for row in cells if len(row) == 13}
    assert {at: numbers for at, numbers in shown.items() if any(numbers)} == wanted
    assert "<dt>completed</dt><dd>7</dd>" in page
    assert "<dt>completed</dt><dd>7</dd>" in (await http.get("/?part=hour", headers={"HX-Request": "true"})).text
    for period, end, completed in (("1y", "", 7), ("90d", "", 7), ("1h", "1d", 0), ("1h", "2200-01-01", 400), ("1h", "soon", 400)):
        answer = await http.get("/trend", params={"period": period, "until": end})
        assert f"<dt>completed</dt><dd>{completed}</dd>" in answer.text or answer.status_code == completed, (period, end)
    ahead = await admin.forecast(types=["echo"], more_slots=-8, arrivals_factor=1.5, work_factor=0.8)
    page = html.unescape((await http.get("/capacity?type=echo&slots=-8&arrivals=1.5&work=0.8")).text)
    assert f"Now: {ahead.present.words}" in page and f"What if: {ahead.changed.words}" in page and "There are no slots: the queue grows by " in ahead.changed.words
    assert "A forecast needs a whole hour of counts. There is none yet." in page and (await http.get("/capacity?slots=x")).status_code == 400
    scraped: Counter[str] = Counter()
    for series, labels, value in re.findall(r"headrace_type_(\w+)_total\{([^}]*)\} (\d+)", (await http.get("/metrics")).text):
        outcome = re.search(r'outcome="(\w+)"', labels)
        scraped[outcome[1] if outcome else series] += int(value)
    assert [scraped[name] for name in NUMBERS] == [8, 7, 1, 1]
    await client.submit("nobody")
    found = (await admin.forecast()).present
    assert found.words.endswith("Beside that 1 wait of types that no agent serves, or that are paused.") and found.waiting == 1 and found.drain_s is None
    assert re.search(r'nobody</a></td>.*?<span class="warn">no agent</span>', (await http.get("/capacity")).text)
    assert "<small>1 paused, or without an agent</small>" in (await http.get("/")).text
    await admin.pause_type("nobody")
    assert re.search(r'nobody</a></td>.*?<span class="warn">paused</span>', (await http.get("/capacity")).text)


async def test_a_broker_that_stands_by_sends_on_to_the_owner_or_says_that_it_cannot(browser: Browser, database: str, directory: Path, stack: AsyncExitStack) -> None:
    standby = await start_broker(directory, "--login-link", database=database, name="standby")
    await stack.enter_async_context(running(standby))
    base = f"http://{standby.ready['http']}"
    async with httpx.AsyncClient(base_url=base) as client:
        client.cookies.update(browser.client.cookies)  # of a session that began at the owner
        assert (await client.get("/jobs")).headers["location"].endswith("/jobs")
        form = {"csrf": Browser.token((await client.post("/job-abort", data={}, headers={"Origin": base})).text), "name": "ada", "role": "viewer", "everywhere": "true"}
        assert (await client.post("/user-put", data=form, headers={"Origin": base})).status_code == 200
        assert (await client.post("/user-disable", data=form, headers={"Origin": base})).status_code == 303
        said = (await client.get("/access?tab=users")).text  # what was done here would be lost on the way there
        assert "User ada is disabled" in said and f'href="{browser.base}/access?tab=users"' in said
        assert (await client.get("/access?tab=users")).status_code == 307
        refused = await client.post("/job-abort", data={**form, "job_id": "7", "reason": "kept here"}, headers={"Origin": base})
        assert refused.status_code == 503 and 'value="kept here"' in refused.text and browser.base in refused.text
        con = await asyncpg.connect(database)
        await con.execute("update headrace.peer set web = ''")
        await con.close()

        async def told() -> bool:
            answer = await client.get("/jobs")
            return answer.status_code == 503 and "stands by" in answer.text

        await until(told)
