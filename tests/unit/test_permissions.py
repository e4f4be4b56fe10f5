"""What sources come to: patterns, sets of types, and that nobody passes on more than they have."""

import itertools

from headrace_broker.model.access import Role
from headrace_broker.model.permissions import LONGEST, Act, Permissions, Source, Types, matches, role_source, within

NAMES = ["".join(letters) for size in range(1, 5) for letters in itertools.product("a.b", repeat=size)]
PATTERNS = ["".join(letters) for size in range(1, 4) for letters in itertools.product("a.*?", repeat=size)]


def test_a_pattern_within_another_matches_nothing_that_the_other_does_not() -> None:
    stands_for = {pattern: {name for name in NAMES if matches(pattern, name)} for pattern in PATTERNS}
    claimed = [(wide, narrow) for wide in PATTERNS for narrow in PATTERNS if within(wide, narrow)]
    assert not [(wide, narrow) for wide, narrow in claimed if not stands_for[narrow] <= stands_for[wide]]
    for wide, narrow in (("*", "a?*"), ("a*", "a.*"), ("a.*", "a.b"), ("a?", "ab"), ("a*", "a")):
        assert within(wide, narrow)
    for wide, narrow in (("a.*", "a*"), ("a.*", "*"), ("a", "*"), ("a?", "a*"), ("*.a", "b*a"), ("a.*", "?.*")):
        assert not within(wide, narrow)


def test_types_are_what_all_of_their_sets_match_and_long_names_are_not_kept() -> None:
    both = Types(["mail.*", "order.*"]) & Types(["*.in"])
    assert [both.allow(name) for name in ("mail.in", "mail.out", "billing.in", "in")] == [True, False, False, False]
    assert bool(both) and not both.everything
    assert not Types(["*"]) & Types([]) and Types(["*", "a"]).everything and not Types([]).everything
    assert Types(["a*"]).allow("a" * 10_000) and not Types(["b*"]).allow("a" * 10_000)
    kept = Types(["a*"])
    kept.allow("a" * (LONGEST + 1))
    assert not kept._known and kept.allow("ab") and kept._known


def test_an_action_is_allowed_in_the_domains_and_for_the_types_of_its_own_sources() -> None:
    sources = [Source("one", "shop", "mail.*", frozenset({Act.VIEW})), Source("two", "*", "*", frozenset({Act.SUBMIT})), Source("three", "x*", "*", frozenset())]
    shop, other = Permissions(sources, "shop"), Permissions(sources, "xy")
    assert shop.types(Act.VIEW).allow("mail.a") and not shop.types(Act.VIEW).allow("order") and shop.types(Act.SUBMIT).everything
    assert not other.types(Act.VIEW) and other.types(Act.SUBMIT) and not Permissions(sources[2:], "xy") and not Permissions([role_source(Role.GUEST, None)], "shop")
    assert sources[0].covers(Act.VIEW, "shop", "mail.in.*") and not sources[0].covers(Act.VIEW, "*", "mail.in") and not sources[0].covers(Act.VIEW, "shop", "*")
    assert not sources[0].covers(Act.SUBMIT, "shop", "mail.a") and role_source(Role.ADMIN, "shop").covers(Act.PURGE, "shop", "*")
