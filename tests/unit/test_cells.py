"""What a cell of a table says."""

import pytest
from headrace_client.cli import tables


@pytest.mark.parametrize(("value", "text"), [(("view", "submit"), "view submit"), (["a", "b"], "a b"), ({"a": 1}, "a=1"), (True, "yes"), (None, ""), (0.5, "0.5")])
def test_a_value_is_shown_as_people_read_it(value: object, text: str) -> None:
    assert tables._cell("actions", value).plain == text
