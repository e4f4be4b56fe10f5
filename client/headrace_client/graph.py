"""Jobs that belong together: the graph around them, what a job depended on, and batches. Mixed into the client."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from headrace_proto.claim import is_reference, stated_size
from headrace_proto.v1 import graph_pb2, types_pb2
from headrace_proto.wire import name_of

from headrace_client import decode
from headrace_client.base import Base
from headrace_client.codecs import aside
from headrace_client.encode import build, check_id, encode_fields, encode_payload, kept
from headrace_client.models import Job, State, Submitted

if TYPE_CHECKING:
    from headrace_client.client import Client

MAX_RESULTS = 8 * 1024 * 1024
"""Bytes of results that `dependencies` brings unless it is told otherwise; the broker's own number."""
EDGE_KINDS = {1: "depends", 2: "submitted", 3: "member"}


@dataclass(frozen=True, slots=True)
class Edge:
    """Two jobs that are tied: the child `depends` on the parent, was `submitted` by its handler, or is the callback of the batch that the parent is a `member` of.
    An id that is 0 is a job that the caller may not see; several edges may be alike then."""

    parent_id: int
    child_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class JobGraph:
    """Jobs and how they are tied. `complete` False: there is more than this. `next_page_token` empty: this was the last page."""

    jobs: list[Job]
    edges: list[Edge]
    complete: bool
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A job that another one depends on. `result` None: it has none, or it is too large to come with the others (`left_out`): get the job by its id."""

    job: Job
    left_out: bool

    @property
    def job_id(self) -> int:
        """Its id."""
        return self.job.job_id

    def json_result(self) -> Any:
        """The result decoded as JSON."""
        return self.job.json_result()


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How a batch stands. `failed_ids`: members that ended in error or were aborted, the first 1,000, without those that the caller may not see."""

    batch_id: int
    open: bool
    total: int
    counts: dict[State, int]
    deleted: int
    failed_ids: list[int]
    callback: Job

    @property
    def completed(self) -> int:
        """Members that completed."""
        return self.counts.get(State.COMPLETED, 0)


class GraphCalls(Base):
    """See the module."""

    async def graph(self, job_id: int = 0, *, instance_id: str = "", page_size: int = 200, page_token: str = "") -> JobGraph:
        """The jobs around a job, or of a business case, and how they are tied. Raises NotFound."""
        request = build(graph_pb2.GetGraphRequest, job_id=job_id, instance_id=instance_id, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.graph.GetGraph, request)
        edges = [Edge(edge.parent_id, edge.child_id, name_of(edge.kind, EDGE_KINDS)) for edge in answer.edges]
        return JobGraph([await self._job(job) for job in answer.jobs], edges, answer.complete, answer.next_page_token)

    async def dependencies(self, job_id: int, *, max_bytes: int = 0) -> list[Dependency]:
        """The jobs that a job depends on, in the order of its submission, with their results as far as they fit into `max_bytes` (0: 8 MiB), wherever they are kept.

        More than 8 MiB there can be only of what is kept outside the broker.

        Raises NotFound; ClaimError, ClaimUnavailable: a result is kept outside and cannot be read (now).
        """
        asked = max_bytes if self._claims is None else min(max_bytes, MAX_RESULTS)
        answer = await self._call(lambda stubs: stubs.graph.ListDependencies, build(graph_pb2.ListDependenciesRequest, job_id=check_id(job_id), max_bytes=asked))
        left_out = set(answer.left_out)
        room = (max_bytes or MAX_RESULTS) - sum([len(job.result) for job in answer.jobs])
        for job in answer.jobs:
            if self._claims is not None and is_reference(job.result):
                room -= stated_size(job.result)
                if room < 0:
                    left_out.add(job.job_id)
                    job.result = b""
        return [Dependency(await self._job(job), job.job_id in left_out) for job in answer.jobs]

    async def batch_status(self, batch_id: int) -> BatchStatus:
        """How a batch stands. Raises NotFound; InvalidState for a job that is not the callback of a batch."""
        answer = await self._call(lambda stubs: stubs.graph.GetBatch, build(graph_pb2.GetBatchRequest, batch_id=check_id(batch_id)))
        return BatchStatus(batch_id, answer.open, answer.total, decode.counts(answer.counts), answer.deleted, list(answer.failed_ids), await self._job(answer.callback))

    async def seal_batch(self, batch_id: int) -> None:
        """Ends the adding of members: the callback runs once all have settled. May be repeated."""
        await self._call(lambda stubs: stubs.graph.SealBatch, build(graph_pb2.SealBatchRequest, batch_id=check_id(batch_id)))

    async def create_batch(
        self, type: str, data: Any = None, *, payload: bytes | None = None, content_type: str = "", instance_id: str = "", key: str = "",  # noqa: A002
        priority: int = 0, delay_s: float = 0.0, start_at: datetime | None = None, labels: Mapping[str, str] | None = None, trace_context: str = "",
    ) -> Submitted:  # fmt: skip
        """Stores the callback of a new batch; its id is the batch's. It waits until the batch is sealed and all members have settled, however each of them ended.

        Add members by `submit(..., batch_id=...)`, here or in handlers. With a `key` the call is repeated safely.
        """
        payload = encode_payload(data, payload)
        make = functools.partial(
            encode_fields, type, None, payload, content_type, instance_id, key, priority, delay_s, start_at, labels or {}, trace_context, codecs=self._codecs
        )  # fmt: skip
        spec = make() if self._codecs is None else await aside(payload, make)
        spec = await kept(spec, self._claims)
        callback = types_pb2.JobSpec(type=spec[0], payload=spec[1]) if isinstance(spec, tuple) else spec
        answer = await self._call(lambda stubs: stubs.graph.CreateBatch, graph_pb2.CreateBatchRequest(callback=callback), repeatable=bool(key))
        return Submitted(answer.batch_id, answer.existing)

    def batch(self, type: str, data: Any = None, **options: Any) -> "Batch":  # noqa: A002
        """A batch whose callback is a job of this type; `options` are those of `create_batch`. Use as an async context manager: it is sealed at the end of the block.

        When the block is left by an exception the batch stays open, and its callback waits: abort it, or go on with `seal_batch`.
        """
        return Batch(self, type, data, options)

    async def _job(self, message: types_pb2.Job) -> Job:
        return await self._read(decode.job(message))

    async def _read(self, job: Job) -> Job:
        return job


class Batch:
    """See `GraphCalls.batch`."""

    def __init__(self, client: "GraphCalls", type_: str, data: Any, options: dict[str, Any]) -> None:
        self._client = client
        self._type = type_
        self._data = data
        self._options = options
        self.batch_id = 0

    async def __aenter__(self) -> Self:
        self.batch_id = (await self._client.create_batch(self._type, self._data, **self._options)).job_id
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None:
            await self.seal()

    async def submit(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Stores a member, with the options of `Client.submit`."""
        client: Client = self._client  # type: ignore[assignment]  # whoever mixes this in
        return await client.submit(type, data, batch_id=self.batch_id, **options)

    async def seal(self) -> None:
        """Ends the adding of members."""
        await self._client.seal_batch(self.batch_id)

    async def status(self) -> BatchStatus:
        """How it stands."""
        return await self._client.batch_status(self.batch_id)
