"""The asyncio client: submit jobs, read them, wait for them."""

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from headrace_proto.v1 import jobs_pb2, types_pb2
from headrace_proto.wire import LEVEL_NUMBERS, STATE_NUMBERS, to_datetime, to_duration, to_timestamp

from headrace_client import models
from headrace_client.channel import Brokers, Stubs, backoff_s, metadata
from headrace_client.errors import HeadraceError, InvalidRequest, NotFound, Unavailable, WaitTimeout, from_rpc, left_nothing, make
from headrace_client.models import Attempt, Event, Job, JobChange, JobCounts, JobPage, JobSpec, LogLine, State, Submitted
from headrace_client.submitter import STATUS_NAMES, Submitter

T = TypeVar("T")
WAIT_SLICE_S = 20.0


class Base:
    """What Client and AdminClient share: brokers, metadata, and how calls are made again."""

    def __init__(
        self, broker: str | Sequence[str] | None = None, *, domain: str | None = None, token: str | None = None, tls_ca: str | Path | None = None,
        actor: str | None = None, timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        """`broker`: HOST:PORT or unix:PATH, several with commas between them (default: HEADRACE_BROKER, then 127.0.0.1:7233). `timeout_s` is for each call."""
        self._brokers = Brokers(broker, tls_ca=tls_ca)
        self._metadata = metadata(domain, token, actor)
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections. Calls that are under way fail."""
        await self._brokers.close()

    async def _call(self, make_call: Callable[[Stubs], Callable[..., Awaitable[T]]], request: Any, *, repeatable: bool = True, timeout_s: float | None = None) -> T:
        """One unary call, made again at the next broker while the time lasts: always when nothing was stored, and after an unknown result only if `repeatable`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (timeout_s or self._timeout_s)
        failures = 0
        while True:
            stubs = self._brokers.current()
            left = max(0.001, until - loop.time())
            try:
                return await make_call(stubs)(request, timeout=left, metadata=self._metadata)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc(rpc_error)
                refused = "failed to connect" in error.message.lower()
                again = left_nothing(error) or refused or (repeatable and isinstance(error, Unavailable))
                pause = backoff_s(failures)
                if not again or loop.time() + pause >= until:
                    if refused:
                        raise Unavailable(f"no broker reached at {', '.join(self._brokers.addresses)}; nothing was stored", reason=error.reason) from rpc_error
                    raise error from rpc_error
                self._brokers.failed(stubs)
                failures += 1
                await asyncio.sleep(pause)


class Client(Base):
    """Submits jobs and reads them. Bound to the event loop in which it is first used; use as an async context manager.

    Errors are those of `headrace_client.errors`. A cancelled call may have been carried out, as with any network.
    """

    _submitter: Submitter | None = None
    _sending: "asyncio.Task[None] | None" = None

    async def close(self) -> None:
        """Closes all connections. Submits that are under way are cancelled."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            self._sending = self._submitter = None
        await super().close()

    async def submit(
        self, type: str, data: Any = None, *, payload: bytes | None = None, content_type: str = "", instance_id: str = "", key: str = "",  # noqa: A002
        priority: int = 0, delay_s: float = 0.0, start_at: datetime | None = None, labels: Mapping[str, str] | None = None, trace_context: str = "",
        timeout_s: float | None = None,
    ) -> Submitted:  # fmt: skip
        """Stores one job; it is durable when this returns. Concurrent calls share messages.

        With a `key` the call is repeated safely: the same key and body give the same job. Without one it is repeated only when surely nothing was stored.

        Raises:
            InvalidRequest, Conflict (the key was used with another body), Busy, Unavailable, ResultUnknown.
        """
        spec = JobSpec(type, data, payload, content_type, instance_id, key, priority, delay_s, start_at, labels or {}, trace_context)
        return await self._stream().submit(encode(spec), timeout_s or self._timeout_s)

    async def submit_many(self, specs: Sequence[JobSpec]) -> list[Submitted | HeadraceError]:
        """Stores many jobs; one result for each, in order: a job that was refused gives its error, and the others are stored all the same."""
        results: list[Submitted | HeadraceError] = []
        async for result in self.submit_stream(specs):
            results.append(result)
        return results

    async def submit_stream(self, specs: Iterable[JobSpec] | AsyncIterable[JobSpec], *, batch: int = 500, in_hand: int = 4) -> AsyncIterator[Submitted | HeadraceError]:
        """Stores jobs as they come; yields one result for each, in order. At most `in_hand` batches are under way, so memory is bounded however many there are."""
        running: list[asyncio.Task[list[Submitted | HeadraceError]]] = []
        async with asyncio.TaskGroup() as tasks:
            async for chunk in _chunks(specs, batch):
                running.append(tasks.create_task(self._submit_batch(chunk)))
                if len(running) >= in_hand:
                    for result in await running.pop(0):
                        yield result
            for task in running:
                for result in await task:
                    yield result

    async def _submit_batch(self, specs: list[JobSpec]) -> list[Submitted | HeadraceError]:
        results: list[Submitted | HeadraceError] = []
        jobs: list[types_pb2.JobSpec] = []
        places: list[int] = []
        for spec in specs:
            try:
                jobs.append(encode(spec))
                places.append(len(results))
                results.append(Submitted(0))
            except InvalidRequest as error:
                results.append(error)
        if not jobs:
            return results
        request = jobs_pb2.SubmitManyRequest(jobs=jobs)
        try:
            answer = await self._call(lambda stubs: stubs.jobs.SubmitMany, request, repeatable=all(spec.key for spec in specs))
        except HeadraceError as error:
            for place in places:
                results[place] = error
            return results
        existing = set(answer.results.existing)
        for index, job_id in enumerate(answer.results.job_ids):
            results[places[index]] = Submitted(job_id, index in existing)
        for failure in answer.results.failures:
            field = {"field": failure.field.partition(".")[2]} if failure.field else {}
            results[places[failure.index]] = make(failure.reason, STATUS_NAMES[failure.code], failure.message, field)
        return results

    async def get(self, job_id: int, *, full: bool = False) -> Job:
        """One job; `full` brings its payload and result. Raises NotFound."""
        answer = await self._call(lambda stubs: stubs.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=_id(job_id), view=_view(full)))
        return models.job(answer.job)

    async def find(self, job_id: int, *, full: bool = False) -> Job | None:
        """One job, or None."""
        try:
            return await self.get(job_id, full=full)
        except NotFound:
            return None

    async def list(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, page_size: int = 50, page_token: str = "",
    ) -> JobPage:  # fmt: skip
        """A page of jobs, newest first. Filters that are not given do not narrow."""
        wanted = jobs_pb2.JobFilter(types=types, states=[_state(state) for state in states], instance_id=instance_id)  # type: ignore[misc]
        if created_from is not None:
            wanted.created_from.CopyFrom(to_timestamp(created_from))
        if created_to is not None:
            wanted.created_to.CopyFrom(to_timestamp(created_to))
        request = jobs_pb2.ListJobsRequest(filter=wanted, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.jobs.ListJobs, request)
        return JobPage([models.job(job) for job in answer.jobs], answer.next_page_token, answer.complete, to_datetime(answer.searched_until))

    async def iter_jobs(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, page_size: int = 200,
    ) -> AsyncIterator[Job]:  # fmt: skip
        """All jobs that match, newest first, page by page."""
        token = ""
        while True:
            page = await self.list(
                types=types, states=states, instance_id=instance_id, created_from=created_from, created_to=created_to, page_size=page_size, page_token=token
            )
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if not token:
                return

    async def count(self, types: Sequence[str] = ()) -> JobCounts:
        """Jobs by type and state."""
        answer = await self._call(lambda stubs: stubs.jobs.CountJobs, jobs_pb2.CountJobsRequest(types=types))
        return JobCounts(models.counts(answer.totals), {item.type: models.counts(item.counts) for item in answer.types}, to_datetime(answer.as_of))

    async def wait(self, job_id: int, *, timeout_s: float | None = None) -> Job:
        """The job once it has settled, with payload and result. Goes on over restarts of the broker.

        Raises:
            WaitTimeout: it did not settle in time. NotFound.
        """
        loop = asyncio.get_running_loop()
        until = None if timeout_s is None else loop.time() + timeout_s
        while True:
            slice_s = WAIT_SLICE_S if until is None else min(WAIT_SLICE_S, max(0.01, until - loop.time()))
            request = jobs_pb2.WaitJobRequest(job_id=_id(job_id), wait=to_duration(slice_s), view=types_pb2.JOB_VIEW_FULL)
            answer = await self._call(lambda stubs: stubs.jobs.WaitJob, request, timeout_s=slice_s + self._timeout_s)
            job = models.job(answer.job)
            if job.state.settled:
                return job
            if until is not None and loop.time() >= until:
                raise WaitTimeout(f"job {job_id} is still {job.state} after {timeout_s:g} s")

    async def watch(self, *, job_ids: Sequence[int] = (), types: Sequence[str] = (), instance_id: str = "") -> AsyncIterator[JobChange]:
        """Durable changes of jobs from now on: of these ids (their present state first), or of these types and this instance. Ends only when the caller stops.

        After a broken connection the watch goes on with `gap` set, since changes may have been missed.
        """
        request = jobs_pb2.WatchJobsRequest(job_ids=job_ids, types=types, instance_id=instance_id)
        failures, gap = 0, False
        while True:
            stubs = self._brokers.current()
            call = stubs.jobs.WatchJobs(request, metadata=self._metadata)
            try:
                async for message in call:
                    failures = 0
                    message.gap = message.gap or gap
                    gap = False
                    yield models.change(message)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc(rpc_error)
                if not isinstance(error, Unavailable):
                    raise error from rpc_error
                self._brokers.failed(stubs)
            finally:
                call.cancel()
            gap = True
            failures += 1
            await asyncio.sleep(backoff_s(failures))

    async def attempts(self, job_id: int) -> "builtins_list[Attempt]":
        """All executions of a job, oldest first."""
        answer = await self._call(lambda stubs: stubs.jobs.ListAttempts, jobs_pb2.ListAttemptsRequest(job_id=_id(job_id)))
        return [models.attempt(item) for item in answer.attempts]

    async def events(self, job_id: int) -> "builtins_list[Event]":
        """A job's timeline, oldest first."""
        answer = await self._call(lambda stubs: stubs.jobs.ListEvents, jobs_pb2.ListEventsRequest(job_id=_id(job_id)))
        return [models.event(item) for item in answer.events]

    async def logs(self, job_id: int, *, lease_epoch: int = 0, min_level: str = "debug") -> AsyncIterator[LogLine]:
        """What handlers logged for a job, oldest first; of one attempt when `lease_epoch` is given."""
        token = ""
        while True:
            request = jobs_pb2.ListLogsRequest(job_id=_id(job_id), lease_epoch=lease_epoch, min_level=LEVEL_NUMBERS[min_level], page_token=token)  # type: ignore[arg-type]
            answer = await self._call(lambda stubs: stubs.jobs.ListLogs, request)
            for line in answer.lines:
                yield models.log_line(line)
            token = answer.next_page_token
            if not token:
                return

    def _stream(self) -> Submitter:
        self._brokers.current()  # raises in a forked process
        if self._submitter is None:
            loop = asyncio.get_running_loop()
            self._submitter = Submitter(self._brokers, self._metadata, loop.time)
            self._sending = loop.create_task(self._submitter.run())
        return self._submitter


builtins_list = list


def encode(spec: JobSpec) -> types_pb2.JobSpec:
    """The message of a job. Raises InvalidRequest for what cannot be sent at all."""
    if spec.payload is not None and spec.data is not None:
        raise InvalidRequest("give data or payload, not both", details={"field": "payload"})
    payload = spec.payload
    if payload is None:
        payload = encode_json(spec.data)
    try:
        message = types_pb2.JobSpec(
            type=spec.type, payload=payload, content_type=spec.content_type, instance_id=spec.instance_id, idempotency_key=spec.key, priority=spec.priority,
            labels=dict(spec.labels), trace_context=spec.trace_context,
        )  # fmt: skip
        if spec.delay_s:
            message.delay.CopyFrom(to_duration(spec.delay_s))
        if spec.start_at is not None:
            if spec.start_at.tzinfo is None:
                raise InvalidRequest("start_at must say its time zone", details={"field": "start_at"})
            message.start_at.CopyFrom(to_timestamp(spec.start_at))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"the job cannot be sent: {error}") from error
    return message


