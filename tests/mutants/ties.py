"""What keeps a unique key with one live job, and a job with what it depends on."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
QUERIES = "broker/headrace_broker/store/sql/queries"
KEYED, CHANGES, LEDGER = f"{SHARDS}/keyed.py", f"{SHARDS}/changes.py", "broker/headrace_broker/store/ledger.py"
FLUSH, CLAIM = f"{QUERIES}/flush_keyed.sql", f"{QUERIES}/unique_claim.sql"
STORED = "tests/store/test_ledger.py"
KEYS = "tests/client/test_keys.py"

GRAPH, STANDINGS, RECOVER, OWNER, ENDINGS, TURNS = (f"{SHARDS}/{name}.py" for name in ("graph", "standings", "recover", "owner", "endings", "turns"))
STORED_HEADS = "broker/headrace_broker/store/heads.py"
HEADS, WAITING, GONE = (f"{QUERIES}/{name}.sql" for name in ("heads", "recover_waiting", "range_gone"))
STEPS = "tests/fire/test_graph.py"
WAITED = "tests/store/test_retire.py -k depends_on"

MUTANTS = (
    # dependencies
    Mutant(
        "a job is released by the first of its dependencies",
        GRAPH,
        "            if not unmet and self.sealed.get(live.job_id, True):",
        "            if self.sealed.get(live.job_id, True):",
        f"{STEPS} -k last_of",
    ),
    Mutant(
        "a callback does not wait for a member that runs again",
        GRAPH,
        "        if batch and news.job_id != live.job_id and news.job_id in self._owner.live_jobs:\n            return  # a member that runs again by now\n",
        "",
        f"{STEPS} -k runs_again_before",
    ),
    Mutant("completions in columns release nobody", ENDINGS, "            owner.graph.completed(job_ids)\n", "            pass\n", f"{STEPS} -k last_of"),
    Mutant(
        "how long a held job is kept is not known",
        KEYED,
        "                owner.amended[job_id] = amended\n",
        "                pass\n",
        "tests/fire/test_kept.py -k depends_on",
    ),
    Mutant("a failed dependency is one that completed", GRAPH, "if batch or news.state is State.COMPLETED:", "if True:", f"{STEPS} -k said_by"),
    Mutant(
        "a job that waits on hears no more",
        GRAPH,
        "            self.waiters[job_id] = patient\n",
        "            pass\n",
        f"{STEPS} -k said_by",
    ),
    Mutant("whoever waits on is told of a failure", GRAPH, "return waiter not in self.sealed and self", "return False and self", f"{STEPS} -k before_the_failure"),
    Mutant("whoever waits on is told of a failure that is read", GRAPH, " and not self._waits_on(waiter):", ":", f"{STEPS} -k said_by"),
    Mutant("what failed tells nobody", OWNER, "            self.graph.settled(live.job_id, state)\n", "            pass\n", f"{STEPS} -k said_by"),
    Mutant("a purge tells nobody", CHANGES, "    owner.graph.purged(head.job_id)\n", "", f"{STEPS} -k purged"),
    Mutant("a held job is in its lane", TURNS, "    if live.job_id in owner.graph.unmet:\n        return\n", "", f"{STEPS} -k takes_over"),
    Mutant(
        "a held job leaves a lane that it is not in",
        TURNS,
        "    if job_id not in owner.graph.unmet:\n        owner.lanes",
        "    if True:\n        owner.lanes",
        f"{STEPS} -k aborted",
    ),
    Mutant("all waiters are told in one round", GRAPH, "while news.left and told < AT_ONCE:", "while news.left:", f"{STEPS} -k portion"),
    Mutant("nobody wakes for the rest", GRAPH, "return bool(self._news)", "return False", f"{STEPS} -k portion"),
    Mutant("a held job has two events in one round", GRAPH, "if self._owner.is_moving(live):", "if False:", f"{STEPS} -k same_round"),
    Mutant("a job that waits no more is told", GRAPH, "if self.unmet.get(job_id) is not unmet:", "if job_id not in self.unmet:", f"{STEPS} -k waits_anew"),
    Mutant("what was decided while it was read is forgotten", STANDINGS, "moved=job_id in moved", "moved=False", f"{STEPS} -k read_again"),
    Mutant("a takeover forgets who waits", RECOVER, "            owner.graph.hold(stored.job_id, stored.waits_for)\n", "            pass\n", f"{STEPS} -k takes_over"),
    Mutant("a takeover takes held jobs for ready ones", WAITING, "coalesce(j.more ? 'depends_on', false) as held", "false as held", f"{STEPS} -k takes_over"),
    Mutant(
        "a requeue forgets what the job waits for",
        CHANGES.replace("changes", "requeues"),
        "        owner.graph.hold(live.job_id, waits_for)\n",
        "        pass\n",
        f"{STEPS} -k waits_anew",
    ),
    Mutant(
        "a job that had its turn waits again",
        HEADS,
        " and not exists (select from headrace.event m where m.job_id = j.job_id and (m.job_id & 7) = $2 and m.kind = 13 and m.seq > coalesce(w.since, 0))",
        "",
        f"{STEPS} -k had_its_turn",
    ),
    Mutant("a release forgets when the job is due", GRAPH, "        if live.available_at_s:\n", "        if False:\n", f"{STEPS} -k when_it_is_due"),
    Mutant("what live jobs depend on goes", GONE, " or j.job_id in (select w.job_id from headrace.waited_for($1::int, $2, $3) w)", "", WAITED),
    # batches and children
    Mutant("a callback does not wait for the seal", GRAPH, "if not unmet and self.sealed.get(live.job_id, True):", "if not unmet:", f"{STEPS} -k for_the_seal"),
    Mutant("a failed member fails the callback", GRAPH, "if batch or news.state is State.COMPLETED:", "if news.state is State.COMPLETED:", f"{STEPS} -k requeued_before"),
    Mutant("a requeued member is not waited for", CHANGES.replace("changes", "requeues"), "    owner.graph.requeued(live.job_id)\n", "", f"{STEPS} -k requeued_before"),
    Mutant("a takeover forgets the members", STANDINGS, "owner.graph.learn_batch(", "(lambda *_, **__: None)(", f"{STEPS} -k requeued_before"),
    Mutant("only the first members of a batch are read", STORED_HEADS, 'if len(row["members"]) < MEMBERS_AT_ONCE:', "if True:", f"{STEPS} -k portion_at_a_time"),
    Mutant("a batch is read until no member moves", STANDINGS, "batch_id not in moved:", "batch_id not in moved and moved.isdisjoint(members):", f"{STEPS} -k read_once"),
    Mutant("members that moved while they were read are as they were", GRAPH, "for member in moved.intersection(members):", "for member in ():", f"{STEPS} -k read_once"),
    Mutant("somebody joins a batch that was not read", KEYED, "if job.batch_id in self._owner.graph.unread_batches:", "if False:", f"{STEPS} -k joins"),
    Mutant(
        "who waits for a batch to be read has it flushed for", KEYED, "self._unread.setdefault(job.batch_id, []).append(job)", "later.append(job)", f"{STEPS} -k joins"
    ),
    Mutant(
        "who waits for a batch to be read is not refused", KEYED, ", *(job for jobs in self._unread.values() for job in jobs)):", "):", f"{STEPS} -k hears_of_its_end"
    ),
    Mutant(
        "who waits for a batch to be read waits for ever when it ends",
        GRAPH,
        "        if self.unread_batches.pop(job_id, self) is not self:\n",
        "        if self.unread_batches.pop(job_id, self) is None and False:\n",
        f"{STEPS} -k hears_of_its_end",
    ),
    Mutant("a sealed batch takes members", KEYED, "if not graph.is_open(job.batch_id):", "if False:", f"{STEPS} -k joins"),
    Mutant("a flush holds any number of ties", KEYED, " and ties < TIES_AT_ONCE:", ":", f"{STEPS} -k so_many_ties"),
    Mutant("what a queued job depends on takes no room", OWNER, "size_bytes + TIE_BYTES * len(depends_on or ())", "size_bytes", f"{STEPS} -k takes_room"),
    Mutant("whoever waits is looked at for each further one", STANDINGS, "whom=whom", "whom=None", f"{STEPS} -k waits_already"),
    Mutant(
        "a member waits for its own batch",
        KEYED,
        "if job.depends_on and not after[job.batch_id].isdisjoint(",
        "if False and not after[job.batch_id].isdisjoint(",
        "tests/client/test_batches.py -k refuse",
    ),
    Mutant(
        "a batch that was done before a takeover waits",
        GRAPH,
        "        if self.sealed[job_id] and not self.unmet[job_id]:\n",
        "        if False:\n",
        f"{STEPS} -k settled_before",
    ),
    Mutant(
        "children are submitted again by the next attempt",
        "agent/headrace_agent/context.py",
        '"key": f"{self.job_id}.{self.run}.{name}"',
        '"key": f"{self.lease_epoch}.{self.run}.{name}"',
        "tests/client/test_batches.py -k tried_again",
    ),
    Mutant(
        "a child's body tells it from itself",
        "broker/headrace_broker/rpc/convert.py",
        "    if spec.parent_id:  # a handler",
        "    if False:  # a handler",
        "tests/client/test_batches.py -k tried_again",
    ),
    # unique keys
    Mutant("a unique key is taken from a live job", FLUSH, " where not headrace.is_live(held.job_id)", "", f"{STORED} -k from_no_other"),
    Mutant("a unique key is never given back", FLUSH, "where not headrace.is_live(held.job_id)", "where false", f"{STORED} -k from_no_other"),
    Mutant(
        "a refused job leaves its idempotency key behind",
        FLUSH,
        " and (unique_key is null or exists (select from won w where w.job_id = f.job_id))\n    order by",
        "\n    order by",
        f"{STORED} -k from_no_other",
    ),
    Mutant(
        "a known idempotency key takes the unique key",
        FLUSH,
        "    where g.unique_key is null or g.key is null or not exists (",
        "    where true or not exists (",
        f"{STORED} -k from_no_other",
    ),
    Mutant("a job that is live again takes any key", CLAIM, " where held.job_id = excluded.job_id or not headrace.is_live(held.job_id)", "", f"{STORED} -k live_again"),
    Mutant("a claim that failed goes unnoticed", LEDGER, ") < len(claims):", ") < 0:", f"{STORED} -k live_again"),
    Mutant("a requeue takes no unique key", CHANGES, "        round_.batch.claims[name] = head.job_id\n", "", f"{KEYS} -k taken_meanwhile"),
    Mutant("a requeue does not look who has its key", CHANGES, "if holder is not None and holder != head.job_id:", "if False:", f"{KEYS} -k taken_meanwhile"),
    Mutant("two requeues of one round share a key", CHANGES, "        owner.keyed.note_moved(name)\n", "", f"{KEYS} -k taken_meanwhile"),
    Mutant("who else took the key is not noted", KEYED, "            self.note_moved(keyed.unique_name)\n", "            pass\n", "tests/fire/test_keys.py -k between"),
    Mutant("a unique key twice in one flush", KEYED, " or (by_unique_key.get(job.unique_name) if job.unique_key else None)\n", "\n", f"{KEYS} -k thousand"),
    Mutant("a refusal is an answer", KEYED, "elif unique_holder is not None and keyed.return_holder:", "elif unique_holder is not None:", f"{KEYS} -k free_again"),
    Mutant("followers are left waiting", KEYED, "        for leader, keyed in round_.followers:\n", "        for leader, keyed in []:\n", f"{KEYS} -k thousand"),
)
