"""The partitions that facts go to: which there are, and making those that will be needed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from headrace_broker.model.ids import RETENTION_CLASSES, RetentionClass, lowest_id_at
from headrace_broker.store.statements import sql

AHEAD = 2  # ranges that exist beyond the one in use


@dataclass(frozen=True, slots=True)
class FactRange:
    """Ids of one class from `lo` (included) to `hi` (excluded), kept in leaves of their own."""

    class_: int
    lo: int
    hi: int


async def ensure(pool: "asyncpg.Pool[Any]", classes: Iterable[int], now_s: float, known: Iterable[FactRange] = ()) -> int:
    """Makes the ranges of these classes that hold ids of now and of the next ranges; returns how many were missing. Safe to repeat, also at once elsewhere.

    `known` are not asked for.
    """
    made = 0
    there = {(range_.class_, range_.lo) for range_ in known}
    for class_ in _chosen(classes):
        for start in _starts(class_, now_s):
            if (class_.number, lowest_id_at(start)) in there:
                continue
            suffix = datetime.fromtimestamp(start, UTC).strftime("%Y%m%d_%H%M")
            made += bool(await pool.fetchval(sql("range_add"), class_.number, lowest_id_at(start), lowest_id_at(start + class_.range_s), suffix))
    return made


def open_ids(classes: Iterable[int], now_s: float) -> dict[int, range]:
    """The ids of each class that have partitions once `ensure` has returned."""
    starts = {class_: _starts(class_, now_s) for class_ in _chosen(classes)}
    return {class_.number: range(lowest_id_at(of_class.start), lowest_id_at(of_class.stop)) for class_, of_class in starts.items()}


def _chosen(classes: Iterable[int]) -> list[RetentionClass]:
    wanted = set(classes)
    return [class_ for class_ in RETENTION_CLASSES if class_.number in wanted]


def _starts(class_: RetentionClass, now_s: float) -> range:
    """When the range in use begins, and those beyond it, in seconds since 1970."""
    first = int(now_s) // class_.range_s * class_.range_s
    return range(first, first + (AHEAD + 1) * class_.range_s, class_.range_s)


async def ranges(pool: "asyncpg.Pool[Any]") -> list[FactRange]:
    """All ranges, newest first."""
    return [FactRange(r["class"], r["lo"], r["hi"]) for r in await pool.fetch(sql("ranges"))]
