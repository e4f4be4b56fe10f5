"""What keeps references from reading anything else, and jobs from referring to what is not there."""

from tests.mutants.mutant import Mutant

CLAIM, CHECK, STORES = "protos/headrace_proto/claim.py", "client/headrace_client/claims.py", "client/headrace_client/claim_stores.py"
CLIENT, GRAPH, MODELS, ENCODE, BASE = (f"client/headrace_client/{name}.py" for name in ("client", "graph", "models", "encode", "base"))
SEALING, WORK, DOORS, OUTCOMES = (f"agent/headrace_agent/{name}.py" for name in ("sealing", "work", "doors", "outcomes"))
ALONE, BOTH = "tests/unit/test_claims.py", "tests/client/test_claims.py"

MUTANTS = (
    # references
    Mutant("a reference may be written in many ways", CLAIM, "type(found.size_bytes) is int and found.pack() == data", "True", f"{ALONE} -k only_looks_like"),
    Mutant("a size may be no number", CLAIM, "type(found.size_bytes) is int and ", "", f"{ALONE} -k only_looks_like"),
    Mutant("a key may be anything", CLAIM, "return _KEY.fullmatch(text) is not None", "return True", f"{ALONE} -k leaves_the_store"),
    Mutant("a key may have a line's end", CLAIM, "_KEY.fullmatch(text)", '__import__("re").match("[0-9a-f]{64}$", text)', f"{ALONE} -k leaves_the_store"),
    Mutant("a reference has any length", CLAIM, "if len(data) > MAX_REFERENCE:", "if False:", f"{ALONE} -k any_length"),
    Mutant("a content type has any length", CLAIM, "len(self.content_type) > MAX_TYPE or", "", f"{ALONE} -k only_looks_like"),
    Mutant("a later version is read as this one", CLAIM, "if type(version) is int and version > VERSION:", "if False:", f"{ALONE} -k only_looks_like"),
    # what is read
    Mutant("the hash is not looked at", CHECK, "or await asyncio.to_thread(_sha256, found) != reference.sha256:", "or False:", f"{ALONE} -k not_taken"),
    Mutant("more is taken than is allowed", CHECK, "if reference.size_bytes > self.max_bytes:", "if False:", f"{ALONE} -k not_even_asked_for"),
    Mutant("all of an object is read", CHECK, "reference.size_bytes + 1)", "1 << 62)", f"{ALONE} -k not_even_asked_for"),
    Mutant(
        "what is not there never comes",
        CHECK,
        'raise ClaimUnavailable(f"the {part} is kept outside ({reference}), and is not',
        'raise ClaimError(f"the {part} is kept outside ({reference}), and is not',
        f"{ALONE} -k may_come",
    ),
    Mutant(
        "a store may take for ever",
        CHECK,
        "                found = await self.store.get",
        "                pass\n            if True:\n                found = await self.store.get",
        f"{ALONE} -k for_ever",
    ),
    # what is kept
    Mutant("more is kept than is read", CHECK, "if len(data) > self.max_bytes:", "if False:", f"{ALONE} -k not_even_asked_for"),
    Mutant("a payload may look like a reference", CHECK, "> self.above_bytes or is_reference(data)", "> self.above_bytes", f"{ALONE} -k look_like_a_reference"),
    Mutant(
        "a put costs the event loop",
        STORES,
        "return await asyncio.get_running_loop().run_in_executor(pool, call, *args)",
        "return call(*args)",
        f"{ALONE} -k does_not_wait",
    ),
    Mutant("threads are taken along into a child", STORES, " or self._pid != os.getpid()", "", f"{ALONE} -k in_a_child"),
    Mutant("no path is checked", STORES, "    if not is_key(key):\n", "    if False:\n", f"{ALONE} -k leaves_the_store"),
    Mutant("a file appears before it is whole", STORES, "unfinished.replace(path)", "path.write_bytes(data)", f"{ALONE} -k dies_leaves"),
    Mutant(
        "an unfinished file is left",
        STORES,
        "        finally:\n            unfinished.unlink(missing_ok=True)",
        "        finally:\n            pass",
        f"{ALONE} -k fails_leaves",
    ),
    Mutant("a file is not synced", STORES, "                os.fsync(file.fileno())\n", "", f"{ALONE} -k names_are_durable"),
    Mutant("a name is not synced", STORES, "            _sync_directory(directory)\n", "            pass\n", f"{ALONE} -k names_are_durable"),
    Mutant("a damaged file stays", STORES, "return path.stat().st_size == size_bytes", "return True", f"{ALONE} -k repeated_put"),
    Mutant("what is there is written again", STORES, "return path.stat().st_size == size_bytes", "return False", f"{ALONE} -k repeated_put"),
    Mutant("a repeated put is as old as the first", STORES, "            os.utime(path)\n", "", f"{ALONE} -k repeated_put"),
    Mutant("prune does not look again", STORES, "if dying.stat().st_mtime >= before:", "if False:", f"{ALONE} -k while_it_looks"),
    Mutant("prune takes all", STORES, "(left or path.stat().st_mtime < before) and ", "", f"{ALONE} -k prune_deletes"),
    Mutant("a directory is made where none is mounted", STORES, "if not self.directory.is_dir():", "if False:", f"{ALONE} -k cannot_be"),
    Mutant("a directory by its URL", STORES, 'if "file" in (', 'if "no" in (', f"{ALONE} -k cannot_be"),
    # senders and receivers
    Mutant("a single submit keeps nothing", CLIENT, "            spec = await kept(spec, self._claims)\n", "            pass\n", f"{BOTH} -k as_a_reference"),
    Mutant("a callback is not kept", GRAPH, "spec = await kept(spec, self._claims)", "pass", f"{BOTH} -k cannot_be_kept"),
    Mutant("uploads have no bound", CLIENT, "                async with keeping:\n", "                if True:\n", f"{BOTH} -k cannot_be_kept"),
    Mutant(
        "one that cannot be kept ends all",
        CLIENT,
        "            except HeadraceError as error:\n                return error\n",
        "            except ZeroDivisionError:\n                raise\n",
        f"{BOTH} -k cannot_be_kept",
    ),
    Mutant("a reference is no content of its own", ENCODE, "    message.content_type = CLAIM_TYPE\n", "", f"{BOTH} -k as_a_reference"),
    Mutant(
        "a new payload is not kept", BASE, "return await self._claims.keep(payload, content_type), CLAIM_TYPE", "return payload, content_type", f"{BOTH} -k new_payloads"
    ),
    Mutant("results have no room", GRAPH, "if room < 0:", "if False:", f"{BOTH} -k there_is_room"),
    Mutant("a reference is taken for a result", MODELS, "    if is_reference(result):\n", "    if False:\n", f"{BOTH} -k as_a_reference"),
    Mutant(
        "codecs see a reference",
        CLIENT,
        "            if self._claims is None:\n                return data, None\n",
        "            if self._claims is None:\n                return self._codecs.decode(data, type_, part) if self._codecs else data, None\n",
        f"{BOTH} -k encrypted",
    ),
    Mutant(
        "a waiting job is fetched each time",
        CLIENT,
        "            job = decode.job(answer.job)\n            if job.state.settled or",
        "            job = await self._read(decode.job(answer.job))\n            if job.state.settled or",
        f"{BOTH} -k fetched_where",
    ),
    Mutant("a handler gets the reference", WORK, "if job.payload.startswith(CLAIM):", "if False:", f"{ALONE} -k sees_nothing"),
    Mutant("a large result is not kept", WORK, "await keep_result(outcome, self._claims)", "outcome", f"{ALONE} -k cannot_be_kept"),
    Mutant("a result of a transaction is not kept", DOORS, "await ctx.kept_door_result()", "ctx.door_result()", f"{BOTH} -k as_a_reference"),
    Mutant(
        "what is damaged is tried for ever",
        SEALING,
        "except ClaimError as error:\n        raise UndecodablePayload(error.message, after_s=None)",
        "except ClaimError as error:\n        raise PayloadUnavailable(error.message)",
        f"{ALONE} -k nobody_may_read",
    ),
    Mutant(
        "what is missing fails the job",
        OUTCOMES,
        '"payload_unavailable", str(error), permanent=False',
        '"payload_unavailable", str(error), permanent=True',
        f"{ALONE} -k not_the_job",
    ),
    # the broker
    Mutant(
        "a reader without secrets gets the hash",
        "broker/headrace_broker/model/redaction.py",
        "if data.startswith((ENCODED, CLAIM)):",
        "if data.startswith(ENCODED):",
        f"{ALONE} -k which_bytes",
    ),
    Mutant("a page without secrets shows the hash", "broker/headrace_broker/web/documents.py", 'which = "" if secret else', "which =", f"{ALONE} -k where_the_bytes"),
    Mutant(
        "a schema is held against a reference",
        "broker/headrace_broker/shards/schemas.py",
        "if payload.startswith((ENCODED, CLAIM)):",
        "if payload.startswith(ENCODED):",
        f"{ALONE} -k only_when_it_says",
    ),
    Mutant(
        "claims: what a killed pruner had moved aside stays there",
        "client/headrace_client/claim_stores.py",
        "left or path.stat()",
        "path.stat()",
        f"{ALONE} -k moved_aside",
    ),
)
