"""What every client shares: brokers, metadata, how a call is made again, and the changes of jobs that users and administrators both make."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from headrace_proto.v1 import admin_pb2
from headrace_proto.wire import DOMAIN_KEY

from headrace_client import models
from headrace_client.channel import Brokers, Stubs, backoff_s, is_encrypted, metadata
from headrace_client.codecs import Codec, Codecs
from headrace_client.credentials import Pairs, Token, refuse_plaintext
from headrace_client.encode import build, duration
from headrace_client.errors import ResultUnknown, Unavailable, from_rpc, left_nothing, never_sent
from headrace_client.models import JobResult

T = TypeVar("T")


class Base:
    """A client of one or several brokers, bound to the event loop in which it is first used; use as an async context manager, or call `close`."""

    def __init__(
        self, broker: str | Sequence[str] | None = None, *, domain: str | None = None, token: Token | None = None, tls_ca: str | Path | None = None,
        actor: str | None = None, on_behalf_of: str | None = None, timeout_s: float = 30.0, codecs: Sequence[Codec] = (),
    ) -> None:  # fmt: skip
        """`broker`: HOST:PORT or unix:PATH, several with commas between them (default: HEADRACE_BROKER, then 127.0.0.1:7233). `timeout_s` is for each call.
        `token`: the secret, or a function that gives it, such as a TokenFile (default: HEADRACE_TOKEN, HEADRACE_TOKEN_FILE). `actor`: who this is where no token says so.
        `on_behalf_of`: whose wish changes are, for the audit; operators and administrators only.
        `codecs`: what payloads go through before they are sent, in this order, and payloads and results when they are read.

        Raises:
            InvalidRequest: an address, the domain, or the time makes no sense; or a token would travel in the clear. CodecError: the codecs do not go together.
        """
        self._brokers = Brokers(broker, tls_ca=tls_ca)
        self._call_metadata = metadata(domain, token, actor, on_behalf_of)
        if self._call_metadata.has_token:
            refuse_plaintext(self._brokers.addresses, encrypted=is_encrypted(tls_ca))
        self._timeout_s = timeout_s
        self._codecs = Codecs(codecs, dict(self._metadata)[DOMAIN_KEY]) if codecs else None

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

    async def requeue(self, job_ids: Sequence[int], *, reason: str = "", include_completed: bool = False) -> list[JobResult]:
        """Starts a new run of settled jobs, of completed ones only with `include_completed`; one result for each, in order."""
        request = build(admin_pb2.RequeueJobsRequest, job_ids=job_ids, reason=reason, include_completed=include_completed)
        return [models.result(item) for item in (await self._call(lambda stubs: stubs.admin.RequeueJobs, request)).results]

    async def abort(self, job_ids: Sequence[int], *, reason: str = "", grace_s: float | None = None, force: bool = False) -> list[JobResult]:
        """Ends waiting jobs and has running ones stopped; `force` ends those at once, without waiting for their agents."""
        request = build(admin_pb2.AbortJobsRequest, job_ids=job_ids, reason=reason, force=force, grace=duration("grace_s", grace_s))
        return [models.result(item) for item in (await self._call(lambda stubs: stubs.admin.AbortJobs, request)).results]

    async def purge(self, job_ids: Sequence[int], *, reason: str = "") -> list[JobResult]:
        """Deletes settled jobs now."""
        request = build(admin_pb2.PurgeJobsRequest, job_ids=job_ids, reason=reason)
        return [models.result(item) for item in (await self._call(lambda stubs: stubs.admin.PurgeJobs, request)).results]

    async def _call(self, make_call: Callable[[Stubs], Callable[..., Awaitable[T]]], request: Any, *, repeatable: bool = True, timeout_s: float | None = None) -> T:
        """One unary call, made again at the next broker while the time lasts: always when nothing was stored, and after an unknown result only if `repeatable`.

        Once a try had an unknown result, so has the call, unless a later one is answered.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + (timeout_s or self._timeout_s)
        failures = 0
        unknown = False
        while True:
            stubs = self._brokers.current()
            left = max(0.001, until - loop.time())
            try:
                return await make_call(stubs)(request, timeout=left, metadata=self._metadata)
            except grpc.aio.AioRpcError as rpc_error:
                error = from_rpc(rpc_error)
                refused = never_sent(rpc_error)
                unknown = unknown or not (refused or left_nothing(error))
                again = refused or left_nothing(error) or (repeatable and isinstance(error, Unavailable))
                pause = backoff_s(failures)
                if not again or loop.time() + pause >= until:
                    if unknown and again and not isinstance(error, ResultUnknown):
                        raise ResultUnknown(f"{error.message}; an earlier try was not answered, it may have been carried out", reason=error.reason) from rpc_error
                    if refused:
                        raise Unavailable(f"no broker reached at {', '.join(self._brokers.addresses)}; nothing was stored", reason=error.reason) from rpc_error
                    raise error from rpc_error
                self._brokers.failed(stubs)
                failures += 1
                await asyncio.sleep(pause)
