"""What a broker is made of below its listeners: what reads and writes the database, tables in memory, and its place in each shard. Nothing runs yet."""

import os
import secrets
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from headrace_broker import __version__
from headrace_broker.actions.certificates import Revocations
from headrace_broker.actions.grants import GrantTable
from headrace_broker.actions.passwords import Passwords
from headrace_broker.actions.search import Search
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.config import Options
from headrace_broker.metrics import Metrics
from headrace_broker.model.redaction import secret_names
from headrace_broker.model.shard import all_of
from headrace_broker.rpc.attest import KEY_BYTES
from headrace_broker.rpc.doors import DoorReader
from headrace_broker.rpc.peers import identity_of
from headrace_broker.shards.owner import OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.shards.types import TypeTable
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.certificates import CertificateStore
from headrace_broker.store.database import Database
from headrace_broker.store.grants import GrantStore
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.reads import Reads
from headrace_broker.store.saved_filters import SavedFilterStore
from headrace_broker.store.search import Finder
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.statistics import Statistics
from headrace_broker.store.tokens import TokenStore
from headrace_broker.store.users import UserStore


@dataclass(frozen=True, slots=True)
class Parts:
    """Of one broker process. `id` tells it from all others, `address` tells people which one it is, `key` attests whose calls it passes on."""

    id: str
    address: str
    key: bytes
    pool: "asyncpg.Pool[Any]"
    settings: SettingsStore
    types: TypeTable
    reads: Reads
    finder: Finder
    graph: GraphReads
    statistics: Statistics
    audit: AuditStore
    brokers: BrokerStore
    saved_filters: SavedFilterStore
    grants: GrantTable
    tokens: TokenTable
    passwords: Passwords
    users: Users
    revocations: Revocations
    ownerships: Ownerships
    desks: Sequence[AlertDesk]


def build(options: Options, database: Database, pool: "asyncpg.Pool[Any]", searching: "asyncpg.Pool[Any]", shards: int, metrics: Metrics) -> Parts:
    """All parts of a broker of a queue with so many shards. `searching`: a pool for searches alone."""
    token_store, user_store, passwords = TokenStore(pool), UserStore(pool), Passwords()
    grants = GrantTable(GrantStore(pool), token_store, user_store, identity_of, secret_names(options.redact))
    broker, address = uuid.uuid4().hex, f"{socket.gethostname()} pid {os.getpid()} {','.join(options.listen)}"
    settings, finder = SettingsStore(pool), Finder(searching)
    types = TypeTable(settings)
    limits = OwnerLimits(
        lease_s=options.lease_s, heartbeat_s=options.heartbeat_s, disconnect_grace_s=options.disconnect_grace_s, accept_timeout_s=options.accept_timeout_s,
        payload_limit_bytes=options.payload_limit_bytes, cache_bytes=options.cache_bytes // shards,
    )  # fmt: skip
    each = [
        Ownership(dsn=database, pool=pool, types=types, limits=limits, metrics=metrics, address=address, version=__version__, shard=shard, broker=broker)
        for shard in all_of(shards)
    ]
    for ownership in each:
        ownership.testing = options.testing
        ownership.reader = DoorReader(options.payload_limit_bytes)
        ownership.find_ids = lambda owner: Search(owner, finder).ids
    return Parts(
        id=broker, address=address, key=secrets.token_bytes(KEY_BYTES), pool=pool, settings=settings, types=types, reads=Reads(pool), finder=finder,
        graph=GraphReads(pool), statistics=Statistics(pool), audit=AuditStore(pool), brokers=BrokerStore(pool), saved_filters=SavedFilterStore(pool), grants=grants,
        tokens=TokenTable(token_store, grants.check_token), passwords=passwords, users=Users(user_store, passwords, grants.check_user),
        revocations=Revocations(CertificateStore(pool)), ownerships=Ownerships(each, types, settings),
        desks=[AlertDesk(AlertStore(pool), ownership) for ownership in each],
    )  # fmt: skip
