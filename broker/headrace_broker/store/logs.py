"""Writes the lines that handlers log, and tells who waits for them. They never share a commit, a connection or a queue with grants and outcomes."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import asyncpg

from headrace_broker.metrics import Metrics
from headrace_broker.model.ids import class_of
from headrace_broker.store.log_limits import LogBatch, LogLimits, Mark, StoredLine
from headrace_broker.store.statements import sql

MAX_LINES = 5000  # of one statement


class LogWriter:
    """Combines what is put at the same time into one statement, in the order in which it was put. Lines that were stored before are passed over, so repeats do no harm.

    `limits_of` a type_id (0: not known): lines and bytes that are kept of one attempt. Lines of leases that are not their agent's are not kept.
    """

    def __init__(self, pool: "asyncpg.Pool[Any]", limits_of: Callable[[int], tuple[int, int]], metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._limits = LogLimits(pool, limits_of)
        self._waiting: OrderedDict[asyncio.Future[None], Sequence[LogBatch]] = OrderedDict()  # in the order in which they were put
        self._writing = asyncio.Lock()
        self._readers: dict[int, set[asyncio.Event]] = {}  # by job

    async def put(self, batches: Sequence[LogBatch]) -> None:
        """Returns when the lines are stored that the limits of their attempts leave. Raises what asyncpg raises; then none of these lines may be counted on.

        Cancellation: the lines may be stored all the same.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[done] = batches
        try:
            async with self._writing:
                if not done.done():  # callers write in their order, so nobody's lines are before these any more
                    await self._write()
        except asyncio.CancelledError:
            self._waiting.pop(done, None)  # not looked for: the calls of thousands may end at once
            done.cancel()  # an error that it has already is somebody else's to tell
            raise
        await done

    @contextmanager
    def listening(self, job_id: int, wake: asyncio.Event) -> Iterator[None]:
        """Within it, `wake` is set whenever lines of the job have been stored here."""
        self._readers.setdefault(job_id, set()).add(wake)
        try:
            yield
        finally:
            self._readers[job_id].discard(wake)
            if not self._readers[job_id]:
                del self._readers[job_id]

    async def _write(self) -> None:
        """Stores what waits first. When the caller whose turn it is goes meanwhile, the lines of all others are the first ones of whoever is next."""
        taken: list[tuple[asyncio.Future[None], Sequence[LogBatch]]] = []
        lines = 0
        while self._waiting and lines < MAX_LINES:
            taken.append(self._waiting.popitem(last=False))
            lines += sum(len(batch.lines) for batch in taken[-1][1])
        batches = [batch for _, put in taken for batch in put]
        try:
            stored = await self._store(batches)
        except BaseException as error:
            self._limits.forget(batch.lease for batch in batches)
            if not isinstance(error, Exception):
                for done, put in reversed(taken):
                    if not done.done():
                        self._waiting[done] = put
                        self._waiting.move_to_end(done, last=False)
                raise
            for done, _ in taken:
                if not done.done():
                    done.set_exception(error)
            return
        self._metrics.log_lines.inc(stored)
        for done, _ in taken:
            if not done.done():
                done.set_result(None)
        if self._readers:
            for job_id in {batch.lease[0] for batch in batches}:
                for wake in self._readers.get(job_id, ()):
                    wake.set()

    async def _store(self, batches: Sequence[LogBatch]) -> int:
        """Stores lines, as far as their limits go; returns how many there were."""
        before = self._limits.foreign
        stored, marks = await self._limits.keep(batches)
        if self._limits.foreign > before:
            self._metrics.foreign_leases.labels("log").inc(self._limits.foreign - before)
        rows = {line[:3]: line for line in stored}
        await self._insert([rows[key] for key in sorted(rows)])
        for mark in marks:
            await self._mark(mark)
        return len(rows)

    async def _insert(self, rows: list[StoredLine]) -> None:
        """One statement; if an id among the lines was never given out, which no partition takes, line by line without those."""
        if not rows:
            return
        try:
            await self._pool.execute(sql("log_write"), *([row[column] for row in rows] for column in range(6)))
        except asyncpg.CheckViolationError:
            if len(rows) > 1:
                for row in rows:
                    await self._insert([row])

    async def _mark(self, mark: Mark) -> None:
        await self._pool.execute(sql("log_mark"), mark.lease[0], class_of(mark.lease[0]), mark.lease[1], mark.line_no, mark.text)
