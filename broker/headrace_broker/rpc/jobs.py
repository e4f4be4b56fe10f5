"""The Jobs service: reads; the Submit calls are in `submit`."""

import json
from collections.abc import AsyncIterator, Callable, Collection
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto import claim
from headrace_proto.encoding import MAGIC, describe
from headrace_proto.v1 import jobs_pb2, types_pb2
from headrace_proto.wire import WAIT_REASONS, to_duration, to_timestamp

from headrace_broker.actions.explain import explain
from headrace_broker.actions.lists import JobLists
from headrace_broker.actions.reach import MAY, types_for
from headrace_broker.actions.reads import AttemptRead, JobRead, JobReads, attempts, in_one_answer
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.ids import MAX_ID, created_at_s
from headrace_broker.model.job import SETTLED, AbortStep, Kind, NoteKind, State
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert, filters
from headrace_broker.rpc.admission import Lobby, UnaryCalls
from headrace_broker.rpc.explanations import explanation_message
from headrace_broker.rpc.filters import job_filter
from headrace_broker.rpc.logs import log_line, min_level
from headrace_broker.rpc.submit import SubmitCalls
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.reads import EventRow, JsonObject, Reads
from headrace_broker.store.search import Finder

MAX_WAIT_S = 3600.0
_REASON_NUMBERS = {name: number for number, name in WAIT_REASONS.items()}


class JobsService(SubmitCalls):
    """See the module."""

    def __init__(self, ownership: Ownership, reads: Reads, finder: Finder, payload_limit: int) -> None:
        self._ownership = ownership
        self._stored = reads
        self._finder = finder
        self._payload_limit = payload_limit
        self._lobby = Lobby()
        self._unary = UnaryCalls()

    @property
    def _reads(self) -> JobReads:
        return JobReads(self._ownership.owner, self._stored)

    @property
    def _lists(self) -> JobLists:
        return JobLists(self._ownership.owner, self._stored, self._finder)

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Any) -> jobs_pb2.GetJobResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        job = await self._reads.get(job_id, convert.domain_of(context), full=full_view(request.view))
        return jobs_pb2.GetJobResponse(job=job_message(job))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Any) -> jobs_pb2.ListJobsResponse:  # noqa: N802
        wanted, order = job_filter("filter", request.filter), filters.order(request.order)
        limit = convert.page_size(request.page_size, 50, 1000)
        digest = filters.digest(request.filter, order.value)
        page = await self._lists.page(convert.domain_of(context), wanted, order=order, limit=limit, after=position(request.page_token, digest))
        return jobs_pb2.ListJobsResponse(
            jobs=[job_message(job) for job in page.jobs],
            next_page_token=convert.make_token(digest, *page.next) if page.next else "",
            complete=page.complete,
            searched_until=to_timestamp(page.searched_until_s),
        )

    async def CountJobs(self, request: jobs_pb2.CountJobsRequest, context: Any) -> jobs_pb2.CountJobsResponse:  # noqa: N802
        wanted = request.filter
        if request.types:
            if wanted.types:
                raise InvalidField("types", "types and filter.types are both set; set one of them")
            wanted.types.extend(convert.type_names("types", request.types))
        digest = filters.digest(wanted, "count")
        after = position(request.page_token, digest)
        found = await self._lists.count(convert.domain_of(context), job_filter("filter", wanted), after=after)
        totals: dict[State, int] = {state: sum(by_state.get(state, 0) for by_state in found.types.values()) for state in State if state is not State.GONE}
        return jobs_pb2.CountJobsResponse(
            totals=state_counts(totals),
            types=[jobs_pb2.TypeCount(type=name, counts=state_counts(by_state)) for name, by_state in sorted(found.types.items())],
            as_of=to_timestamp(found.as_of_s),
            complete=not found.next,
            searched_until=to_timestamp(found.searched_until_s),
            next_page_token=convert.make_token(digest, *found.next) if found.next else "",
        )

    async def WaitJob(self, request: jobs_pb2.WaitJobRequest, context: Any) -> jobs_pb2.WaitJobResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        wait_s = convert.seconds("wait", request.wait, MAX_WAIT_S) if request.HasField("wait") else MAX_WAIT_S
        left = context.time_remaining()
        job = await self._reads.wait(
            job_id, convert.domain_of(context), wait_s=min(wait_s or MAX_WAIT_S, left - 0.2 if left is not None else MAX_WAIT_S), full=full_view(request.view)
        )
        return jobs_pb2.WaitJobResponse(job=job_message(job))

    async def ExplainJob(self, request: jobs_pb2.ExplainJobRequest, context: Any) -> jobs_pb2.ExplainJobResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        reads = self._reads
        return explanation_message(await explain(self._ownership.owner, reads, await reads.get(job_id, convert.domain_of(context))))

    async def WatchJobs(self, request: jobs_pb2.WatchJobsRequest, context: Any) -> AsyncIterator[jobs_pb2.WatchJobsResponse]:  # noqa: N802
        owner = self._ownership.owner
        domain = convert.domain_of(context)
        ids = frozenset(convert.job_ids("job_ids", request.job_ids)) if request.job_ids else frozenset()
        names = frozenset(convert.type_names("types", request.types))
        instance_id = convert.text("instance_id", request.instance_id) or None
        with owner.hub.subscribe(job_ids=ids, instance_id=instance_id, of_type=_watched(owner, domain, names)) as changes:
            there = {job.row.job_id: job for job in await self._reads.find(sorted(ids), domain)} if ids else {}
            for job_id in sorted(ids):
                message = jobs_pb2.WatchJobsResponse(job_id=job_id)
                if (job := there.get(job_id)) is not None:
                    message.type, message.state, message.seq = job.type, int(job.row.state), job.row.seq  # type: ignore[assignment]  # enum numbers
                yield message
            gap = False
            async for change in changes:
                entry = owner.types.by_id.get(change.type_id)
                gap = gap or change.gap
                if entry is None or not types_for(Act.VIEW).allow(entry.name):  # asked when it is told: rights may have ended since
                    continue
                yield jobs_pb2.WatchJobsResponse(
                    job_id=change.job_id, type=entry.name, state=int(change.state) if change.state is not State.GONE else 0,  # type: ignore[arg-type]
                    seq=change.seq, kind=change.kind, gap=gap,
                )  # fmt: skip
                gap = False

    async def ListAttempts(self, request: jobs_pb2.ListAttemptsRequest, context: Any) -> jobs_pb2.ListAttemptsResponse:  # noqa: N802
        _, events = await self._reads.events(convert.job_id("job_id", request.job_id), convert.domain_of(context))
        found = [_attempt(attempt) for attempt in attempts(events)]
        convert.shorten(found[::-1])
        return jobs_pb2.ListAttemptsResponse(attempts=found)

    async def ListEvents(self, request: jobs_pb2.ListEventsRequest, context: Any) -> jobs_pb2.ListEventsResponse:  # noqa: N802
        job, events = await self._reads.events(convert.job_id("job_id", request.job_id), convert.domain_of(context))
        first = jobs_pb2.Event(kind="submitted", at=to_timestamp(created_at_s(job.row.job_id)), state=types_pb2.JOB_STATE_WAITING, run=1)
        found = [first, *(_event(event) for event in events)]
        convert.shorten(found[::-1])
        return jobs_pb2.ListEventsResponse(events=found)

    async def ListLogs(self, request: jobs_pb2.ListLogsRequest, context: Any) -> jobs_pb2.ListLogsResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        limit = convert.page_size(request.page_size, 1000, 10_000)
        level = min_level(request.min_level)
        epoch = convert.epoch("lease_epoch", request.lease_epoch)
        belongs_to = f"{job_id}/{epoch}/{level}"
        token = convert.page_token(request.page_token, belongs_to, convert.MAX_EPOCH, convert.MAX_EPOCH) or [0, 0]
        found = await self._reads.logs(job_id, convert.domain_of(context), lease_epoch=epoch, min_level=level, after=(token[0], token[-1]), limit=limit)
        lines, more = in_one_answer(found, limit)
        next_ = convert.make_token(belongs_to, lines[-1].lease_epoch, lines[-1].line_no) if more else ""
        return jobs_pb2.ListLogsResponse(lines=map(log_line, lines), next_page_token=next_)


