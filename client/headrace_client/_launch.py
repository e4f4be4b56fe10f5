"""The three commands. They live in the package that is always installed, and say which extra is missing instead of failing in an import."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence


def headrace() -> None:
    """The command line."""
    _run("headrace", "cli", ("cryptography", "cyclopts", "rich"), "headrace_client.cli.main")


def agent() -> None:
    """Agents."""
    _run("headrace-agent", "agent", ("msgspec", "prometheus_client", "uvloop"), "headrace_agent.__main__")


def broker() -> None:
    """The broker."""
    needs = ("asyncpg", "cryptography", "grpc_health", "grpc_reflection", "prometheus_client", "starlette", "structlog", "uvicorn", "uvloop")
    _run("headrace-broker", "broker", needs, "headrace_broker.__main__")


def _run(program: str, extra: str, needs: Sequence[str], module: str) -> None:
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        print(f"{program} needs {', '.join(missing)}: pip install 'headrace[{extra}]'", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(module).main()
