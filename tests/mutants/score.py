"""What keeps jobs in the order of their scores."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
LANES, LINES, DISPATCHER, TURNS, RESCORE, OWNERSHIP = (f"{SHARDS}/{name}.py" for name in ("lanes", "lines", "dispatcher", "turns", "rescore", "ownership"))
UNIT, RPC, OVERDUE = "tests/unit/test_score.py", "tests/rpc/test_score.py", "tests/fire/test_overdue.py"
INSTANCES = "tests/fire/test_instances.py"

MUTANTS = (
    Mutant("what was put off is as old as its id", LANES, "            lane.mark(since)\n", "            pass\n", f"{UNIT} -k became_ready_later"),
    Mutant("times of a lane are lost when it is copied down", LANES, "            self.gone += self.head\n", "", f"{UNIT} -k copied_down"),
    Mutant("only ids that rise are taken out", LANES, "        if left:\n            places +=", "        if False:\n            places +=", f"{UNIT} -k do_not_rise"),
    Mutant("a line is listed without its instance's priority", LINES, "        boosted = priority + line.boost\n", "        boosted = priority\n", f"{UNIT} -k at_once"),
    Mutant("lines that there are keep the old priority", LINES, "                line.boost = priority\n", "                pass\n", f"{UNIT} -k changes_again"),
    Mutant("a job that waits again keeps its line", LINES, "        live.line = self.of(live.entry, wanted)\n", "", f"{UNIT} -k waits_again"),
    Mutant(
        "a job whose time comes goes to its old line", LINES, "self.members.get(job_id) or self._by_id.get(line_id)", "self._by_id.get(line_id)", f"{UNIT} -k time_comes"
    ),
    Mutant("a checkpoint knows no line that was left", RESCORE, "        lines.leave_behind(line)\n", "        pass\n", f"{INSTANCES} -k checkpoint"),
    Mutant("lines that were left are remembered for ever", LINES, " if line_id in named}", "}", f"{INSTANCES} -k forgotten"),
    Mutant(
        "what waits for a time is listed by the line that it left",
        LINES,
        "self.members.get(job_id) or self._by_id.get(what",
        "self._by_id.get(what",
        f"{INSTANCES} -k checkpoint",
    ),
    Mutant("what ended while it was read is brought over", RESCORE, " if row.job_id not in moved]", "]", f"{INSTANCES} -k ended_while"),
    Mutant("age has no end", DISPATCHER, "min(settings.ageing_max, max(", "max(0, max(", f"{UNIT} -k up_to_the_most"),
    Mutant(
        "jobs in a type where age counts come in handfuls",
        DISPATCHER,
        "overdue is None and not entry.settings.ageing_s else",
        "overdue is None else",
        f"{RPC} -k comes_after",
    ),
    Mutant(
        "a younger job of another type waits for all that are older and younger",
        LANES,
        "bisect_left(lane.ids, since, lane.head, min(len(lane.ids), lane.head + most)) - lane.head)",
        "most)",
        "tests/unit/test_memory.py -k come_before",
    ),
    Mutant("what does not wait is brought over", RESCORE, " or (live is not None and live.state is not State.WAITING):", ":", f"{UNIT} -k no_others"),
    Mutant("what is gone is brought over", RESCORE, " or owner.lanes.is_stale(row.job_id)", "", f"{UNIT} -k no_others"),
    Mutant(
        "new jobs of an instance have no priority",
        TURNS,
        "        terms = owner.lines.boosted(entry, instance_of(body), terms)\n",
        "        pass\n",
        f"{RPC} -k all_types",
    ),
    Mutant("a new owner forgets the priorities", OWNERSHIP, "        owner.lines.boosts = ", "        forgotten = ", f"{RPC} -k killed_in_the_middle"),
    Mutant(
        "what is overdue waits for ever",
        DISPATCHER,
        "overdue = _overdue(owner, round_, session, ready, now) if owner.overdue.types else None",
        "overdue = None",
        f"{OVERDUE} -k every_hundred",
    ),
    Mutant(
        "what is not overdue goes out of its turn", DISPATCHER, "if oldest is None or oldest[1] > owner.overdue.oldest:", "if oldest is None:", f"{OVERDUE} -k so_long"
    ),
    Mutant("no type keeps to the strict order", f"{SHARDS}/overdue.py", "if not owner.types.by_id[type_id].settings.ageing_max:", "if False:", f"{OVERDUE} -k strict"),
    Mutant("what goes out of its turn is not counted", f"{SHARDS}/overdue.py", "max(0, self._granted - EVERY * count)", "self._granted", f"{OVERDUE} -k every_hundred"),
    Mutant("what is due adds up", f"{SHARDS}/overdue.py", "min(self._granted + count, MOST * EVERY)", "self._granted + count", f"{OVERDUE} -k add_up"),
    Mutant("what is overdue is looked for without a pause", f"{SHARDS}/overdue.py", " or now < self._look_at:", ":", f"{OVERDUE} -k nobody_looks"),
)
