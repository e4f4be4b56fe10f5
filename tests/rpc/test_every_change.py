"""Every call that changes something leaves a row in the audit, in the transaction of the change: who asked, for whom, why, in which request, and what it changed.

Which calls those are is not left to a list that somebody keeps: a new call is asked for here until it has a row, unless its name says that it reads.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asyncpg
import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message_factory import GetMessageClass
from headrace_broker.rpc.choice import MAKING
from headrace_client import AdminClient, Client
from headrace_proto.v1 import (
    access_pb2,
    admin_pb2,
    alerts_pb2,
    certificates_pb2,
    filters_pb2,
    grants_pb2,
    graph_pb2,
    instances_pb2,
    jobs_pb2,
    lifecycle_pb2,
    limits_pb2,
    operations_pb2,
    schedules_pb2,
    testing_pb2,
    types_pb2,
    users_pb2,
)

from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome
from tests.support.wire import SERVICES

READING = ("Get", "List", "Count", "Wait", "Watch", "Explain", "Preview", "Check", "Tail", "Export", "IsActive", "StreamIsActive")
"""How the name of a call begins that changes nothing; the last two are names of KEDA's."""
FACTS = {
    "Jobs.Submit", "Jobs.SubmitMany", "Jobs.SubmitStream", "Graph.CreateBatch", "Agents.Connect", "Agents.ReportOutcomes", "Agents.UploadLogs",
}  # fmt: skip
"""Submits, and what agents report: the facts that they store say who and when. A submit that replaces a job has its row (tests/client/test_replace.py), and so has what
an agent's code declares of a type (tests/rpc/test_audit.py)."""
NO_REASON = {"Graph.SealBatch", "Testing.AdvanceClock"}
"""Requests that have no reason: a step of a submitter's own, and what only tests may ask for."""
CALLER = (("headrace-actor", "tester"), ("headrace-on-behalf-of", "Ada"))

NOTE = """
create table public.touched (xid bigint, name text);
create function public.note_touch() returns trigger language plpgsql as $$
begin insert into public.touched values (pg_current_xact_id()::text::bigint, tg_table_name); return null; end $$;
"""
TABLES = """
select relname from pg_class where relnamespace = 'headrace'::regnamespace and relkind in ('r', 'p') and not relispartition and relname not in ('audit', 'flush', 'life')
"""
ROWS = "select *, xmin::text::bigint as xid from headrace.audit where request_id = $1"


@dataclass
class World:
    """What there is when the calls begin, and what they made."""

    jobs: dict[str, int] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)

    def job(self, name: str) -> str:
        """A job as the audit names it."""
        return f"job/{self.jobs[name]}"


Leaves = Literal["made", "changed", "gone", "memory"]
"""A row with what is after; before and after, which differ; what was before; and a change of what no table has, whose row is written first."""


@dataclass(frozen=True)
class Change:
    """One call, made when those above it were."""

    call: str
    request: Callable[[World], Any]
    action: str
    target: Callable[[World], str]
    leaves: Leaves


def _of(name: str) -> Callable[[World], list[int]]:
    return lambda world: [world.jobs[name]]


def _named(target: str) -> Callable[[World], str]:
    return lambda world: target


def _operation(world: World) -> int:
    return int(world.answers["Operations.StartOperation"].operation.operation_id)


