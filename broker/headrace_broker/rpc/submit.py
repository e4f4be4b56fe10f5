"""The Submit calls: the way in, and half of the hot path."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from headrace_proto.v1 import jobs_pb2, types_pb2
from headrace_proto.wire import to_duration

from headrace_broker.actions.reach import lacking, require, types_for
from headrace_broker.actions.ties import find_missing
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, Busy, InvalidField, JobNotFound, PayloadRefused, QueueFull, TypeDenied
from headrace_broker.model.permissions import Act, Types
from headrace_broker.rpc import convert
from headrace_broker.rpc.admission import Lobby, Patience, Reading, UnaryCalls
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.errors import reason_of, status_code
from headrace_broker.rpc.replacing import Stored, Wish, in_turn
from headrace_broker.shards.intents import NewJob, PlainJobs
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.schemas import Schema
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.heads import Heads

CHUNK = 1000  # jobs of one call that go into one flush
STREAM_WINDOW = 32  # requests of a stream that are in hand; a client that sends more waits
KEYS_AT_ONCE = 64  # unique keys of a request whose holders are replaced at a time
LET_OTHERS_S = 0.005  # of payloads held against schemas, or of jobs that name others, in a row

Batched = jobs_pb2.SubmitManyRequest | jobs_pb2.SubmitStreamRequest


class SubmitCalls:
    """Mixed into the Jobs service."""

    _ownership: Ownership
    _payload_limit: int
    _lobby: Lobby
    _unary: UnaryCalls
    _let_others_at = 0.0

    async def Submit(self, request: jobs_pb2.SubmitRequest, context: Any) -> jobs_pb2.SubmitResponse:  # noqa: N802
        if not request.HasField("job"):
            raise InvalidField("job", "must be set")
        return await self.submit_one(convert.domain_of(context), request.job, context)

    async def submit_one(self, domain: str, spec: types_pb2.JobSpec, context: Any, *, callback: bool = False) -> jobs_pb2.SubmitResponse:
        """Stores one job, if there are not too many calls under way. `callback`: of a new batch, whose members it waits for."""
        try:
            with self._unary:
                return await self._submit_one(domain, spec, context, callback=callback)
        except (Busy, QueueFull) as error:
            _count_refused(self._ownership.owner, error, 1)
            raise

    async def _submit_one(self, domain: str, spec: types_pb2.JobSpec, context: Any, *, callback: bool) -> jobs_pb2.SubmitResponse:
        owner = self._ownership.owner
        replacer = caller_of(context) if convert.replaces(spec) else None  # first: on whose behalf it is may narrow what it may do
        require(Act.SUBMIT, spec.type, "type")
        job, size = await self._read(owner, domain, spec, callback=callback)
        await self._find_tied(owner, self._ownership.heads, domain, [spec])
        if replacer is not None:
            [stored] = await in_turn(self, owner, self._ownership.heads, replacer, [Wish(0, spec, job, size)], Patience())
            if isinstance(stored, BrokerError):
                raise stored
            pressure = owner.depth.pressure([job[0]])
            return jobs_pb2.SubmitResponse(job_id=stored.job_id, existing=stored.existing, replaced=stored.replaced, pressure=pressure)
        if callback or convert.is_keyed(spec):
            job_id, existing = await (await self._queue_keyed(owner, spec, job, size, Patience(), callback=callback))
            return jobs_pb2.SubmitResponse(job_id=job_id, existing=existing, pressure=owner.depth.pressure([job[0]]))
        [job_id] = await owner.submit([job], size)
        return jobs_pb2.SubmitResponse(job_id=job_id, pressure=owner.depth.pressure([job[0]]))

    async def SubmitMany(self, request: jobs_pb2.SubmitManyRequest, context: Any) -> jobs_pb2.SubmitManyResponse:  # noqa: N802
        with self._unary:
            owner = self._ownership.owner
            batch = await self._queue_batch(owner, convert.domain_of(context), request, lambda: caller_of(context), Patience())
            results = await batch.told(owner, at_once=False)
        return jobs_pb2.SubmitManyResponse(results=results)

    async def SubmitStream(self, requests: AsyncIterator[jobs_pb2.SubmitStreamRequest], context: Any) -> AsyncIterator[jobs_pb2.SubmitStreamResponse]:  # noqa: N802
        """A reader task takes requests while there is room for them; answers go out in the order in which they are ready.

        Whatever happens to one request is said in its answer, job by job: an error of the whole stream would leave open what became of the others.
        """
        domain, caller = convert.domain_of(context), functools.cache(lambda: caller_of(context))
        answers: asyncio.Queue[jobs_pb2.SubmitStreamResponse | Exception | None] = asyncio.Queue(STREAM_WINDOW)
        room = asyncio.Semaphore(STREAM_WINDOW)
        reader = asyncio.ensure_future(self._read_stream(domain, caller, requests, answers, room))
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, Exception):
                    raise answer
                room.release()
                yield answer
        finally:
            reader.cancel()

    async def _read_stream(
        self, domain: str, caller: Callable[[], Caller], requests: AsyncIterator[jobs_pb2.SubmitStreamRequest],
        answers: "asyncio.Queue[jobs_pb2.SubmitStreamResponse | Exception | None]", room: asyncio.Semaphore,
    ) -> None:  # fmt: skip
        reading = Reading()

        async def serve(request: jobs_pb2.SubmitStreamRequest) -> None:
            number, count, at_once = request.request_no, _count(request), request.refusal_at_once
            owner: Owner | None = None
            try:
                owner = self._ownership.owner
                self._turn_away(request)
                with self._lobby.patience(request) as patience:
                    batch = await self._queue_batch(owner, domain, request, caller, patience)
            except InvalidField as error:  # a batch of the wrong size: not something that a job's answer can say
                await answers.put(error)
                return
            except BrokerError as error:
                batch = _Batch(count, Patience())
                batch.refuse(range(count), error)
            except Exception as error:  # a defect: the guard around the call logs it
                await answers.put(error)
                return
            del request  # what waits for the database is in the owner's hand
            try:
                results = await batch.told(owner, at_once=at_once)
                if owner is not None and batch.turned_away:
                    reading.refused(owner.pressure)
                await answers.put(jobs_pb2.SubmitStreamResponse(request_no=number, results=results))
            except Exception as error:
                await answers.put(error)

        async with asyncio.TaskGroup() as tasks:
            try:
                async for request in requests:
                    await room.acquire()
                    tasks.create_task(serve(request))
                    del request
                    await reading.turn()
            except Exception as error:  # what came is no message at all, or the token has ended, or a defect: nothing more is read
                await answers.put(error)
        await answers.put(None)

    def _turn_away(self, request: jobs_pb2.SubmitStreamRequest) -> None:
        """Raises Busy when the owner could not take the request now and there is no room to wait in: before anything is made of its jobs."""
        if self._lobby.full:
            self._ownership.owner.require_room(_count(request))

    async def _queue_batch(self, owner: Owner, domain: str, request: Batched, caller: Callable[[], Caller], patience: Patience) -> "_Batch":
        """Queues each job that can be queued. `patience`: how long a busy broker makes the caller wait before it refuses the rest. `caller` is asked where jobs are
        replaced.
        """
        convert.bounded("plain", request.plain, convert.MAX_BATCH)
        count = _count(request)
        if not 1 <= count <= convert.MAX_BATCH:
            raise InvalidField("jobs", f"1 to {convert.MAX_BATCH} jobs, found {count}")
        batch = _Batch(count, patience)
        replacer = caller() if any(map(convert.replaces, request.jobs)) else None  # may refuse the call: before anything of it is queued
        if request.jobs:
            await self._queue_specs(owner, domain, request.jobs, batch)
        start = len(request.jobs)
        for column, group in enumerate(request.plain):
            places = range(start, start + len(group.payloads))
            try:
                await self._queue_plain(owner, domain, f"plain[{column}].", group, places, batch)
            except BrokerError as error:
                batch.refuse(places, error)
            start = places.stop
        if replacer is not None and batch.wishes:
            await self._replace(owner, replacer, batch)
        return batch

    async def _queue_plain(self, owner: Owner, domain: str, field: str, group: types_pb2.PlainSpecs, places: Sequence[int], batch: "_Batch") -> None:
        """Queues jobs that came as columns. Raises BrokerError for what concerns all of them."""
        require(Act.SUBMIT, group.type, f"{field}type")
        entry = owner.types.find(domain, group.type) or await owner.types.ensure(domain, convert.type_name(f"{field}type", group.type))
        priority = convert.priority(group)
        if owner.types.depth_limited:
            batch.entries.add(entry)
            owner.depth.require_room(entry)  # before their payloads are looked at
        payloads = list(group.payloads)
        if payloads and max(map(len, payloads)) > self._payload_limit:
            large = {index for index, payload in zip(places, payloads, strict=True) if len(payload) > self._payload_limit}
            for index in large:
                batch.refuse([index], convert.payload_too_large(payloads[index - places[0]], self._payload_limit))
            payloads = [payload for payload in payloads if len(payload) <= self._payload_limit]
            places = [index for index in places if index not in large]
        if entry.schema is not None:
            payloads, places = await self._that_fit(entry.schema, payloads, places, batch)
        for at in range(0, len(payloads), CHUNK):
            chunk = PlainJobs(entry, priority, payloads[at : at + CHUNK])
            await self._queue(owner, chunk, sum(map(len, chunk.payloads)), places[at : at + CHUNK], batch)

    async def _queue_specs(self, owner: Owner, domain: str, specs: Sequence[types_pb2.JobSpec], batch: "_Batch") -> None:
        """Queues jobs that came one by one."""
        unkeyed: list[NewJob] = []
        places: list[int] = []
        size = 0
        types: Types | None = types_for(Act.SUBMIT)
        if types is not None and types.everything:
            types = None
        await self._find_tied(owner, self._ownership.heads, domain, specs, batch)
        for index, spec in enumerate(specs):
            if index in batch.refused:
                continue
            try:
                if spec.depends_on:
                    await self._let_others()
                job, job_size = await self._read(owner, domain, spec, types=types)
                if convert.is_keyed(spec):
                    batch.entries.add(job[0])
                    if convert.replaces(spec):
                        batch.wishes.setdefault(spec.unique_key, []).append(Wish(index, spec, job, job_size))
                        continue
                    batch.keyed.append((index, await self._queue_keyed(owner, spec, job, job_size, batch.patience)))
                    continue
            except BrokerError as error:
                batch.refuse([index], error)
                continue
            unkeyed.append(job)
            places.append(index)
            size += job_size
        for start in range(0, len(unkeyed), CHUNK):
            chunk = unkeyed[start : start + CHUNK]
            await self._queue(owner, chunk, size * len(chunk) // len(unkeyed), places[start : start + CHUNK], batch)

    async def _replace(self, owner: Owner, caller: Caller, batch: "_Batch") -> None:
        """Decides the jobs of a batch that replace others, some unique keys at a time."""
        room = asyncio.Semaphore(KEYS_AT_ONCE)

        async def decide(wishes: list[Wish]) -> None:
            async with room:
                for wish, stored in zip(wishes, await in_turn(self, owner, self._ownership.heads, caller, wishes, batch.patience), strict=True):
                    batch.decided(wish.index, stored)

        async with asyncio.TaskGroup() as tasks:
            for wishes in batch.wishes.values():
                tasks.create_task(decide(wishes))

    async def _read(
        self, owner: Owner, domain: str, spec: types_pb2.JobSpec, *, types: Types | None = None, callback: bool = False
    ) -> tuple[NewJob, int]:  # fmt: skip
        """A checked job, and the size of its payload. `types`: those that it may be of; None: all."""
        name = spec.type
        if types is not None and not types.allow(name):
            raise TypeDenied(lacking(Act.SUBMIT, name), name, "type")
        entry = owner.types.find(domain, name)
        if entry is None:
            entry = await owner.types.ensure(domain, convert.type_name("type", name))
        body, size = convert.body(spec, self._payload_limit, callback=callback)
        if entry.schema is not None:
            await self._check(entry.schema, spec.payload, spec.content_type)
        return (entry, convert.priority(spec), convert.available_at_s(spec, owner.clock.now_s()), body), size

    async def _find_tied(self, owner: Owner, heads: Heads, domain: str, specs: Sequence[types_pb2.JobSpec], batch: "_Batch | None" = None) -> None:
        """Refuses jobs that name others which are not there: in their batch, or by raising JobNotFound when there is none."""
        named: dict[int, None] = {}
        for spec in specs:
            if ties := convert.tied(spec):
                named.update(dict.fromkeys(job_id for _, job_id in ties))
                await self._let_others()
        if not named:
            return
        missing = await find_missing(owner, heads, domain, list(named))
        for index, spec in enumerate(specs if missing else ()):
            await self._let_others()
            lost = next(((field, job_id) for field, job_id in convert.tied(spec) if job_id in missing), None)
            if lost is None:
                continue
            error = JobNotFound(lost[1], lost[0])
            if batch is None:
                raise error
            batch.refuse([index], error)

    async def _that_fit(self, schema: Schema, payloads: list[bytes], places: Sequence[int], batch: "_Batch") -> tuple[list[bytes], Sequence[int]]:
        """The payloads of a column that meet the schema of their type, and their places; the others are refused."""
        taken: list[bytes] = []
        left: list[int] = []
        for place, payload in zip(places, payloads, strict=True):
            try:
                await self._check(schema, payload)
            except PayloadRefused as error:
                batch.refuse([place], error)
                continue
            taken.append(payload)
            left.append(place)
        return taken, left

    async def _check(self, schema: Schema, payload: bytes, content_type: str = "") -> None:
        """Raises PayloadRefused when a payload does not fit."""
        schema.check(payload, content_type)
        await self._let_others()

    async def _let_others(self) -> None:
        """Lets others have the event loop now and then: a request may bring many payloads, and jobs that name a million others."""
        now = asyncio.get_running_loop().time()
        if now >= self._let_others_at:
            await asyncio.sleep(0)
            self._let_others_at = now + LET_OTHERS_S

    async def _queue_keyed(
        self, owner: Owner, spec: types_pb2.JobSpec, job: NewJob, size: int, patience: Patience, *, callback: bool = False
    ) -> "asyncio.Future[tuple[int, bool]]":
        key = convert.text("idempotency_key", spec.idempotency_key)
        return_holder, hashes, depends_on = convert.returns_holder(spec), convert.body_hashes(spec), () if callback else tuple(convert.depends_on(spec)) or None
        while True:
            try:
                return owner.submit_keyed(
                    job,
                    job[0].domain_id,
                    key,
                    hashes[0],
                    size,
                    unique_key=spec.unique_key,
                    return_holder=return_holder,
                    depends_on=depends_on,
                    other_hashes=hashes[1:],
                    batch_id=spec.batch_id,
                )
            except Busy as error:
                await patience.wait(owner, 1, error)

    async def _queue(self, owner: Owner, jobs: list[NewJob] | PlainJobs, size: int, places: Sequence[int], batch: "_Batch") -> None:
        """Queues one chunk; the batch knows whether and where its ids belong."""
        if owner.types.depth_limited:
            batch.entries.update([jobs.entry] if isinstance(jobs, PlainJobs) else [job[0] for job in jobs])
        while True:
            try:
                batch.unkeyed.append((places, owner.submit(jobs, size)))
                return
            except QueueFull as error:
                if len(jobs) == 1 or error.room == 0:
                    batch.refuse(places, error)
                    return
                for part, at in _parts(jobs, error.room):  # as many as there is room for, in order
                    await self._queue(owner, part, size * len(part) // len(jobs), places[at : at + len(part)], batch)
                return
            except Busy as error:
                try:
                    await batch.patience.wait(owner, len(jobs), error)
                except Busy:
                    batch.refuse(places, error)
                    return
            except BrokerError as error:
                batch.refuse(places, error)
                return


def full(services: Sequence[SubmitCalls]) -> Busy | None:
    """Why a unary call that submits would be refused now whatever it brings, and it is counted as one job; None: it may be taken, here or at another broker.

    `services`: of each shard; which of them the call is for is not known before it is read.
    """
    for service in services:
        if not service._ownership.ready.is_set() or not (service._unary.full or not service._ownership.owner.has_room(1)):
            return None
    owner, unary = services[0]._ownership.owner, services[0]._unary
    busy = unary.busy() if unary.full else owner.busy()
    _count_refused(owner, busy, 1)
    return busy


class _Batch:
    """What becomes of the jobs of one request: futures of those that wait for their flush, and refusals."""

    def __init__(self, count: int, patience: Patience) -> None:
        self.patience = patience
        self.unkeyed: list[tuple[Sequence[int], asyncio.Future[list[int]]]] = []  # (positions, their ids)
        self.keyed: list[tuple[int, asyncio.Future[tuple[int, bool]]]] = []
        self.wishes: dict[str, list[Wish]] = {}  # by unique key: jobs that replace the one that has it
        self.entries: set[TypeEntry] = set()  # types of jobs that met depth limits
        self._job_ids = [0] * count
        self._existing: list[int] = []
        self._replaced: list[int] = []
        self._refusals: list[tuple[Sequence[int], BrokerError]] = []
        self.refused: set[int] = set()

    def refuse(self, places: Sequence[int], error: BrokerError) -> None:
        """The jobs at these positions are not stored."""
        error.__traceback__ = None  # it holds frames, and they this batch and the request: a circle, which would stay until the collector's next full pass
        self._refusals.append((places, error))
        self.refused.update(places)

    def decided(self, place: int, stored: Stored | BrokerError) -> None:
        """What became of a job that was to replace another."""
        if isinstance(stored, BrokerError):
            self.refuse([place], stored)
            return
        self._job_ids[place] = stored.job_id
        if stored.existing:
            self._existing.append(place)
        if stored.replaced:
            self._replaced.append(place)

    async def told(self, owner: Owner | None, *, at_once: bool) -> jobs_pb2.SubmitResults:
        """What became of each job, once that is decided; `owner` None: this broker owns no queue. `at_once`: see SubmitStreamRequest.refusal_at_once."""
        results = await self._results(owner, at_once=at_once)
        if owner is not None and self.entries and owner.types.depth_limited:
            results.pressure = owner.depth.pressure(self.entries)
        return results

    @property
    def turned_away(self) -> bool:
        """Whether all of its jobs were refused, and for want of room."""
        return len(self.refused) == len(self._job_ids) and isinstance(self._refusals[-1][1], Busy | QueueFull)

    async def _results(self, owner: Owner | None, *, at_once: bool) -> jobs_pb2.SubmitResults:
        for places, ids in self.unkeyed:
            try:
                found = await ids
            except BrokerError as error:
                self.refuse(places, error)
                continue
            if isinstance(places, range):
                self._job_ids[places.start : places.stop] = found
            else:
                for index, job_id in zip(places, found, strict=True):
                    self._job_ids[index] = job_id
        for index, one in self.keyed:
            try:
                self._job_ids[index], existing = await one
                if existing:
                    self._existing.append(index)
            except BrokerError as error:
                self.refuse([index], error)
        for places, refusal in self._refusals:
            if owner is not None and isinstance(refusal, Busy | QueueFull):
                _count_refused(owner, refusal, len(places))
        if at_once and len(self._refusals) == 1 and len(self._refusals[0][0]) == len(self._job_ids):
            [failure] = _failures(range(1), self._refusals[0][1])
            return jobs_pb2.SubmitResults(refused=failure)
        failures = [failure for places, refusal in self._refusals for failure in _failures(places, refusal)]
        return jobs_pb2.SubmitResults(job_ids=self._job_ids, existing=self._existing, failures=failures, replaced=self._replaced)


def _count_refused(owner: Owner, error: Busy | QueueFull, jobs: int) -> None:
    owner.metrics.submits_refused.labels(str(reason_of(error))).inc(jobs)
    if isinstance(error, Busy):
        owner.pressure.refused(jobs)


def _failures(places: Sequence[int], error: BrokerError) -> Iterator[jobs_pb2.SubmitFailure]:
    """What is said of each of the jobs at these positions."""
    reason = reason_of(error)
    retry_after_s = getattr(error, "retry_after_s", None)
    retry_after = to_duration(retry_after_s) if retry_after_s is not None else None
    code, text, field = status_code(reason).value[0], str(error), getattr(error, "field", None) or ""
    holder = getattr(error, "job_id", 0)
    for index in places:
        named = field if field.startswith("plain[") or not field else f"jobs[{index}].{field}"
        yield jobs_pb2.SubmitFailure(index=index, code=code, reason=reason, message=text, field=named, job_id=holder, retry_after=retry_after)


def _parts(jobs: list[NewJob] | PlainJobs, room: int) -> list[tuple[list[NewJob] | PlainJobs, int]]:
    """The jobs in parts, each with its position: those of one type up to what there is room for, and the rest; those of several types one by one."""
    if isinstance(jobs, PlainJobs):
        return [(PlainJobs(jobs.entry, jobs.priority, jobs.payloads[:room]), 0), (PlainJobs(jobs.entry, jobs.priority, jobs.payloads[room:]), room)]
    if len({job[0] for job in jobs}) == 1:
        return [(jobs[:room], 0), (jobs[room:], room)]
    return [([job], index) for index, job in enumerate(jobs)]


def _count(request: Batched) -> int:
    """How many jobs it has; of one with more columns than jobs are allowed those alone that came one by one: it is refused."""
    if len(request.plain) > convert.MAX_BATCH:
        return len(request.jobs)
    return len(request.jobs) + sum([len(group.payloads) for group in request.plain])
