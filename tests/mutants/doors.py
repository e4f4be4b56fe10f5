"""The SQL doors and the inbox behind them."""

from tests.mutants.mutant import Mutant

LEDGER = "broker/headrace_broker/store/ledger.py"
INBOX = "broker/headrace_broker/store/inbox.py"
READ = "broker/headrace_broker/store/sql/queries/inbox_read.sql"
MIGRATION = "broker/headrace_broker/store/sql/migrations/0009_inbox.sql"
READER = "broker/headrace_broker/rpc/doors.py"
SUBMIT = "tests/doors/test_submit.py"
KILLS = "tests/doors/test_submit_kills.py"

MUTANTS = (
    Mutant(
        "inbox: what was taken is not stored with the jobs",
        LEDGER,
        'await self._con.execute(sql("inbox_take"), *beside.inbox.columns())',
        "pass",
        f"{SUBMIT} -k portions",
    ),
    Mutant(
        "inbox: transactions that end late are passed over",
        READ,
        "lateral pg_snapshot_xip(p.done)",
        "lateral pg_snapshot_xip('1:1:'::pg_snapshot)",
        f"{SUBMIT} -k left_open",
    ),
    Mutant("inbox: a part that was read is taken for the whole", INBOX, "if len(taken) == seen and seen < rows:", "if True:", f"{SUBMIT} -k portions"),
    Mutant("inbox: numbers of another server's transactions are believed", INBOX, 'if not row["foreign"]:', "if True:", f"{SUBMIT} -k restored"),
    Mutant("inbox: a unique job that is read again has no key of its own", READER, "if not spec.idempotency_key:", "if False:", f"{KILLS} -k either_side"),
    Mutant(
        "door: anybody may submit",
        MIGRATION,
        "revoke execute on function headrace.submit_job(",
        "-- revoke execute on function headrace.submit_job(",
        f"{SUBMIT} -k role_needs",
    ),
)
