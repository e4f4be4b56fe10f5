"""`headrace access`: who may do what, beside what the role says."""

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, run_admin
from headrace_client.cli.output import Output, errors
from headrace_client.cli.printing import print_line
from headrace_client.errors import PermissionDenied
from headrace_client.grants import Grant

app = App(name="access")
Who = Annotated[str, Parameter(help="token/NAME, user/NAME or certificate/URI")]
COLUMNS = ["grant_id", "who", "actions", "types", "domains", "granted_at", "granted_by", "reason", "ended_at"]


@app.command
def grant(
    who: Who, actions: Annotated[list[str], Parameter(help="what it allows, such as view submit", negative=())], /, *,
    types: Annotated[str, Parameter(help="pattern of job types, such as mail.*")] = "*",
    domains: Annotated[str, Parameter(help="pattern of domains; without: that of the call")] = "", reason: Reason = "", common: Common | None = None,
) -> int:  # fmt: skip
    """Give somebody a right."""

    async def command(client: AdminClient, output: Output) -> None:
        made = await client.grant(who, actions, domains=domains, types=types, reason=reason)
        if output.form == "table":
            errors.print(f"grant {made.grant_id}: {made.who} may {', '.join(made.actions)} for job types {made.types} in {made.domains}")
        else:
            output.one(made)

    return run_admin(common or Common(), command)


@app.command
def revoke(grant_id: Annotated[int, Parameter(help="number of the grant")], /, *, reason: Reason = "", common: Common | None = None) -> int:
    """End a grant, at every broker within a second."""

    async def command(client: AdminClient, output: Output) -> None:
        ended = await client.end_grant(grant_id, reason=reason)
        if output.form == "table":
            errors.print(f"grant {grant_id} of {ended.who} has ended")
        else:
            output.one(ended)

    return run_admin(common or Common(), command)


@app.command(name="list")
def list_grants(
    *, who: Who = "", ended: Annotated[bool, Parameter(negative=(), help="with those that have ended")] = False,
    all_domains: Annotated[bool, Parameter(negative=(), help="of all domains, instead of those that count in one")] = False,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=1), help="at most so many")] = 100, common: Common | None = None,
) -> int:  # fmt: skip
    """List grants, newest first."""

    async def command(client: AdminClient, output: Output) -> None:
        found: list[Grant] = []
        token = ""
        while len(found) < limit:
            rows, token = await client.list_grants(who, include_ended=ended, all_domains=all_domains, page_size=min(limit - len(found), 1000), page_token=token)
            found += rows
            if not token:
                break
        output.rows(found, COLUMNS, empty="nothing was granted here")

    return run_admin(common or Common(), command)


@app.command
def check(
    action: Annotated[str, Parameter(help="an action, or a call such as Jobs/GetJob")], /, *, who: Annotated[str, Parameter(help="whom it is about; without: you")] = "",
    type_: Annotated[str, Parameter(name="--type", help="a job type; without: any")] = "", common: Common | None = None,
) -> int:  # fmt: skip
    """Explain why something is allowed or denied; exits with 4 when it is denied."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.check_access(action, who=who, type=type_)
        if output.form == "table":
            print_line(f"{'allowed' if found.allowed else 'denied'}: {found.action}{f' for {type_}' if type_ else ''}")
            for allows, text in found.reasons:
                print_line(f"  {'+' if allows else '-'} {text}")
        else:
            output.one(found)
        if not found.allowed:
            raise PermissionDenied(f"{found.action} is denied", reason="ROLE_DENIED")

    return run_admin(common or Common(), command)
