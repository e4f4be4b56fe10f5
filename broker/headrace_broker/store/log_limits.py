"""How much of an attempt's log is kept: whole lines up to a number and a size, and one line that says how many more there were.

Lines are numbered by their agent, the dropped ones too, so that the number of those that are not kept follows from the numbers alone: sending lines again, to this broker
or the next one, changes nothing. What is stored of an attempt is remembered while it logs; where it is not known, after a takeover or long after the attempt's end, it is
read. An agent may number its lines as it likes: more than the limits is never stored of one attempt, but for the lines that are on their way when a takeover happens.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.ids import class_of
from headrace_broker.store.statements import sql

StoredLine = tuple[int, int, int, datetime, int, str]
"""(job_id, lease_epoch, line_no, at, level, text)"""
Lease = tuple[int, int]
"""(job_id, lease_epoch)"""
REMEMBERED = 20_000
"""Attempts whose usage is remembered; the ones that logged longest ago are read again."""
MARK_LEVEL = 3


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Lines of one attempt, in order. `type_id`: of its job; None: to be looked up. `new`: nothing can be stored of it unless it came through here.
    `agent_id`: the life of the agent that sent them; `holder_id`: of the one whose lease it is; None: to be looked up."""

    lease: Lease
    type_id: int | None
    new: bool
    lines: Sequence[tuple[int, datetime, int, str]]  # line_no, at, level, text
    agent_id: int
    holder_id: int | None


@dataclass(slots=True)
class Usage:
    """Of one attempt: the type of its job (0: not known), whose lease it is (None: nobody's), kept bytes of text, highest number seen, and the number of the first line
    that was not kept (0: all were)."""

    type_id: int = 0
    holder_id: int | None = None
    bytes: int = 0
    last_no: int = 0
    mark_no: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """The line that stands for those that are not kept."""

    lease: Lease
    line_no: int
    text: str


class LogLimits:
    """Used by the one writer of log lines. `limits_of` a type: (lines, bytes) of one attempt. Lines of leases that are not their agent's are not kept."""

    def __init__(self, pool: "asyncpg.Pool[Any]", limits_of: Callable[[int], tuple[int, int]]) -> None:
        self._pool = pool
        self._limits_of = limits_of
        self._usage: OrderedDict[Lease, Usage] = OrderedDict()
        self.foreign = 0  # batches of agents that do not have the lease

    async def keep(self, batches: Iterable[LogBatch]) -> tuple[list[StoredLine], list[Mark]]:
        """What is to be stored of these lines, and the marks that are to be brought up to date. Raises what asyncpg raises."""
        batches = [batch for batch in batches if batch.lines]
        await self._read([batch.lease for batch in batches if batch.lease not in self._usage and not (batch.new and batch.lines[0][0] == 1)])
        stored: list[StoredLine] = []
        marks: list[Mark] = []
        for batch in batches:
            lease = batch.lease
            usage = self._usage.setdefault(lease, Usage(batch.type_id or 0, batch.holder_id))
            self._usage.move_to_end(lease)
            self._take(batch, usage, stored, marks)
            if usage.holder_id is None:  # nobody has such a lease yet: whoever will have it begins anew
                del self._usage[lease]
        while len(self._usage) > REMEMBERED:
            self._usage.popitem(last=False)
        return stored, marks

    def forget(self, leases: Iterable[Lease]) -> None:
        """What was to be stored of these attempts may not have been: it is read again."""
        for lease in leases:
            self._usage.pop(lease, None)

    def _take(self, batch: LogBatch, usage: Usage, stored: list[StoredLine], marks: list[Mark]) -> None:
        job_id, epoch = batch.lease
        if usage.holder_id != batch.agent_id:
            self.foreign += 1
            return
        most_lines, most_bytes = self._limits_of(usage.type_id)
        dropped = False
        for line_no, at, level, text in batch.lines:
            again = line_no <= usage.last_no
            usage.last_no = max(usage.last_no, line_no)
            if usage.mark_no and line_no >= usage.mark_no:
                dropped = True
                continue
            if not again:
                size = len(text.encode())
                if line_no > most_lines or usage.bytes + size > most_bytes:
                    usage.mark_no = line_no
                    dropped = True
                    stored.append((job_id, epoch, line_no, at, MARK_LEVEL, _mark(usage, most_lines, most_bytes)))
                    continue
                usage.bytes += size
            stored.append((job_id, epoch, line_no, at, level, text))
        if dropped:
            marks.append(Mark(batch.lease, usage.mark_no, _mark(usage, most_lines, most_bytes)))

    async def _read(self, leases: list[Lease]) -> None:
        """Fills in what is not known."""
        if not leases:
            return
        ids, epochs = [job_id for job_id, _ in leases], [epoch for _, epoch in leases]
        for row in await self._pool.fetch(sql("log_usage"), ids, sorted(set(map(class_of, ids))), epochs):
            self._usage[row["job_id"], row["lease_epoch"]] = Usage(row["type_id"], row["agent_id"], row["bytes"] or 0, row["last_no"] or 0, row["mark_no"] or 0)


def _mark(usage: Usage, most_lines: int, most_bytes: int) -> str:
    return f"… {usage.last_no - usage.mark_no + 1} more lines not kept: the limit is {most_lines} lines and {most_bytes} bytes of one attempt"
