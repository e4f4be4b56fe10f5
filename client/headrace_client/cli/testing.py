"""`headrace testing`: what tests may do to a broker that runs with --testing."""

from typing import Annotated

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Done, Output, errors
from headrace_client.cli.printing import print_line

app = App(name="testing")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command
def advance(by: Annotated[str, Parameter(help="seconds, or such as 90s, 15m, 2h, 7d")], *, common: Common | None = None) -> int:
    """Set the broker's clock forward: what is scheduled or put off comes as if that time had passed."""
    number, unit = (by[:-1], UNITS[by[-1]]) if by[-1:] in UNITS else (by, 1)
    if not number.replace(".", "", 1).isdigit():
        errors.print(f"headrace: {by!r} is not a time: give seconds, or such as 90s, 15m, 2h, 7d")
        raise Done(2)

    async def command(client: AdminClient, output: Output) -> None:
        now = await client.advance_clock(float(number) * unit)
        if output.form == "table":
            print_line(now.isoformat(timespec="seconds").replace("+00:00", "Z"))
        else:
            output.one({"now": now})

    return run_admin(common or Common(), command)
