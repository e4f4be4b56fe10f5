"""What happened in each minute, as the Stats service, the command line and the stored rows tell it."""

import asyncio
import csv
import io
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from headrace_broker.actions.statistics import parts
from headrace_broker.maintenance.rollup import LATE, Rollup
from headrace_broker.shards.owner import Owner
from headrace_broker.store.statistics import DAY, HOUR, MINUTE, Statistics
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, NotFound, Submitted
from headrace_client.trends import TrendPoint
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import BrokerProcess, Process, run_command, until


async def total(admin: AdminClient, **options: object) -> TrendPoint:
    """The last hour as one point."""
    found = await admin.trend(since=datetime.now(UTC) - timedelta(hours=1), until=datetime.now(UTC) + timedelta(minutes=1), **options)  # type: ignore[arg-type]
    [series] = found.series
    return series.total


async def _waited_s(client: Client, job_id: int) -> float:
    """From the submit to the start."""
    job = await client.get(job_id)
    assert job.started_at is not None
    return (job.started_at - job.created_at).total_seconds()


async def test_what_happened_is_told_by_number_and_time(client: Client, admin: AdminClient, agent: Process) -> None:
    done = [(await client.submit("echo", n)).job_id for n in range(5)]
    failed = (await client.submit("permanent")).job_id
    later = (await client.submit("echo", delay_s=1.0)).job_id
    for job_id in (*done, failed, later):
        await client.wait(job_id)
    waits = [await _waited_s(client, job_id) for job_id in (*done, failed)]
    waits.append(await _waited_s(client, later) - 1.0)
    await client.requeue([done[0]], include_completed=True)
    await client.wait(done[0])

    async def told() -> bool:
        return (await total(admin)).completed == 7

    await until(told)
    whole = await total(admin)
    assert (whole.submitted, whole.granted, whole.completed, whole.failed, whole.error, whole.requeued) == (7, 8, 7, 1, 1, 1)
    assert whole.error_rate == pytest.approx(1 / 8)
    assert (whole.wait.count, whole.run.count) == (7, 8), "the wait is that before the first grant"
    assert whole.wait.p99_s is not None and whole.wait.p99_s < max(waits) * 1.5 + 0.1, "a delayed job does not wait before its time"
    assert (await total(admin, types=["permanent"])).submitted == 1
    by_type = {series.name: series.total.submitted for series in (await admin.trend(by="type")).series}
    assert (by_type["echo"], by_type["permanent"]) == (6, 1)
    by_agent = {series.name: (series.total.completed, series.total.failed) for series in (await admin.trend(by="agent")).series}
    assert by_agent == {"tester": (7, 1)}
    assert (await admin.trend()).week_before.total.submitted == 0


async def test_many_jobs_that_move_at_once_are_all_counted(client: Client, admin: AdminClient, agent: Process) -> None:
    for item in await client.submit_many([JobSpec("echo", n) for n in range(500)]):
        assert isinstance(item, Submitted)
        await client.wait(item.job_id)

    async def told() -> bool:
        return (await total(admin)).run.count == 500

    await until(told)
    whole = await total(admin)
    assert (whole.submitted, whole.granted, whole.completed, whole.wait.count) == (500, 500, 500, 500)


async def test_rpc_command_line_and_rows_say_the_same(broker: BrokerProcess, client: Client, admin: AdminClient, agent: Process, database: str) -> None:
    await client.wait((await client.submit("echo")).job_id)

    async def told() -> bool:
        return (await total(admin)).completed == 1

    await until(told)
    text = await asyncio.to_thread(_trend_csv, broker.address)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) in (60, 61) and sum(int(line["completed"]) for line in lines) == 1
    con = await asyncpg.connect(database)
    try:
        assert await con.fetchval("select sum((numbers->>'completed')::int) from headrace.stat where agent_id = 0") == 1
    finally:
        await con.close()
    whole, scraped = await total(admin), await asyncio.to_thread(_scraped, broker.ready["http"])
    labels = '{domain="default",type="echo"'
    shown = {name: scraped[f"headrace_type_{name}{labels}}}"] for name in ("submitted_total", "started_total", "wait_seconds_count", "run_seconds_count", "waiting")}
    shown["completed"] = scraped['headrace_type_outcomes_total{domain="default",outcome="completed",type="echo"}']
    wanted = {"submitted_total": whole.submitted, "started_total": whole.granted, "wait_seconds_count": whole.wait.count, "run_seconds_count": whole.run.count}
    assert shown == {**wanted, "waiting": 0, "completed": whole.completed}


