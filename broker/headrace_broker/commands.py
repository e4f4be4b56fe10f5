"""What `headrace-broker` does: run, migrate, token, doctor."""

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
from headrace_broker.config import Config, masked
from headrace_broker.logs import set_up
from headrace_broker.model.access import TOKEN_NAME, Role
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.settings import YEARS_10_S
from headrace_broker.store.database import Database, Pooled
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.migrate import MigrationError, load, migrate
from headrace_broker.store.pg_binaries import NoBinaries, find
from headrace_broker.store.pool import durability, open_pool
from headrace_broker.store.tokens import TokenStore

FAILURES = (EmbeddedError, NoBinaries, MigrationError, Pooled, OSError, asyncpg.PostgresError)
"""What may be wrong with the surroundings; the texts say what to do."""


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
        return _doctor(config)
    if arguments.command == "token":
        return _create_token(arguments, config)
    if arguments.print_sql:
        for migration in load():
            print(f"-- {migration.version:04} {migration.name}\n{migration.text}")
        return 0
    return _migrate(config, dry_run=arguments.dry_run)


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


def _migrate(config: Config, *, dry_run: bool) -> int:
    with _database(config) as url:
        done = asyncio.run(migrate(url, dry_run=dry_run, version=__version__))
    for migration in done:
        print(f"{'missing' if dry_run else 'applied'} {migration.version:04} {migration.name}")
    if not done:
        print("up to date")
    return 0


def _create_token(arguments: argparse.Namespace, config: Config) -> int:
    """Prints the secret, and nothing else, on standard output."""
    if not TOKEN_NAME.fullmatch(arguments.name) or (arguments.expires_in_s is not None and not 1 <= arguments.expires_in_s <= YEARS_10_S):
        print("headrace-broker: a token's name is 1 to 100 characters of A-Z a-z 0-9 . _ - @ : /, and it lasts 1 s to 10 years", file=sys.stderr)
        return 2

    async def create(url: str) -> str:
        await migrate(url, version=__version__)
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


def _doctor(config: Config) -> int:
    """Prints a line for each thing looked at; exit code 1 when something is wrong."""
    problems = 0

    def say(ok: bool, text: str) -> None:
        nonlocal problems
        problems += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {text}")

    say(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}")
    options, url = config.options, config.options.database_url
    if options.tls_cert is not None and options.tls_key is not None:
        from headrace_broker.tls import Files, TlsError
        from headrace_broker.tls import load as load_tls

        try:
            loaded = load_tls(Files(options.tls_cert, options.tls_key, options.tls_client_ca))
            say(True, f"TLS: the certificate in {options.tls_cert} and what belongs to it are good until {loaded.not_after:%Y-%m-%d}")
        except TlsError as error:
            say(False, f"TLS: {error}")
    if url is None:
        try:
            binaries = find()
            say(True, f"embedded Postgres {binaries.version} from {binaries.directory}; data in {config.options.data_dir or default_data_dir()}")
        except NoBinaries as error:
            say(False, str(error))
        return int(problems > 0)
    try:
        version, off, missing = asyncio.run(_look(url))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError, MigrationError, Pooled) as error:
        say(False, f"database {masked(url)}: {error}")
        return 1
    say(True, f"database {masked(url)}: Postgres {version}")
    say(int(version.split(".")[0]) >= 14, "Postgres 14 or newer")
    say(not off, f"durable: {', '.join(off) + ' off' if off else 'fsync, full_page_writes and synchronous_commit are on'}")
    say(not missing, f"schema: {f'{missing} migrations missing; headrace-broker migrate applies them, and so does run' if missing else 'up to date'}")
    return int(problems > 0)


async def _look(url: str) -> tuple[str, list[str], int]:
    await Database(url).refuse_pooler()
    pool = await open_pool(url, size=1)
    try:
        version, off = await durability(pool)
    finally:
        await pool.close()
    return version, off, len(await migrate(url, dry_run=True))
