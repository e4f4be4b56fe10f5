"""A shard: the domains that one broker owns together."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `number` (from 0) of `of` shards."""

    number: int
    of: int

    def holds(self, domain_id: int) -> bool:
        """Whether a domain lies in it."""
        return domain_id % self.of == self.number


ONLY = Shard(0, 1)
"""Where there is one shard, it holds all domains."""
