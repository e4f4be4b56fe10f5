"""What is done to jobs after their submission: requeues with descendants, keys that change hands, updates, aborts."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
DESCENTS, CHANGES, GRAPH, ACTION = f"{SHARDS}/descents.py", f"{SHARDS}/changes.py", f"{SHARDS}/graph.py", "broker/headrace_broker/actions/descents.py"
ABORTS, REQUEUES, ENDINGS = f"{SHARDS}/aborts.py", f"{SHARDS}/requeues.py", f"{SHARDS}/endings.py"
AMENDED, RETENTION, RPC = "broker/headrace_broker/model/amended.py", "broker/headrace_broker/actions/retention.py", "broker/headrace_broker/rpc/lifecycle.py"
WIRE = "tests/rpc/test_lifecycle.py"
QUERIES, SINCE = "broker/headrace_broker/store/sql/queries", " and m.seq > coalesce(w.since, 0)"
REPLACING, OWNER, UPDATES = f"{SHARDS}/replacing.py", f"{SHARDS}/owner.py", f"{SHARDS}/updates.py"
ONE_BY_ONE, REPLACE = "tests/fire/test_replacing.py", "tests/client/test_replace.py"
BELOW, STEPS = "tests/fire/test_descents.py", "tests/fire/test_graph.py"

MUTANTS = (
    Mutant(
        "what was changed before the others were refused is not told",
        CHANGES,
        "            return _partly(job_ids, results, todo, error)\n",
        "            raise\n",
        "tests/fire/test_partly_done.py -k given_away",
    ),
    Mutant(
        "a call that changed nothing is not refused",
        CHANGES,
        "    if all(change.error is not None for change in results.values()):\n        raise error\n",
        "",
        "tests/fire/test_partly_done.py -k as_a_whole",
    ),
    Mutant(
        "a settled job that stays as it is leaves a line behind",
        CHANGES,
        "head.terms is not None and live.state not in SETTLED:",
        "head.terms is not None:",
        "tests/fire/test_settled_terms.py",
    ),
    Mutant(
        "a requeued job has no line",
        CHANGES,
        "    if head.terms is not None:\n        live.line = owner.lines.of(live.entry, head.terms)\n    live.not_before",
        "    live.not_before",
        "tests/fire/test_settled_terms.py",
    ),
    Mutant(
        "how long a job is kept that nobody was sent is not known",
        CHANGES,
        "            owner.amended.setdefault(head.job_id, head.amended)\n        return live\n",
        "            pass\n        return live\n",
        "tests/fire/test_kept.py -k never_sent",
    ),
    # a job and what failed below it
    Mutant("a job that had its turn runs at once", DESCENTS, "                found[other] = run\n", "                pass\n", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover forgets what a new run waits for", DESCENTS, "if waits_for is not None and waits_for != head.waits_for:", "if False:", f"{BELOW} -k had_its_turn"),
    Mutant("that it has completed once is enough", GRAPH, "        if max(waits_for.values()) > 1:\n", "        if False:\n", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover with a checkpoint takes a held job for one that had its turn", f"{QUERIES}/recover_heads.sql", SINCE, "", f"{BELOW} -k had_its_turn"),
    Mutant("a takeover takes a held job for one that had its turn", f"{QUERIES}/recover_live.sql", SINCE, "", f"{BELOW} -k had_its_turn"),
    Mutant("a later requeue takes a held job for one that had its turn", f"{QUERIES}/heads.sql", SINCE, "", f"{BELOW} -k aborted_while"),
    Mutant("what is on its way already is not waited for", DESCENTS, "live.run if live is not None else 0", "0", f"{BELOW} -k by_itself_before"),
    Mutant("what waits in vain is requeued", DESCENTS, "if other in self.refused:", "if False:", f"{BELOW} -k could_not_be_requeued"),
    Mutant("what is left is forgotten", DESCENTS, "            self.refused.add(job_id)\n", "            pass\n", f"{BELOW} -k could_not_be_requeued"),
    Mutant("a callback runs at once", DESCENTS, "if head.job_id in self.members:", "if False:", f"{BELOW} -k its_batch_again"),
    Mutant(
        "nobody waits for a decision", CHANGES, "return intent.descent is not None and intent.descent.must_wait(head.job_id)", "return False", f"{BELOW} -k what_moves"
    ),
    Mutant("what has completed below a job runs again", ACTION, "head.state in _FAILED and ", "", f"{BELOW} -k is_left_while"),
    Mutant("the audit has a row for each job", CHANGES, " or intent.descent is not None:  # nobody", ":  # nobody", f"{BELOW} -k is_left_while"),
    Mutant(
        "what came of earlier portions is not told",
        ACTION,
        "if all(change.error is not None for change in results.values()):",
        "if True:",
        f"{BELOW} -k between_two_portions",
    ),
    Mutant("the audit has a row for each portion", DESCENTS, "            self.audit = None\n", "            pass\n", f"{BELOW} -k portion"),
    Mutant("any number is requeued", ACTION, "    if len(below) > MAX_DESCENDANTS:\n", "    if False:\n", f"{BELOW} -k portion"),
    Mutant("any number of ties is gone through", ACTION, "    if len(ties) > MAX_TIES:\n", "    if False:\n", f"{BELOW} -k portion"),
    Mutant("all are requeued in one round", ACTION, "range(0, len(order), AT_ONCE)", "range(0, len(order), 10**9)", f"{BELOW} -k portion"),
    Mutant("the order is that of the ids", ACTION, "return list(sorter.static_order())", "return sorted(chosen)", f"{BELOW} -k comes_after"),
    # a key whose holder is replaced
    Mutant("two calls replace a job in one round", REPLACING, "return live is not None and owner.is_moving(live)", "return False", f"{ONE_BY_ONE} -k in_their_order"),
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
    # abort with proof
    Mutant("an agent's word counts under any lease", ABORTS, "live.seq != epoch or ", "", f"{WIRE} -k under_another_lease"),
    Mutant("what an agent says again is noted again", ABORTS, " or step in live.abort.steps", "", f"{WIRE} -k step_by_step"),
    Mutant("a killed handler has stopped by itself", ABORTS, "AbortStep.KILLED if ending.killed else AbortStep.STOPPED", "AbortStep.STOPPED", f"{WIRE} -k step_by_step"),
    Mutant("a lost lease has stopped", ABORTS, "    if ending.sink is None:\n        return AbortStep.LOST\n", "", f"{WIRE} -k handlers_word"),
    Mutant(
        "what completes before it is stopped always runs again",
        ABORTS,
        " or (live.state is State.COMPLETED and not wish.include_completed)",
        "",
        f"{WIRE} -k only_by_name",
    ),
    Mutant("a new run after an abort waits for nobody", ABORTS, "amended, wish, pending.waits_for)", "amended, wish, None)", f"{WIRE} -k followed_by_a_new_run"),
    Mutant("those that wait are told of an abort that begins a new run", OWNER, "        if again:\n", "        if False:\n", f"{WIRE} -k followed_by_a_new_run"),
    Mutant("the new run loses the amendments", ABORTS, "minute, pending.amended, wish", "minute, None, wish", f"{WIRE} -k new_run_at_once"),
    # requeue
    Mutant("a new run goes on counting", REQUEUES, "live.run + 1, 0, 0, 0, 0.0", "live.run + 1, live.attempt, live.losses, 0, 0.0", f"{WIRE} -k every_version"),
    Mutant("a new run has the old payload", REQUEUES, "        put_payload(round_, live, wish.payload, wish.actor)\n", "", f"{WIRE} -k every_version"),
    # updates
    Mutant("the payload of any job is changed", UPDATES, "if update.payload is not None and state is not State.WAITING:", "if False:", f"{WIRE} -k for_what_comes_after"),
    Mutant(
        "a job that runs is given a date",
        UPDATES,
        "if update.delete_at_s is not None and state not in SETTLED:",
        "if False:",
        "tests/client/test_lifecycle_cli.py -k given_a_date",
    ),
    Mutant("an updated job keeps its place", UPDATES, "    turns.leave(owner, live.job_id)\n", "", f"{ONE_BY_ONE} -k granted_once"),
    Mutant(
        "an update leaves the body that it changes", UPDATES, "    owner.bodies.pop(live.entry.type_id, live.job_id)  # what", "    # what", f"{WIRE} -k reach_its_order"
    ),
    Mutant("an updated job starts at once", UPDATES, "available_at=available_at, actor", "available_at=None, actor", f"{WIRE} -k stays_scheduled"),
    Mutant("a hold does not hold", AMENDED, "        if amended.hold:\n            return None\n", "", f"{WIRE} -k until_it_is_released"),
    Mutant("a held job is purged", CHANGES, "if head.amended is not None and head.amended.hold:", "if False:", f"{WIRE} -k until_it_is_released"),
    Mutant("a job's own rule does not count", AMENDED, "amended.delete_after_s if amended.delete_after_s is not None else keep_s", "keep_s", f"{WIRE} -k can_be_moved"),
    Mutant("a preview moves what has no date", RETENTION, "if minute)\n", ")\n", f"{WIRE} -k is_exact"),
    Mutant("a preview leaves the dates as they are", RETENTION, "minute + round((keep_then_s - keep_s) / 60)", "minute", f"{WIRE} -k is_exact"),
    Mutant("an update of nothing is taken", RPC, "    if update == Update():\n", "    if False:\n", f"{WIRE} -k by_field"),
    Mutant(
        "the clock of a test has no row in the audit",
        "broker/headrace_broker/rpc/testing.py",
        "await self._audit.add([row])",
        "pass",
        "tests/rpc/test_testing.py -k comes_as_if",
    ),
)
