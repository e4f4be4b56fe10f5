"""Codecs and claims on the agent's side.

Before a handler sees them payloads are fetched that are kept outside, and payloads and checkpoints decoded; results, checkpoints and, if wanted, errors are encoded
afterwards, and large results kept outside.
"""

import asyncio
import base64
import contextlib
import functools
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from headrace_client import ClaimCheck, ClaimError, ClaimUnavailable, CodecError, CodecMissing, InvalidRequest, Submitted
from headrace_client.claims import unclaimed
from headrace_client.codecs import LARGE_BYTES, Codecs, decoded_aside, missing
from headrace_proto.encoding import ENCODED_ERROR, MAGIC
from headrace_proto.v1 import agents_pb2, jobs_pb2

from headrace_agent.context import Sink
from headrace_agent.errors import PayloadUnavailable, ResultNotKept, UndecodablePayload
from headrace_agent.job import Job

MAX_TRACEBACK = 64 * 1024  # what the broker keeps
log = logging.getLogger("headrace.agent")
WAIT_S = 30.0
"""How long a job that this agent cannot read is put off, when it is to wait."""


async def fetch_payload(job: Job, claims: ClaimCheck | None, *, wait: bool) -> None:
    """Puts the payload into a job whose payload is a reference, in place.

    Raises:
        UndecodablePayload: it cannot be read; `after_s` is set where no claims are set up here, and another agent may have them. PayloadUnavailable: not now.
    """
    if claims is None:
        raise UndecodablePayload(unclaimed(job.payload, "payload").message, after_s=WAIT_S if wait else None)
    try:
        job.payload, job.content_type = await claims.fetch(job.payload)
    except ClaimUnavailable as error:
        raise PayloadUnavailable(error.message) from error
    except ClaimError as error:
        raise UndecodablePayload(error.message, after_s=None) from error


async def keep_result(data: bytes, claims: ClaimCheck) -> bytes:
    """A result, encoded, as it travels. Raises ResultNotKept."""
    try:
        return await claims.keep(data, part="result")
    except (InvalidRequest, ClaimUnavailable) as error:
        raise ResultNotKept(error.message, permanent=isinstance(error, InvalidRequest)) from error


async def open_job(job: Job, codecs: Codecs | None, *, wait: bool) -> None:
    """Decodes a job's payload and checkpoint in place.

    Raises:
        UndecodablePayload: they cannot be read; `after_s` is set where another agent, or this one after a change, might.
    """
    try:
        if codecs is not None:
            job.payload = await decoded_aside(codecs, job.payload, job.type, "payload")
            if job.checkpoint is not None:
                job.checkpoint = await decoded_aside(codecs, job.checkpoint, job.type, "checkpoint")
        elif job.payload.startswith(MAGIC):
            raise missing(job.payload, "payload")
        elif job.checkpoint is not None and job.checkpoint.startswith(MAGIC):
            raise missing(job.checkpoint, "checkpoint")
    except CodecMissing as error:
        raise UndecodablePayload(error.message, after_s=WAIT_S if wait else None) from error
    except CodecError as error:
        raise UndecodablePayload(error.message, after_s=None) from error


def seal_error(outcome: agents_pb2.Outcome, codecs: Codecs) -> None:
    """Encodes the message and the traceback of a failure in place; its code and fingerprint stay, so that failures can be counted and grouped."""
    error = outcome.error
    room = len(error.traceback)
    while True:
        said = json.dumps({"message": error.message, "traceback": error.traceback[-room:] if room else ""}).encode()
        traceback = ENCODED_ERROR + base64.b64encode(codecs.encode(said, "", "error")).decode()
        if len(traceback) <= MAX_TRACEBACK or not room:
            break
        room //= 2
    error.message, error.traceback = f"{error.code}: the message is encoded; a client with the codecs shows it", traceback


