"""What is decided and sent in columns, where nearly all jobs pass, and what bounds a message or a step."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
ENDINGS, DISPATCHER, OWNER, SESSION, TIMERS = (f"{SHARDS}/{name}.py" for name in ("endings", "dispatcher", "owner", "session", "timers"))
OUTBOX, DESK, AGENT_SESSION = (f"agent/headrace_agent/{name}.py" for name in ("outbox", "desk", "session"))
COLUMNS = "tests/fire/test_columns.py"
FATES = f"{COLUMNS} -k fate_of_their_own"
MESSAGES = "tests/agent/test_messages.py"
PORTIONS = "tests/unit/test_timers.py"
LATE = "Ending(job_id, epoch, Kind.COMPLETED, done.sink, done.result(index))"

MUTANTS = (
    # completions
    Mutant("a completion in columns of an older lease ends the new one", ENDINGS, "live.seq != epoch or ", "", FATES),
    Mutant(
        "a completion in columns ends a job that does not run",
        ENDINGS,
        "live.seq != epoch or live.state is not State.PROCESSING",
        "live.seq != epoch",
        "tests/fire/test_rounds.py -k no_grant_ends_nothing",
    ),
    Mutant("a late completion is decided in the middle of its column", ENDINGS, f"late.append(({LATE}, live))", f"_end_late(owner, round_, {LATE}, live)", FATES),
    Mutant("late completions of a column are forgotten", ENDINGS, "    for ending, live in late:\n", "    for ending, live in []:\n", FATES),
    Mutant("results of a column move up", ENDINGS, "batch.set_result(before + len(job_ids), result)", "batch.set_result(before + index, result)", FATES),
    Mutant("results of a column begin at the round's", ENDINGS, "before = len(batch.event_job)", "before = 0", f"{COLUMNS} -k other_endings"),
    Mutant("what completed in a column keeps its lease", ENDINGS, "            session.leases.pop(job_id, None)\n", "", FATES),
    Mutant("what completed unsent takes room", ENDINGS, "                session.unsent.pop(live, None)\n", "                pass\n", f"{COLUMNS} -k takes_no_room"),
    Mutant("what completed in a column stays in memory", ENDINGS, "        del live_jobs[job_id]\n", "", FATES),
    Mutant("watchers do not hear of completions in columns", ENDINGS, "        round_.moved.append((lives, Kind.COMPLETED))\n", "", FATES),
    Mutant("counts: what completed in columns still runs", ENDINGS, "        batch.counts[entry.type_id, State.PROCESSING, 0] -= count\n", "", FATES),
    Mutant("counts: what completed in columns is not counted", ENDINGS, "        batch.counts[entry.type_id, State.COMPLETED, minutes[entry]] += count\n", "", FATES),
    # grants
    Mutant("a job that is granted again is taken for a new one", DISPATCHER, "        if known:\n", "        if False:\n", f"{COLUMNS} -k share_a_round"),
    Mutant("a new job is taken for one that is granted again", DISPATCHER, "live = live_jobs[job_id] = Live(", "live = Live(", FATES),
    Mutant("a lease that is granted again counts as sent", DISPATCHER, "live.assign_no = live.missed =", "live.missed =", f"{COLUMNS} -k charged_nothing"),
    Mutant("grants do not use up room", DISPATCHER, "    session.spend(type_id, len(job_ids))\n", "", f"{COLUMNS} -k stop_at_the_room"),
    Mutant("counts: first grants still wait", OWNER, "        counts[type_id, State.WAITING, 0] -= len(job_ids)\n", "", f"{COLUMNS} -k share_a_round"),
    Mutant("counts: first grants do not run", OWNER, "        counts[type_id, State.PROCESSING, 0] += len(job_ids)\n", "", f"{COLUMNS} -k share_a_round"),
    Mutant("watchers do not hear of first grants", OWNER, "        round_.moved.append((lives, Kind.GRANTED))\n", "", f"{COLUMNS} -k share_a_round"),
    Mutant("nobody notes what moved", OWNER, "            moved.update(job_ids)\n", "            pass\n", "tests/fire/test_rounds.py -k leaves_the_others"),
    # messages and portions
    Mutant(
        "a grant of before the agent came back is sent",
        SESSION,
        "if live in unsent and live.session",
        "if live.session",
        "tests/fire/test_rounds.py -k given_back_and_not_sent",
    ),
    Mutant("an Assign has no limit", SESSION, "                if room < 0:", "                if False:", "tests/rpc/test_columns.py -k any_size"),
    Mutant("what does not fit into an Assign is forgotten", SESSION, "out.assigned[index + 1 :]", "[]", "tests/rpc/test_columns.py -k any_size"),
    Mutant(
        "jobs that are due later hide those that are due",
        TIMERS,
        "while left and self._order",
        "while left > len(self._near) and self._order",
        f"{PORTIONS} -k do_not_hide",
    ),
    Mutant("jobs that are due later come near all at once", TIMERS, "            left -= moved\n", "", f"{PORTIONS} -k came_near"),
    Mutant("jobs that are due come all at once", TIMERS, " and len(found) < PORTION", "", f"{PORTIONS} -k came_near"),
    Mutant("an agent's message has no limit", OUTBOX, "if size > self._left and not self._empty:", "if False:", f"{MESSAGES} -k by_itself"),
    Mutant("what is too large for a message is never sent", OUTBOX, " and not self._empty:", ":", f"{MESSAGES} -k by_itself"),
    Mutant(
        "results without their attempts",
        OUTBOX,
        "            results.append(outcome)\n",
        "            results += [outcome] * bool(outcome)\n",
        f"{MESSAGES} -k as_many_as",
    ),
    Mutant(
        "an outcome overtakes its checkpoint",
        AGENT_SESSION,
        "return self._mine(lease) and lease not in self._desk.progress",
        "return self._mine(lease)",
        f"{MESSAGES} -k goes_before",
    ),
    Mutant(
        "an outcome overtakes its checkpoint when there is one broker",
        AGENT_SESSION,
        "if desk.progress or len(desk.sessions) > 1",
        "if len(desk.sessions) > 1",
        f"{MESSAGES} -k goes_before",
    ),
    Mutant("a checkpoint is forgotten at the end", DESK, ' and not self.progress[key].HasField("checkpoint")', "", f"{MESSAGES} -k kept"),
    Mutant(
        "an outcome that no broker could judge is not sent again",
        AGENT_SESSION,
        "            if not self._sending_again:\n",
        "            if False:\n",
        "tests/agent/test_leases.py -k fate_is_final",
    ),
)
