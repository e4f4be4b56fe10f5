"""What `headrace-broker` does: run, migrate, shards, token, doctor."""

import argparse
import asyncio
import getpass
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from headrace_broker import __version__
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.config import Config
from headrace_broker.logs import set_up
from headrace_broker.model.access import TOKEN_NAME, Role
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.settings import YEARS_10_S
from headrace_broker.store.database import Pooled
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.migrate import MigrationError, Phase, load, make_roles, migrate
from headrace_broker.store.pg_binaries import NoBinaries
from headrace_broker.store.pool import open_pool
from headrace_broker.store.shards import BrokersRun, ShardRow, set_shards, shards
from headrace_broker.store.tokens import TokenStore

FAILURES = (EmbeddedError, NoBinaries, MigrationError, BrokersRun, Pooled, OSError, asyncpg.PostgresError, asyncpg.ClientConfigurationError)
"""What may be wrong with the surroundings; the texts say what to do."""
SHOWN = 20
"""Domains that the line of a shard names."""


def call(arguments: argparse.Namespace, config: Config) -> int:
    """Does what the command says; returns the exit code. Raises ConfigError for files that options name and that are no good."""
    set_up(config.options.log_level, config.options.log_format)
    try:
        return _call(arguments, config)
    except FAILURES as error:
        print(f"headrace-broker: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _call(arguments: argparse.Namespace, config: Config) -> int:
    if arguments.command == "run":
        from headrace_broker.app import run  # the other commands do without a server

        return run(config)
    if arguments.command == "doctor":
        return _doctor(config, arguments.output)
    if arguments.command == "shards":
        return _shards(arguments, config)
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
                after = " (post)" if migration.phase is Phase.POST else ""
                print(f"{'missing' if arguments.dry_run else 'applied'} {migration.version:04} {migration.name}{after}", flush=True)
                count += 1
        if arguments.roles and not arguments.dry_run:
            asyncio.run(make_roles(url))
            print("roles made: headrace_owner, headrace_migrator, headrace_broker, headrace_reader, headrace_door")
    if not count and not arguments.roles:
        print("up to date")
    return 0


def _shards(arguments: argparse.Namespace, config: Config) -> int:
    """A line for each shard; with a number, after there are so many."""

    async def shown(url: str) -> list[ShardRow]:
        if arguments.number is not None:
            await set_shards(url, arguments.number, dry_run=arguments.dry_run)
        return await shards(url)

    with _database(config) as url:
        for row in asyncio.run(shown(url)):
            owner = f"{row.address} since {row.since:%Y-%m-%d %H:%M:%S} UTC" if row.since is not None else "no owner"
            names = ", ".join(row.domains[:SHOWN]) + (", ..." if len(row.domains) > SHOWN else "")
            print(f"shard {row.shard}: {owner}; {len(row.domains)} domain{'s' if len(row.domains) != 1 else ''}{': ' if names else ''}{names}", flush=True)
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
    from headrace_broker import doctor

    findings = asyncio.run(doctor.examine(config))
    print(doctor.shown(findings, form))
    return int(doctor.failed(findings) > 0)
