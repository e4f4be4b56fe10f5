"""Whether the jobs are there that another one is to be tied to."""

import asyncio
from collections.abc import Sequence

from headrace_broker.actions.reach import types_for
from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.model.permissions import Act
from headrace_broker.shards.changes import visible
from headrace_broker.shards.owner import Owner
from headrace_broker.store.heads import Heads, ReadFailed

AT_ONCE = 5000  # jobs of one read


async def find_missing(owner: Owner, heads: Heads, domain: str, job_ids: Sequence[int]) -> set[int]:
    """Which of these jobs are not there in the domain: never stored, deleted, another domain's, or of types that the call has
    nothing to do with. Raises DatabaseUnavailable."""
    missing: set[int] = set()
    for at in range(0, len(job_ids), AT_ONCE):
        chunk = [job_id for job_id in job_ids[at : at + AT_ONCE] if not _is_live(owner, job_id, domain)]
        if not chunk:
            await asyncio.sleep(0)  # there may be a million of them: others have their turn, as while one is read
            continue
        try:
            found = await heads.heads(chunk)
        except ReadFailed as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error
        for job_id in chunk:
            head = found.get(job_id)
            if head is None or not visible(owner, head, domain) or not _reached(owner.types.by_id[head.type_id].name):
                missing.add(job_id)
    return missing


def _is_live(owner: Owner, job_id: int, domain: str) -> bool:
    """Whether memory knows that the job is there, which it does of those that run."""
    live = owner.live(job_id)
    return live is not None and live.entry.domain == domain and _reached(live.entry.name)


def _reached(name: str) -> bool:
    """Whether the call may know of jobs of this type: it sees them, or submits such jobs itself."""
    return types_for(Act.VIEW).allow(name) or types_for(Act.SUBMIT).allow(name)
