"""`headrace tokens` and `headrace audit`: who may do what, and who did what."""

from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.access import AuditRow, NewToken
from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, read_time, run_admin
from headrace_client.cli.output import Output, errors
from headrace_client.cli.printing import print_line

tokens_app = App(name="tokens")
audit_app = App(name="audit")
Name = Annotated[str, Parameter(help="name of the token")]
Role = Literal["viewer", "submitter", "agent", "operator", "admin", "guest"]
AllDomains = Annotated[bool, Parameter(negative=(), help="tokens that are valid in all domains, instead of those of one")]
ExpiresInS = Annotated[float | None, Parameter(name="--expires-in-s", validator=Number(gte=1), help="seconds that it is valid from now on")]
Actor = Annotated[str, Parameter(help="only what this token, or person, did")]
Action = Annotated[str, Parameter(help="only this, such as job.requeue")]
Target = Annotated[str, Parameter(help="only to this, such as job/7 or type/mail.send")]
From = Annotated[str | None, Parameter(name="--from", help="not before: 2026-01-31, 2026-01-31T12:00:00Z, or an age such as 90s, 15m, 2h, 7d")]
To = Annotated[str | None, Parameter(name="--to", help="before")]
EveryDomain = Annotated[bool, Parameter(name="--all-domains", negative=(), help="of all domains, and of none")]


@tokens_app.command
def create(
    name: Name, *, role: Annotated[Role, Parameter(help="what it may do")], expires_in_s: ExpiresInS = None, all_domains: AllDomains = False, reason: Reason = "",
    common: Common | None = None,
) -> int:  # fmt: skip
    """Make a token. Its secret is printed once, by itself on standard output."""

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.create_token(name, role, expires_in_s=expires_in_s, all_domains=all_domains, reason=reason), output)

    return run_admin(common or Common(), command)


@tokens_app.command(name="list")
def list_tokens(
    *, all_domains: AllDomains = False, revoked: Annotated[bool, Parameter(negative=(), help="with those that were revoked")] = False, common: Common | None = None
) -> int:
    """List tokens, by name."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_tokens(all_domains=all_domains, include_revoked=revoked)
        columns = ["name", "role", "domain", "created_at", "created_by", "expires_at", "old_secret_until", "revoked_at"]
        output.rows(found, columns, titles={"domain": "domain"}, empty="there are no tokens here")

    return run_admin(common or Common(), command)


@tokens_app.command
def rotate(
    name: Name, *, overlap_s: Annotated[float | None, Parameter(validator=Number(gte=0), help="seconds that the old secret is still valid (default 3600)")] = None,
    expires_in_s: ExpiresInS = None, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None,
) -> int:  # fmt: skip
    """Give a token a new secret. It is printed once, by itself on standard output."""

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.rotate_token(name, overlap_s=overlap_s, expires_in_s=expires_in_s, all_domains=all_domains, reason=reason), output)

    return run_admin(common or Common(), command)


@tokens_app.command
def revoke(name: Name, *, all_domains: AllDomains = False, reason: Reason = "", common: Common | None = None) -> int:
    """End a token, at every broker within a second."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.revoke_token(name, all_domains=all_domains, reason=reason)
        if output.form == "table":
            errors.print(f"token {name} is revoked")
        else:
            output.one(found)

    return run_admin(common or Common(), command)


def _show(made: NewToken, output: Output) -> None:
    """The secret alone on standard output, so that it can go into a file or a variable."""
    if output.form != "table":
        output.one(made)
        return
    until = f", old secret until {made.token.old_secret_until:%Y-%m-%d %H:%M:%S} UTC" if made.token.old_secret_until is not None else ""
    expires = f", until {made.token.expires_at:%Y-%m-%d %H:%M:%S} UTC" if made.token.expires_at is not None else ""
    errors.print(f"token {made.token.name}: {made.token.role} of {made.token.domain or 'all domains'}{expires}{until}; its secret is shown this once:")
    print_line(made.secret)


@audit_app.command(name="list")
def list_audit(
    *, actor: Actor = "", action: Action = "", target: Target = "", from_: From = None, to: To = None, all_domains: EveryDomain = False,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=1), help="at most so many")] = 50, common: Common | None = None,
) -> int:  # fmt: skip
    """List changes, newest first."""
    since, until = read_time(from_), read_time(to)

    async def command(client: AdminClient, output: Output) -> None:
        found: list[AuditRow] = []
        token = ""
        while len(found) < limit:
            rows, token = await client.list_audit(
                actor=actor, action=action, target=target, at_from=since, at_to=until, all_domains=all_domains, page_size=min(limit - len(found), 1000),
                page_token=token,
            )  # fmt: skip
            found += rows
            if not token:
                break
        _rows(found, output)

    return run_admin(common or Common(), command)


@audit_app.command
def export(
    *, actor: Actor = "", action: Action = "", target: Target = "", from_: From = None, to: To = None, all_domains: EveryDomain = False, common: Common | None = None
) -> int:
    """Print all changes, newest first; with -o jsonl one a line, as they come."""
    since, until = read_time(from_), read_time(to)

    async def command(client: AdminClient, output: Output) -> None:
        rows = client.export_audit(actor=actor, action=action, target=target, at_from=since, at_to=until, all_domains=all_domains)
        if output.form == "jsonl":
            async for row in rows:
                output.rows([row], [])
        else:
            _rows([row async for row in rows], output)

    return run_admin(common or Common(), command)


def _rows(found: list[AuditRow], output: Output) -> None:
    if output.form != "table":
        output.rows(found, [])
        return
    rows = [
        {"at": row.at, "actor": row.actor, "for": row.on_behalf_of, "action": row.action, "target": row.target, "value": _change(row), "reason": row.reason}
        for row in found
    ]
    output.rows(rows, ["at", "actor", "for", "action", "target", "value", "reason"], titles={"value": "change"}, empty="nothing was changed")


def _change(row: AuditRow) -> str:
    """What differs, in a line."""
    before, after = row.before or {}, row.after or {}
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name) and (name in after or not before or not after)]
    return ", ".join(f"{name} {before[name]} -> {after.get(name)}" if name in before else f"{name} {after[name]}" for name in changed)
