"""Bulk operations: their rows, which people change here and the flush moves (`operation_page.sql`), and the jobs that they did not change."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField, InvalidState, OperationNotFound
from headrace_broker.model.operation import Deed, Operation, OperationState, Plan, Progress, Skip
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.model.stored_filter import described, read_filter, stored_filter
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql

MAX_RUNNING = 1000
"""Operations that are looked at at once; those started after them wait for their turn."""


@dataclass(slots=True, eq=False)
class Standing:
    """Where an operation goes on: `n` pages were decided; all ids up to `after` were looked at, and `todo` of them are members that are not decided; `searched`: there
    are no more to look at. The numbers are from the start on."""

    operation_id: int
    n: int = 0
    after: int = 0
    todo: list[int] = field(default_factory=list)
    searched: bool = False
    matched: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self.searched and not self.todo


@dataclass(frozen=True, slots=True)
class PageRow:
    """A page that a flush stores: the standing after it, and the jobs that it did not change."""

    operation_id: int
    n: int
    after: int
    todo: list[int]
    searched: bool
    numbers: tuple[int, int, int, int]
    skips: list[Skip]

    def columns(self) -> tuple[Any, ...]:
        """The parameters of operation_page.sql."""
        skips = self.skips
        return (
            self.operation_id, self.n, self.after, self.todo, self.searched, *self.numbers,
            [s.job_id for s in skips], [s.failed for s in skips], [s.code for s in skips], [s.reason for s in skips],
        )  # fmt: skip


class OperationStore:
    """On the pool. Raises what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard

    async def add(self, plan: Plan, *, frozen_id: int, expected: int, expected_complete: bool, start_key: str, caller: Caller) -> Operation:
        """Starts an operation, with a row in the audit; or answers with the one that this key (empty: none) has started. Raises InvalidField if that is another plan."""
        deed, stored = plan.deed, json.dumps(stored_filter(plan.wanted))
        async with changing(self._pool) as con:
            operation_id = await con.fetchval(
                sql("operation_add"), caller.domain, deed.action.value, json.dumps(deed.options()), stored, plan.all_jobs, plan.reason, caller.actor, caller.token_id,
                caller.on_behalf_of, caller.request_id, start_key, frozen_id, expected, expected_complete, plan.rate,
            )  # fmt: skip
            if operation_id is None:
                found = _operation(await con.fetchrow(sql("operation_of_key"), caller.domain, start_key))
                if replace(found.plan, rate=plan.rate) != plan:
                    raise InvalidField("request_id", f"it has started operation {found.operation_id}, which does something else; take a new one")
                return found
            after = {"operation_id": operation_id, "frozen_id": frozen_id, "expected": expected, "rate": plan.rate, **deed.told()}
            await write_audit(con, [caller.entry(f"bulk.{deed.action.value}", f"filter/{described(plan.wanted)}", reason=plan.reason, after=after)])
            return _operation(await con.fetchrow(sql("operation_get"), caller.domain, operation_id))

    async def find(self, domain: str, operation_id: int) -> Operation:
        """One operation. Raises OperationNotFound."""
        row = await self._pool.fetchrow(sql("operation_get"), domain, operation_id)
        if row is None:
            raise OperationNotFound(operation_id)
        return _operation(row)

    async def page(self, domain: str, *, below: int, limit: int) -> list[Operation]:
        """Operations of a domain, newest first, below an id."""
        return [_operation(row) for row in await self._pool.fetch(sql("operation_list"), domain, below, limit)]

    async def skips(self, operation_id: int, *, after: int, limit: int) -> list[Skip]:
        """Jobs that an operation did not change, by id, above one."""
        return [Skip(r["job_id"], r["failed"], r["code"], r["reason"]) for r in await self._pool.fetch(sql("operation_skips"), operation_id, after, limit)]

    async def running(self) -> list[Operation]:
        """Operations of all domains of the shard that go on, oldest first."""
        return [_operation(row) for row in await self._pool.fetch(sql("operation_running"), MAX_RUNNING, self._shard.of, self._shard.number)]

    async def is_running(self, operation_id: int) -> bool:
        """Whether nobody has stopped it."""
        state: str | None = await self._pool.fetchval(sql("operation_state"), operation_id)
        return state == OperationState.RUNNING

    async def standing(self, operation_id: int) -> Standing:
        """Where an operation goes on, as far as is stored."""
        row = await self._pool.fetchrow(sql("operation_standing"), operation_id)
        if row is None:
            return Standing(operation_id)
        return Standing(operation_id, row["n"], row["after_id"], list(row["todo"]), row["searched"], row["matched"], row["done"], row["skipped"], row["failed"])

    async def set(self, operation_id: int, verb: str, *, state: OperationState | None = None, rate: float | None = None, caller: Caller, reason: str) -> Operation:
        """Stops an operation, lets it go on, or changes its rate, with a row in the audit; what is so already stays untouched. `verb`: for the audit.

        Raises:
            OperationNotFound. InvalidState: it has finished.
        """
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("operation_lock"), caller.domain, operation_id)
            if row is None:
                raise OperationNotFound(operation_id)
            old = _operation(row)
            if old.state is OperationState.FINISHED:
                raise InvalidState(f"operation {operation_id} has finished: there is nothing to {verb.replace('_', ' ')}")
            new = replace(old, state=state or old.state, plan=old.plan if rate is None else replace(old.plan, rate=rate))
            if new == old:
                return old
            await con.execute(sql("operation_set"), operation_id, new.state.value, new.plan.rate, caller.shown, reason)
            await write_audit(con, [caller.entry(f"operation.{verb}", old.target, reason=reason, before=told(old), after=told(new))])
            return _operation(await con.fetchrow(sql("operation_get"), caller.domain, operation_id))

    async def trim(self, kept_s: float, rows: int) -> dict[str, int]:
        """Forgets what was finished so long ago, and pages that newer ones follow, some at a time; how many went."""
        return dict(await self._pool.fetchrow(sql("operation_trim"), kept_s, rows))


def told(operation: Operation) -> dict[str, Any]:
    """An operation for the audit."""
    at = operation.progress
    numbers = {"matched": at.matched, "done": at.done, "skipped": at.skipped, "failed": at.failed}
    return {"state": operation.state.value, "rate": operation.plan.rate, **numbers}


def _operation(row: Any) -> Operation:
    plan = Plan(read_filter(json.loads(row["filter"])), Deed.read(row["action"], json.loads(row["options"])), row["reason"], row["rate"], row["all_jobs"])
    caller = Caller(row["actor"], row["domain"], row["request_id"], row["on_behalf_of"], row["token_id"])
    progress = Progress(row["after_id"], row["matched"], row["done"], row["skipped"], row["failed"], row["at"])
    return Operation(
        row["operation_id"], plan, caller, row["frozen_id"], row["expected"], row["expected_complete"], OperationState(row["state"]), row["created_at"],
        row["finished_at"], row["stopped_at"], row["stopped_by"], row["stopped_reason"], progress,
    )  # fmt: skip
