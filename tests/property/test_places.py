"""Random sequences of what decides which job is granted next: pauses, limits of types and keys, rates, depth, priorities of types, instances and jobs, fairness keys."""

import asyncio
import json
from collections import Counter
from typing import Any

from headrace_broker.model.amended import Update
from headrace_broker.model.errors import QueueFull
from headrace_broker.model.job import State
from headrace_broker.shards import reception
from headrace_broker.shards.intents import Verb
from headrace_broker.shards.rescore import Rescores
from headrace_broker.shards.types import TypeTable
from headrace_broker.store.batch import FullBody
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.instances import InstanceStore
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.property import case
from tests.property.machine import LEASE_S, TESTER, Job, Machine
from tests.property.test_machine import Lives

NAMES = ("work", "mail")
LIMITS = ("concurrency", "concurrency_per_key", "depth_limit")
RATE = {"rate_limit_count": 1, "rate_limit_per_s": 5.0, "rate_limit_burst": 2}
PAUSED = {"domain": "", "agent": "agent"}


class Places(Machine):
    """`placed`: (type, instance, limit key) of each job, `shares`: its fairness key; `boosts`: priorities of instances; `paused`: what is, by kind."""

    async def prepare(self) -> None:
        await self.add_type("mail")
        self.instances = InstanceStore(self.pool)
        self.placed: dict[int, tuple[str, str, str]] = {}
        self.shares: dict[int, str] = {}
        self.boosts: dict[str, int] = {}
        self.paused: set[str] = set()

    async def crash(self, *, check: bool = True, full: bool = False) -> None:
        """The next broker reads the settings too, and brings jobs of instances with a priority to their places again."""
        self.types = TypeTable(self.settings)
        await self.types.load()
        self.served = [entry for name in NAMES if (entry := self.types.find("default", name)) is not None]
        self.type = self.served[0]
        await super().crash(check=check, full=full)
        self.rescores = Rescores(self.owner, self.instances)
        self.rescores.again()
        await self._bring()

    async def _bring(self) -> None:
        task = asyncio.ensure_future(self.rescores.run())
        while self.rescores._queue:
            await self.flush()
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])

    # What decides ------------------------------------------------------------------------------------------------------------------------------

    async def set_type(self, name: str, **changes: Any) -> None:
        """Settings of a type; None takes one back."""
        entry = self.types.find("default", name)
        assert entry is not None
        kept, clear = {key: value for key, value in changes.items() if value is not None}, [key for key, value in changes.items() if value is None]
        await self.types.override(entry, kept, clear, caller=TESTER)
        reception.review_pauses(self.owner)

    async def pause(self, kind: str, paused: bool) -> None:
        """Of the domain, or of the agent."""
        if paused:
            await self.types.pause("default", kind, PAUSED[kind], caller=TESTER)
        else:
            assert await self.types.resume("default", kind, PAUSED[kind], caller=TESTER) == (kind in self.paused)
        self.paused = self.paused | {kind} if paused else self.paused - {kind}
        reception.review_pauses(self.owner)

    async def set_instance(self, instance: str, priority: int) -> None:
        """Its waiting jobs follow."""
        await self.instances.set(instance, priority, caller=TESTER, reason="")
        self.boosts[instance] = priority
        self.rescores.instance("default", self.type.domain_id, instance, priority)
        await self._bring()

    # Jobs --------------------------------------------------------------------------------------------------------------------------------------

    async def submit_to(self, name: str, count: int, priority: int, instance: str, key: str, share: str = "") -> None:
        """New jobs, all of them or, where they would be too many, none."""
        entry = self.types.find("default", name)
        assert entry is not None
        terms = {field: value for field, value in (("limit_key", key), ("fairness_key", share)) if value}
        body = FullBody(b"{}", instance_id=instance or None, more=json.dumps(terms) if terms else None)
        limit = entry.settings.depth_limit
        full = bool(limit) and sum(job.state is State.WAITING and job.type == name for job in self.jobs.values()) + count > (limit or 0)
        try:
            done = self.owner.submit([(entry, priority, 0.0, body)] * count, 2 * count)
        except QueueFull:
            assert full
            return
        assert not full
        await self.flush()
        for job_id in done.result():
            self.jobs[job_id] = Job(type=name, priority=priority)
            self.placed[job_id], self.shares[job_id] = (name, instance, key), share

    async def grant(self, room: int) -> None:
        """The jobs with the highest scores that no pause and no limit holds back; of a type with a rate at most as many as it allows."""
        await self.come_back()
        self.pass_time(LEASE_S + 1)  # what is owed for lost leases is over
        await self.flush()
        allowed = self._allowed(room)
        granted = await self.give_room(room)
        scores = sorted(self._score(job_id) for job_id in granted)
        rated = {entry.name for entry in self.served if entry.settings.rate_limit_count}
        if not rated:
            assert scores == sorted(map(self._score, allowed))
        assert all(sum(self.jobs[job_id].type == name for job_id in granted) <= RATE["rate_limit_burst"] for name in rated)
        assert len(granted) <= len(allowed)
        await self.take(granted)
        self._check_limits(granted)
        self._check_turns(granted)

    def _score(self, job_id: int) -> int:
        name, instance, _ = self.placed[job_id]
        entry, job = self.types.find("default", name), self.jobs[job_id]
        assert entry is not None
        return entry.settings.priority + self.boosts.get(instance, 0) + job.own_priority

    def _allowed(self, room: int) -> list[int]:
        """Greedily by score: with limits that lie within each other that is the best there is."""
        running = self._running()
        found: list[int] = []
        waiting = [job_id for job_id, job in self.jobs.items() if job.state is State.WAITING]
        for job_id in [] if self.paused else sorted(waiting, key=self._score, reverse=True):
            name, _, key = self.placed[job_id]
            entry = self.types.find("default", name)
            assert entry is not None
            settings = entry.settings
            if len(found) == room or settings.paused or (settings.concurrency and running[name, None] >= settings.concurrency):
                continue
            if key and settings.concurrency_per_key and running[name, key] >= settings.concurrency_per_key:
                continue
            found.append(job_id)
            running[name, None] += 1
            if key:
                running[name, key] += 1
        return found

    def _running(self) -> Counter[tuple[str, str | None]]:
        running: Counter[tuple[str, str | None]] = Counter()
        for job_id, job in self.jobs.items():
            if job.state is State.PROCESSING:
                name, _, key = self.placed[job_id]
                running[name, None] += 1
                if key:
                    running[name, key] += 1
        return running

    def _check_limits(self, granted: set[int]) -> None:
        running = self._running()
        for job_id in granted:
            name, _, key = self.placed[job_id]
            entry = self.types.find("default", name)
            assert entry is not None
            assert running[name, None] <= (entry.settings.concurrency or 1000)
            assert not key or running[name, key] <= (entry.settings.concurrency_per_key or 1000)

    def _check_turns(self, granted: set[int]) -> None:
        """Fairness keys of one type and score that all had jobs left have had as many as each other: nearly, since one of them may have had its turn just before."""
        for entry in self.served:
            if any(getattr(entry.settings, name) for name in (*LIMITS[:2], *RATE)):
                continue
            mine = [job_id for job_id in self.jobs if self.jobs[job_id].type == entry.name]
            for score in {self._score(job_id) for job_id in mine if job_id in granted}:
                level = [job_id for job_id in mine if self._score(job_id) == score]
                left = {self.shares[job_id] for job_id in level if self.jobs[job_id].state is State.WAITING}
                had = Counter(dict.fromkeys(left, 0))
                had.update(self.shares[job_id] for job_id in level if job_id in granted and self.shares[job_id] in left)
                assert max(had.values(), default=0) - min(had.values(), default=0) <= 2, (entry.name, score, had)

    async def finish(self) -> None:
        """Nothing is stuck: without limits and pauses everything that waits is granted."""
        for kind in sorted(self.paused):
            await self.pause(kind, False)
        for name in NAMES:
            await self.set_type(name, paused=None, **dict.fromkeys((*LIMITS, *RATE)))
        await self.grant(90)
        assert not any(job.state is State.WAITING for job in self.jobs.values())


