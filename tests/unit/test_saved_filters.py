"""Saved filters without a broker: what one comes to, what is stored of it, and whose it is."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField, TooLarge
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.job import State
from headrace_broker.model.saved_filter import MAX_BYTES, NAME, SavedFilter, Sought, Unreadable, owner_of
from headrace_broker.web import filters

WANTED = JobFilter(("a", "b"), frozenset({State.ERROR, State.ABORTED}), "case 7", Period(to_s=500.0), agent="mailer", labels=(("k", "v"),), log_text="no ☃")


def kept(stored: dict[str, Any]) -> SavedFilter:
    """As a broker reads it."""
    return SavedFilter("default", "", "f", stored, 1, "ada", datetime.now(UTC))


def test_ages_stay_ages_and_times_stay_times() -> None:
    sought = Sought(WANTED, {"created_from": 60.0, "settled_to": 5.0}, Order.OLDEST_FIRST)
    sought.check()
    again = kept(sought.stored()).sought()
    assert again == sought
    for now_s in (1000.0, 2000.0):
        assert again.at(now_s) == replace(WANTED, created=Period(now_s - 60.0, 500.0), settled=Period(None, now_s - 5.0))


def test_what_is_no_saved_filter_is_refused() -> None:
    for sought, field in (
        (Sought(JobFilter()), "filter"), (Sought(JobFilter(), order=Order.OLDEST_FIRST), "filter"), (Sought(WANTED, {"created_to": 1.0}), "ages.created_to"),
        (Sought(WANTED, {"started_from": -1.0}), "ages.started_from"), (Sought(WANTED, {"started_from": 1e9}), "ages.started_from"),
        (Sought(WANTED, order=Order.SCORE), "order"), (Sought(JobFilter(states=frozenset({State.WAITING})), {"created_from": 1.0}, Order.SCORE), "order"),
    ):  # fmt: skip
        with pytest.raises(InvalidField) as error:
            sought.check()
        assert error.value.field == field, sought
    Sought(JobFilter(states=frozenset({State.WAITING})), order=Order.SCORE).check()
    Sought(JobFilter(), {"created_from": 0.0}).check()
    with pytest.raises(TooLarge, match=f"{MAX_BYTES:,} bytes"):
        Sought(JobFilter(types=tuple(f"{n:0200}" for n in range(25)))).check()


@pytest.mark.parametrize(("stored", "told"), [({"colour": "red"}, "colour"), ({"states": ["dreaming"]}, "dreaming"), ({"agent": "a", "order": "random"}, "random")])
def test_what_a_newer_broker_stored_is_told_and_not_guessed_at(stored: dict[str, Any], told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        kept(stored).sought()


def test_names_are_such_as_every_shell_and_page_takes() -> None:
    for name in ("a", "failed today", "A-1_x.y", "x" * 60):
        assert NAME.fullmatch(name), name
    for name in ("", " ", "a ", " a", "a/b", "a\n", "ä", "x" * 61):
        assert not NAME.fullmatch(name), name


def test_nobody_has_the_filters_of_somebody_of_another_kind() -> None:
    token = Caller("user/ada", "default", "r", token_id=7)
    user = Caller("user/ada", "default", "r")
    for_ada = Caller("gateway", "default", "r", "ada", token_id=8)
    owners = [owner_of(caller) for caller in (token, user, for_ada, replace(for_ada, on_behalf_of=""), Caller("", "default", "r"))]
    assert len({*owners}) == 5 and "" not in owners, owners


def test_an_address_says_what_a_saved_filter_says_or_nothing() -> None:
    sought = Sought(WANTED, {"created_from": 7200.0, "started_from": 90.0, "settled_from": 0.5, "settled_to": 0.0}, Order.OLDEST_FIRST)
    named = filters.address_of(sought)
    assert (named["type"], named["state"], named["created_from"], named["started_from"], named["order"]) == ("a,b", "error,aborted", "2h", "90s", "oldest")
    assert filters.sought(lambda name: named.get(name, "")) == sought
    assert filters.words(sought.wanted, sought.ages)[-4:] == ["created since 2h ago", "started since 90s ago", "settled since 0.500000s ago", "settled before 0s ago"]
    for labels in ((("a", "b c"), ("d", "e")), (("a=b", "c"),), (("=", "c"),)):
        assert filters.address_of(Sought(replace(WANTED, labels=labels))) == {}
