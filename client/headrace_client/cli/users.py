"""`headrace users`: people who log in to the manager."""

import getpass
import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, run_admin
from headrace_client.cli.output import Done, Output, errors
from headrace_client.cli.printing import print_line
from headrace_client.users import Invitation, User

app = App(name="users")
Name = Annotated[str, Parameter(help="name of the user")]
Role = Literal["viewer", "operator", "admin", "guest"]
AllDomains = Annotated[bool, Parameter(negative=(), help="a user of all domains, instead of one of one")]
ValidForS = Annotated[float | None, Parameter(name="--valid-for-s", validator=Number(gte=60), help="seconds that the link is good (default 259200)")]


@app.command
def add(
    name: Name, *, role: Annotated[Role, Parameter(help="what it may do")], all_domains: AllDomains = False, valid_for_s: ValidForS = None, reason: Reason = "",
    common: Common | None = None,
) -> int:  # fmt: skip
    """Make a user, or change its role. Somebody without a password gets a link with which to choose one: its path is printed once, by itself on standard output."""

    async def command(client: AdminClient, output: Output) -> None:
        found, created = await client.put_user(name, role, all_domains=all_domains, reason=reason)
        if found.password_at is not None or found.disabled_at is not None:
            _said(found, f"user {found.name} {'is new' if created else 'was there'}: {found.role}", output)
            return
        _show(await client.invite_user(name, valid_for_s=valid_for_s, all_domains=all_domains, reason=reason), output)

    return run_admin(common or Common(), command)


@app.command(name="list")
def list_users(
    *, all_domains: AllDomains = False, disabled: Annotated[bool, Parameter(negative=(), help="with those that are disabled")] = False, common: Common | None = None
) -> int:
    """List users, by name."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_users(all_domains=all_domains, include_disabled=disabled)
        columns = ["name", "role", "domain", "password_at", "logged_in_at", "invited_until", "disabled_at", "created_by"]
        output.rows(found, columns, titles={"domain": "domain"}, empty="there are no users here")

    return run_admin(common or Common(), command)


@app.command
def invite(name: Name, *, all_domains: AllDomains = False, valid_for_s: ValidForS = None, reason: Reason = "", common: Common | None = None) -> int:
    """Make a new link with which to choose a password. Its path is printed once, by itself on standard output."""

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.invite_user(name, valid_for_s=valid_for_s, all_domains=all_domains, reason=reason), output)

    return run_admin(common or Common(), command)


@app.command
def passwd(name: Name, *, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None) -> int:
    """Set a password: asked for twice at a terminal, else the first line of standard input. Ends the user's sessions."""
    password = _password()

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.set_user_password(name, password, all_domains=all_domains, reason=reason)
        _said(found, f"user {found.name} has a new password; its sessions end", output)

    return run_admin(common or Common(), command)


@app.command
def disable(name: Name, *, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None) -> int:
    """End a user's sessions, and let it begin none."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.disable_user(name, all_domains=all_domains, reason=reason)
        _said(found, f"user {found.name} is disabled", output)

    return run_admin(common or Common(), command)


@app.command
def enable(name: Name, *, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None) -> int:
    """Let a user in again, with the password that it had."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.enable_user(name, all_domains=all_domains, reason=reason)
        _said(found, f"user {found.name} may log in again", output)

    return run_admin(common or Common(), command)


@app.command
def logout(name: Name, *, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None) -> int:
    """Log a user out everywhere."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.end_user_sessions(name, all_domains=all_domains, reason=reason)
        _said(found, f"the sessions of user {found.name} end", output)

    return run_admin(common or Common(), command)


def _password() -> str:
    """What a person typed twice, or a program writes; never an argument, which others of the machine can read."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    try:
        first, second = getpass.getpass("new password: "), getpass.getpass("the same again: ")
    except EOFError:  # Ctrl-D
        errors.print("")  # the prompt's line
        errors.print("headrace: no password was given; nothing was done")
        raise Done(2) from None
    if first != second:
        errors.print("headrace: they are not the same; nothing was done")
        raise Done(2)
    return first


def _show(made: Invitation, output: Output) -> None:
    """The path alone on standard output, so that it can go into a message."""
    if output.form != "table":
        output.one(made)
        return
    until = f", until {made.user.invited_until:%Y-%m-%d %H:%M:%S} UTC" if made.user.invited_until is not None else ""
    errors.print(f"user {made.user.name}: {made.user.role} of {made.user.domain or 'all domains'}; the link to choose a password, at the manager's address, once{until}:")
    print_line(made.path)


def _said(found: User, text: str, output: Output) -> None:
    if output.form == "table":
        errors.print(text)
    else:
        output.one(found)
