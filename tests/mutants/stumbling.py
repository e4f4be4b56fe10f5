"""What nobody expected, what somebody made up, and what is away for long: each costs no more than it must."""

from tests.mutants.mutant import Mutant

B = "broker/headrace_broker/"
AGENTS, CONVERT, RETENTION, DUTY = B + "rpc/agents.py", B + "rpc/convert.py", B + "maintenance/retention.py", B + "alerts/duty.py"
FORGED, DEFECTS, BUSY, ALERTS = (
    "tests/rpc/test_validation.py",
    "tests/fire/test_defects.py",
    "tests/store/test_retire.py -k less_and_less",
    "tests/fire/test_alerts.py -k costs_a_try",
)

MUTANTS = (
    Mutant("a page token has as many numbers as it likes", CONVERT, "len(numbers) != len(most) or ", "", FORGED),
    Mutant("a page token has numbers that nothing can have", CONVERT, "0 <= n <= bound for", "0 <= n for", FORGED),
    Mutant("a page token nests as deep as it likes", CONVERT, "UnicodeError, RecursionError)", "UnicodeError)", FORGED),
    Mutant(
        "a delivery that stumbles ends the duty",
        DUTY,
        "        except Exception as error:  # a defect: it costs",
        "        except ZeroDivisionError as error:  # it costs",
        ALERTS,
    ),
    Mutant(
        "an outage that cannot be told ends the duty",
        DUTY,
        "        except Exception as error:  # a defect: it ends",
        "        except ZeroDivisionError as error:  # it ends",
        ALERTS,
    ),
    Mutant("what a server says is no text", B + "alerts/sending.py", 'text.encode("utf-8", "replace").decode()', "text", "tests/unit/test_alerting.py -k no_text"),
    Mutant(
        "a stream that cannot be read is waited for",
        B + "rpc/submit.py",
        "except Exception as error:  # what came",
        "except InvalidField as error:  # what came",
        DEFECTS,
    ),
    Mutant(
        "lines that do not fit are left to others", B + "store/logs.py", "while not done.done():", "if not done.done():", "tests/fire/test_logs.py -k sender_has_gone"
    ),
    Mutant("a message that cannot be dealt with is a broken stream", AGENTS, "if not hearing:", "if True:", f"{DEFECTS} -k cannot_be_dealt_with"),
    Mutant("a broken stream is a message", AGENTS, "                hearing = False\n", "", f"{DEFECTS} -k stream_that_breaks"),
    Mutant("checkpoints wait without end", AGENTS, "if waiting <= CHECKPOINTS_BYTES:", "if True:", f"{DEFECTS} -k beyond"),
    Mutant("checkpoints that were stored count on", AGENTS, "waiting if round_ == owner.rounds else 0", "waiting", f"{DEFECTS} -k beyond"),
    Mutant("a range in use is looked at again at once", RETENTION, "self._next[range_] = now + wait_s", "pass", BUSY),
    Mutant("a range in use is waited for ever longer", RETENTION, "min(longest_s, first_s * 2.0 ** min(tries - 1, 30))", "first_s * 2.0 ** min(tries - 1, 30)", BUSY),
    Mutant("a range that was in use counts on", RETENTION, "self._busy.pop(range_, None)", "pass", BUSY),
)