def encode_json(data: Any) -> bytes:
    """JSON of plain values and dataclasses. Raises InvalidRequest for anything else."""
    try:
        return json.dumps(asdict(data) if is_dataclass(data) and not isinstance(data, type) else data, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"data is not JSON: {error}", details={"field": "data"}) from error


async def _chunks(specs: Iterable[JobSpec] | AsyncIterable[JobSpec], size: int) -> AsyncIterator[list[JobSpec]]:
    """Batches of at most `size` jobs and about 2 MiB."""
    chunk: list[JobSpec] = []
    used = 0
    async for spec in _aiter(specs):
        chunk.append(spec)
        used += len(spec.payload or b"") or 200
        if len(chunk) >= size or used > 2 * 1024 * 1024:
            yield chunk
            chunk, used = [], 0
    if chunk:
        yield chunk


async def _aiter(specs: Iterable[JobSpec] | AsyncIterable[JobSpec]) -> AsyncIterator[JobSpec]:
    if isinstance(specs, AsyncIterable):
        async for spec in specs:
            yield spec
    else:
        for spec in specs:
            yield spec


def _id(job_id: int) -> int:
    if not isinstance(job_id, int) or not 0 < job_id < 1 << 63:
        raise InvalidRequest(f"a job id is a positive number, found {job_id!r}", details={"field": "job_id"})
    return job_id


def _view(full: bool) -> Any:
    return types_pb2.JOB_VIEW_FULL if full else types_pb2.JOB_VIEW_BASIC


def _state(state: State | str) -> int:
    number = STATE_NUMBERS.get(str(state))
    if number is None:
        raise InvalidRequest(f"a state is one of {', '.join(STATE_NUMBERS)}, found {state!r}", details={"field": "states"})
    return number
