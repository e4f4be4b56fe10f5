"""The servers that a database URL names."""

import pytest
from headrace_broker.config import ConfigError, masked, parse
from headrace_broker.model.addresses import each_server, shown


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
