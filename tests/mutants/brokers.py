"""Several brokers: what is passed on, for whom it is taken, and who does what is to be done once."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
FORWARD, ATTEST, ROUTES, STANDBY, GATE, AGENTS = (f"{BROKER}/rpc/{name}.py" for name in ("forward", "attest", "routes", "standby", "access", "agents"))
SESSION = "agent/headrace_agent/session.py"
LOOP, LEDGER, OWNERSHIP = f"{BROKER}/maintenance/loop.py", f"{BROKER}/store/ledger.py", f"{BROKER}/shards/ownership.py"
BROKERS, LISTED = f"{BROKER}/rpc/brokers.py", f"{BROKER}/store/sql/queries/brokers_list.sql"
SCRIPTED, PAIR, FENCES = "tests/rpc/test_forwarding.py", "tests/rpc/test_brokers.py", "tests/store/test_fences.py"

MUTANTS = (
    Mutant(
        "a call is passed on again and again",
        FORWARD,
        "        if key == FORWARDED_KEY:\n            raise",
        "        if False:\n            raise",
        f"{SCRIPTED} -k passed_on_again",
    ),
    Mutant("who is of one domain sees the brokers of all", BROKERS, "        if not sees_all_domains():", "        if False:", f"{PAIR} -k which_there_are"),
    Mutant(
        "brokers that have ended are listed",
        LISTED,
        "pg_locks k\njoin headrace.life l on l.life_id = k.objid::bigint\n",
        "(select distinct locktype, classid, objsubid, granted, database from pg_locks) k cross join headrace.life l\n",
        "tests/store/test_standing.py -k who_owns",
    ),
    Mutant("what a caller attests of itself is passed on", FORWARD, "key not in (FORWARDED_KEY, ATTESTED_KEY, ", "key not in (", f"{SCRIPTED} -k all_that_came"),
    Mutant("anybody attests", GATE, "        if uri is None:\n", "        if False:\n", f"{PAIR} -k nobody_but_a_broker"),
    Mutant("a seal is good for any identity", ATTEST, 'found.get(TOKEN_KEY, b""), said):', 'found.get(TOKEN_KEY, b"")):', f"{SCRIPTED} -k a_seal"),
    Mutant(
        "a seal is good for any token", ATTEST, 'found.get(DOMAIN_KEY, b""), found.get(TOKEN_KEY, b""), said', 'found.get(DOMAIN_KEY, b""), said', f"{SCRIPTED} -k a_seal"
    ),
    Mutant("a seal is good for any call", ATTEST, "(method.encode(), found", '(b"", found', f"{SCRIPTED} -k a_seal"),
    Mutant("the caller's certificate is not attested", FORWARD, 'identity.name if identity is not None else ""', '""', f"{PAIR} -k every_kind"),
    Mutant("a lost answer is taken for nothing done", FORWARD, "details.lower():", "details.lower() or True:", f"{SCRIPTED} -k answer_is_lost"),
    Mutant("why an owner ended a stream is hidden", FORWARD, "error = await end.instead_of(raised)", "error = raised", "tests/rpc/test_stream_ends.py -k stands_by"),
    Mutant("calls to a former owner wait for ever", ROUTES, "            await route.channel.close()", "            pass", f"{SCRIPTED} -k hangs"),
    Mutant("a call that a former owner did not answer is merely cancelled", FORWARD, "    if route.left and not", "    if False and not", f"{SCRIPTED} -k hangs"),
    Mutant("any number of calls is held", FORWARD, "if self._held >= HELD:", "if False:", f"{SCRIPTED} -k room"),
    Mutant(
        "an agent's second stream takes the first one's place for ever", AGENTS, "known is not None and known.stream is not None:", "False:", f"{PAIR} -k passed_on_once"
    ),
    Mutant("an agent starts what a former owner assigns", SESSION, "        if self.overtaken:\n", "        if False:\n", "tests/agent/test_leases.py -k former_owner"),
    Mutant(
        "an agent that is asked again does not turn from its other streams",
        SESSION,
        "                    self._overtake()\n",
        "",
        "tests/agent/test_leases.py -k asks_again",
    ),
    Mutant(
        "a broker that was wrong is believed for ever", SESSION, "            if self.doubted:\n", "            if False:\n", "tests/agent/test_leases.py -k was_wrong"
    ),
    Mutant(
        "what a Hello does not name was not begun",
        AGENTS,
        "if not told and reception.unnamed(",
        "if False and reception.unnamed(",
        "tests/rpc/test_agent_stream.py -k asked_once",
    ),
    Mutant("an agent is asked for ever", AGENTS, "told = first.number > 1 or", "told =", "tests/rpc/test_agent_stream.py -k asked_once"),
    Mutant("a woken owner does its duties", LOOP, "if not await ownership.owns():", "if False:", f"{FENCES} -k a_duty"),
    Mutant(
        "a life that ends by itself wakes nobody", LEDGER, 'await self._con.execute(sql("life_leave"), LIFE_LOCKS, self.life_id)', "pass", f"{FENCES} -k ends_by_itself"
    ),
    Mutant("a certificate that names no host is a defect", ROUTES, "    except x509.ExtensionNotFound:\n", "    except ZeroDivisionError:\n", f"{SCRIPTED} -k no_good"),
    Mutant("a certificate for no host is taken", ROUTES, "    if not hosts:\n", "    if False:\n", f"{SCRIPTED} -k no_good"),
)
