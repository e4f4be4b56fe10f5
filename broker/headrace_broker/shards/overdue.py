"""Nothing starves: after EVERY grants one goes to the job that has been ready longest of those that its agent serves, whatever its score, once that is OVERDUE_S or more.

A strict order leaves what is at its end where it is for as long as something better comes. Points for age alone would mend that at the price of the order: with a
backlog of hours every old job would go before what somebody has put first today. So what is overdue gets a share, and a small one. Types with `ageing_max` 0 have none.

Counted are the grants of all types together. Nothing is done for a single job: what is overdue is looked for once in EVERY grants and LOOK_S, at the fronts of lanes.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from headrace_broker.model.ids import MAX_ID, lowest_id_at

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

EVERY = 100
OVERDUE_S = 600.0
LOOK_S = 1.0
"""How long nobody looks again where nothing was overdue: types may be many."""
MOST = 10
"""What is due and could not be made use of yet adds up to so many grants."""


class Overdue:
    """When one is due. `types`: those that may have something overdue then, in the pass of grants under way; `oldest`: what is ready since up to this id is overdue."""

    def __init__(self) -> None:
        self.types: set[int] = set()
        self.oldest = 0
        self._granted = 0  # in their turn, since the last one that was not
        self._look_at = 0.0  # the loop's clock

    def begin(self, owner: "Owner", ready: Mapping[int, int], now: float) -> None:
        """A pass of grants begins. `ready`: about how many jobs may be granted, by type."""
        self.types.clear()
        if self._granted < EVERY or now < self._look_at:
            return
        self.oldest = lowest_id_at(owner.clock.now_s() - OVERDUE_S)
        self.types.update([type_id for type_id in ready if self._may_have(owner, type_id)])
        if not self.types:
            self._granted, self._look_at = 0, now + LOOK_S

    def _may_have(self, owner: "Owner", type_id: int) -> bool:
        if not owner.types.by_id[type_id].settings.ageing_max:
            return False
        crowd = owner.lines.crowds.get(type_id)
        return (crowd is not None and crowd.listed > 0) or any(since <= self.oldest for _, since in owner.lanes.firsts(type_id))

    def due(self, served: Collection[int]) -> set[int]:
        """Types of an agent that may have something overdue, when one is due."""
        return self.types.intersection(served) if self.types and self._granted >= EVERY else set()

    def none_of(self, types: set[int]) -> None:
        """Nothing of these types is overdue that may be granted."""
        self.types -= types
        if not self.types:
            self._granted = 0

    def granted(self, count: int, *, in_turn: bool) -> None:
        """So many jobs were granted."""
        self._granted = min(self._granted + count, MOST * EVERY) if in_turn else max(0, self._granted - EVERY * count)


def by_age(since: int) -> int:
    """More than any score adds, and more the older."""
    return MAX_ID - since
