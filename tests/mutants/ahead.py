"""Rounds that are decided while the one before is being stored."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
CAPS, CHANGES, DEPTH, FLUSHER, KEYED, OWNER, REPLACING, TURNS = (
    f"{SHARDS}/{name}.py" for name in ("caps", "changes", "depth", "flusher", "keyed", "owner", "replacing", "turns")
)
TESTS = "tests/fire/test_rounds_ahead.py"
SOON = "tests/fire/test_soon.py"

MUTANTS = (
    Mutant("nothing is decided ahead", FLUSHER, "ahead = await self._decide_ahead(round_, storing)", "ahead = None", f"{TESTS} -k sent_before_anybody"),
    Mutant("changes that need locks wait for all rounds ahead", OWNER, "if any(map(changes.needs_locks, self._changes)) or", "if", f"{TESTS} -k by_force"),
    Mutant("the locks of any number of jobs are asked for at once", OWNER, "intent.asked = len(forced) < FORCED_AT_ONCE", "intent.asked = True", f"{TESTS} -k too_many"),
    Mutant("changes that need locks join a round", OWNER, " or (changes.needs_locks(intent) and not intent.asked):", ":", f"{TESTS} -k by_force"),
    Mutant("changes wait for a round that was decided before they came", FLUSHER, "if joined := self._owner.has_changes:", "if joined := False:", f"{TESTS} -k flood"),
    Mutant("changes are left out of columns that were put together", OWNER, "        round_.batch.packed = None  # its", "        # its", f"{TESTS} -k flood"),
    Mutant(
        "changes join before what was stored is known to be",
        FLUSHER,
        "                        self._settle(before)\n                        self._owner.add_changes(round_)\n",
        "                        self._owner.add_changes(round_)\n                        self._settle(before)\n",
        f"{TESTS} -k need_not_read_again",
    ),
    Mutant("grants go on ahead to the end", FLUSHER, "storing.done() or self._stopping or self", "storing.done() or self", f"{TESTS} -k is_to_stop"),
    Mutant("news is passed over by rounds ahead", OWNER, "self._changes)) or self.graph or", "self._changes)) or", f"{TESTS} -k _news"),
    Mutant("leases that a takeover found end ahead", OWNER, " or self.doors.restored", "", f"{TESTS} -k takeover_found"),
    Mutant("aborted jobs end ahead", OWNER, " or self.aborting or", " or", f"{TESTS} -k _an_abort"),
    Mutant("jobs with keys wait for all rounds ahead", OWNER, " or self.keyed or self.schedules", " or self.schedules", f"{TESTS} -k _a_key"),
    Mutant(
        "endings of all kinds are decided ahead", OWNER, "if not all(type(ending) is Completions for ending in self.endings):", "if False:", f"{TESTS} -k another_kind"
    ),
    Mutant("a round ahead is small", OWNER, " < AHEAD_ROWS:  # type", " < 0:  # type", f"{TESTS} -k too_little"),
    Mutant("a job waits again before that is durable", OWNER, "return live.round > self.stored", "return live.round == self.rounds", f"{TESTS} -k comes_late"),
    Mutant("jobs that wait again are granted when somebody asks", OWNER, "        if round_.waiting_again:\n", "        if False:\n", f"{TESTS} -k waits_again"),
    Mutant("jobs with keys are granted when somebody asks", KEYED, "        if stored:\n", "        if False:\n", f"{SOON} -k key"),
    Mutant("ticks are granted when somebody asks", f"{SHARDS}/schedules.py", "        if jobs:\n", "        if False:\n", f"{SOON} -k schedule"),
    Mutant(
        "only the round that is stored moves jobs",
        OWNER,
        "for batch in self.under_way for job_id",
        "for batch in [self.under_way[0]] for job_id",
        f"{TESTS} -k either_round_moves",
    ),
    Mutant("limits pass over the round under way", CAPS, " + owner.decided(entry.type_id, State.PROCESSING)", "", f"{TESTS} -k either_round_grants"),
    Mutant("depth passes over the round ahead", OWNER, "for batch in self.under_way])", "for batch in list(self.under_way)[:1]])", f"{TESTS} -k either_round_stores"),
    Mutant("callers of a round ahead are left waiting", FLUSHER, "                self._unanswered.append(ahead)\n", "", f"{TESTS} -k both_hear"),
    Mutant("callers wait for as long as the database refuses", FLUSHER, "if time() - began > UNKNOWN_AFTER_S:", "if False:", f"{TESTS} -k refuses_for_long"),
    Mutant("rounds follow each other for ever", FLUSHER, "for _ in range(in_a_row - 1):", "while True:", f"{TESTS} -k run_of_rounds_ends"),
    Mutant("a flush goes on without its flusher", FLUSHER, "                    storing.cancel()\n", "                    return\n", f"{TESTS} -k cancelled"),
    Mutant(
        "changes that wait for their round are left waiting when another one breaks off",
        OWNER,
        "        finally:\n            self._changes.extendleft(",
        "        except ZeroDivisionError:\n            raise\n        else:\n            self._changes.extendleft(",
        f"{TESTS} -k next_one_breaks_off",
    ),
    Mutant(
        "callers of a half-decided round are left waiting",
        OWNER,
        "            self._deciding.give_up(error)\n",
        "            pass\n",
        "tests/fire/test_rounds.py -k breaks_off",
    ),
)
