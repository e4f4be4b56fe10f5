"""Jobs that wait for a time: those due soon in a heap, the others as three numbers each in the bucket of their time.

A million jobs that are scheduled for the same second cost 24 bytes each until their bucket's time comes, and are moved on in portions then: they hold nobody up.
"""

import heapq
import itertools
from array import array
from collections.abc import Iterable, Iterator
from typing import TypeVar

Number = TypeVar("Number", int, float)
BUCKET_S = 8.0  # jobs due in the same so many seconds share a bucket
PORTION = 10_000  # jobs moved in one step


class Timers:
    """Times are those of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._near: list[tuple[float, int, int]] = []  # heap of (due, job_id, what)
        self._far: dict[int, tuple[array[int], array[int], array[float]]] = {}  # bucket -> ids, what, due
        self._order: list[int] = []  # heap of the buckets

    def __len__(self) -> int:
        return len(self._near) + sum(len(ids) for ids, _, _ in self._far.values())

    def push(self, due: float, job_id: int, type_id: int, priority: int, now: float) -> None:
        """A job that may be granted at `due`."""
        self._put(due, job_id, type_id << 32 | priority + 0x8000_0000, now)

    def _put(self, due: float, job_id: int, what: int, now: float) -> None:
        bucket = int(due // BUCKET_S)
        if bucket <= now // BUCKET_S:
            heapq.heappush(self._near, (due, job_id, what))
            return
        columns = self._bucket(bucket)
        columns[0].append(job_id)
        columns[1].append(what)
        columns[2].append(due)

    def extend(self, job_ids: "array[int]", whats: "array[int]", dues: "array[float]", now: float) -> None:
        """Many jobs, each with what `columns` says of it. Those of one bucket that follow each other, as `columns` has them, are taken together."""
        start, nearest = 0, now // BUCKET_S
        for number, run in itertools.groupby([due // BUCKET_S for due in dues]):
            end = start + len(list(run))
            if number <= nearest:
                for job_id, what, due in zip(job_ids[start:end], whats[start:end], dues[start:end], strict=True):
                    heapq.heappush(self._near, (due, job_id, what))
            else:
                columns = self._bucket(int(number))
                columns[0].extend(job_ids[start:end])
                columns[1].extend(whats[start:end])
                columns[2].extend(dues[start:end])
            start = end

    def _bucket(self, number: int) -> "tuple[array[int], array[int], array[float]]":
        """The columns of a bucket whose time has not come."""
        columns = self._far.get(number)
        if columns is None:
            columns = self._far[number] = (array("q"), array("q"), array("d"))
            heapq.heappush(self._order, number)
        return columns

    def pop_due(self, now: float) -> list[tuple[int, int, int]]:
        """(type_id, priority, job_id) of jobs whose time has come, the earliest first, at most PORTION; later ones come with the next call."""
        self._approach(now)
        found: list[tuple[int, int, int]] = []
        near = self._near
        while near and near[0][0] <= now and len(found) < PORTION:
            _, job_id, what = heapq.heappop(near)
            found.append((what >> 32, (what & 0xFFFF_FFFF) - 0x8000_0000, job_id))
        return found

    def _approach(self, now: float) -> None:
        """Moves jobs of buckets whose time has come into the heap, at most PORTION; however many are there, since those that are left may be due before them."""
        left = PORTION
        while left and self._order and self._order[0] <= now // BUCKET_S:
            columns = self._far[self._order[0]]
            for job_id, what, due in zip(*(column[-left:] for column in columns), strict=True):
                heapq.heappush(self._near, (due, job_id, what))
            moved = min(left, len(columns[0]))
            left -= moved
            for column in columns:
                del column[-moved:]
            if not columns[0]:
                del self._far[heapq.heappop(self._order)]

    def shift(self, seconds: float, now: float) -> None:
        """For tests: everything is due so much earlier."""
        ids, whats, dues = self.columns()
        self._near.clear()
        self._far.clear()
        self._order.clear()
        for job_id, what, due in zip(ids, whats, dues, strict=True):
            self._put(due - seconds, job_id, what, now)

    def next_due(self) -> float | None:
        """When `pop_due` has something to do next; None: never."""
        due = [self._near[0][0]] if self._near else []
        if self._order:
            due.append(self._order[0] * BUCKET_S)
        return min(due, default=None)

    def entries(self) -> Iterator[tuple[int, int]]:
        """(job_id, type_id) of all, in no order."""
        for _, job_id, what in self._near:
            yield job_id, what >> 32
        for ids, whats, _ in self._far.values():
            for job_id, what in zip(ids, whats, strict=True):
                yield job_id, what >> 32

    def columns(self) -> "tuple[array[int], array[int], array[float]]":
        """Copies of all ids, what (type_id << 32 | priority + 2^31) and times, in the same order."""
        ids, whats, dues = array("q"), array("q"), array("d")
        for due, job_id, what in self._near:
            ids.append(job_id)
            whats.append(what)
            dues.append(due)
        for columns in self._far.values():
            ids.extend(columns[0])
            whats.extend(columns[1])
            dues.extend(columns[2])
        return ids, whats, dues


def chosen(column: "array[Number]", which: Iterable[bool]) -> "array[Number]":
    """The entries of a column for which `which` says so."""
    return array(column.typecode, itertools.compress(column, which))
