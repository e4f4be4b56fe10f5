"""The SQL files, read once."""

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """The text of `sql/queries/NAME.sql`."""
    return files("headrace_broker.store").joinpath("sql", "queries", f"{name}.sql").read_text()
