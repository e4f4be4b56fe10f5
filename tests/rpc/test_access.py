"""Who may call what: every call of every role, tokens that end, domains that do not see each other."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.duration_pb2 import Duration
from headrace_broker.model.access import Role
from headrace_broker.model.audit import Caller
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.server import SERVICES
from headrace_broker.store.pool import open_pool
from headrace_broker.store.tokens import TokenStore
from headrace_client import AdminClient, Client, InvalidRequest, NotFound, PermissionDenied, Unauthenticated
from headrace_proto.streams import StreamEnd
from headrace_proto.v1 import access_pb2, admin_pb2, agents_pb2, jobs_pb2, types_pb2
from headrace_proto.v1.access_pb2_grpc import AccessStub
from headrace_proto.v1.admin_pb2_grpc import AdminStub
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub

from tests.support.pg_proxy import Fate, PgProxy, Request
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.tokens import make_tokens
from tests.support.wire import refusal_of, stream_refusal


class Stubs:
    """All services of a broker, without the client library."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.jobs: Any = JobsStub(channel)  # type: ignore[no-untyped-call]
        self.agents: Any = AgentsStub(channel)  # type: ignore[no-untyped-call]
        self.admin: Any = AdminStub(channel)  # type: ignore[no-untyped-call]
        self.access: Any = AccessStub(channel)  # type: ignore[no-untyped-call]


