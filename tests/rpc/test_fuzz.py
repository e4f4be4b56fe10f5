"""Whatever comes, every call is answered with a status that says what was wrong, and the broker goes on. `make fuzz` does it for longer, with another seed each time.

Environment: HEADRACE_FUZZ_S (seconds, default 6), HEADRACE_SEED (default 1).
"""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from headrace_broker.rpc.server import SERVICES
from headrace_client import Client
from headrace_proto.v1 import agents_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.fuzz import Fuzz
from tests.support.processes import BrokerProcess, start_broker

SECONDS = float(os.environ.get("HEADRACE_FUZZ_S", "6"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
WRONG = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS}
OF_THE_CLIENT = "Internal error from Core"
"""What gRPC says here when it could not send: the broker had ended the call."""
AT_ONCE = 12
PAGES = (
    "", "jobs", "jobs/rows", "jobs/{}", "types", "types/{}", "agents", "audit", "overview", "trend", "capacity", "statistics", "login", "metrics", "healthz", "readyz",
    "static/{}", "{}",
)  # fmt: skip
QUERIES = (
    "state", "type", "instance", "instance_id", "label", "labels", "text", "q", "from", "to", "since", "until", "page", "page_token", "token", "below", "order",
    "limit", "step", "by", "key", "actor", "action", "target", "range", "sort", "domain", "view", "window", "wait",
)  # fmt: skip


class Run:
    """What was sent, and what was answered."""

    def __init__(self, broker: BrokerProcess, fuzz: Fuzz) -> None:
        self.broker = broker
        self.fuzz = fuzz
        self.sent: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.wrong: list[str] = []
        pool = descriptor_pool.Default()
        found = [pool.FindServiceByName(name) for name in SERVICES if name.startswith("headrace.")]
        self.methods = [(f"/{service.full_name}/{method.name}", method) for service in found for method in service.methods]
        self.until = asyncio.get_running_loop().time() + SECONDS

    @property
    def over(self) -> bool:
        """Whether the time is."""
        return asyncio.get_running_loop().time() > self.until

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Mostly a good domain; now and then what no client sends."""
        pairs = [("headrace-domain", self.fuzz.choice(["default", "fuzz"]))]
        for key in ("headrace-domain", "headrace-actor", "headrace-request-id", "headrace-on-behalf-of", "authorization", "grpc-trace-bin", "traceparent"):
            if self.fuzz.random() < 0.03:
                text = "".join(character for character in self.fuzz.text() if character.isprintable() and character.isascii())[:2000].strip()
                pairs.append((key, text.encode() if key.endswith("-bin") else text))  # type: ignore[arg-type]  # gRPC takes bytes there
        return tuple(pairs)

    def answered(self, what: str, code: Any, details: str, data: bytes) -> None:
        """Notes it, and what should not be."""
        if details == OF_THE_CLIENT:
            return
        self.codes[code.name] += 1
        if code is grpc.StatusCode.UNAVAILABLE:
            self.refusals[details[:120]] += 1
        if code in WRONG:
            self.wrong.append(f"{what}: {code.name} {details[:200]} for {data[:300]!r} ({len(data)} bytes)")

    async def calls(self) -> None:
        """Calls of every kind, one after another."""
        async with grpc.aio.insecure_channel(self.broker.address) as channel:
            while not self.over:
                path, method = self.fuzz.choice(self.methods)
                data = self.fuzz.request(method.input_type)
                self.sent[path] += 1
                if method.server_streaming or method.client_streaming:
                    await self._stream(channel, path, method, data)
                    continue
                call = channel.unary_unary(path)(data, metadata=self.metadata(), timeout=1.0)
                self.answered(path, await call.code(), str(await call.details()), data)
                if path.endswith(("/ListJobs", "/ListAudit", "/ListLogs")) and await call.code() is grpc.StatusCode.OK:
                    self.learn(GetMessageClass(method.output_type).FromString(await call))

    def learn(self, answer: Any) -> None:
        """A page token that is good, to be spoiled."""
        if answer.next_page_token:
            self.fuzz.texts.append(answer.next_page_token)

    async def _stream(self, channel: grpc.aio.Channel, path: str, method: Any, data: bytes) -> None:
        if not method.client_streaming:
            call = channel.unary_stream(path)(data, metadata=self.metadata(), timeout=0.3)
        else:
            rest = [self.fuzz.request(method.input_type) for _ in range(3)]
            first = self._good_first(path)
            call = channel.stream_stream(path)(iter([*first, data, *rest]), metadata=self.metadata(), timeout=0.3)
            self.sent[path] += len(rest)
        self.answered(path, await call.code(), str(await call.details()), data)

    def _good_first(self, path: str) -> list[bytes]:
        """An agent is heard only after its hello."""
        if not path.endswith("/Connect") or self.fuzz.random() < 0.1:
            return []
        hello = agents_pb2.Hello(agent_name="f", incarnation_id=f"{self.fuzz.randrange(50):016}", slots=5, types=[agents_pb2.ServedType(type="t")], columns=True)
        return [agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=3)).SerializeToString()]

    async def agents(self) -> None:
        """Streams of an agent that gets jobs, and says everything about them."""
        async with grpc.aio.insecure_channel(self.broker.address) as channel:
            stub: Any = AgentsStub(channel)  # type: ignore[no-untyped-call]
            while not self.over:
                call = stub.Connect(metadata=(("headrace-domain", "fuzz"),), timeout=3)
                first = self._good_first("/Connect")
                try:
                    await call.write(agents_pb2.ConnectRequest.FromString(first[0] if first else b""))
                    for number in range(2, 30):
                        message = self.fuzz.message(agents_pb2.ConnectRequest.DESCRIPTOR)
                        message.ClearField("hello")
                        message.number = number if self.fuzz.random() < 0.97 else self.fuzz.randrange(2**64)
                        await call.write(message)
                        self.sent["agent's message"] += 1
                        if self.over:
                            break
                    call.cancel()
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    pass
                code = await call.code()
                self.answered("agent's stream", code, str(await call.details()), b"")

    async def pages(self) -> None:
        """Addresses and queries of the manager, logged in."""
        base = f"http://{self.broker.ready['http']}"
        async with httpx.AsyncClient(base_url=base, timeout=10) as web:
            await web.get(self.broker.ready["web"])
            while not self.over:
                path = self.fuzz.choice(PAGES).replace("{}", quote(self.fuzz.choice([self.fuzz.text(), str(self.fuzz.number())])[:300], safe=""))
                query = "&".join(f"{self.fuzz.choice(QUERIES)}={quote(self.fuzz.text()[:2000])}" for _ in range(self.fuzz.randrange(4)))
                self.sent["page"] += 1
                answer = await web.get(f"/{path}?{query}")
                self.codes[f"HTTP {answer.status_code}"] += 1
                if answer.status_code >= 500:
                    self.wrong.append(f"page /{path}?{query[:300]}: {answer.status_code} {answer.text[:200]}")

    async def raw_http(self) -> None:
        """Bytes that are hardly HTTP."""
        host, _, port = str(self.broker.ready["http"]).rpartition(":")
        good = b"GET /jobs?state=error HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nCookie: headrace_session=x\r\n\r\nabc"
        while not self.over:
            reader, writer = await asyncio.open_connection(host, int(port))
            self.sent["HTTP bytes"] += 1
            writer.write(self.fuzz.spoiled(good))
            writer.write_eof()
            try:
                async with asyncio.timeout(5):
                    status = (await reader.readline()).split(b" ")[1:2]
            except (OSError, TimeoutError):
                status = []
            if status and status[0].startswith(b"5"):
                self.wrong.append(f"bytes of HTTP were answered with {status[0]!r}")
            writer.close()


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """Nobody needs a token, so that everything is reached."""
    process = await start_broker(directory, "--login-link", database=database)
    stack.push_async_callback(process.kill)
    return process


@pytest.mark.timeout(max(120, SECONDS * 3))
async def test_no_input_is_answered_by_an_internal_error(broker: BrokerProcess, stack: AsyncExitStack) -> None:
    fuzz = Fuzz(SEED)
    client = await stack.enter_async_context(Client(broker.address, domain="fuzz", timeout_s=20))
    jobs = [(await client.submit("t", number, key=f"k{number}", instance_id="i")).job_id for number in range(30)]
    fuzz.ids = [*jobs, 1, 2, 3]
    fuzz.texts = ["t", "i", "k1", "f", f"{7:016}", "a=b"]
    run = Run(broker, fuzz)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(run.calls())
        for work in (run.agents, run.agents, run.pages, run.pages, run.raw_http):
            tasks.create_task(work())
    total = sum(run.sent.values())
    print(
        f"\n{total} inputs in {SECONDS:g} s (seed {SEED}), to {len(run.methods)} calls, pages and an agent's stream; answers: {dict(run.codes.most_common())}, {run.refusals}"
    )
    text = broker.log.read_text()
    assert not run.wrong, f"{len(run.wrong)} of {total}:\n" + "\n".join(run.wrong[:20]) + f"\n{text[-6000:]}"
    assert "Traceback" not in text and "never retrieved" not in text, text[-6000:]
    assert not {path for path, _ in run.methods} - set(run.sent), "some call was never tried"
    assert total > 100 * SECONDS
    await _still_works(broker)
    for task in asyncio.all_tasks():
        if "_handle_status_once_received" in repr(task):  # gRPC's own, of calls that it could not send
            task.cancel()


async def _still_works(broker: BrokerProcess) -> None:
    """In a domain that nobody has touched, a job goes from its submit to its end."""
    metadata = (("headrace-domain", "healthy"),)
    async with grpc.aio.insecure_channel(broker.address) as channel, Client(broker.address, domain="healthy", timeout_s=20) as client, asyncio.timeout(20):
        job_id = (await client.submit("t", 1)).job_id
        call = AgentsStub(channel).Connect(metadata=metadata)  # type: ignore[no-untyped-call]
        hello = agents_pb2.Hello(agent_name="a", incarnation_id="healthy-" * 3, slots=1, types=[agents_pb2.ServedType(type="t")])
        await call.write(agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=1)))
        while not (message := await call.read()).HasField("assign"):
            pass
        [job] = message.assign.jobs
        done = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=b"1")
        await call.write(agents_pb2.ConnectRequest(number=2, outcomes=[done]))
        assert (await client.wait(job_id, timeout_s=10)).result == b"1"
        call.cancel()
