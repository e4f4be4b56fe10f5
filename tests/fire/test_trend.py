"""The trend by agent: added up in the database within a bound, and what the bound leaves out is said."""

import json

import pytest
from headrace_broker.actions import statistics
from headrace_broker.actions.statistics import Trend
from headrace_broker.model.errors import InvalidField
from headrace_broker.store.statistics import DAY, HOUR, MINUTE, Statistics

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
