"""The rule of which broker owns which shard: in random histories of brokers that come, end, freeze and wake, shards end up evenly, with no move that was not needed."""

import random
from collections import Counter

import pytest
from headrace_broker.model.balance import Standing, place_in_line, to_give


class Cluster:
    """Brokers that follow the rule. A frozen one stands by for nothing that is seen, and owns what it owns until that is taken from it."""

    def __init__(self, of: int) -> None:
        self.of = of
        self.owners: dict[int, str] = {}
        self.awake: set[str] = set()
        self.moves = 0

    def standing(self) -> Standing:
        return Standing(dict(self.owners), {n: frozenset(b for b in self.awake if self.owners.get(n) != b) for n in range(self.of)}, self.of)

    def take_free(self, order: random.Random) -> None:
        """Each free shard is taken by the first in line; brokers look in any order, each at what is then."""
        while len(self.owners) < self.of:
            for broker in order.sample(sorted(self.awake), len(self.awake)):
                for shard in [number for number in range(self.of) if number not in self.owners]:
                    if place_in_line(self.standing(), shard, broker) == 0:
                        self.owners[shard] = broker

    def give(self) -> bool:
        """One gives one away, and it is taken; False: nobody does."""
        givers = [(broker, shard) for broker in sorted(self.awake) if (shard := to_give(self.standing(), broker)) is not None]
        if not givers:
            return False
        [(broker, shard)] = givers  # never two at a time
        del self.owners[shard]
        self.take_free(random.Random(1))
        assert self.owners[shard] != broker, "what was given away does not come back"
        self.moves += 1
        return True

    def rest(self) -> None:
        """Until nothing moves; as few moves as there can be."""
        needed = self.needed()
        before = self.moves
        while self.give():
            assert self.moves - before <= needed
        assert self.moves - before == needed
        loads = self.loads()
        assert max(loads.values()) - min(loads.values()) <= 1
        assert set(self.owners) == set(range(self.of))

    def loads(self) -> dict[str, int]:
        held = Counter(self.owners.values())
        return {broker: held[broker] for broker in self.awake}

    def needed(self) -> int:
        """How many shards have to move so that all have the same number or one more, at the least: those that have most keep the one more."""
        each, more = divmod(self.of, len(self.awake))
        return sum(max(0, load - each - (place < more)) for place, load in enumerate(sorted(self.loads().values(), reverse=True)))

    def lose(self, broker: str) -> int:
        self.awake.discard(broker)
        held = [shard for shard, owner in self.owners.items() if owner == broker]
        for shard in held:
            del self.owners[shard]
        return len(held)


@pytest.mark.parametrize("seed", range(20))
def test_shards_come_to_rest_evenly_after_anything_that_happens_to_brokers(seed: int) -> None:
    chance = random.Random(seed)
    cluster = Cluster(chance.randint(2, 24))
    names = [f"broker{number}" for number in range(chance.randint(1, 7))]
    for _ in range(25):
        up = sorted(cluster.awake)
        down = [name for name in names if name not in cluster.awake]
        if down and (not up or chance.random() < 0.6):
            for name in chance.sample(down, chance.randint(1, len(down))):  # one comes, or several at once
                cluster.awake.add(name)
        else:
            for name in chance.sample(up, chance.randint(1, max(1, len(up) - 1))):
                if len(cluster.awake) > 1:
                    cluster.lose(name)
        kept = dict(cluster.owners)
        cluster.take_free(chance)
        assert kept.items() <= cluster.owners.items(), "who ends moves nothing but its own"
        if chance.random() < 0.7:
            cluster.rest()
    cluster.rest()


def test_a_restart_of_one_of_three_moves_its_own_and_the_same_number_back() -> None:
    cluster = Cluster(6)
    cluster.awake = {"a", "b", "c"}
    cluster.take_free(random.Random(1))
    assert sorted(cluster.loads().values()) == [2, 2, 2]
    assert cluster.lose("b") == 2
    cluster.take_free(random.Random(2))
    assert sorted(cluster.loads().values()) == [3, 3]
    cluster.awake.add("b")
    cluster.rest()
    assert cluster.moves == 2 and sorted(cluster.loads().values()) == [2, 2, 2]


def test_who_takes_a_free_shard() -> None:
    waiting = {0: frozenset("bc"), 1: frozenset("abc"), 2: frozenset("abc"), 3: frozenset("ac")}
    standing = Standing({0: "a", 3: "b"}, waiting, 4)
    assert place_in_line(standing, 0, "c") is None, "it is not free"
    assert [place_in_line(standing, 1, broker) for broker in "cab"] == [0, 1, 2]
    assert [place_in_line(standing, 2, broker) for broker in "abc"] == [0, 1, 2], "c has one by then"
    assert place_in_line(standing, 1, "x") == 3, "who is not seen comes last, and is not left out"
    assert place_in_line(Standing({}, {}, 2), 1, "x") == 0


def test_nothing_is_given_away_while_a_shard_is_free_or_nobody_can_take_it() -> None:
    every = {number: frozenset("b") for number in range(4)}
    assert to_give(Standing(dict.fromkeys(range(4), "a"), every, 4), "a") == 3
    assert to_give(Standing(dict.fromkeys(range(3), "a"), every, 4), "a") is None
    assert to_give(Standing(dict.fromkeys(range(4), "a"), {}, 4), "a") is None
    assert to_give(Standing(dict.fromkeys(range(4), "a"), {1: frozenset("b")}, 4), "a") == 1, "only what somebody stands by for"
    assert to_give(Standing({0: "a", 1: "a", 2: "b"}, {0: frozenset("b")}, 3), "a") is None, "one more is even"
    assert to_give(Standing(dict.fromkeys(range(4), "a"), every, 4), "b") is None
