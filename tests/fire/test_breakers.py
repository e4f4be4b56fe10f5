"""A type whose jobs fail too often is held back, and canaries decide when it goes on. The owner is driven step by step on a real ledger."""

from typing import Any

import pytest
from headrace_broker.model.breaker import Phase
from headrace_broker.model.errors import NotOwner, ResultUnknown
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.breakers import Guard
from headrace_broker.shards.intents import Completions, Ending, Verb
from headrace_broker.store.breakers import BreakerStore
from headrace_broker.store.pool import open_pool

from tests.fire.steps import begin, end
from tests.property.machine import LEASE_S, TESTER, Machine
from tests.support.crews import Reporter, grants, join, submit
from tests.support.pg_proxy import Fate, PgProxy

RULE: dict[str, Any] = {
    "max_attempts": 100, "breaker_share": 0.5, "breaker_minimum": 4, "breaker_window_s": 60.0, "breaker_open_s": 20.0, "breaker_open_max_s": 70.0,
}  # fmt: skip


async def settings(machine: Machine, **values: Any) -> None:
    """A person's settings of the type."""
    await machine.types.override(machine.type, values, [], caller=TESTER)
    machine.owner.breakers.review()


async def report(machine: Machine, kind: Kind, *job_ids: int) -> None:
    """Their agents report how they ended, and that is durable."""
    for job_id in job_ids:
        live = machine.owner.live_jobs[job_id]
        machine.owner.end([Ending(job_id, live.seq, kind, Reporter(machine, live.agent_id or 0), None, "{}")])
    await machine.flush()


async def one_pass(machine: Machine, *, after_s: float = 0.0) -> None:
    """What the side task does, when so much time has passed while heartbeats went on."""
    for session in machine.owner.sessions():
        session.renewed_at = session.last_heard = machine.now + after_s
    machine.now += after_s
    await machine.owner.breakers.run_once(BreakerStore(machine.pool))


def guard(machine: Machine) -> Guard:
    """The breaker of the type at the owner."""
    assert machine.type.breaker is not None
    return machine.type.breaker


async def rows(machine: Machine) -> list[tuple[Any, ...]]:
    """(phase, step, ended, failed) of what is stored."""
    return [tuple(row) for row in await machine.pool.fetch("select phase, step, ended, failed from headrace.breaker")]


async def opened(machine: Machine, **values: Any) -> list[int]:
    """It is open since now, by four failures of four; one job has run since before, and ten wait. The first is the one that runs."""
    await settings(machine, **RULE, **values)
    old = await submit(machine, 5)
    agent = await join(machine)
    [granted] = await grants(machine, agent, room=5)
    assert sorted(granted) == sorted(old)
    waiting = await submit(machine, 6)
    await report(machine, Kind.FAILED, *granted[1:])
    await one_pass(machine)
    return [granted[0], *granted[1:], *waiting]


async def test_it_opens_at_its_share_among_enough_attempts_and_grants_nothing_more(machine: Machine) -> None:
    await settings(machine, **RULE)
    agent = await join(machine)
    ids = await submit(machine, 12)
    [running] = await grants(machine, agent, room=6)
    await report(machine, Kind.FAILED, *running[:2])
    await report(machine, Kind.COMPLETED, running[2])
    assert not guard(machine).holds, "three are too few to say"
    assert guard(machine).machine.totals(machine.now) == (3, 2)
    live = machine.owner.live_jobs[running[3]]
    machine.owner.end([Completions([running[3]], [live.seq], None, Reporter(machine, live.agent_id or 0))])
    await machine.flush()
    assert guard(machine).machine.phase is Phase.OPEN, "two of four is the share"
    assert await grants(machine, agent) == [[]]
    ids += await submit(machine, 2)
    assert await grants(machine, agent) == [[]], "submits are taken, and wait"
    assert machine.owner.live_jobs[running[4]].state is State.PROCESSING, "what runs goes on"
    await report(machine, Kind.COMPLETED, *running[4:])
    assert guard(machine).machine.phase is Phase.OPEN
    await one_pass(machine)
    assert await rows(machine) == [("open", 1, 4, 2)]
    assert machine.owner.breakers.openings[machine.type.type_id] == 1


async def test_one_that_fails_less_stays_closed_and_old_failures_are_forgotten(machine: Machine) -> None:
    await settings(machine, **RULE)
    agent = await join(machine)
    await submit(machine, 12)
    [running] = await grants(machine, agent, room=8)
    await report(machine, Kind.COMPLETED, *running[:4])
    await report(machine, Kind.FAILED, *running[4:7])
    assert not guard(machine).holds
    await one_pass(machine, after_s=61.0)
    await report(machine, Kind.FAILED, running[7])
    assert guard(machine).machine.totals(machine.now) == (1, 1) and not guard(machine).holds
    await one_pass(machine)
    assert await rows(machine) == []