def bearer(secret: str, domain: str = "default", **more: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call."""
    return (("authorization", f"Bearer {secret}"), ("headrace-domain", domain), *((key.replace("_", "-"), value) for key, value in more.items()))


async def refused(call: Any) -> Any:
    """What a broker has against a call."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return refusal_of(error.value)


@pytest.fixture
async def secrets(database: str) -> dict[str, str]:
    """Of the domain `default`, by role."""
    return await make_tokens(database)


@pytest.fixture
async def root(database: str) -> str:
    """An administrator's of all domains."""
    return (await make_tokens(database, None))["admin"]


@pytest.fixture
async def guarded(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """A broker that wants tokens, and does not give up agents that say nothing before their token ends."""
    broker = await start_broker(directory, "--auth", "required", "--lease-s", "60", database=database)
    stack.push_async_callback(broker.kill)
    return broker


@pytest.fixture
async def stubs(guarded: BrokerProcess) -> AsyncIterator[Stubs]:
    """Of that broker."""
    async with grpc.aio.insecure_channel(guarded.address) as channel:
        yield Stubs(channel)


def _methods() -> dict[str, Any]:
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(name) for name in SERVICES if not name.startswith("grpc.")]
    return {f"/{service.full_name}/{method.name}": method for service in services for method in service.methods}


def test_every_call_has_a_row_in_the_table_of_rights_and_every_row_a_call() -> None:
    assert set(LEAST) == set(_methods())
    assert all(Role.ADMIN in roles for roles in LEAST.values())


async def test_each_role_may_make_the_calls_of_its_rows_and_no_others(stubs: Stubs, secrets: dict[str, str]) -> None:
    """Each call is made with bytes that are no message: whoever is let in is told so, and nothing is done."""
    wrong = []
    for path, method in _methods().items():
        for role, secret in secrets.items():
            code = await _code(stubs.channel, path, method, bearer(secret))
            wanted = grpc.StatusCode.INVALID_ARGUMENT if Role[role.upper()] in LEAST[path] else grpc.StatusCode.PERMISSION_DENIED
            if code is not wanted:
                wrong.append((path, role, code, wanted))
    assert not wrong


async def _code(channel: grpc.aio.Channel, path: str, method: Any, metadata: Any) -> grpc.StatusCode:
    """What is answered to bytes that are no message."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    call = getattr(channel, kind)(path)(iter([b"\xff"]) if method.client_streaming else b"\xff", metadata=metadata, timeout=20)
    error = await StreamEnd(call).error()
    return grpc.StatusCode.OK if error is None else error.code()


async def test_without_a_valid_token_nothing_is_served(stubs: Stubs, secrets: dict[str, str]) -> None:
    request = jobs_pb2.CountJobsRequest()
    for metadata in ((), (("authorization", "Basic abc"),), (("authorization", "Bearer"),), (("authorization", "Bearer "),)):
        refusal = await refused(stubs.jobs.CountJobs(request, metadata=metadata, timeout=10))
        assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    for secret in ("hr_nobody", secrets["admin"][:-1], secrets["admin"] + "x", "no token"):
        refusal = await refused(stubs.jobs.CountJobs(request, metadata=bearer(secret), timeout=10))
        assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
    for path, method in _methods().items():
        assert await _code(stubs.channel, path, method, ()) is grpc.StatusCode.UNAUTHENTICATED, path


async def test_health_needs_no_token(guarded: BrokerProcess) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async with grpc.aio.insecure_channel(guarded.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_token_of_one_domain_is_denied_in_others_and_one_of_all_is_not(stubs: Stubs, secrets: dict[str, str], root: str) -> None:
    request = jobs_pb2.CountJobsRequest()
    for domain in ("other", "not a domain", "default.x"):
        refusal = await refused(stubs.jobs.CountJobs(request, metadata=bearer(secrets["admin"], domain), timeout=10))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "DOMAIN_DENIED")
    await stubs.jobs.CountJobs(request, metadata=bearer(root, "other"), timeout=10)
    await stubs.jobs.CountJobs(request, metadata=bearer(secrets["viewer"]), timeout=10)


async def test_a_call_that_names_two_domains_is_served_in_neither(stubs: Stubs, secrets: dict[str, str], root: str) -> None:
    """The right would be asked for in the one, and the call be served in the other."""
    spec = types_pb2.JobSpec(type="t", payload=b"{}")
    foreign = (await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=spec), metadata=bearer(root, "other"), timeout=10)).job_id
    request, ours = jobs_pb2.GetJobRequest(job_id=foreign), ("headrace-domain", "default")
    for metadata in ((*bearer(secrets["admin"], "other"), ours), (*bearer(secrets["admin"]), ("headrace-domain", "other"))):
        refusal = await refused(stubs.jobs.GetJob(request, metadata=metadata, timeout=10))
        assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "headrace-domain")
    await stubs.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=(*bearer(secrets["admin"]), ours), timeout=10)  # the same twice is clear


async def test_ids_of_another_domain_are_answered_like_those_that_are_not_there(stubs: Stubs, secrets: dict[str, str], root: str, database: str) -> None:
    spec = types_pb2.JobSpec(type="t", payload=b"{}")
    foreign = (await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=spec), metadata=bearer(root, "other"), timeout=10)).job_id
    ours = bearer(secrets["admin"])
    missing = foreign + (1 << 22)

    async def answers(job_id: int) -> list[str]:
        """Everything that a domain's administrator can ask about, or do to, one id."""
        found = []
        for name in ("GetJob", "WaitJob", "ExplainJob", "ListAttempts", "ListEvents", "ListLogs"):
            refusal = await refused(getattr(stubs.jobs, name)(getattr(jobs_pb2, f"{name}Request")(job_id=job_id), metadata=ours, timeout=10))
            found.append(f"{name} {refusal.code} {refusal.reason} {refusal.message}")
        for name in ("RequeueJobs", "AbortJobs", "PurgeJobs"):
            [result] = (await getattr(stubs.admin, name)(getattr(admin_pb2, f"{name}Request")(job_ids=[job_id]), metadata=ours, timeout=10)).results
            found.append(f"{name} {result.ok} {result.state} {result.code} {result.reason} {result.message}")
        outcome = agents_pb2.Outcome(job_id=job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)
        report = agents_pb2.ReportOutcomesRequest(incarnation_id="i" * 16, outcomes=[outcome])
        [ack] = (await stubs.agents.ReportOutcomes(report, metadata=ours, timeout=10)).acks
        found.append(f"outcome {ack.disposition}")
        line = agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=job_id, lease_epoch=1), lines=[jobs_pb2.LogLine(line_no=1, text="x")])
        await stubs.agents.UploadLogs(agents_pb2.UploadLogsRequest(incarnation_id="i" * 16, logs=[line]), metadata=ours, timeout=10)
        return [text.replace(str(job_id), "ID") for text in found]

    assert await answers(foreign) == await answers(missing)
    con = await asyncpg.connect(database)
    assert await con.fetchval("select count(*) from headrace.log_line") == await con.fetchval("select count(*) from headrace.event") == 0
    assert await con.fetchval("select count(*) from headrace.audit where action like 'job.%'") == 0
    await con.close()


