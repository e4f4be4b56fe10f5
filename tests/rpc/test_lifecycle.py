"""Abort with proof, requeue with lineage, updates, hold and delete dates, asked for by clients and seen by readers; agents are scripts on the wire."""

from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import grpc
import pytest
from headrace_broker.model.job import MAX_RUN
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.pool import open_pool
from headrace_broker.store.retire import Retirement
from headrace_client import AdminClient, Client, InvalidRequest, JobSpec, NotFound, State
from headrace_client.models import AbortRequest
from headrace_proto.v1 import agents_pb2, lifecycle_pb2
from headrace_proto.v1.lifecycle_pb2_grpc import LifecycleStub

from tests.support.agreement import agree, history
from tests.support.processes import BrokerProcess, until
from tests.support.scripted_agent import ScriptedAgent, lease, outcome

DELIVERED, IGNORED = agents_pb2.ABORT_PHASE_DELIVERED, agents_pb2.ABORT_PHASE_IGNORED


@pytest.fixture(params=[False, True], ids=["one-by-one", "columns"])
async def hand(broker: BrokerProcess, stack: AsyncExitStack, request: pytest.FixtureRequest) -> ScriptedAgent:
    agent = ScriptedAgent(broker.address, columns=request.param)
    stack.push_async_callback(agent.close)
    await agent.connect()
    return agent


async def running(client: Client, hand: ScriptedAgent, **options: object) -> agents_pb2.AssignedJob:
    """A job that the agent runs."""
    await client.submit("t", "first", **options)  # type: ignore[arg-type]  # any option of submit
    [job] = await hand.take(1)
    return job


async def tell(hand: ScriptedAgent, job: agents_pb2.AssignedJob, phase: agents_pb2.AbortPhase) -> None:
    """How far an abort came, durably told."""
    await hand.send(aborts=[agents_pb2.AbortReport(lease=lease(job), phase=phase)])
    await hand.proven()


async def record(client: Client, job_id: int) -> AbortRequest:
    """The record of a job's abort."""
    abort = (await client.get(job_id)).abort
    assert abort is not None
    return abort


async def test_an_abort_is_proven_step_by_step(client: Client, admin: AdminClient, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    [result] = await admin.abort([job.job_id], reason="wrong customer", grace_s=7)
    assert result.ok and result.state is State.PROCESSING
    asked = await record(client, job.job_id)
    assert (asked.actor, asked.reason, asked.grace_s, asked.lease_epoch, asked.delivered_at, asked.ending) == ("tester", "wrong customer", 7.0, job.lease_epoch, None, "")
    await hand.until(lambda: hand.aborts == [job.job_id], "the abort")
    for phase in (DELIVERED, DELIVERED, IGNORED):  # said again after a new stream, it is noted once
        await tell(hand, job, phase)
    told = await record(client, job.job_id)
    assert told.delivered_at is not None and told.agent == "hand" and told.ignored_at is not None and told.ended_at is None
    assert await hand.report(outcome(job, "aborted", killed=True)) == ["accepted"]
    ended = await record(client, job.job_id)
    assert (ended.ending, ended.requested_at) == ("killed", asked.requested_at) and ended.ended_at is not None and ended.ended_at >= told.delivered_at
    wanted = ["granted", "(abort_requested)", "(abort_delivered)", "(abort_ignored)", "(abort_killed)", "aborted"]
    assert sorted(await history(client, job.job_id)) == sorted(wanted)
    await agree(client, database)


@pytest.mark.parametrize(
    ("kind", "ending", "state"),
    [("aborted", "stopped", State.ABORTED), ("failed", "stopped", State.ABORTED), ("completed", "finished", State.COMPLETED)],
)
async def test_the_record_says_how_the_handler_ended(client: Client, hand: ScriptedAgent, kind: str, ending: str, state: State) -> None:
    job = await running(client, hand)
    await client.abort([job.job_id])
    assert await hand.report(outcome(job, kind)) == ["accepted"]
    assert (await record(client, job.job_id)).ending == ending
    assert (await client.get(job.job_id)).state is state


async def test_the_record_of_an_abort_without_a_handlers_word(client: Client, hand: ScriptedAgent) -> None:
    waiting = (await client.submit("unserved")).job_id
    await client.abort([waiting], reason="not needed")
    not_started = await record(client, waiting)
    assert (not_started.ending, not_started.force) == ("not_started", False)
    job = await running(client, hand)
    await client.abort([job.job_id], force=True)
    await hand.until(lambda: (job.job_id, job.lease_epoch) in hand.revoked, "the revocation")
    forced = await record(client, job.job_id)
    assert (forced.ending, forced.force) == ("forced", True)
    lost = await running(client, hand)
    await client.abort([lost.job_id])
    await hand.close()
    assert (await client.wait(lost.job_id, timeout_s=20)).state is State.ABORTED
    assert (await record(client, lost.job_id)).ending == "lost"


async def test_a_report_under_another_lease_is_not_noted(client: Client, hand: ScriptedAgent) -> None:
    job = await running(client, hand)
    await tell(hand, job, DELIVERED)  # nobody asked for anything
    assert await history(client, job.job_id) == ["granted"]
    await client.abort([job.job_id])
    await hand.until(lambda: hand.aborts == [job.job_id], "the abort")
    other = agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=job.lease_epoch + 2)
    await hand.send(aborts=[agents_pb2.AbortReport(lease=other, phase=DELIVERED)])
    await hand.proven()
    assert await history(client, job.job_id) == ["granted", "(abort_requested)"]


