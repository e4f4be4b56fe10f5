"""How brokers reach each other, as each of them writes it down for its present life."""

from dataclasses import dataclass, field
from typing import Any

import asyncpg

from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class Peer:
    """How other brokers reach one. `endpoint`: HOST:PORT or unix:PATH of gRPC, and `web`: URL of the pages, empty where there is none; `key`: 32 bytes with which they
    attest who called them; `certificate`: what the gRPC listener shows, PEM, empty where it is not encrypted."""

    host: str
    endpoint: str
    web: str
    key: bytes = field(repr=False)
    certificate: str = ""

    def columns(self) -> tuple[str, str, str, bytes, str]:
        """As `peer_put.sql` takes it, after the life."""
        return self.host, self.endpoint, self.web, self.key, self.certificate


def peer_of(row: Any) -> Peer | None:
    """From the columns of a row; None: the broker says nothing of it."""
    return Peer(row["host"], row["endpoint"], row["web"], row["key"], row["certificate"]) if row["key"] is not None else None


class PeerStore:
    """Statements of a pool, for what need not be the life's own connection."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def put(self, life_id: int, peer: Peer) -> None:
        """Replaces what is said of a life."""
        await self._pool.execute(sql("peer_put"), life_id, *peer.columns())

    async def owns(self, life_id: int) -> bool:
        """Whether a life owns the shards now."""
        return bool(await self._pool.fetchval(sql("life_alive"), life_id))
