"""What happened in each minute: jobs by what became of them, how long they waited and ran, by type and by agent.

Counted when a round is durable, so a minute never tells of what was not stored. The minute is the database's. Numbers are exact; of times a sample is taken where many
jobs move at once (at most `SAMPLES` of those that one agent was granted, or reported, in one flush; each stands for its share), so that no job pays for it.

The wait of a job is the time from when it might have started to its first grant; the run is the time from grant to outcome. Whoever stores minutes calls `take`.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from headrace_broker.model import histogram
from headrace_broker.model.ids import EPOCH_S, MS_SHIFT
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import PlainJobs
from headrace_broker.shards.pace import Pace

if TYPE_CHECKING:
    from headrace_broker.shards.live import Live
    from headrace_broker.shards.round import Round

SAMPLES = 32
MOST_DUE = 50_000  # delayed jobs that wait now and whose time is remembered; beyond, waits of delayed jobs are not counted
MOST_KEPT = 100_000  # lines that wait for a database that is away
ENDED = frozenset({Kind.COMPLETED, Kind.FAILED, Kind.TIMED_OUT, Kind.LOST})
COUNTED = {
    Kind.GRANTED: "granted", Kind.COMPLETED: "completed", Kind.FAILED: "failed", Kind.TIMED_OUT: "timed_out", Kind.LOST: "lost", Kind.REQUEUED: "requeued",
}  # fmt: skip
NUMBERS = ("submitted", "granted", "completed", "failed", "timed_out", "lost", "error", "aborted", "requeued")
"""Jobs submitted and requeued; attempts granted, completed, failed, timed out and lost; jobs that ended in error or were aborted."""


class Line:
    """One type, or one type at one agent, in one minute."""

    __slots__ = ("kept", "numbers", "run", "run_s", "slots", "wait", "wait_s", "waiting")

    def __init__(self) -> None:
        self.kept = False  # it is part of the totals
        self.numbers: Counter[str] = Counter()
        self.wait: histogram.Counts = {}
        self.run: histogram.Counts = {}
        self.wait_s = 0.0  # sums
        self.run_s = 0.0
        self.slots = 0  # that can run the type, at the last look
        self.waiting = 0  # jobs, at the last look

    def waited(self, seconds: float, weight: int) -> None:
        """`weight` jobs waited about so long."""
        bucket = histogram.bucket_of(seconds)
        self.wait[bucket] = self.wait.get(bucket, 0) + weight
        self.wait_s += max(0.0, seconds) * weight

    def ran(self, seconds: float, weight: int) -> None:
        """`weight` attempts ran about so long."""
        bucket = histogram.bucket_of(seconds)
        self.run[bucket] = self.run.get(bucket, 0) + weight
        self.run_s += max(0.0, seconds) * weight

    def add(self, other: "Line") -> None:
        """Adds what another line counted; what was merely looked at stays."""
        self.numbers.update(other.numbers)
        histogram.add(self.wait, other.wait)
        histogram.add(self.run, other.run)
        self.wait_s += other.wait_s
        self.run_s += other.run_s


Key = tuple[int, int, int]
"""(minute since 1970, type_id, agent_id or 0 for all)"""


class Tally:
    """See the module. Written by the flusher's task."""

    def __init__(self) -> None:
        self.lines: dict[Key, Line] = {}
        self.changed: set[Key] = set()
        self.due: dict[int, float] = {}  # delayed jobs whose time has come -> that time, in seconds since 1970
        self.pace = Pace()
        self.forgetful = False  # some delayed jobs are not in `due`
        self._newest = 0
        self._past: dict[int, Line] = {}  # by type: minutes that have ended

    def minute(self, now_s: float) -> int:
        """The present minute; never one that was counted to its end, even if the database's clock is set back."""
        self._newest = max(self._newest, int(now_s // 60))
        return self._newest

    def line(self, minute: int, type_id: int, agent_id: int = 0) -> Line:
        """The line to count in."""
        key = (minute, type_id, agent_id)
        self.changed.add(key)
        found = self.lines.get(key)
        if found is None:
            found = self.lines[key] = Line()
        return found

    def came_due(self, job_id: int, due_s: float) -> None:
        """A delayed job may start from now on."""
        if len(self.due) < MOST_DUE:
            self.due[job_id] = due_s
        else:
            self.forgetful = True

    def submitted(self, now_s: float, type_id: int, count: int) -> None:
        """Jobs were stored."""
        self.line(self.minute(now_s), type_id).numbers["submitted"] += count

    def add(self, round_: "Round", now_s: float) -> None:
        """Counts a round that is durable now (seconds since 1970, database clock)."""
        minute = self.minute(now_s)
        for submission, job_ids in round_.submissions:
            jobs = submission.jobs
            if isinstance(jobs, PlainJobs):
                self.submitted(now_s, jobs.entry.type_id, len(job_ids))
            else:
                for type_id, count in Counter([job[0].type_id for job in jobs]).items():
                    self.submitted(now_s, type_id, count)
        for lives, kind in round_.moved:
            if not lives:
                continue
            if kind is Kind.GRANTED:
                self._granted(round_, lives, minute)
            elif len(lives) == 1:
                self._ended(round_, lives, kind, minute)
            else:
                by_type: dict[int, list[Live]] = {}
                for live in lives:
                    by_type.setdefault(live.entry.type_id, []).append(live)
                for same in by_type.values():
                    self._ended(round_, same, kind, minute)

    def _granted(self, round_: "Round", lives: "list[Live]", minute: int) -> None:
        line = self.line(minute, lives[0].entry.type_id)
        line.numbers["granted"] += len(lives)
        self.pace.granted(round_.at, lives[0].entry.type_id, len(lives))
        if lives[0].seq > 1:  # not its first grant: it waited as long as its type's retry rule says
            return
        if self.due:
            undelayed = []
            for live in lives:
                due_s = self.due.pop(live.job_id, None)
                if due_s is None:
                    undelayed.append(live)
                else:
                    line.waited(round_.at_s - due_s, 1)
            lives = undelayed
        elif self.forgetful:
            self.forgetful = False
        if not self.forgetful:
            for live, weight in _sample(lives):
                line.waited(round_.at_s - (EPOCH_S + (live.job_id >> MS_SHIFT) / 1000.0), weight)

    def _ended(self, round_: "Round", lives: "list[Live]", kind: Kind, minute: int) -> None:
        """`lives` are of one type and moved by one kind of event; several only when one agent reported them."""
        first = lives[0]
        if first.entry.breaker is not None:
            first.entry.breaker.ended(lives, kind)
        line = self.line(minute, first.entry.type_id)
        lines = [line, self.line(minute, first.entry.type_id, first.agent_id)] if first.agent_id and kind in ENDED else [line]
        for one in lines:
            name = COUNTED.get(kind)
            if name is not None:
                one.numbers[name] += len(lives)
            if first.state in (State.ERROR, State.ABORTED):
                one.numbers["error" if first.state is State.ERROR else "aborted"] += len(lives)
        if kind in ENDED:
            for live, weight in _sample(lives):
                if live.granted_at:
                    for one in lines:
                        one.ran(round_.at - live.granted_at, weight)
        elif self.due:  # they will not start as they were delayed: nobody asks how long they waited
            for live in lives:
                self.due.pop(live.job_id, None)

    def take(self, now_s: float) -> "list[tuple[Key, Line]]":
        """Lines that changed since the last call, each with all that its minute saw; those of minutes that have ended are forgotten here."""
        taken = [(key, self.lines[key]) for key in self.changed]
        self.changed.clear()
        present = self.minute(now_s)
        for key in [key for key in self.lines if key[0] < present]:
            line = self.lines.pop(key)
            if not key[2] and not line.kept:  # one that comes back, because it could not be stored, is not added again
                line.kept = True
                self._past.setdefault(key[1], Line()).add(line)
        return taken

    def totals(self) -> dict[int, Line]:
        """By type: all that was counted since this owner began."""
        found: dict[int, Line] = {}
        for type_id, line in (*self._past.items(), *((key[1], line) for key, line in self.lines.items() if not key[2] and not line.kept)):
            found.setdefault(type_id, Line()).add(line)
        return found

    def give_back(self, lines: "Iterable[tuple[Key, Line]]") -> None:
        """What was taken could not be stored: it is taken again, at most `MOST_KEPT` lines of it."""
        for key, line in lines:
            if len(self.lines) < MOST_KEPT:
                self.lines.setdefault(key, line)
                self.changed.add(key)


def _sample(lives: "list[Live]") -> "list[tuple[Live, int]]":
    """(one, for how many it stands): their sum is the length of `lives`."""
    if len(lives) <= SAMPLES:
        return [(live, 1) for live in lives]
    step = len(lives) // SAMPLES + 1
    chosen = lives[::step]
    weights = [step] * (len(chosen) - 1) + [len(lives) - step * (len(chosen) - 1)]
    return list(zip(chosen, weights, strict=True))
