"""The tables of mutants fit the code: each text stands in its file once, each replacement is Python, and each names tests that there are."""

import ast

import pytest

from tests.mutants import MUTANTS
from tests.mutants.mutant import Mutant
from tests.support.processes import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.find) == 1, f"{mutant.find!r} stands {text.count(mutant.find)} times in {mutant.file}: find the guard again"
    if mutant.file.endswith(".py"):
        ast.parse(text.replace(mutant.find, mutant.put))
    path, _, words = mutant.tests.partition(" -k ")
    tests = (ROOT / path).read_text()
    assert not words or any(word in tests for word in words.split(" and ")[0].split(" or ")), f"{path} has no test with {words!r}"


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 100
