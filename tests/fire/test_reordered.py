"""Messages that come in the wrong order, or long after their lease: what is stale changes nothing."""

import asyncio

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_client import AdminClient, Client, JobFilter, State
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from tests.fire.conftest import Connect
from tests.support.agreement import agree, history
from tests.support.processes import BrokerProcess, until
from tests.support.scripted_agent import ScriptedAgent, lease, outcome
from tests.support.wire import Wire


async def _again(hand: ScriptedAgent, client: Client) -> tuple[agents_pb2.AssignedJob, agents_pb2.AssignedJob]:
    """A job that was given back under its first lease and runs under its second."""
    await client.submit("t")
    [old] = await hand.take(1)
    assert await hand.report(outcome(old, "released")) == ["accepted"]
    [new] = await hand.take(1)
    assert (new.job_id, old.lease_epoch, new.lease_epoch) == (old.job_id, 1, 3)
    return old, new


async def test_an_outcome_before_its_accept_counts_and_the_accept_does_no_harm(hand: ScriptedAgent, client: Client, admin: AdminClient, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    await hand.credit(1)
    await hand.until(lambda: hand.jobs, "the Assign")
    [job] = hand.jobs
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    await hand.send(accept=agents_pb2.Accept(assign_no=hand.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job), reason="late")]))
    await hand.proven()
    assert await history(client, job_id) == ["granted", "completed"]
    held = await admin.start_operation("hold", JobFilter(types=["t"]))  # so that there is something to agree on of operations too
    await admin.wait_operation(held.operation_id)
    await agree(client, database)


async def test_an_outcome_and_the_rejection_of_its_job_in_one_message_are_one_end(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    refused = agents_pb2.Accept(assign_no=hand.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job), reason="no")])
    await hand.send(accept=refused, outcomes=[outcome(job, "completed")])
    await hand.until(lambda: hand.dispositions, "the disposition")
    await hand.proven()
    assert hand.dispositions == {(job.job_id, job.lease_epoch): ["accepted"]}
    assert await history(client, job_id) == ["granted", "completed"]
    await agree(client, database)


async def test_a_heartbeat_after_the_end_of_its_lease_is_told_that_it_is_not_held(hand: ScriptedAgent, client: Client, database: str) -> None:
    old, new = await _again(hand, client)
    await hand.heartbeat((old.job_id, old.lease_epoch), (12345, 1))
    await hand.until(lambda: set(hand.not_held) == {(old.job_id, 1), (12345, 1)}, "what is not held")
    assert hand.held[new.job_id].lease_epoch == 3
    await hand.proven()
    assert await history(client, new.job_id) == ["granted", "released", "granted"]
    await agree(client, database)


async def test_an_older_credit_after_a_newer_one_gives_no_room(connect: Connect, client: Client, database: str) -> None:
    agent = await connect(slots=2)
    for _ in range(5):
        await client.submit("t")
    await agent.take(2)
    await agent.credit(0)
    await agent.credit(2, assign_no=0)  # counted before the Assign came
    await agent.proven()
    await agent.proven()
    assert len(agent.jobs) == 2
    await agent.credit(2, assign_no=agent.assign_no + 5)
    await agent.until(lambda: len(agent.jobs) == 4, "what a newer credit gives room for")
    await agree(client, database)


async def test_what_is_given_back_waits_for_no_retry_and_spends_no_attempt(hand: ScriptedAgent, client: Client, admin: AdminClient, database: str) -> None:
    await admin.set_type("t", retry_delay_s=3600.0, retry_max_s=3600.0, max_attempts=1)
    job_id = (await client.submit("t")).job_id
    for epoch in (1, 3):
        [job] = await hand.take(1)
        assert (job.lease_epoch, job.attempt) == (epoch, 1)
        assert await hand.report(outcome(job, "released")) == ["accepted"]
        assert (await client.get(job_id)).wait_reason == "ready"
    await agree(client, database)


async def test_an_agent_that_asks_for_more_than_its_slots_gets_no_more(connect: Connect, client: Client, database: str) -> None:
    agent = await connect(slots=2)
    for _ in range(5):
        await client.submit("t")
    await agent.credit(50)
    await agent.until(lambda: len(agent.jobs) == 2, "as many as it has slots")
    await agent.proven()
    await agent.proven()
    assert len(agent.jobs) == 2
    await agree(client, database)


