"""What the cases of all machines share: a database and an event loop for each example, brokers that die, and the checks on the way and at the end.

`HEADRACE_EXAMPLES` multiplies the examples (`make chaos` sets it), `HEADRACE_SEED` chooses them. Without either they are the same each time. An example that fails is
shown as it is; with `HEADRACE_SHRINK=1` a shorter one is looked for, which takes minutes.
"""

import asyncio
import itertools
import os
from collections.abc import Awaitable
from typing import Any, ClassVar, TypeVar

import asyncpg
import pytest
from headrace_broker.model.job import State
from headrace_broker.shards.intents import Verb
from headrace_broker.store.embedded import EmbeddedPostgres
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.property.machine import Machine
from tests.support.databases import clone

T = TypeVar("T")
FACTOR = int(os.environ.get("HEADRACE_EXAMPLES", "1"))
SEED = os.environ.get("HEADRACE_SEED")
SHRINK = bool(os.environ.get("HEADRACE_SHRINK"))
_numbers = itertools.count()


class Case(RuleBasedStateMachine):
    """One example. Derived classes say which machine, and have its rules, beside those that all machines share."""

    postgres: ClassVar[EmbeddedPostgres]
    driver: ClassVar[type[Machine]] = Machine
    machine: Machine

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.name = f"machine_{next(_numbers)}"

    def run(self, coroutine: Awaitable[T]) -> T:
        """What a coroutine of the machine returns."""
        return self.loop.run_until_complete(coroutine)

    async def _database(self, statement: str) -> None:
        con = await asyncpg.connect(self.postgres.dsn.replace("/headrace?", "/postgres?"))
        await con.execute(statement)
        await con.close()

    @initialize()
    def begin(self) -> None:
        self.run(self._database(clone(self.name)))
        self.machine = self.driver(self.postgres.dsn.replace("/headrace?", f"/{self.name}?"))
        self.run(self.machine.open())

    @rule()
    def lose(self) -> None:
        self.run(self.machine.lose())

    @rule(data=st.data(), verb=st.sampled_from([Verb.REQUEUE, Verb.ABORT, Verb.PURGE]), force=st.booleans())
    def change(self, data: Any, verb: Verb, force: bool) -> None:
        job_id = self.pick(data)
        if job_id is not None:
            self.run(self.machine.change(verb, job_id, force=force))

    def teardown(self) -> None:
        if hasattr(self, "machine"):
            try:
                self.run(self.machine.finish())
                self.run(self.machine.check_store())
            finally:
                self.run(self.machine.close())
                self.run(self._database(f"drop database {self.name} with (force)"))
        self.loop.close()

    def pick(self, data: Any, *states: State, granted: bool = False) -> int | None:
        """A job that there is: in one of these states, if any are given, and granted at some time."""
        ids = [job_id for job_id, job in self.machine.jobs.items() if (not states or job.state in states) and (job.epochs or not granted)]
        return ids[data.draw(st.integers(0, len(ids) - 1))] if ids else None


def crash(case: Case, *, back: bool, full: bool) -> None:
    """The broker dies and another one takes over; the agent comes back with what it has, or never does."""
    machine = case.machine
    held = {job_id: job.seq for job_id, job in machine.jobs.items() if job.state is State.PROCESSING}
    case.run(machine.crash(full=full))
    go_on(case, held, back=back)


def go_on(case: Case, held: dict[int, int], *, back: bool) -> None:
    """The agent comes back to whoever has taken over, with what it has, or never does."""
    machine = case.machine
    if back:
        held = {job_id: epoch for job_id, epoch in held.items() if machine.jobs[job_id].state is State.PROCESSING}
        case.run(machine.connect(held))
        assert machine.session is not None
        assert set(machine.session.leases) == set(held)
    else:
        case.run(machine.wait_for_orphans())


LONG = pytest.mark.timeout(120 * FACTOR)
"""For each test that runs a case."""


def check(case: type[Case], postgres: EmbeddedPostgres, *, examples: int, steps: int) -> None:
    """Runs so many examples of at most so many steps."""
    bound: type[Case] = type(case.__name__, (case,), {"postgres": postgres})
    if SEED is not None:
        bound = seed(int(SEED))(bound)
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=examples * FACTOR, stateful_step_count=steps, deadline=None, derandomize=FACTOR == 1 and SEED is None, database=None,
            phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate], suppress_health_check=list(HealthCheck), print_blob=True,
        ),
    )  # fmt: skip
