"""The log lines of one agent's stream on their way to the writer: stored in the order in which they came, and confirmed only when all before them are stored too."""

import asyncio
from collections import deque

import structlog

from headrace_broker.shards.session import Session
from headrace_broker.store.log_limits import LogBatch
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.pool import READ_FAILURES

IN_HAND = 8
"""Messages whose lines are not stored yet; an agent that sends more is not read from meanwhile."""
AGAIN_S = 0.5
"""After the database could not take them."""

log = structlog.get_logger("headrace.agents")


class LogIntake:
    """Of the stream that `token` stands for. Its task lives in the task group that is passed in, while there are lines."""

    def __init__(self, writer: LogWriter, tasks: asyncio.TaskGroup, session: Session, token: object) -> None:
        self._writer = writer
        self._tasks = tasks
        self._session = session
        self._token = token
        self._waiting: deque[tuple[int, list[LogBatch]]] = deque()
        self._room = asyncio.Semaphore(IN_HAND)
        self._running = False

    async def put(self, number: int, batches: list[LogBatch]) -> None:
        """Takes the lines of the message with this number; waits while there are too many."""
        await self._room.acquire()
        self._waiting.append((number, batches))
        if not self._running:
            self._running = True
            self._tasks.create_task(self._store())

    async def _store(self) -> None:
        """Until nothing waits, or the agent has another stream: then it sends again what was not confirmed. Nothing may leave it: its group is the server's."""
        try:
            while self._waiting and self._session.stream is self._token:
                taken = list(self._waiting)
                try:
                    await self._writer.put([batch for _, batches in taken for batch in batches])
                except READ_FAILURES as error:
                    log.warning("log lines not stored yet; the agent keeps them", agent=self._session.facts.name, reason=str(error))
                    await asyncio.sleep(AGAIN_S)
                    continue
                except Exception:  # what Postgres refuses for good: the lines after them shall not wait for ever
                    log.exception("log lines not stored", agent=self._session.facts.name)
                for _ in taken:
                    self._waiting.popleft()
                    self._room.release()
                if self._session.stream is self._token:
                    self._session.out.logs_no = max(self._session.out.logs_no, taken[-1][0])
                    self._session.wake.set()
        finally:
            self._running = False
