"""`headrace-broker`: run, migrate, token, config, doctor, version."""

import argparse
import asyncio
import getpass
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg

from headrace_broker import __version__, doctor
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.config import Config, ConfigError, add_options, read
from headrace_broker.logs import set_up
from headrace_broker.model.access import TOKEN_NAME, Role
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.settings import YEARS_10_S
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.migrate import MigrationError, Phase, load, make_roles, migrate
from headrace_broker.store.pg_binaries import NoBinaries
from headrace_broker.store.pool import open_pool
from headrace_broker.store.tokens import TokenStore
from headrace_broker.tls import TlsError


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command; exit code 0 done, 1 failed, 2 wrong options."""
    parser = argparse.ArgumentParser(prog="headrace-broker", description="The broker of headrace: owns a job queue in Postgres and leases jobs to agents.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_ in (
        ("run", "serve until told to stop"),
        ("migrate", "bring the database to this version's schema"),
        ("token", "make a token in the database itself, such as the first one"),
        ("config", "print the options in force and where each came from"),
        ("doctor", "check the surroundings"),
    ):
        command = commands.add_parser(name, help=help_, description=help_)
        add_options(command)
        if name == "migrate":
            command.add_argument("--dry-run", action="store_true", help="only list what is missing")
            command.add_argument(
                "--phase",
                choices=[*Phase, "all"],
                default="all",
                help="pre: what only adds; post: what takes away (default: both)",
            )
            command.add_argument("--roles", action="store_true", help="make the roles of least privilege too")
            command.add_argument("--print", action="store_true", dest="print_sql", help="print the SQL of all migrations, and connect to nothing")
        if name == "doctor":
            command.add_argument("-o", "--output", choices=["text", "json"], default="text", help="how to print what was found (default: text)")
        if name == "token":
            command.add_argument("action", choices=["create"])
            command.add_argument("name", help="its name, which the audit shows")
            command.add_argument("--role", choices=[role.name.lower() for role in Role], default="admin", help="what it may do (default: admin)")
            command.add_argument("--domain", help="the domain it is for (default: all domains)")
            command.add_argument("--expires-in-s", type=float, help="seconds until it ends (default: never)")
    commands.add_parser("version", help="print the version")
    arguments = parser.parse_args(argv)
    if arguments.command == "version":
        print(__version__)
        return
    try:
        config = read(arguments)
    except ConfigError as error:
        print("\n".join(f"headrace-broker: {line}" for line in str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    set_up(config.options.log_level, config.options.log_format)
    try:
        sys.exit(_run(arguments, config))
    except TlsError as error:
        print(f"headrace-broker: {error}", file=sys.stderr)
        sys.exit(2)
    except (EmbeddedError, NoBinaries, MigrationError, OSError, asyncpg.PostgresError) as error:
        print(f"headrace-broker: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(arguments: argparse.Namespace, config: Config) -> int:
    if arguments.command == "run":
        from headrace_broker.app import run

        return run(config)
    if arguments.command == "config":
        print("\n".join(config.lines()))
        return 0
    if arguments.command == "doctor":
        return _doctor(config, arguments.output)
    if arguments.command == "token":
        return _create_token(arguments, config)
    if arguments.print_sql:
        for migration in load():
            print(f"-- {migration.version:04} {migration.name} ({migration.phase})\n{migration.text}")
        return 0
    return _migrate(arguments, config)


@contextmanager
def _database(config: Config) -> Iterator[str]:
    """The URL of the database; the embedded one runs meanwhile."""
    if config.options.database_url is not None:
        yield config.options.database_url
        return
    embedded = EmbeddedPostgres(config.options.data_dir or default_data_dir())
    embedded.start()
    try:
        yield embedded.dsn
    finally:
        embedded.stop()


def _migrate(arguments: argparse.Namespace, config: Config) -> int:
    phases = list(Phase) if arguments.phase == "all" else [Phase(arguments.phase)]
    count = 0
    with _database(config) as url:
        for phase in [None] if arguments.dry_run and len(phases) > 1 else phases:
            for migration in asyncio.run(migrate(url, dry_run=arguments.dry_run, version=__version__, phase=phase)):
                print(
                    f"{'missing' if arguments.dry_run else 'applied'} {migration.version:04} {migration.name}" + (" (post)" if migration.phase is Phase.POST else ""),
                    flush=True,
                )
                count += 1
        if arguments.roles and not arguments.dry_run:
            asyncio.run(make_roles(url))
            print("roles made: headrace_owner, headrace_migrator, headrace_broker, headrace_reader, headrace_door")
    if not count and not arguments.roles:
        print("up to date")
    return 0


def _create_token(arguments: argparse.Namespace, config: Config) -> int:
    """Prints the secret, and nothing else, on standard output."""
    if not TOKEN_NAME.fullmatch(arguments.name) or (arguments.expires_in_s is not None and not 1 <= arguments.expires_in_s <= YEARS_10_S):
        print("headrace-broker: a token's name is 1 to 100 characters of A-Z a-z 0-9 . _ - @ : /, and it lasts 1 s to 10 years", file=sys.stderr)
        return 2

    async def create(url: str) -> str:
        await migrate(url, version=__version__, phase=Phase.PRE)
        pool = await open_pool(url, size=1)
        try:
            caller = Caller(f"headrace-broker token, {getpass.getuser()}", arguments.domain or "", uuid.uuid4().hex)
            made = await TokenTable(TokenStore(pool)).create(
                arguments.name, arguments.domain, Role[arguments.role.upper()], arguments.expires_in_s, caller=caller, reason="made on the database itself"
            )
            return made[1]
        finally:
            await pool.close()

    try:
        with _database(config) as url:
            print(asyncio.run(create(url)))
    except BrokerError as error:
        print(f"headrace-broker: {error}", file=sys.stderr)
        return 1
    return 0


def _doctor(config: Config, form: str) -> int:
    """Prints a finding for each thing looked at; exit code 1 when one says FAIL."""
    findings = asyncio.run(doctor.examine(config))
    print(doctor.shown(findings, form))
    return int(doctor.failed(findings) > 0)


if __name__ == "__main__":
    main()
