"""Fences, takeover and deletion."""

from tests.mutants.mutant import Mutant

FLUSH = "broker/headrace_broker/store/sql/queries/flush.sql"
KEYED = "broker/headrace_broker/store/sql/queries/flush_keyed.sql"
LEDGER = "broker/headrace_broker/store/ledger.py"
OWNERSHIP = "broker/headrace_broker/shards/ownership.py"
FOUND, UNTIE, MOVED = (f"broker/headrace_broker/store/sql/queries/range_{name}.sql" for name in ("gone", "untie", "moved"))
SPENT = "broker/headrace_broker/store/sql/queries/flush_slot_spent.sql"
FLOORS = "broker/headrace_broker/store/sql/queries/range_floors.sql"
LOOK = "broker/headrace_broker/store/retire.py"
QUERIES = "broker/headrace_broker/store/sql/queries"
FENCES = "tests/store/test_fences.py"
GONE, TIED, LATE = (f"tests/store/test_retire.py -k {words}" for words in ("what_is_gone", "depends_on", "after_the_look"))

TRIM, FORGOTTEN = "broker/headrace_broker/store/sql/queries/agent_trim.sql", "tests/store/test_tidy_agents.py"
TIDY_AGENTS = "broker/headrace_broker/maintenance/tidy_agents.py"

DUTIES = "broker/headrace_broker/duties.py"
NUMBERING, RANGES = "broker/headrace_broker/shards/numbering.py", "tests/fire/test_ranges.py"
LIVES, ENDED = "broker/headrace_broker/store/sql/queries/life_trim.sql", "tests/store/test_tidy_lives.py -k only_lives"

