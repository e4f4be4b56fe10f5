"""That a flush has room in its socket."""

import os
import socket
from pathlib import Path
from typing import Any
from unittest import mock

import asyncpg
from headrace_broker.store import send_buffer
from headrace_broker.store.ledger import Ledger


def room(con: "asyncpg.Connection[Any]") -> int:
    """Bytes that a connection's socket takes before somebody reads them."""
    with socket.socket(fileno=os.dup(con._transport.get_extra_info("socket").fileno())) as same:
        return same.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


async def test_the_connection_of_flushes_over_a_unix_socket_has_a_large_buffer(database: str) -> None:
    most = int(Path("/proc/sys/net/core/wmem_max").read_text())
    plain = await asyncpg.connect(database)
    ledger = await Ledger.open(database, address="test", version="0")
    assert room(ledger._con) == 2 * min(send_buffer.BYTES, most) > room(plain)
    await ledger.close()
    await plain.close()


async def test_without_the_drivers_socket_nothing_is_lost(database: str) -> None:
    con = await asyncpg.connect(database)
    with mock.patch.object(con._transport, "get_extra_info", return_value=None):
        assert not send_buffer.widen(con)
    assert not send_buffer.widen(object())
    await con.close()
