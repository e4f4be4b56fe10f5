"""What holds a type back whose jobs fail, lets canaries go, and tells the next owner of it."""

from tests.mutants.mutant import Mutant

MODEL = "broker/headrace_broker/model/breaker.py"
SHARDS = "broker/headrace_broker/shards"
BREAKERS, CAPS, TALLY, DISPATCHER, TYPES = (f"{SHARDS}/{name}.py" for name in ("breakers", "caps", "tally", "dispatcher", "types"))
QUERIES = "broker/headrace_broker/store/sql/queries"
UNIT, FIRE = "tests/unit/test_breaker.py", "tests/fire/test_breakers.py"

MUTANTS = (
    Mutant("a breaker opens with too few attempts", MODEL, "if ended < self.rule.minimum or failed / ended", "if failed / ended", f"{FIRE} -k enough_attempts"),
    Mutant("a breaker opens only beyond its share", MODEL, "failed / ended < self.rule.share:", "failed / ended <= self.rule.share:", f"{UNIT} -k exactly_its_share"),
    Mutant("a window forgets nothing", MODEL, "while self._slots and self._slots[0][0] < oldest:", "while False:", f"{UNIT} -k forgets_by_tenths"),
    Mutant("attempts count while a breaker is not closed", MODEL, "        if self.phase is not Phase.CLOSED:\n", "        if False:\n", f"{UNIT} -k whatever_happens"),
    Mutant("the wait has no longest", MODEL, "max(self.open_s, self.open_max_s))", "1e18)", f"{UNIT} -k doubles"),
    Mutant("the wait is never longer than the first", MODEL, "self.open_s * 2.0 ** (min(step, MOST_STEPS) - 1)", "self.open_s", f"{UNIT} -k doubles"),
    Mutant("one canary is always enough", MODEL, "        if self.passed < self.rule.canaries:\n", "        if False:\n", f"{FIRE} -k as_many_must_complete"),
    Mutant("canaries of before count again", MODEL, "            self.passed = 0\n", "            pass\n", f"{UNIT} -k begin_anew"),
    Mutant("a canary of before counts while it is open", MODEL, "        if self.phase is not Phase.HALF_OPEN:\n", "        if False:\n", f"{UNIT} -k begin_anew"),
    Mutant(
        "what has failed is not forgotten when it closes",
        MODEL,
        "        self._window = Window(self.rule.window_s)\n\n    def _open",
        "\n    def _open",
        f"{UNIT} -k the_next_opening",
    ),
    Mutant("an open breaker holds nothing back", CAPS, "            room = min(room, entry.breaker.room)\n", "            pass\n", f"{FIRE} -k grants_nothing_more"),
    Mutant("a type is not looked at because of its breaker", TYPES, " or (self.breaker is not None and self.breaker.holds)", "", f"{FIRE} -k grants_nothing_more"),
    Mutant("nobody tells breakers what ended", TALLY, "            first.entry.breaker.ended(lives, kind)\n", "            pass\n", f"{FIRE} -k grants_nothing_more"),
    Mutant("any number of canaries runs", DISPATCHER, "        entry.breaker.granted(job_ids)\n", "        pass\n", f"{FIRE} -k closes_it_and_the_others"),
    Mutant("timeouts are no failures", BREAKERS, "frozenset({Kind.FAILED, Kind.TIMED_OUT})", "frozenset({Kind.FAILED})", f"{FIRE} -k no_failures"),
    Mutant(
        "lost leases are failures", BREAKERS, "frozenset({Kind.FAILED, Kind.TIMED_OUT})", "frozenset({Kind.FAILED, Kind.TIMED_OUT, Kind.LOST})", f"{FIRE} -k no_failures"
    ),
    Mutant("any end closes a breaker", BREAKERS, "told = failed or kind is Kind.COMPLETED", "told = True", f"{FIRE} -k says_nothing"),
    Mutant("what began before is a canary", BREAKERS, "            if live.job_id in self.running:\n", "            if True:\n", f"{FIRE} -k closes_it_and_the_others"),
    Mutant("a canary goes before its time", BREAKERS, " and guard.machine.until <= self.now():", ":", f"{FIRE} -k closes_it_and_the_others"),
    Mutant(
        "a canary goes though nobody would know of it",
        BREAKERS,
        "if guard.entry.type_id in self._unstored or not await self._put(store, guard, Phase.HALF_OPEN):",
        "if not await self._put(store, guard, Phase.HALF_OPEN) and False:",
        f"{FIRE} -k next_owner_would_know",
    ),
    Mutant("a successor does not know the canaries", BREAKERS, "        if row.phase is Phase.HALF_OPEN:\n", "        if False:\n", f"{FIRE} -k knows_its_canary"),
    Mutant("every open lease is a canary to a successor", f"{QUERIES}/breaker_canaries.sql", " and e.at >= $3", " and $3 is not null", f"{FIRE} -k knows_its_canary"),
    Mutant("a successor grants at once", BREAKERS, "until=self.now() + left_s", "until=self.now()", f"{FIRE} -k goes_on_where"),
    Mutant(
        "a successor is not told",
        BREAKERS,
        "        self._unstored.add(entry.type_id)\n        self._wake.set()\n        self.grant_again()\n\n    def grant_again",
        "        self.grant_again()\n\n    def grant_again",
        f"{FIRE} -k goes_on_where",
    ),
    Mutant(
        "a life that has ended stores how a breaker stands",
        f"{QUERIES}/breaker_put.sql",
        "where life_id = $1 and not dead for share",
        "where life_id = $1 for share",
        f"{FIRE} -k next_owner_would_know",
    ),
    Mutant(
        "a life that has ended closes a breaker",
        f"{QUERIES}/breaker_drop.sql",
        "where life_id = $1 and not dead for share",
        "where life_id = $1 for share",
        f"{FIRE} -k of_another_life",
    ),
    Mutant(
        "a breaker stays open whose close is not answered",
        BREAKERS,
        "                if not await self._is_gone(store, entry.type_id):\n",
        "                if True:\n",
        "tests/rpc/test_unanswered_commits.py -k breaker",
    ),
    Mutant(
        "a breaker is taken for closed whose row was never written",
        BREAKERS,
        "                if entry.type_id in self._unstored:  # so that",
        "                if False:  # so that",
        f"{FIRE} -k not_stored_is_none",
    ),
    Mutant(
        "one that is switched off leaves its row",
        BREAKERS,
        "            if guard.holds:\n                self._unstored.add(type_id)\n",
        "            if guard.holds:\n",
        f"{FIRE} -k switched_off_holds",
    ),
    Mutant("a row is left of one that was switched off meanwhile", BREAKERS, "                self._unstored.add(row.type_id)\n", "", f"{FIRE} -k leaves_no_row"),
    Mutant("an owner that leaves keeps its types", BREAKERS, "            guard.entry.breaker = None\n", "            pass\n", f"{FIRE} -k gives_its_types_free"),
    Mutant("breakers of other shards are taken too", BREAKERS, " if owner.shard.holds(entry.domain_id)}", "}", "tests/fire/test_two_shards.py -k breakers"),
    Mutant(
        "an open breaker is told to nobody",
        "broker/headrace_broker/alerts/duty.py",
        "        lasting |= broken(held.owner)\n",
        "",
        "tests/fire/test_alerts.py -k breaker",
    ),
)
