"""The `headrace-broker` command. Says which extra is missing instead of failing in an import."""

import sys


def main() -> None:
    """Runs the broker; exit code 2 when its packages are not installed."""
    try:
        import asyncpg  # noqa: F401
        import grpc_health  # noqa: F401
        import pydantic  # noqa: F401
        import starlette  # noqa: F401
        import structlog  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        print(f"headrace-broker: the broker needs {error.name}: pip install 'headrace[broker]'", file=sys.stderr)
        sys.exit(2)
    from headrace_broker.__main__ import main as run

    run()
