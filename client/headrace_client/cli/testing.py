"""`headrace testing`: what tests may do to a broker that runs with --testing."""

from typing import Annotated

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, argument, duration_s, run_admin
from headrace_client.cli.output import Output
from headrace_client.cli.printing import print_line

app = App(name="testing")


@app.command
def advance(by: Annotated[str, Parameter(help="seconds, or such as 90s, 15m, 2h, 7d")], *, common: Common | None = None) -> int:
    """Set the broker's clock forward: what is scheduled or put off comes as if that time had passed."""
    by_s = argument(duration_s, by)

    async def command(client: AdminClient, output: Output) -> None:
        now = await client.advance_clock(by_s)
        if output.form == "table":
            print_line(now.isoformat(timespec="seconds").replace("+00:00", "Z"))
        else:
            output.one({"now": now})

    return run_admin(common or Common(), command)
