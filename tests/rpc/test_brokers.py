"""Two brokers on one database: whoever asks the one that stands by gets what the owner gives."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
import httpx
import pytest
from headrace_agent import Agent, JobContext
from headrace_broker.rpc.attest import ATTESTED_KEY, FORWARDED_KEY
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, Conflict, InvalidRequest, JobFilter, JobSpec, NotFound, PermissionDenied, State, Unauthenticated, Unavailable
from headrace_client.cli.authority import Authority
from headrace_proto.keda.externalscaler_pb2 import GetMetricsRequest, ScaledObjectRef
from headrace_proto.keda.externalscaler_pb2_grpc import ExternalScalerStub
from headrace_proto.v1 import agents_pb2, jobs_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub

from tests.support.databases import clone
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.tokens import make_tokens
from tests.support.wire import heard, say


@dataclass(frozen=True)
class Pair:
    """An owner and a broker that stands by, which ask for certificates and for who calls; files of certificates; tokens of domain default by role."""

    owner: BrokerProcess
    standby: BrokerProcess
    tls: Path
    secrets: dict[str, str]
    database: str

    def files(self, name: str) -> dict[str, Path]:
        """As clients take them."""
        return {"tls_ca": self.tls / "ca.pem", "tls_client_cert": self.tls / f"{name}.pem", "tls_client_key": self.tls / f"{name}.key"}

    def admin(self, name: str = "boss", *, token: str | None = None, at: BrokerProcess | None = None) -> AdminClient:
        """A client of the broker that stands by."""
        return AdminClient((at or self.standby).address, token=token, timeout_s=15, **self.files(name))  # type: ignore[arg-type]

    def client(self, name: str = "boss", *, token: str | None = None, at: BrokerProcess | None = None) -> Client:
        """The same."""
        return Client((at or self.standby).address, token=token, timeout_s=15, **self.files(name))  # type: ignore[arg-type]

    def channel(self, name: str, broker: BrokerProcess) -> grpc.aio.Channel:
        """Without the client library."""
        ca, cert, key = (path.read_bytes() for path in self.files(name).values())
        return grpc.aio.secure_channel(broker.address, grpc.ssl_channel_credentials(ca, key, cert))


@pytest.fixture(scope="module")
def pair(postgres: EmbeddedPostgres) -> Iterator[Pair]:
    """For all tests here: none ends a broker."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    directory.chmod(0o755)
    authority = Authority.create(directory / "tls", "test authority", 100)
    authority.issue_broker(["127.0.0.1"], 30)
    for domain, role, name in (("*", "admin", "boss"), ("default", "viewer", "viewer"), ("default", "agent", "worker")):
        authority.issue_client(domain, role, name, 30)
    tls = directory / "tls"
    options = ["--tls-cert", f"{tls}/broker.pem", "--tls-key", f"{tls}/broker.key", "--tls-client-ca", f"{tls}/ca.pem", "--auth", "required", "--http-tls", "off"]
    dsn = postgres.dsn.replace("/headrace?", "/brokers?")

    async def administer(statement: str) -> None:
        con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
        await con.execute(statement)
        await con.close()

    with asyncio.Runner() as runner:
        runner.run(administer(clone("brokers")))
        secrets = runner.run(make_tokens(dsn))
        owner = runner.run(start_broker(directory, *options, database=dsn, name="owner"))
        standby = runner.run(start_broker(directory, *options, database=dsn, name="standby"))
        try:
            yield Pair(owner, standby, tls, secrets, dsn)
        finally:
            runner.run(standby.kill())
            runner.run(owner.kill())
            runner.run(administer("drop database brokers with (force)"))
            shutil.rmtree(directory, ignore_errors=True)


