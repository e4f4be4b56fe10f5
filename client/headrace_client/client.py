"""The asyncio client: submit jobs, read them, wait for them."""

import asyncio
import functools
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import grpc
from headrace_proto.claim import is_reference
from headrace_proto.v1 import jobs_pb2, lifecycle_pb2, logs_pb2, types_pb2
from headrace_proto.wire import LEVEL_NUMBERS, Reason, to_datetime, to_duration

from headrace_client import decode, tracing
from headrace_client.channel import Stubs, backoff_s
from headrace_client.claims import ClaimCheck
from headrace_client.codecs import aside, decoded_aside
from headrace_client.credentials import Pairs
from headrace_client.encode import (
    Spec,
    batches,
    build,
    check_call_timeout,
    check_id,
    check_timeout,
    encode_fields,
    encode_payload,
    filter_message,
    kept,
    order_number,
    payload_of,
    put,
)
from headrace_client.errors import Busy, HeadraceError, InvalidRequest, NotFound, QueueFull, Unavailable, WaitTimeout, from_rpc, never_sent
from headrace_client.graph import GraphCalls
from headrace_client.lifecycle import PayloadVersion, Run, payload_version, run_of
from headrace_client.models import Attempt, Event, Explanation, Job, JobChange, JobCounts, JobFilter, JobPage, JobSpec, LogLine, Order, State, Submitted
from headrace_client.retry import pause_s
from headrace_client.submitter import Submitter, failure_error

R = TypeVar("R", Job, Attempt, Event, Run)
WAIT_SLICE_S = 20.0
SOFT = 0.8  # pressure from which on a stream of submits slows down
KEEPING = 8  # payloads of one stream of jobs that are on their way to the store of claims at a time
JSON_TYPE = "application/json"
SLOWEST_S = 1.0  # pause between its batches when a limit is reached
_VIEWS = {False: types_pb2.JOB_VIEW_BASIC, True: types_pb2.JOB_VIEW_FULL}


