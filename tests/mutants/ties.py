"""What keeps a unique key with one live job, and a job with what it depends on."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
QUERIES = "broker/headrace_broker/store/sql/queries"
KEYED, CHANGES, LEDGER = f"{SHARDS}/keyed.py", f"{SHARDS}/changes.py", "broker/headrace_broker/store/ledger.py"
FLUSH, CLAIM = f"{QUERIES}/flush_keyed.sql", f"{QUERIES}/unique_claim.sql"
STORED = "tests/store/test_ledger.py"
KEYS = "tests/client/test_keys.py"

MUTANTS = (
    Mutant("a unique key is taken from a live job", FLUSH, " where not headrace.is_live(held.job_id)", "", f"{STORED} -k from_no_other"),
    Mutant("a unique key is never given back", FLUSH, "where not headrace.is_live(held.job_id)", "where false", f"{STORED} -k from_no_other"),
    Mutant(
        "a refused job leaves its idempotency key behind",
        FLUSH,
        " and (unique_key is null or exists (select from won w where w.job_id = f.job_id))\n    order by",
        "\n    order by",
        f"{STORED} -k from_no_other",
    ),
    Mutant(
        "a known idempotency key takes the unique key",
        FLUSH,
        "    where g.unique_key is null or g.key is null or not exists (",
        "    where true or not exists (",
        f"{STORED} -k from_no_other",
    ),
    Mutant("a job that is live again takes any key", CLAIM, " where held.job_id = excluded.job_id or not headrace.is_live(held.job_id)", "", f"{STORED} -k live_again"),
    Mutant("a claim that failed goes unnoticed", LEDGER, ") < len(claims):", ") < 0:", f"{STORED} -k live_again"),
    Mutant("a requeue takes no unique key", CHANGES, "        round_.batch.claims[name] = head.job_id\n", "", f"{KEYS} -k taken_meanwhile"),
    Mutant("a requeue does not look who has its key", CHANGES, "if holder is not None and holder != head.job_id:", "if False:", f"{KEYS} -k taken_meanwhile"),
    Mutant("two requeues of one round share a key", CHANGES, "        owner.keyed.note_moved(name)\n", "", f"{KEYS} -k taken_meanwhile"),
    Mutant("who else took the key is not noted", KEYED, "            self.note_moved(keyed.unique_name)\n", "            pass\n", "tests/fire/test_keys.py -k between"),
    Mutant("a unique key twice in one flush", KEYED, "            leader = same_key or same_unique\n", "            leader = same_key\n", f"{KEYS} -k thousand"),
    Mutant("a refusal is an answer", KEYED, "elif unique_holder is not None and keyed.return_holder:", "elif unique_holder is not None:", f"{KEYS} -k free_again"),
    Mutant("followers are left waiting", KEYED, "        for leader, keyed in round_.followers:\n", "        for leader, keyed in []:\n", f"{KEYS} -k thousand"),
)
