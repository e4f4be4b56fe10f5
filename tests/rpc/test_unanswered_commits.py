"""Changes that people make beside those of jobs, when the database does not answer: each is made once, and its caller hears what is known of it."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import AdminClient, AlertChannel, AlertRule, Client, EmailChannel, JobFilter, ResultUnknown, ScheduleSpec

from tests.support.mailbox import serving
from tests.support.pg_proxy import Fate, PgProxy, Request
from tests.support.processes import start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome

AUDITED = "insert into headrace.audit "
CHANNEL = AlertChannel("c", EmailChannel("localhost", "from@example.org", ["to@example.org"]))
Change = Callable[[AdminClient], Awaitable[object]]


async def end_silence(admin: AdminClient) -> None:
    """Ends the one that there is."""
    [silence] = await admin.list_alert_silences()
    await admin.end_alert_silence(silence.silence_id)


CHANGES: dict[str, tuple[str, Change]] = {
    "a silence is added": ("alert_silence.add", lambda admin: admin.add_alert_silence("known", type="t", lasts_s=600)),
    "a silence is ended": ("alert_silence.end", end_silence),
    "a rule is deleted": ("alert_rule.delete", lambda admin: admin.delete_alert_rule("r")),
    "a channel is deleted": ("alert_channel.delete", lambda admin: admin.delete_alert_channel("c")),
    "a schedule is deleted": ("schedule.delete", lambda admin: admin.delete_schedule("s")),
    "a filter is deleted": ("filter.delete", lambda admin: admin.delete_filter("f")),
}
"""What may not be made twice: the action of its row in the audit, and the call."""


class Cut:
    """Breaks one connection in the middle of the first change that leaves a row in the audit: at the row itself, or at the commit behind it."""

    def __init__(self, proxy: PgProxy, *, at_commit: bool) -> None:
        self._proxy, self._at_commit = proxy, at_commit
        self._connection = 0
        proxy.fate = self._fate

    def _fate(self, request: Request) -> Fate:
        if AUDITED in request.statement and not self._connection:
            self._connection = request.connection
            return Fate.PASS if self._at_commit else Fate.CUT_BEFORE
        if request.connection == self._connection and self._at_commit and request.statement.upper().startswith("COMMIT"):
            self._at_commit = False
            return Fate.CUT_AFTER
        return Fate.PASS


@pytest.fixture
async def proxy(database: str, stack: AsyncExitStack) -> PgProxy:
    """Between the broker and the test's database."""
    return await stack.enter_async_context(PgProxy(database))


@pytest.fixture
async def admin(proxy: PgProxy, directory: Path, stack: AsyncExitStack) -> AdminClient:
    """Of a broker whose connections the proxy may cut."""
    broker = await start_broker(directory, database=proxy.dsn)
    stack.push_async_callback(broker.kill)
    return await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))


async def prepared(admin: AdminClient) -> None:
    """Makes what is changed."""
    await admin.put_alert_rule(AlertRule("r", "no_agent"))
    await admin.put_alert_channel(CHANNEL)
    await admin.put_schedule("s", ScheduleSpec("t", interval_s=86_400))
    await admin.save_filter("f", JobFilter(instance_id="case"))


async def test_a_change_whose_commit_is_not_answered_is_made_once_and_said_to_be_unknown(con: "asyncpg.Connection[Any]", proxy: PgProxy, admin: AdminClient) -> None:
    await prepared(admin)
    for what, (action, change) in CHANGES.items():
        before = proxy.done[Fate.CUT_AFTER]
        Cut(proxy, at_commit=True)
        with pytest.raises(ResultUnknown, match="the commit"):
            await change(admin)
        assert proxy.done[Fate.CUT_AFTER] == before + 1, what
        assert await con.fetchval("select count(*) from headrace.audit where action = $1", action) == 1, what
    assert len(await admin.list_alert_silences(include_ended=True)) == 1 and not await admin.list_alert_silences()
    assert not await admin.list_alert_rules() and not await admin.list_alert_channels() and not await admin.list_filters()

    Cut(proxy, at_commit=True)
    pause = await admin.pause_domain(reason="who asks again is answered as if the first had been")
    assert (await admin.list_pauses())[0].reason == pause.reason
    assert await con.fetchval("select count(*) from headrace.audit where action = 'domain.pause'") == 1


async def test_a_change_of_which_nothing_was_stored_is_made_again(con: "asyncpg.Connection[Any]", proxy: PgProxy, admin: AdminClient) -> None:
    await prepared(admin)
    for what, (action, change) in CHANGES.items():
        before = proxy.done[Fate.CUT_BEFORE]
        Cut(proxy, at_commit=False)
        await change(admin)
        assert proxy.done[Fate.CUT_BEFORE] == before + 1, what
        assert await con.fetchval("select count(*) from headrace.audit where action = $1", action) == 1, what


async def test_a_channel_is_tried_once_though_the_database_goes_away_behind_it(proxy: PgProxy, admin: AdminClient, stack: AsyncExitStack) -> None:
    box = await stack.enter_async_context(serving())
    await admin.put_alert_channel(AlertChannel("c", EmailChannel("127.0.0.1", "from@example.org", ["to@example.org"], box.port, "none")))
    Cut(proxy, at_commit=False)
    with pytest.raises(ResultUnknown, match="the message was delivered"):
        await admin.test_alert_channel("c")
    assert len(box.mails) == 1
    assert await admin.test_alert_channel("c") == (True, "") and len(box.mails) == 2


async def test_a_breaker_whose_close_is_not_answered_is_closed_once(con: "asyncpg.Connection[Any]", proxy: PgProxy, admin: AdminClient, stack: AsyncExitStack) -> None:
    await admin.set_type("fragile", breaker_share=0.5, breaker_minimum=2, breaker_open_s=3600.0, breaker_open_max_s=3600.0, max_attempts=1)
    client, agent = await stack.enter_async_context(Client(admin.brokers[0])), ScriptedAgent(admin.brokers[0], types=("fragile",))
    stack.push_async_callback(agent.close)
    await agent.connect()
    for _ in range(2):
        await client.submit("fragile")
    await agent.report(*[outcome(job, "failed") for job in await agent.take(2)])

    async def phase() -> str:
        breaker = (await admin.get_type("fragile")).breaker
        return breaker.phase if breaker is not None else ""

    async def opened() -> bool:
        return await phase() == "open"

    await until(opened, what="the breaker opens")
    Cut(proxy, at_commit=True)
    assert await admin.close_breaker("fragile", reason="repaired") and await phase() == "closed"
    assert proxy.done[Fate.CUT_AFTER] == 1
    assert await con.fetchval("select count(*) from headrace.audit where action = 'breaker.close'") == 1