def _scraped(address: str) -> dict[str, float]:
    """The samples at /metrics, by name with the labels in their order."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples]
    return {f"{s.name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in sorted(s.labels.items()))}}}": s.value for s in samples}


async def test_capacity_names_demand_and_the_agents_that_a_wait_asks_for(client: Client, admin: AdminClient, agent: Process) -> None:
    await client.wait((await client.submit("echo")).job_id)
    found = {item.type: item for item in await admin.capacity(types=["echo"])}["echo"]
    assert (found.agents, found.slots, found.waiting) == (1, 8, 0)
    with pytest.raises(NotFound):
        await admin.capacity(types=["unheard_of"])


async def test_a_forecast_goes_by_the_hours_that_were_and_says_what_if(broker: BrokerProcess, client: Client, admin: AdminClient, agent: Process, database: str) -> None:
    await client.wait((await client.submit("echo")).job_id)
    await client.submit("nobody")
    fresh = await admin.forecast(types=["echo"])
    assert (fresh.method, fresh.history_hours, fresh.hours, fresh.agents, fresh.present.slots) == ("", 0, [], 1, 8)
    with pytest.raises(NotFound):
        await admin.forecast(types=["unheard_of"])
    con = await asyncpg.connect(database)
    try:  # three weeks of hours in which as many jobs came as hours had gone since they began, of 8 s each
        await con.execute(
            "insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)"
            " select 60, ((extract(epoch from now())::bigint / 3600)::int - h) * 60, type_id, 0, 0,"
            " jsonb_build_object('submitted', 505 - h, 'completed', 400, 'failed', 100, 'error', 100), '{}', '{}', 0, 4000, 8, 0"
            " from generate_series(1, 505) h, headrace.job_type where name = 'echo'"
        )
    finally:
        await con.close()
    found = await admin.forecast(types=["echo"], hours=3, more_slots=-7, arrivals_factor=2.0, work_factor=0.5)
    assert (found.method, found.history_hours) == ("week", 504), "the first hour that was counted was not whole"
    first = found.hours[0]
    assert first.at == datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert [round(hour.arrivals_per_s.mean * 1800) for hour in found.hours] == [337, 338, 339], "a week before it was so many"
    assert first.arrivals_per_s.high == pytest.approx((337 + 1.2816 * 168) / 1800, abs=0.01), "each hour there were 168 more than a week before"
    assert (found.present.slots, found.changed.slots) == (8, 1) and found.changed.arrivals_per_s == pytest.approx(2 * found.present.arrivals_per_s)
    assert found.present.work_s is not None and found.changed.work_s == pytest.approx(found.present.work_s / 2)
    both = await admin.forecast(types=["echo", "nobody"], hours=1)
    assert (both.present.waiting, found.present.waiting, both.method) == (1, 0, "week")
    shown = await asyncio.to_thread(run_command, "headrace", "stats", "forecast", "-t", "echo", "--more-slots", "-8", environment={"HEADRACE_BROKER": broker.address})
    assert shown.returncode == 0 and "What if: There are no slots" in shown.stdout and "as the same hours a week before" in shown.stdout
    lines = await asyncio.to_thread(run_command, "headrace", "stats", "forecast", "-t", "echo", "--hours", "3", "--csv", environment={"HEADRACE_BROKER": broker.address})
    assert [round(float(line["arrivals_per_s"]) * 3600) for line in csv.DictReader(io.StringIO(lines.stdout))] == [337, 338, 339]


async def test_hours_of_which_too_many_rows_tell_are_left_out_from_the_oldest_on(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    try:
        store, first = Statistics(pool), 29_000_000 // DAY * DAY
        row = {"agent_id": 0, "wait": {}, "run": {}, "wait_s": 0, "run_s": 1.5, "slots": 0, "waiting": 0}
        numbers = {"submitted": 5, "requeued": 1, "completed": 2, "failed": 2, "timed_out": 1, "lost": 1, "error": 1, "aborted": 1}
        await store.put(1, [{"at": first + minute, "type_id": type_id, "numbers": numbers, **row} for minute in range(0, 180, 10) for type_id in (1, 2, 3)])
        hours, since = await store.demand(MINUTE, first, first + DAY, [1, 2])
        assert [(hour.at - first, hour.asked, hour.ended, hour.run_s) for hour in hours] == [(at, 12 * 8, 12 * 6, 18) for at in (0, 60, 120)] and since is None
        hours, since = await store.demand(MINUTE, first, first + DAY, [1, 2], most=30)
        assert [hour.at - first for hour in hours] == [60, 120] and hours[0].asked == 12 * 8 and since == first + 60
        assert await store.demand(MINUTE, first, first + DAY, [7]) == ([], None)
    finally:
        await pool.close()


async def test_a_period_that_makes_no_sense_is_refused_by_name(admin: AdminClient) -> None:
    now = datetime.now(UTC)
    for options, field in (
        ({"since": now, "until": now - timedelta(hours=1)}, "to"),
        ({"step_s": 61.0}, "step"),
        ({"step_s": 120.0}, "step"),
        ({"since": now - timedelta(days=30), "step_s": 60.0}, "step"),
        ({"by": "moon"}, "by"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await admin.trend(**options)
        assert refused.value.details["field"] == field


async def test_minutes_add_up_to_hours_and_days_and_go_by_age(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    try:
        store = Statistics(pool)
        first = 29_000_000 // DAY * DAY
        row = {"type_id": 1, "agent_id": 0, "numbers": {"completed": 2}, "wait": {"4": 2}, "run": {"8": 1, "9": 1}, "wait_s": 0.5, "run_s": 1.5, "slots": 6, "waiting": 3}
        await store.put(1, [{"at": first + minute, **row} for minute in range(0, DAY, 10)])
        await store.put(2, [{"at": first, **row, "waiting": 9}])
        await store.put(1, [{"at": first, **row, "waiting": 8}])  # it once more: replaced
        rollup = Rollup(store, owner=_never)
        for part, whole in ((MINUTE, HOUR), (HOUR, DAY)):
            await rollup.roll(part, whole, first + DAY + 10)
        [day] = await store.rows(DAY, first, first + DAY, [1])
        assert day.numbers == {"completed": 2 * 145} and day.run == {8: 145, 9: 145} and day.wait == {4: 290}
        assert day.wait_s == pytest.approx(72.5) and day.run_s == pytest.approx(217.5) and day.waiting == 9
        assert len(await store.rows(HOUR, first, first + DAY, [1])) == 24
        assert await store.trim(MINUTE, first + HOUR) == 7
        assert await store.oldest(MINUTE, 0) == first + HOUR
    finally:
        await pool.close()


async def test_a_clock_that_was_ahead_for_a_while_does_not_end_the_adding_up(database: str) -> None:
    """The hours that it has left behind lie in the future: what comes before them is added up all the same, and is read."""
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    try:
        store, first = Statistics(pool), 29_000_000 // DAY * DAY
        row = {"type_id": 1, "agent_id": 0, "numbers": {"completed": 2}, "wait": {}, "run": {}, "wait_s": 0, "run_s": 0, "slots": 6, "waiting": 3}
        await store.put(1, [{"at": first + 400 * DAY, **row}])
        rollup = Rollup(store, owner=_never)
        await rollup.roll(MINUTE, HOUR, first + 400 * DAY + 2 * HOUR)
        await store.put(1, [{"at": first + minute, **row} for minute in range(0, 120, 10)])
        await rollup.roll(MINUTE, HOUR, first + 130)
        assert [hour.numbers for hour in await store.rows(HOUR, first, first + DAY, [1])] == [{"completed": 12}] * 2
        assert await parts(store, HOUR, first, first + 180) == [(HOUR, first, first + 120), (MINUTE, first + 120, first + 180)]
    finally:
        await pool.close()


class Noted(Statistics):
    """Notes which periods are added up."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        super().__init__(pool)
        self.rolled: list[int] = []

    async def roll(self, part: int, whole: int, at: int) -> None:
        self.rolled.append(at)
        await super().roll(part, whole, at)


