"""What limits let through: concurrency by type and by key, rates, depth, turns, labels, pauses. The owner is driven step by step on a real ledger."""

import asyncio
import dataclasses
from collections import Counter
from typing import Any

import pytest
from headrace_broker.model.errors import QueueFull, Unavailable
from headrace_broker.model.job import State
from headrace_broker.rpc.limits import LimitsService
from headrace_broker.shards import reception
from headrace_broker.shards.intents import PlainJobs, Verb
from headrace_proto.v1 import limits_pb2
from headrace_proto.wire import DOMAIN_KEY

from tests.fire.steps import begin, end, kinds, settings
from tests.property.machine import LEASE_S, TESTER, Machine
from tests.support.crews import complete, grants, join, submit

ADA = dataclasses.replace(TESTER, actor="ada")


# Concurrency -----------------------------------------------------------------------------------------------------------------------------------


async def test_a_type_runs_no_more_jobs_than_its_concurrency_over_all_agents(machine: Machine) -> None:
    await settings(machine, concurrency=3)
    await submit(machine, 10)
    one, two = await join(machine, "one"), await join(machine, "two")
    first, second = await grants(machine, one, two)
    assert len(first) + len(second) == 3
    assert await grants(machine, one, two) == [[], []]
    complete(machine, *first[:1])
    again = await grants(machine, one, two)
    assert sum(map(len, again)) == 1, "an ending and the grant that takes its place share a commit"


async def test_a_limit_that_is_lowered_while_jobs_run_holds_the_next_grants_back(machine: Machine) -> None:
    await settings(machine, concurrency=4)
    await submit(machine, 8)
    agent = await join(machine)
    [running] = await grants(machine, agent)
    assert len(running) == 4
    await settings(machine, concurrency=2)
    complete(machine, *running[:2])
    assert await grants(machine, agent) == [[]], "two run, as many as may"
    complete(machine, running[2])
    assert list(map(len, await grants(machine, agent))) == [1]
    await settings(machine, concurrency=0)
    assert list(map(len, await grants(machine, agent))) == [3], "0 is no limit"


async def test_a_limit_holds_where_other_types_of_the_agent_have_more_to_do(machine: Machine) -> None:
    other = await machine.types.ensure("default", "other")
    await settings(machine, concurrency=3, priority=5)
    limited = await submit(machine, 10)
    free = await submit(machine, 10, entry=other)
    agent = await join(machine, types=(machine.type, other))
    assert await grants(machine, agent, room=12) == [[*limited[:3], *free[:9]]]


@pytest.mark.parametrize("terms", [{}, {"limit_key": "k"}])
async def test_the_lease_of_a_lost_agent_counts_until_it_has_surely_ended(machine: Machine, terms: dict[str, Any]) -> None:
    await settings(machine, concurrency=0 if terms else 1, concurrency_per_key=1)
    await submit(machine, 2, **terms)
    one, two = await join(machine, "one"), await join(machine, "two")
    [[_], []] = await grants(machine, one, two, room=1)
    one.detach(machine.now)
    machine.now += 3  # longer than the grace: the job waits again
    assert await grants(machine, two) == [[]], "its agent may still run it"
    assert all(live.state is State.WAITING for live in machine.owner.live_jobs.values())
    machine.now += LEASE_S - 4
    assert await grants(machine, two) == [[]]
    machine.now += 2
    assert machine.owner.idle_s() == 0
    assert list(map(len, await grants(machine, two))) == [1]


async def test_a_job_that_is_aborted_by_force_counts_until_its_lease_has_ended(machine: Machine) -> None:
    await settings(machine, concurrency=1)
    await submit(machine, 2)
    agent = await join(machine)
    [[job_id]] = await grants(machine, agent)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))).state is State.ABORTED
    assert await grants(machine, agent) == [[]]
    machine.now += LEASE_S + 0.1
    assert list(map(len, await grants(machine, agent))) == [1]


async def test_a_job_that_the_broker_times_out_counts_until_its_lease_has_ended(machine: Machine) -> None:
    await settings(machine, concurrency=1, timeout_s=1.0)
    await submit(machine, 2)
    agent = await join(machine)
    [[job_id]] = await grants(machine, agent)
    machine.now += LEASE_S + 2
    reception.heartbeat(machine.owner, agent, 5, {job_id: 1}, machine.now)
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "timed_out"]
    assert await grants(machine, agent) == [[]]
    machine.now += LEASE_S + 0.1
    assert list(map(len, await grants(machine, agent))) == [1]


