"""Guards of the statistics."""

from tests.mutants.mutant import Mutant

TALLY = "broker/headrace_broker/shards/tally.py"
RPC = "tests/rpc/test_statistics.py"
AHEAD = "broker/headrace_broker/actions/forecast.py"
FORECAST = "broker/headrace_broker/model/forecast.py"
UNIT = "tests/unit/test_forecast.py"
ROLLUP = "broker/headrace_broker/maintenance/rollup.py"
TREND = "tests/fire/test_trend.py"
COUNTED, DUTIES = "tests/fire/test_counted.py", "tests/fire/test_shard_duties.py"
TRENDS, HOLD = "broker/headrace_broker/actions/statistics.py", "tests/fire/test_trend.py -k hold"

MUTANTS = (
    Mutant(
        "estimates go by a clock that may be set back",
        "broker/headrace_broker/actions/obstacles.py",
        "pace.recent(owner.now(), shared)",
        "pace.recent(now_s, shared)",
        "tests/fire/test_set_back.py -k started_lately",
    ),
    Mutant("a delayed job waits from its submission", TALLY, "line.waited(round_.at_s - due_s, 1)", "line.waited(round_.at_s, 1)", f"{RPC} -k told_by_number"),
    Mutant("a retry counts as a first grant", TALLY, "if lives[0].seq > 1:", "if False:", f"{RPC} -k told_by_number"),
    Mutant("what a sample stands for is forgotten", TALLY, "weights = [step] *", "weights = [1] *", "tests/unit/test_statistics.py -k sample"),
    Mutant("delayed jobs to which something happens are remembered for ever", TALLY, "        elif self.due:", "        elif False:", f"{TREND} -k do_not_start"),
    Mutant(
        "delayed jobs that were aborted are remembered for ever when their time comes",
        "broker/headrace_broker/shards/turns.py",
        " and not owner.lanes.is_stale(job_id)",
        "",
        f"{TREND} -k do_not_start",
    ),
    Mutant("the last counts of a broker are lost", "broker/headrace_broker/app.py", "await rollup.write_last()", "pass", f"{RPC} -k survives_the_end"),
    Mutant("a part of an hour stands for all of it", AHEAD, "else rows[0].at + HOUR", "else rows[0].at", f"{RPC} -k says_what_if"),
    Mutant("a what-if changes nothing to come", AHEAD, "value * factor / 3600", "value / 3600", f"{RPC} -k says_what_if"),
    Mutant(
        "an hour is added up in part", "broker/headrace_broker/store/sql/queries/stat_demand.sql", "min(at) / 60 * 60 + 59", "min(at)", f"{RPC} -k too_many_rows",
    ),
    Mutant("a week's errors are not looked at", FORECAST, "zip(history, history[WEEK_H:], strict=False)", "zip(history, history, strict=False)", f"{UNIT} -k same_one"),
    Mutant(
        "a sum of Erlang begins too late", "broker/headrace_broker/model/erlang.py", "load - 8 * math.sqrt(load)", "load - math.sqrt(load)",
        "tests/unit/test_statistics.py -k erlang",
    ),
    Mutant("more comes than served leaves a debt", FORECAST, "waiting = max(0.0, waiting +", "waiting = (waiting +", f"{UNIT} -k backlog_grows"),
    Mutant(
        "fewer slots than none", "broker/headrace_broker/model/outlook.py", "max(0, self.slots + change.more_slots)", "self.slots + change.more_slots",
        f"{UNIT} -k what_if",
    ),
    Mutant(
        "rows of a minute are added to what is there", "broker/headrace_broker/store/sql/queries/stat_put.sql", "waiting = excluded.waiting",
        "waiting = stat.waiting + excluded.waiting", f"{RPC} -k minutes_add_up",
    ),
    Mutant(
        "attempts that go on use no slots", TRENDS, "(live.granted_at or owner.taken_over_at) < begun", "False", HOLD,
    ),
    Mutant("a week before is told by minutes that are gone", TRENDS, "if shorter >= _span(step) and begin < edge:", "if False:", f"{TREND} -k week_before"),
    Mutant(
        "parts of an hour do not add up to it", TRENDS, "count * last // self.step - count * first // self.step", "count * (last - first) // self.step",
        f"{TREND} -k week_before",
    ),
    Mutant("points are shorter than what is kept", TRENDS, "step = max(kept, next(", "step = max(0, next(", f"{TREND} -k as_long_as"),
    Mutant("points that are not kept are asked for", TRENDS, "if step < kept:", "if False:", f"{TREND} -k as_long_as"),
    Mutant("an attempt of a former owner runs for ever", TRENDS, "live.granted_at or owner.taken_over_at", "live.granted_at", HOLD),
    Mutant("attempts that ended are told of twice", "broker/headrace_broker/model/outlook.py", "round(long - told)", "long", f"{UNIT} -k untold"),
    Mutant("held slots are there for others too", "broker/headrace_broker/model/outlook.py", "max(0, self.slots - self.held)", "self.slots", f"{UNIT} -k held"),
    Mutant("a sum of a clock that was ahead stays", ROLLUP, "newest(whole, last - 1)", "newest(whole, last)", f"{RPC} -k time_comes"),
    Mutant("a sum of a clock that was ahead hides the period before it", ROLLUP, "newest(whole, last - 1)", "newest(whole, minute)", f"{RPC} -k time_comes"),
    Mutant("a period is added up all the minute long", ROLLUP, "if self._rolled.get(whole) != at:", "if True:", f"{RPC} -k time_comes"),
    Mutant("each life of an owner stores what all have counted", ROLLUP, "put(owner.first_life_id, rows)", "put(owner.life_id, rows)", f"{COUNTED} -k is_lost"),
    Mutant("a look back empties minutes that have ended", ROLLUP, "look(owner, owner.tally.minute(now_s))", "look(owner, int(now_s // 60))", f"{COUNTED} -k set_back"),
    Mutant(
        "what is stored late is in no sum", ROLLUP, "await self._roll_again({key[0] for key, _ in taken}, int(owner.clock.now_s() // 60))", "pass",
        f"{DUTIES} -k stores_late",
    ),
    Mutant("what was not late before it was stored is in no sum", ROLLUP, "int(owner.clock.now_s() // 60))  # by", "int(now_s // 60))  # by", f"{DUTIES} -k become_late"),
    Mutant(
        "who adds up again does not wait for who adds up", "broker/headrace_broker/store/statistics.py", 'sql("stat_roll_lock"), LOCK)\n            newest',
        'sql("stat_roll_lock"), LOCK + 1)\n            newest', f"{DUTIES} -k while_their_hour",
    ),
    Mutant("hours of a clock that was ahead end the adding up", "broker/headrace_broker/store/sql/queries/stat_rolled.sql", "at <= $2", "$2 > 0", f"{RPC} -k was_ahead"),
)  # fmt: skip
