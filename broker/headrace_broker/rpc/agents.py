"""The Agents service: the stream that carries work, and its unary twins.

One task reads an agent's stream, the handler itself writes it. The reader leaves intents with the owner and credit with the session; the writer waits until the
session has something to say, and says everything due in one message.
"""

import asyncio
import functools
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, TypeVar

import structlog
from headrace_proto.v1 import agents_pb2
from headrace_proto.wire import to_duration

from headrace_broker.actions import reach
from headrace_broker.model.access import Role
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, DatabaseUnavailable, InvalidField, NotOwner, RoleDenied, SessionError
from headrace_broker.model.job import Disposition
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.access import HOLD, IDENTITY
from headrace_broker.rpc.agent_messages import MAX_LEASES, MAX_OUTCOMES, abort_step, completions, endings, log_batches, refs, response
from headrace_broker.rpc.attest import FORWARDED_KEY
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.log_intake import LogIntake
from headrace_broker.shards import aborts, dispatcher, reception, undecided
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.session import AgentFacts, Served, Session
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.settings import OtherDomain, SettingsStore

MOST_UNREAD = 200_000
"""Answers to one agent that wait for it to read; some 15 MB. Each of its messages may bring 10,000."""
REMEMBERED = 20_000
"""Agents whose stored life is known without asking; some 400 bytes each."""
REMEMBERED_S = 86_400.0
"""For how long: one that was away for longer is noted as there again, before its life is forgotten (see maintenance/tidy_agents.py)."""
T = TypeVar("T")

log = structlog.get_logger("headrace.agents")