BY_TYPE = jobs_pb2.JobFilter(types=["bulk"])
CRON = schedules_pb2.ScheduleSpec(cron="0 0 1 1 *", type="t", payload=b"1")
HOOK = alerts_pb2.Channel(name="c", webhook=alerts_pb2.WebhookChannel(url="http://127.0.0.1:9/"))
NO_AGENT = alerts_pb2.Rule(name="r", kind=alerts_pb2.RULE_KIND_NO_AGENT)
KEPT = filters_pb2.SavedFilter(name="kept", filter=BY_TYPE)
SLOW = operations_pb2.StartOperationRequest(spec=operations_pb2.OperationSpec(filter=BY_TYPE, action=operations_pb2.OPERATION_ACTION_ABORT), rate=0.001)
USER = _named("user/ada")
CHANGES = [
    Change("Admin.AbortJobs", lambda w: admin_pb2.AbortJobsRequest(job_ids=_of("waiting")(w)), "job.abort", lambda w: w.job("waiting"), "changed"),
    Change("Admin.RequeueJobs", lambda w: admin_pb2.RequeueJobsRequest(job_ids=_of("waiting")(w)), "job.requeue", lambda w: w.job("waiting"), "changed"),
    Change("Admin.PurgeJobs", lambda w: admin_pb2.PurgeJobsRequest(job_ids=_of("aborted")(w)), "job.purge", lambda w: w.job("aborted"), "changed"),
    Change("Admin.SetJobType", lambda w: admin_pb2.SetJobTypeRequest(name="t", settings=types_pb2.JobTypeSettings(priority=1)), "type.set", _named("type/t"), "changed"),
    Change("Admin.DrainAgents", lambda w: admin_pb2.DrainAgentsRequest(agent="hand"), "agent.drain", _named("agent/hand"), "memory"),
    Change("Admin.ResumeAgents", lambda w: admin_pb2.ResumeAgentsRequest(agent="hand"), "agent.resume", _named("agent/hand"), "memory"),
    Change("Lifecycle.UpdateJobs", lambda w: lifecycle_pb2.UpdateJobsRequest(job_ids=_of("waiting")(w), hold=True), "job.update", lambda w: w.job("waiting"), "changed"),
    Change(
        "Lifecycle.RequeueDescendants", lambda w: lifecycle_pb2.RequeueDescendantsRequest(job_id=w.jobs["below"]),
        "job.requeue_descendants", lambda w: w.job("below"), "made",
    ),
    Change("Lifecycle.ApplyRetention", lambda w: lifecycle_pb2.ApplyRetentionRequest(type="kept"), "job.update", lambda w: w.job("kept"), "changed"),
    Change("Graph.SealBatch", lambda w: graph_pb2.SealBatchRequest(batch_id=w.jobs["batch"]), "job.seal", lambda w: w.job("batch"), "changed"),
    Change("Limits.Pause", lambda w: limits_pb2.PauseRequest(domain=True), "domain.pause", _named("domain/default"), "changed"),
    Change("Limits.Resume", lambda w: limits_pb2.ResumeRequest(domain=True), "domain.resume", _named("domain/default"), "changed"),
    Change("Limits.CloseBreaker", lambda w: limits_pb2.CloseBreakerRequest(type="fragile"), "breaker.close", _named("type/fragile"), "changed"),
    Change("Limits.SetDomain", lambda w: limits_pb2.SetDomainRequest(limits=limits_pb2.DomainLimits(weight=2)), "domain.set", _named("domain/default"), "changed"),
    Change("Schedules.PutSchedule", lambda w: schedules_pb2.PutScheduleRequest(name="s", spec=CRON), "schedule.put", _named("schedule/s"), "made"),
    Change("Schedules.PauseSchedule", lambda w: schedules_pb2.PauseScheduleRequest(name="s"), "schedule.pause", _named("schedule/s"), "changed"),
    Change("Schedules.ResumeSchedule", lambda w: schedules_pb2.ResumeScheduleRequest(name="s"), "schedule.resume", _named("schedule/s"), "changed"),
    Change("Schedules.RunSchedule", lambda w: schedules_pb2.RunScheduleRequest(name="s"), "schedule.run", _named("schedule/s"), "made"),
    Change("Schedules.DeleteSchedule", lambda w: schedules_pb2.DeleteScheduleRequest(name="s"), "schedule.delete", _named("schedule/s"), "gone"),
    Change("Operations.StartOperation", lambda w: SLOW, "bulk.abort", _named("filter/types=bulk"), "made"),
    Change(
        "Operations.SetOperationRate", lambda w: operations_pb2.SetOperationRateRequest(operation_id=_operation(w), rate=0.002),
        "operation.set_rate", lambda w: f"operation/{_operation(w)}", "changed",
    ),
    Change(
        "Operations.StopOperation", lambda w: operations_pb2.StopOperationRequest(operation_id=_operation(w)),
        "operation.stop", lambda w: f"operation/{_operation(w)}", "changed",
    ),
    Change(
        "Operations.ResumeOperation", lambda w: operations_pb2.ResumeOperationRequest(operation_id=_operation(w)),
        "operation.resume", lambda w: f"operation/{_operation(w)}", "changed",
    ),
    Change(
        "Instances.SetInstancePriority", lambda w: instances_pb2.SetInstancePriorityRequest(instance_id="case", priority=3),
        "instance.set_priority", _named("instance/case"), "changed",
    ),
    Change("Access.CreateToken", lambda w: access_pb2.CreateTokenRequest(name="k", role=access_pb2.ROLE_VIEWER), "token.create", _named("token/k"), "made"),
    Change("Access.RotateToken", lambda w: access_pb2.RotateTokenRequest(name="k"), "token.rotate", _named("token/k"), "changed"),
    Change("Grants.AddGrant", lambda w: grants_pb2.AddGrantRequest(who="token/k", actions=["purge"]), "access.grant", _named("token/k"), "made"),
    Change("Grants.EndGrant", lambda w: grants_pb2.EndGrantRequest(grant_id=w.answers["Grants.AddGrant"].grant.grant_id), "access.revoke", _named("token/k"), "gone"),
    Change("Access.RevokeToken", lambda w: access_pb2.RevokeTokenRequest(name="k"), "token.revoke", _named("token/k"), "changed"),
    Change("Certificates.RevokeCertificate", lambda w: certificates_pb2.RevokeCertificateRequest(serial="7f"), "certificate.revoke", _named("certificate/7f"), "changed"),
    Change("Users.PutUser", lambda w: users_pb2.PutUserRequest(name="ada", role=access_pb2.ROLE_VIEWER), "user.create", USER, "made"),
    Change("Users.InviteUser", lambda w: users_pb2.InviteUserRequest(name="ada"), "user.invite", USER, "changed"),
    Change("Users.SetUserPassword", lambda w: users_pb2.SetUserPasswordRequest(name="ada", password="correct horse battery"), "user.password", USER, "changed"),
    Change("Users.DisableUser", lambda w: users_pb2.DisableUserRequest(name="ada"), "user.disable", USER, "changed"),
    Change("Users.EnableUser", lambda w: users_pb2.EnableUserRequest(name="ada"), "user.enable", USER, "changed"),
    Change("Users.EndUserSessions", lambda w: users_pb2.EndUserSessionsRequest(name="ada"), "user.logout", USER, "changed"),
    Change("Alerts.PutChannel", lambda w: alerts_pb2.PutChannelRequest(channel=HOOK, secret="whsec_" + "A" * 32), "alert_channel.put", _named("alert_channel/c"), "made"),
    Change("Alerts.TestChannel", lambda w: alerts_pb2.TestChannelRequest(name="c"), "alert_channel.test", _named("alert_channel/c"), "memory"),
    Change("Alerts.PutRule", lambda w: alerts_pb2.PutRuleRequest(rule=NO_AGENT), "alert_rule.put", _named("alert_rule/r"), "made"),
    Change("Alerts.DeleteRule", lambda w: alerts_pb2.DeleteRuleRequest(name="r"), "alert_rule.delete", _named("alert_rule/r"), "gone"),
    Change(
        "Alerts.AddSilence", lambda w: alerts_pb2.AddSilenceRequest(silence=alerts_pb2.Silence(type="t", reason="why Alerts.AddSilence"), lasts=Duration(seconds=60)),
        "alert_silence.add", lambda w: f"alert_silence/{w.answers['Alerts.AddSilence'].silence.silence_id}", "made",
    ),
    Change(
        "Alerts.EndSilence", lambda w: alerts_pb2.EndSilenceRequest(silence_id=w.answers["Alerts.AddSilence"].silence.silence_id),
        "alert_silence.end", lambda w: f"alert_silence/{w.answers['Alerts.AddSilence'].silence.silence_id}", "changed",
    ),
    Change("Filters.SaveFilter", lambda w: filters_pb2.SaveFilterRequest(filter=KEPT), "filter.save", _named("saved_filter/kept"), "made"),
    Change("Filters.DeleteFilter", lambda w: filters_pb2.DeleteFilterRequest(name="kept"), "filter.delete", _named("saved_filter/kept"), "gone"),
    Change("Alerts.DeleteChannel", lambda w: alerts_pb2.DeleteChannelRequest(name="c"), "alert_channel.delete", _named("alert_channel/c"), "gone"),
    Change("Testing.AdvanceClock", lambda w: testing_pb2.AdvanceClockRequest(by=Duration(seconds=1)), "testing.advance_clock", _named("broker/clock"), "memory"),
]  # fmt: skip


