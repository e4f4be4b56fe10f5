"""Five times what the broker can do, for two minutes.

First the capacity is found: closed loop, every job submitted, granted, completed and settled durably. Then, on the same broker, requests of `BATCH` jobs fall due at a
fixed rate, `--times` the capacity, whatever became of those before (open loop). A request that cannot be written within `GIVE_UP_S` was not sent; one that the broker
refuses as busy is sent again as the client library does it: after the broker's delay with jitter, within the retry budget of its stream. All the while an agent completes
what it is given, another one holds leases of jobs that go on, an administrator makes a call each `ADMIN_S`, and a million jobs of another type wait.

The programs that flood and administer share the machine with the broker and its Postgres, and no broker can give back what they take. So the capacity is found a second
time beside a control: the same flood goes to a service of its own that does nothing but refuse each request (`refuser`), and the administrator calls as it will later.
What is completed then is what a broker could do at best to which each refusal costs as much as it costs gRPC for Python.

Told are: completed jobs per second over either capacity (goodput), what was offered, stored and refused, messages sent over messages due (amplification), times of the
administrator's calls, leases and sessions that were lost, the most memory that the broker had, and the CPU of each program. Cases: no limit of depth, so that the intake
refuses; and a depth limit, so that the type's limit does.
"""

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import uvloop
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, JobFilter, State
from headrace_client.retry import RetryBudget, pause_s
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2
from headrace_proto.wire import to_duration, to_seconds

from benchmarks import support
from benchmarks.capacity import CONNECT, PAYLOAD, SUBMIT, varint

BATCH = 500
STREAMS = 8
WINDOW = 6  # requests under way on each stream while the capacity is found
SLOTS = 6000
HELD = 200  # leases of the agent that completes nothing
GIVE_UP_S = 1.0
ADMIN_S = 0.02
BEAT_S = 1.0
LOOK_S = 0.5
RETRY_S = 2.5  # what the control tells who is refused: about what a broker tells at five times its capacity
CALLS = ("counts", "types", "agents", "list", "job", "change")
TYPE, LATER, LONG = "overload.work", "overload.later", "overload.long"
OPTIONS = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]


def request_of(type_: str, count: int = BATCH) -> bytes:
    """A request without its number."""
    message = jobs_pb2.SubmitStreamRequest(plain=[types_pb2.PlainSpecs(type=type_, payloads=[PAYLOAD] * count)], refusal_at_once=True)
    return message.SerializeToString()


class Pipe:
    """A submit stream whose requests are prebuilt; each is answered by a future."""

    def __init__(self, channel: Any, jobs: bytes) -> None:
        self._call = channel.stream_stream(SUBMIT, response_deserializer=jobs_pb2.SubmitStreamResponse.FromString)()
        self._jobs = jobs
        self._number = 0
        self._open: dict[int, asyncio.Future[jobs_pb2.SubmitResults]] = {}
        self._writing = asyncio.Lock()

    async def read(self) -> None:
        """Hands out answers until cancelled."""
        async for answer in self._call:
            future = self._open.pop(answer.request_no)
            if not future.done():
                future.set_result(answer.results)

    async def send(self, until: float | None = None) -> "asyncio.Future[jobs_pb2.SubmitResults] | None":
        """Writes a request; None: its turn did not come in time."""
        async with self._writing:
            if until is not None and time.monotonic() > until:
                return None
            self._number += 1
            answer = self._open[self._number] = asyncio.get_running_loop().create_future()
            await self._call.write(b"\x08" + varint(self._number) + self._jobs)
            return answer


async def closed(address: str, type_: str, seconds: float, jobs: int) -> dict[str, float]:
    """Keeps WINDOW requests of each stream under way, for a time or until so many jobs are stored."""
    stored, began = 0, time.monotonic()
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel, asyncio.TaskGroup() as tasks:

        async def submit(pipe: Pipe) -> None:
            nonlocal stored
            while time.monotonic() - began < seconds and (not jobs or stored < jobs):
                sent = await pipe.send()
                assert sent is not None
                results = await sent
                stored += len(results.job_ids) - len(results.failures)
                if results.HasField("refused"):
                    await asyncio.sleep(to_seconds(results.refused.retry_after))

        pipes = [Pipe(channel, request_of(type_)) for _ in range(STREAMS)]
        readers = [tasks.create_task(pipe.read()) for pipe in pipes]
        await asyncio.wait([tasks.create_task(submit(pipe)) for pipe in pipes for _ in range(WINDOW)])
        for reader in readers:
            reader.cancel()
    return {"stored": stored, "seconds": time.monotonic() - began}


