"""`headrace domains`: limits of a domain, and what is paused in it."""

import dataclasses
from typing import Annotated

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Output, errors
from headrace_client.limits import Pause

app = App(name="domains")
Name = Annotated[str | None, Parameter(help="domain; that of --domain when it is left out")]


@app.command(name="list")
def list_domains(*, common: Common | None = None) -> int:
    """List the domains of which you may see anything, with their limits, and what is paused."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_domains()
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [{"name": one.name, "depth_limit": one.depth_limit or "none", "weight": one.weight, "paused": _paused(one.pause)} for one in found]
        output.rows(rows, ["name", "depth_limit", "weight", "paused"], empty="there are no domains that you may see")

    return run_admin(common or Common(), command)


@app.command
def show(name: Name = None, *, common: Common | None = None) -> int:
    """Show the limits of a domain, and how many jobs wait in it."""

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.get_domain())

    return run_admin(_of(common, name), command)


@app.command(name="set")
def set_domain(
    name: Name = None,
    *,
    depth_limit: Annotated[int | None, Parameter(help="jobs that may wait in all its types together; 0: no limit")] = None,
    weight: Annotated[float | None, Parameter(help="share against other domains where there is more work than time")] = None,
    reason: Annotated[str, Parameter(help="why, for the audit")] = "",
    common: Common | None = None,
) -> int:
    """Change the limits of a domain."""
    if depth_limit is None and weight is None:
        errors.print("headrace: give --depth-limit or --weight")
        return 2

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.set_domain(depth_limit=depth_limit, weight=weight, reason=reason))

    return run_admin(_of(common, name), command)


@app.command
def pause(name: Name = None, *, reason: Annotated[str, Parameter(help="why; people see it")] = "", common: Common | None = None) -> int:
    """Grant no more jobs of a domain; what runs goes on."""

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.pause_domain(reason=reason))

    return run_admin(_of(common, name), command)


@app.command
def resume(name: Name = None, *, common: Common | None = None) -> int:
    """Grant jobs of a paused domain again."""

    async def command(client: AdminClient, output: Output) -> None:
        errors.print("jobs are granted again" if await client.resume_domain() else "the domain was not paused")

    return run_admin(_of(common, name), command)


@app.command
def pauses(name: Name = None, *, common: Common | None = None) -> int:
    """List what is paused in a domain, by whom and why."""

    async def command(client: AdminClient, output: Output) -> None:
        output.rows(await client.list_pauses(), ["kind", "name", "actor", "reason", "at"], empty="nothing is paused")

    return run_admin(_of(common, name), command)


def _paused(pause: Pause | None) -> str:
    return "" if pause is None else f"by {pause.actor or 'somebody'}" + (f": {pause.reason}" if pause.reason else "")


def _of(common: Common | None, name: str | None) -> Common:
    common = common or Common()
    return common if name is None else dataclasses.replace(common, domain=name)
