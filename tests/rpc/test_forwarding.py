"""What a broker that stands by does with calls: an owner that answers as a script says, in this process, and the guard of a real broker in front of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from headrace_broker.metrics import Metrics
from headrace_broker.model.errors import Draining, InvalidField, JobNotFound, NotOwner, QueueFull
from headrace_broker.rpc import forward
from headrace_broker.rpc.attest import ATTESTED_KEY, FORWARDED_KEY, attest, attested
from headrace_broker.rpc.errors import REASONS, status_code, trailing_metadata
from headrace_broker.rpc.forward import Forwarder
from headrace_broker.rpc.interceptors import Guard
from headrace_broker.rpc.routes import Routes
from headrace_broker.store.ledger import Holder
from headrace_broker.store.peers import Peer
from headrace_proto.v1 import jobs_pb2

from tests.support.ports import free_ports
from tests.support.wire import refusal_of

KEY = bytes(32)
GET, STREAM = "/headrace.v1.Jobs/GetJob", "/headrace.v1.Jobs/SubmitStream"
Unary = Callable[[Any, Any], Awaitable[Any]]


@dataclass
class Standing:
    """In place of an Ownership: what a forwarder asks of it."""

    holder: Holder | None = None
    role: str = "standby"
    peer: Peer | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def become(self, role: str, holder: Holder | None) -> None:
        """Somebody else owns the queue, or this broker does."""
        self.role, self.holder = role, holder
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


@dataclass
class Side:
    """One server: what it does with a call, and what came with the last one."""

    name: str
    address: str = ""
    get: Unary | None = None
    came: list[tuple[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    calls: int = 0
    streams: int = 0
    left_s: float | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    server: Any = None

    async def get_job(self, request: Any, context: Any) -> Any:
        """Answers, or does what the test says."""
        self.calls += 1
        self.came = list(context.invocation_metadata())
        self.metadata, self.left_s = dict(self.came), context.time_remaining()
        try:
            if self.get is not None:
                return await self.get(request, context)
        except (NotOwner, Draining, QueueFull, JobNotFound) as error:
            await context.abort(status_code(REASONS[type(error)]), str(error), trailing_metadata(error))
        finally:
            self.ended.set()
        context.set_trailing_metadata((("headrace-request-id", "r1"),))
        return jobs_pb2.GetJobResponse(job={"job_id": request.job_id, "type": self.name})

    async def submit_stream(self, requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        """Echoes the numbers."""
        self.streams += 1
        try:
            async for request in requests:
                yield jobs_pb2.SubmitStreamResponse(request_no=request.request_no)
        finally:
            self.ended.set()

    async def start(self, *interceptors: Any) -> "Side":
        """Listens."""
        self.server = grpc.aio.server(interceptors=interceptors)
        handlers = {
            "GetJob": grpc.unary_unary_rpc_method_handler(self.get_job, jobs_pb2.GetJobRequest.FromString, jobs_pb2.GetJobResponse.SerializeToString),
            "SubmitStream": grpc.stream_stream_rpc_method_handler(
                self.submit_stream, jobs_pb2.SubmitStreamRequest.FromString, jobs_pb2.SubmitStreamResponse.SerializeToString
            ),
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("headrace.v1.Jobs", handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port(self.address or '127.0.0.1:0')}"
        await self.server.start()
        return self

    def holder(self, life_id: int = 1) -> Holder:
        """As the database says it."""
        return Holder(life_id, self.name, 1, Peer("here", self.address, "", KEY))


class Scene:
    """An owner, a broker that stands by, a caller of the latter."""

    def __init__(self, owner: Side, standby: Side, standing: Standing, channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
        self.owner, self.standby, self.standing, self.channel, self.stack = owner, standby, standing, channel, stack

    def get(self, job_id: int = 7, *, timeout_s: float | None = 10, metadata: tuple[tuple[str, Any], ...] = ()) -> Any:
        """A call at the broker that stands by."""
        call = self.channel.unary_unary(GET, jobs_pb2.GetJobRequest.SerializeToString, jobs_pb2.GetJobResponse.FromString)
        return call(jobs_pb2.GetJobRequest(job_id=job_id), timeout=timeout_s, metadata=metadata)

    def submits(self) -> Any:
        """A stream at the broker that stands by."""
        return self.channel.stream_stream(STREAM, jobs_pb2.SubmitStreamRequest.SerializeToString, jobs_pb2.SubmitStreamResponse.FromString)()

    async def refused(self, **options: Any) -> Any:
        """How it refuses a call."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.get(**options)
        return refusal_of(error.value)

    async def another(self, name: str) -> Side:
        """One more broker."""
        side = await Side(name).start()
        self.stack.push_async_callback(side.server.stop, 0)
        return side


