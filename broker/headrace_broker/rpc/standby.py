"""What an agent's stream meets at a broker that stands by.

An agent that holds a stream to each broker waits here, and is told the moment that this one owns the queue: no agent has to find its way after a takeover. Any other is
passed on to the owner, as any call is.
"""

from collections.abc import AsyncIterator
from typing import Any

from headrace_proto.v1 import agents_pb2
from headrace_proto.wire import to_duration

from headrace_broker.model.errors import InvalidField
from headrace_broker.rpc.forward import Stream
from headrace_broker.shards.ownership import Ownership

CONNECT = "/headrace.v1.Agents/Connect"
AGAIN_S = 0.2


def at_standby(ownership: Ownership, here: Stream, passed_on: Stream) -> Stream:
    """The call as a broker that stands by serves it: `here` once it owns the queue, `passed_on` for agents that do not want to wait."""

    async def call(requests: AsyncIterator[agents_pb2.ConnectRequest], context: Any) -> AsyncIterator[agents_pb2.ConnectResponse]:
        each = aiter(requests)
        first = await anext(each, None)
        if first is None or not first.HasField("hello"):
            raise InvalidField("hello", "the first message of an agent must carry it")
        if first.hello.at_standby != agents_pb2.AT_STANDBY_WAIT:
            async for answer in passed_on(_again(first, each), context):
                yield answer
            return
        del first
        holder = ownership.holder
        yield agents_pb2.ConnectResponse(stand_by=agents_pb2.StandBy(owner=holder.address if holder is not None else ""))
        while not ownership.ready.is_set() and not ownership.draining:
            await ownership.changed.wait()
        if ownership.draining:
            yield agents_pb2.ConnectResponse(go_away=agents_pb2.GoAway(reason="the broker is draining", reconnect_after=to_duration(AGAIN_S)))
            return
        yield agents_pb2.ConnectResponse(stand_by=agents_pb2.StandBy(over=True))
        async for answer in here(each, context):
            yield answer

    return call


async def _again(first: agents_pb2.ConnectRequest, rest: AsyncIterator[agents_pb2.ConnectRequest]) -> AsyncIterator[agents_pb2.ConnectRequest]:
    yield first
    async for request in rest:
        yield request
