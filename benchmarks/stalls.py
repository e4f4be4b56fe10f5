"""How long codecs hold up a client's event loop: the longest time between two turns of the loop while a payload is submitted and read, for one payload after the other.

    python benchmarks/stalls.py              # codecs as clients use them
    python benchmarks/stalls.py --inline     # all of their work in the event loop

A process beside it answers as a broker that stores nothing. Without codecs it is what gRPC itself takes for such messages.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from headrace_client import AesGcm, Client, Zstd, codecs
from headrace_proto.v1 import jobs_pb2, jobs_pb2_grpc

PAYLOADS = 100
OPTIONS = [("grpc.max_receive_message_length", -1)]


class Stores(jobs_pb2_grpc.JobsServicer):
    """Says of every job that it is stored."""

    async def SubmitStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            count = len(request.jobs) + sum(len(column.payloads) for column in request.plain)
            yield jobs_pb2.SubmitStreamResponse(request_no=request.request_no, results=jobs_pb2.SubmitResults(job_ids=range(1, count + 1)))


async def serve() -> None:
    """Until it is killed."""
    server = grpc.aio.server(options=OPTIONS)
    jobs_pb2_grpc.add_JobsServicer_to_server(Stores(), server)  # type: ignore[no-untyped-call]  # generated
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def turns(longest: list[float]) -> None:
    """Notes the longest time between two turns of the loop, in seconds."""
    before = time.perf_counter()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        longest[0], before = max(longest[0], now - before), now


async def stalls_ms(address: str, chain: list[Any], payload: bytes) -> list[float]:
    """Of one client, for each payload, the shortest first."""
    async with Client(address, codecs=chain) as client:
        await client.submit("t", payload=payload)
        longest, found = [0.0], []
        watching = asyncio.create_task(turns(longest))
        for _ in range(PAYLOADS):
            await client.submit("t", payload=payload)
            if client._codecs is not None:
                encoded = await codecs.encoded_aside(client._codecs, payload, "t", "result")
                await client._open(encoded, "t", "result")
            found.append(longest[0] * 1000)
            longest[0] = 0.0
        watching.cancel()
    return sorted(found)


async def main() -> None:
    """A line for each chain."""
    if "serve" in sys.argv:
        await serve()
        return
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--inline", action="store_true")
    arguments.add_argument("--bytes", type=int, default=1 << 20)
    asked = arguments.parse_args()
    if asked.inline:
        codecs.LARGE_BYTES = codecs.LARGE_ENCODED_BYTES = 1 << 40
    payload = os.urandom((asked.bytes + 1) // 2).hex().encode()  # compresses by half, as text does that says something
    broker = await asyncio.create_subprocess_exec(sys.executable, __file__, "serve", stdout=asyncio.subprocess.PIPE)
    assert broker.stdout is not None
    address = f"127.0.0.1:{int(await broker.stdout.readline())}"
    try:
        chains: dict[str, list[Any]] = {"no codecs": [], "Zstd": [Zstd()], "Zstd, AesGcm": [Zstd(), AesGcm({"k": os.urandom(32)})]}
        for name, chain in chains.items():
            found = await stalls_ms(address, chain, payload)
            print(f"{name:14} longest stall of a payload: median {found[len(found) // 2]:5.1f} ms, nine of ten below {found[len(found) * 9 // 10]:5.1f} ms")
    finally:
        broker.kill()
        await broker.wait()


if __name__ == "__main__":
    asyncio.run(main())
