"""The errors of a type by fingerprint: of jobs that are in error now, within a bound that is told."""

import json

import pytest
from headrace_broker.actions.error_groups import error_groups
from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.store.search import Finder
from headrace_broker.store.statements import sql

from tests.fire.steps import begin, end, granted
from tests.property.machine import Machine


async def _fail(machine: Machine, fingerprint: str, count: int) -> list[int]:
    """So many jobs that end in error."""
    ids = await granted(machine, count)
    error = json.dumps({"code": "Boom", "message": f"it broke {fingerprint}", "fingerprint": fingerprint}) if fingerprint else "{}"
    machine.owner.end([Ending(job_id, machine.jobs[job_id].seq, Kind.FAILED, None, None, error, True) for job_id in ids])
    await machine.flush()
    for job_id in ids:
        machine._end(machine.jobs[job_id], Kind.FAILED, permanent=True)
    return ids


async def test_jobs_in_error_are_grouped_and_those_that_have_moved_on_are_not(machine: Machine) -> None:
    first, second, other = await _fail(machine, "a", 3), await _fail(machine, "b", 2), await _fail(machine, "", 1)
    finder = Finder(machine.pool)
    found = await error_groups(machine.owner, finder, machine.type)
    assert [(group.fingerprint, group.jobs, group.newest_id) for group in found.groups] == [("a", 3, first[-1]), ("b", 2, second[-1]), ("", 1, other[-1])]
    assert (found.groups[0].code, found.groups[0].message, found.all_groups, found.looked_at, found.whole) == ("Boom", "it broke a", 3, 6, True)
    assert found.groups[0].first_at is not None and found.groups[0].newest_at is not None and found.groups[0].first_at <= found.groups[0].newest_at
    assert (await end(machine, await begin(machine, Verb.REQUEUE, first[-1]))).state is State.WAITING
    assert (await end(machine, await begin(machine, Verb.PURGE, second[0]))).error is None
    found = await error_groups(machine.owner, finder, machine.type)
    assert [(group.fingerprint, group.jobs) for group in found.groups] == [("a", 2), ("", 1), ("b", 1)]
    rows = await machine.pool.fetch(sql("error_groups"), machine.type.type_id, 2, 0.0, 1)  # the newest two alone, and of them the largest group
    assert [(row["fingerprint"], row["jobs"], row["groups"], row["looked"]) for row in rows] == [("", 1, 2, 2)]


async def test_what_takes_too_long_is_tried_with_fewer_jobs(machine: Machine) -> None:
    asked = []

    class Slow(Finder):
        async def _fetch(self, timeout_s: float, statement: str, *arguments: object) -> list[object]:
            asked.append(arguments[1])
            raise TimeoutError

    with pytest.raises(DatabaseUnavailable):
        await error_groups(machine.owner, Slow(machine.pool), machine.type)
    assert asked == [5000, 500]