class AgentsService:
    """See the module. Its tasks live in the task group that is passed in, which ends with the server."""

    def __init__(self, ownership: Ownership, settings: SettingsStore, logs: LogWriter, tasks: asyncio.TaskGroup) -> None:
        self._ownership = ownership
        self._settings = settings
        self._known = _Known(settings)
        self._logs = logs
        self._tasks = tasks

    async def Connect(self, requests: AsyncIterator[agents_pb2.ConnectRequest], context: Any) -> AsyncIterator[agents_pb2.ConnectResponse]:  # noqa: N802
        owner = self._ownership.owner
        loop = asyncio.get_running_loop()
        first = await _hello(requests)
        passed_on = any(key == FORWARDED_KEY for key, _ in context.invocation_metadata() or ())
        while (greeted := await self._greet(owner, first, caller_of(context), passed_on=passed_on)) is None:
            yield agents_pb2.ConnectResponse(stand_by=agents_pb2.StandBy(over=True))
            first, owner = await _hello(requests), self._ownership.owner
        session, welcome = greeted
        token, reader = session.stream, None
        try:
            hold = HOLD.get()
            if hold is not None:  # a type that it may not serve any more ends the stream, and the next one is told why
                hold.add(functools.partial(_may_serve, [served.entry.name for served in session.served.values()]))
            log.info("agent connected", agent=session.facts.name, incarnation_id=session.facts.incarnation_id, resumed=welcome.welcome.resumed)
            self._hear(owner, session, first)
            del first  # a stream may last for weeks
            reader = self._tasks.create_task(self._read(owner, session, token, requests))
            yield welcome
            del welcome
            while session.stream is token:
                if not session.due:
                    await session.wake.wait()
                    session.wake.clear()
                    continue
                out = session.take_out(loop.time())
                yield response(owner, session, out)
                if out.go_away is not None:
                    return
                del out
        finally:
            if reader is not None:
                reader.cancel()
            if session.stream is token:
                session.detach(loop.time())
                log.info("agent disconnected", agent=session.facts.name, incarnation_id=session.facts.incarnation_id, leases=len(session.leases))

    async def ReportOutcomes(self, request: agents_pb2.ReportOutcomesRequest, context: Any) -> agents_pb2.ReportOutcomesResponse:  # noqa: N802
        if not 1 <= len(request.outcomes) <= MAX_OUTCOMES:
            raise InvalidField("outcomes", f"1 to {MAX_OUTCOMES} outcomes, found {len(request.outcomes)}")
        sink = _Collector(len({(o.job_id, o.lease_epoch) for o in request.outcomes}), await self._agent_id(self._ownership.owner, request.incarnation_id, context))
        owner, left = self._ownership.owner, self._ownership.left
        reported = endings(request.outcomes, sink, owner.limits.payload_limit_bytes)
        if sink.agent_id:
            undecided.report(owner, sink, reported)
        else:  # nobody that the database knows: no lease is theirs, whatever becomes of it
            owner.metrics.foreign_leases.labels("outcome").inc(len(reported))
            sink.ack([ending.job_id for ending in reported], [ending.epoch for ending in reported], Disposition.UNKNOWN)
        acks = await _unless(left, sink.done)
        return agents_pb2.ReportOutcomesResponse(
            acks=[
                agents_pb2.OutcomeAck(job_id=o.job_id, lease_epoch=o.lease_epoch, disposition=acks.get((o.job_id, o.lease_epoch), 6))  # type: ignore[arg-type]  # enum numbers
                for o in request.outcomes
            ]
        )

    async def UploadLogs(self, request: agents_pb2.UploadLogsRequest, context: Any) -> agents_pb2.UploadLogsResponse:  # noqa: N802
        try:
            owner = self._ownership.owner
            await self._logs.put(log_batches(owner, request.logs, await self._agent_id(owner, request.incarnation_id, context)))
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error
        return agents_pb2.UploadLogsResponse()

    async def _agent_id(self, owner: Owner, incarnation_id: str, context: Any) -> int:
        """The life of an agent of the call's domain that has this incarnation, or 0: a caller without a stream says who it is by what only that agent knows."""
        domain = convert.domain_of(context)
        session = owner.by_incarnation.get(incarnation_id)
        if session is not None:
            return session.agent_id if session.domain == domain else 0
        try:
            return await self._settings.agent_of(domain, convert.text("incarnation_id", incarnation_id, 100)) or 0
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error

    async def _greet(
        self, owner: Owner, first: agents_pb2.ConnectRequest, caller: Caller, *, passed_on: bool
    ) -> tuple[Session, agents_pb2.ConnectResponse] | None:  # fmt: skip
        """The session that a Hello begins, and the answer. None: the agent is to say it again, and hears with that who owns the queue.

        An agent with several streams may take a job from another one while its first Hello is under way. Once it was told it takes none, and its Hello names them all.
        """
        hello, domain = first.hello, caller.domain
        convert.bounded("hello.held", hello.held, MAX_LEASES)
        if not 1 <= hello.slots <= MAX_LEASES:
            raise InvalidField("hello.slots", f"1 to {MAX_LEASES:,}, found {hello.slots}")
        name = convert.text("hello.agent_name", hello.agent_name, required=True)
        identity = IDENTITY.get()
        if identity is not None and identity.role is Role.AGENT and not identity.is_agent(name):
            raise RoleDenied(f"{identity.called} is not for an agent named {name!r}")
        incarnation_id = convert.text("hello.incarnation_id", hello.incarnation_id, 100)
        if len(incarnation_id) < 16:
            raise InvalidField("hello.incarnation_id", "at least 16 characters, made at the start of the agent's process")
        host, build, sdk = (convert.text(f"hello.{f}", getattr(hello, f)) for f in ("host", "build", "sdk"))
        labels = convert.labels("hello.labels", hello.labels)
        served = await self._served(owner, caller, hello)  # last: it stores what code declares
        try:
            agent_id, first_seen = await self._known.find(owner, (domain, name, incarnation_id, build), host, hello.pid & 0x7FFFFFFF, sdk, labels)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; connect again") from error
        except OtherDomain as error:
            raise InvalidField("hello.incarnation_id", "it is that of another agent; each process makes a new one at its start") from error
        facts = AgentFacts(agent_id, name, incarnation_id, domain, host, hello.pid, build, sdk, labels, first_seen)
        if owner.refusing is not None:
            raise owner.refusing
        if passed_on and hello.at_standby != agents_pb2.AT_STANDBY_PASS_ON:
            known = owner.by_incarnation.get(incarnation_id)
            if known is not None and known.stream is not None:  # an agent with a stream to each broker would take one away from the other for ever
                raise NotOwner("this broker stands by, and the agent has a stream to the one that owns the queue already")
        held = {lease.job_id: lease.lease_epoch for lease in hello.held}
        told = first.number > 1 or hello.at_standby == agents_pb2.AT_STANDBY_UNSPECIFIED
        if not told and reception.unnamed(owner, facts, held):
            return None
        session, not_held, resumed = reception.welcome(owner, facts, served, hello.slots, held, object(), asyncio.get_running_loop().time())
        session.last_no, session.columns = first.number, hello.columns
        limits, seen_no = owner.limits, first.number
        if len(not_held) < len(held):  # another broker may have taken over meanwhile: that they are this one's is proven before they are counted anew
            seen_no = 0
            reception.confirm_soon(owner, session, first.number)
        return session, agents_pb2.ConnectResponse(
            welcome=agents_pb2.Welcome(
                session_id=uuid.uuid4().hex,
                broker_id=str(owner.life_id),
                lease=to_duration(limits.lease_s),
                heartbeat=to_duration(limits.heartbeat_s),
                not_held=refs(not_held),
                payload_limit_bytes=limits.payload_limit_bytes,
                seen_no=seen_no,
                resumed=resumed,
            )
        )

    async def _served(self, owner: Owner, caller: Caller, hello: agents_pb2.Hello) -> list[Served]:
        if not 1 <= len(hello.types) <= 1000:
            raise InvalidField("hello.types", f"1 to 1,000 types, found {len(hello.types)}")
        offered = []
        for index, item in enumerate(hello.types):
            field = f"hello.types[{index}]"
            name = convert.type_name(f"{field}.type", item.type)
            reach.require(Act.SERVE, name, f"{field}.type")
            declared, executor = convert.settings_values(f"{field}.declared", item.declared), convert.text(f"{field}.executor", item.executor)
            offered.append((name, declared, item.slots, executor))
            if "payload_schema" in declared:
                await asyncio.sleep(0)  # it was compiled, which takes its time: others have their turn before the next
        served = []
        for name, declared, slots, executor in offered:
            entry = await owner.types.ensure(caller.domain, name)
            await owner.types.declare(entry, declared, caller=caller)
            served.append(Served(entry, slots, executor))
        return served

    async def _read(self, owner: Owner, session: Session, token: object, requests: AsyncIterator[agents_pb2.ConnectRequest]) -> None:
        """Until the stream ends; then the session waits for the agent to come back. What breaks the rules ends the stream."""
        loop, hearing = asyncio.get_running_loop(), False
        intake: LogIntake | None = None
        try:
            async for message in requests:
                if session.stream is not token:
                    return
                if message.number <= session.last_no:
                    raise SessionError(f"message numbers must rise: {message.number} after {session.last_no}")
                session.last_no, hearing = message.number, True
                self._hear(owner, session, message)
                if message.logs:
                    intake = intake or LogIntake(self._logs, self._tasks, session, token)
                    await intake.put(message.number, log_batches(owner, message.logs, session.agent_id))
                hearing = False
                del message  # the next one may be long in coming
        except BrokerError as error:
            log.warning("agent's stream refused", agent=session.facts.name, reason=str(error))
            if session.stream is token:  # else another stream carries the session by now
                session.out.go_away = str(error)
        except Exception as error:
            if not hearing:  # a broken stream ends in whatever grpc raises
                log.debug("agent's stream broke", agent=session.facts.name, reason=repr(error))
            else:  # a defect
                log.error("a message of an agent could not be dealt with", agent=session.facts.name, exc_info=error)
                if session.stream is token:
                    session.out.go_away = "a message of yours could not be dealt with; the broker's log has more"
        finally:
            if session.stream is token and session.out.go_away is None:  # else the writer says why first
                session.detach(loop.time())
            session.wake.set()

    def _hear(self, owner: Owner, session: Session, message: agents_pb2.ConnectRequest) -> None:
        now = asyncio.get_running_loop().time()
        session.last_heard = now
        if session.unread > MOST_UNREAD:
            raise SessionError(f"{session.unread} answers wait to be read by the agent, which sends on: it is not read from any more")
        if (count := len(message.outcomes) + len(message.completions.job_ids)) > MAX_OUTCOMES:
            raise InvalidField("outcomes", f"at most {MAX_OUTCOMES} outcomes in a message, those in columns included, found {count}")
        if message.outcomes:
            undecided.report(owner, session, endings(message.outcomes, session, owner.limits.payload_limit_bytes))
        if message.HasField("completions"):
            undecided.report(owner, session, completions(message.completions, session, owner.limits.payload_limit_bytes))
        if message.HasField("accept"):
            session.accept(message.accept.assign_no)
            rejected = convert.bounded("accept.rejected", message.accept.rejected, MAX_LEASES)
            reception.reject(owner, session, [(r.lease.job_id, r.lease.lease_epoch, convert.text("accept.rejected.reason", r.reason, 1000)) for r in rejected])
        if message.HasField("heartbeat"):
            beat = message.heartbeat
            if len(beat.job_ids) != len(beat.lease_epochs):
                raise InvalidField("heartbeat.lease_epochs", "as many as job_ids")
            convert.bounded("heartbeat.job_ids", beat.job_ids, MAX_LEASES)
            reception.heartbeat(owner, session, message.number, dict(zip(beat.job_ids, beat.lease_epochs, strict=True)), now)
        for report in convert.bounded("progress", message.progress, MAX_LEASES):
            self._progress(owner, session, report)
        for told in convert.bounded("aborts", message.aborts, MAX_LEASES):
            aborts.report(owner, session, told.lease.job_id, told.lease.lease_epoch, abort_step(told))
        if message.draining:
            session.draining = True
            session.send_acks()
        if message.HasField("credit"):
            credit = message.credit
            entries = {served.entry.name: type_id for type_id, served in session.served.items()} if credit.types else {}
            session.set_credit(credit.assign_no, credit.free, [(entries[c.type], c.free) for c in credit.types if c.type in entries])
            if session.room > 0:
                owner.hungry[session] = None
                if dispatcher.worth_a_round(owner, session):
                    owner.wake.set()

    def _progress(self, owner: Owner, session: Session, report: agents_pb2.ProgressReport) -> None:
        live = session.leases.get(report.lease.job_id)
        if live is None or live.seq != report.lease.lease_epoch:
            return
        if report.HasField("progress"):
            live.progress = (min(100.0, max(0.0, report.progress.percent)), report.progress.text[:1000])
        if report.HasField("checkpoint"):
            if len(report.checkpoint) > owner.limits.payload_limit_bytes:
                raise InvalidField("progress.checkpoint", f"at most {owner.limits.payload_limit_bytes} bytes")
            owner.checkpoint(live.job_id, live.seq, report.checkpoint)


