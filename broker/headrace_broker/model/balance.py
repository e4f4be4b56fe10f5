"""Which broker owns which shard: the rule alone, of what lives at one moment.

A free shard is taken by a broker that stands by for it and owns the fewest, so a broker's end moves its own shards and no others. One that has at least two more than
another gives one away, only one broker at a time, and only while no shard is free: so shards move from who has most to who has least until all have the same number
or one more, which takes as few moves as there can be, and then nothing moves. Brokers that see the same decide the same; where what they see differs for a moment,
the worst is one move more.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Standing:
    """What lives now.

    `owners`: the broker that owns a shard, by its number; a shard that is not there is free. `waiting`: brokers that stand by for a shard, alive and awake. `of`: how
    many shards there are.
    """

    owners: Mapping[int, str]
    waiting: Mapping[int, frozenset[str]]
    of: int

    @property
    def brokers(self) -> frozenset[str]:
        """All that own a shard or stand by for one."""
        return frozenset(self.owners.values()).union(*self.waiting.values())

    def loads(self) -> dict[str, int]:
        """How many shards each broker owns."""
        loads = dict.fromkeys(self.brokers, 0)
        for broker in self.owners.values():
            loads[broker] += 1
        return loads


def place_in_line(standing: Standing, shard: int, broker: str) -> int | None:
    """How many brokers are to take a free shard rather than this one; 0: it is its own to take. None: the shard is not free.

    Free shards are dealt out in the order of their numbers, each to the broker that has the fewest then. A broker that is not seen to stand by comes last.
    """
    if shard in standing.owners:
        return None
    loads = standing.loads()
    for number in range(standing.of):
        if number in standing.owners:
            continue
        line = sorted(standing.waiting.get(number, ()), key=lambda each: (loads[each], each))
        if number == shard:
            return line.index(broker) if broker in line else len(line)
        if line:
            loads[line[0]] += 1
    return 0


def to_give(standing: Standing, broker: str) -> int | None:
    """The shard that this broker is to give away now; None: none. Shard 0 goes last: the duties of all shards go with it."""
    if len(standing.owners) < standing.of:
        return None
    loads = standing.loads()
    if broker not in loads or broker != max(loads, key=lambda each: (loads[each], each)):
        return None
    for shard in sorted((number for number, owner in standing.owners.items() if owner == broker), reverse=True):
        if any(loads[each] <= loads[broker] - 2 for each in standing.waiting.get(shard, ())):
            return shard
    return None
