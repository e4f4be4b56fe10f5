"""Running it: phases of migrations, roles, the doctor, spans."""

from tests.mutants.mutant import Mutant

MIGRATE = "broker/headrace_broker/store/migrate.py"
QUERIES = "broker/headrace_broker/store/sql/queries"
DOCTOR = "broker/headrace_broker/doctor.py"
PHASES = "tests/store/test_migrate.py -k takes_away"
ROLES = "tests/store/test_roles.py -k each_role"

MUTANTS = (
    Mutant(
        "what takes away does not look for older brokers",
        MIGRATE,
        "                    await _refuse_old_brokers(con, migration)\n",
        "                    pass\n",
        PHASES,
    ),
    Mutant(
        "a life that has not its lock yet is not seen",
        f"{QUERIES}/migration_old_lives.sql",
        "and a.application_name = 'headrace flush'",
        "and a.application_name = 'nobody'",
        PHASES,
    ),
    Mutant("an idle connection's lock is not seen", f"{QUERIES}/migration_old_lives.sql", "k.locktype = 'advisory' and k.granted", "false", PHASES),
    Mutant(
        "lives begin while something is taken away", f"{QUERIES}/migration_lock_lives.sql", "share row exclusive", "row share", "tests/store/test_migrate.py -k meanwhile"
    ),
    Mutant(
        "an old broker lives on what was taken away",
        f"{QUERIES}/life_begin.sql",
        "and not exists (select from headrace.migration m where m.phase = 'post' and m.version > $3)",
        "and $3 > 0",
        PHASES,
    ),
    Mutant(
        "an older release migrates a newer schema",
        MIGRATE,
        "            if phase is Phase.POST:\n                raise",
        "            if False:\n                raise",
        PHASES,
    ),
    Mutant("what takes away is applied with what adds", MIGRATE, "        return missing[: additions[-1] + 1 if additions else 0]", "        return missing", PHASES),
    Mutant("what takes away goes first", MIGRATE, "if phase is Phase.POST and additions:", "if False:", PHASES),
    Mutant(
        "a migration waits for its locks as long as it takes",
        MIGRATE,
        "await con.execute(f\"set local lock_timeout = '{LOCK_TIMEOUT}'\")",
        "pass",
        "tests/store/test_migrate.py -k again_and_again",
    ),
    Mutant("the audit may be changed", f"{QUERIES}/roles_grant.sql", "item.relname in ('audit', 'access_grant', 'access_grant_end')", "false", ROLES),
    Mutant("the broker may rewrite migrations", f"{QUERIES}/roles_grant.sql", "elsif item.relname = 'migration' then", "elsif false then", ROLES),
    Mutant("functions stay everybody's", f"{QUERIES}/roles_grant.sql", "revoke execute on function %s from public", "grant execute on function %s to public", ROLES),
    Mutant("a pooler is taken for Postgres", DOCTOR, "    if pooled:\n", "    if False:\n", "tests/unit/test_doctor.py -k pooler"),
    Mutant("a server that loses commits is fine", DOCTOR, 'if getattr(server, name) == "off"]', "if not name]", "tests/unit/test_doctor.py"),
    Mutant("a standby is written to", DOCTOR, "    if server.read_only:\n", "    if False:\n", "tests/unit/test_doctor.py"),
    Mutant(
        "a span of a handler has no parent",
        "client/headrace_client/tracing.py",
        "TraceContextTextMapPropagator().extract({FIELD: trace_context})",
        "TraceContextTextMapPropagator().extract({})",
        "tests/agent/test_tracing.py -k leads",
    ),
    Mutant(
        "a page that was found before a rest is done after it",
        "broker/headrace_broker/shards/operations.py",
        "            if rests != self._rests:",
        "            if False:",
        "tests/fire/test_operations.py -k found_again",
    ),
    Mutant(
        "what was found before a rest is done after it",
        "broker/headrace_broker/shards/operations.py",
        "        if pace.rests != rests:\n",
        "        if False:\n",
        "tests/fire/test_operations.py -k earlier_search",
    ),
)
