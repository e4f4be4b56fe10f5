"""The doctor on real databases: what it finds out is so."""

import asyncio
import json
import socket
from typing import Any

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.inspection import is_pooled, look

from tests.support.processes import BrokerProcess, run_command


async def doctor(dsn: str, *options: str) -> tuple[int, dict[str, Any]]:
    """(exit code, status of each check by name, with the names of the listeners told apart)."""
    words = ["headrace-broker", "doctor", "-o", "json", "--database-url", dsn, "--http-listen", "off", *options]
    done = await asyncio.to_thread(run_command, *words)
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.returncode == 0)
    return done.returncode, {check["name"]: check for check in answer["checks"]}


async def test_a_database_that_serves_is_looked_at_and_what_is_broken_is_named(database: str, broker: BrokerProcess) -> None:
    con = await asyncpg.connect(database)
    try:
        code, checks = await doctor(database, "--listen", broker.address)
        assert code == 1 and checks["durability"]["status"] == "FAIL", "the tests' server does not wait for the disk"
        assert checks["listen"]["status"] == "WARN" and f"pid {broker.pid}" in checks["brokers"]["found"]
        assert {name for name, check in checks.items() if check["status"] == "ok"} >= {
            "Python", "database", "version", "writes", "encoding", "autovacuum", "clock", "connection", "rights", "partitions", "schema",
        }  # fmt: skip
        await con.execute("insert into headrace.migration values (999, 'gone', 'x', '99', now(), 'post')")
        code, checks = await doctor(database)
        assert code == 1 and checks["schema"]["status"] == "FAIL"
    finally:
        await con.execute("delete from headrace.migration where version = 999")
        await con.close()


async def test_a_database_without_a_schema_or_that_is_away_is_named(postgres: EmbeddedPostgres) -> None:
    server, schema = await look(postgres.dsn.replace("/headrace?", "/postgres?"))
    assert (server.installed, schema, server.version_number >= 140000) == (False, None, True)
    assert not await is_pooled(postgres.dsn)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # nobody listens there
        code, checks = await doctor(f"postgresql://u@127.0.0.1:{listener.getsockname()[1]}/d", "--listen", "203.0.113.1:7233", "--insecure")
    assert code == 1 and checks["database"]["status"] == checks["listen"]["status"] == "FAIL"
