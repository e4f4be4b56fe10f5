"""The SQL doors and the inbox behind them."""

from tests.mutants.mutant import Mutant

LEDGER = "broker/headrace_broker/store/ledger.py"
INBOX = "broker/headrace_broker/store/inbox.py"
READ = "broker/headrace_broker/store/sql/queries/inbox_read.sql"
MIGRATION = "broker/headrace_broker/store/sql/migrations/0014_inbox.sql"
READER = "broker/headrace_broker/rpc/doors.py"
COMPLETE = "broker/headrace_broker/store/sql/migrations/0015_complete.sql"
DOORS = "broker/headrace_broker/shards/doors.py"
RERUNS, FIRE = "broker/headrace_broker/shards/reruns.py", "tests/fire/test_doors.py"
OUTCOMES = "agent/headrace_agent/outcomes.py"
WATCH = "broker/headrace_broker/maintenance/watch_doors.py"
OUTBOX = "client/headrace_client/outbox.py"
ONCE = "agent/headrace_agent/doors.py"
DONE = "tests/doors/test_complete.py"
SUBMIT = "tests/doors/test_submit.py"
KILLS = "tests/doors/test_submit_kills.py"
LIST = "broker/headrace_broker/store/sql/queries/door_list.sql"
OPEN = "tests/doors/test_open_doors.py"
VIEWS = "broker/headrace_broker/store/sql/migrations/0033_views.sql"

