"""What clients must not do, whatever they are given and whoever closes them."""

from tests.mutants.mutant import Mutant

PLACE = "client/headrace_client"
BLOCKING, CLIENT, ENCODE = f"{PLACE}/blocking.py", f"{PLACE}/client.py", f"{PLACE}/encode.py"
EDGES, TOKENS = "tests/client/test_edges.py", "tests/client/test_tokens.py"
OUTPUT, CLI = f"{PLACE}/cli/output.py", "tests/client/test_cli_edges.py"
NEWER = "tests/client/test_newer_brokers.py"

MUTANTS = (
    Mutant(
        "an answer may name jobs that were not asked for",
        f"{PLACE}/submitter.py",
        "if len(results.job_ids) != count or any(",
        "if False and any(",
        "tests/client/test_submitter.py -k error_of_each",
    ),
    Mutant(
        "a blocking client waits for itself",
        BLOCKING,
        'raise InvalidRequest("this client was closed in its own thread',
        'str("this client was closed in its own thread',
        f"{EDGES} -k closed_in_its_own",
    ),
    Mutant("a time that is no number is waited for", ENCODE, "or seconds != seconds:", "or False:", f"{EDGES} -k no_clock"),
    Mutant("a client may have no time at all", ENCODE, "if checked <= 0:", "if False:", f"{EDGES} -k makes_no_sense"),
    Mutant("a time without a zone is no error of the caller's", ENCODE, "if isinstance(at, datetime) and at.tzinfo is None:", "if False:", f"{EDGES} -k no_clock"),
    Mutant("a stream that is left open keeps the program", BLOCKING, "if sys.is_finalizing():", "if False:", f"{EDGES} -k leaves_a_stream_open"),
    Mutant("a client is closed in its own event loop only", CLIENT, " and not self._brokers.loop_is_over", "", f"{EDGES} -k loop_is_over"),
    Mutant("who follows and reaches no broker hears nothing", CLIENT, "elif not reached and loop.time() >= until:", "elif False:", f"{EDGES} -k reaches_no_broker"),
    Mutant("what was not sent waits for a client that is closed", CLIENT, "self._submitter.close()", "pass", f"{EDGES} -k closed_before"),
    Mutant("calls outlive the loop of a blocking client", BLOCKING, "for task in others:", "for task in ():", f"{EDGES} -k closes"),
    Mutant("a step goes on while its iterator ends", BLOCKING, "if task is not None and not task.cancelling():", "if False:", f"{EDGES} -k reader_is_interrupted"),
    Mutant("who watches needs every token at once", f"{PLACE}/base.py", "if loop.time() + pause >= until:  # no token, and no time", "if True:", f"{TOKENS} -k watches"),
    Mutant("who watches asks for a token for ever", f"{PLACE}/base.py", "if loop.time() + pause >= until:  # no token, and no time", "if False:", f"{TOKENS} -k watches"),
    Mutant("a token that is no text is used", f"{PLACE}/credentials.py", "if not isinstance(secret, str):", "if False:", f"{TOKENS} -k no_text"),
    Mutant(
        "a lease is taken back again and again",
        "broker/headrace_broker/shards/session.py",
        "        if (job_id, epoch) in self._taken_back:\n            return\n",
        "",
        "tests/doors/test_complete.py -k taken_back",
    ),
    Mutant("a number of a newer broker is an error", "protos/headrace_proto/wire.py", "return names.get(number, UNKNOWN)", "return names[number]", f"{NEWER} -k goes_on"),
    Mutant(
        "a filter without a state that has no name matches more",
        f"{PLACE}/filters.py",
        "states = tuple(map(state, message.states))",
        "states = ()",
        f"{NEWER} -k matches_no_more",
    ),
    Mutant("a job that settled in a state without a name is waited for", CLIENT, " or (job.state is State.UNKNOWN and", " or (False and", f"{NEWER} -k goes_on"),
    Mutant("Ctrl-C at a question is only noted", OUTPUT, "signal.signal(signal.SIGINT, signal.default_int_handler)", "pass", f"{CLI} -k one_key"),
    Mutant("Ctrl-D at a question is a fault", OUTPUT, "except EOFError:", "except ZeroDivisionError:", f"{CLI} -k question"),
    Mutant("half characters end the output", OUTPUT, "except UnicodeEncodeError:", "except ZeroDivisionError:", f"{CLI} -k whatever_jobs_hold"),
    Mutant("payloads are shown with numbers that JSON does not have", OUTPUT, "indent=2, allow_nan=False)", "indent=2)", f"{CLI} -k whatever_jobs_hold"),
    Mutant(
        "results are shown with numbers that JSON does not have", OUTPUT, "isinstance(value, float) and not math.isfinite(value)", "False", f"{CLI} -k whatever_jobs_hold"
    ),
    Mutant("a load that is too much is a fault", f"{PLACE}/cli/bench.py", "raise group.exceptions[0] from None", "raise", f"{CLI} -k keep_up"),
)
