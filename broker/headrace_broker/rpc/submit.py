"""The Submit calls: the way in, and half of the hot path."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from headrace_proto.v1 import jobs_pb2, types_pb2

from headrace_broker.model.errors import BrokerError, Busy, InvalidField
from headrace_broker.rpc import convert
from headrace_broker.rpc.errors import reason_of, status_code
from headrace_broker.shards.intents import NewJob
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership

CHUNK = 1000  # jobs of one call that go into one flush
STREAM_WINDOW = 32  # requests of a stream that are in hand; a client that sends more waits
BUSY_WAITS_S = 0.02


class SubmitCalls:
    """Mixed into the Jobs service."""

    _ownership: Ownership
    _payload_limit: int

    async def Submit(self, request: jobs_pb2.SubmitRequest, context: Any) -> jobs_pb2.SubmitResponse:  # noqa: N802
        if not request.HasField("job"):
            raise InvalidField("job", "must be set")
        owner = self._ownership.owner
        domain = convert.domain_of(context)
        job, size = await self._read(owner, domain, request.job)
        if request.job.idempotency_key:
            job_id, existing = await self._submit_keyed(owner, request.job, job, size)
            return jobs_pb2.SubmitResponse(job_id=job_id, existing=existing)
        [job_id] = await owner.submit([job], size)
        return jobs_pb2.SubmitResponse(job_id=job_id)

    async def SubmitMany(self, request: jobs_pb2.SubmitManyRequest, context: Any) -> jobs_pb2.SubmitManyResponse:  # noqa: N802
        results = await self._submit_batch(convert.domain_of(context), request.jobs, wait=False)
        return jobs_pb2.SubmitManyResponse(results=results)

    async def SubmitStream(self, requests: AsyncIterator[jobs_pb2.SubmitStreamRequest], context: Any) -> AsyncIterator[jobs_pb2.SubmitStreamResponse]:  # noqa: N802
        """A reader task takes requests while there is room for them; answers go out in the order in which they are ready.

        Whatever happens to one request is said in its answer, job by job: an error of the whole stream would leave open what became of the others.
        """
        domain = convert.domain_of(context)
        answers: asyncio.Queue[jobs_pb2.SubmitStreamResponse | Exception | None] = asyncio.Queue(STREAM_WINDOW)
        room = asyncio.Semaphore(STREAM_WINDOW)
        reader = asyncio.ensure_future(self._read_stream(domain, requests, answers, room))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Exception):
                    raise answer
                room.release()
                yield answer
        finally:
            reader.cancel()

    async def _read_stream(
        self, domain: str, requests: AsyncIterator[jobs_pb2.SubmitStreamRequest],
        answers: "asyncio.Queue[jobs_pb2.SubmitStreamResponse | Exception | None]", room: asyncio.Semaphore,
    ) -> None:  # fmt: skip
        async def serve(request: jobs_pb2.SubmitStreamRequest) -> None:
            try:
                results = await self._submit_batch(domain, request.jobs, wait=True)
            except InvalidField as error:  # a batch of the wrong size: not something that a job's answer can say
                await answers.put(error)
                return
            except BrokerError as error:
                results = jobs_pb2.SubmitResults(job_ids=[0] * len(request.jobs))
                for index in range(len(request.jobs)):
                    _refuse(results, index, error)
            except Exception as error:  # a defect: the guard around the call logs it
                await answers.put(error)
                return
            await answers.put(jobs_pb2.SubmitStreamResponse(request_no=request.request_no, results=results))

        async with asyncio.TaskGroup() as tasks:
            async for request in requests:
                await room.acquire()
                tasks.create_task(serve(request))
        await answers.put(None)

    async def _submit_batch(self, domain: str, specs: Sequence[types_pb2.JobSpec], *, wait: bool) -> jobs_pb2.SubmitResults:
        """Stores each job that can be stored. `wait`: a busy broker makes the caller wait instead of refusing the rest."""
        if not 1 <= len(specs) <= convert.MAX_BATCH:
            raise InvalidField("jobs", f"1 to {convert.MAX_BATCH} jobs, found {len(specs)}")
        owner = self._ownership.owner
        results = jobs_pb2.SubmitResults(job_ids=[0] * len(specs))
        plain: list[NewJob] = []
        places: list[int] = []
        size = 0
        keyed: list[tuple[int, asyncio.Future[tuple[int, bool]]]] = []
        for index, spec in enumerate(specs):
            try:
                job, job_size = await self._read(owner, domain, spec)
                if spec.idempotency_key:
                    keyed.append((index, await self._queue_keyed(owner, spec, job, job_size, wait=wait)))
                    continue
            except BrokerError as error:
                _refuse(results, index, error)
                continue
            plain.append(job)
            places.append(index)
            size += job_size
        queued = []
        for start in range(0, len(plain), CHUNK):
            chunk = plain[start : start + CHUNK]
            try:
                queued.append((start, await self._queue(owner, chunk, size * len(chunk) // len(plain), wait=wait)))
            except BrokerError as error:
                for index in places[start : start + CHUNK]:
                    _refuse(results, index, error)
        for start, future in queued:
            try:
                for offset, job_id in enumerate(await future, start):
                    results.job_ids[places[offset]] = job_id
            except BrokerError as error:
                for index in places[start : start + CHUNK]:
                    _refuse(results, index, error)
        for index, keyed_future in keyed:
            try:
                results.job_ids[index], existing = await keyed_future
                if existing:
                    results.existing.append(index)
            except BrokerError as error:
                _refuse(results, index, error)
        return results

    async def _read(self, owner: Owner, domain: str, spec: types_pb2.JobSpec) -> tuple[NewJob, int]:
        name = spec.type
        entry = owner.types.find(domain, name)
        if entry is None:
            entry = await owner.types.ensure(domain, convert.type_name("type", name))
        body, size = convert.body(spec, self._payload_limit)
        return (entry, convert.priority(spec), convert.available_at_s(spec, owner.clock.now_s()), body), size

    async def _submit_keyed(self, owner: Owner, spec: types_pb2.JobSpec, job: NewJob, size: int) -> tuple[int, bool]:
        return await (await self._queue_keyed(owner, spec, job, size, wait=False))

    async def _queue_keyed(self, owner: Owner, spec: types_pb2.JobSpec, job: NewJob, size: int, *, wait: bool) -> "asyncio.Future[tuple[int, bool]]":
        key = convert.text("idempotency_key", spec.idempotency_key)
        while True:
            try:
                return owner.submit_keyed(job, job[0].domain_id, key, convert.body_hash(spec), size)
            except Busy:
                if not wait:
                    raise
                await asyncio.sleep(BUSY_WAITS_S)

    async def _queue(self, owner: Owner, jobs: list[NewJob], size: int, *, wait: bool) -> "asyncio.Future[list[int]]":
        while True:
            try:
                return owner.submit(jobs, size)
            except Busy:
                if not wait:
                    raise
                await asyncio.sleep(BUSY_WAITS_S)


def _refuse(results: jobs_pb2.SubmitResults, index: int, error: BrokerError) -> None:
    reason = reason_of(error)
    field = getattr(error, "field", "")
    results.failures.append(
        jobs_pb2.SubmitFailure(index=index, code=status_code(reason).value[0], reason=reason, message=str(error), field=f"jobs[{index}].{field}" if field else "")
    )