def _methods() -> dict[str, Any]:
    return {f"{service.name}.{method.name}": method for service in SERVICES for method in service.methods}


def test_every_call_reads_or_stores_facts_or_has_a_row_here() -> None:
    calls = {name for name in _methods() if not name.partition(".")[2].startswith(READING)}
    assert calls == {change.call for change in CHANGES} | FACTS, "a call that changes something leaves a row in the audit, and this test makes it"
    for name in calls - FACTS - {"Alerts.AddSilence"}:  # whose silence has a reason
        assert ("reason" in _methods()[name].input_type.fields_by_name) == (name not in NO_REASON), name


@pytest.fixture
async def con(database: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """To a database that notes which transaction touched which table."""
    con = await asyncpg.connect(database)
    await con.execute(NOTE)
    for row in await con.fetch(TABLES):
        await con.execute(f"create trigger touched after insert or update or delete on headrace.{row['relname']} for each row execute function public.note_touch()")
    yield con
    await con.close()


@pytest.fixture
async def broker(con: "asyncpg.Connection[Any]", database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """On that database."""
    broker = await start_broker(directory, "--testing", database=database)
    stack.push_async_callback(broker.kill)
    return broker


async def _prepare(client: Client, admin: AdminClient) -> World:
    """Jobs to be changed: one that waits, those that were aborted, a batch that is open, and some for a bulk operation."""
    world = World()
    for name, type_ in (("waiting", "t"), ("aborted", "t"), ("below", "t"), ("kept", "kept")):
        world.jobs[name] = (await client.submit(type_)).job_id
    for _ in range(3):
        await client.submit("bulk")
    world.jobs["batch"] = (await client.create_batch("t")).job_id
    await admin.abort([world.jobs[name] for name in ("aborted", "below", "kept")])
    await admin.set_type("kept", delete_aborted_after_s=86_400.0 * 90)
    return world


async def _open_breaker(broker: BrokerProcess, client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    """That of a type whose only job has failed is open, and stored."""
    await admin.set_type("fragile", breaker_share=1.0, breaker_minimum=1, breaker_open_s=3600.0, max_attempts=1)
    await client.submit("fragile")
    agent = ScriptedAgent(broker.address, name="clumsy", types=("fragile",))
    await agent.connect()
    [job] = await agent.take(1)
    await agent.report(outcome(job, "failed"))
    await agent.close()

    async def stored() -> bool:
        return bool(await con.fetchval("select count(*) from headrace.breaker"))

    await until(stored, what="an open breaker")


async def test_each_leaves_its_row_in_the_transaction_of_the_change(broker: BrokerProcess, client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    world, wrong = await _prepare(client, admin), []
    await _open_breaker(broker, client, admin, con)
    agent = ScriptedAgent(broker.address, name="hand")
    await agent.connect()
    async with grpc.aio.insecure_channel(broker.address) as channel:
        for change in CHANGES:
            await _make(channel, change, world)
            rows = await con.fetch(ROWS, change.call)
            wrong += [f"{change.call}: {found}" for found in await _faults(con, change, world, rows)]
    await agent.close()
    assert not wrong, "\n".join(wrong)


async def test_a_call_that_makes_its_domain_is_one_of_those_that_make_it_first(
    broker: BrokerProcess, client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]"
) -> None:
    """Each is made once more in a domain that there is not: what it stores there would lie with shard 0 if shards did not know that it makes the domain."""
    world = await _prepare(client, admin)
    await _open_breaker(broker, client, admin, con)
    agent = ScriptedAgent(broker.address, name="hand")
    await agent.connect()
    async with grpc.aio.insecure_channel(broker.address) as channel:
        for change in CHANGES:
            await _make(channel, change, world)
            with suppress(grpc.RpcError):
                await _make(channel, change, World(world.jobs, {**world.answers}), domain=change.call)
    await agent.close()
    made = {row["name"] for row in await con.fetch("select name from headrace.domain where name <> 'default'")}
    assert {"Admin.SetJobType", "Schedules.PutSchedule"} <= made
    assert {f"/headrace.v1.{call.replace('.', '/')}" for call in made} <= MAKING


async def _make(channel: grpc.aio.Channel, change: Change, world: World, *, domain: str = "default") -> None:
    method, request = _methods()[change.call], change.request(world)
    if "reason" in method.input_type.fields_by_name:
        request.reason = f"why {change.call}"
    path = f"/headrace.v1.{change.call.replace('.', '/')}"
    call = channel.unary_unary(path, request_serializer=type(request).SerializeToString, response_deserializer=GetMessageClass(method.output_type).FromString)
    world.answers[change.call] = await call(request, timeout=20, metadata=(("headrace-domain", domain), *CALLER, ("headrace-request-id", change.call)))


async def _faults(con: "asyncpg.Connection[Any]", change: Change, world: World, rows: list[Any]) -> list[str]:
    """What is wrong with the rows of one call."""
    if len(rows) != 1:
        return [f"{len(rows)} rows"]
    [row] = rows
    reason = "" if change.call in NO_REASON else f"why {change.call}"
    wanted = {"actor": "tester", "on_behalf_of": "Ada", "action": change.action, "target": change.target(world), "reason": reason}
    found = [f"{name} is {row[name]!r}, not {value!r}" for name, value in wanted.items() if row[name] != value]
    before, after = (json.loads(row[name]) if row[name] is not None else None for name in ("before", "after"))
    if {"made": not before and after, "changed": before is not None and after and before != after, "gone": before, "memory": after}[change.leaves] in (None, False, {}):
        found.append(f"it says {before} before, and {after} after")
    touched = {other["name"] for other in await con.fetch("select name from public.touched where xid = $1", row["xid"])}
    if bool(touched) == (change.leaves == "memory"):
        found.append(f"its transaction has touched {touched or 'nothing else'}")
    return found
