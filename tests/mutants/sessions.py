"""What a session, and its agent at the other end, may do."""

from tests.mutants.mutant import Mutant

SHARDS = "broker/headrace_broker/shards"
OWNER, SESSION, RECEPTION = (f"{SHARDS}/{name}.py" for name in ("owner", "session", "reception"))
RPC = "broker/headrace_broker/rpc/agents.py"
ROUNDS, TIMES, LOST, DOUBLED, REORDERED = (f"tests/fire/test_{name}.py" for name in ("rounds", "times", "lost", "doubled", "reordered"))
MEMORY = "tests/unit/test_memory.py"
IDLE = "tests/unit/test_idle_streams.py"
GUARD = "broker/headrace_broker/rpc/interceptors.py"

MUTANTS = (
    Mutant("a stream that waits keeps its last answer", GUARD, "del answer  # the next one may be long in coming", "pass", f"{IDLE} -k came_and_went"),
    Mutant("a stream that waits keeps its last request", GUARD, "        del request\n", "", f"{IDLE} -k came_and_went"),
    Mutant("an agent's reader keeps its last message", RPC, "                del message ", "                pass ", "tests/fire/test_defects.py -k keeps_no_message"),
    Mutant("looking for a message makes one", SESSION, "return bool(self._out)", "return bool(self.out)", f"{IDLE} -k looking_makes_none"),
    Mutant("who was woken already is woken again", SESSION, "and not self._waiter.done():", ":", f"{IDLE} -k woken_before"),
    Mutant("who waits is not woken", SESSION, "            self._waiter.set_result(None)", "            pass", f"{IDLE} -k woken_before"),
    Mutant("an agent that was lost is granted jobs", SESSION, "self.stream is None or self.lost or", "self.stream is None or", f"{ROUNDS} -k was_lost_is_granted"),
    Mutant("a heartbeat is confirmed before a proof", SESSION, "self.beats[0][1] <= flushed", "True", f"{MEMORY} -k began_after"),
    Mutant(
        "a flush that began before a heartbeat confirms it",
        OWNER,
        "session.confirm(round_.number - 1, now",
        "session.confirm(round_.number, now",
        f"{TIMES} -k began_after",
    ),
    Mutant("heartbeats of an agent with leases are confirmed now and then", SESSION, "(self.leases or now", "(now", "tests/unit/test_memory.py -k now_and_then"),
    Mutant("one heartbeat without a lease gives it back", RECEPTION, "live.missed >= 2", "live.missed >= 1", f"{LOST} -k two_heartbeats"),
    Mutant("a lease that no heartbeat names lasts", RECEPTION, "live.missed >= 2", "False", f"{LOST} -k two_heartbeats"),
    Mutant(
        "a heartbeat of an older lease keeps the new one",
        RECEPTION,
        "arrived and held.get(live.job_id) != live.seq",
        "arrived and live.job_id not in held",
        f"{LOST} -k older_lease",
    ),
    Mutant("heartbeats that cross an Assign give it back", RECEPTION, "if arrived and held", "if held", f"{LOST} -k cross_an_assign"),
    Mutant("a heartbeat of an older lease is not told so", RECEPTION, "if live is None or live.seq != epoch:", "if live is None:", f"{REORDERED} -k is_not_held"),
    Mutant(
        "a hello claims another epoch",
        RECEPTION,
        "claimable = live is not None and live.seq == epoch and",
        "claimable = live is not None and",
        f"{LOST} -k claims_the_lease",
    ),
    Mutant("a hello claims what does not run", RECEPTION, " and live.state is State.PROCESSING and live.agent_id", " and live.agent_id", f"{ROUNDS} -k what_is_no_lease"),
    Mutant("a hello claims another agent's lease after a takeover", RECEPTION, " and live.agent_id == facts.agent_id", "", f"{LOST} -k waits_a_full_lease"),
    Mutant(
        "a lost Assign stays granted",
        RECEPTION,
        "found = [live for live in session.leases.values() if live.job_id not in held] if",
        "found = [] if",
        f"{LOST} -k assign_that_was_lost_is_given",
    ),
    Mutant("a pending abort is not told again", RECEPTION, "        if live.abort is not None:\n", "        if False:\n", f"{LOST} -k order_to_abort"),
    Mutant(
        "what is under way is not subtracted from credit",
        SESSION,
        "        for _, types in self._unseen:\n            under_way.update(types)\n",
        "",
        f"{MEMORY} -k credit",
    ),
    Mutant(
        "what was not sent yet is not subtracted from credit", SESSION, "Counter([live.entry.type_id for live in self.unsent])", "Counter[int]()", f"{MEMORY} -k credit"
    ),
    Mutant("an older credit gives room", SESSION, "if assign_no < self._credit_no:", "if False:", f"{REORDERED} -k older_credit"),
    Mutant("credit has no limit", SESSION, "min(free, self.slots)", "free", f"{REORDERED} -k more_than_its_slots"),
    Mutant("a lease of another session is sent", SESSION, "live in unsent and live.session is self and ", "live in unsent and ", f"{MEMORY} -k not_sent"),
    Mutant(
        "a lease that was followed by another is sent",
        SESSION,
        "live.seq == epoch and live.state is State.PROCESSING:",
        "live.state is State.PROCESSING:",
        f"{MEMORY} -k not_sent",
    ),
    Mutant("what does not run any more is sent", SESSION, "live.seq == epoch and live.state is State.PROCESSING:", "live.seq == epoch:", f"{MEMORY} -k not_sent"),
    Mutant("an abort is told before its job", SESSION, "if out.aborts and self.unsent:", "if False:", f"{ROUNDS} -k told_with_it"),
    Mutant("an abort is not told with its job", SESSION, "                if live.abort is not None:\n", "                if False:\n", f"{ROUNDS} -k told_with_it"),
    Mutant("a draining agent is sent jobs", SESSION, " or self.draining", "", f"{MEMORY} -k credit"),
    Mutant("an agent that is held back is sent jobs", SESSION, " or self.held_back", "", f"{MEMORY} -k credit"),
    Mutant("an accept in time does not count", SESSION, "while self.unaccepted and self.unaccepted[0][0] <= assign_no:", "while False:", f"{LOST} -k accepts_in_time"),
    Mutant("message numbers need not rise", RPC, "if message.number <= session.last_no:", "if False:", f"{REORDERED} -k overtaken"),
    Mutant(
        "the stream that was replaced goes on reading",
        RPC,
        "                if session.stream is not token:\n                    return\n",
        "",
        f"{ROUNDS} -k not_heard_any_more",
    ),
    Mutant("the stream that was replaced goes on writing", RPC, "while session.stream is token:", "while True:", f"{DOUBLED} -k many_streams"),
    Mutant("a stale report is kept", RPC, "if live is None or live.seq != report.lease.lease_epoch:", "if live is None:", f"{REORDERED} -k passed_over"),
    Mutant(
        "a stale checkpoint is stored",
        OWNER,
        "live.seq == epoch and live.state is State.PROCESSING:\n            self.note(",
        "live.state is State.PROCESSING:\n            self.note(",
        f"{ROUNDS} -k checkpoint",
    ),
    Mutant(
        "a checkpoint is stored without a lease",
        OWNER,
        "live.seq == epoch and live.state is State.PROCESSING:\n            self.note(",
        "live.seq == epoch:\n            self.note(",
        f"{ROUNDS} -k checkpoint",
    ),
)
