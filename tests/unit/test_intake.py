"""Turns of domains among submissions that wait for their round."""

import asyncio
from datetime import UTC, datetime

from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.intake import QUANTUM_JOBS, Intake
from headrace_broker.shards.intents import PlainJobs, Submission
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.settings import TypeRow


async def test_a_domain_that_was_alone_for_long_has_its_turns_when_another_one_comes() -> None:
    north, south = (TypeEntry(TypeRow(number, number, name, "work", {}, {}, datetime.now(UTC)), DomainEntry(name)) for number, name in enumerate(("north", "south"), 1))
    intake = Intake()

    def put(entry: TypeEntry, jobs: int = 100) -> None:
        intake.put(Submission(PlainJobs(entry, 0, [b"{}"] * jobs), asyncio.get_running_loop().create_future()))

    def pop() -> str:
        jobs = intake.pop().jobs
        assert isinstance(jobs, PlainJobs)
        return jobs.entry.domain

    put(north)
    for _ in range(1000):  # there is always one more of it
        put(north)
        assert pop() == "north"
    for _ in range(20):
        put(north)
        put(south)
    turns = [pop() for _ in range(20)]
    assert abs(turns.count("north") - turns.count("south")) <= QUANTUM_JOBS / 100, "what it sent while nobody waited is not held against it"
