"""Messages that come twice: each changes a job once, and each is told what became of it."""

import asyncio
from contextlib import suppress

import pytest
from headrace_client import Client, Conflict, JobSpec, State
from headrace_proto.v1 import agents_pb2

from tests.fire.conftest import Connect
from tests.support.agreement import agree, history
from tests.support.processes import until
from tests.support.scripted_agent import STREAM_ENDS, ScriptedAgent, lease, outcome


async def test_an_outcome_twice_in_one_message_and_again_in_the_next(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.report(outcome(job, "completed"), outcome(job, "completed"))
    first, *second = hand.dispositions[job.job_id, job.lease_epoch]
    assert first == "accepted"
    assert set(second) <= {"already_applied", "not_owner"}, "it cannot be told before the first one is durable"
    assert await hand.report(outcome(job, "completed")) == ["already_applied"]
    assert await history(client, job_id) == ["granted", "completed"]
    await agree(client, database)


@pytest.mark.parametrize("kind", ["failed", "timed_out", "released", "aborted"])
async def test_an_outcome_that_comes_again_after_the_next_grant_does_not_touch_the_new_lease(hand: ScriptedAgent, client: Client, database: str, kind: str) -> None:
    if kind == "aborted":
        job_id = (await client.submit("t")).job_id
        [job] = await hand.take(1)
        assert await hand.report(outcome(job, kind)) == ["accepted"]
        await client.requeue([job_id])
        before = ["granted", "aborted", "requeued", "granted"]
    else:
        job_id = (await client.submit("t")).job_id
        [job] = await hand.take(1)
        assert await hand.report(outcome(job, kind, **({} if kind == "released" else {"after_s": 0}))) == ["accepted"]
        before = ["granted", kind, "granted"]
    [again] = await hand.take(1)
    assert (again.job_id, again.lease_epoch) == (job_id, len(before))
    assert await hand.report(outcome(job, kind)) == ["already_applied"]
    assert await hand.report(outcome(job, "completed")) == ["superseded"]
    await hand.send(accept=agents_pb2.Accept(assign_no=hand.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job))]))
    await hand.proven()
    assert await history(client, job_id) == [*before, "(late_outcome)"]
    assert (await client.attempts(job_id))[0].late_outcome == "completed"
    assert await hand.report(outcome(again, "completed")) == ["accepted"]
    assert [event.kind for event in await client.events(job_id) if not event.note][1:] == [*before, "completed"]
    await agree(client, database)


async def test_a_second_stream_takes_the_session_over_from_one_that_is_half_dead(connect: Connect, hand: ScriptedAgent, client: Client, database: str) -> None:
    ids = [(await client.submit("t")).job_id for _ in range(2)]
    one, two = await hand.take(2)
    await hand.send(outcomes=[outcome(one, "completed")])  # and its answer is never read
    second = ScriptedAgent(hand.address, name=hand.name, incarnation_id=hand.incarnation_id, columns=hand.columns)
    try:
        welcome = await second.connect(held=[lease(one), lease(two)])
        assert welcome.resumed and {ref.job_id for ref in welcome.not_held} <= {one.job_id}
        with suppress(*STREAM_ENDS):
            await hand.send(outcomes=[outcome(two, "failed", permanent=True)])  # through the stream that is not the session's any more
        await hand.until(lambda: hand.ended, "the end")
        assert await second.report(outcome(two, "completed")) == ["accepted"]
        assert await second.report(outcome(one, "completed")) in (["accepted"], ["already_applied"]), "the old stream may have been read or not"
        for job_id in ids:
            assert await history(client, job_id) == ["granted", "completed"]
        await agree(client, database)
    finally:
        await second.close()


async def test_of_many_streams_of_one_incarnation_one_stays_and_has_the_leases(connect: Connect, hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    twins = [ScriptedAgent(hand.address, name=hand.name, incarnation_id=hand.incarnation_id, beats=False, columns=hand.columns) for _ in range(5)]
    try:
        await asyncio.gather(*(twin.connect(held=[lease(job)]) for twin in twins))

        async def one_left() -> bool:
            return sum(not twin.ended for twin in twins) == 1

        await until(one_left, what="the end of the other streams")
        [left] = [twin for twin in twins if not twin.ended]
        left.held[job_id] = job
        await left.proven()
        assert await left.report(outcome(job, "completed")) == ["accepted"]
        assert await history(client, job_id) == ["granted", "completed"]
        await agree(client, database)
    finally:
        for twin in twins:
            await twin.close()


async def test_accepts_and_rejections_that_come_again_change_nothing(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    refused = agents_pb2.Accept(assign_no=hand.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job), reason="no")])
    hand.drop(job.job_id, job.lease_epoch)
    for _ in range(2):
        await hand.send(accept=refused)
    [again] = await hand.take(1)
    assert again.lease_epoch == 3
    for _ in range(2):
        await hand.send(accept=refused)
        await hand.proven()
    assert await history(client, job_id) == ["granted", "rejected", "granted"]
    assert (await client.get(job_id)).attempt == 1
    await agree(client, database)


async def test_a_key_submitted_many_times_at_once_gives_one_job(client: Client, database: str) -> None:
    single = [client.submit("t", 1, key="one") for _ in range(20)]
    many = [client.submit_many([JobSpec("t", 1, key="one"), JobSpec("t", n, key=f"own-{n}")]) for n in range(20)]
    singles, lists = await asyncio.gather(asyncio.gather(*single), asyncio.gather(*many))
    results = [*singles, *(result for found in lists for result in found[:1])]
    ids = {result.job_id for result in results if not isinstance(result, Exception)}
    assert len(results) == 40 and len(ids) == 1
    assert sum(not result.existing for result in results if not isinstance(result, Exception)) == 1
    with pytest.raises(Conflict):
        await client.submit("t", 2, key="one")
    assert (await client.count()).totals == {State.WAITING: 21}
    await agree(client, database)


async def test_of_many_equal_changes_at_once_one_is_made_and_the_others_are_told(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    forced = [result for results in await asyncio.gather(*(client.abort([job_id], force=True) for _ in range(5))) for result in results]
    assert sorted((result.ok, result.reason) for result in forced) == [(False, "INVALID_STATE")] * 4 + [(True, "")]
    assert hand.revoked == [(job.job_id, job.lease_epoch)]
    requeued = [result for results in await asyncio.gather(*(client.requeue([job_id]) for _ in range(5))) for result in results]
    assert [result.ok for result in requeued].count(True) == 1
    assert [result.ok for result in await client.abort([job_id])] == [True]
    mixed = await asyncio.gather(*(call([job_id]) for call in (client.requeue, client.purge, client.requeue, client.purge)))
    assert [result.ok for results in mixed for result in results].count(True) == 1
    assert [result.ok for result in await client.purge([job_id, job_id])] in ([True, True], [False, False]), "an id that comes twice is changed once"
    await agree(client, database)


async def test_a_request_to_abort_that_comes_twice_ends_the_attempt_once(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await asyncio.gather(*(client.abort([job_id], reason="enough") for _ in range(2)))
    await hand.until(lambda: len(hand.aborts) == 2, "both orders")
    assert await hand.report(outcome(job, "released")) == ["accepted"]
    assert await hand.report(outcome(job, "released")) == ["already_applied"]
    assert sorted(await history(client, job_id)) == ["(abort_requested)", "(abort_requested)", "(abort_stopped)", "aborted", "granted"]
    assert (await client.get(job_id)).attempt == 1, "an abort ends the attempt as it is"
    await agree(client, database)
