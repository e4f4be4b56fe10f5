"""What a cell of a table says."""

import pytest
from headrace_client.cli import tables


@pytest.mark.parametrize(("value", "text"), [(("view", "submit"), "view submit"), (["a", "b"], "a b"), ({"a": 1}, "a=1"), (True, "yes"), (None, ""), (0.5, "0.5")])
def test_a_value_is_shown_as_people_read_it(value: object, text: str) -> None:
    assert tables._cell("actions", value).plain == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (3.5e-17, "<0.001"), (0.0219016, "0.0219"), (61.9422, "61.9"), (1234.5, "1234"), (604800.0, "604800")])
def test_a_number_of_a_table_has_the_digits_that_count(value: float, text: str) -> None:
    assert tables._cell("wait_p50_s", value).plain == text


def test_columns_fit_the_terminal_and_no_value_is_cut() -> None:
    needs = {"job_id": 18, "type": 13, "state": 10, "wait_reason": 11, "run": 3, "attempt": 7, "score": 5, "created_at": 9, "settled_at": 9, "error": 40}
    assert tables.fit(needs, tables.WIDEST) == needs
    narrow = tables.fit(needs, 80)
    assert sum(narrow.values()) + 2 * (len(narrow) - 1) <= 80
    assert (narrow["job_id"], narrow["state"], narrow["created_at"]) == (18, 10, 9) and 12 <= narrow["error"] < 40
    assert {"score", "run"}.isdisjoint(narrow) and list(narrow) == [column for column in needs if column in narrow]
    assert tables.fit(needs, 5) == {"job_id": 18}


def test_a_table_says_what_it_has_no_room_for() -> None:
    row = {"job_id": 252855507239305898, "type": "order.ship" * 3, "score": 5, "created_at": None}
    made, left_out = tables.table([row], {"score": "points"}, 41)
    assert left_out == ["points"] and [column.header for column in made.columns] == ["job id", "type", "created"]
    assert tables.table([row], {}, 200)[1] == []


def test_a_value_does_not_steer_the_terminal() -> None:
    assert tables._cell("reason", "red \x1b[31m and \x9b2J\nbelow").plain == "red \\x1b[31m and \\x9b2J\nbelow"