async def test_an_agent_can_end_only_the_jobs_of_its_domain(stubs: Stubs, secrets: dict[str, str], root: str, database: str) -> None:
    """Not even one that knows another domain's job, its lease, and the agent that has it."""
    foreign = bearer(root, "other")
    job_id = (await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="t", payload=b"{}")), metadata=foreign, timeout=10)).job_id
    hello = agents_pb2.Hello(agent_name="a", incarnation_id="i" * 16, slots=1, types=[agents_pb2.ServedType(type="t")])
    call = stubs.agents.Connect(metadata=foreign)
    await call.write(agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=1)))
    while True:
        message = await call.read()
        if message.HasField("assign"):
            break
    ours = bearer(secrets["agent"])
    for number, kind in enumerate((agents_pb2.OUTCOME_KIND_COMPLETED, agents_pb2.OUTCOME_KIND_FAILED)):
        report = agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(job_id=job_id, lease_epoch=1, kind=kind)])
        assert [ack.disposition for ack in (await stubs.agents.ReportOutcomes(report, metadata=ours, timeout=10)).acks] == [agents_pb2.DISPOSITION_UNKNOWN]
        other = stubs.agents.Connect(metadata=ours)
        greeting = agents_pb2.Hello(agent_name="b", incarnation_id=f"{number}" * 16, slots=1, columns=True, types=hello.types)
        await other.write(agents_pb2.ConnectRequest(number=1, hello=greeting))
        assert (await other.read()).HasField("welcome")
        await other.write(agents_pb2.ConnectRequest(number=2, completions=agents_pb2.Completions(job_ids=[job_id], lease_epochs=[1])))
        acked = (await other.read()).acked
        assert [(item.disposition, list(item.job_ids)) for item in acked] == [(agents_pb2.DISPOSITION_UNKNOWN, [job_id])]
        other.cancel()
    thief = await stream_refusal(stubs.agents.Connect(metadata=ours), agents_pb2.ConnectRequest(number=1, hello=hello))
    assert (thief.code, thief.field) == ("INVALID_ARGUMENT", "hello.incarnation_id")
    con = await asyncpg.connect(database)
    assert [row["kind"] for row in await con.fetch("select kind from headrace.event where job_id = $1", job_id)] == [1]
    assert await con.fetchval("select count(*) from headrace.note") == 0
    await con.close()
    call.cancel()


async def test_a_revoked_token_is_refused_by_every_broker_within_a_second(
    stubs: Stubs, secrets: dict[str, str], database: str, directory: Path, stack: AsyncExitStack
) -> None:
    standby = await start_broker(directory, "--auth", "required", database=database, name="standby")
    stack.push_async_callback(standby.kill)
    other = Stubs(await stack.enter_async_context(grpc.aio.insecure_channel(standby.address)))
    calls = [stub.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secrets["viewer"]), timeout=10) for stub in (stubs, other)]
    assert [await call.code() for call in calls] == [grpc.StatusCode.OK, grpc.StatusCode.OK]
    await stubs.access.RevokeToken(access_pb2.RevokeTokenRequest(name="viewer@default", reason="lost"), metadata=bearer(secrets["admin"]), timeout=10)
    assert (await refused(stubs.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secrets["viewer"]), timeout=10))).reason == "TOKEN_INVALID"

    async def refuses() -> bool:
        refusal = await refused(other.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secrets["viewer"]), timeout=10))
        return bool(refusal.reason == "TOKEN_INVALID")

    await until(refuses, what="the standby refuses the token")
    again = access_pb2.CreateTokenRequest(name="viewer@default", role=access_pb2.ROLE_VIEWER)
    fresh = (await stubs.access.CreateToken(again, metadata=bearer(secrets["admin"]), timeout=10)).secret  # the name is free again
    assert await other.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(fresh), timeout=10).code() is grpc.StatusCode.OK  # known at once


