"""Random sequences of everything that can happen to jobs: memory, ledger, SQL view and model agree after each."""

import asyncio
from typing import Any

import asyncpg
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.intents import Verb
from headrace_broker.store.embedded import EmbeddedPostgres
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from tests.property.machine import Machine

VERBS = st.sampled_from([Verb.REQUEUE, Verb.ABORT, Verb.PURGE])
KINDS = st.sampled_from([Kind.COMPLETED, Kind.FAILED, Kind.TIMED_OUT, Kind.RELEASED, Kind.ABORTED])


def _machine(postgres: EmbeddedPostgres) -> type[RuleBasedStateMachine]:
    """A state machine class bound to a server; each example has a database of its own."""
    admin_dsn = postgres.dsn.replace("/headrace?", "/postgres?")
    numbers = iter(range(1_000_000))

    class Jobs(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.loop = asyncio.new_event_loop()
            self.name = f"machine_{next(numbers)}"

        def run(self, coroutine: Any) -> Any:
            return self.loop.run_until_complete(coroutine)

        async def _database(self, statement: str) -> None:
            con = await asyncpg.connect(admin_dsn)
            await con.execute(statement)
            await con.close()

        @initialize()
        def begin(self) -> None:
            self.run(self._database(f"create database {self.name} template headrace"))
            self.machine = Machine(postgres.dsn.replace("/headrace?", f"/{self.name}?"))
            self.machine.terms = True
            self.run(self.machine.open())

        def teardown(self) -> None:
            if hasattr(self, "machine"):
                try:
                    self.run(self.machine.check_store())
                finally:
                    self.run(self.machine.close())
                    self.run(self._database(f"drop database {self.name} with (force)"))
            self.loop.close()

        def _pick(self, data: Any, *, granted: bool = False) -> int | None:
            ids = [job_id for job_id, job in self.machine.jobs.items() if job.epochs or not granted]
            return ids[data.draw(st.integers(0, len(ids) - 1))] if ids else None

        @rule(count=st.integers(1, 4))
        def submit(self, count: int) -> None:
            self.run(self.machine.submit(count))

        @precondition(lambda self: self.machine.jobs)
        @rule(data=st.data(), count=st.integers(1, 3))
        def submit_held(self, data: Any, count: int) -> None:
            chosen = {self._pick(data) for _ in range(count)}
            self.run(self.machine.submit_tied([job_id for job_id in chosen if job_id is not None]))

        @rule(room=st.integers(1, 4))
        def grant(self, room: int) -> None:
            self.run(self.machine.grant(room))

        @precondition(lambda self: any(job.epochs for job in self.machine.jobs.values()))
        @rule(data=st.data(), kind=KINDS, permanent=st.booleans(), newest=st.booleans())
        def report(self, data: Any, kind: Kind, permanent: bool, newest: bool) -> None:
            job_id = self._pick(data, granted=True)
            if job_id is not None:
                epochs = self.machine.jobs[job_id].epochs
                epoch = epochs[-1 if newest else data.draw(st.integers(0, len(epochs) - 1))]
                self.run(self.machine.report(job_id, epoch, kind, permanent=permanent))

        @rule()
        def lose(self) -> None:
            self.run(self.machine.lose())

        @rule(data=st.data(), verb=VERBS, force=st.booleans())
        def change(self, data: Any, verb: Verb, force: bool) -> None:
            job_id = self._pick(data)
            if job_id is not None:
                self.run(self.machine.change(verb, job_id, force=force))

        @rule(store=st.booleans(), publish=st.booleans())
        def checkpoint(self, store: bool, publish: bool) -> None:
            self.run(self.machine.checkpoint(store=store, publish=publish))

        @rule(back=st.booleans())
        def crash(self, back: bool) -> None:
            machine = self.machine
            held = {job_id: job.seq for job_id, job in machine.jobs.items() if job.state is State.PROCESSING}
            self.run(machine.crash())
            if back:
                self.run(machine.connect(held))
                assert machine.session is not None and set(machine.session.leases) == set(held)
            else:
                self.run(machine.wait_for_orphans())

        @invariant()
        def memory_agrees(self) -> None:
            if hasattr(self, "machine"):
                self.run(self.machine.settle_ties())
                self.machine.check_memory()

    return Jobs


def test_every_sequence_of_events_is_one_that_the_model_allows(postgres: EmbeddedPostgres) -> None:
    run_state_machine_as_test(
        _machine(postgres),
        settings=settings(max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True),
    )
