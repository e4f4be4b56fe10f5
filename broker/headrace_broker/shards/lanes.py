"""Jobs that are ready, by type and priority: 8 bytes for each.

A lane holds the ids of one type and one priority in the order in which they became ready. Taking a job out of the middle would cost a copy, so a job that is aborted
while it waits stays in its lane as a stale entry: `discard` counts it, and `pop` skips it when it comes up. A job that was discarded and is ready
again has an entry more than it needs, perhaps in another lane or still in a timer: the first one that comes up where and when the job waits stands for it, and
the others are skipped.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import filterfalse

_COMPACT_AT = 4096  # taken entries at the front of a lane, before it is copied down


class Lane:
    """Ready ids of one type and priority, oldest first.

    A job that was submitted to start at once has been ready since its id was made. For the others `spans` says since when, as an id of that time: (first, end, id), where
    first and end count all entries that the lane ever had, of which `gone` have left `ids`. `passed`, in the same way: up to there none counted at the last look
    (`Lanes.oldest_in`).
    """

    __slots__ = ("gone", "head", "ids", "passed", "spans")

    def __init__(self) -> None:
        self.ids = array("q")
        self.head = 0
        self.gone = self.passed = 0
        self.spans: deque[tuple[int, int, int]] | None = None

    def __len__(self) -> int:
        return len(self.ids) - self.head

    def take(self, count: int) -> array[int]:
        """Removes and returns up to `count` of the oldest entries."""
        taken = self.ids[self.head : self.head + count]
        self.head += len(taken)
        if self.head == len(self.ids):
            self.put(())
        elif self.head > _COMPACT_AT and self.head * 2 > len(self.ids):
            del self.ids[: self.head]
            self.gone += self.head
            self.head = 0
        return taken

    def mark(self, since: int) -> None:
        """The entry that was appended last is ready since the time of this id."""
        end = self.gone + len(self.ids)
        if self.spans is None:
            self.spans = deque()
        if self.spans and self.spans[-1][1] == end - 1 and self.spans[-1][2] == since:
            self.spans[-1] = (self.spans[-1][0], end, since)
        else:
            self.spans.append((end - 1, end, since))

    def since(self) -> int:
        """Since when the next entry has been ready, as an id."""
        if self.spans is not None:
            at = self.gone + self.head
            while self.spans and self.spans[0][1] <= at:
                self.spans.popleft()
            if self.spans and self.spans[0][0] <= at:
                return self.spans[0][2]
        return self.ids[self.head]

    def since_at(self, place: int) -> int:
        """The same of the entry at a place of `ids`, any that is left."""
        at = self.gone + place
        return next((since for first, end, since in self.spans or () if first <= at < end), self.ids[place])

    def take_out(self, places: list[int]) -> None:
        """Removes the entries at these places of `ids`, which rise; the others keep their times."""
        kept, start = array("q"), self.head
        for place in places:
            kept.extend(self.ids[start:place])
            start = place + 1
        kept.extend(self.ids[start:])

        def moved(end: int) -> int:
            return max(0, end - self.gone - self.head) - bisect_left(places, end - self.gone)

        spans = [(moved(first), moved(end), since) for first, end, since in self.spans or ()]
        self.put(kept)
        self.gone = 0
        self.spans = deque(span for span in spans if span[0] < span[1]) or None

    def put(self, ids: Iterable[int]) -> None:
        """Replaces what is left; ready since their ids were made."""
        self.ids, self.head, self.spans, self.passed = array("q", ids), 0, None, 0


class Lanes:
    """Lanes by type (or by line, see `lines`) and priority. `stale`: marks to share with other lanes: job_id -> entries that no longer count."""

    def __init__(self, stale: dict[int, int] | None = None, waits: Callable[[int, int], bool | None] | None = None) -> None:
        """`waits`: whether a job that has entries that do not count may be granted now, at this priority; None: later, and it has its entry for that."""
        self._waits = waits if waits is not None else _never
        self._by_type: dict[int, dict[int, Lane]] = {}  # type_id -> priority -> lane; priorities in no order
        self.marks: dict[int, int] = {} if stale is None else stale

    def push(self, type_id: int, priority: int, job_id: int, since: int = 0) -> None:
        """Adds a ready job behind those of its lane; one that was not ready from the beginning with an id of the time since when it is."""
        lane = self._lane(type_id, priority)
        lane.ids.append(job_id)
        if since:
            lane.mark(since)

    def extend(self, type_id: int, priority: int, job_ids: Iterable[int]) -> None:
        """Adds many ready jobs, in this order; or none."""
        lane = self._lane(type_id, priority)
        lane.ids.extend(job_ids)
        if not lane:  # what is looked at is never empty
            self._empty(type_id, priority)

    def discard(self, job_id: int) -> None:
        """The job's present entry, here or still to come from a timer, does not count any more."""
        self.marks[job_id] = self.marks.get(job_id, 0) + 1

    def firsts(self, type_id: int) -> list[tuple[int, int]]:
        """(priority, since when its next entry has been ready, as an id) of each lane of a type."""
        return [(priority, lane.since()) for priority, lane in self._by_type.get(type_id, {}).items()]

    def newest_from(self, type_id: int, count: int) -> int | None:
        """From about which id on there are `count` ready jobs of a type; None: no lane of it has so many."""
        return max([lane.ids[-count] for lane in self._by_type.get(type_id, {}).values() if len(lane) >= count], default=None)

    def best(self, type_id: int) -> int | None:
        """The highest priority with an entry of the type; None: nothing is ready."""
        lanes = self._by_type.get(type_id)
        return max(lanes) if lanes else None

    def first(self, type_id: int, priority: int) -> int:
        """Since when what is next in a lane has been ready, as an id; its own when it was from the beginning. Stale or not."""
        return self._by_type[type_id][priority].since()

    def before(self, type_id: int, priority: int, since: int, most: int) -> int:
        """How many entries of a lane come before what has been ready since the time of an id: at least the next one, at most `most`."""
        lane = self._by_type[type_id][priority]
        if lane.spans is not None:  # not all have been ready since their ids were made
            return 1
        return max(1, bisect_left(lane.ids, since, lane.head, min(len(lane.ids), lane.head + most)) - lane.head)

    def find_first(self, type_id: int, priority: int) -> int | None:
        """The same, or None when the lane is empty."""
        lane = self._by_type.get(type_id, {}).get(priority)
        return None if lane is None else lane.since()

    def oldest(self, type_id: int) -> int | None:
        """Since when the job of a type that is ready longest has been, as an id. Entries that may not count are passed over; None: there is no other."""
        return min(filter(None, map(self.oldest_in, self._by_type.get(type_id, {}).values())), default=None)

    def oldest_in(self, lane: Lane) -> int | None:
        """The same of one of the lanes. What was passed over once is not looked at again: a million jobs that were aborted stay where they are while no agent comes."""
        start = max(lane.head, lane.passed - lane.gone)
        left = memoryview(lane.ids)[start:]
        job_id = next(filterfalse(self.marks.__contains__, left), None)
        place = len(lane.ids) if job_id is None else lane.ids.index(job_id, start)
        lane.passed = lane.gone + place
        return None if job_id is None else lane.since_at(place)

    def priorities(self, type_id: int) -> list[int]:
        """Priorities at which the type has entries."""
        return list(self._by_type.get(type_id, {}))

    def drop(self, type_id: int) -> int:
        """Removes the lanes of a type, whose entries are all stale; returns how many there were."""
        lanes = self._by_type.pop(type_id, {})
        for lane in lanes.values():
            self.settle_stale(lane.ids[lane.head :])
        return sum(map(len, lanes.values()))

    def remove(self, type_id: int, priority: int, job_ids: Iterable[int]) -> set[int]:
        """Takes entries out of the middle of a lane; returns those that were there. Ids rise in a lane, nearly: most are found by bisection."""
        lane = self._by_type.get(type_id, {}).get(priority)
        if lane is None:
            return set()
        ids = lane.ids
        places: list[int] = []
        left: set[int] = set()
        for job_id in job_ids:
            place = bisect_left(ids, job_id, lane.head)
            if place < len(ids) and ids[place] == job_id:
                places.append(place)
            else:
                left.add(job_id)
        if left:
            places += [place for place in range(lane.head, len(ids)) if ids[place] in left]
        found = {ids[place] for place in places}
        lane.take_out(sorted(places))
        if not lane:
            self._empty(type_id, priority)
        return found

    def merge(self, type_id: int, priority: int, job_ids: list[int]) -> None:
        """Adds ready jobs among those of a lane, in the order of their ids."""
        lane = self._lane(type_id, priority)
        lane.put(sorted([*lane.ids[lane.head :], *job_ids]))

    def _empty(self, type_id: int, priority: int) -> None:
        lanes = self._by_type[type_id]
        del lanes[priority]
        if not lanes:
            del self._by_type[type_id]

    def settle_stale(self, job_ids: Iterable[int]) -> None:
        """Entries that do not count were taken out elsewhere."""
        for job_id in job_ids:
            self._skip(job_id)

    def ready(self, type_id: int) -> int:
        """Entries of a type, stale ones included."""
        return sum(map(len, self._by_type.get(type_id, {}).values()))

    def pop(self, type_id: int, priority: int, count: int) -> list[int]:
        """Takes up to `count` entries of a lane; returns those that count, which may be none."""
        lane = self._by_type[type_id][priority]
        taken = lane.take(count).tolist()
        if not lane:
            self._empty(type_id, priority)
        if self.marks:
            return self._those_that_count(taken, priority)
        return taken

    def ahead(self, job_id: int, type_id: int, priority: int, weights: Mapping[int, int]) -> int:
        """About how many entries go before a job, among the types of `weights` (type_id -> priority of the type): exact but for stale entries and ties of the score."""
        score = weights[type_id] + priority
        count = 0
        for other, weight in weights.items():
            for own, lane in self._by_type.get(other, {}).items():
                if weight + own > score:
                    count += len(lane)
                elif other == type_id and own == priority:
                    count += (lane.ids.index(job_id) if job_id in lane.ids else max(lane.head, bisect_left(lane.ids, job_id))) - lane.head
                elif weight + own == score:
                    count += max(0, bisect_left(lane.ids, job_id) - lane.head)  # ids rise within a lane, nearly
        return count

    def types(self) -> list[int]:
        """Types with entries."""
        return list(self._by_type)

    def entries(self, type_id: int) -> list[array[int]]:
        """A copy of the ids of a type, one array for each lane, stale ones included."""
        return [lane.ids[lane.head :] for lane in self._by_type.get(type_id, {}).values()]

    def copies(self) -> list[tuple[int, int, array[int]]]:
        """(type_id, priority, copy of the entries) of each lane, stale ones included."""
        return [(type_id, priority, lane.ids[lane.head :]) for type_id, lanes in self._by_type.items() for priority, lane in lanes.items()]

    def part(self, type_id: int, priority: int, after: int, count: int) -> tuple[array[int], bool]:
        """(copy of up to `count` entries of a lane, whether there are more), from about the first id above `after` on, stale ones included; 0: from its front on."""
        lane = self._by_type[type_id][priority]
        start = bisect_right(lane.ids, after, lane.head) if after else lane.head
        return lane.ids[start : start + count], start + count < len(lane.ids)

    def stale(self) -> list[int]:
        """Jobs that have an entry that does not count, in a lane or still to come."""
        return list(self.marks)

    def is_stale(self, job_id: int) -> bool:
        """Whether some entry of the job does not count."""
        return job_id in self.marks

    def _lane(self, type_id: int, priority: int) -> Lane:
        lanes = self._by_type.get(type_id)
        if lanes is None:
            lanes = self._by_type[type_id] = {}
        lane = lanes.get(priority)
        if lane is None:
            lane = lanes[priority] = Lane()
        return lane

    def _those_that_count(self, taken: list[int], priority: int) -> list[int]:
        found: list[int] = []
        chosen: set[int] = set()  # with entries that do not count
        for job_id in taken:
            if job_id not in self.marks:
                found.append(job_id)
                continue
            waits = job_id not in chosen and self._waits(job_id, priority)
            if waits:
                chosen.add(job_id)
                found.append(job_id)
            elif waits is None:
                continue
            else:
                self._skip(job_id)
        return found

    def _skip(self, job_id: int) -> None:
        """An entry that does not count is out."""
        left = self.marks.get(job_id, 0)
        if left > 1:
            self.marks[job_id] = left - 1
        else:
            self.marks.pop(job_id, None)


def _never(_job_id: int, _priority: int) -> bool:
    """Without anybody to ask, the entries of a job that came first are those that do not count."""
    return False