async def test_what_another_broker_revoked_is_refused_by_the_owner_within_a_second(stubs: Stubs, secrets: dict[str, str], database: str) -> None:
    async def code() -> grpc.StatusCode:
        found: grpc.StatusCode = await stubs.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secrets["viewer"]), timeout=10).code()
        return found

    assert await code() is grpc.StatusCode.OK
    pool = await open_pool(database, size=1)  # as another broker would
    assert await TokenStore(pool).revoke("default", "viewer@default", caller=Caller("other", "default", "r"), reason="") is not None
    await pool.close()

    async def refuses() -> bool:
        return await code() is grpc.StatusCode.UNAUTHENTICATED

    await until(refuses, what="the owner refuses the token")


async def _open(stubs: Stubs, secret: str) -> dict[str, Any]:
    """Calls that last, each of them being served."""
    metadata = bearer(secret)
    submitted = await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="idle", payload=b"{}")), metadata=metadata, timeout=10)
    agent = stubs.agents.Connect(metadata=metadata)
    hello = agents_pb2.Hello(agent_name="a", incarnation_id="j" * 16, slots=1, types=[agents_pb2.ServedType(type="t")])
    await agent.write(agents_pb2.ConnectRequest(number=1, hello=hello))
    assert (await agent.read()).HasField("welcome")
    stream = stubs.jobs.SubmitStream(metadata=metadata)
    await stream.write(jobs_pb2.SubmitStreamRequest(request_no=1, jobs=[types_pb2.JobSpec(type="t", payload=b"{}")]))
    assert (await stream.read()).request_no == 1
    watch = stubs.jobs.WatchJobs(jobs_pb2.WatchJobsRequest(job_ids=[submitted.job_id]), metadata=metadata)
    assert (await watch.read()).job_id == submitted.job_id
    waiting = stubs.jobs.WaitJob(jobs_pb2.WaitJobRequest(job_id=submitted.job_id), metadata=metadata, timeout=60)
    return {"Connect": agent, "SubmitStream": stream, "WatchJobs": watch, "WaitJob": waiting}


async def _ended(calls: dict[str, Any]) -> dict[str, tuple[str, str]]:
    async with asyncio.timeout(20):
        found = {}
        for name, call in calls.items():
            if name != "WaitJob":
                with contextlib.suppress(grpc.aio.AioRpcError):
                    while await call.read() is not grpc.aio.EOF:  # gRPC tells the status only after what came before it
                        pass
            code = await call.code()
            found[name] = (code.name, dict(await call.trailing_metadata() or ()).get("headrace-reason", ""))
        return found


@pytest.mark.parametrize("how", ["revoked", "rotated", "expired"])
async def test_calls_that_last_end_with_their_token(how: str, stubs: Stubs, secrets: dict[str, str]) -> None:
    boss = bearer(secrets["admin"])
    made = access_pb2.CreateTokenRequest(name="brief", role=access_pb2.ROLE_ADMIN, expires_in=Duration(seconds=3) if how == "expired" else None)
    secret = (await stubs.access.CreateToken(made, metadata=boss, timeout=10)).secret
    calls = await _open(stubs, secret)
    if how == "revoked":
        await stubs.access.RevokeToken(access_pb2.RevokeTokenRequest(name="brief"), metadata=boss, timeout=10)
    elif how == "rotated":
        await stubs.access.RotateToken(access_pb2.RotateTokenRequest(name="brief", overlap=Duration()), metadata=boss, timeout=10)
    assert await _ended(calls) == dict.fromkeys(calls, ("UNAUTHENTICATED", "TOKEN_ENDED"))


async def test_other_tokens_do_not_end_with_one(stubs: Stubs, secrets: dict[str, str]) -> None:
    boss = bearer(secrets["admin"])
    watch = stubs.jobs.WatchJobs(jobs_pb2.WatchJobsRequest(types=["t"]), metadata=bearer(secrets["viewer"]))
    await stubs.access.RevokeToken(access_pb2.RevokeTokenRequest(name="operator@default"), metadata=boss, timeout=10)
    reading = asyncio.ensure_future(watch.read())

    async def seen() -> bool:
        await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="t", payload=b"{}")), metadata=boss, timeout=10)
        return bool(reading.done())

    await until(seen, what="a change is seen")
    assert (await reading).type == "t"
    watch.cancel()


