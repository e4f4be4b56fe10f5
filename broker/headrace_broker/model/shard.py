"""Shards: the parts of a queue, each owned by one broker at a time. A domain lies in one of them, and with it all that belongs to the domain."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` of `of`: the domains whose id leaves `number` when it is divided by `of`."""

    number: int
    of: int

    def holds(self, domain_id: int) -> bool:
        """Whether the domain lies here."""
        return domain_id % self.of == self.number

    def __str__(self) -> str:
        return f"shard {self.number} of {self.of}"


ONLY = Shard(0, 1)
"""The whole queue: what there is unless somebody has divided it."""

MOST = 64
"""Shards that a queue may have."""


def all_of(count: int) -> Iterable[Shard]:
    """The shards of a queue that has so many."""
    return [Shard(number, count) for number in range(count)]
