"""Tokens, roles, domains and the audit."""

from tests.mutants.mutant import Mutant

GATE = "broker/headrace_broker/rpc/access.py"
CONVERT = "broker/headrace_broker/rpc/convert.py"
TABLE = "broker/headrace_broker/actions/tokens.py"
FRESH = "broker/headrace_broker/actions/fresh.py"
GUARD = "broker/headrace_broker/rpc/interceptors.py"
CALLERS = "broker/headrace_broker/rpc/callers.py"
ENDINGS = "broker/headrace_broker/shards/endings.py"
LEDGER = "broker/headrace_broker/store/ledger.py"
QUERIES = "broker/headrace_broker/store/sql/queries"
ACCESS = "tests/rpc/test_access.py"
AUDIT = "tests/rpc/test_audit.py"
PERMISSIONS = "tests/rpc/test_permissions.py"
SET_BACK, LATER = "tests/fire/test_set_back.py", "greatest(clock_timestamp(), {}changed_at + interval '1 microsecond')"
A_MINUTE = "least($1, now() - interval '1 minute')"

MUTANTS = (
    Mutant("a token revoked by a clock that was set back is taken", f"{QUERIES}/token_revoke.sql", LATER.format(""), "clock_timestamp()", f"{SET_BACK} -k tokens"),
    Mutant("settings of a clock that was set back are older", f"{QUERIES}/type_override.sql", LATER.format("t."), "clock_timestamp()", f"{SET_BACK} -k settings"),
    Mutant("other brokers miss tokens revoked by a clock that was set back", f"{QUERIES}/token_list.sql", A_MINUTE, "$1", f"{SET_BACK} -k tokens"),
    Mutant("other brokers miss types made by a clock that was set back", f"{QUERIES}/type_list.sql", A_MINUTE, "$1", f"{SET_BACK} -k settings"),
    Mutant("certificates revoked by a clock that was set back are missed", f"{QUERIES}/certificate_list.sql", A_MINUTE, "$1", f"{SET_BACK} -k grants"),
    Mutant("grants ended by a clock that was set back are missed", f"{QUERIES}/grant_changed.sql", f"ended_at > {A_MINUTE}", "ended_at > $1", f"{SET_BACK} -k grants"),
    Mutant("sessions ended by a clock that was set back are missed", f"{QUERIES}/web_session_changed.sql", A_MINUTE, "$1", f"{SET_BACK} -k sessions"),
    Mutant(
        "the checkpoint of an older attempt is handed on",
        f"{QUERIES}/bodies.sql",
        "    order by n.lease_epoch desc, age(n.xmin), n.at desc limit 1\n) c on true",
        "    order by n.at desc limit 1\n) c on true",
        f"{SET_BACK} -k newer_attempt",
    ),
    Mutant("any role may call anything", GATE, "    if not types:\n", "    if False:\n", f"{ACCESS} -k each_role"),
    Mutant("any domain will do", GATE, "if stranger is not None and stranger.domain not in (None, may.domain):", "if False:", f"{ACCESS} -k denied_in_others"),
    Mutant("two domains will do", CONVERT, "if named is not None and value != named:", "if False:", f"{ACCESS} -k names_two_domains"),
    Mutant("no token will do", GATE, "            raise TokenMissing\n", '            secret = secret or "hr_"\n', f"{ACCESS} -k without_a_valid"),
    Mutant("a token is named as people are", TABLE, "if name.lower().startswith(PEOPLE):", "if False:", f"{ACCESS} -k name_as_it_does_people"),
    Mutant("expired tokens are taken", TABLE, "if found.until <= asyncio.get_running_loop().time():", "if False:", f"{ACCESS} -k rotated_token_has"),
    Mutant("revoked tokens are taken", TABLE, "        if row.revoked_at is None:\n", "        if True:\n", f"{ACCESS} -k every_broker"),
    Mutant("replaced secrets are taken", TABLE, "self._secrets.pop(hash_).end()", "pass", f"{ACCESS} -k rotated_token_has"),
    Mutant(
        "other brokers' changes are not read",
        FRESH,
        "period_s=REFRESH_S, away=away)",
        "period_s=60, away=away)",
        f"{ACCESS} -k another_broker_revoked",
    ),
    Mutant("unknown secrets are not looked for", TABLE, "            await self._look_again()\n", "", f"{ACCESS} -k every_broker"),
    Mutant("unknown secrets are looked for without end", TABLE, "max(0.0, self._looked_at + AGAIN_S - loop.time())", "0.0", f"{ACCESS} -k no_call_reads"),
    Mutant("streams outlive their token", GATE, "            self._task.cancel()\n", "            pass\n", f"{ACCESS} -k calls_that_last"),
    Mutant(
        "a cancelled call is not told why",
        GATE,
        "            self._task.uncancel()\n            self.check()\n",
        "            pass\n",
        f"{ACCESS} -k calls_that_last",
    ),
    Mutant("streams outlive a secret that expires", TABLE, "if secret.watchers and secret.until <= now:", "if False:", f"{ACCESS} -k calls_that_last"),
    Mutant("a wait outlives its token", GUARD, "if method not in LONG:", "if True:", f"{ACCESS} -k calls_that_last"),
    Mutant(
        "the request is read before the token",
        GUARD,
        "admitted = await gate.admit(method, context)",
        "_parsed(request)\n                    admitted = await gate.admit(method, context)",
        f"{ACCESS} -k without_a_valid",
    ),
    Mutant("anybody acts for somebody else", CALLERS, "if on_behalf_of and not reach.types_for(Act.ACT_FOR):", "if False:", f"{ACCESS} -k act_for_somebody"),
    Mutant("who acts for somebody does so for every type", CALLERS, "        reach.for_somebody()\n", "        pass\n", f"{PERMISSIONS} -k for_some_types"),
    Mutant(
        "on whose behalf a job is replaced is asked for after the right to it",
        "broker/headrace_broker/rpc/submit.py",
        """        replacer = caller_of(context) if convert.replaces(spec) else None  # first: on whose behalf it is may narrow what it may do
        require(Act.SUBMIT, spec.type, "type")
""",
        """        require(Act.SUBMIT, spec.type, "type")
        replacer = caller_of(context) if convert.replaces(spec) else None
""",
        f"{PERMISSIONS} -k replaces_no_jobs",
    ),
    Mutant(
        "what is about all types is done for somebody",
        "broker/headrace_broker/actions/reach.py",
        "    if may.whole:\n",
        "    if False:\n",
        f"{PERMISSIONS} -k for_some_types",
    ),
    Mutant("with a token the caller chooses its name", CALLERS, "return Caller(token.name, ", "return Caller(actor, ", f"{ACCESS} -k names_tokens"),
    Mutant("one domain's administrator makes tokens for all", CALLERS, "if not sees_all_domains():", "if False:", f"{ACCESS} -k only_administrators"),
    Mutant(
        "the old secret outlives its expiry",
        f"{QUERIES}/token_rotate.sql",
        "least(clock_timestamp() + make_interval(secs => $3::double precision), expires_at)",
        "clock_timestamp() + make_interval(secs => $3::double precision)",
        f"{ACCESS} -k rotated_token_has",
    ),
    Mutant(
        "completions of another agent's leases count",
        ENDINGS,
        " or live.agent_id != agent_id:",
        ":",
        "tests/rpc/test_hostile_agent.py -k changes_nothing",
    ),
    Mutant(
        "outcomes of another agent's leases count",
        ENDINGS,
        "if ending.sink is not None and ending.sink.agent_id != live.agent_id:",
        "if False:",
        "tests/rpc/test_hostile_agent.py -k changes_nothing",
    ),
    Mutant(
        "log lines for another agent's leases are kept",
        "broker/headrace_broker/store/log_limits.py",
        "if usage.holder_id != batch.agent_id:",
        "if False:",
        f"{ACCESS} -k like_those",
    ),
    Mutant(
        "an agent takes another domain's incarnation",
        f"{QUERIES}/agent_add.sql",
        " where agent.domain_id = excluded.domain_id",
        "",
        f"{ACCESS} -k only_the_jobs_of_its_domain",
    ),
    Mutant(
        "the rows of the audit are a commit of their own",
        LEDGER,
        "                async with self._con.transaction():\n                    await self._claim",
        "                if True:\n                    await self._claim",
        f"{AUDIT} -k killed",
    ),
    Mutant(
        "settings and their row are two commits",
        "broker/headrace_broker/store/settings.py",
        """async with changing(self._pool) as con:
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["overrides"])""",
        """async with self._pool.acquire() as con:
            before = json.loads((await con.fetchrow(sql("type_lock"), type_id))["overrides"])""",
        f"{AUDIT} -k killed",
    ),
    Mutant(
        "a commit that is not answered has stored nothing",
        "broker/headrace_broker/store/pool.py",
        "            if not committing:\n",
        "            if True:\n",
        "tests/rpc/test_unanswered_commits.py -k said_to_be_unknown",
    ),
    Mutant(
        "an export of all domains goes on without the right to see them",
        "broker/headrace_broker/rpc/tokens.py",
        """        below = None
        while True:
            wanted = _filter(request.filter, context)  # each time: the right to see all domains may end meanwhile
""",
        """        below = None
        wanted = _filter(request.filter, context)
        while True:
""",
        "tests/rpc/test_permissions.py -k an_export",
    ),
    Mutant(
        "who asks about somebody is told of all domains",
        "broker/headrace_broker/actions/grants.py",
        "            if not elsewhere and not matches(",
        "            if False and not matches(",
        "tests/rpc/test_permissions.py -k told_of_grants",
    ),
    Mutant(
        "operations show the secrets that their filters name",
        "broker/headrace_broker/actions/operations.py",
        "    if not secret:\n        return operation\n",
        "    return operation\n",
        "tests/rpc/test_permissions.py -k without_the_secrets",
    ),
    Mutant(
        "changes of jobs leave no row",
        "broker/headrace_broker/shards/changes.py",
        "            _audit(round_, intent, head, before, state)\n",
        "            pass\n",
        f"{AUDIT} -k what_was_before",
    ),
    Mutant(
        "rows of the audit can be changed",
        "broker/headrace_broker/store/sql/migrations/0006_audit.sql",
        "before update or delete or truncate",
        "before update",
        f"{AUDIT} -k never_change",
    ),
    Mutant(
        "the audit of other domains is seen",
        "broker/headrace_broker/store/sql/queries/audit_list_target.sql",
        "domain = $1) and",
        "true) and",
        f"{ACCESS} -k rows_of_other",
    ),
)