async def test_hours_that_a_clock_ahead_has_added_up_are_added_up_again_when_their_time_comes(database: str) -> None:
    """Neither they nor the hour before them would tell what happened then."""
    pool = await asyncpg.create_pool(database, min_size=1, max_size=2)
    try:
        store, ahead = Noted(pool), 29_000_000 // DAY * DAY
        row = {"type_id": 1, "agent_id": 0, "numbers": {"completed": 2}, "wait": {}, "run": {}, "wait_s": 0, "run_s": 0, "slots": 6, "waiting": 3}
        await store.put(1, [{"at": ahead, **row}])
        await Rollup(store, owner=_never).roll(MINUTE, HOUR, ahead + HOUR + LATE)
        await store.put(2, [{"at": ahead + minute, **row} for minute in range(-60, 60, 10)])
        rollup = Rollup(store, owner=_never)
        for half in range(2 * ahead, 2 * (ahead + HOUR + 2 * LATE)):  # two passes a minute
            await rollup.roll(MINUTE, HOUR, half // 2)
        assert store.rolled == [ahead, ahead - HOUR, ahead]
        hours = await store.rows(HOUR, ahead - DAY, ahead + DAY, [1])
        assert [(hour.at, hour.numbers) for hour in hours] == [(ahead - HOUR, {"completed": 12}), (ahead, {"completed": 14})]
    finally:
        await pool.close()


def _trend_csv(address: str) -> str:
    done = run_command("headrace", "stats", "trend", "--since", "1h", "--step-s", "60", "--csv", environment={"HEADRACE_BROKER": address})
    assert done.returncode == 0, done.stderr
    return done.stdout


def _never() -> Owner:
    raise AssertionError("adding up asks no owner")


async def test_what_was_counted_survives_the_end_of_the_broker(broker: BrokerProcess, client: Client, agent: Process, database: str) -> None:
    await client.wait((await client.submit("echo")).job_id)
    await broker.stop()
    con = await asyncpg.connect(database)
    try:
        assert await con.fetchval("select (numbers->>'completed')::int from headrace.stat where agent_id = 0 and numbers ? 'completed'") == 1
    finally:
        await con.close()
