"""`headrace tls`: certificates from a private authority of one's own, and which of them are not to be trusted any more."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from cyclopts import App, Parameter
from cyclopts.validators import Number
from headrace_proto.wire import DEFAULT_DOMAIN, DOMAIN_NAME, IDENTITY_NAME

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, run_admin
from headrace_client.cli.output import Done, Format, Output, errors
from headrace_client.cli.printing import print_line

if TYPE_CHECKING:
    from headrace_client.cli.authority import Authority

T = TypeVar("T")
app = App(name="tls")
Dir = Annotated[Path, Parameter(name=["--dir", "-d"], help="directory of the authority")]
Host = Annotated[tuple[str, ...], Parameter(name="--host", help="name or address under which clients reach the broker; may be repeated (default: those of this machine)")]
Days = Annotated[int, Parameter(validator=Number(gte=1, lte=3650), help="days that certificates are valid; browsers take at most 398")]
Role = Annotated[Literal["viewer", "submitter", "agent", "operator", "admin"], Parameter(help="what its holder may do")]
Form = Annotated[Format, Parameter(name=["--output", "-o"], env_var="HEADRACE_OUTPUT", help="table, json or jsonl")]


@app.command
def init(
    *, directory: Dir = Path("tls"), host: Host = (), name: Annotated[str, Parameter(help="name of the authority")] = "headrace authority", days: Days = 397,
    ca_days: Annotated[int, Parameter(validator=Number(gte=1, lte=36_500), help="days that the authority is valid")] = 3650,
) -> int:  # fmt: skip
    """Make an authority (ca.pem, ca.key) and the certificate of a broker (broker.pem, broker.key)."""
    from headrace_client.cli.authority import Authority

    def make() -> None:
        authority = Authority.create(directory, name, ca_days)
        authority.issue_broker(list(host) or _own_hosts(), days)

    _told(make)
    errors.print(f"made {directory}/ca.pem and ca.key, which issues certificates: keep it elsewhere, and from everybody; broker.pem and broker.key for brokers")
    errors.print(f"brokers: --tls-cert {directory}/broker.pem --tls-key {directory}/broker.key; to ask for certificates too: --tls-client-ca {directory}/ca.pem")
    errors.print(f"clients and agents: --tls-ca {directory}/ca.pem; a certificate of their own: headrace tls issue NAME --role ROLE")
    return 0


@app.command
def issue(
    name: Annotated[str | None, Parameter(help="who the certificate is for, as the audit shows it")] = None, *, directory: Dir = Path("tls"), role: Role = "agent",
    domain: Annotated[str, Parameter(env_var="HEADRACE_DOMAIN", help="domain that it is for")] = DEFAULT_DOMAIN,
    all_domains: Annotated[bool, Parameter(negative=(), help="it is for all domains")] = False,
    broker: Annotated[bool, Parameter(negative=(), help="for a broker instead: broker.pem and broker.key")] = False, host: Host = (), days: Days = 397,
    replace: Annotated[bool, Parameter(negative=(), help="put the new one in the place of the old one; programs that run take it over")] = False,
) -> int:  # fmt: skip
    """Issue a certificate: NAME.pem and NAME.key, for an agent or a client of one domain; or, with --broker, a broker's."""
    from headrace_client.cli.authority import Authority, AuthorityError

    def make(authority: "Authority") -> tuple[Path, Path]:
        if broker:
            if name is not None:
                raise AuthorityError("a broker's certificate names hosts: give --host instead of NAME")
            return authority.issue_broker(list(host) or _own_hosts(), days, replace=replace)
        if name is None or not IDENTITY_NAME.fullmatch(name):
            raise AuthorityError(f"a name is 1 to 100 characters of A-Z a-z 0-9 . _ - @ : /, found {name!r}")
        if not DOMAIN_NAME.fullmatch(domain):
            raise AuthorityError(f"a domain is 1 to 100 characters of A-Z a-z 0-9 . _ -, found {domain!r}")
        return authority.issue_client("*" if all_domains else domain, role, name, days, replace=replace)

    cert, key = _told(lambda: make(Authority.open(directory)))
    errors.print(f"made {key}")
    print_line(str(cert))
    return 0


@app.command
def show(files: Annotated[tuple[Path, ...], Parameter(help="files with certificates", negative=())], /, *, output: Form = "table") -> int:
    """Show what certificates say: who, until when, serial and fingerprint, and whether the key beside them fits. Exit code 1 when one has expired."""
    from headrace_client.cli import authority

    found = _told(lambda: [shown for path in files for shown in authority.show(path)])
    if output == "table":
        for item in found:
            Output(output).one(item)
    else:
        Output(output).rows(found, [])
    return int(any(item.days_left < 0 for item in found))


@app.command
def revoke(
    file: Annotated[Path | None, Parameter(help="file with the certificate")] = None, *, serial: Annotated[str, Parameter(help="or its serial number")] = "",
    fingerprint: Annotated[str, Parameter(help="or its fingerprint (SHA-256)")] = "", reason: Reason = "", common: Common | None = None,
) -> int:  # fmt: skip
    """End the trust in a certificate for good, at every broker within a second. Takes an administrator of all domains."""
    if sum(map(bool, (file, serial, fingerprint))) != 1:
        errors.print("headrace: name the certificate by its file, by --serial or by --fingerprint")
        return 2
    if file is not None:
        from headrace_client.cli.authority import show as read

        fingerprint = _told(lambda: read(file))[0].fingerprint

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.revoke_certificate(serial=serial, fingerprint=fingerprint, reason=reason)
        if output.form == "table":
            errors.print(f"certificate {found.serial or found.fingerprint} is revoked")
        else:
            output.one(found)

    return run_admin(common or Common(), command)


@app.command
def revoked(*, common: Common | None = None) -> int:
    """List the certificates that were revoked, newest first."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_revoked_certificates()
        output.rows(found, ["serial", "fingerprint", "revoked_at", "revoked_by", "reason"], empty="no certificate was revoked")

    return run_admin(common or Common(), command)


def _told(make: Callable[[], T]) -> T:
    from headrace_client.cli.authority import AuthorityError

    try:
        return make()
    except AuthorityError as error:
        errors.print(f"headrace: {error}")
        raise Done(4) from error


def _own_hosts() -> list[str]:
    return list(dict.fromkeys([socket.getfqdn(), socket.gethostname(), "localhost", "127.0.0.1", "::1"]))
