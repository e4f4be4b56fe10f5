"""One job for each transition, brought to the point before it; then all transitions are asked for at once, under a fault, and asked for again afterwards.

Whatever the fault did, each job must have moved exactly once: its history is the one of its case, or one that the fault explains.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
from headrace_client import AdminClient, Client, HeadraceError, State
from headrace_proto.v1 import agents_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.processes import until
from tests.support.scripted_agent import STREAM_ENDS, ScriptedAgent, lease, outcome

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"retry_delay_s": 3600.0, "retry_max_s": 3600.0, "retry_jitter": 0.0},
    "last": {"max_attempts": 1, "max_losses": 1},
    "gives_up": {"max_attempts": 1, "exhausted_state": "aborted", "alert_on_abort": True},
    "fresh": {},
    "unserved": {},
    "hasty": {"start_within_s": 1.0},
}
History = tuple[str, ...]


@dataclass
class Case:
    """`holder`: which agent is granted the job first, if any; `before`: what else happens before the fault; `act`: what asks for the transition, and may be repeated;
    `depends_on`: a case above it, whose job this one waits for."""

    name: str
    type: str
    holder: str
    act: "Callable[[Board, Case], Awaitable[None]]"
    state: State | None  # afterwards; None: gone
    history: History
    before: "Callable[[Board, Case], Awaitable[None]] | None" = None
    explained: dict[History, State] = field(default_factory=dict)  # other ends, after another broker has taken over
    depends_on: str = ""
    job_id: int = 0
    job: agents_pb2.AssignedJob = field(default_factory=agents_pb2.AssignedJob)


def _reports(kind: str, **fields: Any) -> "Callable[[Board, Case], Awaitable[None]]":
    async def act(board: "Board", case: Case) -> None:
        await board.agents[case.holder].send(outcomes=[outcome(case.job, kind, **fields)])

    return act


async def _rejects(board: "Board", case: Case) -> None:
    agent = board.agents[case.holder]
    agent.drop(case.job.job_id, case.job.lease_epoch)
    await agent.send(accept=agents_pb2.Accept(assign_no=agent.assign_no, rejected=[agents_pb2.Rejection(lease=lease(case.job), reason="not now")]))


async def _beats(board: "Board", case: Case) -> None:
    agent = board.agents[case.holder]
    await agent.heartbeat(*((job_id, job.lease_epoch) for job_id, job in agent.held.items()))


async def _falls(board: "Board", case: Case) -> None:
    """Its agent is gone for good."""
    await board.agents[case.holder].close()


async def _late(board: "Board", case: Case) -> None:
    await board.wire_outcome(case.holder, outcome(case.job, "completed", result=b"late"))


async def _aborts(board: "Board", case: Case) -> None:
    await board.client.abort([case.job_id], reason="enough")


async def _forces(board: "Board", case: Case) -> None:
    await board.client.abort([case.job_id], force=True)


async def _requeues(board: "Board", case: Case) -> None:
    await board.client.requeue([case.job_id], include_completed=True)


async def _purges(board: "Board", case: Case) -> None:
    await board.client.purge([case.job_id])


async def _updates(board: "Board", case: Case) -> None:
    await board.client.update([case.job_id], priority=7)


async def _holds(board: "Board", case: Case) -> None:
    await board.client.update([case.job_id], hold=True)


async def _nothing(board: "Board", case: Case) -> None:
    """It comes of itself."""


async def _submits(board: "Board", case: Case) -> None:
    case.job_id = (await board.client.submit("unserved", case.name, key=case.name)).job_id


async def _asks(board: "Board", case: Case) -> None:
    """One slot is free; the job is the only one of its type."""
    agent = board.agents[case.holder]
    if not agent.jobs or agent.jobs[-1].job_id not in agent.held:
        await agent.credit(1)


async def _settles(board: "Board", case: Case) -> None:
    kind = {"completed": "completed", "failed": "failed", "aborted": "aborted"}[case.history[1]]
    assert await board.agents[case.holder].report(outcome(case.job, kind)) == ["accepted"]


async def _loses(board: "Board", case: Case) -> None:
    """The first lease is over before the fault."""
    await board.agents[case.holder].close()

    async def lost() -> bool:
        return (await board.client.get(case.job_id)).losses == 1

    await until(lost, what="the loss")


def cases() -> list[Case]:
    """Every transition, anew."""
    waiting, processing, completed, error, aborted = State.WAITING, State.PROCESSING, State.COMPLETED, State.ERROR, State.ABORTED
    unclaimed: dict[History, State] = {("granted", "owner_changed"): waiting}
    found = [
        Case("submit", "unserved", "", _submits, waiting, ()),
        Case("grant", "fresh", "taker", _asks, processing, ("granted",), explained={("granted", "rejected", "granted"): processing}),
        Case("reject", "plain", "hand", _rejects, waiting, ("granted", "rejected")),
        Case("heartbeat", "plain", "hand", _beats, processing, ("granted",)),
        Case("completed", "plain", "hand", _reports("completed", result=b"1"), completed, ("granted", "completed")),
        Case("failed", "plain", "hand", _reports("failed"), waiting, ("granted", "failed")),
        Case("failed for the last time", "last", "hand", _reports("failed"), error, ("granted", "failed")),
        Case("failed for good", "plain", "hand", _reports("failed", permanent=True), error, ("granted", "failed")),
        Case("failed into aborted", "gives_up", "hand", _reports("failed"), aborted, ("granted", "failed")),
        Case("timed out", "plain", "hand", _reports("timed_out"), waiting, ("granted", "timed_out")),
        Case("timed out for the last time", "last", "hand", _reports("timed_out"), error, ("granted", "timed_out")),
        Case("released", "plain", "hand", _reports("released"), waiting, ("granted", "released")),
        Case("snoozed", "plain", "hand", _reports("released", after_s=3600), waiting, ("granted", "released")),
        Case("aborted by its handler", "plain", "hand", _reports("aborted"), aborted, ("granted", "aborted")),
        Case("lost", "plain", "victim", _falls, waiting, ("granted", "lost"), explained=unclaimed),
        Case("lost for the last time", "last", "victim", _falls, error, ("granted", "lost"), explained=unclaimed),
        Case("completed late", "plain", "late", _late, completed, ("granted", "lost", "completed"), _loses),
        Case("abort of a waiting job", "unserved", "", _aborts, aborted, ("aborted",)),
        Case("abort asked for", "plain", "hand", _aborts, processing, ("granted",)),
        Case("abort by force", "plain", "hand", _forces, aborted, ("granted", "aborted")),
        Case("requeue of a completed job", "plain", "hand", _requeues, waiting, ("granted", "completed", "requeued"), _settles),
        Case("requeue of an error", "last", "hand", _requeues, waiting, ("granted", "failed", "requeued"), _settles),
        Case("requeue of an aborted job", "plain", "hand", _requeues, waiting, ("granted", "aborted", "requeued"), _settles),
        Case("purge", "plain", "hand", _purges, None, ("granted", "completed", "purged"), _settles),
        Case("update of a waiting job", "unserved", "", _updates, waiting, ("updated",)),
        Case("update of a settled job", "plain", "hand", _holds, completed, ("granted", "completed", "updated"), _settles),
        Case("not started in time", "hasty", "", _nothing, error, ("expired",)),
        Case("released by what it depends on", "unserved", "", _nothing, waiting, ("dependencies_met",), depends_on="completed"),
        Case("ended by what it depends on", "unserved", "", _nothing, aborted, ("dependency_failed",), depends_on="abort of a waiting job"),
    ]
    pending = {"completed": completed, "failed": aborted, "timed_out": aborted, "released": aborted, "aborted": aborted}
    found += [
        Case(f"{kind} while an abort is asked for", "plain", "hand", _reports(kind), state, ("granted", "completed" if state is completed else "aborted"), _aborts)
        for kind, state in pending.items()
    ]
    found.append(Case("lost while an abort is asked for", "plain", "victim", _falls, aborted, ("granted", "aborted"), _aborts))
    return found


class Board:
    """The jobs, their agents and their client. `prepare`, `act` (twice, if need be), `settle`, `check`."""

    def __init__(self, client: Client, admin: AdminClient, address: str, stack: AsyncExitStack, *, columns: bool) -> None:
        self.client = client
        self.admin = admin
        self.address = address
        self.cases = cases()
        served = ("plain", "last", "gives_up")
        self.agents = {name: ScriptedAgent(address, name=name, types=served, columns=columns) for name in ("hand", "victim", "late")}
        self.agents["taker"] = ScriptedAgent(address, name="taker", types=("fresh",), columns=columns)
        for agent in self.agents.values():
            stack.push_async_callback(agent.close)

    async def prepare(self) -> None:
        """Every job stands before its transition."""
        for name, settings in SETTINGS.items():
            await self.admin.set_type(name, **settings)
        for agent in self.agents.values():
            await agent.connect()
        for holder in ("hand", "victim", "late"):
            mine = [case for case in self.cases if case.holder == holder]
            for case in mine:
                case.job_id = (await self.client.submit(case.type, case.name)).job_id
            jobs = {job.job_id: job for job in await self.agents[holder].take(len(mine))}
            for case in mine:
                case.job = jobs[case.job_id]
        for case in self.cases:
            if case.act is not _submits and not case.job_id:
                depends_on = [other.job_id for other in self.cases if other.name == case.depends_on]
                case.job_id = (await self.client.submit(case.type, case.name, depends_on=depends_on)).job_id
            if case.before is not None:
                await case.before(self, case)

    async def act(self, *, times: int = 1) -> None:
        """Asks for every transition at once. What a broken connection or a refusal swallows is asked for again later."""
        await asyncio.wait([asyncio.ensure_future(self._act(case)) for case in self.cases for _ in range(times)])

    async def _act(self, case: Case) -> None:
        try:
            await case.act(self, case)
        except (HeadraceError, *STREAM_ENDS):
            return

    @property
    def answers(self) -> int:
        """Outcomes whose fate is known."""
        return sum(map(len, self.agents["hand"].dispositions.values()))

    async def come_back(self, address: str) -> None:
        """The agents that live have streams again, with the leases that they still hold."""
        self.address = address
        for name in ("hand", "taker"):
            agent = self.agents[name]
            agent.address = address

            async def connected(agent: ScriptedAgent = agent) -> bool:
                try:
                    return bool(await agent.connect())
                except grpc.aio.AioRpcError:
                    return False

            await until(connected, what=f"a stream of {name}")

    async def wire_outcome(self, holder: str, message: agents_pb2.Outcome) -> str:
        """Reports an outcome of one of the agents without a stream; returns its disposition. Raises AioRpcError."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = AgentsStub(channel)  # type: ignore[no-untyped-call]  # generated
            answer = await stub.ReportOutcomes(agents_pb2.ReportOutcomesRequest(incarnation_id=self.agents[holder].incarnation_id, outcomes=[message]), timeout=10)
        return agents_pb2.Disposition.Name(answer.acks[0].disposition)

    async def settle(self, *, takeover: bool) -> None:
        """Waits until every job stands where its case, or the fault, says; fails with those that do not."""
        wrong: list[str] = []

        async def settled() -> bool:
            wrong[:] = [line for case in self.cases if (line := await self._wrong(case, takeover))]
            return not wrong

        try:
            await until(settled, what="every transition")
        except AssertionError:
            raise AssertionError("\n".join(wrong)) from None

    async def _wrong(self, case: Case, takeover: bool) -> str:
        job = await self.client.find(case.job_id)
        if case.state is None:
            return "" if job is None else f"{case.name}: {job.state}, it should be gone"
        if job is None:
            return f"{case.name}: the job is gone"
        history = tuple(event.kind for event in await self.client.events(case.job_id) if not event.note)[1:]
        allowed = {case.history: case.state} | (case.explained if takeover else {})
        return "" if allowed.get(history) is job.state else f"{case.name}: {job.state} by {history}, allowed are {allowed}"

    def check_dispositions(self) -> None:
        """No outcome of a current lease was refused, and none was accepted twice."""
        for (job_id, _), said in self.agents["hand"].dispositions.items():
            name = next(case.name for case in self.cases if case.job_id == job_id)
            final = [disposition for disposition in said if disposition != "not_owner"]
            assert set(final) <= {"accepted", "already_applied"}, f"{name}: {said}"
            assert final.count("accepted") <= 1, f"{name}: {said}"
