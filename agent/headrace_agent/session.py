"""The stream to one broker: hello, jobs in, everything else out; and again after it broke.

One task reads, one writes; at most one write is under way, and everything due meanwhile is in the next message. Messages are numbered from 1 on each stream, and the
time of each sending is kept until the broker has confirmed a later one: leases count from there.

A message costs both sides some 100 us whatever it carries, so what can wait rides with what cannot: that jobs arrived is said within `ACCEPT_S`, mostly with the outcome
of the first of them, and how much room is left is said when the broker could not reckon it.
"""

import asyncio
import logging
import os
import random
import socket
from typing import Any

import grpc
from headrace_client.channel import Stubs, backoff_s, open_channel
from headrace_client.credentials import Metadata
from headrace_client.errors import HeadraceError, InvalidRequest, from_rpc
from headrace_client.tls import Tls
from headrace_proto.streams import StreamEnd
from headrace_proto.v1 import agents_pb2
from headrace_proto.wire import Reason, to_seconds

from headrace_agent import leases
from headrace_agent.desk import Desk
from headrace_agent.errors import AgentError
from headrace_agent.job import from_message, plain_jobs
from headrace_agent.leases import Held, margin_s
from headrace_agent.outbox import Room
from headrace_agent.work import Stop

log = logging.getLogger("headrace.session")
FINAL = frozenset({1, 2, 3, 4, 5})  # dispositions after which an outcome need not be kept
TOO_LATE = frozenset({4, 5})
SEND_AGAIN_S = 0.2
ALONE_S = 0.7
"""How often a session that waits looks whether another one is up; twice in a row none: the owner is none of this agent's brokers, or cannot be reached."""
REMIND = 60  # failures in a row, about a minute, after which a broker that cannot be reached is told of once more
ANSWER_S = 20.0
"""How long the answer to a Hello may take: longer than with ten thousand agents that come at once, and not for ever, since a broker that hangs, or a proxy before it, may
take a stream and say nothing."""
STEADY_S = 1.0  # a stream that ended sooner counts as a failure: one that ends again and again is begun less and less often
MOST_AWAY_S = 60.0  # how long a broker may send an agent away that it wants to come back
ACCEPT_S = 0.05  # the broker waits for at least a second
LEAST_BEAT_S = 0.01
IDLE_BEAT = 0.4  # of a lease: so often at least an agent says that it is there; its broker gives it up after a whole one


class StayAway(Exception):
    """The broker told this agent not to come back."""