class _Known:
    """Lives of agents that were greeted under one owner, those of the last hellos: when thousands come back at once, the database is not asked who each of them is."""

    def __init__(self, settings: SettingsStore) -> None:
        self._settings = settings
        self._owner: Owner | None = None
        self._lives: OrderedDict[tuple[str, str, str, str], tuple[int, datetime, float]] = OrderedDict()  # and when the database said so

    async def find(self, owner: Owner, key: tuple[str, str, str, str], host: str, pid: int, sdk: str, labels: dict[str, str]) -> tuple[int, datetime]:
        """(agent_id, first seen) of (domain, name, incarnation_id, build); a life that is new is stored. Raises as `SettingsStore.agent`."""
        if self._owner is not owner:  # another owner began with what the database has, which may have lost something
            self._owner, self._lives = owner, OrderedDict()
        lives, found, now = self._lives, self._lives.get(key), asyncio.get_running_loop().time()
        if found is None or now - found[2] > REMEMBERED_S:
            domain, name, incarnation_id, build = key
            agent_id, first_seen = await self._settings.agent(domain, name, incarnation_id, host, pid, build, sdk, labels)
            found = lives[key] = agent_id, first_seen, now
            if len(lives) > REMEMBERED:
                lives.popitem(last=False)
        else:
            lives.move_to_end(key)
        return found[:2]