async def flood(address: str, rate: float, seconds: float) -> dict[str, float]:
    """Requests fall due at `rate` jobs a second, whatever became of those before."""
    told: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel, asyncio.TaskGroup() as tasks:
        pipes = [(Pipe(channel, request_of(TYPE)), RetryBudget()) for _ in range(STREAMS)]
        readers = [tasks.create_task(pipe.read()) for pipe, _ in pipes]

        async def one(pipe: Pipe, budget: RetryBudget) -> None:
            while True:
                answer = await pipe.send(time.monotonic() + GIVE_UP_S)
                if answer is None:
                    told["unsent"] += 1
                    return
                told["sent"] += 1
                results = await answer
                failures = [results.refused] * BATCH if results.HasField("refused") else list(results.failures)
                told["stored"] += BATCH - len(failures)
                told.update(failure.reason.lower() for failure in failures)
                if len(failures) < BATCH or failures[0].reason != "BUSY":
                    budget.answered()
                    return
                if not budget.refused():
                    return
                await asyncio.sleep(pause_s(to_seconds(failures[0].retry_after)))

        under_way: set[asyncio.Task[None]] = set()
        began, due = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            for number in range(due, int(passed * rate / BATCH)):
                due = number + 1
                task = tasks.create_task(one(*pipes[number % STREAMS]))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.005)
        over = time.monotonic() - began
        if under_way:
            await asyncio.wait(under_way, timeout=5)
        for task in [*readers, *under_way]:
            task.cancel()
    return {"due": due, "seconds": over, **told}


