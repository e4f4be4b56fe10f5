"""Writes the lines that handlers log. They never share a commit, a connection or a queue with grants and outcomes."""

import asyncio
from collections import deque
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.metrics import Metrics
from headrace_broker.store.statements import sql

StoredLine = tuple[int, int, int, datetime, int, str]
"""(job_id, lease_epoch, line_no, at, level, text)"""
MAX_LINES = 5000  # of one statement


class LogWriter:
    """Combines what is put at the same time into one statement. Lines that were stored before are passed over, so repeats do no harm."""

    def __init__(self, pool: "asyncpg.Pool[Any]", metrics: Metrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self._waiting: deque[tuple[list[StoredLine], asyncio.Future[None]]] = deque()
        self._writing = asyncio.Lock()

    async def put(self, lines: list[StoredLine]) -> None:
        """Returns when the lines are stored. Raises what asyncpg raises; then none of these lines may be counted on.

        Cancellation: the lines may be stored all the same.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((lines, done))
        async with self._writing:
            if not done.done():
                await self._write()
        await done

    async def _write(self) -> None:
        taken: list[asyncio.Future[None]] = []
        batch: dict[tuple[int, int, int], StoredLine] = {}
        while self._waiting and len(batch) < MAX_LINES:
            lines, done = self._waiting.popleft()
            taken.append(done)
            batch.update({line[:3]: line for line in lines})
        rows = [batch[key] for key in sorted(batch)]
        try:
            await self._insert(rows)
        except BaseException as error:
            for done in taken:
                if not done.done():
                    done.set_exception(error if isinstance(error, Exception) else ConnectionError("the writer was stopped"))
            if not isinstance(error, Exception):
                raise
            return
        self._metrics.log_lines.inc(len(rows))
        for done in taken:
            if not done.done():
                done.set_result(None)

    async def _insert(self, rows: list[StoredLine]) -> None:
        """One statement; if an id among the lines was never given out, which no partition takes, line by line without those."""
        try:
            await self._pool.execute(sql("log_write"), *([row[column] for row in rows] for column in range(6)))
        except asyncpg.CheckViolationError:
            if len(rows) > 1:
                for row in rows:
                    await self._insert([row])
