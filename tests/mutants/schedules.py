"""Guards of the schedules."""

from tests.mutants.mutant import Mutant

MODEL, OWNER = "broker/headrace_broker/model/schedule.py", "broker/headrace_broker/shards/schedules.py"
FLUSH, ACTIONS = "broker/headrace_broker/store/sql/queries/flush_fires.sql", "broker/headrace_broker/actions/schedules.py"
UNIT, SERVED = "tests/unit/test_schedule.py", "tests/rpc/test_schedules.py"

MUTANTS = (
    Mutant("the hour that comes twice ticks back", MODEL, "if tick > after:", "if True:", f"{UNIT} -k both_changes"),
    Mutant("after the hour that comes twice nothing is looked back for", MODEL, " - max(timedelta(), twice) - MINUTE", " - MINUTE", f"{UNIT} -k both_changes"),
    Mutant("the hour that comes twice ticks once", MODEL, "            if first < second and by_elapsed_time:", "            if False:", f"{UNIT} -k both_changes"),
    Mutant("a time that is left out ticks by elapsed time too", MODEL, "                if by_elapsed_time:", "                if False:", f"{UNIT} -k both_changes"),
    Mutant("an interval counts from now", MODEL, "self.anchor or EPOCH", "after", f"{UNIT} -k anchor"),
    Mutant("no bound at the end", MODEL, "tick <= self.end_at, every", "True, every", f"{UNIT} -k anchor"),
    Mutant("all ticks of a downtime are walked", MODEL, "begin = max(first, now - span)", "begin = first", f"{UNIT} -k long_downtime"),
    Mutant("late ticks fire whatever the policy", MODEL, 'late and spec.missed == "skip"', "False", f"{UNIT} -k decided_after"),
    Mutant("a tick is fired before its time", MODEL, "if first is None or schedule.due_at(first) > now:", "if first is None:", f"{UNIT} -k jitter"),
    Mutant("a tick that its jitter holds back counts", MODEL, "if schedule.due_at(tick) <= now]", "]", f"{UNIT} -k holds_back"),
    Mutant(
        "where all newest ticks are held back the oldest is fired",
        MODEL,
        "due or spec.when.due(first, now - timedelta(seconds=spec.jitter_s), most)",
        "due",
        f"{UNIT} -k more_ticks_are_held_back",
    ),
    Mutant(
        "a tick after which no time comes keeps owners from serving",
        MODEL,
        "min(timedelta(seconds=self.spec.jitter_s * share), LATEST - tick)",
        "timedelta(seconds=self.spec.jitter_s * share)",
        "tests/fire/test_made_up.py -k no_time_comes",
    ),
    Mutant("an interval goes on after the year 9999", MODEL, "        except OverflowError:", "        except ZeroDivisionError:", f"{UNIT} -k year_9999"),
    Mutant("a schedule that is put anew forgets its last tick", MODEL, "max(now, ticked_at or now)", "now", f"{UNIT} -k brings_back"),
    Mutant("what is due is lost when the job changes", MODEL, "old.next_at if old.spec.when == when else", "", f"{UNIT} -k brings_back"),
    Mutant("a paused schedule ticks after a change", MODEL, "if old.paused_at is not None:", "if False:", f"{UNIT} -k brings_back"),
    Mutant("six fields are taken", MODEL, "if len(self.cron.split()) != 5:", "if False:", f"{UNIT} -k no_schedule"),
    Mutant("the overlap policy is not asked", FLUSH, "not h.lives or h.overlap in", "true or h.overlap in", f"{SERVED} -k overlap"),
    Mutant(
        "a tick overtakes the one that waits",
        FLUSH,
        "when h.overlap = 'queue' and g.verb = 'tick' and h.queued_at is not null then",
        "when false then",
        "tests/fire/test_made_up.py -k before_the_next",
    ),
    Mutant("jobs of a lost answer are forgotten", OWNER, "if fired is not None else stored", "if fired is not None else frozenset()", f"{SERVED} -k cut_off"),
    Mutant("nobody is aborted", OWNER, "if s.aborting_id is not None]", "if False]", f"{SERVED} -k overlap"),
    Mutant(
        "a tick takes the place of an abort that is not asked for",
        OWNER,
        "if schedule.aborting_id is not None:\n            return False",
        "if False:\n            return False",
        "tests/fire/test_made_up.py",
    ),
    Mutant("the broker's own labels may be set", ACTIONS, 'if label in fields.labels("spec.labels", spec.labels or {}):', "if False:", f"{SERVED} -k refused_by_field"),
    Mutant(
        "a deleted schedule takes all its ticks along at once",
        "broker/headrace_broker/store/sql/queries/schedule_trim.sql",
        "\n        and not exists (select from headrace.schedule_fire f where f.schedule_id = s.schedule_id)",
        "",
        "tests/store/test_trim.py -k deleted_schedule",
    ),
    Mutant(
        "a schedule that is made again is forgotten all the same",
        "broker/headrace_broker/store/sql/queries/schedule_trim.sql",
        "from headrace.schedule s where deleted and changed_at < now() - interval '7 days'",
        "from headrace.schedule s using ended where s.schedule_id = ended.schedule_id",
        "tests/store/test_trim.py -k made_again",
    ),
    Mutant("old ticks go a portion an hour", OWNER, "next_trim = 0.0", "next_trim += 0.0", "tests/store/test_trim.py -k goes_on"),
)
