"""`headrace brokers`: which broker processes there are."""

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Output

COLUMNS = ["role", "shards", "endpoint", "version", "connected_at", "web", "address"]


def brokers(*, common: Common | None = None) -> int:
    """List the brokers that are connected to the database: which one owns the queue, and which stand by."""

    async def command(client: AdminClient, output: Output) -> None:
        output.rows(await client.list_brokers(), COLUMNS, empty="no broker is connected")

    return run_admin(common or Common(), command)
