"""What watches hear, and what bounds an answer."""

from tests.mutants.mutant import Mutant

HUB, JOBS = "broker/headrace_broker/shards/hub.py", "broker/headrace_broker/rpc/jobs.py"
LISTS, READS = "broker/headrace_broker/actions/lists.py", "broker/headrace_broker/actions/reads.py"
WATCH, ANSWERS = "tests/fire/test_watch.py", "tests/rpc/test_answers.py"

MUTANTS = (
    Mutant("the newest change is left out where there is no room", HUB, "self._changes[-1] = replace(change, gap=True)", "pass", f"{WATCH} -k keep_up"),
    Mutant("a gap is not told", HUB, "replace(change, gap=True)", "change", f"{WATCH} -k keep_up"),
    Mutant("changes that nobody wants take the room of others", HUB, "not self._of_type(change.type_id)", "False", f"{WATCH} -k one_type"),
    Mutant("a watch is filled by what its reader may not see", JOBS, "(may is None or may.types(Act.VIEW).allow(entry.name))", "True", f"{WATCH} -k may_not"),
    Mutant("a watch is filled by other domains", JOBS, "entry is not None and entry.domain == domain and (not", "entry is not None and (not", f"{WATCH} -k one_type"),
    Mutant("a gap goes with the change that says so", JOBS, "gap = gap or change.gap", "gap = change.gap", f"{WATCH} -k not_for_the_reader"),
    Mutant(
        "the grant of a job without a body is not told to its instance", "broker/headrace_broker/shards/refill.py", "if owner.hub.active:", "if False:",
        f"{WATCH} -k body_memory",
    ),
    Mutant("a page of jobs is as large as it comes", LISTS, "if jobs and size > ANSWER_BYTES:", "if False:", f"{ANSWERS} -k as_many_as_can_be_sent"),
    Mutant("what a page left out is passed over", LISTS, "if read < len(found.matches):", "if False:", f"{ANSWERS} -k as_many_as_can_be_sent"),
    Mutant("a list of runs is as large as it comes", READS, "if full and limit > 1:", "if False:", f"{ANSWERS} -k long_history"),
    Mutant("a log is sent in messages as large as they come", READS, "if held < len(lines):", "if False:", f"{ANSWERS} -k long_lines"),
    Mutant("errors of one answer are as large as they come", "broker/headrace_broker/rpc/convert.py", "if left < 0:", "if False:", f"{ANSWERS} -k long_history"),
)  # fmt: skip
