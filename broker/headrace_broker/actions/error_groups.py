"""The errors of a type, by fingerprint: of the newest jobs that came into error, as many as there is time for."""

from dataclasses import dataclass, replace

from headrace_broker.actions.reach import secrets
from headrace_broker.actions.search import no_turn
from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.model.masked_text import masked_text
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.search import ErrorGroup, Finder, NoTurn

MOST_JOBS = 2000
"""Looked at: some 90 ms at ten million jobs, most of it for errors with long tracebacks."""
FEWER_JOBS = 250
"""Where that takes too long."""
MOST_GROUPS = 50
BUDGET_S = 0.35
"""Of each of the two tries."""


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The largest groups first; `all_groups` is how many there are. `looked_at`: of how many jobs that came into error, the newest; `whole`: there are no more."""

    groups: list[ErrorGroup]
    all_groups: int
    looked_at: int
    whole: bool


async def error_groups(owner: Owner, finder: Finder, entry: TypeEntry) -> ErrorGroups:
    """Raises Busy (searches have no turn), DatabaseUnavailable."""
    for jobs in (MOST_JOBS, FEWER_JOBS):
        try:
            groups, count, looked = await finder.error_groups(entry.type_id, jobs=jobs, now_s=owner.clock.now_s(), limit=MOST_GROUPS, timeout_s=BUDGET_S)
        except TimeoutError:
            continue
        except NoTurn as error:
            raise no_turn(error) from error
        except READ_FAILURES as error:
            raise DatabaseUnavailable(f"the database did not answer in time: {type(error).__name__}") from error
        groups = [replace(group, message=masked_text(group.message, secrets(entry.name))) for group in groups]
        return ErrorGroups(groups, count, looked, looked < jobs)
    raise DatabaseUnavailable("the database did not answer in time")