async def test_a_requeue_with_another_payload_keeps_every_version(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    assert await hand.report(outcome(job, "completed", result=b'"one"')) == ["accepted"]
    assert not (await client.requeue([job.job_id], data="second"))[0].ok, "a completed job only by name"
    assert (await client.requeue([job.job_id], data="second", include_completed=True, reason="other input"))[0].ok
    [again] = await hand.take(1)
    assert (again.payload, again.run, again.attempt) == (b'"second"', 2, 1)
    assert await hand.report(outcome(again, "failed", permanent=True, error={"code": "Bad", "message": "no"})) == ["accepted"]
    assert (await client.requeue([job.job_id]))[0].ok
    [third] = await hand.take(1)
    assert (third.payload, third.run) == (b'"second"', 3), "the newest payload stays in force"
    runs = await client.runs(job.job_id, full=True)
    assert [(run.run, run.payload, run.payload_version, run.result) for run in runs] == [
        (1, b'"first"', 0, b'"one"'), (2, b'"second"', 3, b""), (3, b'"second"', 3, b""),
    ]  # fmt: skip
    assert [(run.state, run.ending, run.reason) for run in runs] == [
        (State.COMPLETED, "completed", ""), (State.ERROR, "failed", "other input"), (State.PROCESSING, "granted", ""),
    ]  # fmt: skip
    assert runs[1].error is not None and runs[1].error.code == "Bad" and runs[0].agent == "hand" and runs[0].json_result() == "one"
    assert [attempt.payload_version for attempt in await client.attempts(job.job_id)] == [0, 3, 3]
    found = await client.get(job.job_id, full=True)
    assert (found.payload, found.payload_version, found.payload_bytes) == (b'"second"', 3, len(b'"second"'))
    [newest] = await client.runs(job.job_id, limit=1)
    assert newest.run == 3 and newest.payload == b""
    assert [run.run for run in await client.runs(job.job_id, before_run=3)] == [1, 2]
    await agree(client, database)


async def test_the_last_run_that_there_can_be_is_shown(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    con = await asyncpg.connect(database)
    numbered = "update headrace.event set run = $2 where job_id = $1"
    await con.execute(numbered, job.job_id, MAX_RUN)
    for before_run in (0, MAX_RUN + 1, 2**32 - 1):
        assert [run.run for run in await client.runs(job.job_id, before_run=before_run)] == [MAX_RUN]
    assert await client.runs(job.job_id, before_run=MAX_RUN) == []
    await con.execute(numbered, job.job_id, 1)  # as its history has it
    await con.close()


async def test_a_job_that_never_ran_has_one_run(client: Client) -> None:
    job_id = (await client.submit("unserved", 5)).job_id
    [run] = await client.runs(job_id, full=True)
    assert (run.run, run.state, run.payload, run.ending) == (1, State.WAITING, b"5", "")


async def test_abort_then_requeue_is_one_call(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    [result] = await client.requeue([job.job_id], abort_first=True, data="other", reason="again")
    assert result.ok and result.state is State.PROCESSING
    await hand.until(lambda: hand.aborts == [job.job_id], "the abort")
    assert (await record(client, job.job_id)).requeue
    assert await hand.report(outcome(job, "aborted")) == ["accepted"]
    [again] = await hand.take(1)
    assert (again.job_id, again.run, again.payload) == (job.job_id, 2, b'"other"')
    assert (await record(client, job.job_id)).ending == "stopped"
    assert [kind for kind in await history(client, job.job_id) if kind[0] != "("] == ["granted", "aborted", "requeued", "granted"]
    await agree(client, database)


async def test_a_scheduled_job_that_is_aborted_and_requeued_may_start_at_once(client: Client, hand: ScriptedAgent, database: str) -> None:
    job_id = (await client.submit("t", 1, delay_s=3600)).job_id
    await client.requeue([job_id], abort_first=True)
    assert [job.job_id for job in await hand.take(1)] == [job_id]
    await agree(client, database)


@pytest.mark.parametrize(("include_completed", "state"), [(False, State.COMPLETED), (True, State.WAITING)])
async def test_what_completes_before_its_abort_is_run_again_only_by_name(
    client: Client, hand: ScriptedAgent, database: str, include_completed: bool, state: State
) -> None:
    job = await running(client, hand)
    await client.requeue([job.job_id], abort_first=True, include_completed=include_completed)
    assert await hand.report(outcome(job, "completed", result=b"1")) == ["accepted"]
    assert (await client.get(job.job_id)).state is state
    assert (await client.runs(job.job_id, full=True))[0].result == b"1"
    await agree(client, database)


async def test_a_waiting_job_that_is_aborted_and_requeued_has_a_new_run_at_once(client: Client, database: str) -> None:
    job_id = (await client.submit("unserved", 1)).job_id
    await client.update([job_id], priority=4)
    [result] = await client.requeue([job_id], abort_first=True, data=2)
    assert result.ok and result.state is State.WAITING
    job = await client.get(job_id, full=True)
    assert (job.run, job.payload, job.priority) == (2, b"2", 4)
    await agree(client, database)


async def test_a_later_abort_takes_the_new_run_back(client: Client, hand: ScriptedAgent) -> None:
    job = await running(client, hand)
    await client.requeue([job.job_id], abort_first=True)
    await client.abort([job.job_id], reason="no, for good")
    assert await hand.report(outcome(job, "aborted")) == ["accepted"]
    found = await client.get(job.job_id)
    assert (found.state, found.run, found.abort and found.abort.requeue) == (State.ABORTED, 1, False)


async def test_updates_of_a_waiting_job_reach_its_order_its_handler_and_its_readers(client: Client, hand: ScriptedAgent, database: str) -> None:
    first, second = [(await client.submit("t", n, labels={"colour": "red", "size": "l"})).job_id for n in (1, 2)]
    [result] = await client.update([second], priority=5, data={"n": 2.5}, set_labels={"colour": "blue"}, remove_labels=["size"], reason="urgent")
    assert result.ok and result.state is State.WAITING
    read = await client.get(second, full=True)
    assert (read.priority, read.score, read.payload, read.labels, read.wait_reason) == (5, 5, b'{"n":2.5}', {"colour": "blue"}, "ready")
    assert [job.job_id async for job in client.iter_jobs(states=["waiting"])] == [second, first]
    [job] = await hand.take(1)
    assert (job.job_id, job.payload, dict(job.labels), job.priority) == (second, b'{"n":2.5}', {"colour": "blue"}, 5)
    [event] = [event for event in await client.events(second) if event.kind == "updated"]
    assert event.reason == "urgent"
    assert (await client.update([second], priority=5))[0].ok, "the same again changes nothing"
    assert [event.kind for event in await client.events(second)].count("updated") == 1
    await agree(client, database)


async def test_a_scheduled_job_stays_scheduled_when_it_is_updated(client: Client, database: str) -> None:
    job_id = (await client.submit("t", 1, delay_s=3600)).job_id
    before = await client.get(job_id)
    await client.update([job_id], priority=1)
    after = await client.get(job_id)
    assert after.wait_reason == "scheduled" and after.available_at is not None and before.available_at is not None
    assert abs(after.available_at - before.available_at) < timedelta(milliseconds=1)
    await agree(client, database)


async def test_a_running_job_is_updated_for_what_comes_after(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    assert (await client.update([job.job_id], hold=True, priority=3))[0].ok
    [refused] = await client.update([job.job_id], data=2)
    assert (refused.ok, refused.reason) == (False, "INVALID_STATE")
    assert await hand.report(outcome(job, "completed", result=b"7")) == ["accepted"]
    settled = await client.get(job.job_id, full=True)
    assert (settled.hold, settled.priority, settled.delete_at, settled.result) == (True, 3, None, b"7")
    await agree(client, database)


@pytest.mark.parametrize("hand", [True], indirect=True)
async def test_a_held_job_is_kept_until_it_is_released(client: Client, hand: ScriptedAgent, database: str, con: "asyncpg.Connection[object]") -> None:
    job = await running(client, hand, delete_after_s=0.0)
    assert (await client.hold([job.job_id], reason="audit"))[0].ok
    assert await hand.report(outcome(job, "completed", result=b"7")) == ["accepted"]
    held = await client.get(job.job_id, full=True)
    assert (held.state, held.hold, held.delete_at, held.result) == (State.COMPLETED, True, None, b"7")
    [refused] = await client.purge([job.job_id])
    assert (refused.ok, refused.reason) == (False, "INVALID_STATE")
    settled_at = held.settled_at
    await client.update([job.job_id], set_labels={"seen": "yes"})
    assert (await client.get(job.job_id)).settled_at == settled_at, "an update does not settle it anew"
    await con.execute("update headrace.event set at = at - interval '2 minutes' where job_id = $1", job.job_id)  # dates are whole minutes
    assert (await client.release([job.job_id]))[0].ok

    async def gone() -> bool:
        return await client.find(job.job_id) is None

    await until(gone, what="the deletion of a released job whose date has passed")
    assert (await client.count()).totals.get(State.COMPLETED, 0) == 0
    await agree(client, database)


async def test_delete_dates_come_from_the_job_then_from_its_type_and_can_be_moved(client: Client, admin: AdminClient, hand: ScriptedAgent, database: str) -> None:
    await admin.set_type("t", delete_completed_after_s=3600.0)
    own, plain = [await running(client, hand, **options) for options in ({"delete_after_s": 86_400.0}, {})]
    for job in (own, plain):
        await hand.report(outcome(job, "completed"))

    async def kept_s(job: agents_pb2.AssignedJob) -> float:
        found = await client.get(job.job_id)
        assert found.delete_at is not None and found.settled_at is not None
        return (found.delete_at - found.settled_at).total_seconds()

    assert 86_400 <= await kept_s(own) < 86_520 and 3600 <= await kept_s(plain) < 3720
    assert (await client.get(own.job_id)).delete_after_s == 86_400
    await admin.set_type("t", delete_completed_after_s=7200.0)
    assert await kept_s(plain) < 3720, "its date was fixed when it settled"
    assert [counts async for counts in admin.apply_retention("t")][-1] == (2, 1)
    assert [counts async for counts in admin.apply_retention("t")][-1] == (2, 0), "it may be repeated"
    assert 7200 <= await kept_s(plain) < 7320 and await kept_s(own) >= 86_400
    await client.update([own.job_id], delete_by_type=True)
    assert await kept_s(own) < 7320
    at = datetime.now(UTC) + timedelta(days=3)
    await client.update([own.job_id], delete_at=at)
    found = await client.get(own.job_id)
    assert found.delete_at is not None and timedelta(0) <= found.delete_at - at < timedelta(minutes=2)
    await client.update([own.job_id], delete_at=datetime(9999, 12, 31, tzinfo=UTC))
    found = await client.get(own.job_id)
    assert found.delete_at is not None and found.delete_at.year == 6053, "the last that can be stored"
    await agree(client, database)


async def test_a_key_goes_with_how_long_its_job_is_kept(client: Client, hand: ScriptedAgent) -> None:
    job_id = (await client.submit("t", 1, key="k", delete_after_s=120.0)).job_id
    assert (await client.submit("t", 1, key="k", delete_after_s=120.0)).job_id == job_id
    [job] = await hand.take(1)
    await hand.report(outcome(job, "failed", permanent=True))
    settled = await client.get(job_id)
    assert settled.state is State.ERROR and settled.delete_at is not None, "errors too, when the job says so"


async def test_jobs_in_error_stay_until_they_are_resolved(client: Client, hand: ScriptedAgent) -> None:
    job = await running(client, hand)
    await hand.report(outcome(job, "failed", permanent=True))
    assert (await client.get(job.job_id)).delete_at is None


async def test_the_preview_of_other_settings_is_exact_and_changes_nothing(client: Client, admin: AdminClient, hand: ScriptedAgent, database: str) -> None:
    await client.submit_many([JobSpec("t", n) for n in range(7)])
    for number, job in enumerate(await hand.take(7)):
        await hand.report(outcome(job, "completed" if number < 5 else "failed", permanent=number >= 5))
    held, *_ = [job.job_id async for job in client.iter_jobs(states=["completed"])]
    await client.hold([held])
    preview = await admin.preview_retention("t", delete_completed_after_s=0.0, delete_error_after_s=60.0, sample=3)
    completed, error, aborted = preview.states
    assert (completed.keep_s, completed.keep_then_s, completed.jobs, completed.undated, completed.gone_at_once) == (7 * 86_400.0, 0.0, 5, 1, 0)
    assert completed.due[-1].jobs == completed.due_then[-1].jobs == 4 and completed.due_then[-1].by < completed.due[-1].by
    assert (error.keep_s, error.keep_then_s, error.jobs, error.undated, aborted.jobs) == (None, 60.0, 2, 2, 0)
    assert len(preview.sample) <= 3 and held not in [job.job_id for job in preview.sample]
    assert (await client.count()).totals == {State.COMPLETED: 5, State.ERROR: 2}
    longer = await admin.preview_retention("t", delete_completed_after_s=14 * 86_400.0)
    assert longer.states[0].gone_at_once == 0 and longer.states[0].due_then[-1].by - longer.states[0].due[-1].by == timedelta(days=7)
    with pytest.raises(NotFound):
        await admin.preview_retention("nowhere")
    await agree(client, database)


async def test_versions_and_terms_survive_a_retired_range(client: Client, hand: ScriptedAgent, database: str) -> None:
    """What stays in a range that is rewritten keeps its payload versions; what goes takes them along."""
    gone, kept = [await running(client, hand) for _ in range(2)]
    for job in (gone, kept):
        await hand.report(outcome(job, "completed", result=b"1"))
    await client.requeue([gone.job_id, kept.job_id], include_completed=True, data="other")
    for job in await hand.take(2):
        await hand.report(outcome(job, "completed", result=b"2"))
    await client.hold([kept.job_id])
    con = await asyncpg.connect(database)
    try:
        range_ = await con.fetchrow("select class, lo, hi from headrace.fact_range where class = ($1::bigint & 7) and lo <= $1 and hi > $1", kept.job_id)
        assert range_ is not None
        before = await client.runs(kept.job_id, full=True)
        pool = await open_pool(database)
        async with pool:
            retirement, looked_at = Retirement(pool), FactRange(range_["class"], range_["lo"], range_["hi"])
            found = await retirement.look(looked_at, due_minute=2**31 - 1, keyed_from=2**62, most_kept=10)
            assert set(found.kept) == {gone.job_id, kept.job_id}, "the newest checkpoint does not know yet that one is gone"
            await retirement.retire(looked_at, replace(found, kept=[kept.job_id], gone=1))
        assert await client.runs(kept.job_id, full=True) == before and (await client.get(kept.job_id)).hold
        assert await con.fetchval("select count(*) from headrace.note where job_id = $1", gone.job_id) == 0
        await con.execute("truncate headrace.flush, headrace.count_base, headrace.job, headrace.event, headrace.note")  # the counts knew the job that went
    finally:
        await con.close()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "job_ids"), ({"job_ids": [1]}, "nothing is to be changed"), ({"job_ids": [1], "priority": 2_000_000}, "priority"),
            ({"job_ids": [0], "priority": 1}, "job_ids[0]"),
        ({"job_ids": [1], "content_type": "text/plain"}, "content_type"), ({"job_ids": [1], "delete_after": {"seconds": -1}}, "delete_after"),
        ({"job_ids": [1], "delete_after": {"seconds": 1}, "delete_by_type": True}, "delete_by_type"), ({"job_ids": [1], "set_labels": {"": "x"}}, "set_labels"),
        ({"job_ids": [1], "hold": True, "reason": "x" * 1001}, "reason"),
    ],
)  # fmt: skip
async def test_updates_that_make_no_sense_are_refused_by_field(broker: BrokerProcess, fields: dict[str, object], field: str) -> None:
    async with grpc.aio.insecure_channel(broker.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await LifecycleStub(channel).UpdateJobs(lifecycle_pb2.UpdateJobsRequest(**fields))  # type: ignore[no-untyped-call, arg-type]
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in (caught.value.details() or "")


async def test_requeues_that_make_no_sense_are_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="grace"):
        await client.requeue([1], grace_s=3)
    with pytest.raises(InvalidRequest, match="content_type"):
        await client.requeue([1], content_type="text/plain")
    with pytest.raises(InvalidRequest, match="payload"):
        await client.requeue([1], payload=b"x" * (2 * 1024 * 1024))
    [missing] = await client.update([1], hold=True)
    assert (missing.ok, missing.reason) == (False, "JOB_NOT_FOUND")


async def test_who_waits_for_a_job_is_not_told_of_an_abort_that_is_followed_by_a_new_run(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    waits = (await client.submit("t", "then", depends_on=[job.job_id])).job_id
    await client.requeue([job.job_id, waits], abort_first=True, data="again")
    assert await hand.report(outcome(job, "aborted")) == ["accepted"]
    assert (await client.get(waits)).wait_reason == "dependency"
    [again] = await hand.take(1)
    assert (again.job_id, again.run) == (job.job_id, 2)
    assert await hand.report(outcome(again, "completed")) == ["accepted"]
    [then] = await hand.take(1)
    assert (then.job_id, then.run, then.payload) == (waits, 2, b'"again"')
    await agree(client, database)


async def test_jobs_with_a_limit_key_are_updated_aborted_and_run_again_like_any_other(client: Client, admin: AdminClient, hand: ScriptedAgent, database: str) -> None:
    await admin.set_type("t", concurrency_per_key=1)
    job = await running(client, hand, limit_key="one")
    await client.requeue([job.job_id], abort_first=True, data="again")
    assert await hand.report(outcome(job, "aborted")) == ["accepted"]
    [again] = await hand.take(1)
    assert (again.job_id, again.run, again.payload) == (job.job_id, 2, b'"again"')
    other = (await client.submit("t", 1, limit_key="one")).job_id
    await client.update([other], priority=3, data=2)
    assert await hand.report(outcome(again, "completed")) == ["accepted"]
    [last] = await hand.take(1)
    assert (last.job_id, last.priority, last.payload) == (other, 3, b"2")
    await agree(client, database)


async def test_the_view_says_of_jobs_that_run_again_or_were_changed_what_calls_say(client: Client, hand: ScriptedAgent, database: str) -> None:
    job = await running(client, hand)
    assert await hand.report(outcome(job, "failed", permanent=True, error={"code": "Bad", "message": "no"})) == ["accepted"]
    await client.update([job.job_id], hold=True)
    later = (await client.submit("nobody", 1, delay_s=3600)).job_id
    await client.abort([later])
    [again] = await client.requeue([later])
    assert again.ok and (await client.get(later)).wait_reason == "no_agent", "it does not wait for its first time"
    con = await asyncpg.connect(database)
    try:
        rows = {row["job_id"]: row for row in await con.fetch("select job_id, available_at, error ->> 'message' as error from headrace.job_state")}
    finally:
        await con.close()
    assert rows[later]["available_at"] is None and rows[job.job_id]["error"] == "no"
    await agree(client, database)
