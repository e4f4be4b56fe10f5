"""`headrace-broker doctor`: is everything around this broker as it should be? A finding for each thing, with what to do where it is not.

Facts are gathered first and judged by pure functions, so that each judgement can be tried with facts that are wrong.
"""

import errno
import json
import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs

from headrace_broker.config import Config, Options, masked
from headrace_broker.model.addresses import split
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.store.embedded import default_data_dir
from headrace_broker.store.inspection import SchemaFacts, ServerFacts, is_pooled, look
from headrace_broker.store.migrate import MigrationError, Phase, migrate
from headrace_broker.store.pg_binaries import NoBinaries, find
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.tls import Files, TlsError
from headrace_broker.tls import load as load_tls

CONNECTIONS = 14  # of one broker: pools of 6 and 3, the ledger's own, the inbox's, and some for what comes and goes
CLOCK_APART_S = 5.0
CERTIFICATE_SOON = timedelta(days=14)
DISK_LEAST_BYTES, DISK_SOON_BYTES, DISK_SOON_SHARE = 256 * 1024**2, 2 * 1024**3, 0.05
FILES_BESIDE = 700  # open files of a broker that are not connections of clients: up to 500 of browsers and scrapers among them


class Status(StrEnum):
    """How it is."""

    OK = "ok"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, how it is, and what to do (empty: nothing)."""

    name: str
    status: Status
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(name, Status.OK, found)


def warn(name: str, found: str, advice: str) -> Finding:
    """It works, and will hurt."""
    return Finding(name, Status.WARN, found, advice)


def fail(name: str, found: str, advice: str) -> Finding:
    """A broker does not run so, or loses what it acknowledged."""
    return Finding(name, Status.FAIL, found, advice)


async def examine(config: Config) -> list[Finding]:
    """All findings, in the order of what depends on what."""
    options = config.options
    findings = [_python(), *judge_files(options), *judge_certificate(options, datetime.now(UTC)), *_listeners(options)]
    if options.database_url is None:
        return findings + _embedded(options)
    return findings + await _database(options.database_url)


def shown(findings: list[Finding], form: str) -> str:
    """The findings as lines, or as one JSON object: `checks`, and `ok` when none says FAIL."""
    if form == "json":
        return json.dumps({"ok": failed(findings) == 0, "checks": [asdict(finding) for finding in findings]}, indent=2)
    return "\n".join(f"{f.status:4} {f.name}: {f.found}" + (f"\n     -> {f.advice}" if f.advice else "") for f in findings)


def failed(findings: list[Finding]) -> int:
    """How many say FAIL."""
    return sum(finding.status is Status.FAIL for finding in findings)


# The machine ------------------------------------------------------------------------------------------------------------------------------------


def _python() -> Finding:
    version = sys.version.split()[0]
    return ok("Python", version) if sys.version_info >= (3, 11) else fail("Python", version, "run headrace with Python 3.11 or newer")


def judge_files(options: Options, limit: int | None = None) -> Iterator[Finding]:
    """Open files: each connection is one. `limit`: of this process, unless another one is asked about."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    wanted = options.connections_limit + FILES_BESIDE
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        yield ok("open files", f"up to {limit if limit != resource.RLIM_INFINITY else 'any number'}")
    else:
        advice = f"raise the limit (LimitNOFILE={wanted} in the unit, or ulimit -n), or lower --connections-limit to what will come"
        yield warn("open files", f"at most {limit}, and --connections-limit allows {options.connections_limit} connections", advice)


def judge_certificate(options: Options, now: datetime) -> Iterator[Finding]:
    """The files of TLS, if there are any, and when they expire."""
    if options.tls_cert is None or options.tls_key is None:
        return
    try:
        loaded = load_tls(Files(options.tls_cert, options.tls_key, options.tls_client_ca), now=now)
    except TlsError as error:
        yield fail("TLS", str(error), "")
        return
    text = f"the certificate in {options.tls_cert} and what belongs to it are good until {loaded.not_after:%Y-%m-%d}"
    soon = loaded.not_after < now + CERTIFICATE_SOON
    yield warn("TLS", text, "renew it now; the broker takes new files while it runs") if soon else ok("TLS", text)


def _listeners(options: Options) -> Iterator[Finding]:
    addresses = [*options.listen, *([options.http_listen] if options.http_listen != "off" else [])]
    for address in addresses:
        yield _listener(address)


