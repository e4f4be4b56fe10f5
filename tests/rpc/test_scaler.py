"""What KEDA is told when it asks how many agents there should be: over gRPC as KEDA calls, without metadata, at one broker that wants to know who calls."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
from headrace_agent import Agent, JobContext
from headrace_broker.model.errors import NotOwner
from headrace_broker.rpc import scaler
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client
from headrace_proto.keda.externalscaler_pb2 import GetMetricsRequest, ScaledObjectRef
from headrace_proto.keda.externalscaler_pb2_grpc import ExternalScalerStub

from tests.rpc.refusals import trigger
from tests.support.processes import until
from tests.support.web import Shared, shared_broker
from tests.support.wire import Refusal, refusal_of, stream_refusal

SPENT_S = 30.0
_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """The broker."""
    with shared_broker(postgres, "scaler", "--auth", "required", "--lease-s", "60") as found:
        yield found


class Keda:
    """Asks as KEDA does, about job types of this test's own, whose names begin with `kind`. `stub`: raw calls."""

    def __init__(self, shared: Shared, channel: grpc.aio.Channel) -> None:
        self.stub: Any = ExternalScalerStub(channel)  # type: ignore[no-untyped-call]
        self.kind = f"k{next(_numbers)}"
        self._token = shared.secrets["viewer"]

    def ref(self, **metadata: str) -> ScaledObjectRef:
        """A trigger, with the token of a viewer unless another one is given, for all types of the test unless one is named."""
        return ScaledObjectRef(
            name="mailer", namespace="apps",
            scalerMetadata={"scalerAddress": "headrace:7233", "tokenFromEnv": self._token, "type": f"{self.kind}.*", "jobsPerReplica": "5", **metadata},
        )  # fmt: skip

    async def count(self, **metadata: str) -> int:
        """The metric."""
        [value] = (await self.stub.GetMetrics(GetMetricsRequest(scaledObjectRef=self.ref(**metadata), metricName="headrace-jobs"), timeout=SPENT_S)).metricValues
        assert value.metricName == "headrace-jobs" and value.metricValueFloat == value.metricValue
        return int(value.metricValue)

    async def active(self, **metadata: str) -> bool:
        """Whether there is to be an agent at all."""
        return bool((await self.stub.IsActive(self.ref(**metadata), timeout=SPENT_S)).result)

    async def refused(self, **metadata: str) -> Refusal:
        """How IsActive is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.active(**metadata)
        return refusal_of(error.value)


@pytest.fixture
async def keda(shared: Shared) -> AsyncIterator[Keda]:
    async with grpc.aio.insecure_channel(shared.broker.address) as channel:
        yield Keda(shared, channel)


@pytest.fixture
async def client(shared: Shared, stack: AsyncExitStack) -> Client:
    return await stack.enter_async_context(Client(shared.broker.address, token=shared.secrets["admin"], timeout_s=20))


@pytest.fixture
async def admin(shared: Shared, stack: AsyncExitStack) -> AdminClient:
    return await stack.enter_async_context(AdminClient(shared.broker.address, token=shared.secrets["admin"], timeout_s=20))


@pytest.mark.parametrize(("given", "whole"), [("5", 5), ("2.6", 3), ("0.2", 1)])
async def test_the_spec_says_for_how_many_jobs_a_replica_is_wanted(keda: Keda, given: str, whole: int) -> None:
    [spec] = (await keda.stub.GetMetricSpec(keda.ref(jobsPerReplica=given), timeout=SPENT_S)).metricSpecs
    assert (spec.metricName, spec.targetSize, spec.targetSizeFloat) == ("headrace-jobs", whole, float(given))


async def test_the_metric_follows_submits_grants_and_completions(keda: Keda, client: Client, shared: Shared) -> None:
    mail, post = f"{keda.kind}.mail", f"{keda.kind}.post"
    assert (await keda.count(), await keda.active()) == (0, False), "a type that there is not has no jobs"
    jobs = [(await client.submit(name)).job_id for name in (mail, mail, mail, post)]
    await client.submit(mail, delay_s=3600)
    assert await keda.count() == 4, "what waits for its time is not wanted yet"
    assert [await keda.count(type=name) for name in (mail, post, f"{mail}, {post}", "nothing", f"{keda.kind}.p?st")] == [3, 1, 4, 0, 1]
    assert [await keda.active(activationThreshold=threshold) for threshold in ("0", "3", "3.5", "4")] == [True, True, True, False]

    agent, drain, end = Agent("mailer", slots=3), asyncio.Event(), asyncio.Event()

    @agent.job(mail)
    async def send(ctx: JobContext) -> None:
        await end.wait()

    serving = asyncio.create_task(agent.run(shared.broker.address, token=shared.secrets["agent"], drain=drain))

    async def granted() -> bool:
        return await keda.count(includeRunning="false") == 1

    await until(granted, what="the grant of three jobs")
    assert (await keda.count(), await keda.count(type=mail, includeRunning="False")) == (4, 0), "agents are kept for what they run, unless it is asked otherwise"
    assert await keda.active(type=mail) and not await keda.active(type=mail, includeRunning="false")
    end.set()
    for job_id in jobs[:3]:
        await client.wait(job_id)
    assert (await keda.count(), await keda.active(type=mail)) == (1, False)
    drain.set()
    await serving


async def test_jobs_that_could_not_start_are_not_counted(keda: Keda, client: Client, admin: AdminClient) -> None:
    few, off, keyed = (f"{keda.kind}.{name}" for name in ("few", "off", "keyed"))
    first = [(await client.submit(few)).job_id for _ in range(5)]
    await client.submit(few, depends_on=[first[0]])
    for _ in range(3):
        await client.submit(off)
        await client.submit(keyed, limit_key="one", fairness_key="a")
    assert (await keda.count(), await keda.count(type=keyed)) == (11, 3)
    await admin.set_type(few, concurrency=2)
    assert await keda.count(type=few) == 2, "more of them may not run at the same time"
    await admin.pause_type(off)
    assert await keda.count(type=off) == 0
    await admin.resume_type(off)
    await client.abort(first[1:])
    assert (await keda.count(type=few), await keda.count(type=off)) == (2, 3)
    await admin.set_type(few, clear=["concurrency"])
    assert await keda.count(type=few) <= 2, "never more than wait at all: one that may start, and one that depends on it"


async def test_the_domain_stands_in_the_metadata_and_each_has_its_own(keda: Keda, client: Client, shared: Shared, stack: AsyncExitStack) -> None:
    everywhere = shared.secrets["viewer@all"]
    other = await stack.enter_async_context(Client(shared.broker.address, domain="scaler-other", token=shared.secrets["admin@all"], timeout_s=20))
    await client.submit(f"{keda.kind}.mail")
    for _ in range(2):
        await other.submit(f"{keda.kind}.mail")
    assert [await keda.count(domain=domain, tokenFromEnv=everywhere) for domain in ("default", "scaler-other", "scaler-none")] == [1, 2, 0]
    request = GetMetricsRequest(scaledObjectRef=keda.ref(domainFromEnv="scaler-other", tokenFromEnv=everywhere), metricName="headrace-jobs")
    answer = await keda.stub.GetMetrics(request, metadata=(("headrace-domain", "default"),), timeout=SPENT_S)
    assert answer.metricValues[0].metricValue == 2, "the message decides, whatever came with the call"
    refusal = await keda.refused(domain="scaler-other")
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "DOMAIN_DENIED")


async def test_who_asks_must_be_one_that_may_oversee_the_type(keda: Keda, client: Client, admin: AdminClient, shared: Shared) -> None:
    for name in ("mail", "post"):
        await client.submit(f"{keda.kind}.{name}")
    nobody, unknown, agent = [await keda.refused(tokenFromEnv=token) for token in ("", "hr_nobody", shared.secrets["agent"])]
    assert [(refusal.code, refusal.reason) for refusal in (nobody, unknown, agent)] == [
        ("UNAUTHENTICATED", "TOKEN_MISSING"), ("UNAUTHENTICATED", "TOKEN_INVALID"), ("PERMISSION_DENIED", "ROLE_DENIED"),
    ]  # fmt: skip
    secret = (await admin.create_token(keda.kind, "guest")).secret
    await admin.grant(f"token/{keda.kind}", ["oversee"], types=f"{keda.kind}.m*")
    assert (await keda.count(), await keda.count(tokenFromEnv=secret)) == (2, 1), "a pattern stands for the types that one may see"
    refusal = await keda.refused(tokenFromEnv=secret, type=f"{keda.kind}.mail,{keda.kind}.post")
    assert (refusal.code, refusal.reason, refusal.field) == ("PERMISSION_DENIED", "TYPE_DENIED", "metadata.type"), "left out, it would never get an agent"


async def test_a_stream_says_at_once_what_is_so_and_then_what_has_changed(keda: Keda, client: Client, admin: AdminClient) -> None:
    secret = (await admin.create_token(keda.kind, "viewer")).secret
    quiet = keda.stub.StreamIsActive(keda.ref(type=f"{keda.kind}.post"), timeout=3)
    assert not (await quiet.read()).result
    more = asyncio.ensure_future(quiet.read())
    call = keda.stub.StreamIsActive(keda.ref(tokenFromEnv=secret), timeout=SPENT_S)
    assert not (await call.read()).result
    job_id = (await client.submit(f"{keda.kind}.mail")).job_id
    assert (await call.read()).result
    again = keda.stub.StreamIsActive(keda.ref(tokenFromEnv=secret), timeout=SPENT_S)
    assert (await again.read()).result, "it does not wait for a change"
    await client.abort([job_id])
    assert not (await call.read()).result
    again.cancel()
    assert await again.code() is grpc.StatusCode.CANCELLED
    await admin.revoke_token(keda.kind)
    refusal = await stream_refusal(call)
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_ENDED")
    with pytest.raises(grpc.aio.AioRpcError) as over:  # what does not change is said once
        await more
    assert over.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await keda.count() == 0, "and the broker serves on"


class Moving:
    """In place of an Ownership of a shard without jobs, which another broker is given."""

    def __init__(self) -> None:
        self.given_away = False
        self.changed = asyncio.Event()

    @property
    def owner(self) -> Any:
        """As that of an Ownership."""
        if self.given_away:
            raise NotOwner("another broker owns it")
        return Mock(types=Mock(find=Mock(return_value=None)))


async def test_a_stream_ends_when_another_broker_owns_the_shard() -> None:
    """KEDA opens another one, which is passed on to that broker."""
    ownership = Moving()
    stream = scaler.ScalerService(ownership).StreamIsActive(trigger(), Mock(invocation_metadata=dict))  # type: ignore[arg-type]  # what is asked of it, it has
    assert not (await anext(stream)).result
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    ownership.given_away = True
    ownership.changed.set()
    with pytest.raises(NotOwner):
        await waiting


def test_what_keda_says_to_itself_is_passed_over_and_nothing_else() -> None:
    own = dict.fromkeys(scaler.OF_KEDA, "x")
    found = scaler.trigger_of(ScaledObjectRef(scalerMetadata={**own, "typeFromEnv": "a, b.*", "jobsPerReplica": "1", "includeRunning": "TRUE"}))
    assert found == scaler.Trigger(types=("a", "b.*"), jobs_per_replica=1.0, include_running=True, activation_threshold=0.0)