async def test_a_rotated_token_has_two_secrets_for_a_while(stubs: Stubs, secrets: dict[str, str]) -> None:
    boss = bearer(secrets["admin"])

    async def valid(secret: str) -> bool:
        try:
            await stubs.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secret), timeout=10)
        except grpc.aio.AioRpcError as error:
            if refusal_of(error).reason != "TOKEN_INVALID":
                raise
            return False
        return True

    async def rotate(**fields: Any) -> Any:
        return await stubs.access.RotateToken(access_pb2.RotateTokenRequest(name="viewer@default", **fields), metadata=boss, timeout=10)

    first = secrets["viewer"]
    second = await rotate()
    assert await valid(first) and await valid(second.secret) and 3500 < second.token.old_secret_until.seconds - time.time() < 3700
    third = await rotate(overlap=Duration(seconds=2))
    assert [await valid(secret) for secret in (first, second.secret, third.secret)] == [False, True, True]

    async def old_ended() -> bool:
        return not await valid(second.secret)

    await until(old_ended, what="the end of the overlap")
    assert await valid(third.secret)
    fourth = await rotate(overlap=Duration(), expires_in=Duration(seconds=100))
    assert [await valid(secret) for secret in (third.secret, fourth.secret)] == [False, True]
    fifth = await rotate(overlap=Duration(seconds=1000))
    assert fifth.token.old_secret_until == fourth.token.expires_at == fifth.token.expires_at  # never longer than it would have been
    assert len({first, second.secret, third.secret, fourth.secret, fifth.secret}) == 5


async def test_secrets_are_kept_as_hashes_and_stand_nowhere_else(stubs: Stubs, secrets: dict[str, str], guarded: BrokerProcess, database: str) -> None:
    made = access_pb2.CreateTokenRequest(name="ci", role=access_pb2.ROLE_SUBMITTER)
    first = (await stubs.access.CreateToken(made, metadata=bearer(secrets["admin"]), timeout=10)).secret
    second = (await stubs.access.RotateToken(access_pb2.RotateTokenRequest(name="ci"), metadata=bearer(secrets["admin"]), timeout=10)).secret
    assert re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", first)
    con = await asyncpg.connect(database)
    stored = str([await con.fetch(f"select t::text from headrace.{table} t") for table in ("token", "audit")])
    await con.close()
    for secret in (first, second, secrets["admin"]):
        assert secret not in stored and secret.removeprefix("hr_") not in stored and secret not in guarded.log.read_text()


async def test_no_call_reads_the_database_for_its_token(secrets: dict[str, str], database: str, directory: Path, stack: AsyncExitStack) -> None:
    proxy = await stack.enter_async_context(PgProxy(database))
    reads = 0

    def count(request: Request) -> Fate:
        nonlocal reads
        reads += "headrace.token" in request.statement
        return Fate.PASS

    proxy.fate = count
    broker = await start_broker(directory, "--auth", "required", database=proxy.dsn)
    stack.push_async_callback(broker.kill)
    stubs = Stubs(await stack.enter_async_context(grpc.aio.insecure_channel(broker.address)))
    began, before = time.monotonic(), reads
    for secret in (secrets["viewer"], "hr_nobody"):
        for _ in range(50):
            await stubs.jobs.CountJobs(jobs_pb2.CountJobsRequest(), metadata=bearer(secret), timeout=10).code()
    assert reads - before <= 2 + (time.monotonic() - began) * 8  # two a second, and those that look for tokens that nobody knows