@pytest.mark.parametrize("terms", [{}, {"limit_key": "k"}])
async def test_after_a_takeover_open_leases_count_before_anything_is_granted(machine: Machine, terms: dict[str, Any]) -> None:
    await settings(machine, concurrency=0 if terms else 2, concurrency_per_key=2)
    await submit(machine, 5, **terms)
    agent = await join(machine)
    [running] = await grants(machine, agent)
    assert len(running) == 2
    await machine.checkpoint(store=True, publish=True)
    await machine.crash(check=False)
    other = await join(machine, "other")
    assert await grants(machine, other) == [[]]
    machine.now += LEASE_S + 0.1  # nobody claims them
    assert list(map(len, await grants(machine, other))) == [2]


@pytest.mark.parametrize("terms", [{}, {"limit_key": "k"}])
async def test_after_a_takeover_leases_that_were_lost_a_moment_ago_count_too(machine: Machine, terms: dict[str, Any]) -> None:
    await settings(machine, concurrency=0 if terms else 1, concurrency_per_key=1, max_losses=1)
    await submit(machine, 2, **terms)
    agent = await join(machine)
    [[lost]] = await grants(machine, agent)
    agent.detach(machine.now)
    machine.now += 3
    await machine.flush()
    assert await kinds(machine, lost) == ["granted", "lost"]
    await machine.crash(check=False)
    other = await join(machine, "other")
    assert await grants(machine, other) == [[]], "the agent that was lost may still run it"
    machine.now += LEASE_S + 0.1
    assert list(map(len, await grants(machine, other))) == [1]


async def test_a_lease_that_was_longer_before_a_takeover_counts_to_its_end_although_its_agent_came_back_and_was_lost(machine: Machine) -> None:
    """Leases may be shorter by then; what the agent was told of that may never have arrived."""
    await settings(machine, concurrency=1)
    await submit(machine, 2)
    [[job_id]] = await grants(machine, await join(machine))
    machine.lease_s = LEASE_S / 2
    await machine.crash(check=False)
    back = await join(machine, held={job_id: 1})
    back.detach(machine.now)
    machine.now += 3
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost"]
    other = await join(machine, "other")
    machine.now += LEASE_S - 4
    assert await grants(machine, other) == [[]], "its agent may go on"
    machine.now += 2
    assert list(map(len, await grants(machine, other))) == [1]


async def test_each_limit_key_has_its_own_count_and_an_ending_wakes_what_waits_for_it(machine: Machine) -> None:
    await settings(machine, concurrency_per_key=1)
    jobs = {key: await submit(machine, 3, limit_key=key) for key in ("a", "b")}
    free = await submit(machine, 2)
    one, two = await join(machine, "one"), await join(machine, "two")
    granted = await grants(machine, one, two)
    assert sorted(granted[0] + granted[1]) == sorted([jobs["a"][0], jobs["b"][0], *free])
    assert await grants(machine, one, two) == [[], []]
    complete(machine, jobs["b"][0])
    granted = await grants(machine, one, two)
    assert granted[0] + granted[1] == [jobs["b"][1]]


async def test_what_is_parked_behind_a_key_is_not_looked_at_again(machine: Machine) -> None:
    await settings(machine, concurrency_per_key=1)
    for _ in range(3):
        await submit(machine, 1000, limit_key="busy")
    agent = await join(machine)
    [[holder]] = await grants(machine, agent)
    lanes, looked = machine.owner.lines.lanes, 0

    def find_first(line_id: int, priority: int) -> int | None:
        nonlocal looked
        looked += 1
        return type(lanes).find_first(lanes, line_id, priority)

    lanes.find_first = find_first  # type: ignore[method-assign, assignment]  # the test looks on
    for _ in range(20):
        [plain] = await submit(machine, 1)
        assert await grants(machine, agent) == [[plain]]
    assert looked <= 1, "the line is parked"
    complete(machine, holder)
    assert list(map(len, await grants(machine, agent))) == [1]
    assert looked <= 5


async def test_a_raised_limit_wakes_what_was_parked(machine: Machine) -> None:
    await settings(machine, concurrency_per_key=1)
    await submit(machine, 5, limit_key="k")
    agent = await join(machine)
    assert list(map(len, await grants(machine, agent))) == [1]
    assert list(map(len, await grants(machine, agent))) == [0]
    await settings(machine, concurrency_per_key=3)
    assert list(map(len, await grants(machine, agent))) == [2]


