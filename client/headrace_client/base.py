"""What every client shares: brokers, metadata, how a call is made again, and the changes of jobs that users and administrators both make."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from headrace_proto.claim import CLAIM_TYPE
from headrace_proto.v1 import admin_pb2, jobs_pb2, lifecycle_pb2
from headrace_proto.wire import DOMAIN_KEY

from headrace_client import decode
from headrace_client.channel import Brokers, Stubs, backoff_s, metadata
from headrace_client.claims import ClaimCheck
from headrace_client.codecs import Codec, Codecs, encoded_aside
from headrace_client.credentials import Pairs, Token, refuse_plaintext
from headrace_client.encode import build, check_call_timeout, check_timeout, duration, new_payload, timestamp
from headrace_client.errors import Busy, InvalidRequest, NotFound, QuotaExceeded, ResultUnknown, Unavailable, connect_problem, from_rpc, left_nothing, never_sent
from headrace_client.models import JobResult
from headrace_client.retry import RetryBudget, pause_s
from headrace_client.tls import Tls

T = TypeVar("T")


class Base:
    """A client of one or several brokers, bound to the event loop in which it is first used; use as an async context manager, or call `close`."""

    def __init__(
        self, broker: str | Sequence[str] | None = None, *, domain: str | None = None, token: Token | None = None, tls_ca: str | Path | None = None,
        tls_client_cert: str | Path | None = None, tls_client_key: str | Path | None = None, actor: str | None = None, on_behalf_of: str | None = None,
        timeout_s: float = 30.0, codecs: Sequence[Codec] = (), claims: ClaimCheck | None = None,
    ) -> None:  # fmt: skip
        """`broker`: HOST:PORT or unix:PATH, several with commas between them (default: HEADRACE_BROKER, then 127.0.0.1:7233). `timeout_s` is for each call.
        `tls_ca`: the file with the CA of the broker's certificate (default: HEADRACE_TLS_CA; without it nothing is encrypted). `tls_client_cert`, `tls_client_key`: what
        brokers that ask for a certificate are shown (default: HEADRACE_TLS_CLIENT_CERT, HEADRACE_TLS_CLIENT_KEY). Files are read again when they change.
        `token`: the secret, or a function that gives it, such as a TokenFile (default: HEADRACE_TOKEN, HEADRACE_TOKEN_FILE). `actor`: who this is where no token says so.
        `on_behalf_of`: whose wish changes are, for the audit; operators and administrators only.
        `codecs`: what payloads go through before they are sent, in this order, and payloads and results when they are read.
        `claims`: where large payloads are kept instead of in the broker, after the codecs, and where payloads and results are read that were kept so.

        Raises:
            InvalidRequest: an address, the domain, or the time makes no sense; or a token would travel in the clear. CodecError: the codecs do not go together.
        """
        self._brokers = Brokers(broker, tls=Tls.of(tls_ca, tls_client_cert, tls_client_key))
        self._call_metadata = metadata(domain, token, actor, on_behalf_of)
        if self._call_metadata.has_token:
            refuse_plaintext(self._brokers.addresses, encrypted=self._brokers.tls.encrypted)
        self._timeout_s = check_call_timeout(timeout_s)
        self._budget = RetryBudget()
        self._codecs = Codecs(codecs, dict(self._metadata)[DOMAIN_KEY]) if codecs else None
        self._claims = claims

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.close()

    @property
    def _metadata(self) -> Pairs:
        """What a call carries now."""
        return self._call_metadata()

    @property
    def brokers(self) -> list[str]:
        """The addresses that this client knows."""
        return list(self._brokers.addresses)

    async def close(self) -> None:
        """Closes all connections for good. Calls that are under way fail."""
        await self._brokers.close()

    async def _carried(self) -> Pairs:
        """What a stream carries now. A function that gives no token is asked again, as long as a call may take. Raises Unavailable after that."""
        loop, failures = asyncio.get_running_loop(), 0
        until = loop.time() + self._timeout_s
        while True:
            try:
                return self._metadata
            except Unavailable:
                pause = backoff_s(failures)
                if loop.time() + pause >= until:  # no token, and no time
                    raise
            failures += 1
            await asyncio.sleep(pause)

    async def requeue(
        self, job_ids: Sequence[int], *, reason: str = "", include_completed: bool = False, data: Any = None, payload: bytes | None = None, content_type: str = "",
        abort_first: bool = False, grace_s: float | None = None, descendants: bool = False,
    ) -> list[JobResult]:  # fmt: skip
        """Starts a new run of settled jobs, of completed ones only with `include_completed`; one result for each, in order.

        Args:
            data, payload: input of the new run, as in `submit`; without them the same again.
            abort_first: jobs that are not settled are aborted first, and run again once they have ended; this does not wait for it. What completes meanwhile stays
                completed, unless `include_completed`. `grace_s`: how long their handlers may take.
            descendants: with each job whatever failed below it, in the graph, is requeued; the result of the job is followed by theirs. Each waits for those of its
                dependencies that run again. A new input, and `include_completed`, concern the jobs that are named.
        """
        if descendants:
            if abort_first or grace_s is not None:
                message = "abort_first does not go together with descendants: abort the job, wait until it has ended, and requeue it then"
                raise InvalidRequest(message, details={"field": "abort_first"})
            return await self._requeue_descendants(job_ids, reason, include_completed, new_payload(data, payload), content_type)
        results: dict[int, JobResult] = {}
        for ids, encoded, kind in await self._new_payloads(job_ids, new_payload(data, payload), content_type):
            request = build(
                admin_pb2.RequeueJobsRequest, job_ids=ids, reason=reason, include_completed=include_completed, payload=encoded, content_type=kind,
                abort_first=abort_first, grace=duration("grace_s", grace_s),
            )  # fmt: skip
            results.update((item.job_id, decode.result(item)) for item in (await self._call(lambda stubs: stubs.admin.RequeueJobs, request)).results)
        return [results[job_id] for job_id in job_ids]

    async def _requeue_descendants(
        self, job_ids: Sequence[int], reason: str, include_completed: bool, payload: bytes | None, content_type: str
    ) -> list[JobResult]:  # fmt: skip
        found: list[JobResult] = []
        for ids, encoded, kind in await self._new_payloads(job_ids, payload, content_type):
            for job_id in ids:
                request = build(
                    lifecycle_pb2.RequeueDescendantsRequest, job_id=job_id, reason=reason, include_completed=include_completed, payload=encoded, content_type=kind
                )
                found += [decode.result(item) for item in (await self._call(lambda stubs: stubs.lifecycle.RequeueDescendants, request)).results]
        return found

    async def abort(self, job_ids: Sequence[int], *, reason: str = "", grace_s: float | None = None, force: bool = False) -> list[JobResult]:
        """Ends waiting jobs and has running ones stopped; `force` ends those at once, without waiting for their agents."""
        request = build(admin_pb2.AbortJobsRequest, job_ids=job_ids, reason=reason, force=force, grace=duration("grace_s", grace_s))
        return [decode.result(item) for item in (await self._call(lambda stubs: stubs.admin.AbortJobs, request)).results]

    async def update(
        self, job_ids: Sequence[int], *, reason: str = "", priority: int | None = None, data: Any = None, payload: bytes | None = None, content_type: str = "",
        hold: bool | None = None, delete_after_s: float | None = None, delete_at: datetime | None = None, delete_by_type: bool = False,
        set_labels: Mapping[str, str] | None = None, remove_labels: Sequence[str] = (),
    ) -> list[JobResult]:  # fmt: skip
        """Changes jobs and leaves them where they are; what is not given stays as it is. One result for each, in order.

        Args:
            data, payload: input of the next attempt; of waiting jobs only.
            hold: True: they are never deleted; False: their date is again what it would be.
            delete_after_s: they are deleted this long after they have settled. `delete_at`: at this time (settled jobs). `delete_by_type`: as their type says.
        """
        results: dict[int, JobResult] = {}
        for ids, encoded, kind in await self._new_payloads(job_ids, new_payload(data, payload), content_type):
            request = build(
                lifecycle_pb2.UpdateJobsRequest, job_ids=ids, reason=reason, priority=priority, payload=encoded, content_type=kind,
                hold=hold,  # type: ignore[arg-type]  # the stub does not know that an optional field may be None
                delete_after=duration("delete_after_s", delete_after_s), delete_by_type=delete_by_type, set_labels=dict(set_labels or {}), remove_labels=remove_labels,
                delete_at=timestamp("delete_at", delete_at),
            )  # fmt: skip
            results.update((item.job_id, decode.result(item)) for item in (await self._call(lambda stubs: stubs.lifecycle.UpdateJobs, request)).results)
        return [results[job_id] for job_id in job_ids]

    async def _new_payloads(self, job_ids: Sequence[int], payload: bytes | None, content_type: str) -> list[tuple[Sequence[int], bytes | None, str]]:
        """(jobs, their new payload as it is stored, its content type): all at once, unless there are codecs, which encode it for the type of each job."""
        codecs = self._codecs
        if codecs is None or payload is None:
            return [(job_ids, *await self._kept(payload, content_type))]
        by_type: dict[str, list[int]] = {}
        for job_id in dict.fromkeys(job_ids):
            try:
                answer = await self._call(lambda stubs: stubs.jobs.GetJob, build(jobs_pb2.GetJobRequest, job_id=job_id))
                by_type.setdefault(answer.job.type, []).append(job_id)
            except NotFound:
                by_type.setdefault("", []).append(job_id)  # the broker says so of it
        return [(ids, *await self._kept(await encoded_aside(codecs, payload, type_, "payload"), content_type)) for type_, ids in by_type.items()]

    async def _kept(self, payload: bytes | None, content_type: str) -> tuple[bytes | None, str]:
        """(An encoded payload as it travels, its content type): a reference, where it is kept outside."""
        if self._claims is None or payload is None or not self._claims.takes(payload):
            return payload, content_type
        return await self._claims.keep(payload, content_type), CLAIM_TYPE

    async def hold(self, job_ids: Sequence[int], *, reason: str = "") -> list[JobResult]:
        """Jobs are kept from deletion until they are released."""
        return await self.update(job_ids, reason=reason, hold=True)

    async def release(self, job_ids: Sequence[int], *, reason: str = "") -> list[JobResult]:
        """Ends the hold of jobs: they are deleted when they would have been without it, at once if that has passed."""
        return await self.update(job_ids, reason=reason, hold=False)

    async def purge(self, job_ids: Sequence[int], *, reason: str = "") -> list[JobResult]:
        """Deletes settled jobs now."""
        request = build(admin_pb2.PurgeJobsRequest, job_ids=job_ids, reason=reason)
        return [decode.result(item) for item in (await self._call(lambda stubs: stubs.admin.PurgeJobs, request)).results]

    async def _call(self, make_call: Callable[[Stubs], Callable[..., Awaitable[T]]], request: Any, *, repeatable: bool = True, timeout_s: float | None = None) -> T:
        """One unary call, made again at the next broker while the time lasts: always when nothing was stored, and after an unknown result only if `repeatable`.

        A broker that has too much to do is asked again after the delay that it gave, and only as often as the budget allows (retry.py).
        Once a try had an unknown result, so has the call, unless a later one is answered.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + (check_timeout("timeout_s", timeout_s) or self._timeout_s)
        failures = 0
        unknown = False
        while True:
            stubs = self._brokers.current()
            left = max(0.001, until - loop.time())
            try:
                answer = await make_call(stubs)(request, timeout=left, metadata=self._metadata)
                self._budget.answered()
                return answer
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc(rpc_error)
                refused = never_sent(rpc_error)
                unknown = unknown or not (refused or left_nothing(error))
                again = refused or left_nothing(error) or (repeatable and isinstance(error, Unavailable))
                pause = backoff_s(self._brokers.rounds(failures))
                if isinstance(error, QuotaExceeded):
                    pause = max(pause, error.retry_after_s)
                elif isinstance(error, Busy):
                    pause = max(pause, pause_s(error.retry_after_s))
                    again = self._budget.refused() and again
                if not again or loop.time() + pause >= until:
                    if unknown and again and not isinstance(error, ResultUnknown):
                        raise ResultUnknown(f"{error.message}; an earlier try was not answered, it may have been carried out", reason=error.reason) from rpc_error
                    if refused:
                        raise self._unreached(rpc_error) from rpc_error
                    raise error from rpc_error
                self._brokers.failed(stubs)
                failures += 1
                await asyncio.sleep(pause)

    def _unreached(self, rpc_error: grpc.aio.AioRpcError) -> Unavailable:
        """The error for calls that could not be sent to any broker."""
        return Unavailable(f"no broker reached at {', '.join(self._brokers.addresses)}{connect_problem(rpc_error)}; nothing was stored")