async def test_a_message_whose_number_was_overtaken_ends_the_stream_and_changes_nothing(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.proven()
    await hand.send(number=2, outcomes=[outcome(job, "completed")])
    await hand.until(lambda: hand.away, "the end")
    assert "numbers must rise" in hand.away
    assert not (await hand.connect(held=[lease(job)])).not_held
    assert await history(client, job_id) == ["granted"]
    await agree(client, database)


async def test_progress_and_checkpoints_of_an_older_lease_are_passed_over(hand: ScriptedAgent, client: Client, database: str) -> None:
    old, new = await _again(hand, client)
    stale = agents_pb2.ProgressReport(lease=lease(old), progress=types_pb2.Progress(percent=99, text="stale"), checkpoint=b"stale")
    await hand.send(progress=[stale])
    await hand.proven()
    job = await client.get(new.job_id)
    assert job.progress is None
    assert await hand.report(outcome(new, "released")) == ["accepted"]
    [third] = await hand.take(1)
    assert not third.HasField("checkpoint")
    await hand.send(progress=[agents_pb2.ProgressReport(lease=lease(third), progress=types_pb2.Progress(percent=50, text="half"), checkpoint=b"half")])
    await hand.proven()
    job = await client.get(new.job_id)
    assert job.progress == (50.0, "half")
    assert await hand.report(outcome(third, "released")) == ["accepted"]
    await hand.send(progress=[agents_pb2.ProgressReport(lease=lease(third), checkpoint=b"after the end")])
    [fourth] = await hand.take(1)
    assert fourth.checkpoint == b"half"
    assert [kind for kind in await history(client, new.job_id) if kind == "(checkpoint)"] == ["(checkpoint)"]
    await agree(client, database)


async def test_a_checkpoint_does_not_outlive_a_requeue(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await hand.send(progress=[agents_pb2.ProgressReport(lease=lease(job), checkpoint=b"half")])
    assert await hand.report(outcome(job, "failed", permanent=True)) == ["accepted"]
    await client.requeue([job_id])
    [again] = await hand.take(1)
    assert (again.run, again.attempt, again.HasField("checkpoint")) == (2, 1, False)
    await agree(client, database)


async def test_log_lines_of_an_older_lease_stay_with_it_and_use_no_room_of_the_new_one(hand: ScriptedAgent, client: Client, admin: AdminClient, database: str) -> None:
    await admin.set_type("t", log_limit_lines=2, log_limit_bytes=1000)
    old, new = await _again(hand, client)

    def lines(job: agents_pb2.AssignedJob) -> agents_pb2.LogBatch:
        texts = [jobs_pb2.LogLine(line_no=n, at=Timestamp(seconds=1), level=jobs_pb2.LOG_LEVEL_INFO, text=f"{job.lease_epoch}/{n}".ljust(400)) for n in (1, 2)]
        return agents_pb2.LogBatch(lease=lease(job), lines=texts)

    for job in (old, old, new, old):
        await hand.send(logs=[lines(job)])

    async def stored() -> bool:
        return len([line async for line in client.logs(new.job_id)]) == 4

    await until(stored, what="the lines")
    assert [(line.lease_epoch, line.text.strip()) async for line in client.logs(new.job_id)] == [(1, "1/1"), (1, "1/2"), (3, "3/1"), (3, "3/2")]
    await agree(client, database)


async def test_a_late_outcome_counts_only_while_its_loss_is_the_last_that_happened(connect: Connect, client: Client, database: str) -> None:
    """Lost, then: aborted and requeued; granted and given back; requeued after a late outcome."""
    ids = [(await client.submit("t")).job_id for _ in range(3)]
    agent = await connect()
    requeued, given_back, late = await agent.take(3)
    await agent.close()

    async def lost() -> bool:
        return all([(await client.get(job_id)).losses == 1 for job_id in ids])

    await until(lost, what="the losses")
    await client.abort([requeued.job_id])
    await client.requeue([requeued.job_id])
    await agent.connect(held=[])
    agent.held.clear()
    assert await agent.report(outcome(late, "completed")) == ["accepted_late"]
    [again] = [job for job in await agent.take(2) if job.job_id == given_back.job_id]
    for job in agent.held.copy().values():
        agent.drop(job.job_id, job.lease_epoch)
        await agent.send(accept=agents_pb2.Accept(assign_no=agent.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job), reason="no")]))
    await agent.proven()
    assert again.lease_epoch == 3 and (await client.get(given_back.job_id)).state is State.WAITING
    for job in (requeued, given_back):
        assert await agent.report(outcome(job, "completed")) == ["superseded"]
        assert (await client.get(job.job_id)).state is State.WAITING
    await client.requeue([late.job_id], include_completed=True)
    assert await agent.report(outcome(late, "completed")) == ["already_applied"]
    assert (await client.get(late.job_id)).state is State.WAITING
    await agree(client, database)


