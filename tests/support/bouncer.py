"""A pgbouncer before a test's server, in transaction mode."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL
from urllib.parse import parse_qs, urlsplit

import asyncpg

from tests.support.patroni import give, server_user
from tests.support.ports import free_ports
from tests.support.processes import until

PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
CONF = """[databases]
* = host={host} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {servers}
ignore_startup_parameters = {ignored}
logfile = {log}
"""


@asynccontextmanager
async def bouncer(directory: Path, database: str, *, mode: str = "transaction", servers: int = 3, ignored: str = "extra_float_digits") -> AsyncIterator[str]:
    """Runs one; the URL of the database through it. `servers`: its connections to Postgres; `ignored`: parameters of sessions that it passes over."""
    parts = urlsplit(database)
    [port], place = free_ports(1), directory / f"bouncer-{mode}-{len(ignored)}"
    place.mkdir()
    config = place / "pgbouncer.ini"
    host, log = parse_qs(parts.query)["host"][0], place / "pgbouncer.log"
    config.write_text(CONF.format(host=host, user=parts.username, port=port, mode=mode, servers=servers, ignored=ignored, log=log))
    give(place)
    assert PROGRAM is not None
    process = await asyncio.create_subprocess_exec(PROGRAM, str(config), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, cwd="/", **server_user())
    url = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    try:

        async def up() -> bool:
            try:
                con = await asyncpg.connect(url, statement_cache_size=0)
            except (OSError, asyncpg.PostgresError):
                return False
            await con.close()
            return True

        await until(up, what="pgbouncer")
        yield url
    finally:
        process.kill()
        await process.wait()
