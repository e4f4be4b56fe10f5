"""Guards of the statistics."""

from tests.mutants.mutant import Mutant

TALLY = "broker/headrace_broker/shards/tally.py"
RPC = "tests/rpc/test_statistics.py"

MUTANTS = (
    Mutant("a delayed job waits from its submission", TALLY, "line.waited(round_.at_s - due_s, 1)", "line.waited(round_.at_s, 1)", f"{RPC} -k told_by_number"),
    Mutant("a retry counts as a first grant", TALLY, "if lives[0].seq > 1:", "if False:", f"{RPC} -k told_by_number"),
    Mutant("what a sample stands for is forgotten", TALLY, "weights = [step] *", "weights = [1] *", f"{RPC} -k move_at_once"),
    Mutant("the last counts of a broker are lost", "broker/headrace_broker/app.py", "await rollup.write_last()", "pass", f"{RPC} -k survives_the_end"),
    Mutant(
        "rows of a minute are added to what is there", "broker/headrace_broker/store/sql/queries/stat_put.sql", "waiting = excluded.waiting",
        "waiting = stat.waiting + excluded.waiting", f"{RPC} -k minutes_add_up",
    ),
)  # fmt: skip