async def test_a_job_with_a_key_that_is_aborted_while_it_waits_leaves_nothing(machine: Machine) -> None:
    await settings(machine, concurrency_per_key=1)
    jobs = await submit(machine, 3, limit_key="k", fairness_key="f")
    late = await submit(machine, 1, start_s=machine.owner.clock.now_s() + 50, limit_key="k", fairness_key="f")
    for job_id in [*jobs, *late]:
        assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).state is State.ABORTED
    agent = await join(machine)
    assert await grants(machine, agent) == [[]]
    machine.now += 60
    reception.heartbeat(machine.owner, agent, 5, {}, machine.now)
    assert await grants(machine, agent) == [[]]
    lines = machine.owner.lines
    assert not lines._lines and not lines._by_id and not machine.owner.lanes.stale() and not lines.crowds[machine.type.type_id].cells
    assert lines.crowds[machine.type.type_id].waiting == 0


# Rates -----------------------------------------------------------------------------------------------------------------------------------------


async def test_no_more_jobs_start_in_any_time_than_the_rate_and_one_burst(machine: Machine) -> None:
    await settings(machine, rate_limit_count=10, rate_limit_per_s=1.0, rate_limit_burst=2)
    await submit(machine, 200)
    agent = await join(machine)
    starts: list[float] = []
    for _ in range(400):
        [taken] = await grants(machine, agent, room=1000)
        starts += [machine.now] * len(taken)
        complete(machine, *taken)
        machine.now += 0.01
    assert 38 <= len(starts) <= 42
    for begin_s in starts:
        assert sum(begin_s <= at < begin_s + 1 for at in starts) <= 12


async def test_a_quiet_time_saves_no_more_than_the_burst(machine: Machine) -> None:
    await settings(machine, rate_limit_count=10, rate_limit_per_s=1.0, rate_limit_burst=3)
    await submit(machine, 50)
    agent = await join(machine)
    assert await grants(machine, agent) == [[]]
    machine.now += 5
    assert list(map(len, await grants(machine, agent, room=50))) == [3]


async def test_a_rate_begins_with_nothing_in_hand_and_says_when_to_look_again(machine: Machine) -> None:
    await settings(machine, rate_limit_count=1, rate_limit_per_s=4.0)
    await submit(machine, 3)
    agent = await join(machine)
    assert await grants(machine, agent) == [[]]
    assert machine.owner.caps.due == pytest.approx(machine.now + 4.0)
    machine.now += 4.0
    assert list(map(len, await grants(machine, agent))) == [1]
    machine.now += 3.9
    await machine.crash(check=False)
    agent = await join(machine)
    machine.now += 3.9
    assert await grants(machine, agent) == [[]], "a new owner does not know what the one before granted last"
    machine.now += 0.2
    assert list(map(len, await grants(machine, agent))) == [1]


async def test_what_starts_while_no_rate_is_set_is_not_paid_for_when_one_is_set_again(machine: Machine) -> None:
    await settings(machine, concurrency=1000, rate_limit_count=10, rate_limit_per_s=1.0)
    await submit(machine, 300)
    agent = await join(machine)
    assert await grants(machine, agent, room=1) == [[]]
    machine.now += 1
    assert list(map(len, await grants(machine, agent, room=1))) == [1]
    await settings(machine, rate_limit_count=0)
    [taken] = await grants(machine, agent, room=200)
    assert len(taken) == 200
    await settings(machine, rate_limit_count=10)
    assert await grants(machine, agent, room=1) == [[]], "it begins with nothing in hand"
    machine.now += 1
    assert list(map(len, await grants(machine, agent, room=1))) == [1]


# Depth -----------------------------------------------------------------------------------------------------------------------------------------


async def test_racing_submits_do_not_pass_a_depth_limit_together(machine: Machine) -> None:
    await settings(machine, depth_limit=50)
    taken: list[asyncio.Future[list[int]]] = []
    refused = 0
    for number in range(100):
        try:
            taken.append(machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"]), 2) if number % 2 else machine.owner.submit([(machine.type, 0, 0.0, b"{}")], 2))
        except QueueFull:
            refused += 1
    assert (len(taken), refused) == (50, 50)
    await machine.flush()
    with pytest.raises(QueueFull) as full:
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"]), 2)
    assert (full.value.room, full.value.retry_after_s) == (0, 1.0)
    assert machine.owner.depth.pressure([machine.type]) == 1.0
    agent = await join(machine)
    await grants(machine, agent, room=20)
    with pytest.raises(QueueFull) as full:
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * 21), 42)
    assert full.value.room == 20
    machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * 20), 40)


