"""Checkpoints, and what a takeover makes of them."""

from tests.mutants.mutant import Mutant

CHECKPOINT, RECOVER, FLUSHER, TIMERS, TURNS = (f"broker/headrace_broker/shards/{name}.py" for name in ("checkpoint", "recover", "flusher", "timers", "turns"))
STORE = "broker/headrace_broker/store"
GET = f"{STORE}/sql/queries/checkpoint_get.sql"
HEADS, EACH = f"{STORE}/sql/queries/recover_heads.sql", "cross join lateral (select * from headrace.job where job_id = u.job_id and (job_id & 7) = $2 limit 1) j"
JOIN = "join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = $2"
TESTS = "tests/fire/test_checkpoints.py"
WHATEVER = f"{TESTS} -k whatever_happened"
CLOCK = f"{TESTS} -k set_back"
ONE_BY_ONE = f"{TESTS} -k looked_up_one_by_one"
PUT = "snapshot.life_id, snapshot.n, side, chunks, snapshot.max_id, floor"

MUTANTS = (
    Mutant("lives that are over are gone through each time", FLUSHER, "absorb = life_id != self._heir ", "absorb = True ", f"{TESTS} -k taken_over_once"),
    Mutant("the counts of lives that are over are not taken over", FLUSHER, "absorb = life_id != self._heir ", "absorb = False ", f"{TESTS} -k taken_over_once"),
    Mutant("jobs that have terms are put together by the hundred thousand", CHECKPOINT, "islice(jobs, TERMS_JOBS)", "islice(jobs, CHUNK_JOBS)", f"{TESTS} -k have_terms"),
    Mutant("nobody has a turn during a takeover", RECOVER, "        yield part\n        await asyncio.sleep(0)\n", "        yield part\n", f"{TESTS} -k have_their_turn"),
    Mutant("the floor does not follow the flushes", CHECKPOINT, "            self.floor = min(self.floor, at)\n", "            pass\n", f"{TESTS} -k earliest_flush"),
    Mutant(
        "the floor is that of the last flush", CHECKPOINT, "self._next_floor = min(self._next_floor or at, at)", "self._next_floor = at", f"{TESTS} -k earliest_flush"
    ),
    Mutant(
        "the floor is that of the first flush",
        CHECKPOINT,
        "self._next_floor = min(self._next_floor or at, at)",
        "self._next_floor = self._next_floor or at",
        f"{TESTS} -k earliest_flush",
    ),
    Mutant("the floor is that of the newest flush", CHECKPOINT, "floor = self._next_floor or self._newest", "floor = self._newest", f"{TESTS} -k earliest_flush"),
    Mutant(
        "the floor is that of the snapshot before", CHECKPOINT, "self._next_floor, self._changed = None, False", "self._changed = False", f"{TESTS} -k earliest_flush"
    ),
    Mutant("checkpoints are written of what did not change", CHECKPOINT, " or not self._changed or", " or", f"{TESTS} -k did_not_change"),
    Mutant(
        "what could not be written is not tried again", CHECKPOINT, "self._snapshot, self._changed = None, True", "self._snapshot = None", f"{TESTS} -k did_not_change"
    ),
    Mutant(
        "any connection makes a checkpoint the newest",
        CHECKPOINT,
        f"await ledger.put_checkpoint({PUT})",
        f'from headrace_broker.store.statements import sql; await self._store._pool.execute(sql("checkpoint_put"), {PUT}, 0)',
        f"{TESTS} -k followed_by_another",
    ),
    Mutant(
        "a snapshot is taken while keyed jobs are being stored",
        FLUSHER,
        "            if keyed is not None:\n",
        "            self._checkpoints.take_if_due(self._owner, self.ledger, loop.time())\n            if keyed is not None:\n",
        f"{TESTS} -k keyed_jobs",
    ),
    Mutant("a checkpoint without all its chunks is used", f"{STORE}/checkpoints.py", ' if chunks["count"] == row["chunks"] else None', "", f"{TESTS} -k not_whole"),
    Mutant("the flush rows do not tell that the clock was set back", GET, "select min(f.at) from headrace.life", "select max(c.floor) from headrace.life", CLOCK),
    Mutant("the floor is not lowered when the flush rows tell no more", f"{STORE}/ledger.py", "            if floor is not None:\n", "            if False:\n", CLOCK),
    Mutant("the floor is raised", f"{STORE}/sql/queries/checkpoint_floor.sql", "set floor = $1 where floor > $1", "set floor = now() where floor > $1", CLOCK),
    Mutant(
        "the side of the newest checkpoint is emptied",
        f"{STORE}/sql/migrations/0004_checkpoint.sql",
        "select from headrace.checkpoint where side = wanted",
        "select where false",
        f"{TESTS} -k slept",
    ),
    Mutant("what happened since the checkpoint is passed over", RECOVER, "recovery.heads(touched | live)", "recovery.heads(live)", WHATEVER),
    Mutant("what had happened by the checkpoint is passed over", RECOVER, "recovery.heads(touched | live)", "recovery.heads(touched)", WHATEVER),
    Mutant("jobs of the checkpoint that something happened to since wait twice", RECOVER, "passed = touched | settled | live |", "passed = live |", WHATEVER),
    Mutant("jobs of the checkpoint that something had happened to wait twice", RECOVER, "passed = touched | settled | live |", "passed = touched | settled |", WHATEVER),
    Mutant("entries of the checkpoint that do not count are restored", RECOVER, "if chunk.kind is ChunkKind.DROPPED for", "if False for", WHATEVER),
    Mutant(
        "scheduled jobs that were aborted since are restored",
        RECOVER,
        "kept = [job_id not in passed for",
        "kept = [True for",
        WHATEVER,
    ),
    Mutant("jobs of the checkpoint are read again", RECOVER, "above = stored.max_id if stored is not None else 0", "above = 0", WHATEVER),
    Mutant("jobs above the checkpoint are not read", RECOVER, "above = stored.max_id if stored is not None else 0", "above = 1 << 62", WHATEVER),
    Mutant(
        "the highest id of the checkpoint is read again",
        f"{STORE}/recovery.py",
        "first = max(range_.lo, above + 1)\n        while",
        "first = max(range_.lo, above)\n        while",
        f"{TESTS} -k highest_id",
    ),
    Mutant(
        "a takeover by a checkpoint forgets who held what",
        RECOVER,
        "    await _restore_leases(owner, recovery)\n    passed",
        "    passed",
        WHATEVER,
    ),
    Mutant(
        "all jobs are read to find some", HEADS, EACH, "join headrace.job j on j.job_id = u.job_id and (j.job_id & 7) = $2", "tests/store/test_plans.py -k recover_heads"
    ),
    Mutant("jobs above the checkpoint that something happened to are passed over", RECOVER, "recovery.live(range_, above)", "recovery.live(range_, 1 << 62)", ONE_BY_ONE),
    Mutant("all jobs that something happened to are looked up", RECOVER, "touched.update(found)", "touched.update(found + ended)", ONE_BY_ONE),
    Mutant("jobs that were completed since the checkpoint wait again", RECOVER, "settled.update(ended)", "pass", ONE_BY_ONE),
    Mutant("flushes that a checkpoint holds tell since when to read", GET, "case when l.life_id = c.life_id then c.n end", "0", f"{TESTS} -k a_checkpoint_holds"),
    Mutant("what came due before a takeover waits in the timers", TURNS, "    if not all(later):", "    if False:", f"{TESTS} -k time_came_before"),
    Mutant("of jobs of a bucket only the first is remembered", TIMERS, "end = start + len(list(run))", "end = start + 1", "tests/unit/test_timers.py -k one_by_one"),
    Mutant(
        "a broker does not say that it began with a checkpoint",
        "broker/headrace_broker/shards/ownership.py",
        "from_checkpoint=floor is not None",
        "from_checkpoint=True",
        "tests/e2e/test_recovery.py -k lacks_a_chunk",
    ),
)
