"""What stands before the manager's pages: passwords, sessions, limits to guessing, what a proxy says."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from headrace_broker.actions.passwords import AT_ONCE, MAX_CHARACTERS, MIN_CHARACTERS, MOST_WAITING, Passwords, check_password
from headrace_broker.actions.tokens import Secret
from headrace_broker.model.access import Role
from headrace_broker.model.errors import Busy, InvalidField
from headrace_broker.proxied import seen_by_the_browser
from headrace_broker.rpc.access import LEAST
from headrace_broker.store.tokens import TokenRow
from headrace_broker.web.browser import same_origin
from headrace_broker.web.guesses import Guesses
from headrace_broker.web.login import local
from headrace_broker.web.rights import EVERYBODY, RIGHTS, Rights
from headrace_broker.web.sessions import IDLE_S, LINK_S, MOST_NOTICES, MOST_OF_ONE, SESSION_S, Person, Session, Sessions
from headrace_broker.web.throttle import ADDRESSES, MOST_KEYS, NAMES, Throttle
from starlette.requests import Request

GOOD = "correct horse battery staple"


class Clock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("password", ["", "x" * (MIN_CHARACTERS - 1), "x" * (MAX_CHARACTERS + 1), "ﬁ" * 7])
def test_a_password_that_is_too_short_or_too_long_is_refused(password: str) -> None:
    with pytest.raises(InvalidField, match="15 to 256 characters"):
        check_password("password", password)


def test_any_characters_make_a_password() -> None:
    for password in (" " * MIN_CHARACTERS, "é" * MIN_CHARACTERS, "x" * MAX_CHARACTERS, "ﬁ" * 8):
        check_password("password", password)


async def test_a_password_is_kept_as_a_slow_salted_hash_and_found_however_it_was_typed() -> None:
    passwords = Passwords()
    kept = await passwords.hash("caf\u00e9 " + GOOD)
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and GOOD not in kept and kept != await passwords.hash("caf\u00e9 " + GOOD)
    assert await passwords.verify(kept, "cafe\u0301 " + GOOD)  # another keyboard's way
    for kept_, password in ((kept, GOOD), (kept, ""), (None, GOOD), ("$argon2id$broken", GOOD), (kept, "x" * 100_000)):
        assert not await passwords.verify(kept_, password)
    passwords.close()


async def test_a_name_that_nobody_has_takes_as_long_as_a_wrong_password() -> None:
    """The same computation, once, with the same costs."""
    passwords = Passwords()
    kept = await passwords.hash(GOOD)
    await passwords.verify(None, GOOD)  # the hash that stands for nobody's is made once
    computed: list[str] = []
    compute = passwords._compute

    def recorded(password: str, kept: str | None) -> str:
        computed.append("$".join((kept or "").split("$")[:4]))
        return compute(password, kept)

    passwords._compute = recorded  # type: ignore[method-assign]
    for stored in (kept, None):
        assert not await passwords.verify(stored, "wrong")
    assert computed == ["$argon2id$v=19$m=19456,t=2,p=1"] * 2
    passwords.close()


async def test_what_was_made_with_other_costs_is_told() -> None:
    cheap, dear = Passwords(memory_kib=8 * 1024, passes=1), Passwords()
    kept = await cheap.hash(GOOD)
    assert dear.is_outdated(kept) and not cheap.is_outdated(kept) and await dear.verify(kept, GOOD)
    cheap.close()
    dear.close()


async def test_hashing_leaves_the_loop_free_takes_one_thread_and_a_bounded_queue() -> None:
    passwords = Passwords()
    await passwords.hash(GOOD)  # the thread is there
    inside = most = beats = 0
    compute = passwords._compute

    def counted(password: str, kept: str | None) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return compute(password, kept)
        finally:
            inside -= 1

    passwords._compute = counted  # type: ignore[method-assign]
    tries = [asyncio.ensure_future(passwords.hash(GOOD)) for _ in range(MOST_WAITING + 5)]
    while not all(one.done() for one in tries):
        beats += 1
        await asyncio.sleep(0.001)
    refused = [one.exception() for one in tries if one.exception() is not None]
    assert most == AT_ONCE and len(refused) == 5 and all(isinstance(error, Busy) for error in refused) and beats > 20
    passwords.close()


def test_tries_of_a_name_are_free_a_few_times_and_then_after_pauses_that_double() -> None:
    clock = Clock()
    throttle = Throttle(NAMES, clock)
    pauses = []
    for _ in range(16):
        pauses.append(throttle.wait_s("ada"))
        clock.now += pauses[-1]
        assert throttle.wait_s("ada") == 0
        throttle.tried("ada")
    assert pauses[: NAMES.free] == [0.0] * NAMES.free and pauses[NAMES.free : NAMES.free + 4] == [2.0, 4.0, 8.0, 16.0]
    assert pauses[-1] == NAMES.most_s and throttle.wait_s("grace") == 0
    a_day = sum(1 for _ in range(int(86_400 / NAMES.most_s)))
    assert NAMES.free + 10 + a_day <= 120, "about a hundred guesses a day"
    throttle.forgive("ada")
    assert throttle.wait_s("ada") == 0
    for _ in range(6):
        throttle.tried("ada")
    clock.now += NAMES.forget_s + 1
    assert throttle.wait_s("ada") == 0


def test_a_throttle_holds_a_bounded_number_of_keys() -> None:
    throttle = Throttle(ADDRESSES, Clock())
    for number in range(MOST_KEYS + 10):
        throttle.tried(str(number))
    assert len(throttle._tries) == MOST_KEYS and "9" not in throttle._tries and str(MOST_KEYS + 9) in throttle._tries


def test_tries_count_before_they_are_answered_by_name_and_by_address() -> None:
    guesses = Guesses(Clock())
    assert [guesses.begin("Ada" if number % 2 else "ada", f"192.0.2.{number}") > 0 for number in range(NAMES.free + 1)] == [False] * NAMES.free + [True]
    many = [guesses.begin(f"user{number}", f"2001:db8::{number}") > 0 for number in range(ADDRESSES.free + 1)]  # of one network
    assert many == [False] * ADDRESSES.free + [True]
    guesses.right("user3", "2001:db8::3")
    assert guesses.begin("", "2001:db8::7") == 0 and guesses.begin("", "2001:db8::7") > 0, "one that was right does not count; those that were wrong do"
    assert guesses.begin("", "2001:db8::7") > 0 and guesses.begin("", "2001:db8:0:1::7") == 0


def test_addresses_of_ipv4_are_told_apart_on_a_listener_of_both() -> None:
    guesses = Guesses(Clock())
    assert [guesses.begin("", "::ffff:192.0.2.1") > 0 for _ in range(ADDRESSES.free + 1)] == [False] * ADDRESSES.free + [True]
    assert guesses.begin("", "::ffff:192.0.2.2") == 0 and guesses.begin("", "192.0.2.1") > 0


def test_a_session_ends_when_it_is_idle_and_when_it_is_old() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    value = sessions.begin(Person("ada", Role.VIEWER))
    assert value is not None
    clock.now += IDLE_S - 1
    assert sessions.find(value, used=False) is not None  # live update is nobody's use
    clock.now += 1
    assert sessions.find(value) is None
    value = sessions.begin(Person("ada", Role.VIEWER))
    for _ in range(int(SESSION_S / 1000)):
        clock.now += 1000
        assert sessions.find(value) is not None
    clock.now += 1000
    assert sessions.find(value) is None and list(sessions.all()) == []


def test_a_session_that_a_provider_began_ends_sooner_where_that_is_set() -> None:
    clock = Clock()
    sessions = Sessions(clock, provider_s=1000.0)
    theirs, ours = sessions.begin(Person("oidc/ada", Role.VIEWER)), sessions.begin(Person("user/ada", Role.VIEWER))
    clock.now += 999
    assert sessions.find(theirs) is not None and sessions.find(ours) is not None
    clock.now += 1
    assert sessions.find(theirs) is None and sessions.find(ours) is not None


def test_a_link_ends_after_a_day_and_is_of_all_domains() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    first, second = sessions.link(), sessions.link()
    person = sessions.spend(first)
    assert person is not None and person.domain is None and person.role is Role.ADMIN and sessions.spend(first) is None
    clock.now += LINK_S + 1
    assert sessions.spend(second) is None


def test_a_person_has_a_bounded_number_of_sessions() -> None:
    clock = Clock()
    sessions = Sessions(clock)
    values = []
    for _ in range(MOST_OF_ONE + 1):
        clock.now += 1
        values.append(sessions.begin(Person("ada", Role.VIEWER)))
    other = sessions.begin(Person("grace", Role.VIEWER))
    assert [sessions.find(value) is not None for value in values] == [False] + [True] * MOST_OF_ONE and sessions.find(other) is not None


def test_lines_for_the_next_page_are_bounded_and_the_newest_kept() -> None:
    session = Session(Person("ada", Role.VIEWER), b"", 0.0, 0.0)
    for number in range(1000):
        session.tell("done", str(number))
    assert session.take_notices() == [("done", str(number)) for number in range(1000 - MOST_NOTICES, 1000)] and not session.take_notices()


def test_a_session_of_a_token_that_has_ended_meanwhile_does_not_begin() -> None:
    sessions, secret = Sessions(Clock()), Secret(cast(TokenRow, SimpleNamespace(called="", token_id=7, role=Role.VIEWER, domain=None)), math.inf, b"")
    value = sessions.begin(Person("pager", Role.VIEWER, token_id=7), secret=secret)
    assert sessions.find(value) is not None
    secret.end()
    assert sessions.find(value) is None and sessions.find(sessions.begin(Person("pager", Role.VIEWER, token_id=7), secret=secret)) is None


def test_addresses_that_are_none_are_nobodys() -> None:
    for address in ("http://[", "//[", "http://[x]:y/", "null", ""):
        headers = [(b"host", b""), (b"origin", address.encode())]
        assert not same_origin(Request({"type": "http", "headers": headers})) and local(address) == "", address


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/jobs?state=error&type=a", True), ("/", True), ("//evil.example/", False), ("https://evil.example/", False), ("/\\evil.example", False), ("jobs", False),
        ("javascript:alert(1)", False), ("/jobs\r\nSet-Cookie: a=b", False), ("/" + "x" * 3000, False), ("/login?next=/login", False), ("", False),
        ("///evil.example", False),
    ],
)  # fmt: skip
def test_after_a_login_nobody_is_sent_elsewhere(address: str, kept: bool) -> None:
    assert local(address) == (address if kept else "")


def scope(path: str = "/jobs", **headers: str) -> dict[str, Any]:
    """A request as it came in."""
    sent = {"host": "127.0.0.1:7280", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {"type": "http", "path": path, "scheme": "http", "client": ("127.0.0.1", 1), "headers": [(n.encode(), v.encode()) for n, v in sent.items()]}


def test_what_a_proxy_says_is_taken_over_and_what_makes_no_sense_is_not() -> None:
    said = {"x_forwarded_prefix": "/ops/queue/", "x_forwarded_proto": "https", "x_forwarded_host": "ops.example", "x_forwarded_for": "10.9.9.9, 192.0.2.7"}
    for path in ("/jobs", "/ops/queue/jobs"):  # taken off, or not
        found = seen_by_the_browser(scope(path, **said))
        assert (found["root_path"], found["path"], found["scheme"], found["client"][0]) == ("/ops/queue", "/ops/queue/jobs", "https", "192.0.2.7")
        assert [value for name, value in found["headers"] if name == b"host"] == [b"ops.example"]
    for prefix in ("//evil.example", "ops", "/a b", '/a"><script>', "/..//x?", "/"):
        assert "root_path" not in seen_by_the_browser(scope(x_forwarded_prefix=prefix)), prefix
    found = seen_by_the_browser(scope(x_forwarded_proto="javascript", x_forwarded_host="evil.example/path"))
    assert found["scheme"] == "http" and (b"host", b"127.0.0.1:7280") in found["headers"]


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("192.0.2.7:51234", "192.0.2.7"), ("10.9.9.9:1, 192.0.2.7:51234", "192.0.2.7"), ("[2001:db8::1]:51234", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"), ("::1", "::1"), ("192.0.2.7", "192.0.2.7"), ("unknown", "unknown"), ("[", "["), ("192.0.2.7:", "192.0.2.7:"),
    ],
)  # fmt: skip
def test_the_port_that_a_proxy_writes_behind_an_address_is_no_part_of_it(said: str, address: str) -> None:
    assert seen_by_the_browser(scope(x_forwarded_for=said))["client"][0] == address


def test_guesses_are_counted_by_address_whatever_port_a_proxy_tells() -> None:
    guesses = Guesses(Clock())
    for port in range(ADDRESSES.free):
        assert guesses.begin(f"name{port}", seen_by_the_browser(scope(x_forwarded_for=f"192.0.2.7:{port}"))["client"][0]) == 0
    assert guesses.begin("another", seen_by_the_browser(scope(x_forwarded_for="192.0.2.7:65535"))["client"][0]) > 0


def test_a_page_that_came_without_tls_is_none_of_a_listener_with_it() -> None:
    for scheme, origin, same in (("https", "https", True), ("https", "http", False), ("http", "http", True), ("http", "https", True)):
        assert same_origin(Request({**scope(origin=f"{origin}://127.0.0.1:7280"), "scheme": scheme, "query_string": b""})) is same, (scheme, origin)


def test_each_page_stands_for_a_call_and_what_has_no_row_is_for_nobody() -> None:
    assert all(call == EVERYBODY or f"/headrace.v1.{call}" in LEAST for call in RIGHTS.values())
    rights = Rights(LEAST)
    assert not any(rights.allow(role, path) for role in Role for path in ("/absent", "/jobs/1", ""))
    assert not rights.allow(Role.VIEWER, "/job-abort") and rights.allow(Role.OPERATOR, "/job-abort") and not rights.allow(Role.OPERATOR, "/access")
    assert rights.roles("/audit") == ["operator", "admin"]