async def test_what_is_being_stored_counts_for_the_depth(machine: Machine) -> None:
    await settings(machine, depth_limit=3)
    machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * 3), 6)
    round_ = machine.owner.build()
    with pytest.raises(QueueFull):
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"]), 2)
    assert machine.ledger is not None
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    with pytest.raises(QueueFull):
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"]), 2)


async def test_keyed_submits_are_admitted_and_counted_once(machine: Machine) -> None:
    await settings(machine, depth_limit=2)
    owner = machine.owner
    first = owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "k1", b"h", 2)
    again = owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "k1", b"h", 2)
    with pytest.raises(QueueFull):
        owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "k2", b"h", 2)
    assert machine.ledger is not None
    for _ in range(2):
        keyed = owner.keyed.build()
        assert keyed is not None
        flushed = await machine.ledger.flush_keyed(keyed.batch, [job.row() for job in keyed.jobs])
        refused = [job.key_name for job, job_id in zip(keyed.jobs, keyed.batch.job_id, strict=True) if job_id not in flushed.stored]
        owner.keyed.settle(keyed, flushed, await machine.ledger.key_holders(refused) if refused else {}, {})
        if not owner.keyed:
            break
    assert first.result()[0] == again.result()[0]
    assert owner.depth.waiting(machine.type) == 1, "the second one was no job"


async def test_a_domain_has_a_depth_limit_of_all_its_types(machine: Machine) -> None:
    other = await machine.types.ensure("default", "other")
    await machine.types.set_domain("default", {"depth_limit": 3}, [], caller=TESTER)
    await submit(machine, 2)
    with pytest.raises(QueueFull, match="domain default"):
        machine.owner.submit(PlainJobs(other, 0, [b"{}"] * 2), 4)
    await submit(machine, 1, entry=other)
    assert machine.owner.depth.pressure([other]) == 1.0


async def test_jobs_that_were_refused_with_the_database_away_leave_their_room(machine: Machine) -> None:
    await settings(machine, depth_limit=1)
    waiting = machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"]), 2)
    machine.owner.refuse(QueueFull("away", 1, 0, 1.0))
    assert isinstance(waiting.exception(), QueueFull)
    machine.owner.accept_work()
    await submit(machine, 1)


@pytest.mark.parametrize("keyed", [True, False])
async def test_jobs_that_were_being_stored_when_others_were_refused_count_for_the_depth_once(machine: Machine, keyed: bool) -> None:
    await settings(machine, depth_limit=2)
    owner, body = machine.owner, (machine.type, 0, 0.0, b"{}")

    def put(key: str) -> "asyncio.Future[Any]":
        return owner.submit_keyed(body, machine.type.domain_id, key, b"h", 2) if keyed else owner.submit([body], 2)

    put("k1")
    round_, sent = (owner.keyed.build(), None) if keyed else (None, owner.build())
    late = put("k2")
    owner.refuse(Unavailable("away"))
    assert isinstance(late.exception(), Unavailable)
    owner.accept_work()
    assert machine.ledger is not None
    if round_ is not None:
        owner.keyed.settle(round_, await machine.ledger.flush_keyed(round_.batch, round_.rows()), {}, {})
    elif sent is not None:
        await machine.ledger.flush(sent.batch)
        owner.settle(sent)
    assert owner.depth.waiting(machine.type) == 1
    put("k3")
    with pytest.raises(QueueFull):
        put("k4")


# Turns -----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("", "x"), ("x", "")])
async def test_jobs_without_a_fairness_key_take_turns_with_those_of_a_single_one(machine: Machine, order: tuple[str, str]) -> None:
    owners = {job_id: key for key in order for job_id in await (submit(machine, 9, fairness_key=key) if key else submit(machine, 9))}
    agent = await join(machine)
    for _ in range(3):
        [granted] = await grants(machine, agent, room=4)
        assert Counter(owners[job_id] for job_id in granted) == {"": 2, "x": 2}
        complete(machine, *granted)


