"""Following a job's log: the lines that are stored, then each as it is stored, until the attempt has ended or the job has settled.

Whoever follows reads the stored lines after the last one it has, whenever it is told that there may be more. So nothing is queued for a slow reader, nothing comes
twice and no line of an attempt is missed: they are stored in the order of their numbers. What an agent that was cut off brings after lines of a later attempt is not
told, since where a reader stands is one place. Lines travel beside the outcome of their attempt and may be stored after it, so an attempt's log is taken to be whole
when nothing has come for a moment after its end.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from headrace_broker.actions.reads import JobReads, in_one_answer
from headrace_broker.model.errors import NotOwner
from headrace_broker.model.job import SETTLED, State
from headrace_broker.shards.owner import Owner
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.reads import LogRow

PAGE = 1000
BETWEEN_S = 0.05
"""Between two reads, however fast lines come."""
LOOK_S = 1.0
"""When to look without being told: another broker may have stored lines."""
QUIET_S = 1.0
"""Without a line after the end of an attempt: then its log is whole."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Lines that came since the last one. `ended`: there will be no more."""

    lines: list[LogRow]
    ended: bool
    state: State


async def tail(
    owner: Owner, reads: JobReads, writer: LogWriter, job_id: int, domain: str, *, lease_epoch: int, min_level: int, after: tuple[int, int]
) -> AsyncGenerator[Tail, None]:
    """Lines after (lease epoch, line number) `after`; of one attempt when `lease_epoch` is not 0.

    Raises:
        JobNotFound, DatabaseUnavailable. NotOwner: this broker has given the queue up; go on at another one.
    """
    loop = asyncio.get_running_loop()
    quiet_since: float | None = None  # since when the attempt has ended and no line came
    with owner.hub.subscribe(job_ids=frozenset({job_id}), limit=1) as changes, writer.listening(job_id, changes.wake):
        while True:
            changes.clear()
            row = (await reads.get(job_id, domain)).row  # before the lines: what it says of the end is true of all lines that are stored by then
            over = row.state in SETTLED if not lease_epoch else row.seq > lease_epoch
            found = await reads.logs(job_id, domain, lease_epoch=lease_epoch, min_level=min_level, after=after, limit=PAGE)
            lines, more = in_one_answer(found, PAGE)
            if lines:
                after = (lines[-1].lease_epoch, lines[-1].line_no)
                yield Tail(lines, False, row.state)
            if more:
                continue
            now = loop.time()
            quiet_since = None if not over else now if lines or quiet_since is None else quiet_since
            if quiet_since is not None and now - quiet_since >= QUIET_S:
                yield Tail([], True, row.state)
                return
            if changes.closed:
                raise NotOwner("this broker no longer owns the queue; go on at another one")
            await asyncio.sleep(BETWEEN_S)
            await _woken(changes.wake, LOOK_S if quiet_since is None else max(0.0, quiet_since + QUIET_S - loop.time()))


async def _woken(wake: asyncio.Event, most_s: float) -> None:
    try:
        async with asyncio.timeout(most_s):
            await wake.wait()
    except TimeoutError:
        return