async def test_a_broker_that_stands_by_serves_every_kind_of_call(pair: Pair) -> None:
    assert (pair.owner.ready["role"], pair.standby.ready["role"]) == ("active", "standby")
    async with pair.client() as client, pair.admin() as admin:
        first = await client.submit("t", {"n": 1}, key="k1", labels={"a": "b"})
        again = await client.submit("t", {"n": 1}, key="k1", labels={"a": "b"})
        assert (again.job_id, again.existing) == (first.job_id, True)
        with pytest.raises(Conflict):
            await client.submit("t", {"n": 2}, key="k1")
        many = await client.submit_many([JobSpec("t", n) for n in range(50)])
        assert all(not isinstance(item, Exception) for item in many)
        assert (await client.get(first.job_id)).labels == {"a": "b"}
        assert len((await client.list(page_size=20)).jobs) == 20
        assert (await client.count(["t"])).totals == {State.WAITING: 51}
        with pytest.raises(NotFound) as missing:
            await client.get(12345)
        assert missing.value.reason == "JOB_NOT_FOUND"
        with pytest.raises(InvalidRequest) as malformed:
            await client.submit("no type\n")
        assert malformed.value.field == "type"
        waiting = asyncio.create_task(client.wait(first.job_id, timeout_s=15))
        [aborted] = await admin.abort([first.job_id], reason="over")
        assert aborted.reason == "" and (await waiting).state is State.ABORTED
        await admin.set_type("t", max_attempts=2, reason="a change of settings")
        assert await admin.overview()
        [row, *_], _ = await admin.list_audit(page_size=5)
        assert row.actor == "headrace://*/admin/boss", "the owner knows whom the certificate names"


async def test_keda_may_ask_either_broker_with_the_certificate_of_a_viewer(pair: Pair) -> None:
    ref = ScaledObjectRef(scalerMetadata={"type": "scaled", "jobsPerReplica": "2", "domain": "default"})
    async with pair.client() as client:
        job_id = (await client.submit("scaled")).job_id
        for broker in (pair.owner, pair.standby):
            async with pair.channel("viewer", broker) as channel:
                keda = ExternalScalerStub(channel)  # type: ignore[no-untyped-call]
                [value] = (await keda.GetMetrics(GetMetricsRequest(scaledObjectRef=ref, metricName="headrace-jobs"), timeout=20)).metricValues
                assert value.metricValue == 1
                stream = keda.StreamIsActive(ref, timeout=20)
                assert (await stream.read()).result
                stream.cancel()
            async with pair.channel("worker", broker) as channel:
                keda = ExternalScalerStub(channel)  # type: ignore[no-untyped-call]
                with pytest.raises(grpc.aio.AioRpcError) as denied:
                    await keda.IsActive(ref, timeout=20)
                assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await client.abort([job_id])


async def test_a_watch_goes_through(pair: Pair) -> None:
    async with pair.client() as client:
        job_id = (await client.submit("watched")).job_id
        seen = []
        async for change in client.watch(job_ids=[job_id]):
            seen.append(change.state)
            if len(seen) == 1:
                await client.abort([job_id])
            if change.state is State.ABORTED:
                break
        assert seen == [State.WAITING, State.ABORTED]


async def test_rights_are_those_of_the_caller_and_not_of_the_broker(pair: Pair) -> None:
    async with pair.client("viewer") as viewer:
        assert (await viewer.count()).totals is not None
        with pytest.raises(PermissionDenied, match="viewer"):
            await viewer.abort([1])
    for name, secret in (("boss", pair.secrets["viewer"]), ("viewer", pair.secrets["admin"])):  # both must allow it
        async with pair.client(name, token=secret) as client:
            with pytest.raises(PermissionDenied):
                await client.abort([1])
    async with pair.client(token="hr_" + "x" * 43) as nobody:
        with pytest.raises(Unauthenticated):
            await nobody.count()


async def test_nobody_but_a_broker_attests(pair: Pair) -> None:
    request = jobs_pb2.SubmitRequest(job={"type": "forged"})
    said = [(FORWARDED_KEY, "a broker, believe me"), (ATTESTED_KEY, bytes(32) + b"headrace://*/admin/boss")]
    for metadata, code in ((said, "UNAVAILABLE"), (said[:1], "PERMISSION_DENIED")):
        async with pair.channel("viewer", pair.owner) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await JobsStub(channel).Submit(request, metadata=metadata, timeout=10)  # type: ignore[no-untyped-call]
            assert error.value.code().name == code
    async with pair.channel("viewer", pair.standby) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await JobsStub(channel).Submit(request, metadata=said[1:], timeout=10)  # type: ignore[no-untyped-call]
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE, "what it says of itself goes nowhere"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await JobsStub(channel).CountJobs(jobs_pb2.CountJobsRequest(), metadata=said[:1], timeout=10)  # type: ignore[no-untyped-call]
        assert dict(error.value.trailing_metadata() or ())["headrace-reason"] == "NOT_OWNER", "never two hops"
    async with pair.client() as client:
        assert (await client.count(["forged"])).totals == {}


