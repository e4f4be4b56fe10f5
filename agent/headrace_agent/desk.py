"""What all sessions of an agent share, in the session thread: leases, slots, outcomes, logs; and the way between the session thread and the work thread."""

import asyncio
import functools
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from headrace_client import Client, Submitted
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from headrace_agent.errors import AgentError
from headrace_agent.job import Job
from headrace_agent.leases import Held, Leases
from headrace_agent.metrics import AgentMetrics
from headrace_agent.outbox import LogBuffer, Outbox
from headrace_agent.outcomes import Ended
from headrace_agent.registry import Handler
from headrace_agent.work import Stop, Work

if TYPE_CHECKING:
    from headrace_agent.session import Session

log = logging.getLogger("headrace.agent")
COMPLETED = agents_pb2.OUTCOME_KIND_COMPLETED
AT_ONCE = 1000
"""Reports after which heartbeats, leases and streams have their turn: handlers may report faster than this thread can take it."""


class Desk:
    """Written by the session thread, but for `_reports`, which any thread appends to, and `_newest`. One wake-up crosses threads for everything reported meanwhile."""

    def __init__(self, handlers: dict[str, Handler], slots: int, loop: asyncio.AbstractEventLoop, metrics: AgentMetrics) -> None:
        self.handlers = handlers
        self.slots = slots
        self.leases = Leases()
        self.outbox = Outbox()
        self.logs = LogBuffer()
        self.progress: dict[tuple[int, int], agents_pb2.ProgressReport] = {}
        self.aborts: list[agents_pb2.AbortReport] = []  # to be said
        self.sessions: list[Session] = []
        self.greeted = False  # some broker took the agent, ever
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self.delivered = asyncio.Event()
        self.delivered.set()
        self.metrics = metrics
        self.work: Work | None = None
        self.client: Client | None = None
        self._loop = loop
        self._reports: deque[tuple[Job, Ended] | Callable[[], None]] = deque()  # attempts that ended, and whatever else is to be done, in order
        self._told = False
        self._newest: dict[tuple[int, int], tuple[types_pb2.Progress | None, bytes | None]] = {}  # progress and checkpoint that are on their way, under `_turn`
        self._turn = threading.RLock()

    # From the work thread and from handlers' threads -------------------------------------------------------------------------------------------

    def ended(self, job: Job, outcome: Ended) -> None:
        """An attempt is over."""
        self._report((job, outcome))

    def unstoppable(self, job: Job, *, aborted: bool) -> None:
        """A handler was told to stop and goes on."""

        def tell() -> None:
            log.warning("job %s (%s) was told to stop and goes on: its slot stays taken", job.job_id, job.type)
            if aborted:
                self.report_abort(job.job_id, job.lease_epoch, agents_pb2.ABORT_PHASE_IGNORED)

        self._report(tell)

    def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        """One line of a handler's log."""
        self._report(lambda: self.logs.put(job_id, epoch, line))

    def newest(self, key: tuple[int, int], *, progress: types_pb2.Progress | None = None, checkpoint: bytes | None = None) -> None:
        """How far a lease's attempt has come, or its checkpoint. It replaces what is on its way still: an attempt that says so all the time takes no more memory."""
        with self._turn:
            before = self._newest.get(key)
            old = before or (None, None)
            self._newest[key] = old[0] if progress is None else progress, old[1] if checkpoint is None else checkpoint
        if before is None:
            self._report(functools.partial(self._take_newest, key))

    def progress_report(self, job_id: int, epoch: int) -> agents_pb2.ProgressReport:
        """The report of a lease that goes out next. In the session thread."""
        report = self.progress.get((job_id, epoch))
        if report is None:
            report = self.progress[job_id, epoch] = agents_pb2.ProgressReport(lease=agents_pb2.LeaseRef(job_id=job_id, lease_epoch=epoch))
        return report

    def lease_end(self, key: tuple[int, int]) -> float:
        """Until when a process may run under a lease, by `leases.clock_s`, whatever becomes of this agent: later than the agent would stop it, and before it can have
        ended elsewhere.
        """
        held = self.leases.find(key)
        return 0.0 if held is None else held.until + held.session.margin_s / 2

    async def submit(self, *args: Any, **kwargs: Any) -> Submitted:
        """A child job, from the event loop of a handler."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._submit(*args, **kwargs), self._loop))

    def submit_blocking(self, *args: Any, **kwargs: Any) -> Submitted:
        """A child job, from a handler's thread."""
        return asyncio.run_coroutine_threadsafe(self._submit(*args, **kwargs), self._loop).result()

    async def ask(self, method: str, *args: Any) -> Any:
        """What a method of the client reads, from the event loop of a handler."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(method, *args), self._loop))

    def ask_blocking(self, method: str, *args: Any) -> Any:
        """The same from a handler's thread."""
        return asyncio.run_coroutine_threadsafe(self._ask(method, *args), self._loop).result()

    async def _ask(self, method: str, *args: Any) -> Any:
        return await getattr(self.client, method)(*args)

    def _submit(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Submitted]:
        assert self.client is not None
        return self.client.submit(*args, **kwargs)

    def _report(self, report: tuple[Job, Ended] | Callable[[], None]) -> None:
        self._reports.append(report)
        if self._told:  # the session thread takes this back before it looks, so it will find what was put here
            return
        self._told = True
        try:
            self._loop.call_soon_threadsafe(self._take_reports)
        except RuntimeError:  # the session thread has ended: nobody can be told any more
            return

    # In the session thread ---------------------------------------------------------------------------------------------------------------------

    def _take_newest(self, key: tuple[int, int]) -> None:
        with self._turn:
            progress, checkpoint = self._newest.pop(key)
        report = self.progress_report(*key)
        if progress is not None:
            report.progress.CopyFrom(progress)
        if checkpoint is not None:
            report.checkpoint = checkpoint

    def _take_reports(self) -> None:
        self._told = False
        reports = self._reports
        ended: Counter[tuple[str, int]] = Counter()
        for _ in range(AT_ONCE):
            if not reports:
                break
            report = reports.popleft()
            if isinstance(report, tuple):
                self._ended(*report, ended)
            else:
                report()
        if reports and not self._told:
            self._told = True
            self._loop.call_soon(self._take_reports)
        for (type_, kind), count in ended.items():
            self.metrics.ended(type_, kind, count)
        if not self.leases.running:
            self.idle.set()
        self.wake()

    def _ended(self, job: Job, outcome: Ended, ended: Counter[tuple[str, int]]) -> None:
        key = job.key
        if self.progress and key in self.progress and not self.progress[key].HasField("checkpoint"):  # a checkpoint goes with the outcome, for the next attempt
            del self.progress[key]
        if outcome is None:
            self.leases.remove(key)
            return
        held = self.leases.find(key)
        if held is not None and not held.finished:
            self.leases.finish(held)
        self.outbox.put(key, outcome)
        self.delivered.clear()
        ended[job.type, COMPLETED if isinstance(outcome, bytes) else outcome.kind] += 1

    def wake(self) -> None:
        """There may be something to send."""
        for session in self.sessions:
            session.wake.set()

    def accept(self, held: list[Held]) -> None:
        """Jobs arrived: they begin."""
        for item in held:
            self.leases.add(item)
        if held:
            self.idle.clear()
            assert self.work is not None
            self.work.assign([item.job for item in held])

    def stop(self, held: Held, why: Stop, grace_s: float) -> None:
        """Has a handler stopped."""
        if not held.finished:
            held.stopping = held.stopping or why is Stop.LEASE
            assert self.work is not None
            self.work.stop_attempt(held.job.job_id, held.job.lease_epoch, why, grace_s)

    def report_abort(self, job_id: int, epoch: int, phase: agents_pb2.AbortPhase) -> None:
        """How far the abort of a job came goes to its broker with the next message."""
        lease = agents_pb2.LeaseRef(job_id=job_id, lease_epoch=epoch)
        self.aborts.append(agents_pb2.AbortReport(lease=lease, phase=phase))

    def lose(self, job_id: int, epoch: int) -> None:
        """The lease is not ours any more; a handler that runs is stopped at once, and reports nothing. Said again, it changes nothing."""
        held = self.leases.find((job_id, epoch))
        if held is not None and not held.finished and not held.stopping:
            log.warning("lease of job %s lost: stopping its handler", job_id)
            self.metrics.leases_lost.inc()
            self.stop(held, Stop.LEASE, 0.0)

    def acknowledged(self, keys: Iterable[tuple[int, int]]) -> None:
        """The broker has decided about outcomes of these leases. Of one whose handler runs there is none: it goes on, watched as before."""
        for key in keys:
            held = self.leases.find(key)
            if held is not None and not held.finished:
                continue
            self.outbox.acknowledge(key)
            self.leases.remove(key)
        if not len(self.outbox):
            self.delivered.set()

    def free(self, session: "Session") -> int:
        """Slots that this session may offer: a share of what is free, so that all together never get more than there is room for."""
        if self.draining:
            return 0
        up = [item for item in self.sessions if item.up]
        free = max(0, self.slots - self.leases.running)
        return free if len(up) <= 1 else free // len(up) + (up.index(session) < free % len(up))

    def free_of(self, handler: Handler, session: "Session") -> int:
        """The same for a type with slots of its own."""
        up = max(1, sum(item.up for item in self.sessions))
        return 0 if self.draining else max(0, handler.slots - self.leases.running_of(handler.name)) // up


class DeskReports:
    """The desk as handlers' contexts see it: progress and checkpoints under the names that the context uses."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.ended = desk.ended
        self.unstoppable = desk.unstoppable
        self.lease_end = desk.lease_end
        self.log = desk.log
        self.submit = desk.submit
        self.submit_blocking = desk.submit_blocking
        self.ask = desk.ask
        self.ask_blocking = desk.ask_blocking

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        """How far an attempt has come."""
        self._desk.newest((job_id, epoch), progress=types_pb2.Progress(percent=percent, text=text[:1000]))

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """State for the next attempt. Raises AgentError for more than the broker keeps: it would end the stream of the whole agent."""
        assert self._desk.work is not None
        limit = self._desk.work.payload_limit_bytes
        if len(data) > limit:
            raise AgentError(f"the checkpoint has {len(data)} bytes; at most {limit} are kept: store it elsewhere, and save where it is")
        self._desk.newest((job_id, epoch), checkpoint=data)
