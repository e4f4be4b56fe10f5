"""Several shards: who owns which, how one is handed over, and that each has what is its own."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
RULE, OWNERSHIP, NUMBERING, FORWARD = (f"{BROKER}/{name}.py" for name in ("model/balance", "shards/ownership", "shards/numbering", "rpc/forward"))
RECOVER, DOORS, TWO = f"{BROKER}/shards/recover.py", f"{BROKER}/shards/doors.py", "tests/fire/test_two_shards.py"
INBOX = f"{BROKER}/store/inbox.py"
DUTIES, GIVEN = "tests/fire/test_shard_duties.py", "tests/fire/test_given_up.py"
STANDING, STUMBLES, QUERIES = f"{BROKER}/store/brokers.py", f"{BROKER}/shards/stumbles.py", f"{BROKER}/store/sql/queries"
PURE, FIRE, STORE, SEEN = "tests/unit/test_balance.py", "tests/fire/test_hand_over.py", "tests/store/test_shards.py", "tests/store/test_standing.py"

MUTANTS = (
    Mutant("shards move while one is free", RULE, "if len(standing.owners) < standing.of:", "if False:", f"{PURE} -k nothing_is_given"),
    Mutant("shards move to and fro", RULE, "<= loads[broker] - 2", "<= loads[broker] - 1", f"{PURE} -k nothing_is_given"),
    Mutant(
        "anybody takes a free shard",
        RULE,
        "standing.waiting.get(number, ()), key=lambda each: (loads[each], each))",
        "standing.waiting.get(number, ()))",
        f"{PURE} -k who_takes",
    ),
    Mutant("free shards all go to the same broker", RULE, "            loads[line[0]] += 1\n", "            pass\n", f"{PURE} -k who_takes"),
    Mutant("shards are given to who is asleep", STANDING, 'elif row["awake"]:', "else:", SEEN),
    Mutant("nobody is waited for", OWNERSHIP, "delay_s = await self.take_delay() if self.take_delay is not None else 0.0", "delay_s = 0.0", f"{FIRE} -k left_to_others"),
    Mutant(
        "who hands over goes on serving",
        OWNERSHIP,
        '        self._stop(flusher, owner, "another broker takes over"',
        '        ("another broker takes over"',
        f"{FIRE} -k refused_and_stored",
    ),
    Mutant(
        "what comes too late for a hand-over is refused",
        FORWARD,
        "            except (Draining, NotOwner):",
        "            except ZeroDivisionError:",
        "tests/rpc/test_forwarding.py -k handed_over",
    ),
    Mutant("two owners give the same ids", NUMBERING, "number % self._places * self._owned.of + self._owned.number", "number % 64", f"{STORE} -k no_id_twice"),
    Mutant(
        "a shard counts the jobs of the others",
        f"{QUERIES}/recover_counts.sql",
        "using (life_id) where l.shard = $1\n), tail",
        "using (life_id)\n), tail",
        f"{STORE} -k counts_lie",
    ),
    Mutant("a successor takes the jobs of other shards for its own", RECOVER, "entry is not None and owner.shard.holds(entry.domain_id)", "True", f"{TWO} -k successor"),
    Mutant("a type that is just made ends a takeover", RECOVER, "owner.types.by_id.get(type_id)", "owner.types.by_id[type_id]", f"{TWO} -k passed_over"),
    Mutant("each shard takes all that comes through doors", DOORS, "if await _is_own(owner, row)]", "]", f"{TWO} -k door"),
    Mutant(
        "checkpoints of all shards share their sides",
        f"{BROKER}/store/checkpoints.py",
        "first = 2 * self._shard",
        "first = 0 * self._shard",
        f"{TWO} -k checkpoint_of_its_own",
    ),
    Mutant(
        "a takeover waits for the checkpoint of another shard",
        f"{BROKER}/store/checkpoints.py",
        '            await con.execute("set local plan_cache_mode = force_custom_plan")\n',
        "",
        f"{TWO} -k while_another_owner_writes",
    ),
    Mutant(
        "an owner reads what is in the inbox for others",
        f"{QUERIES}/inbox_read_shard.sql",
        "(coalesce(d.domain_id, c.domain_id) % $10::int = $9::int or (l.kind = 1 and d.domain_id is null))",
        "true",
        f"{TWO} -k of_the_inbox",
    ),
    Mutant(
        "a submission to a domain that there is not yet is nobody's",
        f"{QUERIES}/inbox_read_shard.sql",
        " or (l.kind = 1 and d.domain_id is null)",
        "",
        f"{TWO} -k of_the_inbox",
    ),
    Mutant("what lies behind much for others is not looked for", DOORS, " or cursor.upto is not None", "", f"{TWO} -k owner_of_its_domain"),
    Mutant("a part of the inbox is taken for the whole", INBOX, 'and found[0]["looked"] == LOOK_AT', "and False", f"{TWO} -k of_the_inbox"),
    Mutant("each owner adopts an inbox", INBOX, 'if row is None or not row["foreign"]:', "if False:", f"{TWO} -k adopted"),
    Mutant(
        "completions that were taken up are counted again on another server",
        f"{QUERIES}/inbox_settled.sql",
        "where n.kind = 2 and (",
        "where n.kind = 0 and (",
        f"{TWO} -k adopted",
    ),
    Mutant(
        "completions that were taken up are counted again by new shards",
        f"{BROKER}/store/shards.py",
        'await con.execute(sql("inbox_settled"))',
        "pass",
        f"{TWO} -k by_new_shards",
    ),
    Mutant(
        "the old cursors of other shards are left",
        f"{QUERIES}/inbox_adopt.sql",
        "shard from headrace.shard\n",
        "shard from headrace.shard where shard = 0\n",
        f"{TWO} -k adopted",
    ),
    Mutant("the doors of other shards hide those of this one", f"{QUERIES}/door_list.sql", ") = $2::int\n", ") >= 0\n", f"{TWO} -k open_doors"),
    Mutant(
        "an alert is forgotten because another shard has newer ones in its groups",
        f"{QUERIES}/alert_trim.sql",
        "oldest.alert_id <= s.cursor",
        "oldest.alert_id <= (select max(cursor) from headrace.alert_state)",
        "tests/store/test_alert_shards.py -k stays_until",
    ),
    Mutant("each owner runs all bulk operations", f"{QUERIES}/operation_running.sql", "o.domain_id % $2 = $3", "o.domain_id % $2 >= $3 * 0", f"{DUTIES} -k bulk"),
    Mutant("each owner has all schedules", f"{QUERIES}/schedule_list.sql", "s.domain_id % $2 = $3", "s.domain_id % $2 >= $3 * 0", f"{DUTIES} -k tick"),
    Mutant("each owner adds the minutes up", f"{BROKER}/duties.py", "sums=ownership.shard.number == 0", "sums=True", f"{DUTIES} -k minutes"),
    Mutant(
        "the number of shards is changed while brokers run", f"{BROKER}/store/shards.py", "            if running:", "            if False:", f"{STORE} -k counts_lie"
    ),
    Mutant("an error that nobody expected ends the broker", OWNERSHIP, "except Exception as error:", "except NotImplementedError as error:", f"{GIVEN} -k decisions"),
    Mutant("a shard that failed is taken again at once", OWNERSHIP, ", self._stumbles.until - loop.time())", ")", f"{GIVEN} -k side_task"),
    Mutant("who may not serve any more tries again", OWNERSHIP, "except MigrationError:", "except NotImplementedError:", f"{GIVEN} -k schema"),
    Mutant("an owner that is cancelled from within leaves its shard alone", OWNERSHIP, "    if task.cancelled():", "    if False:", f"{GIVEN} -k nobody_asked"),
    Mutant("an owner goes on when it is cancelled", OWNERSHIP, "CancelledError:\n        task.cancel()", "CancelledError:\n        pass", f"{GIVEN} -k whoever_cancels"),
    Mutant("health says nothing of a shard that fails", f"{BROKER}/http.py", "for one in ownerships.each if one.stumbles}", "for one in ()}", f"{GIVEN} -k other_shards"),
    Mutant(
        "a shard is given back to who failed in it",
        f"{QUERIES}/shards_now.sql",
        " and l.shard <> all (b.avoids)",
        "",
        "tests/fire/test_balance.py -k met_an_error",
    ),
    Mutant("a shard is avoided for ever", OWNERSHIP, "time() < self._stumbles.away_until", "time() < math.inf", "tests/fire/test_balance.py -k met_an_error"),
    Mutant("a shard is given back after a minute each time", STUMBLES, "self._away_s * 2)", "self._away_s)", f"{GIVEN} -k grows"),
    Mutant(
        "a shard is avoided for longer each time for ever",
        STUMBLES,
        "first_s if now >= self.away_until + WELL_S else",
        "first_s if not self._away_s else",
        f"{GIVEN} -k grows",
    ),
    Mutant("a shard is never well again", STUMBLES, " if now < self.until + WELL_S else 0", "", f"{GIVEN} -k pauses"),
    Mutant(
        "calls make any number of domains",
        f"{BROKER}/shards/ownerships.py",
        "make=make and not full",
        "make=make",
        "tests/rpc/test_choice.py -k no_more_domains",
    ),
    Mutant(
        "who asks about a domain has it remembered",
        f"{BROKER}/rpc/limits.py",
        "pauses = self._ownership.owner.types.look(",
        "pauses = self._ownership.owner.types.domain(",
        "tests/fire/test_limits.py -k leaves_nothing",
    ),
)
