"""The `headrace` command. Says which extra is missing instead of failing in an import."""

import sys


def main() -> None:
    """Runs the command line; exit code 2 when its packages are not installed."""
    try:
        import cyclopts  # noqa: F401
        import rich  # noqa: F401
    except ImportError as error:
        sys.exit(_missing(error))
    from headrace_client.cli.main import main as run

    run()


def _missing(error: ImportError) -> int:
    print(f"headrace: the command line needs {error.name}: pip install 'headrace[cli]'", file=sys.stderr)
    return 2
