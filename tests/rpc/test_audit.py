"""Every change leaves a row in the audit, in the transaction that makes it, and no row ever changes."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from headrace_client import AdminClient, Client, State
from headrace_proto.v1 import admin_pb2, types_pb2
from headrace_proto.v1.admin_pb2_grpc import AdminStub

from tests.support.pg_proxy import FLUSH, Fate, PgProxy, Request
from tests.support.processes import BrokerProcess, Process, start_broker, until
from tests.support.wire import refusal_of

ROWS = "select * from headrace.audit order by audit_id"
ADD = "insert into headrace.audit "


@pytest.fixture
async def stub(broker: BrokerProcess) -> AsyncIterator[Any]:
    """The Admin service without the client library."""
    async with grpc.aio.insecure_channel(broker.address) as channel:
        yield AdminStub(channel)  # type: ignore[no-untyped-call]


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


async def test_changes_of_jobs_say_who_what_why_and_what_was_before(client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    job_id = (await client.submit("t", 1)).job_id
    assert await con.fetch(ROWS) == []  # a submit leaves none: the job itself says all of it
    await admin.abort([job_id], reason="not needed")
    await admin.requeue([job_id], reason="needed after all")
    await admin.abort([job_id])
    await admin.purge([job_id], reason="gone")
    refused = await admin.requeue([job_id])
    rows = await con.fetch(ROWS)
    assert not refused[0].ok and [row["action"] for row in rows] == ["job.abort", "job.requeue", "job.abort", "job.purge"]
    assert {(row["actor"], row["domain"], row["target"], row["token_id"]) for row in rows} == {("tester", "default", f"job/{job_id}", None)}
    assert [row["reason"] for row in rows] == ["not needed", "needed after all", "", "gone"]
    assert [_json(row["before"])["state"] for row in rows] == ["waiting", "aborted", "waiting", "aborted"]
    assert [_json(row["after"])["state"] for row in rows] == ["aborted", "waiting", "aborted", "gone"]
    assert len({row["request_id"] for row in rows}) == 4
    events = {row["kind"]: row["at"] for row in await con.fetch("select kind, at from headrace.event where job_id = $1", job_id)}
    assert rows[1]["at"] == events[10]  # of one transaction


async def test_an_abort_of_running_work_is_audited_when_it_is_asked_for(
    client: Client, admin: AdminClient, agent: Process, con: "asyncpg.Connection[Any]", directory: Path
) -> None:
    job_id = (await client.submit("gate", "open")).job_id

    async def runs() -> bool:
        return (await client.get(job_id)).state is State.PROCESSING

    await until(runs, what="processing")
    await admin.abort([job_id], grace_s=9, reason="stop")
    (directory / "open").touch()
    [row] = await con.fetch("select * from headrace.audit where action like 'job.%'")
    assert (_json(row["before"])["state"], _json(row["after"])) == ("processing", {"state": "processing", "abort": "requested", "grace_s": 9.0, "requeue": False})


async def test_settings_and_agents_leave_rows_too(client: Client, admin: AdminClient, agent: Process, con: "asyncpg.Connection[Any]") -> None:
    await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)
    await admin.set_type("echo", max_attempts=7, reason="flaky")
    await admin.set_type("echo", clear=["max_attempts"], priority=2)
    await admin.drain_agent("tester", reason="upgrade")
    await admin.resume_agent("tester")
    rows = await con.fetch(ROWS)
    declared = [row for row in rows if row["action"] == "type.declare"]
    assert declared and all(row["actor"] == "agent tester" and _json(row["before"]) == {} for row in declared)
    found = [(row["action"], row["target"], row["reason"], _json(row["before"]), _json(row["after"])) for row in rows if row["action"] != "type.declare"]
    assert found[:2] == [
        ("type.set", "type/echo", "flaky", {}, {"max_attempts": 7}),
        ("type.set", "type/echo", "", {"max_attempts": 7}, {"priority": 2}),
    ]
    assert [(action, target, reason, before["draining"], after["draining"]) for action, target, reason, before, after in found[2:]] == [
        ("agent.drain", "agent/tester", "upgrade", False, True),
        ("agent.resume", "agent/tester", "", True, False),
    ]


async def test_the_request_id_is_the_callers_or_a_new_one_and_comes_back(client: Client, stub: Any, con: "asyncpg.Connection[Any]") -> None:
    async def change(request: Any, method: str, **metadata: str) -> dict[str, str]:
        pairs = tuple((key.replace("_", "-"), value) for key, value in metadata.items())
        call = getattr(stub, method)(request, timeout=10, metadata=pairs)
        await call
        return dict(await call.trailing_metadata() or ())

    job_id = (await client.submit("t", 1)).job_id
    said = await change(admin_pb2.AbortJobsRequest(job_ids=[job_id]), "AbortJobs", headrace_request_id="req-1", headrace_actor="bot", headrace_on_behalf_of="Ada")
    made = await change(admin_pb2.RequeueJobsRequest(job_ids=[job_id]), "RequeueJobs", headrace_actor="bot")
    settings = await change(admin_pb2.SetJobTypeRequest(name="t", settings=types_pb2.JobTypeSettings(priority=1)), "SetJobType")
    rows = await con.fetch(ROWS)
    assert said["headrace-request-id"] == "req-1" and len(made["headrace-request-id"]) >= 16
    assert [row["request_id"] for row in rows] == ["req-1", made["headrace-request-id"], settings["headrace-request-id"]]
    assert [(row["actor"], row["on_behalf_of"]) for row in rows] == [("bot", "Ada"), ("bot", ""), ("", "")]
    assert [event.actor for event in await client.events(job_id) if event.kind in ("aborted", "requeued")] == ["bot (Ada)", "bot"]


async def test_a_refused_change_says_its_request_id_and_leaves_no_row(stub: Any, con: "asyncpg.Connection[Any]") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.DrainAgents(admin_pb2.DrainAgentsRequest(agent="nobody"), timeout=10, metadata=(("headrace-request-id", "req-2"),))
    assert dict(refused.value.trailing_metadata())["headrace-request-id"] == "req-2"
    for key, value in (("headrace-request-id", "two words"), ("headrace-request-id", "x" * 101), ("headrace-on-behalf-of", "x" * 201)):
        with pytest.raises(grpc.aio.AioRpcError) as malformed:
            await stub.AbortJobs(admin_pb2.AbortJobsRequest(job_ids=[1]), timeout=10, metadata=((key, value),))
        assert refusal_of(malformed.value).field == key
    assert await con.fetch(ROWS) == []


@pytest.mark.parametrize("statement", ["update headrace.audit set reason = ''", "delete from headrace.audit", "truncate headrace.audit"])
async def test_rows_never_change(statement: str, client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    await admin.abort([(await client.submit("t", 1)).job_id])
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added to"):
        await con.execute(statement)
    assert len(await con.fetch(ROWS)) == 1


def _stalls(chosen: Callable[[Request], bool], fate: Fate) -> Callable[[Request], Fate]:
    return lambda request: fate if chosen(request) else Fate.PASS


AUDITED: dict[str, Callable[[Request], bool]] = {
    "the rows": lambda request: ADD in request.statement,
    "the flush": lambda request: request.is_plain_flush and FLUSH in request.statement,
    "the commit": lambda request: request.statement.lower().startswith("commit"),
}


@pytest.mark.parametrize("fate", [Fate.STALL, Fate.STALL_ANSWER])
@pytest.mark.parametrize(("change", "point"), [("requeue", point) for point in AUDITED] + [("set_type", "the rows"), ("set_type", "the commit")])
async def test_a_broker_that_is_killed_leaves_the_change_with_its_row_or_neither(
    point: str, change: str, fate: Fate, database: str, con: "asyncpg.Connection[Any]", directory: Path, stack: AsyncExitStack
) -> None:
    """It dies while one of the statements is on its way, or has taken effect and not been answered."""
    proxy = await stack.enter_async_context(PgProxy(database))
    broker = await start_broker(directory, database=proxy.dsn)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    job_id = (await client.submit("t", 1)).job_id
    await admin.abort([job_id])
    proxy.fate = _stalls(AUDITED[point], fate)
    asking = asyncio.ensure_future(admin.requeue([job_id]) if change == "requeue" else admin.set_type("t", priority=3))

    async def stalled() -> bool:
        return proxy.stalled > 0

    await until(stalled, what="a stalled statement")
    await broker.kill()
    asking.cancel()
    proxy.cut_all()
    proxy.resume.set()

    async def gone() -> bool:
        return not await con.fetchval("select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")

    await until(gone, what="the end of the broker's connections")
    done = await con.fetchval("select count(*) from headrace.event where kind = 10") if change == "requeue" else await con.fetchval(
        "select count(*) from headrace.job_type where overrides = '{\"priority\": 3}'"
    )  # fmt: skip
    rows = await con.fetchval("select count(*) from headrace.audit where action = any (array['job.requeue', 'type.set'])")
    assert rows == done == (point == "the commit" and fate is Fate.STALL_ANSWER)
