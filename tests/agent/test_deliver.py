"""What an agent that ends delivers by unary calls, because no stream took it."""

import asyncio
from typing import Any

import grpc
import pytest
from headrace_agent import Agent
from headrace_agent import agent as agents
from headrace_agent.desk import Desk
from headrace_client.channel import metadata
from headrace_client.tls import Tls
from headrace_proto.v1 import agents_pb2, agents_pb2_grpc, jobs_pb2

LINES, TEXT = 600, "x" * 16_000


class Uploads(agents_pb2_grpc.AgentsServicer):
    """Counts the lines that it was given; the first call of all fails."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.calls = 0

    async def UploadLogs(self, request: agents_pb2.UploadLogsRequest, context: Any) -> agents_pb2.UploadLogsResponse:  # noqa: N802
        self.calls += 1
        if self.calls == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        self.numbers += [line.line_no for batch in request.logs for line in batch.lines]
        return agents_pb2.UploadLogsResponse()


async def test_log_lines_that_do_not_fit_into_one_message_are_all_delivered_also_by_the_next_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    service, server = Uploads(), grpc.aio.server(options=[("grpc.max_receive_message_length", 8 << 20)])
    agents_pb2_grpc.add_AgentsServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(2)]
    await server.start()
    agent = Agent("delivers")
    desk = Desk({}, 1, asyncio.get_running_loop(), agent.metrics)
    for number in range(1, LINES + 1):
        desk.logs.put(1, 1, jobs_pb2.LogLine(line_no=number, text=TEXT))
    monkeypatch.setattr(agents, "DELIVERY_S", 2.0)  # so long it waits for streams, of which there are none here
    async with asyncio.timeout(30):
        await agent._deliver(desk, [f"127.0.0.1:{port}" for port in ports], metadata(None, None, None), "incarnation", Tls())
    await server.stop(0)
    assert service.numbers == list(range(1, LINES + 1)) and len(desk.logs) == 0