class Client(GraphCalls):
    """Submits jobs, reads and changes them. Bound to the event loop in which it is first used; use as an async context manager.

    Errors are those of `headrace_client.errors`. A cancelled call may have been carried out, as with any network.
    """

    _submitter: Submitter | None = None
    _sending: "asyncio.Task[None] | None" = None
    _pressure = 0.0  # that the newest answer to many jobs told

    async def close(self) -> None:
        """Closes all connections for good. Submits that are under way fail."""
        if self._sending is not None and not self._brokers.loop_is_over:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            if self._submitter is not None:
                self._submitter.close()  # its task may not even have begun
            self._sending = self._submitter = None
        await super().close()

    async def submit(
        self, type: str, data: Any = None, *, payload: bytes | None = None, content_type: str = "", instance_id: str = "", key: str = "",  # noqa: A002
        priority: int = 0, delay_s: float = 0.0, start_at: datetime | None = None, labels: Mapping[str, str] | None = None, trace_context: str = "",
        unique_key: str = "", on_conflict: str = "", depends_on: Sequence[int] = (), parent_id: int = 0, batch_id: int = 0, limit_key: str = "",
        fairness_key: str = "", required_labels: Mapping[str, str] | None = None, delete_after_s: float | None = None, timeout_s: float | None = None,
        wait_for_room: bool = False,
    ) -> Submitted:  # fmt: skip
        """Stores one job; it is durable when this returns. Concurrent calls share messages.

        `delete_after_s`: it is deleted this long after it has settled, whatever its type says.

        With a `key` the call is repeated safely: the same key and body give the same job. Without one it is repeated only when surely nothing was stored.
        At most one waiting or processing job has a `unique_key`: when another one has it, `on_conflict` "return" (the default) gives that job, as existing, "reject"
        raises UniqueKeyTaken, and "replace" gives that job the payload, priority, labels, start time and deletion of this call, if it waits. A job that `depends_on`
        others is granted when all of them have completed. `wait_for_room`: where a depth limit is reached, or the broker
        has too much to do, try again after its delay, as long as the time lasts.

        `batch_id`: it becomes a member of this batch. `parent_id`: the job whose handler submits it; `JobContext.submit` sets it.

        Raises:
            InvalidRequest, NotFound (a job that it depends on), Conflict (the key was used with another body), UniqueKeyTaken, QueueFull (a depth limit is reached),
            Busy, Unavailable, ResultUnknown, ClaimUnavailable (a large payload cannot be kept outside now; nothing was submitted).

        Cancellation: while a large payload is on its way to the store, nothing is submitted, and what was kept is left there.
        """
        timeout_s = None if timeout_s is None else check_call_timeout(timeout_s)
        span = tracing.Submitting(type) if not trace_context and tracing.enabled() else None
        trace_context = trace_context if span is None else span.trace_context
        payload = encode_payload(data, payload)
        make = functools.partial(
            encode_fields, type, None, payload, content_type, instance_id, key, priority, delay_s, start_at, labels or {}, trace_context, unique_key=unique_key,
            on_conflict=on_conflict, depends_on=depends_on, parent_id=parent_id, batch_id=batch_id, codecs=self._codecs, limit_key=limit_key,
            fairness_key=fairness_key, required_labels=required_labels, delete_after_s=delete_after_s,
        )  # fmt: skip
        spec = make() if self._codecs is None else await aside(payload, make)
        if span is None:
            return await self._submit(spec, timeout_s, wait_for_room=wait_for_room)
        with span:
            submitted = await self._submit(spec, timeout_s, wait_for_room=wait_for_room)
            span.stored(submitted.job_id, existing=submitted.existing)
            return submitted

    async def _submit(self, spec: Spec, timeout_s: float | None, *, wait_for_room: bool) -> Submitted:
        if self._claims is not None:
            spec = await kept(spec, self._claims)
        if not wait_for_room:
            return await self._stream().submit(spec, timeout_s or self._timeout_s)
        until = asyncio.get_running_loop().time() + (timeout_s or self._timeout_s)
        while True:
            left = until - asyncio.get_running_loop().time()
            try:
                return await self._stream().submit(spec, max(0.05, left))
            except (QueueFull, Busy) as error:
                pause = pause_s(error.retry_after_s)
                if left <= pause:
                    raise
                await asyncio.sleep(pause)

    async def submit_many(self, specs: Sequence[JobSpec], *, wait_for_room: bool = False) -> list[Submitted | HeadraceError]:
        """Stores many jobs; one result for each, in order: a job that was refused gives its error, and the others are stored all the same."""
        results: list[Submitted | HeadraceError] = []
        async for result in self.submit_stream(specs, wait_for_room=wait_for_room):
            results.append(result)
        return results

    async def submit_stream(
        self, specs: Iterable[JobSpec] | AsyncIterable[JobSpec], *, batch: int = 500, in_hand: int = 4, wait_for_room: bool = False
    ) -> AsyncGenerator[Submitted | HeadraceError, None]:
        """Stores jobs as they come; yields one result for each, in order. At most `in_hand` batches are under way, so memory is bounded however many there are.

        From 80 % of a depth limit on it slows down, the more the fuller. `wait_for_room`: jobs that are refused then, or because the broker has too much to do,
        are sent again until they are stored; else they give QueueFull or Busy.

        Stopping early cancels the batches under way; they may have been stored.
        """
        loop, keeping = asyncio.get_running_loop(), asyncio.Semaphore(KEEPING)
        running: deque[asyncio.Task[list[Submitted | HeadraceError]]] = deque()
        try:
            async for specs_of_one in batches(specs, batch, self._codecs):
                running.append(loop.create_task(self._submit_batch(specs_of_one, keeping, wait_for_room=wait_for_room)))
                if self._pressure:
                    await asyncio.sleep(min(1.0, max(0.0, self._pressure - SOFT) / (1 - SOFT)) * SLOWEST_S)
                if len(running) >= in_hand:
                    for result in await running[0]:
                        yield result
                    running.popleft()
            while running:
                for result in await running[0]:
                    yield result
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _submit_batch(
        self, encoded: list[Spec | InvalidRequest], keeping: asyncio.Semaphore, *, wait_for_room: bool
    ) -> list[Submitted | HeadraceError]:  # fmt: skip
        specs: Sequence[Spec | HeadraceError] = encoded if self._claims is None else await self._keep_batch(encoded, self._claims, keeping)
        results = await self._try_batch(specs)
        while wait_for_room and (full := [index for index, result in enumerate(results) if isinstance(result, QueueFull | Busy)]):
            await asyncio.sleep(pause_s(max(result.retry_after_s for result in results if isinstance(result, QueueFull | Busy))))
            for index, result in zip(full, await self._try_batch([specs[index] for index in full]), strict=True):
                results[index] = result
        return results

    async def _keep_batch(self, specs: Sequence[Spec | InvalidRequest], claims: ClaimCheck, keeping: asyncio.Semaphore) -> list[Spec | HeadraceError]:
        """The jobs as they travel, large payloads kept outside, a few at a time over all batches; a job whose payload cannot be kept is its error."""

        async def keep(spec: Spec) -> Spec | HeadraceError:
            try:
                async with keeping:
                    return await kept(spec, claims)
            except HeadraceError as error:
                return error

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(keep(spec)) if not isinstance(spec, InvalidRequest) and claims.takes(payload_of(spec)) else spec for spec in specs]
        return [item.result() if isinstance(item, asyncio.Task) else item for item in running]

    async def _try_batch(self, specs: Sequence[Spec | HeadraceError]) -> list[Submitted | HeadraceError]:
        results: list[Submitted | HeadraceError] = [spec if isinstance(spec, HeadraceError) else Submitted(0) for spec in specs]
        places = [index for index, spec in enumerate(specs) if not isinstance(spec, HeadraceError)]
        jobs = [spec for spec in specs if not isinstance(spec, HeadraceError)]
        if not jobs:
            return results
        request = jobs_pb2.SubmitStreamRequest()
        places = [places[index] for index in put(request, jobs)]
        try:
            answer = await self._stream().submit_many(request, self._timeout_s)
        except HeadraceError as error:
            for place in places:
                results[place] = error
            return results
        existing, replaced, self._pressure = set(answer.existing), set(answer.replaced), answer.pressure
        for index, (place, job_id) in enumerate(zip(places, answer.job_ids, strict=True)):
            results[place] = Submitted(job_id, index in existing, answer.pressure, index in replaced)
        for failure in answer.failures:
            results[places[failure.index]] = failure_error(failure)
        return results

    async def get(self, job_id: int, *, full: bool = False) -> Job:
        """One job; `full` brings its payload and result. Raises NotFound, CodecError when the client's codecs cannot read it, and ClaimError when its claims cannot."""
        answer = await self._call(lambda stubs: stubs.jobs.GetJob, build(jobs_pb2.GetJobRequest, job_id=check_id(job_id), view=_VIEWS[full]))
        return await self._read(decode.job(answer.job))

    async def find(self, job_id: int, *, full: bool = False) -> Job | None:
        """One job, or None."""
        try:
            return await self.get(job_id, full=full)
        except NotFound:
            return None

    async def list(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, where: JobFilter | None = None, order: Order | str = Order.NEWEST, page_size: int = 50, page_token: str = "",
    ) -> JobPage:  # fmt: skip
        """A page of jobs, newest first unless `order` says otherwise. Filters that are not given do not narrow; `where` has all there are, instead of the others.

        Each page is answered within about 2 s: with what was found until then, how far the search came, and the token to go on.
        """
        wanted = where if where is not None else JobFilter(types, states, instance_id, created_from, created_to)
        number: Any = order_number(order)
        request = build(jobs_pb2.ListJobsRequest, filter=filter_message(wanted), page_size=page_size, page_token=page_token, order=number)
        answer = await self._call(lambda stubs: stubs.jobs.ListJobs, request)
        return JobPage([await self._read(decode.job(job)) for job in answer.jobs], answer.next_page_token, answer.complete, to_datetime(answer.searched_until))

    async def iter_jobs(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, where: JobFilter | None = None, order: Order | str = Order.NEWEST, page_size: int = 200,
    ) -> AsyncGenerator[Job, None]:  # fmt: skip
        """All jobs that match, page by page; see `list`."""
        wanted = where if where is not None else JobFilter(types, states, instance_id, created_from, created_to)
        token = ""
        while True:
            page = await self.list(where=wanted, order=order, page_size=page_size, page_token=token)
            for job in page.jobs:
                yield job
            token = page.next_page_token
            if not token:
                return

    async def count(self, types: Sequence[str] = (), *, where: JobFilter | None = None, whole: bool = True) -> JobCounts:
        """Jobs by type and state: exact and quick by `types`, and by a filter of types and states.

        Jobs of other filters are looked for, about 1.5 s a call: until all are counted, or once when not `whole`; then `complete` says whether there may be more.
        """
        wanted = filter_message(where if where is not None else JobFilter(types))
        totals: Counter[State] = Counter()
        found: dict[str, Counter[State]] = {}
        token = ""
        while True:
            answer = await self._call(lambda stubs: stubs.jobs.CountJobs, build(jobs_pb2.CountJobsRequest, filter=wanted, page_token=token))
            totals.update(decode.counts(answer.totals))
            for item in answer.types:
                found.setdefault(item.type, Counter()).update(decode.counts(item.counts))
            token = answer.next_page_token
            if not token or not whole:
                by_type = {name: dict(by_state) for name, by_state in sorted(found.items())}
                return JobCounts(dict(totals), by_type, to_datetime(answer.as_of), answer.complete, to_datetime(answer.searched_until))

    async def wait(self, job_id: int, *, timeout_s: float | None = None) -> Job:
        """The job once it has settled, with payload and result. Goes on over restarts of the broker.

        Raises:
            WaitTimeout: it did not settle in time. NotFound. CodecError: the client's codecs cannot read it. ClaimError: its claims cannot; ClaimUnavailable: not now.
        """
        loop, timeout_s = asyncio.get_running_loop(), check_timeout("timeout_s", timeout_s)
        until = None if timeout_s is None else loop.time() + timeout_s
        while True:
            slice_s = WAIT_SLICE_S if until is None else min(WAIT_SLICE_S, max(0.01, until - loop.time()))
            request = build(jobs_pb2.WaitJobRequest, job_id=check_id(job_id), wait=to_duration(slice_s), view=types_pb2.JOB_VIEW_FULL)
            answer = await self._call(lambda stubs: stubs.jobs.WaitJob, request, timeout_s=slice_s + self._timeout_s)
            job = decode.job(answer.job)
            if job.state.settled or (job.state is State.UNKNOWN and job.settled_at is not None):
                return await self._read(job)
            if until is not None and loop.time() >= until:
                raise WaitTimeout(f"job {job_id} is still {job.state} after {timeout_s:g} s")

    async def explain(self, job_id: int) -> Explanation:
        """Why the job is where it is: what it waits for and how many go first, who runs it, or how it ended."""
        return decode.explanation(await self._call(lambda stubs: stubs.jobs.ExplainJob, build(jobs_pb2.ExplainJobRequest, job_id=check_id(job_id))))

    async def watch(self, *, job_ids: Sequence[int] = (), types: Sequence[str] = (), instance_id: str = "") -> AsyncGenerator[JobChange, None]:
        """Durable changes of jobs from now on: of these ids (their present states first, None: it is not there), or of these types and this instance. Ends only when
        the caller stops.

        After a broken connection the watch goes on with `gap` set, since changes may have been missed. Raises Unavailable when no broker is reached at first, within
        `timeout_s` of the client.
        """
        request = build(jobs_pb2.WatchJobsRequest, job_ids=job_ids, types=types, instance_id=instance_id)
        gap = False
        async with aclosing(self._follow(lambda stubs, carried: stubs.jobs.WatchJobs(request, metadata=carried))) as messages:
            async for message in messages:
                if message is None:
                    gap = True
                    continue
                message.gap = message.gap or gap
                gap = False
                yield decode.change(message)

    async def _follow(self, begin: Callable[[Stubs, Pairs], Any]) -> AsyncGenerator[Any, None]:
        """The messages of a stream that is begun again whenever it has ended, and None each time. Raises what would end each of them; and, as `watch`, Unavailable."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_s
        failures, reached = 0, False
        while True:
            carried = await self._carried()
            stubs = self._brokers.current()
            call = begin(stubs, carried)
            try:
                async for message in call:
                    failures = 0
                    yield message
                reached = True
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc(rpc_error)
                reached = reached or not never_sent(rpc_error)
                if error.reason == Reason.TOKEN_ENDED:  # there may be a new one
                    pass
                elif not isinstance(error, Unavailable):
                    raise error from rpc_error
                elif not reached and loop.time() >= until:
                    raise self._unreached(rpc_error) from rpc_error
                else:
                    self._brokers.failed(stubs)
            finally:
                call.cancel()
            yield None
            failures += 1
            await asyncio.sleep(backoff_s(self._brokers.rounds(failures)))

    async def attempts(self, job_id: int) -> "builtins_list[Attempt]":
        """All executions of a job, oldest first."""
        answer = await self._call(lambda stubs: stubs.jobs.ListAttempts, build(jobs_pb2.ListAttemptsRequest, job_id=check_id(job_id)))
        return [self._read_error(decode.attempt(item)) for item in answer.attempts]

    async def events(self, job_id: int) -> "builtins_list[Event]":
        """A job's timeline, oldest first."""
        answer = await self._call(lambda stubs: stubs.jobs.ListEvents, build(jobs_pb2.ListEventsRequest, job_id=check_id(job_id)))
        return [self._read_error(decode.event(item)) for item in answer.events]

    async def runs(self, job_id: int, *, full: bool = False, before_run: int = 0, limit: int = 20) -> "builtins_list[Run]":
        """The newest runs of a job (below one), oldest first; `full` brings the payload and the result of each, and fewer runs where these are large."""
        request = build(lifecycle_pb2.ListRunsRequest, job_id=check_id(job_id), view=_VIEWS[full], before_run=before_run, page_size=limit)
        answer = await self._call(lambda stubs: stubs.lifecycle.ListRuns, request)
        return [await self._read_run(run_of(item), answer.type) for item in answer.runs]

    async def payloads(self, job_id: int, *, before_version: int = 0, limit: int = 50) -> "builtins_list[PayloadVersion]":
        """The versions of a job's payload (below one), newest first, without the payloads."""
        request = build(lifecycle_pb2.ListPayloadsRequest, job_id=check_id(job_id), before_version=before_version, page_size=limit)
        return [payload_version(item) for item in (await self._call(lambda stubs: stubs.lifecycle.ListPayloads, request)).versions]

    async def payload(self, job_id: int, version: int) -> PayloadVersion:
        """One version of a job's payload. Raises NotFound, InvalidRequest for a version that it never had, and CodecError when the client's codecs cannot read it."""
        answer = await self._call(lambda stubs: stubs.lifecycle.GetPayload, build(lifecycle_pb2.GetPayloadRequest, job_id=check_id(job_id), version=version))
        payload, content_type = await self._open(answer.payload, answer.type, "payload")
        found = payload_version(answer.version, payload)
        return found if content_type is None else replace(found, content_type=content_type)

    async def logs(self, job_id: int, *, lease_epoch: int = 0, min_level: str = "debug") -> AsyncGenerator[LogLine, None]:
        """What handlers logged for a job, oldest first; of one attempt when `lease_epoch` is given."""
        token, level = "", _level(min_level)
        while True:
            request = build(jobs_pb2.ListLogsRequest, job_id=check_id(job_id), lease_epoch=lease_epoch, min_level=level, page_token=token)  # type: ignore[arg-type]
            answer = await self._call(lambda stubs: stubs.jobs.ListLogs, request)
            for line in answer.lines:
                yield decode.log_line(line)
            token = answer.next_page_token
            if not token:
                return

    async def tail_logs(self, job_id: int, *, lease_epoch: int = 0, min_level: str = "debug") -> AsyncGenerator[LogLine, None]:
        """What handlers logged for a job, then what they log, as it is stored; none comes twice, and none is missed but of an attempt that others have followed by then.

        Ends when the job has settled, or the attempt with this `lease_epoch` has ended. Goes on over broken connections and restarts of the broker; a slow reader holds
        nothing up. Raises NotFound; Unavailable when no broker is reached at first, within `timeout_s` of the client.
        """
        level = _level(min_level)
        after = (0, 0)

        def begin(stubs: Stubs, carried: Pairs) -> Any:
            request = build(
                logs_pb2.TailLogsRequest, job_id=check_id(job_id), lease_epoch=lease_epoch, min_level=level, after_lease_epoch=after[0], after_line_no=after[1],  # type: ignore[arg-type]
            )  # fmt: skip
            return stubs.logs.TailLogs(request, metadata=carried)

        async with aclosing(self._follow(begin)) as messages:
            async for message in messages:
                if message is None:
                    continue
                for line in message.lines:
                    after = (line.lease_epoch, line.line_no)
                    yield decode.log_line(line)
                if message.ended:
                    return

    async def _read(self, job: Job) -> Job:
        """What claims and codecs say that the job holds. Raises ClaimError and CodecError for what they cannot read."""
        if self._codecs is None and self._claims is None:
            return job
        payload, content_type = await self._open(job.payload, job.type, "payload")
        result, _ = await self._open(job.result, job.type, "result")
        return self._read_error(replace(job, payload=payload, result=result, content_type=job.content_type if content_type is None else content_type))

    async def _read_run(self, run: Run, type_: str) -> Run:
        """The same for a run of a job of a type."""
        if self._codecs is None and self._claims is None:
            return run
        payload, _ = await self._open(run.payload, type_, "payload")
        result, _ = await self._open(run.result, type_, "result")
        return self._read_error(replace(run, payload=payload, result=result))

    async def _open(self, data: bytes, type_: str, part: str) -> tuple[bytes, str | None]:
        """(The bytes as they were meant, their content type where they were kept outside). Without claims a reference stays what it is."""
        content_type = None
        if is_reference(data):
            if self._claims is None:
                return data, None
            data, content_type = await self._claims.fetch(data, part)
        if self._codecs is not None and data:
            data = await decoded_aside(self._codecs, data, type_, part)
        return data, None if content_type is None else content_type or JSON_TYPE

    def _read_error(self, item: R) -> R:
        """The same for the error of a job, an attempt or an event."""
        if self._codecs is None or item.error is None:
            return item
        return replace(item, error=decode.read_error(item.error, self._codecs))

    def _stream(self) -> Submitter:
        self._brokers.current()  # raises when it cannot be used here: closed, forked, another event loop
        if self._submitter is None or (self._sending is not None and self._sending.done()):
            self._submitter = Submitter(self._brokers, self._call_metadata, self._budget)
            self._sending = asyncio.get_running_loop().create_task(self._submitter.run())
        return self._submitter


def _level(name: str) -> int:
    """The number of a level on the wire."""
    number = LEVEL_NUMBERS.get(str(name))
    if number is None:
        raise InvalidRequest(f"a level is one of {', '.join(LEVEL_NUMBERS)}, found {name!r}", details={"field": "min_level"})
    return number


builtins_list = list
