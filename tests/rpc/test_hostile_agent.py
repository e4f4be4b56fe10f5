"""An agent that says things of leases that are somebody else's: of its own domain, where nothing but the lease keeps it out. Nothing changes, and it is counted."""

import re
from collections.abc import Iterable
from contextlib import AsyncExitStack

import asyncpg
import grpc
import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_broker.model.access import Role
from headrace_broker.rpc.access import LEAST
from headrace_client import Client, State
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from tests.support.processes import BrokerProcess, until
from tests.support.scripted_agent import KINDS, ScriptedAgent, lease, outcome
from tests.support.wire import Wire

KIND_SETTLED = 6
PHASES = (agents_pb2.ABORT_PHASE_DELIVERED, agents_pb2.ABORT_PHASE_IGNORED)


@pytest.fixture
def broker_options() -> tuple[str, ...]:
    """Leases last longer than the test."""
    return ("--lease-s", "60")


@pytest.fixture
async def wire(broker: BrokerProcess, stack: AsyncExitStack) -> Wire:
    """Calls without a stream."""
    return Wire(await stack.enter_async_context(grpc.aio.insecure_channel(broker.address)))


async def agents(broker: BrokerProcess, stack: AsyncExitStack, *, columns: bool) -> tuple[ScriptedAgent, ScriptedAgent]:
    """Who has the leases, and who wants to have a say in them."""
    made = ScriptedAgent(broker.address, name="victim"), ScriptedAgent(broker.address, name="thief", columns=columns)
    for agent in made:
        await agent.connect()
        stack.push_async_callback(agent.close)
    return made


def everything(job: agents_pb2.AssignedJob) -> Iterable[agents_pb2.Outcome]:
    """All outcomes that an agent can report of a lease, with and without a door."""
    for kind in KINDS:
        yield outcome(job, kind, result=b"stolen")
        yield outcome(job, kind, door=True, permanent=True, killed=True)
    yield agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=KIND_SETTLED)  # type: ignore[arg-type]


def lines(job: agents_pb2.AssignedJob, epoch: int, text: str = "stolen") -> agents_pb2.LogBatch:
    """The first line of an attempt."""
    ref = agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=epoch)
    return agents_pb2.LogBatch(lease=ref, lines=[jobs_pb2.LogLine(line_no=1, at=Timestamp(seconds=1_800_000_000), text=text, level=2)])  # type: ignore[arg-type]


async def facts(con: "asyncpg.Connection[asyncpg.Record]") -> tuple[int, ...]:
    """How much the database has of everything that an agent can cause."""
    return tuple([await con.fetchval(f"select count(*) from headrace.{table}") for table in ("event", "note", "log_line", "alert")])


