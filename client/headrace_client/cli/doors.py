"""`headrace doors`: transactions of other programs that are about to complete jobs."""

from cyclopts import App

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Output

app = App(name="doors")


@app.command(name="list")
def list_doors(*, common: Common | None = None) -> int:
    """List open transactions that complete jobs, the oldest first, with their backend's pid."""

    async def command(client: AdminClient, output: Output) -> None:
        output.rows(await client.list_doors(), ["job_id", "type", "pid", "opened_at", "open_s", "application", "state", "settling"], empty="no such transaction is open")

    return run_admin(common or Common(), command)