def _watched(owner: Owner, domain: str, names: Collection[str]) -> Callable[[int], bool]:
    """Whether a type is one that a watch is about: in its domain, of these names if there are any, and for the call to see."""
    may = MAY.get()  # of the call: changes are published by nobody's

    def watched(type_id: int) -> bool:
        entry = owner.types.by_id.get(type_id)
        return entry is not None and entry.domain == domain and (not names or entry.name in names) and (may is None or may.types(Act.VIEW).allow(entry.name))

    return watched


def position(token: str, digest: str) -> tuple[int, ...]:
    """Where a list or a count of jobs goes on; empty: at its beginning."""
    return tuple(convert.page_token(token, digest, MAX_ID, MAX_ID))


def full_view(view: int) -> bool:
    """Whether a view is the full one."""
    if view not in (0, 1, 2):
        raise InvalidField("view", f"a view is 1 or 2, found {view}")
    return view == 2


def state_counts(counts: dict[State, int]) -> list[types_pb2.StateCount]:
    """Counts by state, in the order of the states, without zeros."""
    return [types_pb2.StateCount(state=int(state), count=count) for state, count in sorted(counts.items()) if count > 0]  # type: ignore[arg-type]


def job_message(job: JobRead) -> types_pb2.Job:
    """The job as a message."""
    row = job.row
    settled = row.state in SETTLED
    message = types_pb2.Job(
        job_id=row.job_id, domain=job.domain, type=job.type, instance_id=row.instance_id or "", state=int(row.state),  # type: ignore[arg-type]
        wait_reason=_REASON_NUMBERS[job.wait_reason], run=row.run, attempt=row.attempt, losses=row.losses, lease_epoch=row.lease_epoch,  # type: ignore[arg-type]
        priority=row.priority, score=job.score, created_at=to_timestamp(created_at_s(row.job_id)), idempotency_key=row.idempotency_key or "", labels=row.labels,
        trace_context=row.trace_context or "", agent=row.agent or "", payload_bytes=row.payload_bytes, content_type=row.content_type or "application/json",
        payload=row.payload or b"", result=row.result or b"", error=convert.error_message(row.error) if row.state is not State.COMPLETED else None,
        unique_key=row.unique_key or "", depends_on=row.depends_on or [], parent_id=row.parent_id or 0, batch_id=row.batch_id or 0,
    )  # fmt: skip
    for part, field in ((row.payload, "encoding"), (row.result, "result_encoding")):
        if part and part.startswith(MAGIC):
            setattr(message, field, describe(part))
        elif part and claim.is_reference(part):
            setattr(message, field, claim.describe(part))
    if row.state is State.WAITING:
        message.available_at.CopyFrom(to_timestamp(row.available_at if row.available_at is not None else created_at_s(row.job_id)))
    if row.started_at is not None:
        message.started_at.CopyFrom(to_timestamp(row.started_at))
    if settled and row.at is not None:
        message.settled_at.CopyFrom(to_timestamp(row.at))
    if settled and row.delete_minute is not None:
        message.delete_at.CopyFrom(to_timestamp(row.delete_minute * 60.0))
    if row.terms is not None:
        message.limit_key, message.fairness_key = row.terms.limit_key, row.terms.fairness_key
        message.required_labels.update(row.terms.labels)
    if job.progress is not None:
        message.progress.percent, message.progress.text = job.progress
    if row.abort is not None:
        message.abort.CopyFrom(_abort(row.abort))
    if row.amended is not None:
        message.hold = row.amended.hold
        if row.amended.delete_after_s is not None:
            message.delete_after.CopyFrom(to_duration(row.amended.delete_after_s))
    message.payload_version, message.data_withheld, message.secrets_masked = row.payload_seq, job.withheld, job.masked
    return message


