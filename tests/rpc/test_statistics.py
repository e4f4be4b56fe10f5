"""What happened in each minute, as the Stats service, the command line and the stored rows tell it."""

import asyncio
import csv
import io
import json
import urllib.request
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from headrace_broker.maintenance.rollup import Rollup
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
        await store.put(1, [{"at": first, **row}])  # the same again: replaced
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
