"""Changes of jobs that somebody asks for by id, as far as they may."""

from collections.abc import Sequence
from typing import Any

from headrace_broker.actions.reachable import refusals
from headrace_broker.model.audit import Caller
from headrace_broker.model.permissions import Act
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Change, Verb
from headrace_broker.shards.owner import Owner
from headrace_broker.store.heads import Heads

ACTS = {Verb.REQUEUE: Act.REQUEUE, Verb.ABORT: Act.ABORT, Verb.PURGE: Act.PURGE, Verb.UPDATE: Act.UPDATE, Verb.SEAL: Act.SUBMIT}
"""What each verb takes."""


async def change(owner: Owner, heads: Heads, verb: Verb, job_ids: Sequence[int], *, caller: Caller, reason: str, **options: Any) -> list[Change]:
    """As `changes.request`, whose options these are; jobs that the call may not change are refused: as if they were not there when it may not see them.

    Raises as `changes.request`.
    """
    acts = [ACTS[verb]]
    if options.get("abort_first"):
        acts.append(Act.ABORT)
    if options.get("payload") is not None:  # a requeue with another payload
        acts.append(Act.UPDATE)
    refused = await refusals(owner, heads, job_ids, caller.domain, *acts)
    if not refused:
        return await changes.request(owner, heads, verb, job_ids, caller=caller, reason=reason, **options)
    allowed = [job_id for job_id in job_ids if job_id not in refused]
    done = await changes.request(owner, heads, verb, allowed, caller=caller, reason=reason, **options) if allowed else []
    found = {one.job_id: one for one in done}
    return [found[job_id] if job_id in found else Change(job_id, None, refused[job_id]) for job_id in job_ids]
