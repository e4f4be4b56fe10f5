"""What is done to jobs after their submission: requeues with descendants, keys that change hands, updates, aborts."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
DESCENTS, CHANGES, GRAPH, ACTION = f"{SHARDS}/descents.py", f"{SHARDS}/changes.py", f"{SHARDS}/graph.py", "broker/headrace_broker/actions/descents.py"
QUERIES, SINCE = "broker/headrace_broker/store/sql/queries", " and m.seq > coalesce(w.since, 0)"
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
    # batches
    Mutant("a callback that runs again is no callback", GRAPH, "if unmet is None or job_id in self.sealed:", "if unmet is None:", f"{STEPS} -k its_members_achieve"),
    Mutant("a callback is told that a member had completed once", GRAPH, "if not batch and completed >=", "if completed >=", f"{STEPS} -k although_it_had"),
)
