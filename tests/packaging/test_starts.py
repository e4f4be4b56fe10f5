"""What a command imports before it does anything. Not timed: a list of what costs much, and where it may be imported."""

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SERVER = ("headrace_broker.app", "headrace_broker.rpc", "headrace_broker.shards", "grpc", "google.protobuf", "asyncpg", "structlog", "prometheus_client")
PAGES = ("starlette", "uvicorn", "jinja2", "headrace_broker.web", "headrace_broker.http", "headrace_broker.listener")
RARE = ("cryptography", "aiosmtplib", "fsspec", "httpx", "zstandard", "rich")
ADMIN = ("headrace_client.admin", "headrace_client.alerts", "headrace_client.schedules", "headrace_client.operations", "headrace_client.users", "headrace_client.grants")

STARTS = {
    "a client": ("import headrace_client", ("asyncpg", "cyclopts", "pydantic", *RARE, *ADMIN)),
    "the command line": ("import headrace_client.cli.main", ("asyncpg", "pydantic", "headrace_client.cli.tables", "headrace_client.cli.bench", *RARE, *ADMIN)),
    "a list for a program": (
        "from headrace_client.cli.main import app\napp(['jobs', 'list', '--broker', '127.0.0.1:1', '--timeout-s', '0.1', '-o', 'json'], exit_on_error=False)",
        ("asyncpg", "headrace_client.cli.tables", "headrace_client.cli.types", *RARE, *ADMIN),
    ),
    "a broker's version": ("from headrace_broker.__main__ import main\nmain(['version'])", (*SERVER, *PAGES, *RARE)),
    "a broker's options": ("from headrace_broker.__main__ import main\nmain(['config'])", (*SERVER, *PAGES, *RARE)),
    "migrations": (
        "import headrace_broker.commands",
        ("headrace_broker.app", "headrace_broker.rpc", "headrace_broker.shards", "grpc", *PAGES, "cryptography", "aiosmtplib"),
    ),
    "a broker": ("import headrace_broker.app", (*PAGES, "cryptography", "aiosmtplib", "httpx")),
    "an agent": ("import headrace_agent.__main__", ("asyncpg", "cyclopts", *RARE, *ADMIN)),
}
"""What starts, by code, and what it must not have imported by then."""


def imported(code: str, modules: tuple[str, ...]) -> list[str]:
    """Which of these modules a new interpreter has after it ran the code."""
    asked = f"import sys\ntry:\n    exec({code!r})\nfinally:\n    print(*[name for name in {modules!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize("start", STARTS)
def test_a_start_imports_nothing_that_costs_much_and_may_not_be_needed(start: str) -> None:
    assert imported(*STARTS[start]) == []


def test_it_would_be_seen() -> None:
    assert imported("import rich.console\nimport headrace_client.alerts", (*RARE, *ADMIN)) == ["rich", "headrace_client.alerts"]
    everything = (*SERVER, *PAGES, *RARE, *ADMIN)
    assert set(imported("import headrace_broker.http, headrace_broker.listener, headrace_broker.web.manager, headrace_broker.app", everything)) >= {*SERVER, *PAGES}
