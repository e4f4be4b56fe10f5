"""The Graph service: who is tied to whom, and batches."""

from typing import Any

from headrace_proto.v1 import graph_pb2

from headrace_broker.actions import changing
from headrace_broker.actions.graph import Graphs
from headrace_broker.actions.reads import JobReads
from headrace_broker.model.errors import InvalidField, InvalidState
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.job import State
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.jobs import job_message, state_counts
from headrace_broker.rpc.submit import SubmitCalls
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.reads import Reads

MAX_BYTES = 8 * 1024 * 1024


class GraphService:
    """See the module. `jobs` stores the callbacks, as any submit does."""

    def __init__(self, ownership: Ownership, reads: Reads, graph: GraphReads, jobs: SubmitCalls) -> None:
        self._ownership = ownership
        self._stored = reads
        self._graph = graph
        self._jobs = jobs

    @property
    def _graphs(self) -> Graphs:
        owner = self._ownership.owner
        return Graphs(owner, JobReads(owner, self._stored), self._graph)

    async def GetGraph(self, request: graph_pb2.GetGraphRequest, context: Any) -> graph_pb2.GetGraphResponse:  # noqa: N802
        domain, limit = convert.domain_of(context), convert.page_size(request.page_size, 200, 1000)
        instance_id = convert.text("instance_id", request.instance_id)
        if bool(request.job_id) == bool(instance_id):
            raise InvalidField("job_id", "set either job_id or instance_id")
        if request.job_id:
            if request.page_token:
                raise InvalidField("page_token", "the graph around a job has no pages")
            found = await self._graphs.around(convert.job_id("job_id", request.job_id), domain, limit)
        else:
            [above] = convert.page_token(request.page_token, instance_id, MAX_ID) or [0]
            found = await self._graphs.of_instance(instance_id, domain, above, limit)
        jobs = [job_message(job) for job in found.jobs]
        convert.shorten(jobs)
        return graph_pb2.GetGraphResponse(
            jobs=jobs,
            edges=[graph_pb2.Edge(parent_id=edge.parent_id, child_id=edge.child_id, kind=int(edge.kind)) for edge in found.edges],  # type: ignore[arg-type]  # enum numbers
            complete=found.complete,
            next_page_token=convert.make_token(instance_id, found.next_above) if found.next_above else "",
        )

    async def ListDependencies(self, request: graph_pb2.ListDependenciesRequest, context: Any) -> graph_pb2.ListDependenciesResponse:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        if request.max_bytes > MAX_BYTES:
            raise InvalidField("max_bytes", f"at most {MAX_BYTES}, found {request.max_bytes}")
        jobs, left_out = await self._graphs.dependencies(job_id, convert.domain_of(context), request.max_bytes or MAX_BYTES)
        messages = []
        for job in jobs:
            message = job_message(job)
            message.payload = b""
            if job.row.job_id in left_out:
                message.result = b""
            messages.append(message)
        return graph_pb2.ListDependenciesResponse(jobs=messages, left_out=sorted(left_out))

    async def CreateBatch(self, request: graph_pb2.CreateBatchRequest, context: Any) -> graph_pb2.CreateBatchResponse:  # noqa: N802
        if not request.HasField("callback"):
            raise InvalidField("callback", "must be set")
        if request.callback.depends_on:
            raise InvalidField("callback.depends_on", "a callback depends on the members of its batch and on no other job")
        if convert.replaces(request.callback):
            raise InvalidField("callback.on_conflict", "the callback of a batch replaces no other job; choose return or reject")
        stored = await self._jobs.submit_one(convert.domain_of(context), request.callback, context, callback=True)
        return graph_pb2.CreateBatchResponse(batch_id=stored.job_id, existing=stored.existing)

    async def SealBatch(self, request: graph_pb2.SealBatchRequest, context: Any) -> graph_pb2.SealBatchResponse:  # noqa: N802
        batch_id, caller, owner = convert.job_id("batch_id", request.batch_id), caller_of(context), self._ownership.owner
        [change] = await changing.change(owner, self._ownership.heads, Verb.SEAL, [batch_id], caller=caller, reason="")
        if isinstance(change.error, InvalidState):  # sealed before, and released since: what was asked for is so
            batch = await self._graphs.batch(batch_id, caller.domain)
            if (not batch.open and batch.callback.row.state is not State.WAITING) or batch.callback.row.kind is not None:
                return graph_pb2.SealBatchResponse()
        if change.error is not None:
            raise change.error
        return graph_pb2.SealBatchResponse()

    async def GetBatch(self, request: graph_pb2.GetBatchRequest, context: Any) -> graph_pb2.GetBatchResponse:  # noqa: N802
        batch = await self._graphs.batch(convert.job_id("batch_id", request.batch_id), convert.domain_of(context))
        counts: dict[State, int] = {state: count for state, count in batch.counts.items() if state is not State.GONE}
        return graph_pb2.GetBatchResponse(
            open=batch.open, total=batch.total, counts=state_counts(counts), deleted=batch.counts[State.GONE], failed_ids=batch.failed_ids,
            callback=job_message(batch.callback),
        )  # fmt: skip
