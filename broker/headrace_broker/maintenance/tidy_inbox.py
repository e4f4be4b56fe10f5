"""Deletes what was taken up from the inbox, in bounded passes. Rows of submissions go at once, their results after a day, refusals with what was submitted after 30."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headrace_broker.store.inbox import Inbox

PERIOD_S = 5.0
AT_ONCE = 2000
ROUNDS = 25
"""Statements of one pass, at most."""
RESULTS_KEPT_S = 86_400.0
REFUSALS_KEPT_S = 30 * 86_400.0
FROM_THE_START = 720
"""Passes between two that begin at the first row, for the rows of transactions that ended late. The others step over deleted rows that cannot be vacuumed yet."""


@dataclass
class TidyInbox:
    """`done`: the snapshots up to which the owner of each shard has taken the inbox, as texts."""

    inbox: Inbox
    done: Callable[[], Awaitable[list[str]]]
    _passes: int = 0
    _row: tuple[int, int] = (0, 0)
    _result: int = 0

    async def run_once(self) -> dict[str, int]:
        """One pass; returns what was deleted."""
        if self._passes % FROM_THE_START == 0:
            self._row, self._result = (0, 0), 0
        self._passes += 1
        results = 0
        done = await self.done()
        for _ in range(ROUNDS):
            looked, _, self._row = await self.inbox.trim(done, self._row, AT_ONCE)
            if looked < AT_ONCE:
                break
        for _ in range(ROUNDS):
            deleted, last, over = await self.inbox.trim_results(self._result, RESULTS_KEPT_S, REFUSALS_KEPT_S, AT_ONCE)
            results += deleted
            if over:
                break
            self._result = last
        await self.inbox.trim_cursors(AT_ONCE)
        return {"results": results} if results else {}
