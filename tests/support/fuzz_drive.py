"""Sends a broker what nobody would send: `python -m tests.support.fuzz_drive ADDRESS WEB_LINK INPUTS SECONDS SEED`.

A process of its own, so that nothing which gRPC's client leaves behind is taken for the test's. It prints one line of JSON: inputs by kind and by call, answers by
status, and what should not have been answered. Each kind has its share of the inputs, and all of them end when the time is over.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import hpack
import httpx
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from headrace_broker.rpc.server import SERVICES
from headrace_client import Client
from headrace_proto.streams import HIDDEN
from headrace_proto.v1 import agents_pb2, jobs_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.fuzz import Fuzz

SHARES = {
    "protobuf bytes": 0.22, "field values": 0.22, "filters": 0.1, "page tokens": 0.08, "log text": 0.1, "agent's messages": 0.1, "HTTP/2 frames": 0.1, "pages": 0.06,
    "HTTP bytes": 0.02,
}  # fmt: skip
WRONG = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.DATA_LOSS}
AT_ONCE = 4  # callers of a kind

PAGES = (
    "", "jobs", "jobs/rows", "jobs/{}", "types", "types/{}", "agents", "audit", "overview", "trend", "capacity", "statistics", "login", "metrics", "healthz", "readyz",
    "static/{}", "operations", "schedules", "alerts", "{}",
)  # fmt: skip
QUERIES = (
    "state", "type", "instance", "instance_id", "label", "labels", "text", "q", "from", "to", "since", "until", "page", "page_token", "token", "below", "order",
    "limit", "step", "by", "key", "actor", "action", "target", "range", "sort", "domain", "view", "window", "wait",
)  # fmt: skip
LINES = (
    "", "a", "\x00", "a\x00b", "\x1b[31m\x07", "\u202eabc", "\ud7ff", "💥" * 50, "<script>alert(1)</script>", "%s %n {0}", "' or 1=1 --", "x" * 70_000, "\r\n\r\n",
    "(a+)+$", "\ufffe\uffff",
)  # fmt: skip


class Drive:
    """What was sent, and what was answered."""

    def __init__(self, address: str, link: str, inputs: int, seconds: float, seed: int) -> None:
        self.address = address
        self.link = link
        self.fuzz = Fuzz(seed)
        self.domain = f"fuzz-{seed}"  # of this drive: it may set its limits to anything
        self.quota = {kind: max(1, int(inputs * share)) for kind, share in SHARES.items()}
        self.sent: Counter[str] = Counter()
        self.by_call: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.tokens: list[str] = []
        pool = descriptor_pool.Default()
        found = [pool.FindServiceByName(name) for name in SERVICES if not name.startswith("grpc.")]
        self.methods = [(f"/{service.full_name}/{method.name}", method) for service in found for method in service.methods]
        self.until = asyncio.get_running_loop().time() + seconds

    def more(self, kind: str) -> bool:
        """Whether another input of this kind is wanted; it is counted."""
        if self.sent[kind] >= self.quota[kind] or asyncio.get_running_loop().time() > self.until:
            return False
        self.sent[kind] += 1
        return True

    async def run(self) -> dict[str, Any]:
        """Everything side by side."""
        async with Client(self.address, domain=self.domain, timeout_s=30) as client:
            jobs = [(await client.submit("t", number, key=f"k{number}", instance_id="i")).job_id for number in range(30)]
            self.fuzz.ids = [*jobs, 1, 2, 3]
            self.fuzz.texts = ["t", "i", "k1", "f", f"{7:016}", "a=b"]
            self.tokens = [page.next_page_token for page in [await client.list(page_size=2)] if page.next_page_token]
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self.calls("protobuf bytes", self.methods, lambda method: self.fuzz.spoiled_request(method.input_type)))
                tasks.create_task(self.calls("field values", self.methods, lambda method: self.fuzz.message(method.input_type).SerializeToString()))
            filtered = [(path, method) for path, method in self.methods if _has_filter(method.input_type)]
            paged = [(path, method) for path, method in self.methods if "page_token" in method.input_type.fields_by_name]
            for work in (self.calls("filters", filtered, self._filter), self.calls("page tokens", paged, self._page), self.logs(), self.agents(), self.frames()):
                tasks.create_task(work)
            for work in (self.agents(), self.pages(), self.pages(), self.raw_http()):
                tasks.create_task(work)
        return {
            "sent": self.sent, "by_call": self.by_call, "calls": [path for path, _ in self.methods], "codes": self.codes, "wrong": self.wrong[:20],
            "wrongs": len(self.wrong), "whole": all(self.sent[kind] >= count for kind, count in self.quota.items()),
        }  # fmt: skip

    # Calls -----------------------------------------------------------------------------------------------------------------------------------------

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Mostly a good domain; now and then what no client sends."""
        pairs = [("headrace-domain", self.fuzz.choice(["default", self.domain]))]
        for key in ("headrace-domain", "headrace-actor", "headrace-request-id", "headrace-on-behalf-of", "authorization", "grpc-trace-bin", "traceparent"):
            if self.fuzz.random() < 0.03:
                text = "".join(character for character in self.fuzz.text() if character.isprintable() and character.isascii())[:2000].strip()
                pairs.append((key, text.encode() if key.endswith("-bin") else text))  # type: ignore[arg-type]  # gRPC takes bytes there
        return tuple(pairs)

    def answered(self, what: str, code: Any, details: str, data: bytes) -> None:
        """Notes it, and what should not be."""
        if details == HIDDEN:  # the broker had ended the call while something was sent
            return
        self.codes[code.name] += 1
        if code in WRONG:
            self.wrong.append(f"{what}: {code.name} {details[:200]} for {data[:300]!r} ({len(data)} bytes)")

    async def calls(self, kind: str, methods: list[tuple[str, Any]], make: Callable[[Any], bytes]) -> None:
        """Calls of these methods in turn."""
        methods = list(methods)
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            while True:
                self.fuzz.shuffle(methods)
                for path, method in methods:
                    if not self.more(kind):
                        return
                    self.by_call[path] += 1
                    await self._call(channel, path, method, make)

    async def _call(self, channel: grpc.aio.Channel, path: str, method: Any, make: Callable[[Any], bytes]) -> None:
        data = make(method)
        if method.client_streaming:
            call = channel.stream_stream(path)(iter([*self._good_first(path), data, *(make(method) for _ in range(3))]), metadata=self.metadata(), timeout=0.3)
        elif method.server_streaming:
            call = channel.unary_stream(path)(data, metadata=self.metadata(), timeout=0.3)
        else:
            call = channel.unary_unary(path)(data, metadata=self.metadata(), timeout=2.0)
            if await call.code() is grpc.StatusCode.OK and "next_page_token" in method.output_type.fields_by_name:
                self._learn(GetMessageClass(method.output_type).FromString(await call))
        self.answered(path, await call.code(), str(await call.details()), data)
        call.cancel()

    def _learn(self, answer: Any) -> None:
        """A page token that is good, to be spoiled."""
        if answer.next_page_token and len(self.tokens) < 100:
            self.tokens.append(answer.next_page_token)

    def _filter(self, method: Any) -> bytes:
        made: Any = GetMessageClass(method.input_type)()
        made.filter.CopyFrom(self.fuzz.message(method.input_type.fields_by_name["filter"].message_type))
        if "page_size" in method.input_type.fields_by_name:
            made.page_size = self.fuzz.choice([1, 3, 50])
        data: bytes = made.SerializeToString()
        return data

    def _page(self, method: Any) -> bytes:
        made: Any = GetMessageClass(method.input_type)()
        fields = method.input_type.fields_by_name
        for name in fields:
            if name.endswith("job_id"):
                setattr(made, name, self.fuzz.choice(self.fuzz.ids))
        token = self.fuzz.choice(self.tokens) if self.tokens and self.fuzz.random() < 0.8 else self.fuzz.text()
        made.page_token = token if self.fuzz.random() < 0.3 else self.fuzz.spoiled(token.encode()).decode(errors="replace")
        if "page_size" in fields:
            made.page_size = self.fuzz.choice([0, 1, 2, 50])
        data: bytes = made.SerializeToString()
        return data

    # Agents ----------------------------------------------------------------------------------------------------------------------------------------

    def _good_first(self, path: str) -> list[bytes]:
        """An agent is heard only after its hello."""
        if not path.endswith("/Connect") or self.fuzz.random() < 0.1:
            return []
        return [self._hello().SerializeToString()]

    def _hello(self) -> agents_pb2.ConnectRequest:
        incarnation = f"{self.fuzz.randrange(50):016}"
        hello = agents_pb2.Hello(agent_name="f", incarnation_id=incarnation, slots=5, types=[agents_pb2.ServedType(type="t")], columns=self.fuzz.random() < 0.5)
        return agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=3))

    async def agents(self) -> None:
        """Streams of an agent that gets jobs, and says everything about them."""

        def anything() -> Iterable[agents_pb2.ConnectRequest]:
            for number in range(2, 30):
                message: agents_pb2.ConnectRequest = self.fuzz.message(agents_pb2.ConnectRequest.DESCRIPTOR)
                message.ClearField("hello")
                message.number = number if self.fuzz.random() < 0.97 else self.fuzz.randrange(2**64)
                yield message

        while await self._say("agent's messages", lambda _: anything()):
            pass

    async def logs(self) -> None:
        """Lines of an agent for the job that it runs; what was stored is read again."""

        def lines(lease: agents_pb2.LeaseRef) -> Iterable[agents_pb2.ConnectRequest]:
            for number in range(2, 20):
                made = [self._line(number) for _ in range(self.fuzz.choice([1, 2, 30]))]
                yield agents_pb2.ConnectRequest(number=number, logs=[agents_pb2.LogBatch(lease=lease, lines=made)], heartbeat=agents_pb2.Heartbeat())

        while await self._say("log text", lines):
            pass

    def _line(self, number: int) -> jobs_pb2.LogLine:
        line_no = number if self.fuzz.random() < 0.95 else self.fuzz.choice([0, 1, 2**32 - 1])
        level = self.fuzz.choice([0, 1, 2, 3, 4, 99])
        line = jobs_pb2.LogLine(text=self.fuzz.choice([*LINES, self.fuzz.text()]), level=level, line_no=line_no)  # type: ignore[arg-type]  # enum numbers
        if self.fuzz.random() < 0.8:
            line.at.seconds = self.fuzz.choice([0, 1_800_000_000, -62_135_596_800, 253_402_300_799, 2**62])
        return line

    async def _say(self, kind: str, messages: Callable[[agents_pb2.LeaseRef], Iterable[agents_pb2.ConnectRequest]]) -> bool:
        """One stream; `messages` are made for the lease of a job that it got, if it got one. Returns whether another is wanted."""
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub: Any = AgentsStub(channel)  # type: ignore[no-untyped-call]
            call = stub.Connect(metadata=(("headrace-domain", self.domain),), timeout=3)
            more = True
            try:
                await call.write(self._hello())
                lease = await _lease(call)
                for message in messages(lease):
                    more = self.more(kind)
                    if not more:
                        break
                    await call.write(message)
                call.cancel()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                more = more and self.more(kind)
            self.answered(kind, await call.code(), str(await call.details()), b"")
            return more

    # Below gRPC, and beside it ---------------------------------------------------------------------------------------------------------------------

    async def frames(self) -> None:
        """Frames of HTTP/2 that a gRPC client would not send: any type, flags, stream and length, around calls that begin well."""
        host, _, port = self.address.rpartition(":")
        while self.more("HTTP/2 frames"):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
                encoder = hpack.Encoder()
                for number in range(self.fuzz.randint(3, 25)):
                    if number and not self.more("HTTP/2 frames"):
                        break
                    writer.write(self._frame(encoder))
                await writer.drain()
                await self._hear_frames(reader)
            except OSError:
                pass
            writer.close()

    def _frame(self, encoder: hpack.Encoder) -> bytes:
        fuzz = self.fuzz
        stream = fuzz.choice([0, 1, 1, 3, 5, 7, 2, 2**31 - 1])
        way = fuzz.random()
        if way < 0.35:
            path, method = fuzz.choice(self.methods)
            headers = [
                (":method", fuzz.choice(["POST", "POST", "GET", "", "x" * 300])),
                (":scheme", "http"),
                (":path", fuzz.choice([path, path, path, "/", fuzz.text()[:300]])),
            ]
            headers += [(":authority", "x"), ("te", "trailers"), ("content-type", fuzz.choice(["application/grpc", "application/grpc", "text/html", ""]))]
            headers += [("grpc-timeout", fuzz.choice(["1S", "0m", "-1S", "99999999999H", "x"]))] if fuzz.random() < 0.3 else []
            block = encoder.encode([(name, value.encode(errors="replace")) for name, value in headers])
            body = fuzz.request(method.input_type)
            length = len(body) if fuzz.random() < 0.7 else fuzz.choice([0, 1, 2**31, 2**32 - 1])
            data = bytes([fuzz.choice([0, 0, 0, 1, 2, 255])]) + length.to_bytes(4, "big") + body
            return frame(1, 4, stream, block if fuzz.random() < 0.8 else fuzz.spoiled(block)) + frame(0, fuzz.choice([0, 1]), stream, data[:16_000])
        payload = fuzz.randbytes(fuzz.choice([0, 1, 4, 5, 6, 8, 100, 5000]))
        made = frame(fuzz.choice([*range(11), 255]), fuzz.choice([0, 1, 4, 5, 8, 32, 255]), stream, payload)
        return made if way < 0.8 else fuzz.spoiled(made)

    async def _hear_frames(self, reader: asyncio.StreamReader) -> None:
        """What comes back within a moment: nothing of it may be an error of the broker's own making."""
        data = b""
        try:
            async with asyncio.timeout(0.15):
                while part := await reader.read(65536):
                    data += part
        except (TimeoutError, OSError):
            pass
        self.codes["frames answered" if data else "frames not answered"] += 1
        if b"internal error" in data:
            self.wrong.append(f"HTTP/2 frames: {data[:300]!r}")

    async def pages(self) -> None:
        """Addresses and queries of the manager, logged in."""
        where = urlsplit(self.link)
        async with httpx.AsyncClient(base_url=f"{where.scheme}://{where.netloc}", timeout=20) as web:
            await web.get(self.link)
            while self.more("pages"):
                path = self.fuzz.choice(PAGES).replace("{}", quote(self.fuzz.choice([self.fuzz.text(), str(self.fuzz.number())])[:300], safe=""))
                query = "&".join(f"{self.fuzz.choice(QUERIES)}={quote(self.fuzz.text()[:2000])}" for _ in range(self.fuzz.randrange(4)))
                answer = await web.get(f"/{path}?{query}")
                self.codes[f"HTTP {answer.status_code}"] += 1
                if answer.status_code >= 500:
                    self.wrong.append(f"page /{path}?{query[:300]}: {answer.status_code} {answer.text[:200]}")

    async def raw_http(self) -> None:
        """Bytes that are hardly HTTP."""
        where = urlsplit(self.link)
        good = b"GET /jobs?state=error HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nCookie: headrace_session=x\r\n\r\nabc"
        while self.more("HTTP bytes"):
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            try:
                writer.write(self.fuzz.spoiled(good))
                writer.write_eof()
                async with asyncio.timeout(5):
                    status = (await reader.readline()).split(b" ")[1:2]
            except (OSError, TimeoutError):
                status = []
            if status and status[0].startswith(b"5"):
                self.wrong.append(f"bytes of HTTP were answered with {status[0]!r}")
            writer.close()


def frame(type_: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([type_, flags]) + stream.to_bytes(4, "big") + payload


def _has_filter(request: Any) -> bool:
    field = request.fields_by_name.get("filter")
    return field is not None and field.message_type is not None


async def _lease(call: Any) -> agents_pb2.LeaseRef:
    """Of the first job that comes within a moment; else of none."""

    async def first() -> AsyncIterator[agents_pb2.LeaseRef]:
        async for message in call:
            for job in message.assign.jobs:
                yield agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=job.lease_epoch)
            for column in message.assign.plain:
                yield agents_pb2.LeaseRef(job_id=column.job_ids[0], lease_epoch=column.lease_epochs[0])

    reading = asyncio.ensure_future(anext(first(), agents_pb2.LeaseRef()))
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())  # the stream may end first
    done, _ = await asyncio.wait([reading], timeout=0.3)  # a read that is cancelled would end the call
    return reading.result() if done else agents_pb2.LeaseRef(job_id=1, lease_epoch=1)


async def main(address: str, link: str, inputs: str, seconds: str, seed: str) -> None:
    """Prints what came of it."""
    print(json.dumps(await Drive(address, link, int(inputs), float(seconds), int(seed)).run()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6]))
