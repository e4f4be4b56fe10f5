"""Job ids: 63 bits that say when, where and for how long a job is kept.

    | milliseconds since 2025-01-01 UTC, database clock | counter | shard | retention class |
    |                       41 bits                      |   13    |   6   |        3        |

Ids rise with time, so new rows go to the right edge of every index. The class is in the lowest bits so that a job's partition follows from its id alone:
jobs that are kept for about the same time lie together and their partition can go as a whole.
"""

from dataclasses import dataclass

EPOCH_S = 1_735_689_600  # 2025-01-01T00:00:00Z; leaves room until 2094
SHARDS = 64
TICK_SHIFT = 9  # bits below the counter: shard and class
MS_SHIFT = 22  # bits below the milliseconds
MAX_ID = (1 << 63) - 1
MAX_BORROWED_MS = 10_000  # how far a counter that overflows may run ahead of the clock


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """Jobs kept for at most `keep_s` seconds after they settle share partitions of `range_s` seconds."""

    number: int
    keep_s: float
    range_s: int


RETENTION_CLASSES = (  # by keep_s; numbers are in ids and never change
    RetentionClass(6, 300, 300),
    RetentionClass(0, 3_600, 3_600),
    RetentionClass(1, 86_400, 6 * 3_600),
    RetentionClass(2, 8 * 86_400, 86_400),
    RetentionClass(3, 35 * 86_400, 7 * 86_400),
    RetentionClass(4, 400 * 86_400, 30 * 86_400),
    RetentionClass(5, float("inf"), 30 * 86_400),
)

DEFAULT_CLASS = 2
"""Always has partitions; jobs go here until the class that their type wants has some."""


def class_for(keep_s: float | None) -> int:
    """The retention class of a job that is kept `keep_s` seconds after it completed; None: for ever."""
    if keep_s is None:
        return RETENTION_CLASSES[-1].number
    return next(c.number for c in RETENTION_CLASSES if keep_s <= c.keep_s)


def created_at_s(job_id: int) -> float:
    """When the id was made, in seconds since 1970 (database clock, to the millisecond)."""
    return (job_id >> MS_SHIFT) / 1000 + EPOCH_S


def lowest_id_at(unix_s: float) -> int:
    """The lowest id that could be made at this time; for bounds of searches and partitions. Never negative."""
    return min(MAX_ID, max(0, int((unix_s - EPOCH_S) * 1000 + 0.001) << MS_SHIFT))


def shard_of(job_id: int) -> int:
    """The shard that owns the job."""
    return (job_id >> 3) & (SHARDS - 1)


def class_of(job_id: int) -> int:
    """The retention class whose partitions hold the job."""
    return job_id & 7
