"""Forgets lives of brokers that ended long ago and that nothing needs any more, in bounded passes.

Each start of a broker is a row, for each shard, and so is each connection that it lost; those of standbys that were killed are not even marked dead. What a life has left
behind goes by itself within hours: flush rows when their slot is emptied, counts when its successor has taken them over, its checkpoint when there is a newer one. A
broker that still believes in a life that is not there any more is fenced, as by one that is dead.
"""

from dataclasses import dataclass

from headrace_broker.store.brokers import BrokerStore

PERIOD_S = 6 * 3600.0
KEPT_S = 7 * 86_400.0
AT_ONCE = 1000
ROUNDS = 20
"""Statements of one pass, at most."""


@dataclass
class TidyLives:
    """`kept_s`: lives that began within so many seconds are kept."""

    store: BrokerStore
    kept_s: float = KEPT_S

    async def run_once(self) -> dict[str, int]:
        """One pass; returns how many were forgotten."""
        total = 0
        for _ in range(ROUNDS):
            gone = await self.store.trim_lives(self.kept_s, AT_ONCE)
            total += gone
            if not gone:
                break
        return {"lives": total} if total else {}
