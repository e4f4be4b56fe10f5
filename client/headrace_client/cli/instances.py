"""`headrace instances`: priorities of business cases."""

import asyncio
from typing import Annotated

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Output, errors

app = App(name="instances")
POLL_S = 0.1


@app.command(name="set-priority")
def set_priority(
    instance: Annotated[str, Parameter(help="business case")],
    priority: Annotated[int, Parameter(allow_leading_hyphen=True, help="what it adds to the score of its jobs; 0: nothing")],
    *,
    reason: Annotated[str, Parameter(help="why; kept in the audit")] = "",
    wait: Annotated[bool, Parameter(negative="", help="until the jobs that wait have followed")] = False,
    common: Common | None = None,
) -> int:
    """Set what an instance adds to the score of its jobs. Those that wait follow in batches."""

    async def command(client: AdminClient, output: Output) -> None:
        operation = await client.set_instance_priority(instance, priority, reason=reason)
        while wait and operation.state != "done":
            errors.print(f"{operation.done} of {operation.total} waiting jobs have followed")
            await asyncio.sleep(POLL_S)
            [operation] = await client.list_rescores(number=operation.number) or [operation]
        output.one(operation)

    return run_admin(common or Common(), command)


@app.command(name="list")
def list_instances(*, common: Common | None = None) -> int:
    """List the instances that have a priority."""

    async def command(client: AdminClient, output: Output) -> None:
        found, token = await client.list_instance_priorities()
        while token:
            more, token = await client.list_instance_priorities(page_token=token)
            found += more
        output.rows(found, ["instance_id", "priority", "changed_at", "actor", "reason"], empty="no instance has a priority")

    return run_admin(common or Common(), command)


@app.command
def rescores(*, common: Common | None = None) -> int:
    """Show the newest changes of priorities, and how many of the jobs that waited have followed."""

    async def command(client: AdminClient, output: Output) -> None:
        output.rows(
            await client.list_rescores(), ["number", "kind", "name", "priority", "state", "done", "total", "started_at", "ended_at"], empty="none since the broker began"
        )

    return run_admin(common or Common(), command)
