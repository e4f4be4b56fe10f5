"""The trend by agent: added up in the database within a bound, and what the bound leaves out is said."""

import asyncio
import json
from typing import Any

import pytest
from headrace_broker.actions import statistics
from headrace_broker.actions.forecast import look_ahead
from headrace_broker.actions.statistics import Trend
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import InvalidField
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.session import Served
from headrace_broker.store.statistics import DAY, HOUR, MINUTE, Statistics

from tests.fire.steps import begin, end, granted, settings
from tests.property.machine import TESTER, Machine
from tests.support.crews import grants, join, submit

AGENTS = 4


async def _fill(machine: Machine, minutes: int) -> int:
    """Each agent completes two jobs of each of two types in every minute, in 1 s each; returns the first minute, which begins a day."""
    first = int(machine.owner.clock.now_s() // 60) // DAY * DAY
    other = await machine.types.ensure("default", "other")
    for number in range(AGENTS):
        await machine.settings.agent("default", "twin" if number < 2 else f"agent {number}", f"incarnation-000{number}", "host", 1, "", "", {})
    await machine.pool.execute(
        """insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
        select 1, $1 + m, t, a.agent_id, 1, '{"completed": 2}', '{}', $2, 0, 2.0, 0, 0
        from generate_series(0, $3::int - 1) m, unnest($4::int[]) t, (select agent_id from headrace.agent where host = 'host') a""",
        first, json.dumps({"40": 2}), minutes, [machine.type.type_id, other.type_id],
    )  # fmt: skip
    return first


async def test_agents_are_added_up_by_name_and_what_is_too_much_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, first = Statistics(machine.pool), await _fill(machine, 90)

    async def ask(minutes: int, *, step: int = 0, partly: bool = False) -> Trend:
        return await statistics.trend(store, machine.owner, "default", from_minute=first, to_minute=first + minutes, step=step, by="agent", partly=partly)

    found = await ask(90)
    assert (found.step, found.since) == (1, None)
    assert {series.name: (series.total().numbers["completed"], series.total().run, series.total().run_s) for series in found.series} == {
        "twin": (720, {40: 720}, 720.0), "agent 2": (360, {40: 360}, 360.0), "agent 3": (360, {40: 360}, 360.0),
    }  # fmt: skip
    assert [point.numbers["completed"] for point in found.series[-1].points[:2]] == [8, 8]
    assert [point.numbers["completed"] for point in (await ask(90, step=15)).series[0].points] == [60] * 6
    await store.roll(MINUTE, HOUR, first)
    monkeypatch.setattr(statistics, "MOST_SUMMED", 300)  # 90 minutes have 720 rows; the half hour that is not added up into an hour has 240
    found = await ask(90)
    assert (found.step, found.since) == (HOUR, None), "points are longer instead"
    assert sum(series.total().numbers["completed"] for series in found.series) == 1440
    monkeypatch.setattr(statistics, "MOST_SUMMED", 100)
    with pytest.raises(InvalidField, match="more than 100 rows"):
        await ask(90)
    found = await ask(90, partly=True)
    assert found.since is not None and first + 75 < found.since < first + 80, "the newest part alone"
    assert sum(series.total().numbers["completed"] for series in found.series) == (first + 90 - found.since) * 16
    monkeypatch.setattr(statistics, "MOST_SUMMED", 3)
    assert (await ask(90, partly=True)).series == [], "not even one minute"
    monkeypatch.setattr(statistics, "MOST_SUMMED", 10_000)
    monkeypatch.setattr(statistics, "MOST_SUMS", 30)
    found = await ask(90, step=1, partly=True)
    assert found.since == first + 80 and sum(series.total().numbers["completed"] for series in found.series) == 160


async def _add(machine: Machine, span: int, first: int, last: int, numbers: dict[str, int]) -> None:
    """Rows of the type, one for each span from one minute on, before another; each with an attempt of a second for each that completed."""
    await machine.pool.execute(
        """insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
        select $1, at, $2, 0, 0, $5::jsonb, jsonb_build_object('4', $6::int), '{}', 0, $6::int, 2, 3 from generate_series($3::int, $4::int - 1, $1::int) at""",
        span, machine.type.type_id, first, last, json.dumps(numbers), numbers["completed"],
    )  # fmt: skip


async def test_a_week_before_is_told_by_what_is_kept_of_it(machine: Machine) -> None:
    """Minutes are kept for three days alone: hours tell what happened then, and days where the hours are gone too."""
    store, minute = Statistics(machine.pool), int(machine.owner.clock.now_s() // 60)
    week, hour = minute - 7 * DAY, minute // HOUR * HOUR
    await _add(machine, HOUR, (week - 2 * DAY) // HOUR * HOUR, week // HOUR * HOUR + 2 * HOUR, {"completed": 90, "failed": 7})
    await _add(machine, MINUTE, minute - 90, minute, {"completed": 2})

    async def ask(first: int, last: int, step: int = 0) -> Trend:
        return await statistics.trend(store, machine.owner, "default", from_minute=first, to_minute=last, step=step)

    found = await ask(minute - 90, minute)
    assert (found.step, found.series[0].total().numbers["completed"]) == (MINUTE, 180)
    [before] = found.before
    assert [point.at for point in before.points] == list(range(week - 90, week))
    whole = before.total()
    assert whole.numbers["completed"] == whole.wait[4] == pytest.approx(135, abs=2) and whole.run_s == pytest.approx(135), "90 minutes of 90 an hour"
    assert 9 <= whole.numbers["failed"] <= 12 and whole.waiting == 3 and whole.utilisation == pytest.approx(135 / (2 * 90 * 60))
    day = (await ask(minute - DAY, minute)).before[0]
    assert len(day.points) in (96, 97) and day.total().numbers["completed"] == pytest.approx(24 * 90, abs=45)
    exact = (await ask(hour - 3 * HOUR, hour, step=15)).before[0]
    assert (exact.total().numbers["completed"], exact.total().numbers["failed"]) == (270, 21), "of whole hours nothing is lost in their parts"
    old = (minute - 60 * DAY) // DAY * DAY
    await _add(machine, DAY, old - 7 * DAY, old - 6 * DAY, {"completed": 2400})
    [before] = (await ask(old, old + DAY, step=HOUR)).before
    assert [point.numbers["completed"] for point in before.points] == [100] * 24


async def test_points_of_a_period_are_as_long_as_what_is_kept_of_it(machine: Machine) -> None:
    store, minute = Statistics(machine.pool), int(machine.owner.clock.now_s() // 60)
    hour = minute // HOUR * HOUR - 6 * DAY
    await _add(machine, HOUR, hour, hour + 2 * HOUR, {"completed": 60})
    day = (minute - 100 * DAY) // DAY * DAY
    await _add(machine, DAY, day, day + DAY, {"completed": 1440})

    async def ask(first: int, last: int, step: int = 0) -> Trend:
        return await statistics.trend(store, machine.owner, "default", from_minute=first, to_minute=last, step=step)

    for first, length, step, completed in ((hour, 2 * HOUR, HOUR, 120), (day + 60, HOUR, DAY, 1440), (minute - 3 * DAY, HOUR, MINUTE, 0)):
        found = await ask(first, first + length)
        assert (found.step, found.series[0].total().numbers["completed"]) == (step, completed)
    for first, step in ((hour, 15), (day, HOUR)):
        with pytest.raises(InvalidField, match="not kept for so long"):
            await ask(first, first + HOUR, step=step)


async def test_points_are_longer_where_too_many_rows_tell_of_short_ones(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    store, minute = Statistics(machine.pool), int(machine.owner.clock.now_s() // 60)
    first = minute // HOUR * HOUR - 4 * HOUR
    await _add(machine, MINUTE, first, first + 4 * HOUR, {"completed": 1})
    for at in range(first, first + 4 * HOUR, HOUR):
        await store.roll(MINUTE, HOUR, at)
    monkeypatch.setattr(statistics, "MOST_ROWS", 100)
    for by in ("", "type"):
        found = await statistics.trend(store, machine.owner, "default", from_minute=first, to_minute=first + 4 * HOUR, by=by)
        assert (found.step, [point.numbers["completed"] for point in found.series[0].points]) == (HOUR, [60] * 4)
    with pytest.raises(InvalidField, match="more than 100 rows"):
        await statistics.trend(store, machine.owner, "default", from_minute=first, to_minute=first + 4 * HOUR, step=MINUTE)


async def test_the_last_hour_is_one_hour_whatever_time_it_is(machine: Machine) -> None:
    store, minute = Statistics(machine.pool), int(machine.owner.clock.now_s() // 60)
    await _add(machine, MINUTE, minute - 150, minute + 5, {"completed": 2})  # however long this takes
    found = await statistics.lately(store, machine.owner, "default", 60)
    assert {name: (point.numbers["completed"], point.waiting) for name, point in found.items()} == {"work": (120, 3)}
    assert await statistics.lately(store, machine.owner, "elsewhere", 60) == {}


async def test_slots_that_attempts_hold_for_longer_than_the_window_count_as_used(machine: Machine) -> None:
    store, owner = Statistics(machine.pool), machine.owner
    await granted(machine, 3)
    assert machine.session is not None
    machine.session.slots = 4
    types = {"work": machine.type, "other": await machine.types.ensure("default", "other")}
    machine.session.served[types["other"].type_id] = Served(types["other"], 2, "")

    async def used(name: str, minutes: int = 15) -> tuple[float | None, int, float | None]:
        found = await look_ahead(store, owner, "default", types=[name], minutes=minutes)
        [row] = await statistics.capacity(store, owner, "default", types=[name], minutes=minutes)
        return row.utilisation, found.present.demand.held, found.present.utilisation

    assert await used("work") == (None, 0, None), "they have just begun"
    machine.now += 16 * 60
    assert await used("work") == (0.75, 3, 0.75)
    assert await used("work", minutes=17) == (None, 0, None), "not for longer than that"
    assert await used("other") == (None, 1, 0.5), "of its two slots one is left to it"
    assert (await look_ahead(store, owner, "default")).present.utilisation == 0.75
    at = int(owner.clock.now_s() // 60)
    await machine.pool.execute(  # beside them short ones: 180 in 15 minutes, of 1 s each
        """insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)
        select 1, $1 - m, $2, 0, 1, '{"submitted": 12, "completed": 12}', '{}', '{}', 0, 12.0, 4, 0 from generate_series(1, 15) m""",
        at, machine.type.type_id,
    )  # fmt: skip
    capacity, held, ahead = await used("work")
    assert held == 3 and capacity == pytest.approx(0.8) and ahead == pytest.approx(0.8), "12 s of a minute of the fourth slot"
    for live in machine.session.leases.values():
        live.granted_at = 0.0  # granted by an owner before this one
    owner.taken_over_at = machine.now - 60.0
    assert (await used("work"))[1] == 0, "since the takeover, as far as is known"
    owner.taken_over_at = machine.now - 3600.0
    assert (await used("work"))[1] == 3


@pytest.mark.parametrize("terms", [{}, {"fairness_key": "x"}])
async def test_delayed_jobs_that_do_not_start_are_not_remembered_for_ever(machine: Machine, terms: dict[str, Any]) -> None:
    """Beyond a number of them no wait is counted any more."""
    due, start_s = machine.owner.tally.due, machine.owner.clock.now_s() + 50
    aborted, late, changed, started = await submit(machine, 4, start_s=start_s, **terms)
    assert (await end(machine, await begin(machine, Verb.ABORT, aborted))).error is None
    machine.now += 60
    await machine.flush()
    assert due.keys() == {late, changed, started}
    update = changes.request(machine.owner, machine.heads, Verb.UPDATE, [changed], caller=TESTER, reason="", update=Update(priority=-2))
    await machine.until_done(asyncio.ensure_future(update))
    await settings(machine, start_within_s=1.0)
    assert (await end(machine, await begin(machine, Verb.EXPIRE, late))).error is None
    assert due.keys() == {started}
    [taken] = await grants(machine, await join(machine))
    assert set(taken) == {started, changed} and not due
