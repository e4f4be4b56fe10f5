"""What nobody expected, what somebody made up, and what is away for long: each costs no more than it must."""

from tests.mutants.mutant import Mutant

B = "broker/headrace_broker/"
AGENTS, CONVERT, LOGS, RETENTION, DUTY = B + "rpc/agents.py", B + "rpc/convert.py", B + "store/logs.py", B + "maintenance/retention.py", B + "alerts/duty.py"
SWEEP, SWEPT = B + "shards/sweep.py", "tests/fire/test_times.py -k very_many"
UNSTORABLE = "tests/fire/test_given_up.py -k refuses_to_store"
OWNER, PASSES, FRESH = B + "shards/owner.py", B + "passes.py", "tests/unit/test_fresh.py"
FORGED, DEFECTS, BUSY, ALERTS = (
    "tests/rpc/test_validation.py",
    "tests/fire/test_defects.py",
    "tests/store/test_retire.py -k less_and_less",
    "tests/fire/test_alerts.py -k costs_a_try",
)

KEYED, SCHEDULES, GIVEN = B + "shards/keyed.py", B + "shards/schedules.py", "tests/fire/test_given_up.py"

MUTANTS = (
    Mutant(
        "keyed jobs are waited for when their decision failed",
        KEYED,
        "for job in (*self._deciding, *self._waiting, ",
        "for job in (*self._waiting, ",
        f"{GIVEN} -k keyed_job",
    ),
    Mutant(
        "runs of schedules are waited for when their decision failed", SCHEDULES, "in (*self._deciding, *self._runs):", "in self._runs:", f"{GIVEN} -k run_of_a_schedule"
    ),
    Mutant(
        "types that there is no room for hold up the inbox", B + "rpc/doors.py", "if not owner.types.has_room(row.domain, spec.type):", "if False:", f"{GIVEN} -k no_room"
    ),
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
        "lines of callers who have gone are in the way",
        LOGS,
        "self._waiting.pop(done, None)",
        "pass",
        "tests/fire/test_logs.py -k sender_has_gone",
    ),
    Mutant(
        "lines go with whoever was storing them",
        LOGS,
        "                        self._waiting[done] = put\n                        self._waiting.move_to_end(done, last=False)\n",
        "                        pass\n",
        "tests/fire/test_logs.py -k storing_them",
    ),
    Mutant(
        "lines of a caller who has gone are kept",
        LOGS,
        "                    if not done.done():\n                        self",
        "                    if True:\n                        self",
        "tests/fire/test_logs.py -k storing_them",
    ),
    Mutant("lines that are given back go to the end", LOGS, "self._waiting.move_to_end(done, last=False)", "pass", "tests/fire/test_logs.py -k storing_them"),
    Mutant("an error that nobody hears is told as a defect", LOGS, "done.cancel()  # an error", "pass  # an error", "tests/fire/test_logs.py -k as_a_caller_goes"),
    Mutant("a message that cannot be dealt with is a broken stream", AGENTS, "if not hearing:", "if True:", f"{DEFECTS} -k cannot_be_dealt_with"),
    Mutant("a broken stream is a message", AGENTS, "                hearing = False\n", "", f"{DEFECTS} -k stream_that_breaks"),
    Mutant("checkpoints wait without end", OWNER, "        if room and live is not None", "        if live is not None", f"{DEFECTS} -k beyond"),
    Mutant(
        "checkpoints take no room beside their data",
        OWNER,
        "self._note_bytes += len(note.data) + NOTE_BYTES",
        "self._note_bytes += len(note.data)",
        f"{DEFECTS} -k however_small",
    ),
    Mutant("checkpoints that were stored count on", OWNER, "        self._note_bytes = 0\n        while", "        while", f"{DEFECTS} -k beyond"),
    Mutant("what nobody expected ends what is read again", PASSES, "        except Exception as error:\n", "        except ZeroDivisionError as error:\n", FRESH),
    Mutant("pauses after what nobody expected do not grow", PASSES, "2.0 ** min(in_a_row, 30)", "1.0", FRESH),
    Mutant("pauses after what nobody expected grow for ever", PASSES, "            in_a_row = 0\n        except", "            pass\n        except", FRESH),
    Mutant(
        "a certificate that cannot be looked at ends the broker",
        B + "tls.py",
        "                self.look_once()\n            except Exception",
        "                self.look_once()\n            except ZeroDivisionError",
        FRESH,
    ),
    Mutant(
        "an error that went through two groups is told as a group",
        B + "app.py",
        "    while isinstance(error, BaseExceptionGroup):",
        "    if isinstance(error, BaseExceptionGroup):",
        FRESH,
    ),
    Mutant(
        "a row of the inbox that meets a defect holds up all",
        B + "shards/doors.py",
        "        except Exception as error:  # a defect: it costs this row",
        "        except ZeroDivisionError as error:\n            raise\n        except Exception as error:  # it costs this row",
        "tests/fire/test_given_up.py -k row_of_the_inbox",
    ),
    Mutant(
        "a row of the inbox that cannot be stored is not found out",
        B + "store/inbox.py",
        "            self.refused[self.in_hand[0]] = why\n",
        "            pass\n",
        UNSTORABLE,
    ),
    Mutant("rows beside one that cannot be stored are taken with it", B + "shards/doors.py", "1 if inbox.suspects.singly else AT_ONCE", "AT_ONCE", UNSTORABLE),
    Mutant("rows are taken one at a time for ever", B + "store/inbox.py", "self.singly = max(0, self.singly - len(self.in_hand))", "pass", UNSTORABLE),
    Mutant("all live jobs are looked at each time", SWEEP, "if len(owner.live_jobs) <= FEW or", "if True or", SWEPT),
    Mutant("not all live jobs are looked at ever again", SWEEP, "or now >= owner.swept_all_at + ALL_S:", "or not owner.rounds:", SWEPT),
    Mutant("leases that nobody claims are passed over where there are many", SWEEP, "(*held, *owner.orphans.values())", "(*held)", SWEPT),
    Mutant("a range in use is looked at again at once", RETENTION, "self._next[range_] = now + wait_s", "pass", BUSY),
    Mutant("a range in use is waited for ever longer", RETENTION, "min(longest_s, first_s * 2.0 ** min(tries - 1, 30))", "first_s * 2.0 ** min(tries - 1, 30)", BUSY),
    Mutant("a range that was in use counts on", RETENTION, "self._busy.pop(range_, None)", "pass", BUSY),
    Mutant(
        "a call that is refused for its caller has queued its jobs",
        "broker/headrace_broker/rpc/submit.py",
        "        replacer = caller() if any(map(convert.replaces, request.jobs)) else None  # may refuse the call: before anything of it is queued\n"
        "        if request.jobs:\n            await self._queue_specs(owner, domain, request.jobs, batch)\n",
        "        if request.jobs:\n            await self._queue_specs(owner, domain, request.jobs, batch)\n"
        "        replacer = caller() if any(map(convert.replaces, request.jobs)) else None\n",
        "tests/client/test_replace.py -k says_of_its_caller",
    ),
)
