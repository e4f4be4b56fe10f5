"""Bulk operations without a broker: what is asked for, how it is stored, and what a page decides."""

import json
from datetime import UTC, datetime

import pytest
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, InvalidField, InvalidState, UniqueKeyTaken
from headrace_broker.model.filter import JobFilter, Period
from headrace_broker.model.job import State
from headrace_broker.model.operation import Action, Deed, Operation, OperationState, Plan, Progress
from headrace_broker.model.stored_filter import described, read_filter, stored_filter
from headrace_broker.shards.intents import Change
from headrace_broker.shards.pages import Page, StateChanged, Unchanged
from headrace_broker.shards.round import Round
from headrace_broker.store.operations import Standing

FULL = JobFilter(
    ("a", "b"), frozenset({State.ERROR, State.ABORTED}), "case 7", Period(1.5, None), Period(None, 2.0), Period(3.0, 4.0), "worker", "f00d", (("k", "v"), ("team", "x")),
    "50 % of\nit",
)  # fmt: skip


def operation(wanted: JobFilter = FULL) -> Operation:
    """One that has just started."""
    plan = Plan(wanted, Deed(Action.REQUEUE), "why")
    return Operation(7, plan, Caller("ada", "default", "r1"), 1000, 3, True, OperationState.RUNNING, datetime(2026, 1, 1, tzinfo=UTC), None, None, "", "", Progress())


def page(standing: Standing, *job_ids: int, after: int = 100, searched: bool = False, new: int | None = None, last_try: bool = False) -> Page:
    """Some members of it."""
    return Page(operation(), standing, list(job_ids), after, searched, len(job_ids) if new is None else new, last_try)


@pytest.mark.parametrize("wanted", [FULL, JobFilter(), JobFilter(states=frozenset({State.WAITING})), JobFilter(settled=Period(to_s=9.25))])
def test_a_filter_is_read_as_it_was_stored(wanted: JobFilter) -> None:
    assert read_filter(stored_filter(wanted)) == wanted


@pytest.mark.parametrize(
    "deed", [Deed(Action.REQUEUE, True, payload=b"\x00", content_type="x"), Deed(Action.REQUEUE, payload=b""), Deed(Action.ABORT, grace_s=1.0, force=True)]
)
def test_a_deed_is_read_as_it_was_stored(deed: Deed) -> None:
    assert Deed.read(deed.action.value, json.loads(json.dumps(deed.options()))) == deed


def test_a_filter_in_words() -> None:
    assert described(JobFilter()) == "all jobs"
    assert described(JobFilter(("a", "b"), frozenset({State.ERROR, State.ABORTED}), created=Period(from_s=0.0))) == (
        "types=a,b states=aborted,error created_from=1970-01-01T00:00:00Z"
    )


def test_the_empty_filter_is_refused_unless_it_is_asked_for_by_name() -> None:
    for wanted, all_jobs, field in ((JobFilter(), False, "filter"), (FULL, True, "all_jobs")):
        with pytest.raises(InvalidField) as refused:
            Plan(wanted, Deed(Action.HOLD), "", all_jobs=all_jobs).check()
        assert refused.value.field == field
    Plan(JobFilter(), Deed(Action.HOLD), "", all_jobs=True).check()
    Plan(FULL, Deed(Action.HOLD), "").check()


def test_states_that_take_a_deed() -> None:
    settled = {State.COMPLETED, State.ERROR, State.ABORTED}
    assert Deed(Action.REQUEUE).states == settled - {State.COMPLETED}
    assert Deed(Action.REQUEUE, include_completed=True).states == settled == Deed(Action.PURGE).states
    assert Deed(Action.ABORT).states == {State.WAITING, State.PROCESSING}
    for action in (Action.PRIORITY, Action.HOLD, Action.RELEASE):
        assert Deed(action).states == settled | {State.WAITING, State.PROCESSING}


def test_options_that_are_not_as_usual_are_stored() -> None:
    for deed in (Deed(Action.ABORT), Deed(Action.ABORT, grace_s=0.0, force=True), Deed(Action.PRIORITY, priority=0), Deed(Action.REQUEUE, include_completed=True)):
        assert Deed(deed.action, **deed.options()) == deed
    assert Deed(Action.ABORT).options() == {}


def test_a_page_counts_each_job_once_and_says_why_some_were_left() -> None:
    standing, round_ = Standing(7), Round(1)
    first = page(standing, 1, 2, 3, 4, 5, 6)
    first.gone = (2,)
    first.decided(
        round_,
        [
            Change(1, State.WAITING), None, Change(4, State.COMPLETED, InvalidState("job 4 has completed")), Change(5, State.ERROR, UniqueKeyTaken("k", 9)),
            Change(6, State.PROCESSING, Busy("a door is open", retry_after_s=1)),
        ],
    )  # fmt: skip
    [row] = round_.batch.pages
    assert (row.n, row.after, row.todo, row.searched, row.numbers) == (1, 100, [3], False, (6, 1, 3, 1))
    assert [(skip.job_id, skip.failed, skip.code) for skip in row.skips] == [
        (2, False, "JOB_NOT_FOUND"), (4, False, "INVALID_STATE"), (5, False, "UNIQUE_KEY_TAKEN"), (6, True, "BUSY"),
    ]  # fmt: skip
    assert row.skips[1].reason == "job 4 has completed" and round_.batch.audit == []
    round_ = Round(2)
    page(standing, 3, new=0, searched=True).decided(round_, [Change(3, State.WAITING)])
    [row] = round_.batch.pages
    assert (row.n, row.todo, row.searched, row.numbers, row.skips) == (2, [], True, (6, 2, 3, 1), [])
    assert standing.finished
    [entry] = round_.batch.audit
    assert (entry.action, entry.target, entry.reason, entry.caller.actor) == ("operation.finish", "operation/7", "why", "ada")
    assert entry.after is not None and (entry.after["done"], entry.after["skipped"], entry.after["failed"]) == (2, 3, 1)


def test_a_page_that_decides_nothing_leaves_no_row_and_the_last_try_ends_it() -> None:
    standing, round_ = Standing(7), Round(1)
    page(standing, 1, 2).decided(round_, [Change(1, State.WAITING), None])
    again = page(standing, 2, new=0)
    again.decided(round_, [None])
    assert len(round_.batch.pages) == 1 and standing.todo == [2]
    page(standing, 2, new=0, last_try=True).decided(round_, [None])
    assert (standing.todo, standing.done, standing.failed, round_.batch.pages[1].skips[0].code) == ([], 1, 1, "BUSY")
    page(standing, after=500).decided(round_, [])
    assert (standing.after, standing.n, round_.batch.pages[2].numbers) == (500, 3, (2, 1, 0, 1)), "how far a search came without finding any is stored too"


def test_a_job_that_left_the_states_of_the_filter_is_no_member_any_more() -> None:
    with pytest.raises(StateChanged, match="waiting"):
        page(Standing(7), 1).check(1, State.WAITING)
    page(Standing(7), 1).check(1, State.ERROR)
    Page(operation(JobFilter()), Standing(7), [1], 1, False, 1).check(1, State.WAITING)


def test_what_is_so_already_is_not_signed() -> None:
    round_ = Round(1)
    with pytest.raises(Unchanged):
        page(Standing(7), 1).sign(round_, 1, 4, changed=False)
    page(Standing(7), 1).sign(round_, 1, 4, changed=True)
    assert (round_.batch.note_job, round_.batch.note_epoch, round_.batch.note_data, round_.batch.note_actor) == ([1], [4], [b"7"], ["ada"])
