"""The trend by agent: added up in the database within a bound, and what the bound leaves out is said."""

import json

import pytest
from headrace_broker.actions import statistics
from headrace_broker.actions.forecast import look_ahead
from headrace_broker.actions.statistics import Trend
from headrace_broker.model.errors import InvalidField
from headrace_broker.shards.session import Served
from headrace_broker.store.statistics import DAY, HOUR, MINUTE, Statistics

from tests.fire.steps import granted
from tests.property.machine import Machine

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