async def test_only_administrators_of_all_domains_make_tokens_for_all(stubs: Stubs, secrets: dict[str, str], root: str) -> None:
    ours, all_ = bearer(secrets["admin"]), bearer(root, "other")
    everywhere = access_pb2.CreateTokenRequest(name="x", role=access_pb2.ROLE_VIEWER, all_domains=True)
    assert (await refused(stubs.access.CreateToken(everywhere, metadata=ours, timeout=10))).reason == "DOMAIN_DENIED"
    assert (await refused(stubs.access.ListTokens(access_pb2.ListTokensRequest(all_domains=True), metadata=ours, timeout=10))).reason == "DOMAIN_DENIED"
    wanted = access_pb2.AuditFilter(all_domains=True)
    for call in (stubs.access.ListAudit(access_pb2.ListAuditRequest(filter=wanted), metadata=ours, timeout=10),):
        assert (await refused(call)).reason == "DOMAIN_DENIED"
    assert (await stubs.access.CreateToken(everywhere, metadata=all_, timeout=10)).token.domain == ""
    assert (await refused(stubs.access.CreateToken(everywhere, metadata=all_, timeout=10))).reason == "TOKEN_NAME_TAKEN"
    one = await stubs.access.CreateToken(access_pb2.CreateTokenRequest(name="x", role=access_pb2.ROLE_VIEWER), metadata=all_, timeout=10)
    assert one.token.domain == "other"  # the same name in another domain
    names = [token.name for token in (await stubs.access.ListTokens(access_pb2.ListTokensRequest(), metadata=all_, timeout=10)).tokens]
    assert names == ["x"]
    for request, name in ((access_pb2.RotateTokenRequest(name="x"), "RotateToken"), (access_pb2.RevokeTokenRequest(name="x"), "RevokeToken")):
        refusal = await refused(getattr(stubs.access, name)(request, metadata=ours, timeout=10))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TOKEN_NOT_FOUND")  # it is another domain's


async def test_no_token_is_made_that_the_audit_would_name_as_it_does_people(broker: BrokerProcess, database: str, stack: AsyncExitStack) -> None:
    boss = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    for name in ("user/ada", "User/ADA", "oidc/ada"):
        with pytest.raises(InvalidRequest, match="people in the audit") as error:
            await boss.create_token(name, "operator")
        assert error.value.field == "name"
    await boss.create_token("users/ada", "operator")
    con = await asyncpg.connect(database)
    await con.execute("update headrace.token set name = 'user/ada' where name = 'users/ada'")  # as one that was made before
    await con.close()
    await boss.rotate_token("user/ada")
    await boss.revoke_token("user/ada")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (access_pb2.CreateTokenRequest(name="", role=access_pb2.ROLE_VIEWER), "name"),
        (access_pb2.CreateTokenRequest(name="two words", role=access_pb2.ROLE_VIEWER), "name"),
        (access_pb2.CreateTokenRequest(name="x"), "role"),
        (access_pb2.CreateTokenRequest(name="x", role=9), "role"),  # type: ignore[arg-type]
        (access_pb2.CreateTokenRequest(name="x", role=access_pb2.ROLE_VIEWER, expires_in=Duration()), "expires_in"),
        (access_pb2.CreateTokenRequest(name="x", role=access_pb2.ROLE_VIEWER, reason="x" * 1001), "reason"),
        (access_pb2.RotateTokenRequest(name="x", overlap=Duration(seconds=31 * 86_400)), "overlap"),
        (access_pb2.ListAuditRequest(page_size=1001), "page_size"),
        (access_pb2.ListAuditRequest(page_token="x"), "page_token"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_field(request_: Any, field: str, broker: BrokerProcess) -> None:
    async with grpc.aio.insecure_channel(broker.address) as channel:
        name = type(request_).__name__.removesuffix("Request")
        assert (await refused(getattr(Stubs(channel).access, name)(request_, timeout=10))).field == field


async def test_the_audit_names_tokens_and_tells_of_them(stubs: Stubs, secrets: dict[str, str], guarded: BrokerProcess, stack: AsyncExitStack) -> None:
    def admin(role: str, **options: Any) -> AdminClient:
        return AdminClient(guarded.address, token=secrets[role], actor="somebody else", timeout_s=20, **options)

    client = await stack.enter_async_context(Client(guarded.address, token=secrets["submitter"], timeout_s=20))
    boss = await stack.enter_async_context(admin("admin"))
    operator = await stack.enter_async_context(admin("operator", on_behalf_of="Ada"))
    ids = [(await client.submit("t", number)).job_id for number in range(3)]
    await operator.abort(ids, reason="wrong day")
    made = await boss.create_token("ci", "submitter", reason="for the build")
    await boss.rotate_token("ci", overlap_s=0)
    await boss.revoke_token("ci", reason="gone")
    with pytest.raises(NotFound):
        await boss.revoke_token("ci")
    rows, more = await operator.list_audit(page_size=4)
    older, end = await operator.list_audit(page_size=100, page_token=more)
    assert [row.action for row in rows + older][:6] == ["token.revoke", "token.rotate", "token.create", "job.abort", "job.abort", "job.abort"]
    assert len(rows) == 4 and more and not end
    assert {(row.actor, row.on_behalf_of, row.reason) for row in rows + older if row.action == "job.abort"} == {("operator@default", "Ada", "wrong day")}
    assert len({row.request_id for row in rows + older if row.action == "job.abort"}) == 1  # of one call
    assert rows[2].after is not None and rows[2].after["role"] == "submitter" and rows[2].token_id != made.token.token_id and rows[2].reason == "for the build"
    assert [row.audit_id async for row in operator.export_audit()] == [row.audit_id for row in rows + older]
    by_target, _ = await operator.list_audit(target=f"job/{ids[1]}")
    by_actor, _ = await operator.list_audit(actor="admin@default", action="token.rotate")
    since, _ = await operator.list_audit(at_from=rows[1].at)
    until_, _ = await operator.list_audit(at_to=rows[2].at, action="token.create", actor="admin@default")
    assert [row.target for row in by_target] == [f"job/{ids[1]}"] and [row.audit_id for row in by_actor] == [rows[1].audit_id]
    assert [row.audit_id for row in since] == [rows[0].audit_id, rows[1].audit_id] and until_ == []
    assert [event.actor for event in await client.events(ids[0]) if event.kind == "aborted"] == ["operator@default (Ada)"]


async def test_only_operators_and_administrators_act_for_somebody_else(stubs: Stubs, secrets: dict[str, str]) -> None:
    hello = agents_pb2.ConnectRequest(number=1, hello=agents_pb2.Hello(agent_name="a", incarnation_id="k" * 16, slots=1, types=[agents_pb2.ServedType(type="t")]))
    call = stubs.agents.Connect(metadata=bearer(secrets["agent"], headrace_on_behalf_of="Ada"))
    refusal = await stream_refusal(call, hello)
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "ROLE_DENIED")
    job_id = (await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="t", payload=b"1")), metadata=bearer(secrets["agent"]), timeout=10)).job_id
    [result] = (
        await stubs.admin.AbortJobs(admin_pb2.AbortJobsRequest(job_ids=[job_id]), metadata=bearer(secrets["operator"], headrace_on_behalf_of="Ada"), timeout=10)
    ).results
    assert result.ok