MUTANTS = (
    Mutant(
        "locks that were taken in vain are kept",
        "broker/headrace_broker/shards/flusher.py",
        "            self.ledger.abandon()  # some may have been",
        "            # some may have been",
        "tests/fire/test_rounds_ahead.py -k locks_of_jobs_fall",
    ),
    Mutant(
        "a job that was to run again is forgotten with the broker that knew of it",
        "broker/headrace_broker/shards/doors.py",
        "    await chunk.reruns.begin_unknown(heads, chunk.completions)\n",
        "",
        "tests/fire/test_doors.py",
    ),
    Mutant(
        "what runs again after its completion does so although only a failed run was to",
        RERUNS,
        "            if wish is None or not wish.include_completed:",
        "            if wish is None:",
        "tests/fire/test_doors.py",
    ),
    Mutant(
        "a job runs again although another one has its unique key since it completed",
        RERUNS,
        "if holder is not None or name in self._moved:",
        "if name in self._moved:",
        f"{FIRE} -k took_its_unique_key",
    ),
    Mutant(
        "a unique key that is taken while the inbox is read is overlooked",
        RERUNS,
        "if holder is not None or name in self._moved:",
        "if holder is not None:",
        f"{FIRE} -k took_its_unique_key",
    ),
    Mutant(
        "a lease that was claimed while its end waited for a lock ends",
        "broker/headrace_broker/shards/endings.py",
        "if ending.unclaimed and live.session is not None and not live.session.lost:",
        "if False:",
        f"{FIRE} -k waits_for_a_transaction_goes_on",
    ),
    Mutant(
        "what is found of a lease since nobody had claimed it is passed over",
        DOORS,
        "if endings and endings[0].unclaimed:",
        "if False:",
        f"{FIRE} -k waits_for_a_transaction_goes_on",
    ),
    Mutant(
        "a lease that was claimed while its end waited for a lock never ends",
        "broker/headrace_broker/shards/endings.py",
        "if ending.unclaimed and live.session is not None and not live.session.lost:",
        "if ending.unclaimed and live.session is not None:",
        f"{FIRE} -k waits_for_a_transaction_goes_on",
    ),
    Mutant("a new run after a completion does not hold its unique key", RERUNS, "        round_.batch.claims[name] = done.job_id\n", "", f"{FIRE} -k back_from_a_holder"),
    Mutant("nobody is told that a job does not run again", RERUNS, "        self.refused.append(", "        bool(", f"{FIRE} -k took_its_unique_key"),
    Mutant(
        "a job is changed between its completion by a transaction and the broker's notice of it",
        "broker/headrace_broker/shards/changes.py",
        "    if live is not None and head.seq > live.seq:",
        "    if False:",
        "tests/fire/test_doors.py",
    ),
    Mutant("inbox: what a refusal names cannot be stored", INBOX, "_storable(r.message)", "r.message", f"{SUBMIT} -k whatever_characters"),
    Mutant(
        "inbox: a domain that cannot be holds up all",
        DOORS,
        "    except REFUSED_VALUES as error:\n",
        "    except ZeroDivisionError as error:\n",
        f"{SUBMIT} -k no_door_would_write",
    ),
    Mutant(
        "inbox: an epoch that cannot be holds up all",
        "broker/headrace_broker/store/sql/queries/inbox_completions.sql",
        "u.lease_epoch::bigint + 1",
        "u.lease_epoch + 1",
        f"{SUBMIT} -k no_door_would_write",
    ),
    Mutant(
        "inbox: a domain that cannot be holds up all shards",
        DOORS,
        "    except REFUSED_VALUES:\n",
        "    except ZeroDivisionError:\n",
        "tests/fire/test_two_shards.py -k cannot_be",
    ),
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
    Mutant("inbox: numbers of another server's transactions are believed", INBOX, 'if row is not None and row["foreign"]:', "if False:", f"{SUBMIT} -k restored"),
    Mutant("inbox: it is adopted within the time of a read", INBOX, 'await con.execute("set local statement_timeout = 0")', "pass", f"{SUBMIT} -k however_long"),
    Mutant("inbox: a unique job that is read again has no key of its own", READER, "if not spec.idempotency_key:", "if False:", f"{KILLS} -k either_side"),
    Mutant(
        "door: anybody may submit",
        MIGRATION,
        "revoke execute on function headrace.submit_job(",
        "-- revoke execute on function headrace.submit_job(",
        f"{SUBMIT} -k role_needs",
    ),
    Mutant("inbox: a job is tied to whatever it names", READER, "        await self._find_tied(owner, heads, row.domain, [spec])\n", "", f"{SUBMIT} -k names_others"),
    Mutant("inbox: what is said at any length is read", READER, "if len(row.spec) > SPEC_LIMIT:", "if False:", f"{SUBMIT} -k refused_unread"),
    Mutant("inbox: what is said beside payloads takes no room", READ, " + coalesce(pg_column_size(spec), 0)", "", f"{SUBMIT} -k read_at_once"),
    Mutant(
        "inbox: rows of another server's transactions are believed where the cursor is old",
        "broker/headrace_broker/store/sql/queries/inbox_cursor.sql",
        "\n       or exists (select from headrace.inbox where xid >= pg_snapshot_xmax(pg_current_snapshot()))",
        "",
        f"{SUBMIT} -k restored",
    ),
    Mutant("doors: locks of other programs hide them", LIST, "where (\n", "where $3::int = 1 or (\n", f"{OPEN} -k hide"),
    Mutant("doors: those of other users are open for ever", INBOX, 'if r["open_s"] is None else r["open_s"]', 'if False else r["open_s"]', f"{OPEN} -k may_not_see"),
    Mutant("doors: prepared transactions are none", VIEWS, "and p.database = current_database()", "and false", f"{OPEN} -k prepared"),
    Mutant(
        "view: a job that runs again waits for its first time",
        VIEWS,
        "case when e.seq is null then j.available_at else e.available_at end",
        "coalesce(e.available_at, j.available_at)",
        "tests/rpc/test_lifecycle.py -k the_view_says",
    ),
    Mutant("view: an error is gone once its job is changed", VIEWS, "as delete_at, f.error", "as delete_at, e.error", "tests/rpc/test_lifecycle.py -k the_view_says"),
    Mutant("door: a job is completed without its lock", COMPLETE, "perform pg_advisory_xact_lock(job_id);", "", f"{DONE} -k forgotten_lease"),
    Mutant(
        "inbox: a row that cannot be read ends the broker",
        READER,
        "        except Exception as error:  #",
        "        except KeyError as error:  #",
        f"{SUBMIT} -k holds_up",
    ),
    Mutant(
        "contested: what is said again is not answered",
        DOORS,
        "if all(other.sink is not ending.sink for other in endings):",
        "if not endings:",
        "tests/fire/test_doors.py -k everybody_is_answered",
    ),
    Mutant("contested: an abort by force does not ask", DOORS, "self.busy.add(job_id)", "pass", f"{DONE} -k by_force"),
    Mutant("agent: a committed transaction is not told as one", OUTCOMES, "    if committed:\n", "    if False:\n", f"{DONE} -k an_exception"),
    Mutant("once: an effect is repeated", ONCE, "if await database.row(_BEGIN, *place, ctx.lease_epoch) is None:", "if False:", f"{DONE} -k elsewhere"),
    Mutant("outbox: rows that are relayed stay", OUTBOX, "await con.execute(_DELETE, submitted)", "pass", "tests/doors/test_outbox.py -k everything"),
    Mutant("outbox: rows have no key", OUTBOX, "key=f\"outbox:{row['key']}\", ", "", "tests/doors/test_outbox.py -k twice"),
    Mutant(
        "outbox: the relay never looks from the start",
        OUTBOX,
        "self._after, from_start = 0, loop.time()",
        "from_start = loop.time()",
        "tests/doors/test_outbox.py -k late",
    ),
    Mutant("doors: an alert is raised again and again", WATCH, "self._said.add((door.job_id, door.pid))", "raised += 1", f"{DONE} -k forgotten_lease"),
    Mutant(
        "doors: refusals keep results",
        "broker/headrace_broker/maintenance/tidy_inbox.py",
        "            if over:\n",
        "            if not deleted:\n",
        "tests/store/test_trim.py -k although_refusals",
    ),
    Mutant(
        "doors: results that are too young are passed for an hour",
        "broker/headrace_broker/maintenance/tidy_inbox.py",
        "            if over:\n                break\n            self._result = last\n",
        "            self._result = last\n            if over:\n                break\n",
        "tests/store/test_trim.py -k although_refusals",
    ),
)