async def test_an_agent_that_knows_the_standby_alone_is_served(pair: Pair) -> None:
    agent, ran = Agent("worker"), asyncio.Event()

    @agent.job("far")
    async def far(ctx: JobContext, data: int) -> int:
        ran.set()
        return data + 1

    drain = asyncio.Event()
    running = asyncio.create_task(agent.run(pair.standby.address, drain=drain, **pair.files("worker")))  # type: ignore[arg-type]
    async with pair.client() as client:
        job = await client.wait((await client.submit("far", 41)).job_id, timeout_s=20)
        assert job.state is State.COMPLETED and ran.is_set()
        assert (await client.get(job.job_id, full=True)).json_result() == 42
        drain.set()
        await running


def _hello(at_standby: agents_pb2.AtStandby, incarnation_id: str = "incarnation-of-a-test") -> agents_pb2.ConnectRequest:
    served = [agents_pb2.ServedType(type="none")]
    return agents_pb2.ConnectRequest(number=1, hello=agents_pb2.Hello(agent_name="worker", incarnation_id=incarnation_id, slots=1, types=served, at_standby=at_standby))


async def test_a_stream_of_an_agent_waits_at_the_standby_or_is_passed_on_once(pair: Pair, stack: AsyncExitStack) -> None:
    at_owner, at_standby = [await stack.enter_async_context(pair.channel("worker", broker)) for broker in (pair.owner, pair.standby)]

    async def connect(channel: grpc.aio.Channel, wish: agents_pb2.AtStandby) -> tuple[agents_pb2.ConnectResponse, object]:
        call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
        stack.callback(call.cancel)
        end = await say(call, _hello(wish))
        return await heard(call, end), call

    waits, _ = await connect(at_standby, agents_pb2.AT_STANDBY_WAIT)
    assert waits.HasField("stand_by") and f" pid {pair.owner.pid} " in waits.stand_by.owner and not waits.stand_by.over
    direct, stream = await connect(at_owner, agents_pb2.AT_STANDBY_WAIT)
    assert direct.HasField("welcome")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await connect(at_standby, agents_pb2.AT_STANDBY_UNSPECIFIED)
    assert dict(error.value.trailing_metadata() or ())["headrace-reason"] == "NOT_OWNER", "it has a stream already"
    passed_on, _ = await connect(at_standby, agents_pb2.AT_STANDBY_PASS_ON)
    assert passed_on.HasField("welcome") and passed_on.welcome.resumed and passed_on.welcome.broker_id == direct.welcome.broker_id
    assert await stream.read() is grpc.aio.EOF, "it took the place of the other"  # type: ignore[attr-defined]


async def test_tokens_are_looked_after_by_any_broker(pair: Pair) -> None:
    async with pair.admin() as admin:
        made = await admin.create_token("made-at-the-standby", role="viewer", reason="a test")
        assert "made-at-the-standby" in {token.name for token in await admin.list_tokens()}
    async with pair.client(token=made.secret, at=pair.owner) as viewer:

        async def known() -> bool:
            try:
                return (await viewer.count()) is not None
            except Unauthenticated:
                return False

        await until(known, what="the owner to know the new token")


async def test_saved_filters_are_kept_with_any_broker_for_whom_a_certificate_names(pair: Pair) -> None:
    async with pair.admin() as admin, pair.admin(at=pair.owner) as at_the_owner, pair.admin("viewer", at=pair.owner) as viewer:
        own = await admin.save_filter("mine", JobFilter(instance_id="i"))
        shared = await admin.save_filter("ours", JobFilter(instance_id="j"), ages={"created_from": 60.0}, shared=True)
        assert await at_the_owner.list_filters() == [own, shared] and own.saved_by.startswith("headrace://")
        assert await viewer.list_filters() == [shared]
        _, now = await viewer.get_filter("ours")
        assert now.instance_id == "j" and now.created_from is not None
        for name, of_all in (("mine", False), ("ours", True)):
            await at_the_owner.delete_filter(name, shared=of_all)
        assert await admin.list_filters() == []