async def test_fairness_keys_share_by_their_weights_within_one_job(machine: Machine) -> None:
    await settings(machine, fairness_weights={"big": 3.0, "": 1.0})
    owners = {job_id: key for key in ("big", "small") for job_id in await submit(machine, 60, fairness_key=key)}
    owners |= dict.fromkeys(await submit(machine, 60), "")
    agent = await join(machine)
    shares: Counter[str] = Counter()
    for _ in range(50):
        [[job_id]] = await grants(machine, agent, room=1)
        shares[owners[job_id]] += 1
        complete(machine, job_id)
    assert abs(shares["big"] - 30) <= 1 and abs(shares["small"] - 10) <= 1 and abs(shares[""] - 10) <= 1


async def test_a_key_that_had_nothing_to_do_earned_nothing_by_it(machine: Machine) -> None:
    a = await submit(machine, 40, fairness_key="a")
    agent = await join(machine)
    [taken] = await grants(machine, agent, room=20)
    assert taken == a[:20]
    b = await submit(machine, 20, fairness_key="b")
    [taken] = await grants(machine, agent, room=20)
    assert abs(len(set(taken) & set(b)) - 10) <= 1


async def test_a_key_that_comes_and_goes_gets_no_more_than_its_share(machine: Machine) -> None:
    await settings(machine, fairness_weights={"a": 4.0})
    await submit(machine, 100, fairness_key="a")
    agent = await join(machine)
    b_taken = 0
    [waiting] = await submit(machine, 1, fairness_key="b")
    for _ in range(50):
        [[job_id]] = await grants(machine, agent, room=1)
        complete(machine, job_id)
        if job_id == waiting:
            b_taken += 1
            [waiting] = await submit(machine, 1, fairness_key="b")
    assert abs(b_taken - 10) <= 1


async def test_a_higher_score_goes_before_any_turn(machine: Machine) -> None:
    low = await submit(machine, 2, fairness_key="a")
    [high] = await submit(machine, 1, priority=5, fairness_key="b")
    [plain] = await submit(machine, 1, priority=9)
    agent = await join(machine)
    assert [(await grants(machine, agent, room=1))[0][0] for _ in range(4)] == [plain, high, *low]


async def test_domains_share_a_round_by_their_weights(machine: Machine) -> None:
    theirs = await machine.types.ensure("theirs", "work")
    await machine.types.set_domain("theirs", {"weight": 2.0}, [], caller=TESTER)
    for entry in (machine.type, theirs):
        for _ in range(6):
            await submit(machine, 1000, entry=entry)
    crowd = [await join(machine, f"ours{number}") for number in range(10)]
    one = await join(machine, "theirs", types=(theirs,), domain="theirs")
    taken = await grants(machine, *crowd, one, room=3000)
    ours, theirs_taken = sum(map(len, taken[:-1])), len(taken[-1])
    assert ours + theirs_taken >= 2900
    assert 1.8 <= theirs_taken / ours <= 2.2, (ours, theirs_taken)


async def test_a_domain_that_submits_without_end_keeps_no_other_waiting(machine: Machine) -> None:
    theirs = await machine.types.ensure("theirs", "work")
    for _ in range(20):
        machine.owner.submit(PlainJobs(machine.type, 0, [b"{}"] * 1000), 2000)
    quick = machine.owner.submit(PlainJobs(theirs, 0, [b"{}"]), 2)
    for _ in range(2):
        await machine.flush()
    assert quick.done()


# Labels and pauses -----------------------------------------------------------------------------------------------------------------------------


async def test_a_job_goes_to_agents_that_have_its_labels_only(machine: Machine) -> None:
    jobs = await submit(machine, 2, required_labels={"zone": "eu", "gpu": "yes"})
    [anywhere] = await submit(machine, 1)
    bare, half, full = (
        await join(machine, "bare"),
        await join(machine, "half", labels={"zone": "eu"}),
        await join(machine, "full", labels={"zone": "eu", "gpu": "yes", "x": "1"}),
    )
    assert await grants(machine, bare, half) == [[anywhere], []]
    assert await grants(machine, bare, half, full) == [[], [], jobs]


