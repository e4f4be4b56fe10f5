"""Figures by job type, from the memory of an owner that is driven step by step."""

import pytest
from headrace_broker.model.job import Kind
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.shards.type_figures import OTHER, TypeFigures, type_figures
from headrace_broker.store.batch import FullBody

from tests.fire.steps import begin, end, granted
from tests.property.machine import Machine


def _of(machine: Machine, name: str = "work", most: int = 100) -> TypeFigures:
    [found] = [figures for figures in type_figures([machine.owner], most) if figures.type == name]
    return found


async def test_the_figures_are_those_of_the_jobs(machine: Machine) -> None:
    first, second = await granted(machine, 2)
    await machine.submit(3)
    machine.owner.end([Ending(first, 1, Kind.COMPLETED, machine), Ending(second, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    found = _of(machine)
    assert (found.domain, found.waiting, found.processing) == ("default", 3, 0)
    wanted = {"submitted": 5, "granted": 2, "completed": 1, "failed": 1, "error": 1}
    assert {name: found.counted.numbers[name] for name in wanted} == wanted and sum(found.counted.run.values()) == 2


@pytest.mark.parametrize("terms", [False, True])
async def test_the_oldest_ready_job_is_the_first_that_was_not_aborted(machine: Machine, terms: bool) -> None:
    body = FullBody(b"{}", more='{"limit_key": "a"}') if terms else b"{}"
    ids = []
    for _ in range(3):
        done = machine.owner.submit([(machine.type, 0, 0.0, body)], 2)
        await machine.flush()
        ids += done.result()
        machine.now += 50.0
    done = machine.owner.submit([(machine.type, 0, machine.owner.clock.now_s() + 900.0, body)], 2)  # is not ready
    await machine.flush()
    assert _of(machine).oldest_s == pytest.approx(150.0, abs=1.0)
    assert (await end(machine, await begin(machine, Verb.ABORT, ids[0]))).error is None
    assert _of(machine).oldest_s == pytest.approx(100.0, abs=1.0)
    for job_id in ids[1:]:
        assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    assert _of(machine).oldest_s == 0.0 and _of(machine).waiting == 1


async def test_types_beyond_the_first_are_told_together(machine: Machine) -> None:
    await machine.submit(2)
    other = await machine.types.ensure("default", "later")
    machine.owner.submit([(other, 0, 0.0, b"{}")], 2)
    await machine.flush()
    assert [(figures.type, figures.waiting) for figures in type_figures([machine.owner], 2)] == [("work", 2), ("later", 1)]
    assert [(figures.type, figures.waiting) for figures in type_figures([machine.owner], 1)] == [("work", 2), (OTHER, 1)]
    [whole] = type_figures([machine.owner], 0)
    assert (whole.domain, whole.type, whole.waiting, whole.counted.numbers["submitted"]) == (OTHER, OTHER, 3, 3)