async def test_any_broker_tells_which_there_are(pair: Pair) -> None:
    for at in (pair.owner, pair.standby):
        async with pair.admin(at=at) as admin:
            found = await admin.list_brokers()
        assert [(broker.role, broker.endpoint) for broker in found] == [("active", pair.owner.address), ("standby", pair.standby.address)]
        assert [broker.web for broker in found] == [f"http://{each.ready['http']}" for each in (pair.owner, pair.standby)]
        assert all(f" pid {each.pid} " in broker.address for each, broker in zip((pair.owner, pair.standby), found, strict=True))
        assert all(broker.version == each.ready["version"] for each, broker in zip((pair.owner, pair.standby), found, strict=True))
        assert [broker.shards for broker in found] == [(0,), ()]
        assert found[0].connected_at < found[1].connected_at and found[0].life_id < found[1].life_id
    async with pair.admin(token=pair.secrets["admin"]) as of_one_domain:
        with pytest.raises(PermissionDenied) as error:
            await of_one_domain.list_brokers()
        assert error.value.reason == "DOMAIN_DENIED"


async def test_pages_are_those_of_the_owner(pair: Pair) -> None:
    async with pair.client() as client:
        await client.count()  # passed on
    async with httpx.AsyncClient(base_url=f"http://{pair.standby.ready['http']}") as browser:
        answer = await browser.get("/jobs?state=error")
        assert (answer.status_code, answer.headers["location"]) == (307, f"http://{pair.owner.ready['http']}/jobs?state=error")
        part = await browser.get("/jobs", headers={"HX-Request": "true"})
        assert part.headers["hx-redirect"] == f"http://{pair.owner.ready['http']}/"
        assert json.loads((await browser.get("/readyz")).text) == {"ready": False, "role": "standby"}, "those who balance load go to the owner, without a hop"
        ready = await browser.get("/readyz?standby=ok")
        assert (ready.status_code, json.loads(ready.text)) == (200, {"ready": True, "role": "standby"}), "and those who replace brokers have one that answers"
        counted = [line for line in (await browser.get("/metrics")).text.splitlines() if line.startswith("headrace_forwarded_calls_total")]
        assert counted, "and calls that were passed on are counted"


async def test_a_new_certificate_of_the_owner_is_known_to_who_stands_by(pair: Pair, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(pair.database)
    stack.push_async_callback(con.close)
    Authority.open(pair.tls).issue_broker(["127.0.0.1"], 30, replace=True)
    pem = (pair.tls / "broker.pem").read_text()

    async def told() -> bool:
        return bool(await con.fetchval("select certificate = $1 from headrace.peer where life_id = (select life_id from headrace.shard limit 1)", pem))

    await until(told, what="the new certificate")
    async with pair.client() as client:
        for _ in range(20):  # while the standby takes the new way
            assert (await client.count()).totals is not None


async def test_an_owner_without_a_way_to_it_is_named(pair: Pair, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(pair.database)
    stack.push_async_callback(con.close)
    before = await con.fetchrow("select life_id, endpoint from headrace.peer where life_id = (select life_id from headrace.shard limit 1)")
    await con.execute("update headrace.peer set endpoint = '' where life_id = $1", before["life_id"])
    try:
        async with pair.client() as client:

            async def refused() -> bool:
                try:
                    await client.get(1)
                except Unavailable as error:
                    return error.reason == "NOT_OWNER" and f" pid {pair.owner.pid} " in error.message
                except NotFound:
                    pass
                return False

            client._timeout_s = 0.5
            await until(refused, what="a refusal")
    finally:
        await con.execute("update headrace.peer set endpoint = $2 where life_id = $1", before["life_id"], before["endpoint"])