@pytest.fixture
async def scene(stack: AsyncExitStack) -> Scene:
    """See the class."""
    owner, standing = await Side("owner").start(), Standing(peer=Peer("here", "", "", KEY))
    standing.holder = owner.holder()
    routes = Routes(standing, None)  # type: ignore[arg-type]  # what is asked of it, it has
    ending = asyncio.create_task(routes.run())
    standby = await Side("standby").start(Guard(Metrics(), forwarder=Forwarder(standing, routes, Metrics(), "the standby")))  # type: ignore[arg-type]
    channel = grpc.aio.insecure_channel(standby.address)
    stack.push_async_callback(owner.server.stop, 0)

    async def close() -> None:
        await channel.close()
        await standby.server.stop(0)
        ending.cancel()
        await asyncio.wait([ending])

    stack.push_async_callback(close)
    return Scene(owner, standby, standing, channel, stack)


async def test_a_call_goes_to_the_owner_with_all_that_came_with_it_and_the_answer_back_with_all_that_came_with_that(scene: Scene) -> None:
    metadata = (("authorization", "Bearer s"), ("headrace-domain", "d"), ("headrace-actor", "me"), ("traceparent", "00-1-2-01"), (ATTESTED_KEY, b"forged"))
    call = scene.get(9, metadata=metadata, timeout_s=60)
    assert (await call).job.type == "owner"
    assert dict(await call.trailing_metadata())["headrace-request-id"] == "r1"
    came = scene.owner.metadata
    assert [came[key] for key in ("authorization", "headrace-domain", "headrace-actor", "traceparent")] == ["Bearer s", "d", "me", "00-1-2-01"]
    assert came[FORWARDED_KEY] == "the standby" and scene.standby.calls == 0
    assert attested(KEY, GET, scene.owner.came, came[ATTESTED_KEY]) == ""
    assert [key for key, _ in scene.owner.came].count(ATTESTED_KEY) == 1, "what the caller said of itself is not passed on"
    assert scene.owner.left_s is not None and 30 < scene.owner.left_s < 60.1, "gRPC rounds what it sends up"


async def test_refusals_come_back_as_they_are(scene: Scene) -> None:
    async def full(_request: Any, _context: Any) -> Any:
        raise QueueFull("type t", 10, 0, 2.5)

    async def missing(_request: Any, _context: Any) -> Any:
        raise JobNotFound(7, "job_id")

    scene.owner.get = full
    refusal = await scene.refused()
    assert (refusal.code, refusal.reason, refusal.retry_after_s) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 2.5)
    scene.owner.get = missing
    refusal = await scene.refused()
    assert (refusal.code, refusal.reason, refusal.field) == ("NOT_FOUND", "JOB_NOT_FOUND", "job_id")
    assert scene.owner.calls == 2, "and are not asked for again"


def _certificate(*names: x509.GeneralName) -> str:
    """One for these names, and for none where there are none."""
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("certificate", "said"),
    [
        (_certificate(), "names no host"), (_certificate(x509.UniformResourceIdentifier("headrace://*/admin/x")), "names no host"), ("no certificate", "cannot be read"),
    ],
)  # fmt: skip
async def test_an_owner_whose_certificate_is_no_good_is_named_with_what_to_do(scene: Scene, certificate: str, said: str) -> None:
    scene.standing.holder = replace(scene.owner.holder(), peer=Peer("here", scene.owner.address, "", KEY, certificate))
    refusal = await scene.refused()
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "NOT_OWNER") and said in refusal.message and "give it one for the host of" in refusal.message
    assert scene.owner.calls == 0


async def test_a_call_that_was_passed_on_is_not_passed_on_again(scene: Scene) -> None:
    refusal = await scene.refused(metadata=((FORWARDED_KEY, "another one"),))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "NOT_OWNER") and "another one" in refusal.message
    assert (scene.owner.calls, scene.standby.calls) == (0, 0)


async def test_a_call_whose_answer_is_lost_has_an_unknown_result_and_is_not_made_again(scene: Scene) -> None:
    began = asyncio.Event()

    async def never(_request: Any, _context: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    scene.owner.get = never
    asked = asyncio.ensure_future(scene.refused())
    await began.wait()
    await scene.owner.server.stop(0)
    refusal = await asked
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "RESULT_UNKNOWN")
    assert scene.owner.calls == 1


