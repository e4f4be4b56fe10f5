"""A Jobs service that does what a test's script says: what a client must survive and no good broker does."""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from headrace_proto.v1 import jobs_pb2, jobs_pb2_grpc

from tests.support.served import served

Answer = Callable[[jobs_pb2.SubmitStreamRequest, Any], Awaitable[jobs_pb2.SubmitStreamResponse | None]]


class EndStream(Exception):
    """Raised by an answer: the stream ends with status OK."""


class ScriptedJobs(jobs_pb2_grpc.JobsServicer):
    """`received` holds every request of the stream; `answer` says what comes back, or aborts the call."""

    def __init__(self, answer: Answer) -> None:
        self.received: list[jobs_pb2.SubmitStreamRequest] = []
        self._answer = answer

    async def SubmitStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for request in requests:
            self.received.append(request)
            try:
                answer = await self._answer(request, context)
            except EndStream:
                return
            if answer is not None:
                yield answer


@asynccontextmanager
async def scripted_broker(answer: Answer) -> AsyncIterator[tuple[str, ScriptedJobs]]:
    """(address, service) of such a broker in this process."""
    service = ScriptedJobs(answer)
    async with served(functools.partial(jobs_pb2_grpc.add_JobsServicer_to_server, service)) as address:
        yield address, service


def stored(request: jobs_pb2.SubmitStreamRequest, first_id: int = 1) -> jobs_pb2.SubmitStreamResponse:
    """An answer that says that all jobs of the request are stored."""
    job_ids = range(first_id, first_id + len(payloads(request)))
    return jobs_pb2.SubmitStreamResponse(request_no=request.request_no, results=jobs_pb2.SubmitResults(job_ids=job_ids))


def refused(request: jobs_pb2.SubmitStreamRequest, reason: str) -> jobs_pb2.SubmitStreamResponse:
    """An answer that says that no job of the request is stored."""
    count, code = len(payloads(request)), grpc.StatusCode.UNAVAILABLE.value[0]
    failures = [jobs_pb2.SubmitFailure(index=index, code=code, reason=reason, message="not now") for index in range(count)]
    return jobs_pb2.SubmitStreamResponse(request_no=request.request_no, results=jobs_pb2.SubmitResults(job_ids=[0] * count, failures=failures))


def payloads(request: jobs_pb2.SubmitStreamRequest) -> list[bytes]:
    """The payloads of a request's jobs, in the order in which an answer names them."""
    return [*(job.payload for job in request.jobs), *(payload for column in request.plain for payload in column.payloads)]