async def test_rows_of_other_domains_are_not_seen(stubs: Stubs, secrets: dict[str, str], root: str) -> None:
    spec = types_pb2.JobSpec(type="t", payload=b"{}")
    foreign = (await stubs.jobs.Submit(jobs_pb2.SubmitRequest(job=spec), metadata=bearer(root, "other"), timeout=10)).job_id
    await stubs.admin.AbortJobs(admin_pb2.AbortJobsRequest(job_ids=[foreign]), metadata=bearer(root, "other"), timeout=10)

    async def listed(metadata: Any, **fields: Any) -> list[str]:
        answer = await stubs.access.ListAudit(access_pb2.ListAuditRequest(filter=access_pb2.AuditFilter(**fields)), metadata=metadata, timeout=10)
        return [row.target for row in answer.rows]

    for fields in ({}, {"target": f"job/{foreign}"}, {"actor": "admin@all"}):
        assert f"job/{foreign}" not in await listed(bearer(secrets["admin"]), **fields)
    assert await listed(bearer(root, "other")) == [f"job/{foreign}"]
    assert {f"job/{foreign}", "token/admin@all", "token/viewer@default"} <= set(await listed(bearer(root), all_domains=True))


async def test_the_client_says_what_was_wrong(guarded: BrokerProcess, secrets: dict[str, str]) -> None:
    async with Client(guarded.address, timeout_s=20) as nobody, Client(guarded.address, token=secrets["viewer"], timeout_s=20) as viewer:
        for client, error in ((nobody, Unauthenticated), (viewer, PermissionDenied)):
            with pytest.raises(error):
                await client.submit("t", 1)
        with pytest.raises(Unauthenticated) as missing:
            await nobody.count()
        assert missing.value.reason == "TOKEN_MISSING"
        await viewer.count()