async def test_a_call_to_an_owner_that_hangs_ends_when_another_one_owns_the_queue(scene: Scene) -> None:
    began = asyncio.Event()

    async def never(_request: Any, _context: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    scene.owner.get = never
    asked = asyncio.ensure_future(scene.refused(timeout_s=30))
    await began.wait()
    heir = await scene.another("heir")
    scene.standing.become("standby", heir.holder(2))
    assert (await asked).reason == "RESULT_UNKNOWN"
    assert (await scene.get()).job.type == "heir"


async def test_a_call_is_held_until_somebody_owns_the_queue(scene: Scene) -> None:
    scene.standing.become("standby", None)
    held = asyncio.ensure_future(scene.get())
    while not scene.standing.changed._waiters:
        await asyncio.sleep(0.01)
    heir = await scene.another("heir")
    scene.standing.become("standby", heir.holder(2))
    assert (await held).job.type == "heir"

    async def draining(_request: Any, _context: Any) -> Any:
        raise Draining("nothing was stored")

    heir.get = draining
    held = asyncio.ensure_future(scene.get())
    await heir.ended.wait()
    scene.standing.become("active", None)
    assert (await held).job.type == "standby", "this broker is the owner by now"


async def test_an_owner_that_cannot_be_reached_gets_nothing_and_the_caller_learns_that(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PATIENCE_S", 0.4)
    gone = Side("gone", address=f"127.0.0.1:{free_ports(1)[0]}")
    scene.standing.become("standby", gone.holder(2))
    refusal = await scene.refused()
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "NOT_OWNER") and "gone" in refusal.message
    monkeypatch.setattr(forward, "PATIENCE_S", 10.0)
    held = asyncio.ensure_future(scene.get())
    await gone.start()
    scene.stack.push_async_callback(gone.server.stop, 0)
    assert (await held).job.type == "gone", "it came up meanwhile"
    scene.standing.become("standby", Holder(3, "elsewhere", 1, Peer("there", "127.0.0.1:1", "", KEY)))
    assert "--advertise" in (await scene.refused()).message
    scene.standing.become("standby", Holder(4, "an older release", 1))
    assert "does not say" in (await scene.refused()).message


async def test_no_more_calls_are_held_than_there_is_room_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "HELD", 0)
    scene.standing.become("standby", None)
    refusal = await scene.refused()
    assert refusal.reason == "NOT_OWNER" and "wait already" in refusal.message


async def test_the_end_of_a_call_reaches_the_owner(scene: Scene) -> None:
    async def long(_request: Any, _context: Any) -> Any:
        await asyncio.Event().wait()

    scene.owner.get = long
    call = scene.get()
    while not scene.owner.calls:
        await asyncio.sleep(0.01)
    call.cancel()
    async with asyncio.timeout(10):
        await scene.owner.ended.wait()


async def test_a_stream_is_passed_on_in_order_and_its_end_too(scene: Scene) -> None:
    stream = scene.submits()
    for number in range(1, 21):
        await stream.write(jobs_pb2.SubmitStreamRequest(request_no=number))
    assert [(await stream.read()).request_no for _ in range(20)] == [*range(1, 21)]
    assert not scene.owner.ended.is_set()
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF and await stream.code() is grpc.StatusCode.OK
    assert scene.owner.ended.is_set() and scene.standby.streams == 0
    stream = scene.submits()
    await stream.write(jobs_pb2.SubmitStreamRequest(request_no=1))
    await stream.read()
    scene.standing.become("standby", None)  # the owner hangs, and another broker is about to take over
    assert await stream.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(await stream.trailing_metadata())["headrace-reason"] == "RESULT_UNKNOWN"


async def test_a_stream_of_submits_without_an_owner_is_answered_here_job_by_job(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PATIENCE_S", 0.2)
    scene.standing.become("standby", None)
    stream = scene.submits()
    await stream.write(jobs_pb2.SubmitStreamRequest(request_no=3))
    assert (await stream.read()).request_no == 3 and scene.standby.streams == 1
    stream.cancel()


async def test_what_is_no_request_is_refused_before_it_travels(scene: Scene) -> None:
    call = scene.channel.unary_unary(GET)(b"\xff\xff", timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert refusal_of(error.value).reason == REASONS[InvalidField] and scene.owner.calls == 0


def test_a_seal_is_good_for_its_call_its_token_its_domain_and_its_key_alone() -> None:
    came = [("authorization", "Bearer a"), ("headrace-domain", "d"), ("other", "x")]
    sealed = attest(KEY, GET, came, "headrace://*/admin/boss")
    assert attested(KEY, GET, came, sealed) == "headrace://*/admin/boss"
    assert attested(KEY, GET, [*came, ("more", "y")], sealed) == "headrace://*/admin/boss"
    assert attested(bytes([1] * 32), GET, came, sealed) is None
    assert attested(KEY, STREAM, came, sealed) is None
    assert attested(KEY, GET, [("authorization", "Bearer b"), came[1]], sealed) is None
    assert attested(KEY, GET, [came[0], ("headrace-domain", "e")], sealed) is None
    assert attested(KEY, GET, came, sealed.replace(b"boss", b"bass")) is None
    assert attested(KEY, GET, came, b"") is None


async def test_a_call_that_comes_while_the_shard_is_handed_over_is_made_at_its_next_owner() -> None:
    standing = Standing(role="active")
    forwarder = Forwarder(standing, None, Metrics(), "x")  # type: ignore[arg-type]  # what is asked of it here is the role

    async def elsewhere(_request: Any, _context: Any) -> str:
        return "there"

    def refused(error: Exception, *, role: str) -> Unary:
        async def here(_request: Any, _context: Any) -> str:
            standing.role = role
            raise error

        return forwarder.unless_handed_over(here, elsewhere)

    for error in (Draining("too late"), NotOwner("too late")):
        assert await refused(error, role="standby")(1, None) == "there"
        with pytest.raises(type(error)):
            await refused(error, role="active")(1, None)
    with pytest.raises(InvalidField):
        await refused(InvalidField("x", "wrong"), role="standby")(1, None)