def _abort(stored: JsonObject) -> types_pb2.AbortRequest:
    """The request and its steps, from what was read of them."""
    asked = stored["asked"] if isinstance(stored["asked"], dict) else {"grace_s": stored["asked"]}
    message = types_pb2.AbortRequest(
        actor=stored["actor"] or "", reason=stored["reason"] or "", requested_at=_since_1970(stored["at"]), grace=to_duration(float(asked["grace_s"])),
        lease_epoch=stored["epoch"], force=asked.get("force", False), requeue="requeue" in asked,
    )  # fmt: skip
    for step, told in (stored["steps"] or {}).items():
        if step == AbortStep.DELIVERED:
            message.agent = told["actor"] or ""
        if step in (AbortStep.DELIVERED, AbortStep.IGNORED):
            getattr(message, f"{step}_at").CopyFrom(_since_1970(told["at"]))
        else:
            message.ending = step
            message.ended_at.CopyFrom(_since_1970(told["at"]))
    return message


def _since_1970(seconds: float) -> Timestamp:
    return to_timestamp(datetime.fromtimestamp(seconds, UTC))


def _attempt(attempt: AttemptRead) -> jobs_pb2.Attempt:
    grant, ending = attempt.grant, attempt.ending
    late = json.loads(attempt.late_outcome)["outcome"] if attempt.late_outcome else ""
    message = jobs_pb2.Attempt(
        run=grant.run, attempt=grant.attempt, lease_epoch=grant.seq, agent=grant.agent, started_at=to_timestamp(grant.at), late_outcome=late,
        payload_version=attempt.payload_seq,
    )  # fmt: skip
    if ending is not None:
        message.ending = ending.kind.name.lower()
        message.ended_at.CopyFrom(to_timestamp(ending.at))
        error = convert.error_message(ending.error)
        if error is not None:
            message.error.CopyFrom(error)
    return message


def _event(event: EventRow) -> jobs_pb2.Event:
    note = not isinstance(event.kind, Kind)
    message = jobs_pb2.Event(
        seq=event.seq, kind=event.kind.name.lower(), note=note, at=to_timestamp(event.at), run=event.run or 0, attempt=event.attempt or 0, actor=event.actor,
        state=int(event.state) if event.state is not None and event.state is not State.GONE else 0,  # type: ignore[arg-type]
        reason=event.reason, agent=event.agent, error=convert.error_message(event.error),
    )  # fmt: skip
    if event.kind is NoteKind.ABORT_STEP:
        message.kind = f"abort_{(event.data or b'').decode()}"
    elif event.kind in (NoteKind.AMENDED, NoteKind.OPERATION):
        message.detail = (event.data or b"").decode()
    if event.available_at is not None:
        message.available_at.CopyFrom(to_timestamp(event.available_at))
    return message
