"""The programs of docs/transactions.md, as they are printed."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import Client

from tests.support.processes import ROOT, until

DOCUMENT = (ROOT / "docs" / "transactions.md").read_text()
PROGRAMS = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
SUBMITTERS = ("with_asyncpg.py", "with_psycopg.py", "with_sqlalchemy.py", "with_django.py")


def run_program(name: str, directory: Path, database: str, *arguments: str) -> str:
    """What the program prints."""
    (directory / name).write_text(PROGRAMS[name])
    done = subprocess.run(
        [sys.executable, directory / name, *arguments], env={**os.environ, "DATABASE_URL": database}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{name}: {done.stderr}"
    return done.stdout


async def test_each_driver_and_framework_submits_in_its_transaction(client: Client, database: str, directory: Path) -> None:
    entries = [int(run_program(name, directory, database)) for name in SUBMITTERS]
    con = await asyncpg.connect(database)
    try:
        for number, entry in enumerate(entries, 1):

            async def taken(entry: int = entry) -> Any:
                return await con.fetchval("select headrace.submitted_job($1)", entry)

            job = await client.get(await until(taken, what="the job"), full=True)
            assert (job.type, job.payload) == ("mail.send", f'{{"order": {number}}}'.encode())
        assert await con.fetchval("select array_agg(id order by id) from orders") == [1, 2, 3, 4]
    finally:
        await con.close()


async def test_the_rights_of_the_document_are_enough(client: Client, database: str) -> None:
    con = await asyncpg.connect(database)
    role = f"reader_{await con.fetchval('select current_database()')}"
    grants = [block for block in re.findall(r"^```sql\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL) if block.startswith("grant")]
    await con.execute(f"create role {role}")
    try:
        for block in grants:
            await con.execute(block.replace(" to app;", f" to {role};"))
        await con.execute(f"set role {role}")
        entry = await con.fetchval("select headrace.submit_job('t', '1')")

        async def taken() -> Any:
            return await con.fetchval("select headrace.submitted_job($1)", entry)

        await until(taken, what="the job")
    finally:
        await con.execute(f"reset role; drop owned by {role}; drop role {role}")
        await con.close()


@pytest.mark.parametrize("name", ["with_transaction.py", "with_own_call.py", "with_once.py"])
def test_handlers_of_the_document_make_an_agent(name: str, directory: Path, database: str) -> None:
    """They are loaded as an agent is; what they do is tested with the like of them in test_complete."""
    (directory / name).write_text(PROGRAMS[name])
    program = f"import {name[:-3]} as m; print(list(m.agent.handlers))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, env={**os.environ, "DATABASE_URL": database}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("['book']", "['pay']")
