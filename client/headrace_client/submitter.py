"""Coalesces concurrent submits: everything that waits while one message is written goes into the next one. Whoever brings many jobs at once has a message of their own.

A unary call costs the broker some 150 us whatever it carries, a message on a stream less than half of it, a job inside one or two. One task owns the stream; at most one
write is under way.

When the stream breaks, what was sent and not answered may have been stored. Jobs with a key are sent again: the broker knows the key. Jobs without one fail with
ResultUnknown, unless there was no connection to send them on. Whether a broker stored nothing it says in an answer, job by job or once for all; such jobs are sent
again.

What a broker refused because it has too much to do is sent again after the delay that it gave, and only as often as the budget allows (retry.py); else its callers are
told so.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc
from headrace_proto.streams import GRACE_S, StreamEnd
from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import Reason, to_seconds

from headrace_client.channel import Brokers, backoff_s
from headrace_client.credentials import Metadata, Pairs
from headrace_client.encode import Spec, put, size_of
from headrace_client.errors import Busy, HeadraceError, ResultUnknown, Unavailable, from_rpc, left_nothing, make, never_sent
from headrace_client.models import Submitted
from headrace_client.retry import RetryBudget, pause_s

log = logging.getLogger("headrace.client")

MAX_JOBS = 1000  # of one message
MAX_BYTES = 2 * 1024 * 1024
MAX_WAITING = 20_000  # submits that wait to be written; further callers wait for room
SWEEP_S = 0.05  # how late a timeout may be noticed: one timer for all submits, since one for each costs more than the rest of it
LAST_TRY_S = 0.3  # what was refused is not sent again when less time is left: the caller learns for sure that nothing was stored
STATUS_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(slots=True, eq=False)
class _Waiting:
    """One job that somebody awaits."""

    spec: Spec
    done: "asyncio.Future[Submitted]"
    deadline: float  # loop's clock
    timeout_s: float
    sent: bool = False  # written, and not answered
    unknown: bool = False  # written to a stream that broke: it may be stored, and is sent again under its key
    refusal: HeadraceError | None = None  # why a broker did not store it, last

    @property
    def keyed(self) -> bool:
        """Whether it may be sent again whatever became of it."""
        return not isinstance(self.spec, tuple) and bool(self.spec.idempotency_key)


@dataclass(slots=True, eq=False)
class _Many:
    """Jobs that travel in one message, and somebody who awaits what became of them. The fields are those of `_Waiting`."""

    request: jobs_pb2.SubmitStreamRequest
    keyed: bool  # all of them
    done: "asyncio.Future[jobs_pb2.SubmitResults]"
    deadline: float
    timeout_s: float
    sent: bool = False
    unknown: bool = False
    refusal: HeadraceError | None = None


class Submitter:
    """One stream of one client. `run` serves until cancelled; it connects when there is something to send."""

    def __init__(self, brokers: Brokers, metadata: Metadata, budget: RetryBudget) -> None:
        self._brokers = brokers
        self._metadata = metadata
        self._budget = budget
        self._resting: dict[_Waiting | _Many, None] = {}  # refused by a busy broker; sent again later
        self._waiting: deque[_Waiting | _Many] = deque()
        self._sent: dict[int, list[_Waiting] | _Many] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()  # set whenever some of what waits has been written
        self._open: dict[_Waiting | _Many, None] = {}  # everything that somebody awaits
        self._sweeping = False
        self._request_no = 0
        self._answered = False  # the open stream brought an answer
        self._outdated = False  # the open stream carries a token that is not the newest any more: leave it once it has answered everything
        self._refused = False  # the broker of the open stream stores nothing now: leave it once it has answered everything

    async def submit(self, spec: Spec, timeout_s: float) -> Submitted:
        """Stores one job within a time. Errors are the library's.

        Cancellation withdraws a job that was not written yet; others in the same message are not touched.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while len(self._waiting) >= MAX_WAITING:
            await self._wait_for_room(deadline, timeout_s)
        waiting = _Waiting(spec, loop.create_future(), deadline, timeout_s)
        self._queue(waiting, loop)
        try:
            return await waiting.done
        finally:
            del self._open[waiting]

    async def submit_many(self, request: jobs_pb2.SubmitStreamRequest, timeout_s: float) -> jobs_pb2.SubmitResults:
        """Stores the jobs of a request; what became of each, in the order of the request. `request_no` is chosen here.

        Raises the library's errors for what concerns all of them. Cancellation withdraws a request that was not written yet.
        """
        loop = asyncio.get_running_loop()
        keyed = not request.plain and all(job.idempotency_key for job in request.jobs)
        many = _Many(request, keyed, loop.create_future(), loop.time() + timeout_s, timeout_s)
        self._queue(many, loop)
        try:
            return await many.done
        finally:
            del self._open[many]

    def _queue(self, waiting: "_Waiting | _Many", loop: asyncio.AbstractEventLoop) -> None:
        self._open[waiting] = None
        if not self._sweeping:
            self._sweeping = True
            loop.call_later(SWEEP_S, self._sweep, loop)
        self._waiting.append(waiting)
        self._wake.set()

    async def _wait_for_room(self, deadline: float, timeout_s: float) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._room.wait()
        except TimeoutError:
            raise Unavailable(f"{MAX_WAITING} submits of this client wait for a broker, and none was taken within {timeout_s:g} s; nothing was stored") from None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fails what is overdue."""
        now = loop.time()
        for waiting in self._open:
            if now >= waiting.deadline and not waiting.done.done():
                waiting.done.set_exception(self._overdue(waiting))
        self._sweeping = bool(self._open)
        if self._sweeping:
            loop.call_later(SWEEP_S, self._sweep, loop)

    def _overdue(self, waiting: _Waiting | _Many) -> HeadraceError:
        within = f"within {waiting.timeout_s:g} s"
        if waiting.sent or waiting.unknown:
            return ResultUnknown(f"no answer {within}; the job may have been stored: submit it again with a key to be sure")
        return waiting.refusal or Unavailable(f"no broker took the job {within} (tried {', '.join(self._brokers.addresses)}); nothing was stored")

    async def run(self) -> None:
        """Sends what waits; connects again, to another broker if need be, when the stream breaks. When cancelled, everything that waits fails."""
        try:
            failures = 0
            while True:
                await self._wake.wait()
                if not self._waiting:
                    self._wake.clear()
                    continue
                failures = 0 if await self._run_once() else failures + 1
                if failures:
                    await asyncio.sleep(backoff_s(self._brokers.rounds(failures)))
        finally:
            self.close()

    def close(self) -> None:
        """Fails everything that waits. Nothing is sent any more."""
        self._broken(Unavailable("the client was closed"), connected=True)
        self._wake_up(list(self._resting))
        self._fail_waiting(Unavailable("the client was closed; nothing was stored"))

    async def _run_once(self) -> bool:
        """One stream to its end; returns whether the broker answered anything."""
        self._answered = self._refused = self._outdated = False
        try:
            stubs, carried = self._brokers.current(), self._metadata()
        except HeadraceError as error:  # no call can be made at all, such as for a CA file that cannot be read
            self._fail_waiting(error)
            return True
        call = stubs.jobs.SubmitStream(metadata=carried)
        end = StreamEnd(call)
        try:
            await self._stream(call, carried)
            self._broken(ResultUnknown("the broker ended the stream before it answered; the job may have been stored"), connected=True)
            if self._refused:
                self._brokers.failed(stubs)
        except grpc.aio.AioRpcError as raised:
            refusal = await end.instead_of(raised)
            self._broken(from_rpc(refusal), connected=not never_sent(refusal))
            self._brokers.failed(stubs)
        except Exception as error:  # an answer that makes no sense: other submits do not wait for it
            log.warning("the stream of submits failed", exc_info=error)
            self._broken(ResultUnknown(f"what the broker answered cannot be read ({type(error).__name__}: {error})"), connected=True)
            self._brokers.failed(stubs)
            return False
        return (self._answered or self._outdated) and not self._refused

    async def _stream(self, call: grpc.aio.StreamStreamCall, carried: Pairs) -> None:
        """Writes and reads until the stream ends. Raises AioRpcError unless it ended well."""
        reader = asyncio.ensure_future(self._read(call))
        try:
            while not reader.done():
                self._outdated = self._outdated or self._is_old(carried)
                leaving = self._refused or self._outdated
                if leaving and not self._sent:
                    return
                batch = self._take() if not leaving else []
                if not batch:
                    self._wake.clear()
                    waiter = asyncio.ensure_future(self._wake.wait())
                    try:
                        await asyncio.wait([waiter, reader], return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        waiter.cancel()
                    continue
                self._request_no += 1
                if isinstance(batch, _Many):
                    request = batch.request
                    request.request_no, request.refusal_at_once = self._request_no, True
                    self._sent[self._request_no] = batch
                else:
                    request = jobs_pb2.SubmitStreamRequest(request_no=self._request_no, refusal_at_once=True)
                    order = put(request, [waiting.spec for waiting in batch])
                    self._sent[self._request_no] = [batch[index] for index in order]
                await call.write(request)
            await reader
        except asyncio.InvalidStateError:  # the stream ended while we wrote: the reader knows why
            await reader
        except grpc.aio.AioRpcError:  # the same, while it was on its way: there may be answers to hear still
            await asyncio.wait([reader], timeout=GRACE_S)
            if reader.done():
                await reader
            raise
        finally:
            reader.cancel()
            call.cancel()

    def _is_old(self, carried: Pairs) -> bool:
        """Whether there is a newer token than the stream carries. One that cannot be had now is none."""
        try:
            return self._metadata() != carried
        except HeadraceError:
            return False

    async def _read(self, call: grpc.aio.StreamStreamCall) -> None:
        async for answer in call:
            self._answered = True
            batch = self._sent.get(answer.request_no, [])
            if isinstance(batch, _Many):
                self._answer_many(batch, answer.results)
            else:
                self._answer(batch, answer.results)
            self._sent.pop(answer.request_no, None)  # not before: an answer that makes no sense is none
            if self._refused or self._outdated:
                self._wake.set()  # the writer waits for the last answer
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(code, await call.initial_metadata(), await call.trailing_metadata(), await call.details())

    def _take(self) -> list[_Waiting] | _Many:
        """What the next message carries: single jobs, as many as fit, or many that came together."""
        batch: list[_Waiting] = []
        size = 0
        self._room.set()
        latest = asyncio.get_running_loop().time() + LAST_TRY_S
        while self._waiting and len(batch) < MAX_JOBS:
            waiting = self._waiting[0]
            if waiting.refusal is not None and not waiting.unknown and waiting.deadline < latest:
                self._waiting.popleft()  # the sweep tells the refusal
                continue
            if isinstance(waiting, _Many):
                if batch:
                    break
                self._waiting.popleft()
                if not waiting.done.done():
                    waiting.sent = True
                    return waiting
                continue
            size += size_of(waiting.spec)
            if batch and size > MAX_BYTES:
                break
            self._waiting.popleft()
            if not waiting.done.done():
                waiting.sent = True
                batch.append(waiting)
        return batch

    def _answer_many(self, many: _Many, results: jobs_pb2.SubmitResults) -> None:
        if results.HasField("refused"):
            results = _spread(results.refused, _count(many.request))
        count = _count(many.request)
        if len(results.job_ids) != count or any(failure.index >= count for failure in results.failures):
            raise ValueError(f"{len(results.job_ids)} ids, and refusals up to number {max((failure.index for failure in results.failures), default=0)}, for {count} jobs")
        errors = [failure_error(failure) for failure in results.failures]
        if errors and not any(results.job_ids) and all(map(_too_busy, errors)):
            self._rest([many], errors[0])
        elif errors and not any(results.job_ids) and all(map(left_nothing, errors)):  # a broker that stores nothing now: another one may
            self._refused = True
            self._again(many, errors[0])
        else:
            self._budget.answered()
            if not many.done.done():
                many.done.set_result(results)

    def _answer(self, batch: list[_Waiting], results: jobs_pb2.SubmitResults) -> None:
        if results.HasField("refused"):
            results = _spread(results.refused, len(batch))
        busy: list[_Waiting | _Many] = []
        why: HeadraceError | None = None
        for failure in results.failures:
            waiting, error = batch[failure.index], failure_error(failure)
            if _too_busy(error):
                busy.append(waiting)
                why = error
            elif left_nothing(error) or (isinstance(error, ResultUnknown) and waiting.keyed):
                self._refused = True
                self._again(waiting, error)
            else:
                _fail(waiting, error)
        if why is not None:
            self._rest(busy, why)
        else:
            self._budget.answered()
        refused = {failure.index for failure in results.failures}
        existing, replaced, pressure = set(results.existing), set(results.replaced), results.pressure
        for index, (waiting, job_id) in enumerate(zip(batch, results.job_ids, strict=False)):
            if index not in refused and not waiting.done.done():
                waiting.done.set_result(Submitted(job_id, index in existing, pressure, index in replaced))

    def _rest(self, batch: "list[_Waiting | _Many]", error: HeadraceError) -> None:
        """A broker has too much to do, and stored none of these: they are sent again after a while, to another broker if there is one, or their callers are told."""
        loop, pause = asyncio.get_running_loop(), pause_s(error.retry_after_s if isinstance(error, Busy) else 0.0)
        again, latest = self._budget.refused(), loop.time() + pause + LAST_TRY_S
        resting: list[_Waiting | _Many] = []
        for waiting in batch:
            waiting.sent, waiting.refusal = False, error
            if again and waiting.deadline >= latest:
                resting.append(waiting)
            else:
                _fail(waiting, self._overdue(waiting) if waiting.unknown else error)
        if resting:
            self._resting.update(dict.fromkeys(resting))
            self._refused = self._refused or len(self._brokers.addresses) > 1
            loop.call_later(pause, self._wake_up, resting)

    def _wake_up(self, rested: "list[_Waiting | _Many]") -> None:
        """They may be sent again."""
        for waiting in rested:
            if waiting in self._resting:
                del self._resting[waiting]
                self._waiting.append(waiting)
        self._wake.set()

    def _broken(self, error: HeadraceError, *, connected: bool) -> None:
        """Decides what becomes of what was sent and not answered."""
        sent, self._sent = self._sent, {}
        if error.reason == Reason.TOKEN_ENDED:  # in the middle: nobody answers what was sent
            error = ResultUnknown(error.message, reason=error.reason)
        largest = max(map(_size, sent.values()), default=0)
        for batch in sent.values():
            why = error
            if error.reason == Reason.TOO_LARGE and _size(batch) < largest:
                why = ResultUnknown(f"another message ended the stream: {error.message}", reason=Reason.RESULT_UNKNOWN)
            for waiting in [batch] if isinstance(batch, _Many) else batch:
                self._unanswered(waiting, why, connected=connected)

    def _unanswered(self, waiting: _Waiting | _Many, error: HeadraceError, *, connected: bool) -> None:
        if not connected:
            self._again(waiting, Unavailable(f"no broker reached at {', '.join(self._brokers.addresses)}; nothing was stored"))
        elif isinstance(error, Unavailable) and waiting.keyed:
            self._again(waiting, ResultUnknown(error.message, reason=error.reason))
        elif isinstance(error, Unavailable):
            _fail(waiting, ResultUnknown(f"{error.message}; the job may have been stored: submit it with a key to be able to repeat it", reason=error.reason))
        else:
            _fail(waiting, error)

    def _fail_waiting(self, error: HeadraceError) -> None:
        """Nothing more can be sent. What was sent to a stream that broke may be stored all the same."""
        unknown = ResultUnknown("an earlier try was not answered and none can follow; the job may have been stored: submit it again with its key to be sure")
        while self._waiting:
            waiting = self._waiting.popleft()
            _fail(waiting, unknown if waiting.unknown else error)

    def _again(self, waiting: _Waiting | _Many, error: HeadraceError) -> None:
        waiting.sent = False
        waiting.unknown = waiting.unknown or isinstance(error, ResultUnknown)
        waiting.refusal = error
        self._waiting.append(waiting)
        self._wake.set()


def _size(batch: list[_Waiting] | _Many) -> int:
    return batch.request.ByteSize() if isinstance(batch, _Many) else sum([size_of(waiting.spec) for waiting in batch])


def _count(request: jobs_pb2.SubmitStreamRequest) -> int:
    return len(request.jobs) + sum([len(column.payloads) for column in request.plain])


def _spread(refused: jobs_pb2.SubmitFailure, count: int) -> jobs_pb2.SubmitResults:
    """What was said once for all jobs of a request, said of each."""
    results = jobs_pb2.SubmitResults(job_ids=[0] * count)
    for index in range(count):
        failure = results.failures.add()
        failure.CopyFrom(refused)
        failure.index = index
    return results


def _too_busy(error: HeadraceError) -> bool:
    return error.reason == Reason.BUSY


def failure_error(failure: jobs_pb2.SubmitFailure) -> HeadraceError:
    """The library's error for one job of a batch that was refused."""
    details: dict[str, Any] = {"field": failure.field.partition(".")[2]} if failure.field else {}
    if failure.HasField("retry_after"):
        details["retry_after_s"] = to_seconds(failure.retry_after)
    if failure.job_id:
        details["job_id"] = failure.job_id
    message = failure.message
    if failure.field and message.startswith(failure.field):  # its place in the message is ours to know
        message = details["field"] + message[len(failure.field) :]
    return make(failure.reason, STATUS_NAMES.get(failure.code, "UNKNOWN"), message, details)


def _fail(waiting: _Waiting | _Many, error: HeadraceError) -> None:
    if not waiting.done.done():
        waiting.done.set_exception(error)
