"""What limits, turns, labels, pauses and start times hold back."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
CAPS, LINES, DISPATCHER, DEPTH, INTAKE, STARTING, RECOVER, ENDINGS, SWEEP, CHANGES, OWNER, TYPES, RECEPTION, KEYED = (
    f"{SHARDS}/{name}.py"
    for name in ("caps", "lines", "dispatcher", "depth", "intake", "starting", "recover", "endings", "sweep", "changes", "owner", "types", "reception", "keyed")
)
MODEL = "broker/headrace_broker/model/starting.py"
LIMITS, LATE = "tests/fire/test_limits.py", "tests/fire/test_start_times.py"
E2E = "tests/e2e/test_limits.py"

MUTANTS = (
    # concurrency
    Mutant(
        "a type's concurrency is not looked at",
        CAPS,
        "room = settings.concurrency - self.running(owner, entry, round_) if settings.concurrency else 1 << 30",
        "room = 1 << 30",
        f"{LIMITS} -k over_all_agents",
    ),
    Mutant(
        "what the round has granted does not count",
        CAPS,
        "State.PROCESSING) + decided + self.owed[entry.type_id]",
        "State.PROCESSING) + self.owed[entry.type_id]",
        f"{LIMITS} -k over_all_agents",
    ),
    Mutant(
        "what is owed does not count for the type",
        CAPS,
        "State.PROCESSING) + decided + self.owed[entry.type_id]",
        "State.PROCESSING) + decided",
        f"{LIMITS} -k lost_agent",
    ),
    Mutant("what is owed does not count for the key", CAPS, "            cell.running += count\n", "            pass\n", f"{LIMITS} -k lost_agent"),
    Mutant(
        "a lost agent's lease from before a takeover counts no longer than leases now",
        SWEEP,
        "max(renewed_until, live.lease_end)",
        "renewed_until",
        f"{LIMITS} -k was_longer_before_a_takeover",
    ),
    Mutant(
        "one lane takes more than the type may run",
        DISPATCHER,
        "            count = min(count, owner.caps.room(owner, entry, round_, now))\n",
        "            pass\n",
        f"{LIMITS} -k more_to_do",
    ),
    Mutant("a lost lease is owed nothing", SWEEP, "lease_until=until if lost else 0.0", "lease_until=0.0", f"{LIMITS} -k lost_agent"),
    Mutant("a lease that the broker timed out is owed nothing", SWEEP, ", lease_until=now + owner.limits.lease_s", "", f"{LIMITS} -k times_out"),
    Mutant("endings do not leave what they owe", ENDINGS, "    if ending.lease_until:\n", "    if False:\n", f"{LIMITS} -k lost_agent"),
    Mutant(
        "a forced abort owes nothing",
        CHANGES.replace("changes", "aborts"),
        "        owner.caps.owe(owner, live, until, now)\n",
        "",
        f"{LIMITS} -k aborted_by_force",
    ),
    Mutant("what is owed is never given back", OWNER, "        self.caps.settle(self, round_.at)\n", "", f"{LIMITS} -k lost_agent"),
    Mutant("a takeover forgets what is owed", RECOVER, "    await _restore_owed(owner, recovery, ranges)\n", "", f"{LIMITS} -k a_moment_ago"),
    Mutant("a takeover does not count leases by key", RECOVER, "            owner.lines.began(live.line, 1)\n", "            pass\n", f"{LIMITS} -k open_leases_count"),
    Mutant("a key's limit is not looked at", LINES, "if actual is None or line.room <= 0:", "if actual is None:", f"{LIMITS} -k own_count"),
    Mutant("first grants of a key do not count", DISPATCHER, "            owner.lines.began(line, 1)\n", "            pass\n", f"{LIMITS} -k own_count"),
    Mutant(
        "one line takes more than its key may run",
        LINES,
        "room = min(count, line.room) if crowd.listed == 1 else 1",
        "room = count if crowd.listed == 1 else 1",
        f"{LIMITS} -k raised_limit",
    ),
    Mutant("completions in columns do not free their keys", ENDINGS, "    if owner.lines.leased:\n", "    if False:\n", "tests/fire/test_columns.py -k free"),
    Mutant("an ending wakes nothing that is parked", LINES, "        self._unpark(self._crowd(entry), cell)\n", "", f"{LIMITS} -k own_count"),
    Mutant(
        "a full line is looked at again and again",
        LINES,
        "                        line.cell.parked[line] = None\n",
        "                        line.cell.parked[line] = None\n                        self._unpark(crowd, line.cell)\n                        break\n",
        f"{LIMITS} -k not_looked_at",
    ),
    Mutant("a raised limit wakes nothing", LINES, "        if crowd.seen is not crowd.entry.settings:", "        if False:", f"{LIMITS} -k raised_limit"),
    Mutant("lines of jobs that are gone stay", LINES, "        if not line.jobs:\n", "        if False:\n", f"{LIMITS} -k leaves_nothing"),
    # rates
    Mutant("a rate is not looked at", CAPS, "if room > 0 and settings.rate_limit_count:", "if False:", f"{LIMITS} -k one_burst"),
    Mutant("grants take no tokens", CAPS, "            bucket.tokens -= count\n", "            pass\n", f"{LIMITS} -k one_burst"),
    Mutant(
        "tokens pile up beyond the burst",
        CAPS,
        "bucket.tokens = min(settings.burst, bucket.tokens",
        "bucket.tokens = max(0.0, bucket.tokens",
        f"{LIMITS} -k saves_no_more",
    ),
    Mutant(
        "a rate that is set again pays for what started without one",
        CAPS,
        "if bucket is not None and not entry.settings.rate_limit_count:",
        "if False:",
        f"{LIMITS} -k no_rate_is_set",
    ),
    Mutant(
        "a pause that is resumed at once is a riddle",
        "broker/headrace_broker/rpc/limits.py",
        ".pauses.get((kind, name), made)",
        ".pauses[kind, name]",
        f"{LIMITS} -k same_moment",
    ),
    Mutant("a bucket begins full", CAPS, "        self.tokens = 0.0\n", "        self.tokens = 1.0\n", f"{LIMITS} -k nothing_in_hand"),
    # depth
    Mutant("what was admitted a moment ago does not count", DEPTH, "        self._reserved.update(wanted)\n", "", f"{LIMITS} -k racing"),
    Mutant(
        "what is being stored does not count",
        DEPTH,
        " + owner.decided(entry.type_id, State.WAITING) + self._reserved[entry]",
        " + self._reserved[entry]",
        f"{LIMITS} -k being_stored",
    ),
    Mutant("room is not given back", DEPTH, "            self._reserved.subtract(reserved)\n", "            pass\n", f"{LIMITS} -k racing"),
    Mutant(
        "room of refused jobs is not given back",
        OWNER,
        "            self.depth.release(submission.reserved)\n            if not",
        "            if not",
        f"{LIMITS} -k database_away",
    ),
    Mutant(
        "room of refused jobs that carry keys is not given back",
        KEYED,
        "            self._owner.depth.release(job.reserved)\n",
        "",
        f"{LIMITS} -k were_being_stored",
    ),
    Mutant("a domain's depth is not looked at", DEPTH, "            limit = domain.depth_limit\n", "            limit = None\n", f"{LIMITS} -k all_its_types"),
    Mutant(
        "a keyed submit is not admitted",
        OWNER,
        "reserved = self._admit([job], 1, size_bytes + TIE_BYTES * len(depends_on or ()))",
        "reserved = None",
        f"{LIMITS} -k keyed_submits",
    ),
    Mutant("there is no signal before a limit", DEPTH, "return found if found >= SOFT else 0.0", "return 0.0", f"{LIMITS} -k racing"),
    Mutant(
        "a batch is stored whole or not at all",
        "broker/headrace_broker/rpc/submit.py",
        "if len(jobs) == 1 or error.room == 0:",
        "if True:",
        f"{E2E} -k fills_the_room",
    ),
    # turns
    Mutant(
        "a single key goes before jobs without one",
        "broker/headrace_broker/shards/dispatcher.py",
        "if owner.lanes.best(type_id) == choice.priority:",
        "if False:",
        f"{LIMITS} -k of_a_single_one",
    ),
    Mutant("weights are not looked at", LINES, "self.passes[key] = self.now + 1 / weight", "self.passes[key] = self.now + 1", f"{LIMITS} -k by_their_weights"),
    Mutant("idleness earns turns", LINES, "max(self.passes.get(key, 0.0), self.now)", "self.passes.get(key, 0.0)", f"{LIMITS} -k earned_nothing"),
    Mutant(
        "jobs without a key take no turns",
        DISPATCHER,
        '                clock.serve("", entry.settings.weight(""))\n',
        "                pass\n",
        f"{LIMITS} -k within_one_job",
    ),
    Mutant(
        "one domain may take a round", DISPATCHER, "want = min(share, session.room, left, quota)", "want = min(share, session.room, left)", f"{LIMITS} -k share_a_round"
    ),
    Mutant("a domain owes for what it sent alone", INTAKE, " if len(self._queues) > 1 else 0.0  #", "  #", "tests/unit/test_intake.py"),
    Mutant("submissions are taken in the order of their coming", INTAKE, "if len(self._queues) > 1 and left <= 0:", "if False:", f"{LIMITS} -k no_other_waiting"),
    # labels and pauses
    Mutant("labels are not looked at", LINES, "if required <= session.label_items:", "if True:", f"{LIMITS} -k has_its_labels or have_its_labels"),
    Mutant("an agent that is paused is granted jobs", f"{SHARDS}/session.py", " or self.paused else self.free", " else self.free", f"{LIMITS} -k until_it_is_resumed"),
    Mutant(
        "one that connects while it is paused is not",
        RECEPTION,
        "    session.paused = facts.name in owner.types.domain(facts.domain).agents\n",
        "",
        f"{LIMITS} -k until_it_is_resumed",
    ),
    Mutant(
        "a paused domain is granted",
        TYPES,
        "self.halted = self.settings.paused or self.domain_entry.halted",
        "self.halted = self.settings.paused",
        f"{LIMITS} -k until_it_is_resumed",
    ),
    Mutant("an older reading of settings wins", TYPES, "elif row.changed_at < entry.changed_at:", "elif False:", f"{LIMITS} -k older_reading"),
    # start times
    Mutant("nothing is late", STARTING, "if self._put_off.get(job_id, 0.0) <= now_s][:AT_ONCE]", "if False][:AT_ONCE]", f"{LATE} -k does_not_start_in_time"),
    Mutant("a job that had an attempt expires", MODEL, "or head.attempt or head.losses or", "or", f"{LATE} -k run_has_begun"),
    Mutant("the time of a delayed job counts from its submit", MODEL, ", available_at_s or 0.0)", ", 0.0)", f"{LATE} -k could_start_first"),
    Mutant(
        "the time of a requeued job counts from its submit",
        MODEL,
        "moved_at_s if moved_at_s is not None else created_at_s(job_id)",
        "created_at_s(job_id)",
        f"{LATE} -k could_start_first",
    ),
    Mutant("a job that started meanwhile expires", CHANGES, "if live is not None and live.seq != head.seq:", "if False:", f"{LATE} -k found_late"),
    Mutant("stale entries hide a requeued job", STARTING, "passed[job_id] < marks[job_id]", "True", f"{LATE} -k has_its_time_from_then"),
    Mutant(
        "an expired job stays in its lane",
        CHANGES,
        "    live = _revive(owner, head, live)\n    turns.leave(owner, head.job_id)\n",
        "    live = _revive(owner, head, live)\n",
        f"{LATE} -k does_not_start_in_time",
    ),
)
