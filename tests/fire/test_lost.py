"""Messages that never arrive: no job is stuck, none is charged for what nobody began."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from headrace_client import Client, State

from tests.fire.conftest import Connect
from tests.support.agreement import agree, history
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, lease, outcome


async def _state(client: Client, job_id: int, state: State) -> None:
    async def stands() -> bool:
        return (await client.get(job_id)).state is state

    await until(stands, what=f"the state {state.value}")


async def test_an_assign_that_was_lost_is_given_back_uncharged_when_the_agent_comes_back_without_it(hand: ScriptedAgent, client: Client, database: str) -> None:
    await hand.credit(1)
    job_id = (await client.submit("t")).job_id
    await _state(client, job_id, State.PROCESSING)
    await hand.close()
    welcome = await hand.connect(held=[])
    assert welcome.resumed
    hand.held.clear()
    [job] = await hand.take(1)
    assert (job.job_id, job.lease_epoch, job.attempt, job.losses) == (job_id, 3, 1, 0)
    assert await history(client, job_id) == ["granted", "rejected", "granted"]
    await agree(client, database)


async def test_an_assign_that_was_lost_with_its_agent_is_charged_one_loss(hand: ScriptedAgent, client: Client, database: str) -> None:
    await hand.credit(1)
    job_id = (await client.submit("t")).job_id
    await hand.until(lambda: hand.jobs, "the Assign")  # it was sent: the job may be what kills its agents
    await hand.close()
    await _state(client, job_id, State.WAITING)
    assert await history(client, job_id) == ["granted", "lost"]
    job = await client.get(job_id)
    assert (job.attempt, job.losses) == (0, 1)
    await agree(client, database)


async def test_an_agent_that_does_not_accept_is_sent_away_and_gives_the_job_back(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--accept-timeout-s", "1", database=database)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address))
    hand = ScriptedAgent(broker.address)
    stack.push_async_callback(hand.close)
    await hand.connect()
    await hand.credit(1)
    job_id = (await client.submit("t")).job_id
    await hand.until(lambda: hand.away, "the end")
    assert "not accepted" in hand.away
    await hand.connect(held=[])
    await _state(client, job_id, State.WAITING)
    assert await history(client, job_id) == ["granted", "rejected"]
    await agree(client, database)


async def test_an_agent_that_accepts_in_time_is_not_sent_away(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--accept-timeout-s", "1", database=database)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address))
    hand = ScriptedAgent(broker.address)
    stack.push_async_callback(hand.close)
    await hand.connect()
    job_id = (await client.submit("t")).job_id
    await hand.take(1)
    for _ in range(4):
        await hand.confirmed(hand.number + 1)
    assert not hand.away
    assert await history(client, job_id) == ["granted"]
    await agree(client, database)


async def test_an_acknowledgement_that_was_lost_is_given_again(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.send(outcomes=[outcome(job, "failed", permanent=True)])
    await _state(client, job_id, State.ERROR)
    await hand.close()
    welcome = await hand.connect(held=[lease(job)])
    assert [(ref.job_id, ref.lease_epoch) for ref in welcome.not_held] == [(job.job_id, job.lease_epoch)]
    assert await hand.report(outcome(job, "failed", permanent=True)) == ["already_applied"]
    assert await history(client, job_id) == ["granted", "failed"]
    await agree(client, database)


async def test_a_silent_agent_loses_its_leases_and_its_outcome_still_counts_while_nobody_else_began(connect: Connect, client: Client, database: str) -> None:
    silent = await connect(beats=False)
    ids = [(await client.submit("t")).job_id for _ in range(2)]
    one, two = await silent.take(2)
    await silent.until(lambda: silent.away, "the end")
    assert "heartbeats stopped" in silent.away
    for job_id in ids:
        assert await history(client, job_id) == ["granted", "lost"]
    other = await connect(name="other")
    [granted] = await other.take(1)
    assert granted.job_id == one.job_id and granted.lease_epoch == 3
    await silent.connect(held=[lease(one), lease(two)])
    assert silent.not_held == [(one.job_id, 1), (two.job_id, 1)]
    assert await silent.report(outcome(one, "completed")) == ["superseded"]
    assert await silent.report(outcome(two, "failed")) == ["superseded"], "only a result is accepted late"
    assert await silent.report(outcome(two, "completed")) == ["accepted_late"]
    assert await silent.report(outcome(two, "completed")) == ["already_applied"]
    assert await other.report(outcome(granted, "completed")) == ["accepted"]
    assert [kind for kind in await history(client, one.job_id) if kind != "(late_outcome)"] == ["granted", "lost", "granted", "completed"]
    assert [kind for kind in await history(client, two.job_id) if kind != "(late_outcome)"] == ["granted", "lost", "completed"]
    await agree(client, database)


async def test_an_order_to_abort_that_was_lost_is_given_again(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.close()
    await client.abort([job_id], reason="enough")
    await hand.connect()
    await hand.until(lambda: hand.aborts == [job_id], "the order")
    assert await hand.report(outcome(job, "aborted")) == ["accepted"]
    assert sorted(await history(client, job_id)) == ["(abort_requested)", "(abort_stopped)", "aborted", "granted"]
    await agree(client, database)


async def test_a_revocation_that_was_lost_is_told_when_the_agent_comes_back(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.close()
    await client.abort([job_id], force=True)
    welcome = await hand.connect(held=[lease(job)])
    assert [ref.job_id for ref in welcome.not_held] == [job_id]
    assert await hand.report(outcome(job, "completed")) == ["superseded"]
    assert (await client.get(job_id)).state is State.ABORTED
    await agree(client, database)


async def test_a_lease_that_two_heartbeats_do_not_name_is_given_back(connect: Connect, client: Client, database: str) -> None:
    quiet = await connect(beats=False)
    ids = [(await client.submit("t")).job_id for _ in range(2)]
    kept, forgotten = await quiet.take(2)

    async def beat(*refs: tuple[int, int]) -> None:
        await quiet.confirmed(await quiet.heartbeat(*refs))

    await beat((kept.job_id, kept.lease_epoch))
    assert await history(client, ids[1]) == ["granted"], "once may be a heartbeat that crossed its Assign"
    await beat((kept.job_id, kept.lease_epoch), (forgotten.job_id, forgotten.lease_epoch))
    await beat((kept.job_id, kept.lease_epoch))
    assert await history(client, ids[1]) == ["granted"], "not twice in a row"
    await beat((kept.job_id, kept.lease_epoch))
    await _state(client, ids[1], State.WAITING)
    assert [await history(client, job_id) for job_id in ids] == [["granted"], ["granted", "rejected"]]
    await agree(client, database)


async def test_heartbeats_that_cross_an_assign_do_not_give_it_back(connect: Connect, client: Client, database: str) -> None:
    quiet = await connect(beats=False)
    await quiet.credit(1)
    job_id = (await client.submit("t")).job_id
    await quiet.until(lambda: quiet.jobs, "the Assign")
    for _ in range(3):
        await quiet.confirmed(await quiet.heartbeat())
    assert await history(client, job_id) == ["granted"], "it was not accepted yet: the agent may not have read it"
    await agree(client, database)


async def test_a_heartbeat_that_names_an_older_lease_does_not_keep_the_present_one(connect: Connect, client: Client, database: str) -> None:
    quiet = await connect(beats=False)
    job_id = (await client.submit("t")).job_id
    [job] = await quiet.take(1)
    assert await quiet.report(outcome(job, "released")) == ["accepted"]
    [again] = await quiet.take(1)
    assert again.lease_epoch == 3
    await quiet.confirmed(await quiet.heartbeat((job_id, 1)))
    await quiet.heartbeat((job_id, 1))  # takes the lease, and with it the reason to confirm
    await quiet.until(lambda: quiet.not_held == [(job_id, 1)] * 2, "that the older one is not held")
    await _state(client, job_id, State.WAITING)
    assert await history(client, job_id) == ["granted", "released", "granted", "rejected"]
    await agree(client, database)


async def test_nobody_claims_the_lease_of_another(connect: Connect, hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    thief = await connect(name="thief")
    wrong_epoch = type(lease(job))(job_id=job_id, lease_epoch=job.lease_epoch + 1)
    assert [ref.job_id for ref in (await thief.connect(held=[lease(job)])).not_held] == [job_id]
    assert [ref.job_id for ref in (await hand.connect(held=[wrong_epoch])).not_held] == [job_id]
    hand.held.clear()
    await _state(client, job_id, State.PROCESSING)
    assert await history(client, job_id) == ["granted"], "an agent that names another epoch is not one that came back without it"
    await agree(client, database)


async def test_after_a_takeover_a_lease_waits_a_full_lease_for_its_holder_and_nobody_else(
    broker: BrokerProcess, connect: Connect, hand: ScriptedAgent, client: Client, database: str, directory: Path, stack: AsyncExitStack
) -> None:
    ids = [(await client.submit("t")).job_id for _ in range(2)]
    mine, orphan = await hand.take(2)
    other = await connect(name="other")
    await broker.kill()
    for agent in (hand, other):
        await agent.close()
    again = await start_broker(directory, database=database, listen=broker.address, name="again")
    stack.push_async_callback(again.kill)
    ready = asyncio.get_running_loop().time()
    welcome = await other.connect(held=[lease(mine), lease(orphan)])
    assert [ref.job_id for ref in welcome.not_held] == ids, "they are another agent's"
    await other.credit(5)
    while asyncio.get_running_loop().time() < ready + 2.0:  # the lease is 3 s
        await other.confirmed(other.number + 1)
    assert [await history(client, job_id) for job_id in ids] == [["granted"], ["granted"]]
    hand.held = {mine.job_id: mine, orphan.job_id: orphan}
    assert not (await hand.connect()).not_held
    hand.beats = False
    for _ in range(2):
        await hand.heartbeat((mine.job_id, mine.lease_epoch))
    await other.until(lambda: other.jobs, "the job that its holder does not name any more")
    assert [await history(client, job_id) for job_id in ids] == [["granted"], ["granted", "rejected", "granted"]]
    await agree(client, database)


async def test_after_a_takeover_a_lease_that_nobody_claims_is_given_back_uncharged(
    broker: BrokerProcess, connect: Connect, hand: ScriptedAgent, client: Client, database: str, directory: Path, stack: AsyncExitStack
) -> None:
    ids = [(await client.submit("t")).job_id for _ in range(2)]
    mine, orphan = await hand.take(2)
    await broker.kill()
    await hand.close()
    again = await start_broker(directory, database=database, listen=broker.address, name="again")
    stack.push_async_callback(again.kill)
    await hand.connect(held=[lease(mine)])
    hand.drop(orphan.job_id, orphan.lease_epoch)
    await _state(client, ids[1], State.WAITING)
    assert [await history(client, job_id) for job_id in ids] == [["granted"], ["granted", "rejected"]], "its agent came back without it"
    await hand.close()
    await again.kill()
    third = await start_broker(directory, database=database, listen=broker.address, name="third")
    stack.push_async_callback(third.kill)
    await _state(client, ids[0], State.WAITING)
    assert await history(client, ids[0]) == ["granted", "owner_changed"]
    job = await client.get(ids[0])
    assert (job.attempt, job.losses) == (0, 0)
    assert await hand.connect(held=[lease(mine)])
    assert await hand.report(outcome(mine, "completed")) == ["accepted_late"], "nobody began since"
    await agree(client, database)