def _listener(address: str) -> Finding:
    """Whether it could be listened on now."""
    if address.startswith("unix:"):
        directory = Path(address[5:]).parent
        good = os.access(directory, os.W_OK)
        return ok("listen", f"{address}") if good else fail("listen", f"{address}: this user may not write {directory}", "choose another path, or make it")
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            probe.listen(1)  # where somebody listens already, binding may have been allowed
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return warn("listen", f"{address} is in use", "fine while the broker runs; else find who has it (ss -ltnp)")
        return fail("listen", f"{address}: {error.strerror or error}", "choose an address of this machine that this user may listen on")
    return ok("listen", f"{address} is free")


def judge_disk(path: Path, free: int, total: int) -> Finding:
    """Room where the data lies."""
    text = f"{free / 1024**3:.1f} of {total / 1024**3:.0f} GiB are free for {path}"
    if free < DISK_LEAST_BYTES:
        return fail("disk", text, "make room: without it commits fail and nothing is taken or granted")
    soon = free < max(DISK_SOON_BYTES, total * DISK_SOON_SHARE)
    return warn("disk", text, "make room, or shorten how long settled jobs are kept") if soon else ok("disk", text)


def _disk(path: Path) -> Finding:
    there = next(place for place in (path, *path.parents) if place.exists())
    usage = shutil.disk_usage(there)
    return judge_disk(path, usage.free, usage.total)


def _embedded(options: Options) -> list[Finding]:
    data_dir = (options.data_dir or default_data_dir()).absolute()
    try:
        binaries = find()
        findings = [ok("database", f"embedded Postgres {binaries.version} from {binaries.directory}; data in {data_dir}")]
    except NoBinaries as error:
        findings = [fail("database", str(error), "")]
    return [*findings, _disk(data_dir)]


# The database -----------------------------------------------------------------------------------------------------------------------------------


async def _database(url: str) -> list[Finding]:
    name = f"database {masked(url)}"
    try:
        asked = time.time()
        server, schema = await look(url)
        apart_s = server.now_s - (asked + time.time()) / 2
    except ANY_FAILURE as error:
        return [fail("database", f"{masked(url)}: {error or type(error).__name__}", "see that it runs, and that this machine and user may connect")]
    findings = [ok("database", f"{name.removeprefix('database ')}: Postgres {server.version}, as {server.user_name}"), *judge_server(server, apart_s)]
    try:
        findings.append(judge_pooler(await is_pooled(url)))
    except ANY_FAILURE as error:
        findings.append(fail("connection", f"two at a time did not work: {error}", "see the server's log"))
    if schema is not None:
        findings += judge_schema(schema, lowest_id_at(time.time()))
    findings.append(await _migrations(url))
    directory = _data_directory(url)
    return findings if directory is None else [*findings, _disk(directory)]


def judge_pooler(pooled: bool) -> Finding:
    """Whether connections are the broker's own."""
    if pooled:
        return fail("connection", "goes through a pooler that changes backends between transactions", "give the broker a direct one; poolers may serve reads and doors")
    return ok("connection", "is a direct one")


def judge_server(server: ServerFacts, apart_s: float) -> Iterator[Finding]:
    """The server. `apart_s`: its clock less this machine's."""
    judges: list[Callable[[ServerFacts], Finding]] = [_version, _writable, _durable, _standbys, _connections, _encoding, _autovacuum, _trigrams, _user]
    yield from (judge(server) for judge in judges)
    text = f"{abs(apart_s):.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's"
    if abs(apart_s) > CLOCK_APART_S:
        yield warn("clock", f"the database's is {text}", "let both follow a time server; the broker goes by the database's, and pages show it")
    else:
        yield ok("clock", f"the database's is {text}")


def _version(server: ServerFacts) -> Finding:
    good = server.version_number >= 140000
    return ok("version", f"Postgres {server.version}") if good else fail("version", f"Postgres {server.version}", "use Postgres 14 or newer")


def _writable(server: ServerFacts) -> Finding:
    if server.read_only:
        return fail("writes", "this server is a standby, or read-only", "connect to the primary: several hosts and target_session_attrs=read-write in the URL follow it")
    return ok("writes", "are taken")