MUTANTS = (
    Mutant("lives whose counts nobody has taken over are forgotten", LIVES, "b.max_id = 0 and b.count_value = '{}'", "b.max_id = 0", ENDED),
    Mutant("the highest id of a life is forgotten", LIVES, "b.max_id = 0 and b.count_value = '{}'", "b.count_value = '{}'", ENDED),
    Mutant("lives that have flush rows are forgotten", LIVES, "f.life_id = l.life_id)", "false)", ENDED),
    Mutant("lives that a checkpoint names are forgotten", LIVES, "c.life_id = l.life_id)", "false)", ENDED),
    Mutant("lives that live are forgotten", LIVES, "from old where pg_try_advisory_xact_lock($1::int, life_id)", "from old where $1::int is not null", ENDED),
    Mutant("young lives are forgotten", LIVES, "l.started_at < now() - make_interval(secs => $2::float8)", "$2::float8 > 0", ENDED),
    Mutant(
        "no broker forgets agents",
        DUTIES,
        'yield repeat("agents", TidyAgents(parts.settings, now_s).run_once,',
        'repeat("agents", TidyAgents(parts.settings, now_s).run_once,',
        f"{FORGOTTEN} -k a_broker_notes",
    ),
    Mutant(
        "no broker notes which agents are there", DUTIES, 'yield repeat("agents that are there",', 'repeat("agents that are there",', f"{FORGOTTEN} -k a_broker_notes"
    ),
    Mutant("no broker forgets lives", DUTIES, 'yield repeat("lives",', 'repeat("lives",', f"{FORGOTTEN} -k a_broker_notes"),
    Mutant("agents that jobs name are forgotten", TRIM, "e.agent_id = a.agent_id", "false", f"{FORGOTTEN} -k nothing_names"),
    Mutant("agents that statistics name are forgotten", TRIM, "s.agent_id = a.agent_id", "false", f"{FORGOTTEN} -k nothing_names"),
    Mutant("agents that are missed are forgotten", TRIM, "g.incarnation_id = a.incarnation_id", "false", f"{FORGOTTEN} -k nothing_names"),
    Mutant("agents are forgotten before the time", TIDY_AGENTS, "KEPT_S = 65 * 86_400.0", "KEPT_S = 63 * 86_400.0", f"{FORGOTTEN} -k before_the_time"),
    Mutant("an agent that just came back is forgotten", TRIM, " and a.last_seen < to_timestamp($1::float8) returning", " returning", f"{FORGOTTEN} -k just_come_back"),
    Mutant(
        "agents are forgotten however much is to be read",
        TIDY_AGENTS,
        "(size := await self.store.named_by_bytes(below_id)) > MOST_BYTES",
        "(size := 0)",
        f"{FORGOTTEN} -k too_much",
    ),
    Mutant(
        "an agent that comes back is not noted",
        "broker/headrace_broker/store/sql/queries/agent_add.sql",
        " and a.last_seen > now() - interval '1 day'",
        "",
        f"{FORGOTTEN} -k come_back",
    ),
    Mutant(
        "agents that are there are written again and again",
        "broker/headrace_broker/store/sql/queries/agent_seen.sql",
        " and last_seen < now() - interval '1 hour'",
        "",
        f"{FORGOTTEN} -k once_an_hour",
    ),
    Mutant(
        "an agent is remembered although its life may have been forgotten",
        "broker/headrace_broker/rpc/agents.py",
        " or now - found[2] > REMEMBERED_S",
        "",
        "tests/fire/test_overload.py -k without_asking",
    ),
    Mutant(
        "an index that somebody else has made is made again",
        "broker/headrace_broker/store/log_index.py",
        'if await con.fetchval(sql("log_index_made"), f"{leaf}_trgm"):',
        "if False:",
        "tests/store/test_log_index.py -k has_indexed_meanwhile",
    ),
    Mutant("ids are given that have no partition", NUMBERING, ">= there.stop", "> ids.MAX_ID", f"{RANGES} -k beyond_all"),
    Mutant("a class is used for ids that it has no partition for", NUMBERING, "there.start <= first and self.newest < there.stop", "True", f"{RANGES} -k default_class"),
    Mutant(
        "partitions are made for the clock alone",
        "broker/headrace_broker/shards/ownership.py",
        "max(owner.clock.now_s(), created_at_s(owner.numbering.highest))",
        "owner.clock.now_s()",
        f"{RANGES} -k first_used",
    ),
    Mutant(
        "a lock stays with the connection that took it",
        "broker/headrace_broker/store/log_index.py",
        "                await put_right(con)  # settings",
        "                pass  #",
        "tests/store/test_log_index.py -k sealed_ranges",
    ),
    Mutant(
        "settings stay with the connection that changed them",
        LOOK,
        "                await put_right(con)\n",
        "                pass\n",
        "tests/store/test_retire.py -k was_interrupted",
    ),
    Mutant(
        "what cannot be put right is used on",
        "broker/headrace_broker/store/pool.py",
        "        con.terminate()\n",
        "        pass\n",
        "tests/store/test_pool.py -k is_closed",
    ),
    Mutant(
        "what makes a new cluster start is not synced",
        "broker/headrace_broker/store/embedded.py",
        "self._sync(conf.fileno())",
        "conf.fileno()",
        "tests/chaos/test_power.py -k new_cluster",
    ),
    Mutant("flush: a dead life may write", FLUSH, " and not dead", "", f"{FENCES} -k dead_life_stores"),
    Mutant("flush: any connection may write for a life", FLUSH, " and backend_pid = pg_backend_pid()", "", f"{FENCES} -k name_of_another"),
    Mutant("flush: any life of the connection will do", FLUSH, "life_id = $1 and not dead", "not dead", f"{FENCES} -k name_of_another"),
    Mutant("flush: the life's row is not locked", FLUSH, " for share", "", f"{FENCES} -k middle_of_its_flush"),
    Mutant(
        "flush: jobs without the fence",
        FLUSH,
        "as payload\n    ) as u, fence",
        "as payload\n    ) as u",
        f"{FENCES} -k dead_life_stores",
    ),
    Mutant(
        "flush: events without the fence",
        FLUSH,
        "as error\n    ) as u, fence\n), notes as (",
        "as error\n    ) as u\n), notes as (",
        f"{FENCES} -k dead_life_stores",
    ),
    Mutant(
        "flush: notes without the fence",
        FLUSH,
        "as data\n    ) as u, fence",
        "as data\n    ) as u",
        f"{FENCES} -k dead_life_stores",
    ),
    Mutant(
        "flush: alerts without the fence",
        FLUSH,
        "as error\n    ) as u, fence\n), flush as (",
        "as error\n    ) as u\n), flush as (",
        f"{FENCES} -k dead_life_stores",
    ),
    Mutant("flush: counts without the fence", FLUSH, "$7, $8 from fence", "$7, $8", f"{FENCES} -k dead_life_stores"),
    Mutant("flush_keyed: a dead life may write", KEYED, " and not dead", "", f"{FENCES} -k dead_life_stores"),
    Mutant("flush_keyed: any connection may write for a life", KEYED, " and backend_pid = pg_backend_pid()", "", f"{FENCES} -k name_of_another"),
    Mutant("flush_keyed: any life of the connection will do", KEYED, "life_id = $1 and not dead", "not dead", f"{FENCES} -k name_of_another"),
    Mutant("flush_keyed: the life's row is not locked", KEYED, " for share", "", f"{FENCES} -k middle_of_its_flush"),
    Mutant("flush_keyed: jobs and keys without the fence", KEYED, "as payload\n    ) as u, fence", "as payload\n    ) as u", f"{FENCES} -k dead_life_stores"),
    Mutant("flush_keyed: counts without the fence", KEYED, "from counted, fence", "from counted", f"{FENCES} -k dead_life_stores"),
    Mutant(
        "a life whose end is cancelled keeps its connection",
        LEDGER,
        "            if not self._con.is_closed():\n                self._con.terminate()\n",
        "            pass\n",
        "tests/store/test_ledger.py -k end_is_cancelled",
    ),
    Mutant("a fenced flush is taken for a stored one", LEDGER, 'if row is None or not row["alive"]:', "if row is None:", f"{FENCES} -k dead_life_stores"),
    Mutant("a warning at the commit is passed over", LEDGER, "if self._warned:", "if False:", f"{FENCES} -k warning"),
    Mutant(
        "shards are taken without the lock",
        LEDGER,
        "LIFE_LOCKS, life_id):\n                return False",
        "LIFE_LOCKS, life_id):\n                pass",
        "tests/store/test_ledger.py -k marked_dead",
    ),
    Mutant("the old life is not marked dead", LEDGER, 'await self._con.execute(sql("life_mark_dead"), life_id)', "pass", f"{FENCES} -k a_taker_ends"),
    Mutant("a backend is ended by its pid alone", f"{QUERIES}/life_terminate.sql", " and a.backend_start = l.backend_start", "", f"{FENCES} -k merely_has_the_pid"),
    Mutant("a broker does not end its own old backend", OWNERSHIP, "await ledger.terminate(dead.life_id)", "pass", f"{FENCES} -k its_own_old_life"),
    Mutant(
        "a broker does not take over from its old life", OWNERSHIP, "while not await ledger.take_over(dead.life_id):", "while False:", f"{FENCES} -k its_own_old_life"
    ),
    Mutant(
        "a broker does not look whether its shards were taken",
        OWNERSHIP,
        "if not await ledger.owns_its_shard():",
        "if False:",
        f"{FENCES} -k meanwhile",
    ),
    Mutant("a hanging owner is not ended", OWNERSHIP, "await ledger.terminate(holder.life_id)", "pass", "tests/fire/test_frozen_broker.py"),
    Mutant("calls at a broker that lost the queue are left waiting", OWNERSHIP, "        self.left.set()\n", "", "tests/fire/test_frozen_broker.py"),
    Mutant("retiring: jobs that only wait go", FOUND, "(h.at < f.floor) is not true", "h.at >= f.floor", GONE),
    Mutant("retiring: purged jobs stay", FOUND, "(h.state <= 5 and (h.delete_minute", "((h.delete_minute", GONE),
    Mutant("retiring: jobs kept for ever go", FOUND, "(h.delete_minute is null or h.delete_minute >= $4)", "(h.delete_minute >= $4)", GONE),
    Mutant("retiring: jobs that are not due go", FOUND, "(h.delete_minute is null or h.delete_minute >= $4)", "(h.delete_minute is null)", GONE),
    Mutant("retiring: keys go before their time", FOUND, " or (j.idempotency_key is not null and j.job_id >= $5)", "", GONE),
    Mutant("retiring: keys of jobs that stay go", UNTIE, " and not exists (select from kept s where s.job_id = j.job_id)", "", GONE),
    Mutant("retiring: unique keys of jobs that stay go", UNTIE, " and not exists (select from kept s where s.job_id = k.job_id)", "", TIED),
    Mutant("retiring: edges of parents that stay go", UNTIE, " and not exists (select from kept s where s.job_id = x.parent_id)", "", TIED),
    Mutant("retiring: edges of children that stay go", UNTIE, " and not exists (select from kept s where s.job_id = x.child_id)", "", TIED),
    Mutant("retiring: edges to children that are gone stay", UNTIE, "and x.child_id < $3 and not", "and x.child_id < $2 and not", TIED),
    Mutant(
        "a range goes in which something was stored since",
        LOOK,
        '        if await self._read("range_moved", range_.class_, range_.lo, range_.hi, found.at, found.last, found.kept):',
        "        if False:",
        LATE,
    ),
    Mutant(
        "a range goes in which something was stored before the lock",
        LOOK,
        '                if await con.fetchval(sql("range_moved"), range_.class_, range_.lo, range_.hi, found.at, found.last, found.kept):',
        "                if False:",
        "tests/store/test_retire.py -k under_way_when",
    ),
    Mutant(
        "a flush may wait until a hundred thousand jobs are put back",
        "broker/headrace_broker/maintenance/retention.py",
        "MOST_BESIDE_LIVE if found.live else MOST_KEPT",
        "MOST_KEPT",
        "tests/store/test_retire.py -k some_of_them_live",
    ),
    Mutant(
        "jobs go of which the newest checkpoint may say that they wait", FOUND, " or (h.at < f.floor) is not true", "", "tests/store/test_retire.py -k newest_checkpoint"
    ),
    Mutant(
        "a clock that was set back is not thought of",
        FLOORS,
        "select min(f.at) from",
        "select min(f.at) filter (where false) from",
        "tests/store/test_retire.py -k newest_checkpoint",
    ),
    Mutant(
        "flushes that a checkpoint holds are gone through for what a range may lose",
        FLOORS,
        "case when l.life_id = c.life_id then c.n end",
        "0",
        "tests/fire/test_checkpoints.py -k do_not_tell_since",
    ),
    Mutant("settled jobs count as live ones", FOUND, "coalesce(h.state <= 2, true) as lives", "true as lives", "tests/store/test_retire.py -k some_of_them_live"),
    Mutant("a flush may wait for what is put back", LOOK, "LOCKED_S if found.live else None", "None", "tests/store/test_retire.py -k takes_too_long_to_be_put_back"),
    Mutant("a new job is not seen before a range goes", MOVED, "job_id > $5", "false", LATE),
    Mutant("a new event is not seen before a range goes", MOVED, "e.at >= $4", "false", LATE),
    Mutant(
        "a range of which nothing stays is locked to be emptied",
        LOOK,
        "            if found.kept:\n                await",
        "            if True:\n                await",
        "tests/store/test_retire.py -k nobody_waits",
    ),
    Mutant(
        "a range is looked through though too much stays",
        LOOK,
        "return len(kept) <= most_kept",
        "return True",
        "tests/store/test_retire.py -k too_much_stays",
    ),
    Mutant("flush rows go that the counts still need", SPENT, "f.n <= coalesce(b.n, 0) and ", "", "tests/store/test_retire.py -k dead_life"),
    Mutant("the newest flush row of a life goes", SPENT, "(l.dead or f.n < b.n)", "true", "tests/store/test_retire.py -k nobody_needs"),
    Mutant(
        "flush rows of the slot in use go",
        SPENT,
        " and f.at not between now() - make_interval(secs => $2::float8) and now()",
        "",
        "tests/store/test_retire.py -k nobody_needs",
    ),
    Mutant(
        "a clock that was set back holds the space of flush rows",
        SPENT,
        "not between now() - make_interval(secs => $2::float8) and now()",
        "<= now() - make_interval(secs => $2::float8)",
        "tests/store/test_retire.py -k nobody_needs",
    ),
    Mutant(
        "flush rows go that were written while their slot was waited for",
        LOOK,
        "slot, kept_s):  # somebody",
        "slot, kept_s) or True:  # somebody",
        "tests/store/test_retire.py -k under_its_lock",
    ),
    Mutant(
        "each life has slots of its own for its flush rows",
        FLUSH,
        "date_part('epoch', now())::bigint / $3::int",
        "$2::bigint / $3::int",
        "tests/store/test_retire.py -k whosever",
    ),
    Mutant(
        "an outcome again is not told from a late one",
        f"{QUERIES}/endings.sql",
        "coalesce(late.kind, e.kind, 0)",
        "coalesce(e.kind, 0)",
        "tests/fire/test_lost.py -k silent_agent",
    ),
    Mutant(
        "an older checkpoint of an attempt counts when the clock was set back",
        f"{QUERIES}/bodies.sql",
        "age(n.xmin), n.at desc limit 1\n) c on true",
        "n.at desc limit 1\n) c on true",
        "tests/fire/test_set_back.py -k newest_checkpoint_of_an_attempt",
    ),
    Mutant("an older change of a job counts when the clock was set back", f"{QUERIES}/heads.sql", "age(n.xmin), ", "", "tests/fire/test_set_back.py -k newest_word"),
    Mutant("a takeover believes an older change of a job", f"{QUERIES}/recover_amended.sql", "age(n.xmin), ", "", "tests/fire/test_set_back.py -k newest_word"),
    Mutant("a takeover believes an older abort of a job", f"{QUERIES}/recover_aborts.sql", "age(n.xmin) desc, ", "", "tests/fire/test_set_back.py -k newest_word"),
    Mutant("checkpoints outlive a requeue", f"{QUERIES}/bodies.sql", "e.kind = 10", "e.kind = 99", "tests/fire/test_reordered.py -k outlive_a_requeue"),
    Mutant(
        "a flush waits for keys that are taken back as long as that takes",
        LOOK,
        "statement_timeout = '{UNTIE_LONGEST}'",
        "statement_timeout = '{LONGEST}'",
        "tests/store/test_retire.py -k taken_back",
    ),
    Mutant(
        "keys that lie close together are never taken back",
        LOOK,
        "            if width == 1:\n",
        "            if width:\n",
        "tests/store/test_retire.py -k in_smaller_ones",
    ),
    Mutant(
        "a migration has the time that the database gives to statements",
        "broker/headrace_broker/store/migrate.py",
        '"statement_timeout": "0", ',
        "",
        "tests/store/test_migrate.py -k as_long_as_it_takes",
    ),
    Mutant("flushes are cut in two", LEDGER, "            widen(con)\n", "", "tests/store/test_send_buffer.py -k large"),
    Mutant("a look at a range may never end", LOOK, "width = max(least, int(", "width = max(1, int(", "tests/store/test_retire.py -k a_look_ends"),
    Mutant("the clock may be set back in the middle of a look", LOOK, "after[type_id] < floor for", "False for", "tests/store/test_retire.py -k has_it_looked_at_again"),
)