async def test_a_pause_of_an_agent_a_domain_or_a_type_holds_grants_back_until_it_is_resumed(machine: Machine) -> None:
    jobs = await submit(machine, 4)
    agent, other = await join(machine, "one"), await join(machine, "two")
    types = machine.types
    await types.pause("default", "agent", "one", caller=ADA, reason="it burns")
    reception.review_pauses(machine.owner)
    assert await grants(machine, agent, other, room=1) == [[], [jobs[0]]]
    later = await join(machine, "one")
    assert later.paused, "one that connects later is paused too"
    assert await types.resume("default", "agent", "one", caller=ADA)
    assert not await types.resume("default", "agent", "one", caller=ADA)
    reception.review_pauses(machine.owner)
    assert list(map(len, await grants(machine, agent, room=1))) == [1]
    await types.pause("default", "domain", "", caller=ADA, reason="maintenance")
    await types.pause("default", "domain", "", caller=TESTER, reason="later")
    assert machine.type.pause is not None and (machine.type.pause.actor, machine.type.pause.reason) == ("ada", "maintenance")
    assert await grants(machine, agent, room=1) == [[]]
    await types.resume("default", "domain", "", caller=ADA)
    await types.override(machine.type, {"paused": True}, [], caller=dataclasses.replace(TESTER, actor="eve"), reason="why not")
    assert machine.type.pause is not None and machine.type.pause.actor == "eve"
    assert await grants(machine, agent, room=1) == [[]]
    await types.override(machine.type, {}, ["paused"], caller=TESTER)
    assert machine.type.pause is None
    assert list(map(len, await grants(machine, agent, room=1))) == [1]


async def test_a_pause_and_a_limit_outlive_the_broker(machine: Machine) -> None:
    await settings(machine, concurrency=1)
    await machine.types.pause("default", "domain", "", caller=ADA, reason="maintenance")
    await submit(machine, 2)
    machine.types = type(machine.types)(machine.settings)
    await machine.types.load()
    machine.type = machine.types.find("default", "work") or machine.type
    await machine.crash(check=False)
    agent = await join(machine)
    assert await grants(machine, agent) == [[]]
    await machine.types.resume("default", "domain", "", caller=ADA)
    assert list(map(len, await grants(machine, agent))) == [1]


async def test_an_older_reading_of_settings_does_not_undo_a_newer_one(machine: Machine) -> None:
    [old] = [row for row in await machine.settings.types() if row.name == "work"]
    await settings(machine, concurrency=1)
    machine.types._put(old)
    assert machine.type.settings.concurrency == 1


async def test_who_pauses_what_somebody_resumes_at_the_same_moment_is_answered(machine: Machine) -> None:
    """The pause is stored, and gone again before this broker has read what is paused."""
    limits = LimitsService(_Ownership(machine))  # type: ignore[arg-type]  # it has what is asked of it
    for request, kind, name in (
        (limits_pb2.PauseRequest(type="work", reason="it burns"), "type", "work"), (limits_pb2.PauseRequest(agent="one", reason="it burns"), "agent", "one"),
        (limits_pb2.PauseRequest(domain=True, reason="it burns"), "domain", "default"),
    ):  # fmt: skip
        async with machine.types._loading:
            pausing = asyncio.ensure_future(limits.Pause(request, _Call("default")))
            while not await machine.pool.fetchval("select count(*) from headrace.pause"):
                assert not pausing.done()
            await machine.pool.execute("delete from headrace.pause")
        answer = await pausing
        assert (answer.pause.kind, answer.pause.name, answer.pause.reason) == (kind, name, "it burns") and answer.pause.HasField("at")


# Domains ----------------------------------------------------------------------------------------------------------------------------------------


class _Ownership:
    """What a service asks for its owner."""

    def __init__(self, machine: Machine) -> None:
        self.owner = machine.owner


class _Call:
    """A call in a domain."""

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [(DOMAIN_KEY, self._domain)]

    def set_trailing_metadata(self, _metadata: tuple[tuple[str, str], ...]) -> None:
        return


async def test_who_asks_for_domains_that_there_are_not_leaves_nothing_behind(machine: Machine) -> None:
    limits, known = LimitsService(_Ownership(machine)), dict(machine.types.domains)  # type: ignore[arg-type]  # it has what is asked of it
    for number in range(20):
        call = _Call(f"nobody-{number}")
        assert (await limits.GetDomain(limits_pb2.GetDomainRequest(), call)).limits.weight == 1.0
        assert not (await limits.ListPauses(limits_pb2.ListPausesRequest(), call)).pauses
    assert machine.types.domains == known, "a second domain would halve what the first may have in hand"
