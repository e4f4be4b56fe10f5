"""Forgets bulk operations that finished long ago, and the pages that newer ones follow, in bounded passes."""

from dataclasses import dataclass

from headrace_broker.store.operations import OperationStore

PERIOD_S = 600.0
KEPT_S = 90 * 86_400.0
AT_ONCE = 5000
ROUNDS = 20
"""Statements of one pass, at most."""


@dataclass
class TidyOperations:
    """`kept_s`: how long a finished operation is kept."""

    store: OperationStore
    kept_s: float = KEPT_S

    async def run_once(self) -> dict[str, int]:
        """One pass; returns what was deleted."""
        total: dict[str, int] = {}
        for _ in range(ROUNDS):
            gone = await self.store.trim(self.kept_s, AT_ONCE)
            for name, rows in gone.items():
                total[name] = total.get(name, 0) + rows
            if not any(gone.values()):
                break
        return {name: rows for name, rows in total.items() if rows and name != "pages"}
