"""Counts of jobs: what shows is what one finds who goes through all of them, whatever was counted, forgotten and hidden, in whatever order."""

import random
from collections import Counter

from headrace_broker.model.job import State
from headrace_broker.shards.counted import Counted, Key

STATES = (State.WAITING, State.PROCESSING, State.COMPLETED, State.ERROR)


def _found(counted: Counted, minute: int) -> Counter[tuple[int, State]]:
    """What shows, looked for."""
    found: Counter[tuple[int, State]] = Counter()
    for (type_id, state, gone_from), count in counted.items():
        if not 0 < gone_from <= minute:
            found[type_id, state] += count
    return found


def test_what_shows_is_what_one_finds_by_looking() -> None:
    counted, chance, minute = Counted(), random.Random(1), 100
    came = went_back = 0
    for _ in range(5000):
        keys: list[Key] = [(chance.randrange(3), state, 0 if state <= State.PROCESSING else chance.choice([0, minute + chance.randrange(-5, 20)])) for state in STATES]
        act = chance.randrange(6)
        if act < 3:
            counted.add(Counter({chance.choice(keys): chance.randrange(1, 5), chance.choice(keys): 1}))
        elif act == 3:
            counted[chance.choice(keys)] -= 1
        elif act == 4 and counted:
            del counted[chance.choice(list(counted))]
        else:
            step = chance.choice([0, 1, 1, 2, -3])
            minute, came, went_back = minute + step, came + (step > 0), went_back + (step < 0)
        shown = {key: count for key, count in counted.shown(minute).items() if count}
        assert shown == {key: count for key, count in _found(counted, minute).items() if count}
        waiting = {type_id: count for (type_id, state), count in shown.items() if state is State.WAITING}
        assert counted.unsettled(State.WAITING) == waiting
    assert came > 100 and went_back > 100 and len(counted) > 100


def test_what_is_not_there_is_none_and_is_not_made_by_asking() -> None:
    counted = Counted()
    assert counted[1, State.WAITING, 0] == 0 and not counted
    counted.add({(1, State.COMPLETED, 7): 3})
    assert dict(counted) == {(1, State.COMPLETED, 7): 3} and counted.shown(6) == {(1, State.COMPLETED): 3}
    assert not +Counter(counted.shown(7)) and dict(counted) == {(1, State.COMPLETED, 7): 3}