class Checkpoints:
    """Those of one attempt on their way through codecs. The newest is the one that counts: what another follows meanwhile may be left out.

    A large one that is saved in `loop`, where all handlers run, is encoded in a thread, one at a time. `put` may be called in any thread, the rest in `loop`.
    """

    def __init__(self, encode: Callable[[bytes], bytes], pass_on: Callable[[bytes], None], loop: asyncio.AbstractEventLoop) -> None:
        self._encode = encode
        self._pass_on = pass_on
        self._loop = loop
        self._saves = self._passed = 0  # how many were saved; the newest of them that was passed on
        self._waiting: tuple[int, bytes] | None = None
        self._encoding: asyncio.Task[None] | None = None

    def put(self, data: bytes) -> None:
        """Takes one. Raises what its encoding or its size leads to; of a large one before it, once that is known: then this one is not taken."""
        self._saves += 1
        if len(data) <= LARGE_BYTES or not _runs_here(self._loop):
            self._pass(self._saves, self._encode(data))
            return
        if self._encoding is not None and self._encoding.done():
            before, self._encoding = self._encoding, None
            before.result()
        self._waiting = self._saves, data
        if self._encoding is None:
            self._encoding = self._loop.create_task(self._encode_waiting())

    async def saved(self) -> None:
        """Returns once all are passed on. Raises as `put`. Cancelled, it leaves them to go on."""
        encoding = self._encoding
        if encoding is not None:
            try:
                await asyncio.shield(encoding)
            finally:
                if encoding.done():
                    self._encoding = None

    async def end(self) -> None:
        """The same at the end of an attempt, since a checkpoint goes before the outcome: it is not cancelled, and what cannot be passed on is told in the agent's log."""
        encoding = self._encoding
        while encoding is not None and not encoding.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([encoding])
        if encoding is not None and not encoding.cancelled() and (error := encoding.exception()) is not None:
            log.warning("a checkpoint is not saved: %s", error)

    async def _encode_waiting(self) -> None:
        while self._waiting is not None:
            (number, data), self._waiting = self._waiting, None
            self._pass(number, await asyncio.to_thread(self._encode, data))

    def _pass(self, number: int, data: bytes) -> None:
        if number > self._passed:
            self._passed = number
            self._pass_on(data)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class SealedSink:
    """Where the reports of one attempt go, with its checkpoints encoded, and the results of its transactions encoded and kept. `loop`: where handlers run."""

    def __init__(self, sink: Sink, codecs: Codecs | None, claims: ClaimCheck | None, type_: str, loop: asyncio.AbstractEventLoop) -> None:
        self._sink = sink
        self._codecs = codecs
        self._claims = claims
        self._type = type_
        self._loop = loop
        self.checkpoints: Checkpoints | None = None  # once there is one

    def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        """One line, as it is: logs are for those who operate the queue."""
        self._sink.log(job_id, epoch, line)

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        """As it is."""
        self._sink.progress(job_id, epoch, percent, text)

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """Encoded, soon where it is large."""
        if self._codecs is None:
            self._sink.checkpoint(job_id, epoch, data)
            return
        if self.checkpoints is None:
            encode = functools.partial(self._codecs.encode, type_=self._type, part="checkpoint")
            self.checkpoints = Checkpoints(encode, functools.partial(self._sink.checkpoint, job_id, epoch), self._loop)
        self.checkpoints.put(data)

    def seal_result(self, data: bytes, type_: str) -> bytes:
        """A result that goes into the database with the handler's own transaction."""
        return data if self._codecs is None else self._codecs.encode(data, type_, "result")

    async def keep_result(self, data: bytes) -> bytes:
        """The same, as it travels."""
        return data if self._claims is None else await keep_result(data, self._claims)

    def keep_result_blocking(self, data: bytes) -> bytes:
        """For threads."""
        return asyncio.run(self.keep_result(data))

    def submit(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Submitted]:
        """The agent's client has the same codecs and claims."""
        return self._sink.submit(*args, **kwargs)

    def submit_blocking(self, *args: Any, **kwargs: Any) -> Submitted:
        """The agent's client has the same codecs and claims."""
        return self._sink.submit_blocking(*args, **kwargs)

    def ask(self, method: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """What a method of the client reads: the client has codecs and claims."""
        return self._sink.ask(method, *args)

    def ask_blocking(self, method: str, *args: Any) -> Any:
        """The same for threads and processes."""
        return self._sink.ask_blocking(method, *args)
