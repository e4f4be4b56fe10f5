"""`headrace agents`: who works."""

from typing import Annotated

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, run_admin
from headrace_client.cli.output import Output, errors
from headrace_client.errors import NotFound
from headrace_client.models import AgentInfo

app = App(name="agents")
Name = Annotated[str, Parameter(help="name or incarnation of the agent")]


@app.command(name="list")
def list_agents(*, common: Common | None = None) -> int:
    """List agents with host, process, executors and slots in use."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_agents()
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [
            {
                "name": item.name, "host": item.host, "pid": str(item.pid), "slots": f"{item.slots_in_use}/{item.slots}",
                "state": _state(item), "silent_s": f"{item.silent_for_s:.1f}",
                "executor": ",".join(sorted({served.executor for served in item.types})), "types": " ".join(served.type for served in item.types),
                "connected_at": item.connected_at,
            }
            for item in found
        ]  # fmt: skip
        titles = {"slots": "in use", "silent_s": "silent s", "connected_at": "since"}
        output.rows(rows, ["name", "host", "pid", "executor", "slots", "state", "silent_s", "connected_at", "types"], titles=titles, empty="no agent is connected")

    return run_admin(common or Common(), command)


def _state(item: AgentInfo) -> str:
    return "paused" if item.pause else "draining" if item.draining else "connected" if item.connected else "awaited"


@app.command
def drain(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Have agents finish what runs and take no more."""

    async def command(client: AdminClient, output: Output) -> None:
        count = await client.drain_agent(name, reason=reason)
        errors.print(f"{count} agent{' takes' if count == 1 else 's take'} no more jobs")

    return run_admin(common or Common(), command)


@app.command
def pause(
    name: Annotated[str, Parameter(help="name of the agents")],
    *,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Grant nothing to agents of a name, those to come included, until they are resumed; what they run goes on."""

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.pause_agent(name, reason=reason))

    return run_admin(common or Common(), command)


@app.command
def resume(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Let drained or paused agents take jobs again."""

    async def command(client: AdminClient, output: Output) -> None:
        paused = await client.unpause_agent(name, reason=reason)
        try:
            count = await client.resume_agent(name, reason=reason)
            errors.print(f"{count} agent{' takes' if count == 1 else 's take'} jobs again")
        except NotFound:
            if not paused:
                raise
            errors.print(f"agents called {name} take jobs again once they connect")

    return run_admin(common or Common(), command)
