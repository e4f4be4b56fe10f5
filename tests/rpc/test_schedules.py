"""Schedules through the client, the command line and the database: each tick once, whoever changes, dies or takes over."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import AdminClient, Client, InvalidRequest, NotFound, ScheduleSpec, State

from tests.support.pg_proxy import Fate, PgProxy, Request
from tests.support.processes import BrokerProcess, Process, run_command, start_broker, until

FIRE = "insert into headrace.schedule_fire"
FIRES = "select nominal_at, outcome, job_id, request_id from headrace.schedule_fire order by nominal_at"
BACK = "update headrace.schedule set next_at = next_at - $1::interval, version = version + 1, changed_at = clock_timestamp()"
OWNER = "select l.address from headrace.shard s join headrace.life l using (life_id) where not l.dead limit 1"
FUTURE = datetime(2090, 1, 1, tzinfo=UTC)
YEARLY = "0 0 1 1 *"


async def jobs_are_the_fires(con: "asyncpg.Connection[Any]") -> list[asyncpg.Record]:
    """The stored ticks: none comes twice, and each job of a schedule is the job of one of them."""
    fires: list[asyncpg.Record] = await con.fetch(FIRES)
    ticks = [row["nominal_at"] for row in fires if not row["request_id"]]
    assert len(ticks) == len(set(ticks))
    jobs = await con.fetch("select job_id, labels::text from headrace.job where labels ? 'headrace.schedule'")
    assert sorted(row["job_id"] for row in jobs) == sorted(row["job_id"] for row in fires if row["job_id"])
    nominal = {row["job_id"]: row["nominal_at"] for row in fires}
    for row in jobs:
        assert datetime.fromisoformat(json.loads(row["labels"])["headrace.nominal_at"]) == nominal[row["job_id"]]
    return fires


async def fired(con: "asyncpg.Connection[Any]", count: int) -> None:
    """Waits until so many jobs were made by ticks."""

    async def enough() -> bool:
        return bool(await con.fetchval("select count(*) >= $1 from headrace.schedule_fire where outcome = 'fired'", count))

    await until(enough, what=f"{count} ticks")


async def test_a_schedule_ticks_and_its_jobs_run(client: Client, admin: AdminClient, agent: Process, con: "asyncpg.Connection[Any]") -> None:
    spec = ScheduleSpec("echo", interval_s=1, data={"n": 1}, instance_id="case-1", priority=3, labels={"team": "a"})
    stored, changed = await admin.put_schedule("every-second", spec, reason="try")
    assert changed and stored.next_at is not None and stored.next_at.microsecond == 0
    assert not (await admin.put_schedule("every-second", spec))[1], "the same again changes nothing"
    await fired(con, 3)
    shown = await admin.get_schedule("every-second")
    assert shown.fired >= 3 and len(shown.next) == 5 and shown.fires[0].outcome == "fired" and shown.last_job_id is not None
    job = await client.wait(shown.fires[0].job_id or 0)
    assert (job.state, job.type, job.instance_id, job.priority) == (State.COMPLETED, "echo", "case-1", 3)
    assert job.labels == {"team": "a", "headrace.schedule": "every-second", "headrace.nominal_at": shown.fires[0].nominal_at.isoformat().replace("+00:00", "Z")}
    fires = await jobs_are_the_fires(con)
    gaps = {(b["nominal_at"] - a["nominal_at"]).total_seconds() for a, b in pairwise(fires)}
    assert gaps == {1.0}
    rows = await con.fetch("select action, actor, reason from headrace.audit where action like 'schedule%'")
    assert [(row["action"], row["actor"], row["reason"]) for row in rows] == [("schedule.put", "tester", "try")]


async def test_pause_resume_run_and_delete(admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    await admin.put_schedule("s", ScheduleSpec("t", interval_s=1))
    await fired(con, 1)
    paused = await admin.pause_schedule("s", reason="the shop is closed")
    assert paused.paused and (paused.paused_by, paused.paused_reason, paused.next_at) == ("tester", "the shop is closed", None)
    before = await con.fetchval("select count(*) from headrace.schedule_fire")
    first, again = await asyncio.gather(admin.run_schedule("s", request_id="r1", reason="now"), admin.run_schedule("s", request_id="r1"))
    other = await admin.run_schedule("s")
    assert first == again != other, "the same request makes one job"
    await admin.put_schedule("beat", ScheduleSpec("t", interval_s=1))
    await fired(con, before + 2)  # two ticks of that one pass, and so at least one of the schedule that is paused
    assert await con.fetchval("select count(*) from headrace.schedule_fire join headrace.schedule s using (schedule_id) where s.name = 's'") == before + 2
    await admin.delete_schedule("beat")
    resumed = await admin.resume_schedule("s")
    assert resumed.next_at is not None and resumed.next_at > datetime.now(UTC) - timedelta(seconds=1)
    await fired(con, before + 1)
    last = max(row["nominal_at"] for row in await con.fetch(FIRES) if not row["request_id"])
    await admin.delete_schedule("s", reason="over")
    for call in (admin.get_schedule("s"), admin.pause_schedule("s"), admin.run_schedule("s"), admin.delete_schedule("s")):
        with pytest.raises(NotFound):
            await call
    assert await admin.list_schedules() == []
    anew, _ = await admin.put_schedule("s", ScheduleSpec("t", interval_s=1))
    assert anew.next_at is not None and anew.next_at > last and not anew.paused and anew.fired == 0
    await fired(con, 4)
    await jobs_are_the_fires(con)
    actions = [row["action"] for row in await con.fetch("select action from headrace.audit where action like 'schedule%' and target = 'schedule/s' order by audit_id")]
    assert [a for a in actions if a != "schedule.run"] == ["schedule.put", "schedule.pause", "schedule.resume", "schedule.delete", "schedule.put"]


async def test_ticks_come_although_a_depth_limit_is_reached(client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    await admin.set_type("t", depth_limit=1)
    await client.submit("t")
    await admin.put_schedule("s", ScheduleSpec("t", interval_s=1))
    await fired(con, 2)
    assert (await client.count(["t"])).totals[State.WAITING] >= 2


async def test_the_overlap_policies(client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    for overlap in ("allow", "skip", "queue", "abort"):
        await admin.put_schedule(overlap, ScheduleSpec("nobody-serves-it", interval_s=1, overlap=overlap))

    async def told(name: str) -> tuple[int, int]:
        found = await admin.get_schedule(name)
        return found.fired, found.skipped

    async def enough() -> bool:
        return (await told("allow"))[0] >= 4 and (await told("skip"))[1] >= 3 and (await told("queue"))[1] >= 2 and (await told("abort"))[0] >= 4

    await until(enough)
    assert (await told("allow"))[1] == 0 and (await told("skip"))[0] == 1 and (await told("queue"))[0] == 1
    queue = await admin.pause_schedule("queue")
    assert queue.queued_at is not None and queue.last_job_id is not None
    await admin.resume_schedule("queue")
    await client.abort([queue.last_job_id])

    async def released() -> bool:
        return (await told("queue"))[0] >= 2

    await until(released, what="the tick that waited")
    assert (
        await con.fetchval(
            "select count(*) from headrace.schedule_fire f join headrace.schedule s using (schedule_id) where name = 'queue' and nominal_at = $1", queue.queued_at
        )
        == 1
    )

    async def aborted() -> bool:
        found = await admin.get_schedule("abort")
        ids = [fire.job_id for fire in found.fires[1:] if fire.job_id]
        return all([(await client.get(job_id)).state is State.ABORTED for job_id in ids])

    await until(aborted, what="the jobs before the newest")
    for overlap in ("allow", "skip", "queue", "abort"):
        await admin.delete_schedule(overlap)


async def test_ticks_of_a_downtime(database: str, directory: Path, con: "asyncpg.Connection[Any]") -> None:
    first = await start_broker(directory, database=database)
    async with AdminClient(first.address) as admin:
        for missed in ("skip", "once", "all"):
            await admin.put_schedule(missed, ScheduleSpec("t", cron="* * * * *", missed=missed, max_missed=4))
        await admin.put_schedule("yearly", ScheduleSpec("t", cron="0 0 1 1 *", missed="skip"))
    await first.kill()
    await con.execute(BACK, timedelta(minutes=20))
    await con.execute("update headrace.schedule set next_at = date_trunc('year', now()) where name = 'yearly'")
    second = await start_broker(directory, database=database)
    try:

        async def caught_up() -> bool:
            return not await con.fetchval("select exists (select from headrace.schedule where next_at <= now())")

        await until(caught_up)
        found = {row["name"]: (row["fired"], row["skipped"]) for row in await con.fetch("select name, fired, skipped from headrace.schedule")}
        assert found["yearly"] == (0, 1)
        assert found["once"][0] in (1, 2) and found["all"][0] in (4, 5), "one more when a minute began meanwhile"
        assert sum(found["skip"]) in (1, 2), "the newest is less than a minute old"
    finally:
        await second.kill()


async def test_ten_thousand_at_once_fire_once_each(client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]", broker: BrokerProcess) -> None:
    await admin.put_schedule("first", ScheduleSpec("t", at=FUTURE))
    await con.execute(
        """insert into headrace.schedule (domain_id, name, at, type_id, payload, content_type, instance_id, priority, labels, overlap, missed, max_missed,
            jitter_s, next_at)
        select domain_id, 'n' || n, now(), type_id, '1', '', '', 0, '{}', 'allow', 'once', 1, 0, now() from headrace.schedule, generate_series(1, 10000) n"""
    )
    await fired(con, 10_000)  # rows that others write are found within some seconds
    assert await con.fetchval("select count(distinct schedule_id) from headrace.schedule_fire where outcome = 'fired'") == 10_000
    counts = {c.name: c.counts for c in await admin.list_types()}
    assert counts["t"][State.WAITING] == 10_000


@pytest.mark.parametrize("fate", [Fate.CUT_BEFORE, Fate.CUT_LATE, Fate.CUT_AFTER, Fate.CUT_INSIDE])
async def test_a_flush_of_ticks_that_is_cut_off_happens_once(database: str, directory: Path, stack: AsyncExitStack, con: "asyncpg.Connection[Any]", fate: Fate) -> None:
    cut = 0

    def decide(request: Request) -> Fate:
        nonlocal cut
        if request.application == "headrace flush" and FIRE in request.statement and cut < 3:
            cut += 1
            return fate
        return Fate.PASS

    proxy = await stack.enter_async_context(PgProxy(database))
    broker = await start_broker(directory, database=proxy.dsn)
    stack.push_async_callback(broker.kill)
    admin = await stack.enter_async_context(AdminClient(broker.address))
    proxy.fate = decide
    await admin.put_schedule("s", ScheduleSpec("t", interval_s=1))
    await fired(con, 6)
    assert cut == 3
    await admin.delete_schedule("s")
    fires = await jobs_are_the_fires(con)
    [found] = await admin.list_types()
    assert found.counts[State.WAITING] == len(fires), "the broker knows of every job that was stored"


@pytest.mark.parametrize("fate", [Fate.STALL, Fate.STALL_ANSWER])
async def test_a_broker_that_dies_with_a_tick_on_its_way_is_followed_by_another(
    database: str, directory: Path, stack: AsyncExitStack, con: "asyncpg.Connection[Any]", fate: Fate
) -> None:
    held = asyncio.Event()

    def decide(request: Request) -> Fate:
        if request.application == "headrace flush" and FIRE in request.statement and not held.is_set():
            held.set()
            return fate
        return Fate.PASS

    proxy = await stack.enter_async_context(PgProxy(database))
    first = await start_broker(directory, database=proxy.dsn, name="first")
    stack.push_async_callback(first.kill)
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    admin = await stack.enter_async_context(AdminClient(f"{first.address},{second.address}"))
    proxy.fate = decide
    await admin.put_schedule("s", ScheduleSpec("t", interval_s=1))
    async with asyncio.timeout(20):
        await held.wait()  # before it is stored, or before its answer is told
    await first.kill()
    before = await con.fetchval("select count(*) from headrace.schedule_fire")
    await fired(con, before + 3)
    await jobs_are_the_fires(con)
    shown = await admin.get_schedule("s")
    assert shown.fired >= before + 3


async def test_whichever_of_three_brokers_dies_each_tick_has_one_job_and_none_is_left_out(
    database: str, directory: Path, stack: AsyncExitStack, con: "asyncpg.Connection[Any]"
) -> None:
    brokers = await asyncio.gather(*[start_broker(directory, database=database, name=f"broker{number}") for number in range(3)])
    for broker in brokers:
        stack.push_async_callback(broker.kill)
    admin = await stack.enter_async_context(AdminClient(",".join(broker.address for broker in brokers), timeout_s=30))
    for number in range(4):
        await admin.put_schedule(f"s{number}", ScheduleSpec("t", interval_s=1, missed="all", max_missed=100))
    seen = 0
    for _ in range(2):
        await fired(con, seen + 8)
        [owner] = [broker for broker in brokers if f" pid {broker.pid} " in await con.fetchval(OWNER)]
        await owner.kill()
        seen = await con.fetchval("select count(*) from headrace.schedule_fire")
    await fired(con, seen + 8)
    by_schedule: dict[int, dict[datetime, int]] = {}
    for row in await con.fetch("select schedule_id, nominal_at, outcome, job_id from headrace.schedule_fire"):
        assert row["outcome"] == "fired"
        by_schedule.setdefault(row["schedule_id"], {})[row["nominal_at"]] = row["job_id"]
    assert len(by_schedule) == 4
    for ticks in by_schedule.values():
        assert {later - earlier for earlier, later in pairwise(sorted(ticks))} == {timedelta(seconds=1)}
    same = "select array(select job_id from headrace.job order by job_id) = array(select job_id from headrace.schedule_fire order by job_id)"
    assert await con.fetchval(same), "each tick has a job of its own, and no job is of no tick"


async def test_what_makes_no_sense_is_refused_by_field(admin: AdminClient) -> None:
    for spec, field in (
        (ScheduleSpec("t", cron="every day"), "spec.cron"),
        (ScheduleSpec("t", cron=YEARLY, time_zone="Mars/Olympus"), "spec.time_zone"),
        (ScheduleSpec("t", interval_s=0.5), "spec.interval"),
        (ScheduleSpec("t", interval_s=5, jitter_s=5), "spec.jitter"),
        (ScheduleSpec("t", cron=YEARLY, max_missed=101), "spec.max_missed"),
        (ScheduleSpec("t", cron=YEARLY, labels={"headrace.schedule": "x"}), "spec.labels"),
        (ScheduleSpec("no type", cron=YEARLY), "spec.type"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            await admin.put_schedule("s", spec)
        assert refused.value.field == field, spec
    with pytest.raises(InvalidRequest):
        await admin.put_schedule("s", ScheduleSpec("t"))
    assert await admin.list_schedules() == []


async def test_the_command_line(broker: BrokerProcess, tmp_path: Path) -> None:
    def run(*words: str, expected: int = 0) -> str:
        done = run_command("headrace", "schedules", *words, environment={"HEADRACE_BROKER": broker.address})
        assert done.returncode == expected, done.stderr
        return done.stdout

    run("put", "nightly", "--type", "report", "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--data", '{"day": 1}', "--overlap", "skip")
    (tmp_path / "s.json").write_text(json.dumps([{"name": "hourly", "type": "t", "interval_s": 3600}, {"name": "once", "type": "t", "at": "2090-01-01T00:00:00Z"}]))
    run("put", "-f", str(tmp_path / "s.json"))
    assert [item["name"] for item in json.loads(run("list", "-o", "json"))] == ["hourly", "nightly", "once"]
    shown = json.loads(run("show", "nightly", "-o", "json"))
    assert (shown["cron"], shown["time_zone"], shown["data"], shown["overlap"], len(shown["next"])) == ("30 2 * * *", "Europe/Berlin", {"day": 1}, "skip", 5)
    assert len(run("next", "hourly", "-n", "7").splitlines()) == 7
    run("pause", "nightly", "--reason", "holidays")
    assert json.loads(run("show", "nightly", "-o", "json"))["paused_reason"] == "holidays"
    run("resume", "nightly")
    assert int(run("run", "nightly")) > 0
    run("delete", "once")
    run("show", "once", expected=3)
    run("put", "x", "--type", "t", "--cron", "bad", expected=4)
    run("put", expected=2)
    assert "hourly" in run("list")
