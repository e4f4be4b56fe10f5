"""Certificates, identity from them, limits of connections, quotas, and agents that are not to be trusted."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
TLS = f"{BROKER}/tls.py"
SERVER = f"{BROKER}/rpc/server.py"
PEERS = f"{BROKER}/rpc/peers.py"
NAMED = f"{BROKER}/rpc/identity.py"
GATE = f"{BROKER}/rpc/access.py"
CONNECTIONS = f"{BROKER}/rpc/connections.py"
QUOTAS = f"{BROKER}/rpc/quotas.py"
GUARD = f"{BROKER}/rpc/interceptors.py"
ENDINGS = f"{BROKER}/shards/endings.py"
E2E = "tests/e2e/test_tls.py"
FILES = "tests/unit/test_certificates.py"
IDENTITY = "tests/rpc/test_certificates.py"
HOSTILE = "tests/rpc/test_hostile_connections.py"
AGENT = "tests/rpc/test_hostile_agent.py"
BUCKETS = "tests/unit/test_quotas.py"
LISTENER = f"{BROKER}/listener.py"
HTTP = "tests/web/test_hostile_http.py"

UNDECIDED, RECEPTION, RPC = f"{BROKER}/shards/undecided.py", f"{BROKER}/shards/reception.py", f"{BROKER}/rpc/agents.py"
WAITS = "tests/fire/test_undecided.py"

MUTANTS = (
    Mutant("agents may report without end while nothing is decided", UNDECIDED, "waiting + count > MOST or ", "", f"{WAITS} -k not_heard"),
    Mutant("results that wait are not bounded in bytes", UNDECIDED, " or size + more > MOST_BYTES", "", f"{WAITS} -k bytes"),
    Mutant("what was never told is held against its agent", f"{BROKER}/shards/owner.py", "self.undecided.forget()", "pass", f"{WAITS} -k never_told"),
    Mutant("outcomes that are decided count for ever", f"{BROKER}/shards/owner.py", "self.undecided.told(sink.agent_id, len(job_ids))", "pass", f"{WAITS} -k not_heard"),
    Mutant(
        "outcomes that the ledger decides count for ever",
        f"{BROKER}/shards/refill.py",
        "owner.undecided.told(ending.sink.agent_id, 1)",
        "pass",
        f"{WAITS} -k not_heard",
    ),
    Mutant(
        "outcomes that are kept once count twice",
        f"{BROKER}/shards/doors.py",
        "            owner.undecided.told(ending.sink.agent_id, 1)",
        "            pass",
        "tests/fire/test_doors.py -k everybody_is_answered",
    ),
    Mutant("a lease that is given back twice is queued twice", RECEPTION, "if live.missed != GIVEN_BACK:", "if True:", f"{WAITS} -k queued_once"),
    Mutant(
        "leases of another epoch are given back",
        RECEPTION,
        "live.seq == epoch and live.state is State.PROCESSING:\n",
        "live.state is State.PROCESSING:\n",
        f"{WAITS} -k queued_once",
    ),
    Mutant(
        "a message may have any number of outcomes", RPC, "+ len(message.completions.job_ids)) > MAX_OUTCOMES:", "* 0) > MAX_OUTCOMES:", f"{WAITS} -k no_more_outcomes"
    ),
    Mutant("a message may name any number of things", f"{BROKER}/rpc/convert.py", "    if len(values) > most:\n", "    if False:\n", "tests/rpc/test_floods.py"),
    Mutant("a message may have any number of log lines", f"{BROKER}/rpc/agent_messages.py", "    if count > MAX_LINES:\n", "    if False:\n", "tests/rpc/test_floods.py"),
    Mutant(
        "a Hello changes types before it is looked at",
        RPC,
        "        hello, domain = first.hello, caller.domain\n",
        "        hello, domain = first.hello, caller.domain\n        await self._served(owner, caller, hello)\n",
        "tests/rpc/test_floods.py -k refused_has_changed",
    ),
    Mutant("who is no agent waits for the database", RPC, "        if sink.agent_id:", "        if True:", f"{WAITS} -k no_agent"),
    Mutant(
        "the HTTP listener waits for its peers for ever",
        LISTENER,
        "self._now() - connection.since > getattr(self._bounds, connection.wanted)",
        "False",
        f"{HTTP} -k keeps_the_broker_waiting",
    ),
    Mutant("a request that came in does not begin a new wait", LISTENER, " or self.cycle is not self._request:", ":", f"{HTTP} -k again_and_again"),
    Mutant(
        "pages that the broker works on are waited for",
        LISTENER,
        '"SEND_BODY": Wanted.BODY}',
        '"SEND_BODY": Wanted.BODY, "DONE": Wanted.BODY}',
        f"{HTTP} -k silent_body",
    ),
    Mutant("answers may be left untaken", LISTENER, "if self.transport.get_write_buffer_size() or", "if", f"{HTTP} -k deaf"),
    Mutant("an end that is not answered takes a place", LISTENER, "_size() or self.transport.is_closing():", "_size():", f"{HTTP} -k was_ended_for"),
    Mutant("the HTTP listener takes any number of connections", LISTENER, "if len(self.open) >= self._bounds.connections and", "if False and", f"{HTTP} -k all_places"),
    Mutant(
        "those who have just come make room", LISTENER, "key=lambda connection: connection.since)", "key=lambda connection: -connection.since)", f"{HTTP} -k all_places"
    ),
    Mutant("half a handshake may take its time", LISTENER, "            self.beginning.cancel()\n", "            pass\n", f"{HTTP} -k handshake"),
    Mutant("who leaves in the middle of a form is an error", f"{BROKER}/http.py", "= {ClientDisconnect: left}", "= {}", f"{HTTP} -k leaves"),
    Mutant(
        "gRPC never takes a new certificate",
        SERVER,
        "        if found == used:\n            return None",
        "        if True:\n            return None",
        f"{E2E} -k new_certificate",
    ),
    Mutant("the pages keep the old certificate", TLS, "        connection.context = self.loaded.context", "        pass", f"{E2E} -k new_certificate"),
    Mutant("a key of another certificate is taken", TLS, "if _public(key.public_key()) != _public(leaf.public_key()):", "if False:", f"{FILES} -k no_good"),
    Mutant("certificates that have expired are taken", TLS, "if certificate.not_valid_after_utc <= now:", "if False:", f"{FILES} -k outside_of_their_time"),
    Mutant("anybody's certificate is a CA", TLS, "if basic is None or not basic.ca:", "if False:", f"{FILES} -k no_good"),
    Mutant("a bad certificate is told again and again", TLS, "self._seen = seen  # told; until they change again", "pass", f"{FILES} -k told_once"),
    Mutant(
        "revoked certificates are taken",
        PEERS,
        "if holder.ended or self._revocations.holds(holder.serial, holder.fingerprint):",
        "if False:",
        f"{IDENTITY} -k revoked_or_has_expired",
    ),
    Mutant("streams outlive their certificate", PEERS, "if holder.watchers and (holder.until", "if False and (holder.until", f"{IDENTITY} -k revoked_or_has_expired"),
    Mutant("a certificate may name several", NAMED, "if len(found) > 1:", "if False:", f"{IDENTITY} -k says_who_calls"),
    Mutant("a token does more than the certificate", GATE, "                principals.append(principal_of(holder.identity))\n", "", f"{IDENTITY} -k token_too"),
    Mutant("a certificate does more than the token", GATE, "        principals.append(found.principal)\n", "", f"{IDENTITY} -k token_too"),
    Mutant("an agent takes any name", f"{BROKER}/rpc/agents.py", "and not identity.is_agent(name):", "and False:", f"{IDENTITY} -k says_who_calls"),
    Mutant(
        "one domain's administrator revokes certificates", f"{BROKER}/rpc/certificates.py", "    if not sees_all_domains():", "    if False:", f"{IDENTITY} -k token_too"
    ),
    Mutant(
        "revocations of other brokers are not read",
        f"{BROKER}/actions/certificates.py",
        'await keep_fresh(self.refresh, "revoked certificates", log, away=self._tell)',
        "pass",
        f"{IDENTITY} -k revoked_or",
    ),
    Mutant("handshakes may last", CONNECTIONS, '("grpc.server_handshake_timeout_ms", _ms(limits.handshake_timeout_s)),', "", f"{HOSTILE} -k handshake"),
    Mutant("pings may come as they like", CONNECTIONS, '("grpc.http2.max_ping_strikes", 2)', '("grpc.http2.max_ping_strikes", 0)', f"{HOSTILE} -k misuse"),
    Mutant("calls over a connection have no limit", CONNECTIONS, "limits.streams_limit", "1000", f"{HOSTILE} -k misuse"),
    Mutant("messages may be as large as sent ones", CONNECTIONS, "limits.message_limit_bytes", "SEND_LIMIT", f"{HOSTILE} -k misuse"),
    Mutant("there may be any number of connections", CONNECTIONS, "if limits.connections_limit:", "if False:", f"{HOSTILE} -k misuse"),
    Mutant("idle connections stay", CONNECTIONS, "if limits.connection_idle_s:", "if False:", f"{HOSTILE} -k misuse"),
    Mutant("old connections stay", CONNECTIONS, "if limits.connection_age_s:", "if False:", f"{HOSTILE} -k old_connections"),
    Mutant("heartbeats are answered by pings", CONNECTIONS, '("grpc.http2.bdp_probe", 0)', '("grpc.http2.bdp_probe", 1)', f"{HOSTILE} -k brings_no_ping"),
    Mutant("little may be under way to the broker", CONNECTIONS, "= 1024 * 1024", "= 65_535", f"{HOSTILE} -k brings_no_ping"),
    Mutant("quotas refuse nothing", QUOTAS, "            if level <= 0:", "            if False:", f"{BUCKETS} -k burst"),
    Mutant("quotas save up without end", QUOTAS, "min(rate * BURST_S, level + (now - at) * rate)", "level + (now - at) * rate", f"{BUCKETS} -k burst"),
    Mutant("buckets are remembered without end", QUOTAS, "while len(self._buckets) > REMEMBERED:", "while False:", f"{BUCKETS} -k remembered"),
    Mutant("calls pay nothing", GUARD, "quotas.take(TOKEN.get(), convert.domain_of(context), sized.size)", "pass", f"{HOSTILE} -k quotas"),
    Mutant("domains have no quota of bytes", QUOTAS, "limits.domain_bytes_per_s, float(size))]", "0.0, 0.0)]", f"{HOSTILE} -k quotas_of_a_domain"),
    Mutant("streams pay nothing", GUARD, "await quotas.wait(who, domain, sized.size)", "pass", f"{HOSTILE} -k quotas"),
    Mutant(
        "an agent gives back leases of others",
        f"{BROKER}/shards/reception.py",
        "if live is not None and live.seq == epoch and live.agent_id != session.agent_id:",
        "if False:",
        f"{AGENT} -k changes_nothing",
    ),
    Mutant(
        "an agent notes steps of others' aborts",
        f"{BROKER}/shards/aborts.py",
        "    if live.agent_id != session.agent_id:",
        "    if False:",
        f"{AGENT} -k changes_nothing",
    ),
    Mutant(
        "an agent contests leases of others",
        f"{BROKER}/shards/doors.py",
        "            if _is_foreign(owner, ending):\n                return False\n",
        "",
        f"{AGENT} -k changes_nothing",
    ),
    Mutant(
        "an agent leaves evidence on attempts of others",
        f"{BROKER}/shards/refill.py",
        "if ending.sink is not None and agent_id != ending.sink.agent_id:",
        "if False:",
        f"{AGENT} -k changes_nothing",
    ),
    Mutant("an agent ends what others lost", ENDINGS, "if late and live is not None and live.agent_id != ending.sink.agent_id:", "if False:", f"{AGENT} -k late_outcome"),
    Mutant(
        "lines for leases to come close them",
        f"{BROKER}/store/log_limits.py",
        "            if usage.holder_id is None:",
        "            if False:",
        f"{AGENT} -k changes_nothing",
    ),
    Mutant(
        "a database URL that cannot be read is tried",
        f"{BROKER}/config.py",
        "elif self.database_url is not None and not is_readable(self.database_url):",
        "elif False:",
        "tests/unit/test_addresses.py -k without_being_shown",
    ),
    Mutant(
        "the relay shows what it cannot read of a URL",
        "client/headrace_client/cli/outbox.py",
        "str(error) if isinstance(error, asyncpg.ClientConfigurationError) else UNREADABLE",
        "str(error)",
        "tests/unit/test_addresses.py -k relay",
    ),
)
