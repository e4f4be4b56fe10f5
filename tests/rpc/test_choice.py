"""Two shards and two brokers, each of which owns one: a call finds the services of its domain's shard, at whichever broker it is made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.attest import FORWARDED_KEY
from headrace_broker.rpc.choice import EVERYWHERE, MAKING, Choice, Handlers
from headrace_broker.rpc.forward import ANYWHERE, Forwarder
from headrace_broker.rpc.interceptors import Guard
from headrace_broker.rpc.routes import Routes
from headrace_broker.shards import ownerships as ownerships_module
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.store.ledger import Holder
from headrace_broker.store.peers import Peer
from headrace_proto.keda import externalscaler_pb2
from headrace_proto.v1 import jobs_pb2, testing_pb2
from headrace_proto.wire import DOMAIN_KEY

from tests.support.wire import refusal_of

GET, SUBMIT, STREAM = (f"/headrace.v1.Jobs/{name}" for name in ("GetJob", "Submit", "SubmitStream"))
ACTIVE, STREAM_ACTIVE = (f"/externalscaler.ExternalScaler/{name}" for name in ("IsActive", "StreamIsActive"))


class Standing:
    """In place of an Ownership of one shard."""

    def __init__(self, *, owned: bool) -> None:
        self.owner = self
        self.refusing: Exception | None = None
        self.peer = Peer("here", "", "", bytes(32))
        self.changed, self.ready = asyncio.Event(), asyncio.Event()
        self.become(Holder(0, "", 0, None) if owned else None, owned=owned)

    def become(self, holder: Holder | None, *, owned: bool) -> None:
        """This broker owns the shard, or another one does."""
        self.role, self.holder = ("active", None) if owned else ("standby", holder)
        (self.ready.set if owned else self.ready.clear)()
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


_KEDA = (externalscaler_pb2.ScaledObjectRef.FromString, externalscaler_pb2.IsActiveResponse.SerializeToString)


@dataclass
class Domain:
    """In place of an entry of the table of types."""

    domain_id: int = 0


@dataclass
class Database:
    """The domains that there are, in place of both the table of types, as far as it has read them, and the database."""

    stored: dict[str, int] = field(default_factory=lambda: {"even": 2, "odd": 3})
    domains: dict[str, Domain] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    away: bool = False

    def domain(self, name: str) -> Domain:
        """As the table of types."""
        return self.domains.setdefault(name, Domain())

    async def domain_id(self, name: str, *, make: bool) -> int | None:
        """As the store."""
        if self.away:
            raise OSError("away")
        self.asked.append((name, make))
        if make:
            self.stored.setdefault(name, 5)
        return self.stored.get(name)


class Broker:
    """Each shard's services say where a call has come: `broker:shard`."""

    def __init__(self, name: str, owns: int, stack: AsyncExitStack) -> None:
        self.name, self.stack, self.database = name, stack, Database()
        self.standings = [Standing(owned=number == owns) for number in range(2)]
        self.ownerships = Ownerships(self.standings, self.database, self.database)  # type: ignore[arg-type]  # what is asked of them, they have
        self.advanced = 0

    async def start(self) -> "Broker":
        """Listens."""
        routes = [Routes(standing, None) for standing in self.standings]  # type: ignore[arg-type]
        forwarders = [Forwarder(standing, route, Metrics(), self.name) for standing, route in zip(self.standings, routes, strict=True)]  # type: ignore[arg-type]
        second = Handlers()
        guard = Guard(Metrics(), forwarder=forwarders[0], choice=Choice(self.ownerships, forwarders, [second]))
        server = grpc.aio.server(interceptors=[guard])
        for number, to in enumerate((server, second)):
            to.add_generic_rpc_handlers(self._services(number))
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        self.channel = grpc.aio.insecure_channel(self.address)
        ending = [asyncio.create_task(route.run()) for route in routes]

        async def close() -> None:
            await self.channel.close()
            await server.stop(0)
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)

        self.stack.push_async_callback(close)
        return self

    def holder(self, life_id: int = 1) -> Holder:
        """As the database says it."""
        return Holder(life_id, self.name, 1, Peer("here", self.address, "", bytes(32)))

    def _services(self, number: int) -> tuple[Any, ...]:
        at = f"{self.name}:{number}"

        async def get(_request: Any, _context: Any) -> Any:
            return jobs_pb2.GetJobResponse(job={"type": at})

        async def submit(_request: Any, _context: Any) -> Any:
            return jobs_pb2.SubmitResponse(job_id=number)

        async def stream(requests: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
            async for request in requests:
                yield jobs_pb2.SubmitStreamResponse(request_no=10 * request.request_no + number)

        async def advance(_request: Any, _context: Any) -> Any:
            self.advanced += 1
            return testing_pb2.AdvanceClockResponse()

        jobs = {
            "GetJob": grpc.unary_unary_rpc_method_handler(get, jobs_pb2.GetJobRequest.FromString, jobs_pb2.GetJobResponse.SerializeToString),
            "Submit": grpc.unary_unary_rpc_method_handler(submit, jobs_pb2.SubmitRequest.FromString, jobs_pb2.SubmitResponse.SerializeToString),
            "SubmitStream": grpc.stream_stream_rpc_method_handler(stream, jobs_pb2.SubmitStreamRequest.FromString, jobs_pb2.SubmitStreamResponse.SerializeToString),
        }
        testing = {
            "AdvanceClock": grpc.unary_unary_rpc_method_handler(advance, testing_pb2.AdvanceClockRequest.FromString, testing_pb2.AdvanceClockResponse.SerializeToString)
        }

        async def active(_request: Any, _context: Any) -> Any:
            return externalscaler_pb2.IsActiveResponse(result=number == 1)

        async def stream_active(request: Any, context: Any) -> AsyncIterator[Any]:
            yield await active(request, context)

        keda = {
            "IsActive": grpc.unary_unary_rpc_method_handler(active, *_KEDA),
            "StreamIsActive": grpc.unary_stream_rpc_method_handler(stream_active, *_KEDA),
        }
        named = (("headrace.v1.Jobs", jobs), ("headrace.v1.Testing", testing), ("externalscaler.ExternalScaler", keda))
        return tuple(grpc.method_handlers_generic_handler(name, handlers) for name, handlers in named)

    async def get(self, domain: str, **more: str) -> str:
        """Where a call for the domain, made here, has come."""
        call = self.channel.unary_unary(GET, jobs_pb2.GetJobRequest.SerializeToString, jobs_pb2.GetJobResponse.FromString)
        answer = await call(jobs_pb2.GetJobRequest(job_id=1), timeout=20, metadata=((DOMAIN_KEY, domain), *more.items()))
        return str(answer.job.type)

    async def submit(self, domain: str) -> int:
        """The number of the shard that a job has come to."""
        call = self.channel.unary_unary(SUBMIT, jobs_pb2.SubmitRequest.SerializeToString, jobs_pb2.SubmitResponse.FromString)
        return int((await call(jobs_pb2.SubmitRequest(), timeout=20, metadata=((DOMAIN_KEY, domain),))).job_id)

    async def refused(self, domain: str) -> Any:
        """How it refuses a call."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.get(domain)
        return refusal_of(error.value)


@pytest.fixture
async def two(stack: AsyncExitStack) -> tuple[Broker, Broker]:
    """The first owns shard 0, the second shard 1, and each knows it of the other."""
    brokers = await Broker("a", 0, stack).start(), await Broker("b", 1, stack).start()
    brokers[0].standings[1].become(brokers[1].holder(), owned=False)
    brokers[1].standings[0].become(brokers[0].holder(), owned=False)
    return brokers


async def test_a_call_is_served_by_the_shard_of_its_domain_wherever_it_is_made(two: tuple[Broker, Broker]) -> None:
    for broker in two:
        assert (await broker.get("even"), await broker.get("odd")) == ("a:0", "b:1")
        for domain, number in (("even", 0), ("odd", 1)):
            call = broker.channel.stream_stream(STREAM, jobs_pb2.SubmitStreamRequest.SerializeToString, jobs_pb2.SubmitStreamResponse.FromString)
            stream = call(iter([jobs_pb2.SubmitStreamRequest(request_no=n) for n in (1, 2)]), metadata=((DOMAIN_KEY, domain),))
            assert [answer.request_no async for answer in stream] == [10 + number, 20 + number]
        assert sorted(broker.database.asked) == [("even", False), ("odd", False)], "a domain that is known is not asked for again"


async def test_a_call_of_keda_is_served_by_the_shard_of_the_domain_that_its_message_names(two: tuple[Broker, Broker]) -> None:
    for broker in two:
        for domain, second in (("even", False), ("odd", True)):
            ref = externalscaler_pb2.ScaledObjectRef(scalerMetadata={"domain": domain})
            once = broker.channel.unary_unary(ACTIVE, type(ref).SerializeToString, externalscaler_pb2.IsActiveResponse.FromString)
            assert (await once(ref, timeout=20)).result is second
            stream = broker.channel.unary_stream(STREAM_ACTIVE, type(ref).SerializeToString, externalscaler_pb2.IsActiveResponse.FromString)
            assert [answer.result async for answer in stream(ref, timeout=20)] == [second]


async def test_a_shard_moves_and_calls_with_it(two: tuple[Broker, Broker]) -> None:
    first, second = two
    assert await first.get("odd") == "b:1"
    second.standings[1].become(first.holder(2), owned=False)
    first.standings[1].become(None, owned=True)
    assert (await first.get("odd"), await second.get("odd"), await second.get("even")) == ("a:1", "a:1", "a:0")
    refusal = await first.refused("no domain!")
    assert (refusal.code, refusal.field) == ("INVALID_ARGUMENT", DOMAIN_KEY)


async def test_a_call_that_was_passed_on_is_passed_on_no_further_and_is_served_in_a_shard_that_is_owned(two: tuple[Broker, Broker]) -> None:
    first, _ = two
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first.get("odd", **{FORWARDED_KEY: "b"})
    assert refusal_of(error.value).reason == "NOT_OWNER"
    assert await first.get("even", **{FORWARDED_KEY: "b"}) == "a:0"


async def test_a_new_domain_is_made_by_what_begins_something_in_it_and_by_nothing_else(two: tuple[Broker, Broker]) -> None:
    first, second = two
    assert await first.get("new") == "a:0" and "new" not in first.database.stored
    assert await first.get("new") == "a:0", "nobody remembers that there is none"
    second.database.stored = first.database.stored
    assert await first.submit("new") == 1 and first.database.stored["new"] == 5
    assert second.database.asked == [("new", True)], "the broker that it was passed on to"
    first.database.stored["newer"] = 7
    assert await first.get("newer") == "b:1", "another broker has made it a moment ago"
    first.database.away = True
    assert await first.get("new") == "b:1"
    refusal = await first.refused("unheard-of")
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")


async def test_no_more_domains_are_made_than_a_broker_holds(two: tuple[Broker, Broker], monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = two
    assert (await first.get("even"), await first.get("odd")) == ("a:0", "b:1")
    monkeypatch.setattr(ownerships_module, "MAX_DOMAINS", 2)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await first.submit("new")
    refusal = refusal_of(error.value)
    assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "BUSY") and "are ids part of the names of domains?" in refusal.message
    assert "new" not in first.database.stored
    assert await first.get("new") == "a:0", "who only looks is answered"
    first.database.stored["newer"] = 4
    assert await first.submit("newer") == 0, "there is one by now"


async def test_the_clock_is_set_forward_at_each_broker_once(two: tuple[Broker, Broker]) -> None:
    for number, broker in enumerate(two, 1):
        call = broker.channel.unary_unary(EVERYWHERE, testing_pb2.AdvanceClockRequest.SerializeToString, testing_pb2.AdvanceClockResponse.FromString)
        await call(testing_pb2.AdvanceClockRequest(), timeout=20, metadata=((DOMAIN_KEY, "odd"),))
        assert [one.advanced for one in two] == [number, number]


def test_what_makes_domains_is_a_call_that_there_is() -> None:
    assert LEAST.keys() >= MAKING and EVERYWHERE in LEAST
    assert not [method for method in MAKING if method.startswith(ANYWHERE)]


async def test_a_broker_serves_when_it_knows_an_owner_of_every_shard(two: tuple[Broker, Broker]) -> None:
    ownerships, standings = two[0].ownerships, two[0].standings
    assert (ownerships.serving, ownerships.role, [one.ready for one in ownerships.owned()]) == (True, "active", [standings[0].ready])
    standings[1].become(None, owned=False)
    assert (ownerships.serving, ownerships.role) == (False, "active")
    standings[1].become(Holder(1, "mute", 1, None), owned=False)
    assert not ownerships.serving, "nobody knows how that one is reached"
    standings[1].become(two[1].holder(), owned=False)
    standings[0].refusing = OSError()
    assert not ownerships.serving
    standings[0].become(two[1].holder(), owned=False)
    assert (ownerships.serving, ownerships.role) == (True, "standby")
    only = Ownerships(standings[:1], two[0].database, two[0].database)  # type: ignore[arg-type]
    assert (only.serving, only.answering, only.known("whatever")) == (False, True, 0), "with one shard those who balance load go to its owner"
    standings[0].become(None, owned=False)
    assert not only.answering, "nobody owns it"
