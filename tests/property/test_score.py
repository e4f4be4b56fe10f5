"""The order of grants against a model that sorts everything anew each time: any mix of submits, delays, changed priorities of types, instances and back, and grants."""

from types import SimpleNamespace
from typing import Any

from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.settings import Settings
from headrace_broker.model.terms import Terms
from headrace_broker.shards import dispatcher
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.lines import Lines
from headrace_broker.shards.rescore import bring
from headrace_broker.store.instances import WaitingRow
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

PRIORITIES = st.integers(-2, 2)
INSTANCES = st.sampled_from(["", "a", "b"])
TYPES = st.sampled_from([1, 2])


class AType:
    """As much of a type as the dispatcher looks at."""

    domain_id = 7
    limited = False

    def __init__(self, type_id: int) -> None:
        self.type_id = type_id
        self.settings = Settings()


class Order(RuleBasedStateMachine):
    """`jobs`: what waits, by id: [type, own priority, instance, ready since]."""

    def __init__(self) -> None:
        super().__init__()
        lanes = Lanes()
        self.types = {1: AType(1), 2: AType(2)}
        self.owner: Any = SimpleNamespace(lanes=lanes, lines=Lines(lanes.marks), live_jobs={}, types=SimpleNamespace(by_id=self.types))
        self.session: Any = SimpleNamespace(served={1: None, 2: None}, room_for=lambda type_id: 9, label_items=frozenset())
        self.jobs: dict[int, list[Any]] = {}
        self.moved: set[int] = set()  # jobs in lines of instances
        self.now = 1000

    def _id(self) -> int:
        self.now += 1
        return lowest_id_at(1_800_000_000 + self.now)

    @rule(type_id=TYPES, priority=PRIORITIES, instance=INSTANCES, late=st.booleans())
    def submit(self, type_id: int, priority: int, instance: str, late: bool) -> None:
        job_id, lines, entry = self._id(), self.owner.lines, self.types[type_id]
        since = self._id() if late else 0
        terms = lines.boosted(entry, instance or None, None)
        if terms is None:
            self.owner.lanes.push(type_id, priority, job_id, since)
        else:
            line = lines.of(entry, terms)
            line.jobs += 1
            lines.enter(line, priority, job_id, 0.0, 0.0, since)
            self.moved.add(job_id)
        self.jobs[job_id] = [type_id, priority, instance, since or job_id]

    @rule(type_id=TYPES, priority=PRIORITIES)
    def set_type(self, type_id: int, priority: int) -> None:
        self.types[type_id].settings = Settings(priority=priority)

    @rule(instance=st.sampled_from(["a", "b"]), priority=PRIORITIES)
    def set_instance(self, instance: str, priority: int) -> None:
        self.owner.lines.boost(7, instance, priority)
        if not priority:
            return
        rows = [WaitingRow(job_id, job[0], job[1], None) for job_id, job in sorted(self.jobs.items()) if job[2] == instance]
        brought = {(job[0], job[1]) for job_id, job in self.jobs.items() if job[2] == instance and job_id not in self.moved}
        bring(self.owner, instance, rows)
        for job_id, job in self.jobs.items():
            if job[2] == instance:
                self.moved.add(job_id)
                if (job[0], job[1]) in brought:
                    job[3] = job_id  # among those that are brought over, ids count

    @rule(count=st.integers(1, 4))
    def grant(self, count: int) -> None:
        for _ in range(count):
            best = dispatcher._candidates(self.owner, None, self.session, {1: 1, 2: 1}, 0.0)  # type: ignore[arg-type]  # no type is limited
            if not best:
                assert not self.jobs
                return
            _, _, type_id, priority, choice = min(best, key=dispatcher._order)
            lines = self.owner.lines
            taken = self.owner.lanes.pop(type_id, priority, 1) if choice is None else lines.take(lines.crowds[type_id], choice, 1)
            assert taken == [min(self.jobs, key=self._place)]
            job_id = taken[0]
            line = lines.members.pop(job_id, None)
            if line is not None:
                line.jobs -= 1
                if not line.jobs:
                    lines._forget(line)
            del self.jobs[job_id]

    def _place(self, job_id: int) -> tuple[int, int, int]:
        type_id, priority, instance, since = self.jobs[job_id]
        boost = self.owner.lines.boosts.get((7, instance), 0) if job_id in self.moved else 0
        return -(self.types[type_id].settings.priority + boost + priority), since, job_id

    @invariant()
    def everything_waits_once(self) -> None:
        found = [job_id for _, _, ids in self.owner.lanes.copies() for job_id in ids] + [job_id for _, _, ids in self.owner.lines.entries() for job_id in ids]
        assert sorted(found) == sorted(self.jobs)
        assert all(line.terms == Terms(instance=self.jobs[job_id][2]) for job_id, line in self.owner.lines.members.items())


Order.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestOrder = Order.TestCase
