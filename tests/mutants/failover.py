"""A database that moves to another server."""

from tests.mutants.mutant import Mutant

DATABASE = "broker/headrace_broker/store/database.py"
LEDGER = "broker/headrace_broker/store/ledger.py"
OWNERSHIP = "broker/headrace_broker/shards/ownership.py"
APP, TYPES = "broker/headrace_broker/app.py", "broker/headrace_broker/shards/types.py"
LOST = "tests/fire/test_set_back.py -k believes"
STORE, FENCES, MOVES = "tests/store/test_database.py", "tests/store/test_fences.py", "tests/e2e/test_failover.py"

MUTANTS = (
    Mutant(
        "types that a standby lost are known on",
        TYPES,
        "                del self.by_id[type_id], self._by_name[entry.domain, entry.name]\n",
        "                pass\n",
        LOST,
    ),
    Mutant(
        "settings that a standby lost are in force",
        TYPES,
        "                entry.changed_at = row.changed_at\n                self._put(row)\n",
        "                pass\n",
        LOST,
    ),
    Mutant(
        "a flush at a standby is sent again and again",
        LEDGER,
        "    asyncpg.ReadOnlySQLTransactionError,  # the server has become a standby: another one takes writes\n",
        "",
        f"{FENCES} -k read_only",
    ),
    Mutant("a frozen server is waited for", DATABASE, "timeout=STAGGER_S if waiting else None", "timeout=None", f"{STORE} -k frozen"),
    Mutant("the server that answered does not come first", DATABASE, "self._servers.sort(key=lambda each: each != server)", "pass", f"{STORE} -k frozen"),
    Mutant("a standby is taken for the database", DATABASE, "target_session_attrs=READ_WRITE, ", "", f"{STORE} -k takes_no_writes"),
    Mutant("connections to a former primary are kept", DATABASE, "            self._let_go()\n", "", f"{STORE} -k lets_go"),
    Mutant("a former primary is believed", DATABASE, "if reached.timeline < newest:", "if False:", f"{STORE} -k former_primary_is_passed_over"),
    Mutant("nobody asks whether the server is still there", APP, "else self._servers.follow()", "else asyncio.Event().wait()", MOVES),
    Mutant("lost facts are not noticed", LEDGER, "if await self.landed(*dead.acknowledged) is None:", "if False:", f"{FENCES} -k acknowledged_is_gone"),
    Mutant(
        "a life that stored nothing knows of no earlier facts", LEDGER, "            self.acknowledged = dead.acknowledged\n", "", f"{FENCES} -k acknowledged_is_gone"
    ),
    Mutant("a new life asks nobody for lost facts", OWNERSHIP, "await ledger.succeed(dead)", "pass", f"{FENCES} -k acknowledged_is_gone"),
)