async def test_aborts_losses_and_releases_are_no_failures(machine: Machine) -> None:
    await settings(machine, **RULE)
    one, two = await join(machine, "one"), await join(machine, "two")
    await submit(machine, 12)
    mine, theirs = await grants(machine, one, two, room=6)
    await report(machine, Kind.RELEASED, *mine[:2])
    for job_id in mine[2:4]:
        await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))
    await report(machine, Kind.ABORTED, mine[4])
    two.detach(machine.now)
    machine.now += 3
    await machine.flush()
    assert all(machine.owner.live_jobs[job_id].kind is Kind.LOST for job_id in theirs)
    assert guard(machine).machine.totals(machine.now) == (0, 0)
    await report(machine, Kind.TIMED_OUT, mine[5])
    assert guard(machine).machine.totals(machine.now) == (1, 1), "a handler that is not done in its time has failed"


async def test_a_canary_that_completes_closes_it_and_the_others_follow(machine: Machine) -> None:
    old, *_ = await opened(machine)
    one, two = next(iter(machine.owner.sessions())), await join(machine, "two")
    await one_pass(machine, after_s=19.9)
    assert await grants(machine, one, two) == [[], []]
    await one_pass(machine, after_s=0.2)
    assert await rows(machine) == [("half_open", 1, 4, 4)]
    canaries = [job_id for jobs in await grants(machine, one, two) for job_id in jobs]
    assert len(canaries) == 1 and await grants(machine, one, two) == [[], []]
    await report(machine, Kind.FAILED, old)
    assert guard(machine).machine.phase is Phase.HALF_OPEN, "it began before, and says nothing"
    await report(machine, Kind.COMPLETED, *canaries)
    assert not guard(machine).holds and guard(machine).machine.totals(machine.now) == (0, 0)
    assert sum(map(len, await grants(machine, one, two))) == 10
    await one_pass(machine)
    assert await rows(machine) == []


async def test_each_canary_that_fails_keeps_it_open_twice_as_long_up_to_a_limit(machine: Machine) -> None:
    await opened(machine)
    [agent] = machine.owner.sessions()
    for step, wait_s in ((1, 20.0), (2, 40.0), (3, 70.0), (4, 70.0)):
        assert await rows(machine) == [("open", step, 4, 4)]
        await one_pass(machine, after_s=wait_s - 0.1)
        assert await grants(machine, agent) == [[]]
        await one_pass(machine, after_s=0.2)
        [[canary]] = await grants(machine, agent)
        await report(machine, Kind.FAILED, canary)
        await one_pass(machine)
    assert machine.owner.breakers.openings[machine.type.type_id] == 5


async def test_as_many_canaries_run_as_may_and_as_many_must_complete(machine: Machine) -> None:
    await opened(machine, breaker_at_once=2, breaker_canaries=3)
    [agent] = machine.owner.sessions()
    await one_pass(machine, after_s=20.1)
    [[first, second]] = await grants(machine, agent)
    await report(machine, Kind.COMPLETED, first)
    [[third]] = await grants(machine, agent)
    await report(machine, Kind.COMPLETED, second)
    assert guard(machine).machine.phase is Phase.HALF_OPEN
    await report(machine, Kind.COMPLETED, third)
    assert not guard(machine).holds


@pytest.mark.parametrize("how", ["released", "aborted", "lost"])
async def test_a_canary_that_says_nothing_gives_its_place_to_another(machine: Machine, how: str) -> None:
    await opened(machine)
    await one_pass(machine, after_s=20.1)
    [agent] = machine.owner.sessions()
    [[canary]] = await grants(machine, agent)
    if how == "released":
        await report(machine, Kind.RELEASED, canary)
    elif how == "aborted":
        await end(machine, await begin(machine, Verb.ABORT, canary, force=True))
    else:
        agent.detach(machine.now)
        machine.now += 3
        await machine.flush()
    assert guard(machine).machine.phase is Phase.HALF_OPEN
    other = await join(machine, "other")
    assert sum(map(len, await grants(machine, agent, other))) == 1


async def test_a_successor_goes_on_where_its_predecessor_was(machine: Machine) -> None:
    await opened(machine)
    await one_pass(machine, after_s=20.1)
    [agent] = machine.owner.sessions()
    [[canary]] = await grants(machine, agent)
    await report(machine, Kind.FAILED, canary)
    await one_pass(machine)
    since_s = guard(machine).opened_at_s
    await machine.checkpoint(store=True, publish=True)
    await machine.crash(check=False)
    machine.owner.breakers.review()
    found = guard(machine).machine
    assert (found.phase, found.step, found.ended, found.failed) == (Phase.OPEN, 2, 4, 4)
    assert abs(guard(machine).opened_at_s - since_s) < 60 and 30 < found.until - machine.now <= 40
    agent = await join(machine, "other")
    assert await grants(machine, agent) == [[]]
    await one_pass(machine, after_s=40.1)
    assert list(map(len, await grants(machine, agent))) == [1]