class Session:
    """One broker of one agent. `run` connects until it is cancelled, or until the broker wants it to stay away. Raises AgentError where no broker takes the agent."""

    def __init__(
        self, desk: Desk, address: str, *, name: str, incarnation_id: str, build: str, labels: dict[str, str], metadata: Metadata,
        tls: Tls,
    ) -> None:  # fmt: skip
        self._desk = desk
        self._address = address
        self._tls = tls
        self._metadata = metadata
        self._hello = agents_pb2.Hello(
            agent_name=name, incarnation_id=incarnation_id, host=socket.gethostname()[:200], pid=os.getpid(), build=build, sdk="headrace-python/0.1.0",
            labels=labels, slots=desk.slots, columns=True,
            types=[agents_pb2.ServedType(type=h.name, slots=h.slots, executor=h.executor, declared=h.declared) for h in desk.handlers.values()],
        )  # fmt: skip
        self.waiting = False  # at a broker that stands by
        self.refused = False  # the broker wants nothing to do with an agent as this one says it is
        self._pass_on = False  # the next stream is to be passed on to the broker that owns the queue
        self._own = [handler for handler in desk.handlers.values() if handler.slots]  # types with slots of their own
        self.up = False
        self.wake = asyncio.Event()
        self._sending_again = False
        self._try_soon = asyncio.Event()  # another broker of this agent was lost: this one may own the queue in a moment
        self._lease_s = 30.0
        self._heartbeat_s = 5.0
        self._reset()

    def _reset(self) -> None:
        self.overtaken = False  # another broker of this agent owns the queue since this stream began
        self.doubted = False  # and the stream to that one has ended: this one is to be asked anew whether it owns the queue
        self._overtook = False  # this is the newest one to say that it owns the queue
        self._greeted = False  # the broker took the Hello, or has this agent wait
        self._number = 0
        self._sent_at: dict[int, float] = {}
        self._confirmed_at = 0.0
        self._assign_no = 0
        self._accepted_no = 0
        self._rejected: list[agents_pb2.Rejection] = []
        self._accept_timer: asyncio.TimerHandle | None = None
        self._believed = [0] * (1 + len(self._own))  # free slots as the broker reckons them: what was said last, less what it assigned since
        self._beat_due = False
        self._said_draining = False
        self._heard_at = 0.0

    @property
    def margin_s(self) -> float:
        """How long before their ends the leases of this broker are given up."""
        return margin_s(self._lease_s)

    async def run(self) -> None:
        """Keeps a stream up. Returns when the broker wants the agent to stay away."""
        failures = 0
        while True:
            began = leases.clock_s()
            pause: float | None = None
            problem: HeadraceError | None = None
            try:
                pause = await self._connect()
            except StayAway:
                return
            except grpc.aio.AioRpcError as error:
                problem = from_rpc(error)
            except HeadraceError as error:  # no answer; or files of certificates that cannot be used now, or a token that cannot be had; they may be put right
                problem = error
            except Exception as error:  # what the broker says makes no sense: the jobs that run, and other brokers, have nothing to do with that
                problem = HeadraceError(f"it says what cannot be understood ({type(error).__name__}: {error})")
                log.debug("a session with %s failed", self._address, exc_info=error)
            steady = self._greeted and leases.clock_s() - began > STEADY_S
            failures = int(problem is not None) if steady else failures + 1
            if problem is not None:
                quiet = problem.reason in ("NOT_OWNER", "DRAINING") or (failures > 3 and failures % REMIND != 0)
                log.log(logging.DEBUG if quiet else logging.WARNING, "no session with %s: %s", self._address, problem.message)
                self._end_if_refused(problem)
            try:
                async with asyncio.timeout(_pause_s(pause, failures)):
                    await self._try_soon.wait()
                failures = 0
            except TimeoutError:
                pass
            self._try_soon.clear()

    def _end_if_refused(self, problem: HeadraceError) -> None:
        """Raises AgentError where every broker refuses what the agent says of itself, and none ever took it: it says the same the next time."""
        self.refused = isinstance(problem, InvalidRequest) and problem.reason == Reason.INVALID_FIELD
        if not self._desk.greeted and all(session.refused for session in self._desk.sessions):
            raise AgentError(f"{self._address} refuses this agent: {problem.message}")

    async def _connect(self) -> float | None:
        """One stream from its start to its end; returns how long to wait before the next, if the broker said so. Raises AioRpcError."""
        self._reset()
        passing_on, self._pass_on = self._pass_on or len(self._desk.sessions) == 1, False
        self._hello.at_standby = agents_pb2.AT_STANDBY_PASS_ON if passing_on else agents_pb2.AT_STANDBY_WAIT
        metadata = self._metadata()  # which may fail
        channel = open_channel(self._address, self._tls)
        call = Stubs(channel).agents.Connect(metadata=metadata)
        end = StreamEnd(call)
        tasks: list[asyncio.Future[Any]] = []
        try:
            welcome = await self._greet(call)
            if welcome is not grpc.aio.EOF and welcome.HasField("stand_by"):
                welcome = await self._stand_by(call, welcome)
                if welcome is None:
                    return 0.0
            if welcome is not grpc.aio.EOF and welcome.HasField("go_away"):
                return _away_s(welcome.go_away)
            if welcome is grpc.aio.EOF or not welcome.HasField("welcome"):
                await self._raise_status(end)
                return None
            self._greeted = self._desk.greeted = True
            self._welcome(welcome.welcome)
            self._receive(welcome)
            tasks = [asyncio.ensure_future(self._write_all(call)), asyncio.ensure_future(self._read_all(call)), asyncio.ensure_future(self._beat())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    result = task.result()
                    if result is not None:
                        return float(result)
            await self._raise_status(end)
            return None
        except asyncio.InvalidStateError:  # it ended between a message and the answer to it
            await self._raise_status(end)
            return None
        except grpc.aio.AioRpcError as error:
            raise await end.instead_of(error) from None
        finally:
            self._part()
            for task in tasks:
                if not task.cancel() and not task.cancelled():
                    task.exception()  # whichever failed first has told
            call.cancel()
            await channel.close()

    def _part(self) -> None:
        """The stream has ended: another broker may own the queue in a moment, and what was on its way goes again."""
        others = [session for session in self._desk.sessions if session is not self]
        if self.up:
            for other in others:
                other._try_soon.set()
        if self._overtook:
            for session in self._desk.sessions:
                session.doubted = session.overtaken
        self.up = False
        self._desk.logs.send_again(self)
        self._desk.wake()
        if self._accept_timer is not None:
            self._accept_timer.cancel()

    async def _greet(self, call: Any) -> Any:
        """Says Hello; returns the broker's answer. Raises HeadraceError when none comes, whereupon the call is over."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._write(call, agents_pb2.ConnectRequest(hello=self._hello_now()))
                return await call.read()
        except TimeoutError:
            raise HeadraceError(f"it took the stream, and has not answered within {ANSWER_S:g} s; connecting anew") from None

    async def _stand_by(self, call: Any, message: Any) -> Any:
        """Waits until this broker owns the queue, greets it then, and returns its answer. None: no broker of this agent owns it, so this one is to pass it on."""
        alone, self._greeted = 0, True
        try:
            while message is not grpc.aio.EOF and message.HasField("stand_by"):
                self.waiting = not message.stand_by.over
                if message.stand_by.over:
                    self._overtake()
                    message = await self._greet(call)
                    continue
                reading = asyncio.ensure_future(call.read())
                try:
                    while not reading.done():
                        await asyncio.wait([reading], timeout=ALONE_S * random.uniform(0.8, 1.2))
                        alone = alone + 1 if self._alone() else 0
                        if alone > 1 and not reading.done():
                            self._pass_on = True
                            return None
                finally:
                    reading.cancel()  # with it the whole call, unless it is done
                message = reading.result()
            return message
        finally:
            self.waiting = False

    def _overtake(self) -> None:
        """This broker owns the queue, and its Hello names what is held now: what another one still assigns, from its buffers, is granted again: it must not start.

        So says also a broker that was stopped for a while, until it finds out that it was succeeded; then it ends its stream, and the others are asked anew (`doubted`).
        """
        for session in self._desk.sessions:
            session.overtaken, session.doubted, session._overtook = session is not self, False, session is self

    def _alone(self) -> bool:
        """Whether no session is up, and this is the first of those that wait."""
        sessions = self._desk.sessions
        return not any(session.up for session in sessions) and next(session for session in sessions if session.waiting) is self

    def _hello_now(self) -> agents_pb2.Hello:
        """With the leases that are still ours: running, or finished and not acknowledged.

        All of them, also those of a session that seems to be up: its broker may be gone and its connection half open. A broker that does not own the queue refuses
        the hello, and one that does would grant a job again whose lease the hello does not name.
        """
        del self._hello.held[:]
        for held in self._desk.leases.all():
            self._hello.held.add(job_id=held.job.job_id, lease_epoch=held.job.lease_epoch)
        return self._hello

    def _welcome(self, welcome: agents_pb2.Welcome) -> None:
        lease_s, heartbeat_s = to_seconds(welcome.lease), to_seconds(welcome.heartbeat)
        if not LEAST_BEAT_S <= heartbeat_s <= lease_s:
            raise HeadraceError(f"it gives leases of {lease_s:g} s and wants a heartbeat every {heartbeat_s:g} s, which cannot be")
        self._lease_s, self._heartbeat_s = lease_s, heartbeat_s
        assert self._desk.work is not None
        self._desk.work.payload_limit_bytes = welcome.payload_limit_bytes
        lost = {(ref.job_id, ref.lease_epoch) for ref in welcome.not_held}
        for job_id, epoch in lost:
            self._desk.lose(job_id, epoch)
        named = {(ref.job_id, ref.lease_epoch) for ref in self._hello.held}
        for held in self._desk.leases.all():
            key = held.job.job_id, held.job.lease_epoch
            if key in named - lost:
                held.session = self
            elif key not in named and held.session is not self:  # another broker assigned it after the Hello: this one has given it back
                self._desk.lose(*key)
        self._overtake()
        self._desk.outbox.send_again()  # what went to another broker, or into the old stream, may never be answered
        self.up = True
        self._confirm(welcome.seen_no)
        self._heard_at = leases.clock_s()
        log.info("session with %s (broker %s, %s)", self._address, welcome.broker_id, "resumed" if welcome.resumed else "new")

    def _confirm(self, number: int) -> None:
        """The broker had the leases still when it had seen this message: they count from its sending."""
        at = self._sent_at.get(number)
        if at is None or at <= self._confirmed_at:
            return
        self._confirmed_at = at
        self._sent_at = {n: sent for n, sent in self._sent_at.items() if n >= number}
        until = at + self._lease_s - self.margin_s
        for held in self._desk.leases.of(self):
            held.until = max(held.until, until)

    # Out ---------------------------------------------------------------------------------------------------------------------------------------

    async def _write(self, call: Any, message: agents_pb2.ConnectRequest) -> None:
        self._number += 1
        message.number = self._number
        self._sent_at[self._number] = leases.clock_s()
        await call.write(message)

    async def _write_all(self, call: Any) -> float | None:
        """Says what is due, whenever something is. Returns when the stream has ended, or (0) is to be ended, since it may not be believed any more."""
        while True:
            if self.doubted:
                return 0.0
            message = self._next_message()
            if message is None:
                self.wake.clear()
                await self.wake.wait()
                continue
            try:
                await self._write(call, message)
            except asyncio.InvalidStateError:  # the stream has ended; the reader knows why
                return None

    def _next_message(self) -> agents_pb2.ConnectRequest | None:
        """What is due now, as much of it as one message may hold. None: nothing is."""
        message = agents_pb2.ConnectRequest()
        due = self._add_reports(message)
        due |= self._add_heartbeat(message)
        if self._desk.draining and not self._said_draining:
            due = message.draining = self._said_draining = True
        return message if self._add_credit(message, due=due) else None

    def _add_reports(self, message: agents_pb2.ConnectRequest) -> bool:
        """Progress, how far aborts have come, outcomes and log lines; returns whether there were any."""
        desk, room, due = self._desk, Room(), False
        for key in [key for key in desk.progress if self._mine(key)]:
            if not room.take(len(desk.progress[key].checkpoint)):
                break
            message.progress.append(desk.progress.pop(key))
            due = True
        for told in [told for told in desk.aborts if self._mine((told.lease.job_id, told.lease.lease_epoch))]:  # before the outcome, which is their end
            desk.aborts.remove(told)
            message.aborts.append(told)
            due = True
        due |= desk.outbox.take(message, room, self._may_go if desk.progress or len(desk.sessions) > 1 else None)
        if logs := desk.logs.take(self, self._number + 1, room):
            message.logs.extend(logs)
            due = True
        return due

    def _add_heartbeat(self, message: agents_pb2.ConnectRequest) -> bool:
        """The leases that are held, if it is time; returns whether it was."""
        if not self._beat_due:
            return False
        self._beat_due = False
        for held in self._desk.leases.of(self):
            message.heartbeat.job_ids.append(held.job.job_id)
            message.heartbeat.lease_epochs.append(held.job.lease_epoch)
        message.heartbeat.SetInParent()
        return True

    def _add_credit(self, message: agents_pb2.ConnectRequest, *, due: bool) -> bool:
        """That jobs arrived, and for how many more there is room. Returns whether the message is to go for that; where it is `due` anyway, all of it goes along."""
        free = [self._desk.free(self), *(self._desk.free_of(handler, self) for handler in self._own)]
        accepting = self._assign_no > self._accepted_no
        if not (due or free != self._believed or self._rejected or (accepting and self._accept_timer is None)):
            return False
        if accepting:
            message.accept.assign_no = self._accepted_no = self._assign_no
            message.accept.rejected.extend(self._rejected)
            self._rejected = []
        if accepting or free != self._believed:  # with an Accept always: the broker then forgets what it subtracted
            self._believed = free
            message.credit.assign_no, message.credit.free = self._assign_no, free[0]
            for handler, slots in zip(self._own, free[1:], strict=True):
                message.credit.types.add(type=handler.name, free=slots)
        return True

    def _accept(self) -> None:
        self._accept_timer = None
        self.wake.set()

    def _mine(self, lease: tuple[int, int]) -> bool:
        """Whether what concerns this lease goes through this session: it holds it, or whoever did has no stream."""
        held = self._desk.leases.find(lease)
        return held is None or held.session is self or not held.session.up

    def _may_go(self, lease: tuple[int, int]) -> bool:
        """Whether an outcome goes through this session now; a checkpoint that has not gone yet goes first, since it is worth nothing after it."""
        return self._mine(lease) and lease not in self._desk.progress

    async def _beat(self) -> float:
        """Heartbeats, fewer of them while there is no lease to renew. Returns when the broker has fallen silent: the stream is to be ended, though it may live on and its
        call have no status yet.
        """
        beaten_at = leases.clock_s()
        while True:
            await asyncio.sleep(self._heartbeat_s * 0.9)
            if leases.clock_s() - self._heard_at > max(self._lease_s, 3 * self._heartbeat_s):
                log.warning("broker %s has fallen silent; connecting anew", self._address)
                return 0.0
            if leases.clock_s() - beaten_at + self._heartbeat_s * 0.9 < self._lease_s * IDLE_BEAT and not self._desk.leases.of(self):
                continue  # the next one is early enough
            beaten_at = leases.clock_s()
            self._beat_due = True
            self.wake.set()

    # In ----------------------------------------------------------------------------------------------------------------------------------------

    async def _read_all(self, call: Any) -> float | None:
        while True:
            message = await call.read()
            if message is grpc.aio.EOF:
                return None
            self._heard_at = leases.clock_s()
            self._receive(message)
            if message.HasField("go_away"):
                away = message.go_away
                log.info("broker %s ends the session: %s", self._address, away.reason)
                if away.stay_away:
                    raise StayAway(away.reason)
                return _away_s(away)

    def _receive(self, message: agents_pb2.ConnectResponse) -> None:
        desk = self._desk
        if message.HasField("heartbeat_ack"):
            for ref in message.heartbeat_ack.not_held:
                desk.lose(ref.job_id, ref.lease_epoch)
            self._confirm(message.heartbeat_ack.seen_no)
        if message.HasField("assign"):
            self._assigned(message.assign)
        for acked in message.acked:
            self._acknowledged(acked)
        for abort in message.aborts:
            held = desk.leases.find((abort.lease.job_id, abort.lease.lease_epoch))
            if held is not None:
                log.info("job %s is to stop: %r (%r)", abort.lease.job_id, abort.reason, abort.actor)  # what others wrote does not steer a terminal
                desk.stop(held, Stop.ABORT, to_seconds(abort.grace))
                desk.report_abort(abort.lease.job_id, abort.lease.lease_epoch, agents_pb2.ABORT_PHASE_DELIVERED)
        for ref in message.revoked:
            desk.lose(ref.job_id, ref.lease_epoch)
        if message.logs_stored_no:
            desk.logs.stored(self, message.logs_stored_no)
        self.wake.set()

    def _acknowledged(self, acked: agents_pb2.AckedOutcomes) -> None:
        if acked.disposition not in FINAL:  # the broker cannot tell yet
            if not self._sending_again:
                self._sending_again = True
                asyncio.get_running_loop().call_later(SEND_AGAIN_S, self._send_again)
            return
        keys = list(zip(acked.job_ids, acked.lease_epochs, strict=True))
        if acked.disposition in TOO_LATE:
            log.warning("outcomes of jobs %s came too late: %s", list(acked.job_ids), agents_pb2.Disposition.Name(acked.disposition))
        self._desk.acknowledged(keys)

    def _send_again(self) -> None:
        self._sending_again = False
        self._desk.outbox.send_again()
        self._desk.wake()

    def _assigned(self, assign: agents_pb2.Assign) -> None:
        """Takes the jobs whose leases are fresh; those that lay in a buffer for too long are given back."""
        desk, now = self._desk, leases.clock_s()
        self._assign_no = assign.number
        base = self._sent_at.get(assign.seen_no, self._confirmed_at)
        until = max(base, self._confirmed_at) + self._lease_s - self.margin_s
        if now - base > self._heartbeat_s:  # there was nothing to do, and so the last message is long ago
            self._beat_due = True
            self.wake.set()
        jobs = [job for column in assign.plain for job in plain_jobs(column)]
        jobs += map(from_message, assign.jobs)
        for index, handler in enumerate([None, *self._own]):
            self._believed[index] -= len(jobs) if handler is None else sum([job.type == handler.name for job in jobs])
        if self._accept_timer is None:
            self._accept_timer = asyncio.get_running_loop().call_later(ACCEPT_S, self._accept)
        reason = "its lease was over when it arrived" if now >= until else "the agent drains" if desk.draining else None
        if self.overtaken:
            reason = "another broker owns the queue since"
        taken: dict[tuple[int, int], Held] = {}
        for job in jobs:
            if job.key in taken or desk.leases.find(job.key) is not None:  # it came before: it runs once, and takes one slot
                continue
            problem = reason or (None if job.type in desk.handlers else f"the agent does not serve {job.type}")
            if problem is None:
                taken[job.key] = Held(job, self, until)
            else:
                ref = agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=job.lease_epoch)
                self._rejected.append(agents_pb2.Rejection(lease=ref, reason=problem))
        desk.accept(list(taken.values()))

    async def _raise_status(self, end: StreamEnd) -> None:
        error = await end.error()
        if error is not None:
            raise error


def _away_s(away: agents_pb2.GoAway) -> float:
    """How long the broker wants the agent to wait, within reason."""
    return min(max(0.0, to_seconds(away.reconnect_after)), MOST_AWAY_S)


def _pause_s(said_s: float | None, failures: int) -> float:
    """How long to wait before the next stream. `said_s`: what the broker said, to all its agents at once; one that never greets is asked less and less often."""
    wanted_s = 0.0 if said_s is None else said_s * random.uniform(1.0, 1.5)
    return max(wanted_s, backoff_s(failures)) if failures or said_s is None else wanted_s
