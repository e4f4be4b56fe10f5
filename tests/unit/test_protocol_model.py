"""The model of the protocol and the list of its variants name the same rules; `make model` searches them."""

import re

from tests.model.check import MODEL, VARIANTS


def test_each_rule_that_the_model_can_leave_out_is_searched_without_it() -> None:
    text = MODEL.read_text()
    used = set(re.findall(r"#if(?:n)?def (\w+)", text)) - {"LIVES", "MAXSEQ", "ABORTS", "DOORS", "REQUEUES"}
    assert used == VARIANTS.keys()
    assert all(re.search(rf"^ \*   {name} ", text, re.MULTILINE) for name in VARIANTS), "the head of the model tells of each"
