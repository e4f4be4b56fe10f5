"""The servers that a database URL names."""

import pytest
from headrace_broker.config import ConfigError, masked, parse
from headrace_broker.model.addresses import each_server, shown

from tests.support.processes import run_command


@pytest.mark.parametrize(
    ("url", "servers"),
    [
        ("postgresql://u@a/db", ["postgresql://u@a/db"]),
        ("postgresql://u@a,b:6,c/db", ["postgresql://u@a/db", "postgresql://u@b:6/db", "postgresql://u@c/db"]),
        ("postgresql://u:p%40@a:5,[::1]:6/db?sslmode=require", ["postgresql://u:p%40@a:5/db?sslmode=require", "postgresql://u:p%40@[::1]:6/db?sslmode=require"]),
        ("postgresql://u@/db?host=a,b&port=5,6", ["postgresql://u@/db?port=5&host=a", "postgresql://u@/db?port=6&host=b"]),
        ("postgresql://u@/db?host=a,b&port=5", ["postgresql://u@/db?port=5&host=a", "postgresql://u@/db?port=5&host=b"]),
        ("postgresql:///db?host=/run/a,/run/b&user=u", ["postgresql:///db?user=u&host=%2Frun%2Fa", "postgresql:///db?user=u&host=%2Frun%2Fb"]),
    ],
)
def test_each_server_of_a_url_has_a_url_of_its_own(url: str, servers: list[str]) -> None:
    assert each_server(url) == servers


def test_a_server_is_shown_without_what_is_secret() -> None:
    assert [shown(server) for server in each_server("postgresql://u:secret@a:5,b/db?password=secret")] == ["a:5", "b"]
    assert shown("postgresql://u:secret@/db?host=/run/a&port=6") == "/run/a:6"


@pytest.mark.parametrize("kind", ["standby", "read-only", "prefer-standby", "nonsense"])
def test_a_broker_takes_no_url_that_asks_for_a_standby(kind: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind}.*a broker needs read-write"):
        parse(["--database-url", f"postgresql://u@a,b/db?target_session_attrs={kind}"])


@pytest.mark.parametrize("kind", ["read-write", "primary", "any"])
def test_a_broker_takes_a_url_of_several_servers(kind: str) -> None:
    url = f"postgresql://u@a,b,c/db?target_session_attrs={kind}"
    assert parse(["--database-url", url]).options.database_url == url


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgresql://u@a,b/db", "postgresql://u@a,b/db"),
        ("postgresql://u:p%40:@a:5,[::1]:6/db?sslmode=require", "postgresql://u:***@a:5,[::1]:6/db?sslmode=require"),
        ("postgresql:///db?user=u&password=p@q&host=a,[::1]", "postgresql:///db?user=u&password=***&host=a,[::1]"),
    ],
)
def test_a_database_url_is_shown_without_its_password(url: str, safe: str) -> None:
    assert masked(url) == safe


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://u:s3cr/et@a/db", "postgresql://u:12/s3cr@a/db", "postgresql://u:s3cr?et@a/db", "postgresql://u:12?s3cr@a/db"),
        *("postgresql://u:s3cr#et@a/db", "postgresql://u:s3cr@et@a/db", "postgresql://u@a/db?user=u&password=s3cr#et", "postgresql://u@a:s3cr/db"),
        *("postgresql://u@a:65536/db", "postgresql://u@a:-1/db", "postgresql://u@a,b:s3cr/db", "postgresql://u@/db?host=a&port=s3cr"),
        *("postgresql://u@[::1/db", "postgresql://u@::1/db", "postgresql://u@[::1]5/db", "postgresql://u@a/db?s3cr"),
    ],
)
def test_a_database_url_that_cannot_be_read_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"database_url cannot be read.*%2F for /") as refused:
        parse(["--database-url", url])
    assert "s3cr" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://u@a", "postgresql:///db", "postgresql://u:p%2F%40%3F%23@a:5432/db", "postgresql://u:p:q@a/db", "postgres://a:5,[::1]:6,[::2]/db"),
        *("postgresql://u@/db?host=/run/a&port=5", "postgresql://u@a/db?user=u@server&sslmode=require", "postgresql://u@%2Frun%2Fa/db", "postgresql://u@a:/db"),
    ],
)
def test_a_database_url_that_can_be_read_is_taken(url: str) -> None:
    assert parse(["--database-url", url]).options.database_url == url


@pytest.mark.parametrize(
    ("words", "code"), [(("headrace-broker", "migrate"), 1), (("headrace-broker", "shards"), 1), (("headrace", "outbox", "relay", "--broker", "127.0.0.1:1"), 2)]
)
def test_a_parameter_of_the_database_that_is_wrong_is_told_in_a_line(words: tuple[str, ...], code: int) -> None:
    done = run_command(*words, "--database-url", "postgresql://127.0.0.1:1/db?sslmode=bogus")
    assert done.returncode == code
    assert "sslmode" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_relay_shows_nothing_of_a_database_url_that_cannot_be_read() -> None:
    done = run_command("headrace", "outbox", "relay", "--broker", "127.0.0.1:1", "--database-url", "postgresql://u:s3cr/et@a/db")
    assert done.returncode == 2
    assert "%2F for /" in done.stderr
    assert "s3cr" not in done.stderr