@pytest.mark.parametrize("columns", [False, True], ids=["one-by-one", "columns"])
async def test_what_an_agent_says_of_anothers_leases_changes_nothing(columns: bool, broker: BrokerProcess, wire: Wire, database: str, stack: AsyncExitStack) -> None:
    victim, thief = await agents(broker, stack, columns=columns)
    async with Client(broker.address, timeout_s=20) as client:
        kept, aborted, again = [(await client.submit("t", number)).job_id for number in range(3)]
        jobs = {job.job_id: job for job in await victim.take(3)}
        await client.abort([aborted], grace_s=600)
        await victim.until(lambda: aborted in victim.aborts, "the abort")
        con = await asyncpg.connect(database)
        before = await facts(con)

        for job in jobs.values():
            for one in everything(job):
                assert await thief.report(one) == ["unknown"]
        for job in jobs.values():
            await thief.send(accept=agents_pb2.Accept(assign_no=thief.assign_no, rejected=[agents_pb2.Rejection(lease=lease(job), reason="stolen")]))
            await thief.send(progress=[agents_pb2.ProgressReport(lease=lease(job), progress=types_pb2.Progress(percent=99, text="stolen"), checkpoint=b"stolen")])
            await thief.send(
                aborts=[agents_pb2.AbortReport(lease=lease(job), phase=phase) for phase in (agents_pb2.ABORT_PHASE_DELIVERED, agents_pb2.ABORT_PHASE_IGNORED)]
            )
            await thief.send(logs=[lines(job, epoch) for epoch in (job.lease_epoch, job.lease_epoch + 2)])
            await thief.heartbeat((job.job_id, job.lease_epoch))
        async with con.transaction():  # as a handler's own transaction that may complete the job
            await con.execute("select pg_advisory_xact_lock($1)", kept)
            assert await thief.report(outcome(jobs[kept], "failed", door=True)) == ["unknown"]  # it contests nothing, and keeps no place from the holder's own word
        await thief.until(lambda: len(thief.not_held) >= len(jobs), "that it does not hold them")
        for incarnation in (thief.incarnation_id, "", "n" * 20):
            for job in jobs.values():
                report = agents_pb2.ReportOutcomesRequest(incarnation_id=incarnation, outcomes=list(everything(job)))
                acks = (await wire.call("Agents.ReportOutcomes", report)).acks
                assert {ack.disposition for ack in acks} == {agents_pb2.DISPOSITION_UNKNOWN}
                await wire.call("Agents.UploadLogs", agents_pb2.UploadLogsRequest(incarnation_id=incarnation, logs=[lines(job, job.lease_epoch)]))
        await thief.close()
        await thief.connect(held=[lease(job) for job in jobs.values()])  # as if they had been its own
        assert {(ref.job_id, ref.lease_epoch) for ref in thief.welcome.not_held} == {(job.job_id, job.lease_epoch) for job in jobs.values()}
        await heard(thief)
        assert await facts(con) == before
        assert not victim.revoked and not victim.not_held and {job.job_id for job in victim.held.values()} == set(jobs)

        await victim.send(logs=[lines(jobs[kept], jobs[kept].lease_epoch, "own")])  # its own still come in
        assert await victim.report(outcome(jobs[kept], "completed", result=b"1"), outcome(jobs[aborted], "aborted")) == ["accepted", "accepted"]
        assert (await client.get(kept, full=True)).result == b"1" and [(await client.get(job_id)).state for job_id in (kept, aborted)] == [State.COMPLETED, State.ABORTED]
        for one in everything(jobs[kept]):  # not after the end either, as evidence
            assert await thief.report(one) == ["unknown"]
        await until(lambda: _logged(client, kept), what="the line")
        after = await facts(con)
        await wire.call("Agents.UploadLogs", agents_pb2.UploadLogsRequest(incarnation_id=thief.incarnation_id, logs=[lines(jobs[kept], 1)]))
        assert await facts(con) == after
        assert await victim.report(outcome(jobs[again], "released")) == ["accepted"]
        [job] = await victim.take(1)
        assert (job.job_id, job.lease_epoch) == (again, jobs[again].lease_epoch + 2)  # of which the thief had spoken before it was granted
        await victim.send(logs=[lines(job, job.lease_epoch, "own")])
        await until(lambda: _logged(client, again), what="the line")
        await con.close()
    counted = await foreign(broker)
    assert counted["outcome"] >= 3 * 11 and counted["rejection"] == 3 and counted["abort"] == 2 and counted["log"] >= 3 * 5


async def heard(agent: ScriptedAgent) -> None:
    """All that it sent before has been looked at, and what became of it is durable."""
    assert await agent.report(agents_pb2.Outcome(job_id=1, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)) == ["unknown"]


async def _waits(client: Client, job_id: int) -> bool:
    return (await client.get(job_id)).state is State.WAITING


async def _logged(client: Client, job_id: int) -> bool:
    return [line.text async for line in client.logs(job_id)] == ["own"]


async def test_a_late_outcome_of_somebody_else_does_not_end_a_job_that_was_lost(broker: BrokerProcess, wire: Wire, database: str, stack: AsyncExitStack) -> None:
    victim, thief = await agents(broker, stack, columns=True)
    async with Client(broker.address, timeout_s=20) as client:
        job_id = (await client.submit("t")).job_id
        [job] = await victim.take(1)
        await victim.close()  # and it does not come back within the grace
        await until(lambda: _waits(client, job_id), what="the loss")
        assert await thief.report(outcome(job, "completed", result=b"stolen")) == ["unknown"]
        assert (await client.get(job_id)).state is State.WAITING
        report = agents_pb2.ReportOutcomesRequest(incarnation_id=victim.incarnation_id, outcomes=[outcome(job, "completed", result=b"own")])
        assert (await wire.call("Agents.ReportOutcomes", report)).acks[0].disposition == agents_pb2.DISPOSITION_ACCEPTED_LATE
        assert (await client.get(job_id, full=True)).result == b"own"


async def foreign(broker: BrokerProcess) -> dict[str, float]:
    """What was passed over, by kind, as the metrics have it."""
    async with httpx.AsyncClient() as web:
        text = (await web.get(f"http://{broker.ready['http']}/metrics")).text
    return {what: float(value) for what, value in re.findall(r'headrace_foreign_leases_total\{what="(\w+)"\} ([\d.]+)', text)}


def test_agents_are_listed_with_their_incarnation_only_to_those_who_oversee() -> None:
    """Who knows an incarnation may speak for it without a stream."""
    assert not any(role in LEAST["/headrace.v1.Admin/ListAgents"] for role in (Role.AGENT, Role.SUBMITTER))
