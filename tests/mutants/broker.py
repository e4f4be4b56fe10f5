"""What the owner decides, and what it counts."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
ENDINGS, OWNER, CHANGES, SWEEP, REFILL = (f"{SHARDS}/{name}.py" for name in ("endings", "owner", "changes", "sweep", "refill"))
FLUSHER, RECOVER, KEYED = f"{SHARDS}/flusher.py", f"{SHARDS}/recover.py", f"{SHARDS}/keyed.py"
FORCED = "broker/headrace_broker/store/sql/queries/recover_forced.sql"
ONCE = "tests/fire/test_transitions.py -k once_however and twice"
ROUNDS, TIMES, LOST, DOUBLED, REORDERED = (f"tests/fire/test_{name}.py" for name in ("rounds", "times", "lost", "doubled", "reordered"))
ABORTS, TURNS = f"{SHARDS}/aborts.py", f"{SHARDS}/turns.py"
COUNTED, SHOWN = f"{SHARDS}/counted.py", "tests/unit/test_counted.py"

MUTANTS = (
    # endings
    Mutant("an outcome of an older lease ends the new one", ENDINGS, "live.seq != ending.epoch or ", "", f"{DOUBLED} -k after_the_next_grant"),
    Mutant(
        "an outcome ends a job that does not run",
        ENDINGS,
        "live.seq != ending.epoch or live.state is not State.PROCESSING",
        "live.seq != ending.epoch",
        f"{ROUNDS} -k no_grant_ends_nothing",
    ),
    Mutant("a pending abort is forgotten at the end", ENDINGS, "if abort is not None or kind is Kind.ABORTED:", "if kind is Kind.ABORTED:", ONCE),
    Mutant("an abort charges no attempt", ENDINGS, "live.attempt, live.losses = live.attempt + 1, live.losses - lost", "pass", f"{DOUBLED} -k ends_the_attempt_once"),
    Mutant("what is given back is charged", ENDINGS, "        live.attempt -= 1", "        pass", f"{DOUBLED} -k rejections"),
    Mutant("a loss is not counted", ENDINGS, "live.losses += lost", "pass", f"{ROUNDS} -k completed_late"),
    Mutant("losses have no budget", ENDINGS, "live.losses >= settings.max_losses", "False", ONCE),
    Mutant("attempts have no budget", ENDINGS, "live.attempt >= settings.max_attempts", "False", ONCE),
    Mutant("a permanent failure is tried again", ENDINGS, "(ending.permanent or ", "(", ONCE),
    Mutant("every ending is charged", ENDINGS, "charged = kind in (Kind.FAILED, Kind.TIMED_OUT)", "charged = True", f"{REORDERED} -k no_retry"),
    Mutant("a settled job keeps its lease", OWNER, "        self.release_lease(live)\n", "", f"{TIMES} -k request_to_abort_outlives"),
    Mutant("a late outcome counts after any ending", ENDINGS, " and live.kind in (Kind.LOST, Kind.OWNER_CHANGED)", "", f"{REORDERED} -k given_back_takes"),
    Mutant("a late outcome of any lease counts", ENDINGS, " and live.seq == ending.epoch + 1", "", f"{ROUNDS} -k lost_last"),
    Mutant(
        "a late failure counts", ENDINGS, "if late and live is not None and ending.kind is Kind.COMPLETED:", "if late and live is not None:", f"{LOST} -k silent_agent"
    ),
    Mutant("a loss and a late outcome in one round", ENDINGS, "if owner.is_moving(live):", "if False:", f"{ROUNDS} -k in_one_round_end"),
    Mutant("a job that completed late stays in its lane", ENDINGS, "        owner.lanes.discard(live.job_id)\n", "", f"{ROUNDS} -k not_granted_again"),
    Mutant("bodies are read however large", REFILL, "min(AT_ONCE, AT_ONCE_BYTES // owner.limits.payload_limit_bytes)", "AT_ONCE", f"{ROUNDS} -k fit_into_memory"),
    Mutant("an outcome in flight is told to be unknown", REFILL, "if kind == 0:", "if False:", f"{ROUNDS} -k judged_yet"),
    Mutant(
        "the outcome that an abort overruled is told to be late",
        REFILL,
        "abort_requested and ending.kind",
        "False and ending.kind",
        "tests/rpc/test_agent_stream.py -k ended_a_job_as_aborted",
    ),
    Mutant(
        "any outcome of an aborted job is the one that ended it",
        REFILL,
        "kind == Kind.ABORTED and abort_requested and",
        "kind == Kind.ABORTED and",
        "tests/rpc/test_agent_stream.py -k ended_a_job_as_aborted",
    ),
    # changes
    Mutant("a change is decided on what was read before another", CHANGES, "(live is None and head.job_id in intent.moved)", "(False)", f"{ROUNDS} -k read_again"),
    Mutant("two events of a job in one round", CHANGES, "(live is not None and owner.is_moving(live))", "(False)", f"{ROUNDS} -k two_rounds_events"),
    Mutant("what is being stored is passed over", CHANGES, "        moved.update(owner.moving())  #", "        #", f"{ROUNDS} -k not_durable_yet"),
    Mutant(
        "a call takes another's note of what moved",
        CHANGES,
        "owner.readers = [other for other in owner.readers if other is not moved]",
        "owner.readers.remove(moved)",
        f"{ROUNDS} -k leaves_the_others",
    ),
    Mutant("a job past its date can be changed", CHANGES, "head.delete_minute * 60 <= owner.clock.now_s()", "False", f"{TIMES} -k after_its_date"),
    Mutant("a purged job can be changed", CHANGES, "if head is None or head.state is State.GONE:", "if head is None:", f"{ROUNDS} -k read_again"),
    Mutant(
        "a job that runs can be requeued",
        CHANGES,
        "        if not intent.abort_first:\n",
        "        if False:\n",
        f"{DOUBLED} -k equal_changes",
    ),
    Mutant(
        "a completed job is requeued unasked",
        CHANGES,
        "if state is State.COMPLETED and not include_completed:",
        "if False:",
        "tests/e2e/test_life.py -k requeue_and_purge",
    ),
    Mutant("a settled job can be aborted", CHANGES, "    if state in SETTLED:\n", "    if False:\n", f"{DOUBLED} -k equal_changes"),
    Mutant(
        "a forced abort does not hold the next lease back",
        ABORTS,
        "owner.not_before[live.job_id] = until",
        "pass",
        f"{TIMES} -k until_the_old_one_has_ended",
    ),
    Mutant("nor after a takeover", RECOVER, "        owner.not_before.update(", "        dict[int, float]().update(", f"{TIMES} -k holds_the_next_lease_back"),
    Mutant("a longer lease from before a takeover is not waited for", ABORTS, ", live.lease_end)  # a lease", ", 0.0)  # a lease", f"{TIMES} -k was_longer"),
    Mutant("nor when it was ended before that", FORCED, "greatest($5::float8, max(g.lease_s)::float8)", "$5::float8", f"{TIMES} -k was_longer"),
    Mutant("nor when it waits again already", RECOVER, "owner.not_before.get(stored.job_id, 0.0)", "0.0", f"{TIMES} -k holds_the_next_lease_back"),
    Mutant(
        "a silent agent's lease from before a takeover is not waited for",
        SWEEP,
        "owner.not_before[live.job_id] = live.not_before = until",
        "pass",
        f"{TIMES} -k was_longer_is_waited_for_also",
    ),
    Mutant(
        "a lease is taken to be as long as one of its job that a takeover found",
        OWNER,
        "live.session, live.progress, live.abort, live.lease_end = None, None, None, 0.0",
        "live.session, live.progress, live.abort = None, None, None",
        f"{TIMES} -k was_longer_is_waited_for_also",
    ),
    Mutant("an abort that was heard holds the next lease back after a takeover", FORCED, " and n.data = 'forced'", "", f"{TIMES} -k holds_nothing_back"),
    Mutant("a lease that is held back is granted", f"{SHARDS}/turns.py", ", live.not_before)", ", 0.0)", f"{REORDERED} -k forced_abort_the_next"),
    Mutant("a forced abort is not told to the holder", ABORTS, "round_.revoked.append(", "(lambda _: None)(", f"{DOUBLED} -k equal_changes"),
    Mutant("an aborted job stays in its lane", ABORTS, "        turns.leave(owner, live.job_id)\n", "", f"{ROUNDS} -k that_waited_is_not_granted"),
    # time
    Mutant("the lease of a silent agent never ends", SWEEP, "silent = now - session.renewed_at > limits.lease_s", "silent = False", f"{LOST} -k silent_agent"),
    Mutant("an agent that is gone has its whole lease", SWEEP, "now - session.closed_at > limits.disconnect_grace_s", "False", f"{TIMES} -k has_a_grace"),
    Mutant("an agent whose connection closed has no grace", SWEEP, "now - session.closed_at > limits.disconnect_grace_s", "True", f"{TIMES} -k has_a_grace"),
    Mutant(
        "a new owner does not wait for the holders",
        RECOVER,
        "owner.taken_over_at + max(stored.lease_s or 0.0, owner.limits.lease_s)",
        "owner.taken_over_at",
        f"{LOST} -k waits_a_full_lease",
    ),
    Mutant(
        "a greeting confirms leases without a proof",
        "broker/headrace_broker/rpc/agents.py",
        "            seen_no = 0\n",
        "            pass\n",
        "tests/fire/test_rounds.py -k proven_to_be",
    ),
    Mutant(
        "leases that come back wait for the next heartbeat",
        f"{SHARDS}/reception.py",
        "    _confirm(owner, session, number)\n    owner.wake.set()\n",
        "",
        "tests/fire/test_rounds.py -k proven_to_be",
    ),
    Mutant("a lease that nobody claims lasts for ever", SWEEP, "if live.session is None and now > live.lease_end:", "if False:", f"{LOST} -k given_back_uncharged"),
    Mutant("unclaimed leases are never charged", SWEEP, "live.owner_changes < MAX_OWNER_CHANGES", "True", f"{TIMES} -k charged_in_the_end"),
    Mutant("what was never sent is charged", SWEEP, "Kind.LOST if live.assign_no else Kind.REJECTED", "Kind.LOST", f"{TIMES} -k never_sent"),
    Mutant("an agent need not accept", SWEEP, "session.accept_overdue(now, limits.accept_timeout_s)", "False", f"{LOST} -k does_not_accept"),
    Mutant("leases expire while the database is away", OWNER, "            session.renewed_at = now\n", "", f"{TIMES} -k database_was_away"),
    Mutant(
        "unclaimed leases end while the database is away",
        OWNER,
        "live.lease_end = max(live.lease_end, now + self.limits.lease_s)",
        "pass",
        f"{TIMES} -k nobody_claimed_yet",
    ),
    Mutant("work is taken that is refused", OWNER, "        if self.refusing is not None:\n            raise self.refusing\n", "", f"{TIMES} -k refused"),
    Mutant(
        "a draining broker takes work again",
        OWNER,
        "if not isinstance(self.refusing, Draining):\n            self.refusing = None",
        "if True:\n            self.refusing = None",
        f"{TIMES} -k drains_takes",
    ),
    Mutant(
        "a flush whose answer was lost is taken for a stored one",
        FLUSHER,
        "if await self._recover_connection():",
        "if await self._recover_connection() or True:",
        "tests/fire/test_rounds_ahead.py -k whatever_becomes_of_the_answer",
    ),
    Mutant(
        "the callers of a round that cannot be stored are left waiting",
        FLUSHER,
        "            self._give_up(NotOwner(",
        "            (lambda *_: None)(NotOwner(",
        "tests/fire/test_locked_keys.py",
    ),
    Mutant("what was refused is stored later", OWNER, "        self._submissions.clear()\n", "", f"{TIMES} -k refused"),
    Mutant("keyed jobs that were refused are stored later", KEYED, "        self._waiting.clear()\n", "", f"{TIMES} -k refused"),
    Mutant("a job that was put off is granted at once", TURNS, "    if at > now:\n", "    if False:\n", f"{TIMES} -k put_off"),
    Mutant("a takeover forgets requests to abort", RECOVER, "        aborts.recover(owner, stored)\n", "        pass\n", f"{TIMES} -k outlives_its_broker"),
    # submits, reads and counts
    Mutant(
        "a key takes any body",
        KEYED,
        "holder is not None and (holder.body_hash == keyed.body_hash or holder.body_hash in keyed.other_hashes):",
        "holder is not None:",
        f"{DOUBLED} -k key_submitted",
    ),
    Mutant(
        "a job past its date can be read",
        "broker/headrace_broker/actions/reads.py",
        "row.delete_minute * 60 <= self._owner.clock.now_s()",
        "False",
        f"{TIMES} -k after_its_date",
    ),
    Mutant("jobs past their date are counted", COUNTED, "self._minutes[0] <= minute:", "False:", f"{TIMES} -k after_its_date"),
    Mutant("counts: a clock that was set back hides on", COUNTED, "if minute < self._hidden:", "if False:", SHOWN),
    Mutant("counts: what changes after its date shows", COUNTED, "if not 0 < minute <= self._hidden:", "if True:", SHOWN),
    Mutant("counts: what is forgotten shows on", COUNTED, "        self[key] = 0\n", "", SHOWN),
    Mutant("paused types are granted", f"{SHARDS}/dispatcher.py", " if not by_id[type_id].halted", "", "tests/e2e/test_life.py -k paused"),
    Mutant(
        "counts: a submit is not counted", OWNER, "                batch.counts[entry.type_id, State.WAITING, 0] += 1\n", "", f"{ROUNDS} -k that_waited_is_not_granted"
    ),
    Mutant(
        "counts: a keyed submit is not counted in memory",
        KEYED,
        "        owner.counted[entry.type_id, State.WAITING, 0] += 1\n",
        "",
        f"{DOUBLED} -k key_submitted",
    ),
    Mutant("counts: the state that is left keeps the job", OWNER, "        counts[type_id, live.state, old_minute or 0] -= 1\n", "", f"{ROUNDS} -k completed_late"),
    Mutant("counts: the new state does not get the job", OWNER, "        counts[type_id, state, delete_minute or 0] += 1\n", "", f"{ROUNDS} -k completed_late"),
    Mutant("counts: memory does not follow the ledger", OWNER, "        self.counted.add(round_.batch.counts)\n", "", f"{DOUBLED} -k rejections"),
    Mutant(
        "counts: a requeue leaves the job in its minute", f"{SHARDS}/requeues.py", "State.WAITING, old_minute=minute)", "State.WAITING)", f"{DOUBLED} -k equal_changes"
    ),
    Mutant("counts: a purge leaves the job in its minute", CHANGES, "State.GONE, old_minute=head.delete_minute)", "State.GONE)", f"{ROUNDS} -k read_again"),
)
