"""What is done before work stands still, and what a takeover leaves out."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
CHECKPOINT, FLUSHER, OWNERSHIP, RECOVER = (f"{BROKER}/shards/{name}.py" for name in ("checkpoint", "flusher", "ownership", "recover"))
TESTS = "tests/fire/test_hand_over.py"

MUTANTS = (
    Mutant(
        "work stops before the checkpoint is written", OWNERSHIP, "            await self._flusher.prepare()\n", "            pass\n", f"{TESTS} -k until_all_is_written"
    ),
    Mutant(
        "a checkpoint of before counts as one of now", CHECKPOINT, "while self._newest_at < now and", "while self._newest_at < -1 and", f"{TESTS} -k until_all_is_written"
    ),
    Mutant("two checkpoints are written at the end", FLUSHER, "        self._prepared_at = now\n", "", f"{TESTS} -k until_all_is_written"),
    Mutant(
        "a checkpoint that takes too long is not written",
        FLUSHER,
        "            return\n        self._prepared_at = now\n",
        "        self._prepared_at = now\n",
        f"{TESTS} -k too_long",
    ),
    Mutant(
        "what nothing can store is sent for ever",
        FLUSHER,
        "            except (store.KeyTaken, store.Unstorable):\n",
        "            except store.KeyTaken:\n",
        f"{TESTS} -k nothing_can_store",
    ),
    Mutant(
        "a delete date is beyond what can be stored",
        f"{BROKER}/model/amended.py",
        "min(MAX_MINUTE, math.ceil((settled_at_s + keep_s) / 60))",
        "math.ceil((settled_at_s + keep_s) / 60)",
        "tests/rpc/test_lifecycle.py -k can_be_moved",
    ),
    Mutant("time in which nobody looked counts", OWNERSHIP, "min(loop.time() - looked_at, LOOK_S)", "loop.time() - looked_at", f"{TESTS} -k for_hung"),
    Mutant("who takes over keeps the settings that it knew", OWNERSHIP, "load(everything=True)", "load()", f"{TESTS} -k after_newer_ones"),
    Mutant("who is told to end while it takes over serves", OWNERSHIP, "        if self._draining:  # told", "        if False:  # told", f"{TESTS} -k told_to_end"),
    Mutant(
        "a life that failed to take over keeps its locks",
        OWNERSHIP,
        "                    ledger.abandon()  #",
        "                    pass  #",
        f"{TESTS} -k leaves_the_way",
    ),
    Mutant("the life goes on until all else has ended", OWNERSHIP, "await self._flusher.ledger.leave()", "pass", f"{TESTS} -k waited_for"),
    Mutant(
        "lanes of a checkpoint whose jobs have all been granted are looked at",
        f"{BROKER}/shards/lanes.py",
        "        if not lane:  # what is looked at is never empty\n            self._empty(type_id, priority)\n",
        "",
        "tests/fire/test_checkpoints.py -k leaves_nothing",
    ),
    Mutant("later ranges are read", RECOVER, "if range_.lo <= highest]", "if True]", f"{TESTS} -k later_ids"),
    Mutant("jobs ahead of the clock are forgotten", RECOVER, "highest = max(max_id, lowest_id_at(", "highest = max(0, lowest_id_at(", f"{TESTS} -k ahead_of_the_clock"),
    Mutant(
        "who comes back is written again",
        f"{BROKER}/store/sql/queries/agent_add.sql",
        "where name = $1 and not exists (select from known)",
        "where name = $1",
        f"{TESTS} -k writes_nothing",
    ),
    Mutant(
        "a client waits for longer the more brokers it knows",
        "client/headrace_client/channel.py",
        "return failures // len(self.addresses)",
        "return failures",
        "tests/client/test_overload.py -k one_failure",
    ),
)
