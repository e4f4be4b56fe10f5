"""The breaker of a job type, without clock and database: when it opens, how long it waits, what closes it."""

import pytest
from headrace_broker.model.breaker import MOST_STEPS, SLOTS, Breaker, Phase, Rule, Window
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.settings import Settings, check
from hypothesis import given
from hypothesis import strategies as st

RULE = Rule(share=0.5, minimum=4, window_s=60.0, open_s=10.0, open_max_s=35.0, canaries=2, at_once=1)
MOVES = {
    "attempts": {(Phase.CLOSED, Phase.CLOSED), (Phase.CLOSED, Phase.OPEN), (Phase.OPEN, Phase.OPEN), (Phase.HALF_OPEN, Phase.HALF_OPEN)},
    "half_open": {(Phase.CLOSED, Phase.CLOSED), (Phase.OPEN, Phase.HALF_OPEN), (Phase.HALF_OPEN, Phase.HALF_OPEN)},
    "completes": {(Phase.CLOSED, Phase.CLOSED), (Phase.OPEN, Phase.OPEN), (Phase.HALF_OPEN, Phase.HALF_OPEN), (Phase.HALF_OPEN, Phase.CLOSED)},
    "fails": {(Phase.CLOSED, Phase.CLOSED), (Phase.OPEN, Phase.OPEN), (Phase.HALF_OPEN, Phase.OPEN)},
    "close": {(phase, Phase.CLOSED) for phase in Phase},
}
STEPS = st.lists(st.tuples(st.sampled_from([*MOVES, "attempts", "attempts"]), st.floats(0, 40), st.integers(0, 3), st.integers(0, 3)), max_size=60)


def opened() -> Breaker:
    """Open since 0."""
    breaker = Breaker(RULE)
    assert breaker.attempts(0.0, 0, 4)
    return breaker


def test_a_type_has_a_breaker_when_a_share_is_set() -> None:
    assert Rule.of(Settings()) is None
    rule = Rule.of(Settings(breaker_share=0.25, breaker_minimum=7))
    assert rule is not None and (rule.share, rule.minimum, rule.window_s, rule.at_once) == (0.25, 7, 60.0, 1)


@pytest.mark.parametrize(("name", "value"), [("breaker_share", 1.1), ("breaker_minimum", 0), ("breaker_window_s", 0.5), ("breaker_open_s", 0.0), ("breaker_at_once", 0)])
def test_settings_out_of_bounds_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidField):
        check({name: value})


def test_it_opens_at_exactly_its_share() -> None:
    for completed, failed in ((9, 11), (13, 7), (3, 7)):
        share = failed / (completed + failed)
        breaker = Breaker(Rule(float(f"{share:.2f}"), 1, 60.0, 10.0, 35.0, 1, 1))
        assert breaker.attempts(0.0, completed, failed), share


def test_the_wait_doubles_up_to_its_longest() -> None:
    assert [RULE.wait_s(step) for step in (1, 2, 3, 4, 10_000)] == [10.0, 20.0, 35.0, 35.0, 35.0]
    assert Rule(0.5, 4, 60.0, 10.0, 1.0, 1, 1).wait_s(3) == 10.0, "never shorter than the first"


def test_the_window_forgets_by_tenths() -> None:
    window = Window(60.0)
    for second in range(120):
        window.add(float(second), 1, second % 2)
        assert len(window._slots) <= SLOTS + 1
        ended, failed = window.totals(float(second))
        assert min(second + 1, 54) <= sum((ended, -failed)) <= 60
    assert window.totals(500.0) == (0, 0)


def test_canaries_that_complete_close_it_and_the_next_opening_is_a_first() -> None:
    breaker = opened()
    breaker.half_open()
    assert not breaker.canary(11.0, completed=True) and breaker.passed == 1
    assert breaker.canary(12.0, completed=True) and breaker.phase is Phase.CLOSED
    assert breaker.totals(12.0) == (0, 0) and not breaker.attempts(12.0, 0, 3)
    assert breaker.attempts(13.0, 0, 1) and (breaker.step, breaker.until) == (1, 23.0)


def test_a_canary_that_fails_opens_it_for_longer_and_others_begin_anew() -> None:
    breaker = opened()
    breaker.half_open()
    breaker.canary(11.0, completed=True)
    assert breaker.canary(12.0, completed=False) and (breaker.phase, breaker.step, breaker.until) == (Phase.OPEN, 2, 32.0)
    assert not breaker.canary(13.0, completed=True), "a canary of before says nothing while it is open"
    breaker.half_open()
    assert breaker.passed == 0


def test_another_rule_holds_at_once_and_keeps_what_was_counted() -> None:
    breaker = Breaker(RULE)
    breaker.attempts(0.0, 0, 3)
    breaker.set_rule(Rule(0.5, 3, 60.0, 10.0, 35.0, 1, 1))
    assert breaker.totals(1.0) == (3, 3)
    breaker.set_rule(Rule(0.5, 3, 30.0, 10.0, 35.0, 1, 1))
    assert breaker.totals(1.0) == (0, 0), "a window of another length begins anew"


@given(steps=STEPS)
def test_whatever_happens_it_moves_as_its_picture_says(steps: list[tuple[str, float, int, int]]) -> None:
    breaker, now, seen, row = Breaker(RULE), 0.0, list[tuple[float, int, int]](), 0
    for what, seconds, completed, failed in steps:
        now += seconds
        before, version = breaker.phase, breaker.version
        if what == "attempts":
            if before is Phase.CLOSED:
                seen.append((now, completed + failed, failed))
            told = breaker.attempts(now, completed, failed)
            most, least = (sum(ended for at, ended, _ in seen if now - at < span_s) for span_s in (60.0, 54.0))
            ended, bad = breaker.totals(now)
            if before is Phase.CLOSED:
                assert least <= ended <= most
                assert told == (ended >= 4 and bad / ended >= 0.5)
        elif what == "half_open":
            breaker.half_open()
        elif what == "close":
            breaker.close()
        else:
            breaker.canary(now, completed=what == "completes")
        after = breaker.phase
        assert (before, after) in MOVES[what]
        assert before is after or breaker.version > version
        if after is Phase.CLOSED:
            row = 0
            if before is not Phase.CLOSED or what == "close":
                seen.clear()
        elif after is Phase.OPEN and before is not Phase.OPEN:
            row += 1
            assert breaker.step == row <= MOST_STEPS and abs(breaker.until - now - min(10.0 * 2 ** (row - 1), 35.0)) < 1e-6
