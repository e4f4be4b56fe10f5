"""The arrays of the flush, as Postgres reads them; and that the driver takes them."""

import asyncpg
from headrace_broker.store import arrays


async def test_postgres_reads_what_was_packed(database: str) -> None:
    con = await asyncpg.connect(database)
    assert await arrays.register(con), "this asyncpg takes no encoders for the flush's arrays: flushes cost more"
    numbers = [0, 1, -1, 2**63 - 1, -(2**63), 1 << 32]
    texts = [b"", b"x", None, bytes(range(256)) * 300, None]
    for n in (0, 1, len(numbers)):
        row = await con.fetchrow("select $1::headrace.int8_array::bigint[] as n, $2::headrace.bytea_array::bytea[] as b", numbers[:n], texts[:n])
        assert (row["n"], row["b"]) == (numbers[:n], texts[:n])
    await con.close()


async def test_without_the_encoders_the_driver_sends_the_same(database: str) -> None:
    con = await asyncpg.connect(database)
    row = await con.fetchrow("select $1::headrace.int8_array::bigint[] as n, $2::headrace.bytea_array::bytea[] as b", [1, -2], [b"x", None])
    assert (row["n"], row["b"]) == ([1, -2], [b"x", None])
    await con.close()