async def _hello(requests: AsyncIterator[agents_pb2.ConnectRequest]) -> agents_pb2.ConnectRequest:
    message = await anext(aiter(requests), None)
    if message is None or not message.HasField("hello"):
        raise InvalidField("hello", "the first message of an agent must carry it")
    return message


def _may_serve(names: list[str]) -> None:
    """Raises TypeDenied when the call may not serve all of these types."""
    for name in names:
        reach.require(Act.SERVE, name)


async def _unless(left: asyncio.Event, done: "asyncio.Future[T]") -> T:
    """The result, unless the owner that was to give it has left."""
    leaving = asyncio.ensure_future(left.wait())
    either: list[asyncio.Future[Any]] = [done, leaving]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    if not done.done():
        raise NotOwner("this broker no longer owns the queue, and cannot tell what became of the outcomes; report them to another one")
    return done.result()


class _Collector:
    """Gathers what became of the outcomes of one unary call; `expected`: of how many leases they are."""

    def __init__(self, expected: int, agent_id: int) -> None:
        self.agent_id = agent_id
        self._expected = expected
        self._acks: dict[tuple[int, int], int] = {}
        self.done: asyncio.Future[dict[tuple[int, int], int]] = asyncio.get_running_loop().create_future()

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        self._acks.update(dict.fromkeys(zip(job_ids, epochs, strict=True), disposition))
        if len(self._acks) == self._expected and not self.done.done():
            self.done.set_result(self._acks)
