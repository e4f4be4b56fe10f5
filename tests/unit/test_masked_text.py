"""Secrets in words: what stands behind a name of the list is masked, and nothing else of the text."""

import json
import re

import pytest
from headrace_broker.model import masked_text as masked_text_module
from headrace_broker.model.masked_text import masked_error, masked_text
from headrace_broker.model.redaction import MASK, secret_names
from hypothesis import given
from hypothesis import strategies as st

SECRET = secret_names("password,passwd,passphrase,secret,token,apikey,authorization,credential,privatekey,cookie")
CASES = [
    ("password=hunter2 user=ada", "password=* user=ada"),
    ('password = "hunter 2", user=ada', 'password = "*", user=ada'),
    ("PASSWORD: hunter 2", "PASSWORD: *"),
    ('{"user": "ada", "deep": {"API-key": 12, "n": 1.10}}', '{"user":"ada","deep":{"API-key":"*","n":1.10}}'),
    ('{"p\\u0061ssword": "hunter2"}', '{"password":"*"}'),
    ('sent {"user": "ada", "token": ["a", "b]"], "n": 1} twice', 'sent {"user": "ada", "token": *, "n": 1} twice'),
    ("got {'password': 'hunter2', 'user': 'ada'} from shop", "got {'password': '*', 'user': 'ada'} from shop"),
    ("{'token': SecretStr('a, b'), 'n': 1}", "{'token': *, 'n': 1}"),
    ('body "{\\"password\\": \\"hunter2\\", \\"user\\": \\"ada\\"}" refused', 'body "{\\"password\\": \\"*\\", \\"user\\": \\"ada\\"}" refused'),
    ('{"msg": "login password=hunter2"}', '{"msg": "login password=*"}'),
    ("Authorization: Bearer abc def\nuser: ada", "Authorization: *\nuser: ada"),
    ("authorization=Bearer abc, user=ada", "authorization=*, user=ada"),
    ("Cookie: a=b; c=d", "Cookie: *"),
    ("GET /x?user=1&api_key=abc 200", "GET /x?user=1&api_key=* 200"),
    ("the private key: abc", "the private key: *"),
    ("run --password hunter2 --user ada", "run --password * --user ada"),
    ("run --token -hunter2", "run --token *"),
    ("run --token --hunter2-x y", "run --token * y"),
    ("run --no-password --token hunter2 x", "run --no-password * * x"),
    ("run --no-password --token: hunter2 x", "run --no-password *: *"),
    ("run --no-password --token=hunter2 x", "run --no-password * x"),
    ("set password='it''s me' where", "set password='*' where"),
    ("token='a\\'b' c", "token='*' c"),
    ('password: "one\ntwo" user: ada', 'password: "*" user: ada'),
    ("password=[1, 2", "password=*"),
    ("Secret => hunter2", "Secret => *"),
    ("a\npassword=1\nb\ntoken=2\nc", "a\npassword=*\nb\ntoken=*\nc"),
]
SAME = ["", "the token has expired", "KeyError: 'password'", "user: ada, city=Paris", "no such cookie.", "password=", '{"a": "\\u00e4"}', "\\u0041=1", "::==::"]


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_what_stands_behind_a_secret_name_is_masked(text: str, wanted: str) -> None:
    found = masked_text(text, SECRET)
    assert found == wanted.replace("*", MASK)
    assert masked_text(found, SECRET) == found


@pytest.mark.parametrize("text", SAME)
def test_text_without_such_a_value_stays_as_it_is(text: str) -> None:
    assert masked_text(text, SECRET) == text


def test_the_examples_of_the_module_hold() -> None:
    rows = [re.split(" {2,}", line.strip())[-2:] for line in (masked_text_module.__doc__ or "").splitlines() if line.startswith(" " * 4)]
    assert len(rows) == 11 and rows[0] == ["text", "masked"]
    assert [[text, masked_text(text, SECRET)] for text, _ in rows[1:]] == rows[1:]


def test_who_may_see_everything_gets_the_same_text() -> None:
    assert all(masked_text(text, ()) is text for text, _ in CASES)


def test_of_an_error_the_message_and_the_traceback_are_masked() -> None:
    error = {"code": "ValueError", "message": "password=a", "fingerprint": "token=1", "traceback": 'File "x"\n    login(password="a")\nValueError: password=a'}
    masked = f'File "x"\n    login(password="{MASK}")\nValueError: password={MASK}'
    assert masked_error(error, SECRET) == {**error, "message": f"password={MASK}", "traceback": masked}
    assert masked_error(None, SECRET) is None


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "user", "n"]), inner, max_size=3), max_leaves=8)
NEEDLE = "q7Zx"
SECRETS = st.one_of(st.just(NEEDLE), st.text(alphabet="ab \"',}{][()\\\n=:", max_size=6).map(lambda rest: NEEDLE + rest + NEEDLE), st.just([NEEDLE, {"b": NEEDLE}]))


@given(before=st.text(max_size=10), value=VALUES, hidden=SECRETS, name=st.sampled_from(["password", "API-key", "auth_token"]), python=st.booleans())
def test_a_secret_field_of_a_document_in_a_text_is_never_left(before: str, value: object, hidden: object, name: str, python: bool) -> None:
    document = {"user": value, name: hidden, "n": 1}
    text = repr(document) if python else json.dumps(document)
    found = masked_text(f"{before} got {text}", SECRET)
    assert NEEDLE not in found
    assert masked_text(found, SECRET) == found


@given(st.text(alphabet="pasword=:'\"{}[]() \\\n-", max_size=200), st.sampled_from(["", "password=", '{"token":']))
def test_nothing_breaks_it(text: str, begin: str) -> None:
    masked_text(begin + text, SECRET)


PARTS = [
    "password=a ", "a:", "'", '"password":{', "a b c d:", "\\" * 50 + '"', "--a ", "token='", "a=bearer ", " ", "a.b " * 25 + "!:", "''", "\\\"'=", "={[(", "}", ",\n",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_a_long_text_takes_no_longer_than_its_length_says(part: str) -> None:
    for begin in ("password", "password=", "password='", '"password":'):
        masked_text(begin + part * (64_000 // len(part)), SECRET)  # the test's time limit is what fails
