"""A breaker from outside: it opens, its owner is killed and the next one knows of it, people see it everywhere and close it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx
from headrace_client import AdminClient, Client, State

from tests.support.processes import run_command, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.support.web import Browser


async def _open(address: str, database: str, stack: AsyncExitStack) -> int:
    """Two jobs fail and the breaker opens, which is stored; a job that waits since."""
    admin, client = AdminClient(address), await stack.enter_async_context(Client(address))
    async with admin:
        await admin.set_type("fragile", breaker_share=0.5, breaker_minimum=2, breaker_open_s=3600.0, breaker_open_max_s=3600.0, max_attempts=1)
        for _ in range(2):
            await client.submit("fragile")
        agent = ScriptedAgent(address, types=("fragile",))
        await agent.connect()
        await agent.report(*[outcome(job, "failed") for job in await agent.take(2)])
        waiting = (await client.submit("fragile")).job_id
        await agent.credit(1)
        con = await asyncpg.connect(database)

        async def stored() -> bool:
            return bool(await con.fetchval("select count(*) from headrace.breaker where phase = 'open'"))

        await until(stored, what="the row of the breaker")
        await con.close()
        found = await client.explain(waiting)
        assert found.wait_reason == "breaker" and found.breaker is not None and found.breaker.phase == "open"
        assert "the breaker of type fragile is open since" in found.text and "2 of 2 attempts failed within 60 s" in found.text
        assert found.breaker.until is not None and f"{found.breaker.until:%Y-%m-%d %H:%M:%S} UTC" in found.text
        assert (await client.get(waiting)).state is State.WAITING
        await agent.close()
    return waiting


async def test_a_breaker_outlives_its_owner_is_seen_everywhere_and_is_closed_by_hand(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database, name="first")
    stack.push_async_callback(first.kill)
    waiting = await _open(first.address, database, stack)
    await first.kill()
    second = await start_broker(directory, "--login-link", database=database, name="second")
    stack.push_async_callback(second.kill)
    client, admin = await stack.enter_async_context(Client(second.address)), await stack.enter_async_context(AdminClient(second.address))
    agent = ScriptedAgent(second.address, types=("fragile",))
    stack.push_async_callback(agent.close)
    await agent.connect()
    await agent.credit(1)
    shown = (await admin.get_type("fragile")).breaker
    assert shown is not None and (shown.phase, shown.step, shown.ended, shown.failed, shown.openings) == ("open", 1, 2, 2, 0)
    assert (await client.explain(waiting)).wait_reason == "breaker"

    async def shell(*words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(lambda: run_command("headrace", *words, environment={"HEADRACE_BROKER": second.address, "COLUMNS": "200"}))
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "open" in await shell("types", "list")
    assert "its breaker is open since" in await shell("types", "show", "fragile")
    base = f"http://{second.ready['http']}"
    web = await stack.enter_async_context(httpx.AsyncClient(base_url=base))
    series = (await web.get("/metrics")).text
    assert 'headrace_type_breaker{domain="default",phase="open",type="fragile"} 1.0' in series
    assert (await web.get(second.ready["web"])).status_code == 303
    browser = Browser(web, base)
    assert '<span class="state error">open</span>' in await browser.get("/types")
    page = await browser.get("/types/fragile")
    assert "Its breaker opened" in page and "2 of 2 attempts failed" in page and 'action="/type-breaker/fragile"' in page

    async def told() -> bool:
        return any(group.source == "breaker_open" and group.type == "fragile" for group in (await admin.list_alert_groups())[0])

    await until(told, what="a group of alerts")
    assert "breaker open" in await browser.get("/alerts")
    await browser.post("/type-breaker/fragile", reason="repaired")
    await agent.until(lambda: len(agent.jobs) == 1, "the job that waited")
    assert agent.jobs[0].job_id == waiting
    assert "repaired" in await browser.get("/audit?action=breaker.close")
    assert "was closed already" in await shell("types", "close", "fragile")
    await shell("types", "close", "absent", code=3)
    assert not await admin.close_breaker("fragile")
