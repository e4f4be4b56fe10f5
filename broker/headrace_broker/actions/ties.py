"""Whether the jobs are there that another one is to be tied to."""

from collections.abc import Sequence

from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.shards.changes import visible
from headrace_broker.shards.owner import Owner
from headrace_broker.store.heads import Heads, ReadFailed

AT_ONCE = 5000  # jobs of one read


async def find_missing(owner: Owner, heads: Heads, domain: str, job_ids: Sequence[int]) -> set[int]:
    """Which of these jobs are not there in the domain: never stored, deleted, or another domain's. Raises DatabaseUnavailable."""
    missing: set[int] = set()
    for at in range(0, len(job_ids), AT_ONCE):
        chunk = [job_id for job_id in job_ids[at : at + AT_ONCE] if not _is_live(owner, job_id, domain)]
        if not chunk:
            continue
        try:
            found = await heads.heads(chunk)
        except ReadFailed as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error
        missing.update(job_id for job_id in chunk if not visible(owner, found.get(job_id), domain))
    return missing


def _is_live(owner: Owner, job_id: int, domain: str) -> bool:
    """Whether memory knows that the job is there, which it does of those that run."""
    live = owner.live(job_id)
    return live is not None and live.entry.domain == domain