async def refuser() -> None:
    """A service that refuses each request of a submit stream at once, unread; prints its port."""
    refused = jobs_pb2.SubmitFailure(code=8, reason="BUSY", message="this service does nothing else", retry_after=to_duration(RETRY_S))
    answer = jobs_pb2.SubmitResults(refused=refused)

    async def refuse(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[jobs_pb2.SubmitStreamResponse]:
        async for request in requests:
            number, shift = 0, 0
            for byte in request[1:11]:
                number |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    break
            yield jobs_pb2.SubmitStreamResponse(request_no=number, results=answer)

    handler = grpc.stream_stream_rpc_method_handler(refuse, response_serializer=jobs_pb2.SubmitStreamResponse.SerializeToString)
    server = grpc.aio.server(options=[*OPTIONS, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("headrace.v1.Jobs", {"SubmitStream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


async def settle(address: str, type_: str, slots: int, complete: bool) -> None:
    """An agent without handlers; says on standard output, each second, how many jobs it completed, and how many leases it was told that it lost."""
    completed = lost = 0
    held: dict[int, int] = {}
    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        call = channel.stream_stream(
            CONNECT, request_serializer=agents_pb2.ConnectRequest.SerializeToString, response_deserializer=agents_pb2.ConnectResponse.FromString
        )()
        hello = agents_pb2.Hello(
            agent_name=f"bench-{type_}", incarnation_id=f"{time.monotonic_ns():032}", slots=slots, types=[agents_pb2.ServedType(type=type_)], columns=True
        )
        number = 1
        await call.write(agents_pb2.ConnectRequest(number=number, hello=hello, credit=agents_pb2.Credit(free=slots)))
        print(json.dumps({"ready": True}), flush=True)
        writing = asyncio.Lock()

        async def say(**parts: Any) -> None:
            nonlocal number
            async with writing:
                number += 1
                await call.write(agents_pb2.ConnectRequest(number=number, **parts))

        async def beat() -> None:
            while True:
                await asyncio.sleep(BEAT_S)
                await say(heartbeat=agents_pb2.Heartbeat(job_ids=list(held), lease_epochs=list(held.values())))
                print(json.dumps({"completed": completed, "lost": lost, "held": len(held)}), flush=True)

        beating = asyncio.ensure_future(beat())
        while (message := await call.read()) is not grpc.aio.EOF:
            completed += sum([len(acked.job_ids) for acked in message.acked])
            lost += len(message.revoked) + len(message.heartbeat_ack.not_held)
            if not message.HasField("assign"):
                continue
            done = agents_pb2.Completions()
            for plain in message.assign.plain:
                if complete:
                    done.job_ids.extend(plain.job_ids)
                    done.lease_epochs.extend(plain.lease_epochs)
                else:
                    held.update(zip(plain.job_ids, plain.lease_epochs, strict=True))
            assign_no = message.assign.number
            accept, credit = agents_pb2.Accept(assign_no=assign_no), agents_pb2.Credit(assign_no=assign_no, free=slots - len(held))
            await say(completions=done if complete else None, accept=accept, credit=credit)
        beating.cancel()


async def administer(address: str, seconds: float) -> dict[str, float]:
    """A call each `ADMIN_S` at most: counts, a page of waiting jobs, one job, a change of it, types, agents. Searches of the past have a time of their own."""
    times: dict[str, list[float]] = {name: [] for name in CALLS}
    async with Client(address, timeout_s=60) as client, AdminClient(address, timeout_s=60) as admin:
        job = (await client.list(types=[LATER], states=[State.WAITING], page_size=1)).jobs[0]
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "counts": client.count, "types": admin.list_types, "agents": admin.list_agents,
            "list": lambda: client.list(where=JobFilter(types=[LATER], states=[State.WAITING]), page_size=20), "job": lambda: client.get(job.job_id),
            "change": lambda: admin.update([job.job_id], priority=len(times["change"]) % 5, reason="bench"),
        }  # fmt: skip
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for name, call in calls.items():
                began = time.monotonic()
                await call()
                times[name].append(time.monotonic() - began)
                await asyncio.sleep(max(0.0, ADMIN_S - times[name][-1]))
    return {**support.percentiles(list(itertools.chain(*times.values()))), **{name: support.percentiles(found)["p99_ms"] for name, found in times.items()}}


class Role:
    """One of the above in a process of its own; `lines` holds what it printed."""

    def __init__(self, name: str, *words: object) -> None:
        command = [sys.executable, "-m", "benchmarks.overload", "--role", name, *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=support.ROOT, env=support.environment())
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def result(self) -> dict[str, Any]:
        """What it printed last, once it has ended."""
        code = self.process.wait()
        self._reader.join()
        if code:
            raise SystemExit(f"a driver ended with {code}")
        return self.lines[-1]

    def now(self) -> dict[str, Any]:
        """What it said last."""
        return self.lines[-1]

    def begun(self) -> "Role":
        """Waits until it said something."""
        while not self.lines:
            if self.process.poll() is not None:
                raise SystemExit(f"a driver ended with {self.process.returncode}")
            time.sleep(0.05)
        return self

    def end(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()


def measure(directory: Path, dsn: str, postgres: int, depth: int, waiting: int, times: float, seconds: float, capacity_s: float) -> support.Figures:
    """One case on a broker of its own. `postgres`: the process of its server."""
    with support.Broker(directory, dsn) as broker, contextlib.ExitStack() as exits:
        if depth:
            asyncio.run(_limit(broker.address, depth))
        for type_, jobs in ((LATER, waiting), (LONG, HELD)):
            Role("closed", broker.address, type_, 3600, jobs).result()
        holder, worker = Role("settle", broker.address, LONG, HELD, 0).begun(), Role("settle", broker.address, TYPE, SLOTS, 1).begun()
        exits.callback(holder.end)
        exits.callback(worker.end)
        Role("closed", broker.address, TYPE, capacity_s / 5, 0).result()  # warms up
        found = {"capacity_per_s": _rate(worker, lambda: Role("closed", broker.address, TYPE, capacity_s, 0).result())}
        rate = found["capacity_per_s"] * times
        found["beside_per_s"] = _beside(broker.address, worker, rate, capacity_s)
        before, most, found["rss_before_mb"] = broker.metrics(), 0.0, support.rss_mb(broker.pid)
        admin, load = Role("administer", broker.address, seconds), Role("flood", broker.address, rate, seconds)
        cpu = support.Cpu(broker=broker.pid, postgres=postgres, flood=load.process.pid, agent=worker.process.pid, administrator=admin.process.pid)
        began, used, passed = time.monotonic(), support.Figures(), 1.0

        def watch() -> None:
            nonlocal most, used, passed
            while load.process.poll() is None:
                most = max(most, support.rss_mb(broker.pid))
                if (now := time.monotonic() - began) < seconds - LOOK_S:  # programs that have ended cannot be asked
                    used, passed = cpu.used(), now
                time.sleep(LOOK_S)

        found["goodput_per_s"] = _rate(worker, watch)
        told, calls, after = load.result(), admin.result(), broker.metrics()
        lost = holder.now().get("lost", 0) + worker.now().get("lost", 0)
    requests, over = told["due"], told["seconds"]
    return {
        **found, "goodput_of_capacity": found["goodput_per_s"] / found["capacity_per_s"], "goodput_of_beside": found["goodput_per_s"] / found["beside_per_s"],
        "offered_per_s": requests * BATCH / over,
        "stored_per_s": told.get("stored", 0) / over, "refused_per_s": (told.get("busy", 0) + told.get("queue_full", 0)) / over,
        "unsent_per_s": told.get("unsent", 0) * BATCH / over, "amplification": told.get("sent", 0) / max(1, requests - told.get("unsent", 0)),
        "admin_p50_ms": calls["p50_ms"], "admin_p99_ms": calls["p99_ms"], "admin_max_ms": calls["max_ms"],
        **{f"admin_{name}_p99_ms": calls[name] for name in CALLS}, "lost_leases": lost,
        "lost_sessions": after["headrace_sessions_lost_total"] - before["headrace_sessions_lost_total"], "most_rss_mb": most,
        **{f"{name}_core_percent": share / passed * 100 for name, share in used.items()},
    }  # fmt: skip


def _beside(address: str, worker: Role, rate: float, seconds: float) -> float:
    """The capacity beside the control: the same flood, which somebody else refuses, and the administrator's calls."""
    control = Role("refuser").begun()
    try:
        admin, load = Role("administer", address, seconds), Role("flood", control.now()["address"], rate, seconds)
        found = _rate(worker, lambda: Role("closed", address, TYPE, seconds, 0).result())
        load.result()
        admin.result()
    finally:
        control.end()
    return found


def _rate(worker: Role, work: Any) -> float:
    """Jobs that the worker completed per second of some work."""
    before, began = worker.now().get("completed", 0), time.monotonic()
    work()
    return float((worker.now()["completed"] - before) / (time.monotonic() - began))


async def _limit(address: str, depth: int) -> None:
    async with AdminClient(address) as admin:
        await admin.set_type(TYPE, depth_limit=depth)


def play(role: str, words: list[str]) -> None:
    """One of the roles."""
    if role == "settle":
        uvloop.run(settle(words[0], words[1], int(words[2]), words[3] == "1"))
    elif role == "closed":
        print(json.dumps(uvloop.run(closed(words[0], words[1], float(words[2]), int(words[3])))), flush=True)
    elif role == "flood":
        print(json.dumps(uvloop.run(flood(words[0], float(words[1]), float(words[2])))), flush=True)
    elif role == "refuser":
        uvloop.run(refuser())
    else:
        print(json.dumps(uvloop.run(administer(words[0], float(words[1])))), flush=True)


def main() -> None:
    """Measures."""
    parser = support.options(__doc__, rounds=1)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the overload")
    parser.add_argument("--capacity-seconds", type=float, default=60.0, help="long enough for what Postgres does once in a while: autovacuum, summaries of indexes")
    parser.add_argument("--times", type=float, default=5.0, help="the capacity")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="jobs of another type")
    parser.add_argument("--depth-limit", type=int, default=50_000)
    parser.add_argument("--role", nargs="+", metavar="WORD", help="be a driver")
    arguments = parser.parse_args()
    if arguments.role:
        play(arguments.role[0], arguments.role[1:])
        return
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            rounds.append(_round(directory, server, number, arguments))
    told = {"times": arguments.times, "seconds": arguments.seconds, "waiting": arguments.waiting}
    support.report(support.outcome("overload", facts, rounds, **told), arguments.json)


def _round(directory: Path, server: EmbeddedPostgres, number: int, arguments: Any) -> support.Round:
    found: support.Round = {}
    for case, depth in (("no limit", 0), ("depth limit", arguments.depth_limit)):
        name = f"overload_{number}_{depth}"
        dsn = asyncio.run(support.make_database(server.dsn, name))
        found[case] = measure(directory, dsn, server.pid, depth, arguments.waiting, arguments.times, arguments.seconds, arguments.capacity_seconds)
        asyncio.run(support.drop_database(server.dsn, name))
    return found


if __name__ == "__main__":
    main()
