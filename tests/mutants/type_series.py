"""Series by job type."""

from tests.mutants.mutant import Mutant

TALLY, FIGURES, LANES = (f"broker/headrace_broker/shards/{name}.py" for name in ("tally", "type_figures", "lanes"))
SERIES, UNIT, FIRE = "broker/headrace_broker/type_series.py", "tests/unit/test_type_series.py", "tests/fire/test_type_figures.py"

MUTANTS = (
    Mutant("what comes back counts twice", TALLY, "if not key[2] and not line.kept:  # one", "if not key[2]:  # one", f"{UNIT} -k counts_once"),
    Mutant("minutes that have ended are forgotten", TALLY, "                self._past.setdefault(key[1], Line()).add(line)\n", "", f"{UNIT} -k counts_once"),
    Mutant("jobs count for their agent too", TALLY, "self.lines.items() if not key[2] and", "self.lines.items() if", f"{UNIT} -k counts_once"),
    Mutant("every type has series of its own", FIGURES, "len(listed) < most and ", "", f"{FIRE} -k told_together"),
    Mutant("aborted jobs are the oldest", LANES, "filterfalse(self.marks.__contains__, left)", "iter(left)", f"{FIRE} -k not_aborted"),
    Mutant("a bucket holds its own only", SERIES, "if bucket <= bound", "if bucket == bound", f"{UNIT} -k prometheus_reads"),
)
