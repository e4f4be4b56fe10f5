"""What a broker that has too much to do still does, and what its clients do not."""

from tests.mutants.mutant import Mutant

DISPATCHER = "broker/headrace_broker/shards/dispatcher.py"
OWNER = "broker/headrace_broker/shards/owner.py"
DEPTH = "broker/headrace_broker/shards/depth.py"
ADMISSION = "broker/headrace_broker/rpc/admission.py"
SUBMIT = "broker/headrace_broker/rpc/submit.py"
INTERCEPTORS = "broker/headrace_broker/rpc/interceptors.py"
AGENTS = "broker/headrace_broker/rpc/agents.py"
PRESSURE = "broker/headrace_broker/shards/pressure.py"
ERRORS = "broker/headrace_broker/rpc/errors.py"
RETRY = "client/headrace_client/retry.py"
SUBMITTER = "client/headrace_client/submitter.py"
BASE = "client/headrace_client/base.py"
CLIENT_ERRORS = "client/headrace_client/errors.py"
FIRE = "tests/fire/test_overload.py"
UNIT = "tests/unit/test_pressure.py"
CLIENT = "tests/client/test_overload.py"

MUTANTS = (
    Mutant("what is only stored goes first", OWNER, "most //= 2  #", "pass  #", f"{FIRE} -k only_be_stored"),
    Mutant(
        "submits are held back for agents that have no room",
        "broker/headrace_broker/shards/dispatcher.py",
        "session.room > 0 and not by_id",
        "not by_id",
        f"{FIRE} -k only_be_stored",
    ),
    Mutant("an agent that does not read is read from for ever", AGENTS, "if session.unread > MOST_UNREAD:", "if False:", f"{FIRE} -k does_not_read"),
    Mutant("jobs with keys do not count for the share of a domain", OWNER, " + self.keyed.jobs(domain)) + jobs", ") + jobs", f"{FIRE} -k whatever_it_submits"),
    Mutant("changes have no lane of their own", OWNER, "most = max(MAX_ROWS, round_.batch.rows() + CHANGE_ROWS)", "most = MAX_ROWS", f"{FIRE} -k beside_a_full_intake"),
    Mutant("what was refused stays until the collector finds it", SUBMIT, "        error.__traceback__ = None  #", "        pass  #", f"{FIRE} -k without_the_collector"),
    Mutant("large submissions are never taken", OWNER, "return not (self._pending_jobs and (self", "return not ((self", f"{FIRE} -k comes_alone"),
    Mutant("there is always room to wait in", ADMISSION, "        if lobby.full:\n", "        if False:\n", f"{FIRE} -k room_taken"),
    Mutant("a wait has no end", ADMISSION, "        elif now >= self._until:\n            raise error\n", "", f"{FIRE} -k a_wait_ends"),
    Mutant("places to wait in are not given back", ADMISSION, "            self._lobby.requests -= 1\n", "", f"{FIRE} -k a_wait_ends"),
    Mutant("memory of who waits is not given back", ADMISSION, "            self._lobby.bytes -= self._size\n", "", f"{FIRE} -k a_wait_ends"),
    Mutant("who waits for room is not told of it", OWNER, "        if self.room:\n", "        if False:\n", f"{FIRE} -k waits_for_room"),
    Mutant("unary submits have no limit", ADMISSION, "return self.count >= MAX_CALLS", "return False", f"{FIRE} -k unary_submits"),
    Mutant(
        "callbacks of batches have no limit",
        SUBMIT,
        "                return await self._submit_one(domain, spec, context, callback=callback)\n",
        "                pass\n            return await self._submit_one(domain, spec, context, callback=callback)\n",
        f"{FIRE} -k unary_submits",
    ),
    Mutant("submits are read before they are refused", INTERCEPTORS, "if details.method in UNREAD and", "if False and", f"{FIRE} -k refused_unread"),
    Mutant("all calls are refused while there is no room for submits", INTERCEPTORS, "if details.method in UNREAD and", "if", f"{FIRE} -k refused_unread"),
    Mutant("what another broker has room for is refused here", SUBMIT, "if not service._ownership.ready.is_set() or not (", "if not (", f"{FIRE} -k refused_unread"),
    Mutant("a stream that was refused is read at once", SUBMIT, "                    await reading.turn()\n", "", f"{FIRE} -k before_its_turn"),
    Mutant(
        "requests that are refused in part hold their stream up",
        SUBMIT,
        "return len(self.refused) == len(self._job_ids) and",
        "return bool(self.refused) and",
        f"{FIRE} -k hold_a_stream",
    ),
    Mutant("what is wrong holds its stream up", SUBMIT, "isinstance(self._refusals[-1][1], Busy | QueueFull)", "True", f"{FIRE} -k hold_a_stream"),
    Mutant("what is refused does not make the delay longer", SUBMIT, "        owner.pressure.refused(jobs)\n", "        pass\n", f"{FIRE} -k delay_grows"),
    Mutant("each idle agent that connects costs a commit", AGENTS, "if dispatcher.worth_a_round(owner, session):", "if True:", f"{FIRE} -k costs_a_round"),
    Mutant("jobs that have terms wait for the next proof", DISPATCHER, "is not None or type_id in owner.lines.crowds for", "is not None for", f"{FIRE} -k costs_a_round"),
    Mutant("another owner takes what the last one knew of agents", AGENTS, "if self._owner is not owner:", "if self._owner is None:", f"{FIRE} -k comes_back"),
    Mutant("every agent is remembered", AGENTS, "if len(lives) > REMEMBERED:", "if False:", f"{FIRE} -k comes_back"),
    Mutant("who comes back is asked for in the database", AGENTS, "found = lives[key] = agent_id", "found = agent_id", f"{FIRE} -k comes_back"),
    Mutant("delays have no bound", PRESSURE, "min(MOST_RETRY_S, RETRY_S * asked)", "RETRY_S * asked", f"{UNIT} -k its_bound"),
    Mutant("delays have no jitter", PRESSURE, "(1 + JITTER * self._random())", "1", f"{UNIT} -k back_together"),
    Mutant("what is past counts for ever", PRESSURE, "left = math.exp((self._at - now) / FADE_S)", "left = 1.0", f"{UNIT} -k less_and_less"),
    Mutant("refused streams do not take turns", PRESSURE, "max(now, self._next_read) + 1 / REFUSALS_PER_S", "now + 1 / REFUSALS_PER_S", f"{UNIT} -k take_turns"),
    Mutant("a stream waits for as long as there are others", PRESSURE, "min(now + MOST_PAUSE_S, max(", "min(math.inf, max(", f"{UNIT} -k within_a_bound"),
    Mutant(
        "bodies of one type may take all of the memory",
        "broker/headrace_broker/shards/bodies.py",
        "if (kept.bytes if kept is not None else 0) >= SHARE * (self._limit - self.used_bytes):",
        "if self.used_bytes >= self._limit:",
        "tests/unit/test_memory.py -k leave_room",
    ),
    Mutant("unary submits are counted for ever", ADMISSION, "        self.count -= 1\n", "        pass\n", f"{FIRE} -k unary_submits"),
    Mutant(
        "all are told once, whether they understand it or not",
        SUBMIT,
        "if at_once and len(self._refusals) == 1 and",
        "if len(self._refusals) == 1 and",
        f"{FIRE} -k understands",
    ),
    Mutant("some that were refused are all", SUBMIT, "and len(self._refusals[0][0]) == len(self._job_ids):", "and True:", f"{FIRE} -k before_its_payloads"),
    Mutant("the room of a type is not asked for first", DEPTH, "if limit and self.waiting(entry) >= limit:", "if False:", f"{FIRE} -k before_its_payloads"),
    Mutant(
        "names of fields go into headers as they are",
        ERRORS,
        "metadata.append((FIELD_KEY, _header(field)))",
        "metadata.append((FIELD_KEY, field))",
        "tests/rpc/test_fuzz.py -k header",
    ),
    Mutant("a refusal costs nothing", RETRY, "self._tokens = max(0.0, self._tokens - 1)", "pass", f"{CLIENT} -k budget"),
    Mutant("answers earn a whole retry", RETRY, "self._tokens + RATIO)", "self._tokens + 1)", f"{CLIENT} -k budget"),
    Mutant("retries come sooner than told", RETRY, "(1 + JITTER * random.random())", "random.random()", f"{CLIENT} -k sooner"),
    Mutant("the submit stream has no budget", SUBMITTER, "again, latest = self._budget.refused(), loop", "again, latest = True, loop", f"{CLIENT} -k few_messages"),
    Mutant("unary calls have no budget", BASE, "again = self._budget.refused() and again", "pass", f"{CLIENT} -k unary"),
    Mutant("callers wait for a delay that is longer than their time", SUBMITTER, "if again and waiting.deadline >= latest:", "if again:", f"{CLIENT} -k time_ends"),
    Mutant("who rests is forgotten when the client is closed", SUBMITTER, "        self._wake_up(list(self._resting))\n", "", f"{CLIENT} -k closed"),
    Mutant("a full gRPC server is taken for a message that is too large", CLIENT_ERRORS, 'if "pending requests" in message else', "if False else", f"{CLIENT} -k unary"),
    Mutant(
        "why a stream of submits was ended is hidden", SUBMITTER, "refusal = await end.instead_of(raised)", "refusal = raised", "tests/rpc/test_stream_ends.py -k submits"
    ),
)
