"""Ids of new jobs: each above all that were given out before, in the shard and the retention class where its facts are to lie."""

import zlib
from datetime import UTC, datetime

from headrace_broker.model import ids
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.intents import NewJob
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import Batch, instance_of, keep_s_of


class Numbering:
    """One owner's. Written by the flusher's task; `open_ids` also by who makes partitions.

    An id without a partition could not be stored, nor anything beside it. So where a class has none for an id the job lies in the default one; and while that has none
    for ids of now, none are to be given.

    The bits of the shard in an id are those that are congruent to the owner's shard, modulo how many there are: owners beside each other never give the same id.
    """

    def __init__(self, clock: DatabaseClock, shard: Shard = ONLY) -> None:
        self._owned = shard
        self._places = ids.SHARDS // shard.of
        self.open_ids: dict[int, range] = {}  # retention class -> ids that have partitions
        self._clock = clock
        self._tick = 0  # newest id, without its lowest bits
        self._shard = shard.number

    @property
    def highest(self) -> int:
        """The id that was given out last, without its lowest bits."""
        return self._tick << ids.TICK_SHIFT

    @property
    def newest(self) -> int:
        """No id above this one was given out."""
        return ((self._tick + 1) << ids.TICK_SHIFT) - 1

    @property
    def closed(self) -> bool:
        """Whether the clock is beyond the partitions that there are: it was set forward, the machine slept, or the database was away for days."""
        there = self.open_ids.get(ids.DEFAULT_CLASS)
        return there is not None and ids.lowest_id_at(self._clock.now_s()) >= there.stop

    def recover(self, max_id: int) -> None:
        """Ids begin above `max_id`."""
        self._tick = max(self._tick, max_id >> ids.TICK_SHIFT)

    def begin(self, rounds: int) -> None:
        """The next ids are not older than now. Jobs without an instance lie in the same shard until the next round."""
        self._tick = max(self._tick, ids.lowest_id_at(self._clock.now_s()) >> ids.TICK_SHIFT)
        self._shard = self._place(rounds)

    def take(self, entry: TypeEntry, count: int) -> list[int]:
        """Ids of so many jobs of a type that name no instance and say nothing of how long they are kept."""
        step = 1 << ids.TICK_SHIFT
        lowest = (self._tick + 1) << ids.TICK_SHIFT | self._shard << 3
        self._tick += count
        lowest |= self._class_for(entry, lowest)
        return list(range(lowest, lowest + count * step, step))

    def add_job(self, batch: Batch, job: NewJob) -> int:
        """Gives a job its id and appends it to a batch."""
        entry, priority, available_at_s, body = job
        shard = self._shard
        if (instance_id := instance_of(body)) is not None:  # the jobs of an instance share a shard
            shard = self._place(zlib.crc32(instance_id.encode()))
        self._tick += 1
        job_id = (self._tick << ids.TICK_SHIFT) | (shard << 3)
        job_id |= self._class_for(entry, job_id, keep_s_of(body))
        batch.add_job(job_id, entry.type_id, priority, body, datetime.fromtimestamp(available_at_s, UTC) if available_at_s else None)
        return job_id

    def _place(self, number: int) -> int:
        return number % self._places * self._owned.of + self._owned.number

    def _class_for(self, entry: TypeEntry, first: int, keep_s: float | None = None) -> int:
        """Where a job of the type lies; `first` and `highest` are the first and the last id that it may get, `keep_s`: how long it is kept, when it says so itself."""
        class_ = entry.class_ if keep_s is None else ids.class_for(keep_s)
        there = self.open_ids.get(class_)
        return class_ if there is not None and there.start <= first and self.newest < there.stop else ids.DEFAULT_CLASS
