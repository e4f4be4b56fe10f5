"""What is done to jobs after their submission: requeues with descendants, keys that change hands, updates, aborts."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
DESCENTS, CHANGES, GRAPH, ACTION = f"{SHARDS}/descents.py", f"{SHARDS}/changes.py", f"{SHARDS}/graph.py", "broker/headrace_broker/actions/descents.py"
QUERIES, SINCE = "broker/headrace_broker/store/sql/queries", " and m.seq > coalesce(w.since, 0)"
REPLACING, OWNER, UPDATES = f"{SHARDS}/replacing.py", f"{SHARDS}/owner.py", f"{SHARDS}/updates.py"
ONE_BY_ONE, REPLACE = "tests/fire/test_replacing.py", "tests/client/test_replace.py"
BELOW, STEPS = "tests/fire/test_descents.py", "tests/fire/test_graph.py"

MUTANTS = (
    # a job and what failed below it
    Mutant("a job that had its turn runs at once", DESCENTS, "                found[other] = run\n", "                pass\n", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover forgets what a new run waits for", DESCENTS, "if waits_for is not None and waits_for != head.waits_for:", "if False:", f"{BELOW} -k had_its_turn"),
    Mutant("that it has completed once is enough", GRAPH, "        if max(waits_for.values()) > 1:\n", "        if False:\n", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover with a checkpoint takes a held job for one that had its turn", f"{QUERIES}/recover_heads.sql", SINCE, "", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover takes a held job for one that had its turn", f"{QUERIES}/recover_live.sql", SINCE, "", f"{BELOW} -k had_its_turn"),
    Mutant("a later requeue takes a held job for one that had its turn", f"{QUERIES}/heads.sql", SINCE, "", f"{BELOW} -k aborted_while"),
    Mutant("what is on its way already is not waited for", DESCENTS, "live.run if live is not None else 0", "0", f"{BELOW} -k that_wait_for_it"),
    Mutant("what waits in vain is requeued", DESCENTS, "if other in self.refused:", "if False:", f"{BELOW} -k could_not_be_requeued"),
    Mutant("what is left is forgotten", DESCENTS, "            self.refused.add(job_id)\n", "            pass\n", f"{BELOW} -k could_not_be_requeued"),
    Mutant("a callback runs at once", DESCENTS, "if head.job_id in self.members:", "if False:", f"{BELOW} -k its_batch_again"),
    Mutant("nobody waits for a decision", CHANGES, "if intent.descent is not None and intent.descent.must_wait(head.job_id):", "if False:", f"{BELOW} -k what_moves"),
    Mutant("what has completed below a job runs again", ACTION, "head.state in _FAILED and ", "", f"{BELOW} -k is_left_while"),
    Mutant("the audit has a row for each job", CHANGES, " or intent.descent is not None:  # nobody", ":  # nobody", f"{BELOW} -k is_left_while"),
    Mutant("the audit has a row for each portion", DESCENTS, "            self.audit = None\n", "            pass\n", f"{BELOW} -k portion"),
    Mutant("any number is requeued", ACTION, "    if len(below) > MAX_DESCENDANTS:\n", "    if False:\n", f"{BELOW} -k portion"),
    Mutant("any number of ties is gone through", ACTION, "    if len(ties) > MAX_TIES:\n", "    if False:\n", f"{BELOW} -k portion"),
    Mutant("all are requeued in one round", ACTION, "range(0, len(order), AT_ONCE)", "range(0, len(order), 10**9)", f"{BELOW} -k portion"),
    Mutant("the order is that of the ids", ACTION, "return list(sorter.static_order())", "return sorted(chosen)", f"{BELOW} -k comes_after"),
    # a key whose holder is replaced
    Mutant(
        "two calls replace a job in one round", REPLACING, "return live is not None and live.round == round_.number", "return False", f"{ONE_BY_ONE} -k in_their_order"
    ),
    Mutant(
        "calls that wait are decided in another order",
        OWNER,
        "self._changes.extendleft(reversed(later))",
        "self._changes.extendleft(later)",
        f"{ONE_BY_ONE} -k in_their_order",
    ),
    Mutant(
        "a running job is replaced",
        UPDATES,
        "    if live.state is not State.WAITING:\n        return live.state\n    held",
        "    held",
        f"{ONE_BY_ONE} -k in_their_order",
    ),
    Mutant(
        "a settled job is replaced",
        REPLACING,
        "if head is None or head.state not in (State.WAITING, State.PROCESSING):",
        "if head is None:",
        f"{ONE_BY_ONE} -k before_its_turn",
    ),
    Mutant(
        "a retry is brought forward",
        UPDATES,
        "max(available_at_s, live.available_at_s) if tried else available_at_s",
        "available_at_s",
        f"{ONE_BY_ONE} -k waits_for_a_retry",
    ),
    Mutant("a replaced job keeps its start time", UPDATES, " if tried else available_at_s", "", f"{REPLACE} -k every_version"),
    Mutant("a hold is lost", UPDATES, "keep_s_of(full), held)", "keep_s_of(full), False)", f"{REPLACE} -k every_version"),
    Mutant("the old payload runs", UPDATES, "    put_payload(round_, live, full.payload, intent.actor)\n", "", f"{REPLACE} -k every_version"),
    Mutant("any job is replaced", UPDATES, "if (entry, full.instance_id, terms) != (live.entry, head.instance_id, head.terms):", "if False:", f"{REPLACE} -k differs"),
    Mutant("replacing needs room", "broker/headrace_broker/rpc/replacing.py", "if not wish.spec.idempotency_key else 0", "if False else 0", f"{REPLACE} -k differs"),
    # batches
    Mutant("a callback that runs again is no callback", GRAPH, "if unmet is None or job_id in self.sealed:", "if unmet is None:", f"{STEPS} -k its_members_achieve"),
    Mutant("a callback is told that a member had completed once", GRAPH, "if not batch and completed >=", "if completed >=", f"{STEPS} -k although_it_had"),
)
