"""The `headrace-agent` command. Says which extra is missing instead of failing in an import."""

import sys


def main() -> None:
    """Runs agents; exit code 2 when their packages are not installed."""
    try:
        import msgspec  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvloop  # noqa: F401
    except ImportError as error:
        print(f"headrace-agent: an agent needs {error.name}: pip install 'headrace[agent]'", file=sys.stderr)
        sys.exit(2)
    from headrace_agent.__main__ import main as run

    run()