INSTANCES, KEYS, SHARES = st.sampled_from(["", "a", "b"]), st.sampled_from(["", "k", "l"]), st.sampled_from(["", "x", "y"])


class Queue(Lives):
    driver = Places
    machine: Places

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 3), priority=st.integers(-1, 1), instance=INSTANCES, key=KEYS, share=SHARES)
    def submit_to(self, name: str, count: int, priority: int, instance: str, key: str, share: str) -> None:
        if len(self.machine.jobs) < 80:
            self.run(self.machine.submit_to(name, count, priority, instance, key, share))

    @rule()
    def submit(self) -> None:
        self.submit_to(name="work", count=2, priority=0, instance="", key="", share="")

    @rule(name=st.sampled_from(NAMES), room=st.integers(2, 6), shares=st.sampled_from([("", "x"), ("x", "y"), ("", "x", "y")]))
    def take_turns(self, name: str, room: int, shares: tuple[str, ...]) -> None:
        if len(self.machine.jobs) < 80:
            for share in shares:
                self.run(self.machine.submit_to(name, 4, 0, "", "", share))
        self.run(self.machine.grant(room))

    @rule(room=st.integers(5, 20))
    def grant_many(self, room: int) -> None:
        self.run(self.machine.grant(room))

    @rule(name=st.sampled_from(NAMES), concurrency=st.none() | st.integers(1, 4), per_key=st.none() | st.integers(1, 2), depth=st.none() | st.integers(3, 9))
    def set_limits(self, name: str, concurrency: int | None, per_key: int | None, depth: int | None) -> None:
        self.run(self.machine.set_type(name, concurrency=concurrency, concurrency_per_key=per_key, depth_limit=depth))
        for key in ("k", "k", "l", ""):  # so that it holds something back
            self.run(self.machine.submit_to(name, 1, 0, "", key))
        self.run(self.machine.grant(10))

    @rule(name=st.sampled_from(NAMES), rated=st.booleans())
    def set_rate(self, name: str, rated: bool) -> None:
        self.run(self.machine.set_type(name, **(RATE if rated else dict.fromkeys(RATE))))

    @rule(name=st.sampled_from(NAMES), priority=st.integers(-1, 1))
    def set_type_priority(self, name: str, priority: int) -> None:
        self.run(self.machine.set_type(name, priority=priority))

    @rule(instance=st.sampled_from(["a", "b"]), priority=st.integers(-2, 2))
    def set_instance(self, instance: str, priority: int) -> None:
        self.run(self.machine.set_instance(instance, priority))

    @rule(data=st.data(), priority=st.integers(-2, 2))
    def set_priority(self, data: Any, priority: int) -> None:
        job_id = self.pick(data)
        if job_id is not None:
            self.run(self.machine.change(Verb.UPDATE, job_id, update=Update(priority=priority)))

    @rule(name=st.sampled_from(NAMES), paused=st.booleans())
    def pause_type(self, name: str, paused: bool) -> None:
        self.run(self.machine.set_type(name, paused=paused or None))

    @rule(kind=st.sampled_from(sorted(PAUSED)), paused=st.booleans())
    def pause(self, kind: str, paused: bool) -> None:
        self.run(self.machine.pause(kind, paused))


@case.LONG
def test_every_sequence_of_settings_and_priorities_is_one_that_the_model_allows(postgres: EmbeddedPostgres) -> None:
    case.check(Queue, postgres, examples=12, steps=30)
