"""What of an owner's types and jobs the call that is being served may reach."""

from collections.abc import Iterable

from headrace_broker.actions.reach import lacking, types_for
from headrace_broker.model.errors import BrokerError, DatabaseUnavailable, JobNotFound, TypeDenied
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards.changes import visible
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.heads import Heads, ReadFailed


def entries(owner: Owner, domain: str, act: Act) -> list[TypeEntry]:
    """The types of a domain that the call may do this to."""
    types = types_for(act)
    return [entry for entry in owner.types.of_domain(domain) if types.everything or types.allow(entry.name)]


def counts(owner: Owner, domain: str, act: Act) -> dict[str, dict[State, int]]:
    """Jobs by type and state, of the types that the call may do this to."""
    types, found = types_for(act), owner.counts(domain)
    return found if types.everything else {name: by_state for name, by_state in found.items() if types.allow(name)}


async def refusals(owner: Owner, heads: Heads, job_ids: Iterable[int], domain: str, *acts: Act) -> dict[int, BrokerError]:
    """Those of these jobs that the call may not do all of this to, and why: a job that it may not see is answered like one that is not there.

    Nothing is read where it may do so to all types. A job that is not there is not among them: whoever does the deed says so. Raises DatabaseUnavailable.
    """
    view, allowed = types_for(Act.VIEW), [(act, types_for(act)) for act in acts]
    if view.everything and all(types.everything for _, types in allowed):
        return {}
    try:
        found = await heads.heads(list(dict.fromkeys(job_ids)))
    except ReadFailed as error:
        raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
    refused: dict[int, BrokerError] = {}
    for job_id, head in found.items():
        if not visible(owner, head, domain):
            continue
        name = owner.types.by_id[head.type_id].name
        denied = next((act for act, types in allowed if not types.allow(name)), None)
        if not view.allow(name) and (denied is not None or Act.SUBMIT not in acts):  # whoever submits such jobs may know of them
            refused[job_id] = JobNotFound(job_id)
        elif denied is not None:
            refused[job_id] = TypeDenied(lacking(denied, name), name)
    return refused
