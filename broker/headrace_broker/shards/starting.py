"""Jobs that must start within a time (see `model.starting`) and have not: they end, as their type says.

Memory knows of such jobs what lanes say: ids, in the order in which they became ready, and an id says when it was made. Those that are old enough are read, as for any
other change of a job, and decided by what the ledger says. Those that have longer, since they were put off or requeued, are looked at again when their time is over.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.starting import EVER, NotYet
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.store.heads import Heads

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner
    from headrace_broker.shards.types import TypeEntry

PASS_S = 0.25
AT_ONCE = 1000
LOOKED_AT = 20_000  # entries of one type in one pass
YOUNG = 1000  # entries of one lane that are passed over

log = structlog.get_logger("headrace.starting")


class Starting:
    """One owner's watch. `put_off`: jobs that have time until then, seconds since 1970."""

    def __init__(self, owner: "Owner", heads: Heads) -> None:
        self._owner = owner
        self._heads = heads
        self._put_off: dict[int, float] = {}

    async def run(self) -> None:
        """Looks every `PASS_S` until cancelled. What cannot be decided now is tried again: the database is away, or the broker drains."""
        while True:
            await asyncio.sleep(PASS_S)
            try:
                await self.run_once()
            except BrokerError as error:
                log.debug("late jobs not ended", reason=str(error))

    async def run_once(self) -> int:
        """Ends what is late now; returns how many jobs."""
        ended, now_s = 0, self._owner.clock.now_s()
        if len(self._put_off) > LOOKED_AT:
            self._put_off = {job_id: until_s for job_id, until_s in self._put_off.items() if until_s > now_s and until_s != EVER}
        for entry in list(self._owner.types.starting):
            late = [job_id for job_id in itertools.islice(self._old(entry, now_s), LOOKED_AT) if self._put_off.get(job_id, 0.0) <= now_s][:AT_ONCE]
            if not late:
                continue
            reason = f"it did not start within {entry.settings.start_within_s:g} s"
            for change in await changes.request(self._owner, self._heads, Verb.EXPIRE, late, caller=Caller("", entry.domain, ""), reason=reason):
                self._put_off.pop(change.job_id, None)
                if isinstance(change.error, NotYet):
                    self._put_off[change.job_id] = change.error.until_s
                ended += change.error is None
        return ended

    def _old(self, entry: "TypeEntry", now_s: float) -> Iterator[int]:
        """Jobs that wait and were made so long ago. Those of a lane became ready in this order, but for some whose score has changed."""
        owner, made_before = self._owner, now_s - (entry.settings.start_within_s or 0.0)
        lanes = [*owner.lanes.entries(entry.type_id), *(ids for _, _, ids in owner.lines.entries(entry.type_id))]
        marks, passed = owner.lanes.marks, Counter[int]()
        for ids in lanes:
            young = 0
            for job_id in ids:
                if created_at_s(job_id) > made_before:
                    young += 1
                    if young > YOUNG:
                        break
                    continue
                if job_id in marks and passed[job_id] < marks[job_id]:  # its first entries are those that do not count
                    passed[job_id] += 1
                else:
                    yield job_id