async def test_a_successor_of_a_half_open_one_knows_its_canary_and_grants_no_other(machine: Machine) -> None:
    old, *_ = await opened(machine)
    await one_pass(machine, after_s=20.1)
    [agent] = machine.owner.sessions()
    [[canary]] = await grants(machine, agent)
    await machine.crash(check=False)
    assert guard(machine).machine.phase is Phase.HALF_OPEN
    assert guard(machine).running == {canary}, "the other lease is older than the canaries"
    other = await join(machine, "other")
    assert await grants(machine, other) == [[]]
    assert machine.owner.live_jobs[old].state is State.PROCESSING
    machine.now += LEASE_S + 1  # nobody claims it
    other.renewed_at = other.last_heard = machine.now
    await machine.flush()
    assert list(map(len, await grants(machine, other))) == [1]


async def test_windows_begin_empty_after_a_takeover(machine: Machine) -> None:
    await settings(machine, **RULE)
    agent = await join(machine)
    await submit(machine, 5)
    [running] = await grants(machine, agent)
    await report(machine, Kind.FAILED, *running[:3])
    await machine.crash(check=False)
    assert guard(machine).machine.totals(machine.now) == (0, 0)


async def test_no_canary_goes_before_the_next_owner_would_know_of_it(machine: Machine) -> None:
    await opened(machine)
    [agent] = machine.owner.sessions()
    machine.now += 20.1
    agent.renewed_at = agent.last_heard = machine.now
    assert await grants(machine, agent) == [[]], "its wait is over, and the row does not say so yet"
    await machine.pool.execute("update headrace.life set dead = true")
    await machine.owner.breakers.run_once(BreakerStore(machine.pool))
    assert guard(machine).machine.phase is Phase.OPEN, "an owner that was succeeded writes nothing"
    assert await rows(machine) == [("open", 1, 4, 4)]


async def test_one_that_is_switched_off_holds_nothing_back(machine: Machine) -> None:
    await opened(machine)
    [agent] = machine.owner.sessions()
    other = await machine.add_type("other")
    assert other.breaker is None and not other.limited
    await settings(machine, breaker_share=0.0)
    assert machine.type.breaker is None
    assert list(map(len, await grants(machine, agent))) == [10]
    await one_pass(machine)
    assert await rows(machine) == []


async def test_one_that_was_switched_off_while_nobody_owned_it_leaves_no_row(machine: Machine) -> None:
    await opened(machine)
    machine.owner.breakers.leave()
    await machine.types.override(machine.type, {"breaker_share": 0.0}, [], caller=TESTER)
    await machine.crash(check=False)
    assert machine.type.breaker is None and not machine.type.limited
    assert await rows(machine) == [("open", 1, 4, 4)]
    await one_pass(machine)
    assert await rows(machine) == []


async def test_a_person_closes_it(machine: Machine) -> None:
    await opened(machine)
    store = BreakerStore(machine.pool)
    assert await machine.owner.breakers.close(store, machine.type, caller=TESTER, reason="repaired")
    assert not guard(machine).holds and await rows(machine) == []
    [agent] = machine.owner.sessions()
    assert list(map(len, await grants(machine, agent))) == [10]
    assert not await machine.owner.breakers.close(store, machine.type, caller=TESTER, reason="again")
    [audit] = await machine.pool.fetch("select target, reason, before, after from headrace.audit where action = 'breaker.close'")
    assert (audit["target"], audit["reason"]) == ("type/work", "repaired") and '"open"' in audit["before"] and '"closed"' in audit["after"]


async def test_a_person_does_not_close_the_breaker_of_another_life(machine: Machine) -> None:
    await opened(machine)
    await machine.pool.execute("update headrace.life set dead = true")
    with pytest.raises(NotOwner):
        await machine.owner.breakers.close(BreakerStore(machine.pool), machine.type, caller=TESTER, reason="repaired")
    assert guard(machine).holds and await rows(machine) == [("open", 1, 4, 4)]
    assert await machine.pool.fetchval("select count(*) from headrace.audit where action = 'breaker.close'") == 0


async def test_a_close_that_was_not_stored_is_none(machine: Machine) -> None:
    """Its commit is not answered, and the row that would tell was not written yet."""
    await opened(machine)
    await machine.pool.execute("delete from headrace.breaker")
    machine.owner.breakers._unstored.add(machine.type.type_id)
    async with PgProxy(machine._dsn) as proxy:
        proxy.fate = lambda request: Fate.CUT_BEFORE if request.statement.upper().startswith("COMMIT") else Fate.PASS
        pool = await open_pool(proxy.dsn)
        with pytest.raises(ResultUnknown):
            await machine.owner.breakers.close(BreakerStore(pool), machine.type, caller=TESTER, reason="repaired")
        await pool.close()
    await one_pass(machine)
    assert guard(machine).holds and await rows(machine) == [("open", 1, 4, 4)]
    assert await machine.pool.fetchval("select count(*) from headrace.audit where action = 'breaker.close'") == 0


async def test_an_owner_that_leaves_gives_its_types_free(machine: Machine) -> None:
    await opened(machine)
    machine.owner.breakers.leave()
    assert machine.type.breaker is None and not machine.type.limited
