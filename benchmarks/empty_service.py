"""An Agents service that does nothing: what gRPC itself takes for a stream, with the options of the broker's server. It welcomes everybody, reads, and confirms each
second message, as often as the broker does for an agent that has no leases. Prints its port.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import uvloop
from headrace_broker.rpc.connections import ConnectionLimits, server_options
from headrace_proto.v1 import agents_pb2, agents_pb2_grpc

CONFIRM_EACH = 2


class Empty(agents_pb2_grpc.AgentsServicer):
    """See the module."""

    async def Connect(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        yield agents_pb2.ConnectResponse(welcome=agents_pb2.Welcome(session_id="empty"))
        async for message in requests:
            if message.number % CONFIRM_EACH == 0:
                yield agents_pb2.ConnectResponse(heartbeat_ack=agents_pb2.HeartbeatAck(seen_no=message.number))


async def serve() -> None:
    """Until it is killed."""
    server = grpc.aio.server(options=server_options(ConnectionLimits()))
    agents_pb2_grpc.add_AgentsServicer_to_server(Empty(), server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve())
