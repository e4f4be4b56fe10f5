"""Searches, counts and logs."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
SEARCH = f"{BROKER}/actions/search.py"
FILTER = f"{BROKER}/model/filter.py"
MATCH = f"{BROKER}/store/sql/queries/search_match.sql"
WINDOWS = "tests/unit/test_search_windows.py"
LIMITS = f"{BROKER}/store/log_limits.py"
PROPERTY = "tests/property/test_search.py -k from_the_ledger"
LOGS = "tests/fire/test_logs.py"

MUTANTS = (
    Mutant(
        "search: windows grow until they hold all that waits", SEARCH, "return width if indexed else min(FIRST_WIDTH, width)", "return min(FIRST_WIDTH, width)", WINDOWS
    ),
    Mutant("search: a first window of several types reaches back for ever", SEARCH, "return width if indexed else min(FIRST_WIDTH, width)", "return width", WINDOWS),
    Mutant("search: jobs past their date are found", MATCH, "e.delete_minute > $5::float8", "true", "tests/fire/test_times.py -k after_its_date"),
    Mutant("search: jobs of other domains are found", MATCH, " and j.type_id + 0 = any ($3)", "", PROPERTY),
    Mutant("search: older attempts count", MATCH, "g.kind = 1 order by g.seq desc limit 1", "g.kind = 1", "tests/property/test_search.py -k only_the_newest"),
    Mutant("search: what completed still has its error", MATCH, "(e.state <> 3 and exists", "(exists", PROPERTY),
    Mutant("search: the end of a period is included", MATCH, "g.at < $10", "g.at <= $10", "tests/property/test_search.py -k only_the_newest"),
    Mutant("search: labels are one of them", MATCH, "), j.labels) @> $7::text::jsonb)", "), j.labels) is not null)", PROPERTY),
    Mutant("search: percent signs are wildcards", FILTER, '"\\\\" + character if character in "\\\\%_" else character', "character", PROPERTY),
    Mutant(
        "search: ids may not run ahead of the clock",
        FILTER,
        "above = min(above, _first_id(later + MAX_BORROWED_MS / 1000))",
        "above = min(above, _first_id(later))",
        f"{WINDOWS} -k a_little_later",
    ),
    Mutant(
        "search: the first window is a minute, however many wait",
        SEARCH,
        "        if not starts:\n",
        "        if True:\n",
        "tests/property/test_search.py -k many_wait",
    ),
    Mutant(
        "search: a window ends at its end although there are more candidates",
        SEARCH,
        "            if len(ids) < rows:\n",
        "            if True:\n",
        PROPERTY,
    ),
    Mutant(
        "search: a short page reads all candidates",
        SEARCH,
        "walk.first(CANDIDATES) if read_in_order",
        "CANDIDATES if read_in_order",
        "tests/property/test_search.py -k short_page",
    ),
    Mutant(
        "search: a full page goes on after its window",
        SEARCH,
        "                    walk.pass_id(match.job_id)\n",
        "                    walk.pass_id(ids[-1])\n",
        PROPERTY,
    ),
    Mutant(
        "search: later jobs join a walk",
        SEARCH,
        "(until_id if until_id is not None else self.frozen_id())",
        "self.frozen_id()",
        "tests/property/test_search.py -k one_moment",
    ),
    Mutant(
        "logs: old lines use up the new lease's room",
        LIMITS,
        "            lease = batch.lease\n",
        "            lease = (batch.lease[0], 0)\n",
        f"{LOGS} -k room_of_its_own",
    ),
    Mutant("logs: bytes are not limited", LIMITS, " or usage.bytes + size > most_bytes", "", f"{LOGS} -k limits_hold"),
    Mutant("logs: lines sent again use room", LIMITS, "if not again:", "if True:", f"{LOGS} -k limits_hold"),
    Mutant("logs: what an earlier broker stored is not counted", LIMITS, "and not (batch.new and batch.lines[0][0] == 1)]", "and False]", f"{LOGS} -k limits_hold"),
    Mutant("logs: short lines are kept behind the cut", LIMITS, "if usage.mark_no and line_no >= usage.mark_no:", "if False:", f"{LOGS} -k limits_hold"),
    Mutant(
        "logs: a message that could not be stored is passed over",
        f"{BROKER}/rpc/log_intake.py",
        "                    continue\n",
        "                    pass\n",
        f"{LOGS} -k for_a_moment",
    ),
    Mutant(
        "logs: a tail ends before the last lines came",
        f"{BROKER}/actions/tail.py",
        "now - quiet_since >= QUIET_S",
        "now - quiet_since >= 0",
        f"{LOGS} -k each_once",
    ),
    Mutant("logs: a tail of an attempt goes on", f"{BROKER}/actions/tail.py", " if not lease_epoch else row.seq > lease_epoch", "", f"{LOGS} -k next_attempt"),
    Mutant(
        "search: who gives up while its connection is given back keeps its turn",
        f"{BROKER}/store/search.py",
        "            del self._begun[number]  # before",
        "            asyncio.get_running_loop().call_later(60, self._begun.pop, number)  # before",
        "tests/store/test_search_turns.py -k given_back",
    ),
)
