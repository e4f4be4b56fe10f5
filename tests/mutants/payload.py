"""What keeps payloads to their schema, and secrets with those who have the key."""

from tests.mutants.mutant import Mutant

MODEL, SCHEMAS, SUBMIT, TYPES, CONVERT, KEYED = (
    f"broker/headrace_broker/{name}.py" for name in ("model/schema", "shards/schemas", "rpc/submit", "shards/types", "rpc/convert", "shards/keyed")
)
CODECS, ENCODING = "client/headrace_client/codecs.py", "protos/headrace_proto/encoding.py"
SEALING, WORK = "agent/headrace_agent/sealing.py", "agent/headrace_agent/work.py"
OWNERSHIP, TIME, KIT = "broker/headrace_broker/shards/ownership.py", "tests/rpc/test_testing.py", "tests/agent/test_testing_kit.py"
UNIT, RPC = "tests/unit/test_schema.py", "tests/rpc/test_payload_schema.py"
THREADS = "tests/client/test_codec_threads.py"
ALONE, BOTH = "tests/unit/test_codecs.py", "tests/client/test_codecs.py"

MUTANTS = (
    # schemas
    Mutant("a schema may fetch", MODEL, 'not reference.startswith("#")', "False", f"{UNIT} -k what_is_no_schema"),
    Mutant("ways are not counted", MODEL, "if ways[number] > MAX_WAYS:", "if False:", f"{UNIT} -k what_is_no_schema"),
    Mutant("branches are not counted", MODEL, "most = min(1_000_000, max(most, ", "most = min(1, max(most, ", f"{UNIT} -k branches_are_counted"),
    Mutant("a schema has any size", MODEL, "> MAX_BYTES:", "> 1 << 30:", f"{UNIT} -k what_is_no_schema"),
    Mutant("a schema has any depth", MODEL, "if depth(root) > MAX_NESTING:", "if False:", f"{UNIT} -k what_is_no_schema"),
    Mutant("a schema of another draft is taken", MODEL, 'root.get("$schema", DRAFT) not in (DRAFT, DRAFT + "#")', "False", f"{UNIT} -k what_is_no_schema"),
    Mutant("patterns may backtrack", SCHEMAS, ", pattern_options=options", "", f"{UNIT} -k what_is_no_schema"),
    Mutant("the value at fault is said", SCHEMAS, ', mask="the value"', "", f"{UNIT} -k not_repeated"),
    Mutant("a message has any length", SCHEMAS, "_short(fault.message)", "fault.message", f"{UNIT} -k short"),
    Mutant("a payload has any depth", SCHEMAS, "if nesting > schema.MAX_DEPTH:", "if False:", f"{UNIT} -k too_deep"),
    Mutant("a payload makes any work", SCHEMAS, "> schema.MAX_WORK:", "> 1 << 62:", f"{UNIT} -k holds_the_broker_up"),
    Mutant("encoded payloads pass every schema", SCHEMAS, "            if self._read.encoded:\n", "            if True:\n", f"{UNIT} -k unless_the_schema_allows"),
    Mutant("other content passes every schema", SCHEMAS, "if content_type and not _is_json(content_type):", "if False:", f"{UNIT} -k other_content"),
    Mutant(
        "columns are not held against the schema", SUBMIT, "payloads, places = await self._that_fit(entry.schema, payloads, places, batch)", "pass", f"{RPC} -k batch"
    ),
    Mutant(
        "jobs one by one are not held against the schema",
        SUBMIT,
        "            await self._check(entry.schema, spec.payload, spec.content_type)\n",
        "            pass\n",
        RPC,
    ),
    Mutant(
        "an agent's schemas are compiled in a row",
        "broker/headrace_broker/rpc/agents.py",
        'if "payload_schema" in declared:',
        "if False:",
        "tests/fire/test_let_others.py -k schemas",
    ),
    Mutant(
        "jobs that name many others are stored in a row",
        SUBMIT,
        "                if spec.depends_on:\n                    await self._let_others()\n",
        "",
        "tests/fire/test_let_others.py -k name_many",
    ),
    Mutant("a bad schema is stored", CONVERT, 'Schema(message.payload_schema, f"{field}.payload_schema").text', "message.payload_schema", f"{RPC} -k bad_schema"),
    Mutant("a schema is compiled once for all", TYPES, "entry.schema.text == text", "True", f"{RPC} -k person_overrides"),
    # codecs
    Mutant("what bytes are is not authenticated", CODECS, "header + bytes([len(params)]) + params + bytes(about)", "header", f"{ALONE} -k what_they_were_made_for"),
    Mutant("what was done before is not authenticated", CODECS, "return header + bytes", "return bytes", f"{ALONE} -k what_they_were_made_for"),
    Mutant("a required codec is not", CODECS, "if codec.required and codec.name not in names:", "if False:", f"{ALONE} -k missing_is_named"),
    Mutant("a frame may state any size", CODECS, "if size > self.max_bytes:", "if False:", f"{ALONE} -k bombs"),
    Mutant("a frame without a size has any", CODECS, "max_output_size=self.max_bytes", "max_output_size=1 << 30", f"{ALONE} -k bombs"),
    Mutant("bytes after a frame are dropped", CODECS, ", allow_extra_data=False", "", f"{ALONE} -k bombs"),
    Mutant("encryption before compression", CODECS, "if encrypting and any(", "if False and any(", f"{ALONE} -k missing_is_named"),
    Mutant("a digest is no secret", CODECS, 'hmac.digest(self._keys[key_id], b"headrace payload digest", "sha256")', 'b"x"', f"{ALONE} -k digests"),
    Mutant("a plain payload may look encoded", CODECS, " or data.startswith(MAGIC) else data", " else data", f"{ALONE} -k whatever_is_encoded"),
    Mutant("a header may be cut off", ENCODING, "if end > len(data):", "if False:", f"{ALONE} -k whole_or_not"),
    Mutant("the body of a keyed job is its bytes alone", CONVERT, "    if not digests:\n", "    if True:\n", f"{BOTH} -k however_its_payload"),
    Mutant("an old key's digest is not known again", KEYED, " or holder.body_hash in keyed.other_hashes", "", f"{BOTH} -k however_its_payload"),
    Mutant("large payloads are encoded in the event loop", CODECS, "else await asyncio.to_thread(call)", "else call()", THREADS),
    Mutant("small payloads go through a thread", CODECS, "return call() if len(data) <= (large_bytes or LARGE_BYTES) else", "return", THREADS),
    Mutant("a handler gets what was encoded", WORK, "self._codecs is not None or job.payload.startswith(MAGIC) or", "", f"{ALONE} -k cannot_be_read"),
    Mutant(
        "a large checkpoint holds up the handlers", SEALING, "if len(data) <= LARGE_BYTES or not _runs_here(self._loop):", "if True:", f"{THREADS} -k holds_up_no_handler"
    ),
    Mutant(
        "a checkpoint that is being encoded comes after the outcome",
        WORK,
        "            await attempt.sealed.checkpoints.end()\n",
        "            pass\n",
        f"{THREADS} -k holds_up_no_handler",
    ),
    Mutant("a checkpoint overtakes a newer one", SEALING, "if number > self._passed:", "if True:", f"{THREADS} -k holds_up_no_handler"),
    Mutant("a checkpoint that is refused is no error", WORK, "            await sealed.checkpoints.saved()\n", "            pass\n", f"{THREADS} -k fails_the_next"),
    Mutant(
        "checkpoints are plain",
        WORK,
        "JobContext(job, sealed or self._reports, self.state)",
        "JobContext(job, self._reports, self.state)",
        f"{BOTH} -k nothing_that_can_be_read",
    ),
    Mutant(
        "what was changed waits for ever",
        SEALING,
        "except CodecError as error:\n        raise UndecodablePayload(error.message, after_s=None)",
        "except CodecError as error:\n        raise UndecodablePayload(error.message, after_s=WAIT_S if wait else None)",
        f"{ALONE} -k changed_on_the_way",
    ),
    Mutant("an encoded traceback has any length", SEALING, "if len(traceback) <= MAX_TRACEBACK or not room:", "if True:", f"{ALONE} -k keeps_its_end"),
    # time for tests
    Mutant("every broker lets its clock be set", "broker/headrace_broker/rpc/testing.py", "if not self._ownerships.first.testing:", "if False:", f"{TIME} -k refuses"),
    Mutant(
        "the clock falls back when it is set again", "broker/headrace_broker/shards/clock.py", "database_s + self._advanced_s", "database_s", f"{TIME} -k stays_ahead"
    ),
    Mutant("timers stay when time is set forward", OWNERSHIP, "timers.shift(seconds, asyncio.get_running_loop().time())", "pass", f"{TIME} -k waits_for_its_time"),
    Mutant("drain does not wait for what is ready", "agent/headrace_agent/drain.py", 'job.wait_reason == "ready" or', "False or", f"{KIT} -k is_ready"),
)