def _durable(server: ServerFacts) -> Finding:
    off = [name for name in ("fsync", "full_page_writes", "synchronous_commit") if getattr(server, name) == "off"]
    if off:
        return fail("durability", f"{', '.join(off)} off", "turn them on: a crash of the server loses acknowledged jobs, or the whole database")
    return ok("durability", "fsync, full_page_writes and synchronous_commit are on")


def _standbys(server: ServerFacts) -> Finding:
    if server.standbys and not server.synchronous_standby_names:
        return warn("standbys", f"{server.standbys}, none of them synchronous", "set synchronous_standby_names: a failover to one that lags loses acknowledged jobs")
    return ok("standbys", f"{server.standbys}" + (f", synchronous: {server.synchronous_standby_names}" if server.synchronous_standby_names else ""))


def _connections(server: ServerFacts) -> Finding:
    text = f"{server.free_connections} more may be opened, a broker opens up to {CONNECTIONS}"
    return (
        ok("connections", text) if server.free_connections >= CONNECTIONS else warn("connections", text, "raise max_connections, or the limit of this user or database")
    )


def _encoding(server: ServerFacts) -> Finding:
    if server.encoding != "UTF8":
        return fail("encoding", server.encoding, "make a database with encoding UTF8: texts of jobs are stored as such")
    return ok("encoding", "UTF8")


def _autovacuum(server: ServerFacts) -> Finding:
    if server.autovacuum == "off":
        return warn("autovacuum", "off", "turn it on: plans go by statistics that it makes")
    return ok("autovacuum", "on")


def _trigrams(server: ServerFacts) -> Finding:
    if server.trgm:
        return ok("pg_trgm", "is installed")
    if server.trgm_available:
        return warn("pg_trgm", "is not installed; the broker does it if it may", "create extension pg_trgm with schema headrace")
    return warn("pg_trgm", "this server does not have it", "install Postgres's contrib modules: log texts are searched without an index until then")


def _user(server: ServerFacts) -> Finding:
    if server.superuser:
        return warn("user", f"{server.user_name} is a superuser", "headrace-broker migrate --roles makes headrace_broker, which may do what a broker does and no more")
    return ok("user", f"{server.user_name} is no superuser")


def judge_schema(schema: SchemaFacts, now_id: int) -> Iterator[Finding]:
    """A schema that is there. `now_id`: the lowest id of a job that is submitted now."""
    if schema.missing_rights:
        yield fail("rights", f"this user may not: {'; '.join(schema.missing_rights)}", "connect as headrace_broker, or run headrace-broker migrate --roles as who may")
    else:
        yield ok("rights", "this user may run a broker")
    yield ok("brokers", ", ".join(schema.brokers) or "none runs on this database")
    late = sum(end <= now_id for end in schema.reach)
    if not schema.reach:
        yield ok("partitions", "none yet: the first broker makes them")
    elif not late:
        yield ok("partitions", f"of {len(schema.reach)} retention classes reach beyond now")
    elif schema.brokers:
        yield fail("partitions", f"of {late} retention classes have ended, and a broker runs", "see its log for 'partitions not made': it lacks a right, or a lock")
    else:
        yield ok("partitions", f"of {late} retention classes have ended; the broker makes new ones when it starts")


async def _migrations(url: str) -> Finding:
    try:
        missing = await migrate(url, dry_run=True)
    except MigrationError as error:
        return fail("schema", str(error), "")
    except ANY_FAILURE as error:
        return fail("schema", str(error), "connect as a user who may read headrace.migration")
    return judge_migrations([migration.phase for migration in missing])


def judge_migrations(missing: list[Phase]) -> Finding:
    """What the schema lacks."""
    first = missing.count(Phase.PRE)
    if first:
        return warn("schema", f"{len(missing)} migrations missing", "headrace-broker migrate --phase pre applies them, and so does run unless it is told --migrate off")
    if missing:
        return warn("schema", f"{len(missing)} migrations wait for older brokers to go", "when none runs any more: headrace-broker migrate --phase post")
    return ok("schema", "up to date")


def _data_directory(url: str) -> Path | None:
    """Where a server on this machine would keep its data, as far as one can tell: nothing is said of servers elsewhere."""
    parts = split(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    near = host.startswith("/") or host in ("localhost", "127.0.0.1", "::1")
    place = Path("/var/lib/postgresql")
    return place if near and place.exists() else None
