"""Arrays for the flush, put together as Postgres reads them, in a few steps for the whole array.

asyncpg looks at each element of an array three times before it sends it (0.28 us of CPU for a number, measured on 2,000), and takes no codec for array types. So the
flush names domains over them (`headrace.int8_array`, `headrace.bytea_array`), and those get the encoders below (0.08 us). They are registered through the driver's
own table of codecs, which is not part of its public interface: where that has changed, lists go through the driver as any array does, and only speed is lost.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import structlog

from headrace_broker.store.statements import sql

log = structlog.get_logger("headrace.store")

_INT8, _BYTEA = 20, 17  # type oids
_EMPTY = bytes(8)  # no dimensions, no nulls
_LENGTH_8 = array("i", (8).to_bytes(4, "big"))


class Packed(bytes):
    """An array that was put together before."""


def int8_array(values: Sequence[int] | Packed) -> bytes:
    """A bigint[] without nulls in Postgres's binary format (array_recv): header, then for each element its length and its bytes, big-endian."""
    if isinstance(values, Packed):
        return values
    count = len(values)
    if not count:
        return _EMPTY + _INT8.to_bytes(4, "big")
    numbers = array("q", values)
    numbers.byteswap()
    halves = array("i")
    halves.frombytes(numbers.tobytes())
    elements = _LENGTH_8 * (3 * count)
    elements[1::3], elements[2::3] = halves[0::2], halves[1::2]
    return _header(_INT8, count) + elements.tobytes()


def bytea_array(values: Sequence[bytes | None] | Packed) -> bytes:
    """A bytea[] in the same format; the length of a null is -1."""
    if isinstance(values, Packed):
        return values
    count = len(values)
    if not count:
        return _EMPTY + _BYTEA.to_bytes(4, "big")
    lengths = array("i", [-1 if value is None else len(value) for value in values])
    lengths.byteswap()
    packed = lengths.tobytes()
    parts: list[bytes] = [b""] * (2 * count)
    parts[0::2] = [packed[at : at + 4] for at in range(0, 4 * count, 4)]
    parts[1::2] = [value or b"" for value in values]
    return _header(_BYTEA, count, nulls=None in values) + b"".join(parts)


def _header(element: int, count: int, *, nulls: bool = False) -> bytes:
    """One dimension, whether there are nulls, the element's type, how many, and that they count from 1."""
    return b"\0\0\0\1\0\0\0" + bytes([nulls]) + element.to_bytes(4, "big") + count.to_bytes(4, "big") + b"\0\0\0\1"


ENCODERS: dict[str, Callable[[Any], bytes]] = {"int8_array": int8_array, "bytea_array": bytea_array}


async def register(con: "asyncpg.Connection[Any]") -> bool:
    """Has the connection use the encoders for the domains of the flush; False: the driver does not let us, and sends lists its own way."""
    oids = await con.fetchrow(sql("array_domains"))
    try:
        settings = con._protocol.get_settings()
        for name, encode in ENCODERS.items():
            settings.add_python_codec(oids[name], name, "headrace", [], "scalar", encode, _decode, "binary")
    except (AttributeError, TypeError) as error:
        log.warning("arrays are sent the driver's way, which is slower", driver=asyncpg.__version__, reason=str(error))
        return False
    return True


def _decode(data: bytes) -> bytes:
    return data
