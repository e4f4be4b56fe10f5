"""The pure model: transitions, ids, settings, retry."""

import itertools

import pytest
from headrace_broker.model import ids, retry
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.job import TRANSITIONS, UNCHARGED, BrokenHistory, Event, Head, Kind, State, fold, step
from headrace_broker.model.settings import Settings, check, effective


@pytest.mark.parametrize(("state", "kind", "after"), list(itertools.product(State, Kind, State)))
def test_a_step_is_taken_exactly_when_the_table_has_it(state: State, kind: Kind, after: State) -> None:
    head = Head(4, state, 1, 1, 0)
    attempt = 2 if kind is Kind.GRANTED else 0 if kind is Kind.REQUEUED or kind in UNCHARGED else 1
    event = Event(5, kind, after, 2 if kind is Kind.REQUEUED else 1, attempt, int(kind is Kind.LOST))
    if after in TRANSITIONS.get((state, kind), ()):
        assert step(head, event) == Head(5, after, event.run, event.attempt, event.losses)
    else:
        with pytest.raises(BrokenHistory):
            step(head, event)


def test_settled_jobs_are_left_by_requeue_and_purge_only_and_updates_leave_them_where_they_are() -> None:
    for state in (State.COMPLETED, State.ERROR, State.ABORTED):
        assert {kind for (before, kind) in TRANSITIONS if before is state} == {Kind.REQUEUED, Kind.PURGED, Kind.UPDATED}
        assert TRANSITIONS[state, Kind.UPDATED] == {state}
    assert not [kind for (before, kind) in TRANSITIONS if before is State.GONE]


def test_a_gap_in_the_history_is_refused() -> None:
    with pytest.raises(BrokenHistory):
        fold([Event(2, Kind.GRANTED, State.PROCESSING, 1, 1, 0)])


def test_a_loss_gives_the_attempt_back_and_a_failure_does_not() -> None:
    granted = Event(1, Kind.GRANTED, State.PROCESSING, 1, 1, 0)
    assert fold([granted, Event(2, Kind.LOST, State.WAITING, 1, 0, 1)]).attempt == 0
    assert fold([granted, Event(2, Kind.FAILED, State.WAITING, 1, 1, 0)]).attempt == 1
    with pytest.raises(BrokenHistory):
        fold([granted, Event(2, Kind.FAILED, State.WAITING, 1, 0, 0)])


def test_an_id_says_when_where_and_how_long() -> None:
    low = ids.lowest_id_at(1_800_000_000.123)
    job_id = low | (17 << 9) | (42 << 3) | 5
    assert (ids.created_at_s(job_id), ids.shard_of(job_id), ids.class_of(job_id)) == (1_800_000_000.123, 42, 5)
    assert ids.lowest_id_at(0) == 0
    assert ids.lowest_id_at(1e12) == ids.MAX_ID


@pytest.mark.parametrize(
    ("keep_s", "number"), [(0, 6), (300, 6), (301, 0), (3600, 0), (3601, 1), (7 * 86400, 2), (30 * 86400, 3), (365 * 86400, 4), (1e10, 5), (None, 5)]
)
def test_jobs_kept_for_about_the_same_time_share_a_class(keep_s: float | None, number: int) -> None:
    assert ids.class_for(keep_s) == number


def test_a_persons_setting_wins_over_what_code_declares() -> None:
    assert effective({"timeout_s": 5.0}, {"timeout_s": 9.0, "max_attempts": 2}) == Settings(timeout_s=5.0, max_attempts=2)
    assert effective({"from_a_newer_version": 1}, {}) == Settings()


@pytest.mark.parametrize(
    "values",
    [{"timeout_s": 0}, {"max_attempts": 0}, {"max_attempts": 1.5}, {"retry_jitter": 1.1}, {"paused": 1}, {"exhausted_state": 3}, {"no_such": 1}, {"priority": True}],
)
def test_settings_out_of_bounds_are_refused_by_name(values: dict[str, float]) -> None:
    with pytest.raises(InvalidField) as refused:
        check(values)
    assert refused.value.field == next(iter(values))


def test_backoff_grows_is_capped_and_spread() -> None:
    settings = Settings(retry_delay_s=2, retry_factor=3, retry_max_s=20, retry_jitter=0.5)
    assert [retry.delay_s(settings, attempt, 0.5) for attempt in (1, 2, 3, 4, 5000)] == [2, 6, 18, 20, 20]
    assert retry.delay_s(settings, 1, 0.0) == 1.0
    assert 2.99 < retry.delay_s(settings, 1, 0.999999) < 3.0
