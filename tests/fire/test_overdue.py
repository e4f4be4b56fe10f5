"""Nothing starves: of every hundred grants one goes to what has waited longest, when that is more than ten minutes, and no other does."""

from typing import Any

import pytest
from headrace_broker.shards.overdue import EVERY, LOOK_S, MOST, OVERDUE_S, Overdue
from headrace_broker.shards.session import Session
from headrace_broker.shards.types import TypeEntry

from tests.property.machine import TESTER, Machine
from tests.support.crews import complete, grants, join, submit

AT_ONCE = 10


async def flood(machine: Machine, agent: Session, rounds: int, *, priority: int = 9, at_once: int = AT_ONCE, entry: TypeEntry | None = None) -> list[int]:
    """Grants to an agent while better jobs than those that wait come without end; the jobs in order. Each round's jobs are done before the next."""
    found: list[int] = []
    for _ in range(rounds):
        await submit(machine, at_once, priority=priority, entry=entry)
        [granted] = await grants(machine, agent, room=at_once)
        found += granted
        complete(machine, *granted)
        await machine.flush()
    return found


async def wait(machine: Machine, seconds: float = OVERDUE_S + 1) -> None:
    """As the database's clock tells it; leases and timers do not notice."""
    machine.owner.clock.advance(seconds)


async def test_of_every_hundred_grants_one_goes_to_who_has_waited_longest(machine: Machine) -> None:
    older, newer = await submit(machine, 2)
    agent = await join(machine)
    await wait(machine)
    order = await flood(machine, agent, 3 * EVERY // AT_ONCE)
    assert EVERY <= order.index(older) < EVERY + AT_ONCE, "a better one came before, a hundred times"
    assert 2 * EVERY < order.index(newer) < 2 * EVERY + 2 * AT_ONCE
    assert len(order) == 3 * EVERY


whatever_terms = pytest.mark.parametrize("terms", [{}, {"limit_key": "k"}, {"fairness_key": "f"}], ids=["plain", "limit key", "fairness key"])


@whatever_terms
async def test_whatever_terms_it_has(machine: Machine, terms: dict[str, Any]) -> None:
    [old] = await submit(machine, 1, **terms)
    agent = await join(machine)
    await wait(machine)
    order = await flood(machine, agent, EVERY // AT_ONCE + 1)
    assert order.index(old) >= EVERY


@whatever_terms
async def test_who_has_not_waited_for_so_long_has_to_wait_for_its_turn(machine: Machine, terms: dict[str, Any]) -> None:
    [new] = await submit(machine, 1, **terms)
    agent = await join(machine)
    await wait(machine, OVERDUE_S - 1)
    assert new not in await flood(machine, agent, 3 * EVERY // AT_ONCE)


async def test_it_is_the_oldest_of_all_types_that_the_agent_serves_and_of_no_other(machine: Machine) -> None:
    served, other = await machine.types.ensure("default", "served"), await machine.types.ensure("default", "other")
    [theirs], [ours], [later] = [await submit(machine, 1, entry=entry) for entry in (other, served, served)]
    agent = await join(machine, types=(served, machine.type))
    await wait(machine)
    order = await flood(machine, agent, 3 * EVERY // AT_ONCE)
    assert (order.index(ours) // EVERY, order.index(later) // EVERY) == (1, 2) and theirs not in order


async def test_a_type_may_keep_to_the_strict_order(machine: Machine) -> None:
    strict = await machine.types.ensure("default", "strict")
    await machine.types.override(strict, {"ageing_max": 0}, [], caller=TESTER)
    [old] = await submit(machine, 1, entry=strict)
    agent = await join(machine, types=(strict, machine.type))
    await wait(machine)
    assert old not in await flood(machine, agent, 3 * EVERY // AT_ONCE)


async def test_a_limit_holds_for_it_as_for_others(machine: Machine) -> None:
    limited = await machine.types.ensure("default", "limited")
    await machine.types.override(limited, {"concurrency": 1}, [], caller=TESTER)
    await submit(machine, 3, entry=limited)
    agent = await join(machine, types=(limited, machine.type))
    [[running]] = await grants(machine, agent, room=1)
    assert machine.owner.live_jobs[running].entry is limited
    await wait(machine)
    order = await flood(machine, agent, 2 * EVERY // AT_ONCE)
    assert len(order) == 2 * EVERY, "nobody waits for what may not run"


async def test_where_nothing_is_overdue_nobody_looks_for_a_while(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be thousands of types."""
    looked: list[int] = []
    may_have = Overdue._may_have

    def counted(it: Overdue, owner: Any, type_id: int) -> bool:
        looked.append(type_id)
        return may_have(it, owner, type_id)

    monkeypatch.setattr(Overdue, "_may_have", counted)
    agent = await join(machine)
    await flood(machine, agent, 4, at_once=500)
    assert len(looked) == 1
    machine.now += LOOK_S
    await flood(machine, agent, 2, at_once=500)
    assert len(looked) == 2


async def test_what_is_due_does_not_add_up_without_end(machine: Machine) -> None:
    """While nothing is overdue nothing is owed; and large grants owe no more than some."""
    agent = await join(machine)
    await flood(machine, agent, 1, at_once=1500)
    old = await submit(machine, 3 * MOST)
    await wait(machine)
    order = await flood(machine, agent, 2, at_once=1500)
    assert 0 < len(set(old) & set(order)) <= 2 * MOST