@pytest.mark.parametrize("end", ["released", "failed"])
async def test_a_job_that_was_given_back_takes_no_late_outcome(hand: ScriptedAgent, client: Client, database: str, end: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    assert await hand.report(outcome(job, end)) == ["accepted"]
    assert await hand.report(outcome(job, "completed")) == ["superseded"]
    assert [kind for kind in await history(client, job_id) if kind != "(late_outcome)"] == ["granted", end]
    await agree(client, database)


async def test_an_outcome_by_a_unary_call_while_the_streams_one_is_in_flight(hand: ScriptedAgent, client: Client, broker: BrokerProcess, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    request = agents_pb2.ReportOutcomesRequest(incarnation_id=hand.incarnation_id, outcomes=[outcome(job, "completed")])
    async with grpc.aio.insecure_channel(broker.address) as channel:
        wire = Wire(channel)
        by_stream, by_call = await asyncio.gather(hand.report(outcome(job, "completed")), wire.call("Agents.ReportOutcomes", request))
        said = [by_stream[0], agents_pb2.Disposition.Name(by_call.acks[0].disposition).removeprefix("DISPOSITION_").lower()]
        assert said.count("accepted") == 1 and set(said) <= {"accepted", "already_applied", "not_owner"}
        final = await wire.call("Agents.ReportOutcomes", request)
    assert final.acks[0].disposition == agents_pb2.DISPOSITION_ALREADY_APPLIED
    assert await history(client, job_id) == ["granted", "completed"]
    await agree(client, database)


async def test_an_abort_and_the_outcome_that_crosses_it(hand: ScriptedAgent, client: Client, database: str) -> None:
    for _ in range(10):
        job_id = (await client.submit("t")).job_id
        [job] = await hand.take(1)
        said, [aborted] = await asyncio.gather(hand.report(outcome(job, "completed")), client.abort([job_id]))
        assert said == ["accepted"], "a request to abort that comes too late changes nothing"
        assert aborted.ok or aborted.reason == "INVALID_STATE"
        assert (await client.get(job_id)).state is State.COMPLETED
    for _ in range(10):
        job_id = (await client.submit("t")).job_id
        [job] = await hand.take(1)
        said, [aborted] = await asyncio.gather(hand.report(outcome(job, "completed")), client.abort([job_id], force=True))
        won = said == ["accepted"]
        assert said == ["accepted" if won else "superseded"] and aborted.ok is not won
        assert (await client.get(job_id)).state is (State.COMPLETED if won else State.ABORTED)
    await agree(client, database)


async def test_after_a_forced_abort_the_next_lease_waits_for_the_end_of_the_old_one(hand: ScriptedAgent, client: Client, database: str) -> None:
    job_id = (await client.submit("t")).job_id
    [job] = await hand.take(1)
    await client.abort([job_id], force=True)
    await client.requeue([job_id])
    before = asyncio.get_running_loop().time()
    [again] = await hand.take(1)
    assert again.lease_epoch == 4 and asyncio.get_running_loop().time() - before > 2.0, "the lease is 3 s"
    assert await hand.report(outcome(job, "completed")) == ["superseded"]
    assert await hand.report(outcome(again, "completed")) == ["accepted"]
    await agree(client, database)
