"""What an agent must not do, whatever its brokers say."""

from tests.mutants.mutant import Mutant

PLACE = "agent/headrace_agent"
SESSION, LEASES, WORK = f"{PLACE}/session.py", f"{PLACE}/leases.py", f"{PLACE}/work.py"
ODD = "tests/agent/test_odd_brokers.py"
TESTS, ATTEMPTS = "tests/agent/test_leases.py", "tests/agent/test_work.py"
PROCESSES, WORKERS = f"{PLACE}/processes.py", "tests/agent/test_workers.py"
HANDLERS = "tests/agent/test_odd_handlers.py"

MUTANTS = (
    Mutant(
        "log lines that cannot be stored hold up heartbeats",
        "agent/headrace_agent/outbox.py",
        "if len(self._sent.get(session, ())) >= UNSTORED:",
        "if False:",
        "tests/e2e/test_crashes.py -k hold_up",
    ),
    Mutant("a lease counts from its arrival", SESSION, "base = self._sent_at.get(assign.seen_no, self._confirmed_at)", "base = now", f"{TESTS} -k own_sending"),
    Mutant("why an agent is refused is hidden", SESSION, "raise await end.instead_of(error) from None", "raise", "tests/rpc/test_stream_ends.py -k agents"),
    Mutant("a lease that is over when it comes is taken", SESSION, '"its lease was over when it arrived" if now >= until', '"" if False', f"{TESTS} -k buffer"),
    Mutant("a confirmation counts from its arrival", SESSION, "at = self._sent_at.get(number)", "at = leases.clock_s()", f"{TESTS} -k old_confirmation"),
    Mutant("a lease is trusted to its end", LEASES, "return min(2.0, 0.1 + lease_s * 0.05)", "return 0.0", f"{TESTS} -k own_sending"),
    Mutant(
        "a handler goes on after its lease", LEASES, "if now >= held.until and not held.finished", "if not held.finished and held.until < 0", f"{TESTS} -k own_sending"
    ),
    Mutant("what is lost is reported", WORK, "        if attempt.stop is Stop.LEASE:\n            return None\n", "", f"{TESTS} -k own_sending"),
    Mutant("any answer ends the wait for an outcome's fate", SESSION, "if acked.disposition not in FINAL:", "if False:", f"{TESTS} -k fate_is_final"),
    Mutant(
        "an outcome is not sent again after its stream broke",
        SESSION,
        "        self._desk.outbox.send_again()  # what went",
        "        pass  # what went",
        f"{TESTS} -k fate_is_final",
    ),
    Mutant("a finished job is not claimed until it is acknowledged", SESSION, "self._hello.held.add(", "dict(", f"{TESTS} -k fate_is_final"),
    Mutant("a revoked job goes on", SESSION, "for ref in message.revoked:", "for ref in ():", f"{TESTS} -k takes_back"),
    Mutant("a job that the broker does not know of goes on", SESSION, "for ref in message.heartbeat_ack.not_held:", "for ref in ():", f"{TESTS} -k takes_back"),
    Mutant("a draining agent takes jobs", SESSION, '"the agent drains" if desk.draining', '"" if False', f"{TESTS} -k drains"),
    Mutant(
        "a stream whose broker is silent is waited for",
        SESSION,
        "                return 0.0\n            if leases",
        "                return None\n            if leases",
        f"{TESTS} -k falls_silent",
    ),
    Mutant(
        "an idle agent beats as often as a busy one",
        SESSION,
        "                continue  # the next one",
        "                pass  # the next one",
        f"{TESTS} -k without_leases",
    ),
    Mutant("an agent with leases beats seldom", SESSION, " and not self._desk.leases.of(self):\n", ":\n", f"{TESTS} -k without_leases"),
    Mutant("a job waits for the next heartbeat of an idle agent", SESSION, "if now - base > self._heartbeat_s:", "if False:", f"{TESTS} -k without_leases"),
    Mutant("a job that has not begun is cancelled", WORK, "if self.started and self.task is not None:", "if self.task is not None:", f"{ATTEMPTS} -k begun"),
    Mutant(
        "what was stopped before it began runs",
        WORK,
        "            if attempt.stop is not None or attempt.timed_out:\n",
        "            if False:\n",
        f"{ATTEMPTS} -k begun",
    ),
    Mutant("handlers outlive their agent", WORK, "            self._stop(job_id, epoch, Stop.LEASE, 0.0)\n", "            pass\n", f"{ATTEMPTS} -k own_thread"),
    Mutant(
        "a worker's end is told by its pipe alone", PROCESSES, "elif not self._process.is_alive() and not self._pipe.poll():", "elif False:", f"{WORKERS} -k noticed"
    ),
    Mutant("a worker goes on after its lease", PROCESSES, "if lease.left_s() == 0:", "if False:", f"{WORKERS} -k ends_by_itself"),
    Mutant("a worker's lease is never renewed", PROCESSES, "if lease_end != self._lease_end:", "if False:", f"{WORKERS} -k renewed"),
    Mutant(
        "a renewal of an attempt that has ended counts",
        PROCESSES,
        "            if self._attempt == attempt:\n                self._end = end\n",
        "            self._attempt, self._end = attempt, end\n",
        f"{WORKERS} -k renewed",
    ),
    Mutant("a worker whose lease was over has failed", PROCESSES, "if leases.clock_s() >= self._lease_end:", "if False:", f"{WORKERS} -k ends_by_itself"),
    Mutant("a worker that does not read cannot be ended", PROCESSES, "with self._sending, contextlib", "with self._turn, contextlib", f"{WORKERS} -k does_not_read"),
    Mutant(
        "an error that a process cannot send ends the process",
        PROCESSES,
        "except Exception as problem:",
        "except ZeroDivisionError as problem:",
        f"{HANDLERS} -k cannot_send",
    ),
    Mutant(
        "orders to stop wait for a thread of the loop",
        WORK,
        'threading.Thread(target=order, args=(attempt,), name="headrace-order", daemon=True).start()',
        "asyncio.get_running_loop().run_in_executor(None, order, attempt)",
        f"{ATTEMPTS} -k all_threads",
    ),
    Mutant("reports are taken until there are none", f"{PLACE}/desk.py", "for _ in range(AT_ONCE):", "while True:", "tests/agent/test_messages.py -k their_turn"),
    Mutant("each report of an attempt is kept", f"{PLACE}/desk.py", "if before is None:\n", "if True:\n", "tests/agent/test_messages.py -k no_more_memory"),
    Mutant(
        "an agent that is to end waits for its start hooks",
        f"{PLACE}/agent.py",
        "[starting, told], return_when",
        "[starting], return_when",
        f"{ATTEMPTS} -k wait_for_a_start_hook",
    ),
    Mutant("what a dead worker has left lives on", PROCESSES, "self._signal(signal.SIGKILL)  # what it has left", "pass", f"{WORKERS} -k noticed"),
    Mutant("an order to stop meets whatever runs in the process", PROCESSES, "if self._attempt != attempt:", "if False:", f"{WORKERS} -k names"),
    Mutant("a wish to stop before the handler has begun is lost", PROCESSES, "        if job.key in asked:", "        if False:", f"{WORKERS} -k names"),
    Mutant("a stopped worker leaves its children", PROCESSES, "os.killpg(pid, number)", "os.kill(pid, number)", f"{WORKERS} -k stopped"),
    Mutant(
        "a job that was stopped while its process was started begins",
        f"{PLACE}/work.py",
        "if attempt.stop is not None or attempt.timed_out:  # while",
        "if False:  # while",
        "tests/agent/test_work.py -k process_is_started",
    ),
    Mutant(
        "an attempt whose error cannot be told does not end",
        f"{PLACE}/work.py",
        "        except BaseException as error:\n            log.warning(",
        "        except OSError as error:\n            log.warning(",
        "tests/agent/test_work.py -k whatever_its_handler_raises",
    ),
    Mutant(
        "an error that cannot be encoded is told",
        f"{PLACE}/work.py",
        'cannot be encoded ({type(error).__name__})", ""',
        'cannot be encoded ({type(error).__name__})", outcome.error.traceback',
        "tests/agent/test_work.py -k cannot_be_encoded",
    ),
    Mutant("a draining agent offers slots", f"{PLACE}/desk.py", "        if self.draining:\n            return 0\n", "", f"{TESTS} -k drains"),
    Mutant("what comes after a suspension is taken for fresh", SESSION, "now = self._desk, leases.clock_s()", "now = self._desk, 0.0", f"{TESTS} -k suspended"),
    Mutant("leases end by another clock", f"{PLACE}/agent.py", "expired(leases.clock_s())", "expired(asyncio.get_running_loop().time())", f"{TESTS} -k suspended"),
    Mutant("who is never greeted comes back at once", SESSION, "if steady else failures + 1", "if steady else 0", f"{TESTS} -k never_greeted"),
    Mutant("failures of long ago count", SESSION, "int(problem is not None) if steady else failures + 1", "failures + 1", f"{TESTS} -k forgotten"),
    Mutant("a greeting is a session", SESSION, "and leases.clock_s() - began > STEADY_S", "and began > 0", f"{ODD} -k less_often"),
    Mutant("a broker that says nothing is waited for", SESSION, "async with asyncio.timeout(ANSWER_S):", "async with asyncio.timeout(None):", f"{ODD} -k says_nothing"),
    Mutant(
        "what makes no sense ends the agent",
        SESSION,
        "            except Exception as error:  # what",
        "            except OSError as error:  # what",
        f"{ODD} -k no_sense",
    ),
    Mutant("leases that cannot be are believed", SESSION, "if not LEAST_BEAT_S <= heartbeat_s <= lease_s:", "if False:", f"{ODD} -k cannot_be"),
    Mutant(
        "an answer to nothing ends a lease",
        f"{PLACE}/desk.py",
        "            if held is not None and not held.finished:\n                continue\n",
        "",
        f"{ODD} -k there_is_not",
    ),
    Mutant("work that is closed starts", WORK, "            if self._closed:\n                return\n", "", f"{ODD} -k closed_before"),
    Mutant("work that never started is waited for", WORK, "        if self._entering is None:  # it", "        if False:  # it", f"{ODD} -k closed_before"),
    Mutant("a job that comes twice takes two slots", SESSION, "if job.key in taken or desk.leases.find(job.key) is not None:", "if False:", f"{ODD} -k twice"),
    Mutant("a broker sends an agent away for years", SESSION, "reconnect_after)), MOST_AWAY_S)", "reconnect_after)), 1e9)", f"{ODD} -k for_years"),
    Mutant("a broker that stays away is told of three times", SESSION, " and failures % REMIND != 0", "", f"{TESTS} -k time_to_time"),
    Mutant(
        "a job is put off for longer than brokers take", f"{PLACE}/outcomes.py", "if after_s > MAX_DELAY_S:", "if False:", f"{ATTEMPTS} -k whatever_its_handler_raises"
    ),
    Mutant("a large checkpoint ends the stream", f"{PLACE}/desk.py", "if len(data) > limit:", "if False:", "tests/agent/test_process.py -k whatever_a_handler"),
    Mutant(
        "a process whose checkpoint was not taken is used again",
        PROCESSES,
        "                    self._end()\n                    raise\n",
        "                    raise\n",
        f"{WORKERS} -k not_taken",
    ),
    Mutant("a process whose memory is full is used again", PROCESSES, 'if "MemoryError" in getattr(', 'if "" in getattr(', f"{HANDLERS} -k memory_is_full"),
    Mutant("a process is used for ever", PROCESSES, " and (most_attempts is None or worker.attempts < most_attempts)", "", f"{HANDLERS} -k so_many_attempts"),
    Mutant("a process that cannot read its job waits", PROCESSES, "except BaseException:  # the agent is", "except EOFError:  #", f"{HANDLERS} -k no_memory"),
    Mutant("words of one's own are failures in a process", PROCESSES, "if isinstance(error, class_)), ", "if type(error) is class_), ", f"{HANDLERS} -k words_of"),
    Mutant("a handler in a process may start none", PROCESSES, "    multiprocessing.current_process().daemon = False", "    # ", f"{HANDLERS} -k start_processes"),
    Mutant("a plain handler that raises StopIteration never ends", WORK, "except StopIteration as", "except ZeroDivisionError as", f"{HANDLERS} -k stop_iteration"),
    Mutant("a child that a handler has forked goes on as its agent", f"{PLACE}/_fork.py", "if os.getpid() == agent_pid:", "if True:", f"{HANDLERS} -k forked"),
    Mutant("what an earlier attempt left reports for the one that runs", PROCESSES, "if attempt != job.key:", "if False:", f"{HANDLERS} -k left_in_a_process"),
    Mutant("a group of one hides what its task says", f"{PLACE}/outcomes.py", "    error = alone(error)\n", "", f"{HANDLERS} -k one_task_of_a_group"),
    Mutant("who ignores its timeout is not told of", WORK, 'if attempt.handler.executor == "async":  # of', "if False:  # of", f"{ATTEMPTS} -k after_its_time"),
    Mutant("an agent that no broker takes tries for ever", SESSION, "problem.reason == Reason.INVALID_FIELD", "False", "tests/agent/test_process.py -k no_broker_takes"),
    Mutant("a task that exits ends the handlers' thread", WORK, "target=self._run_loop", "target=self._loop.run_forever", f"{HANDLERS} -k leaves_the_event_loop"),
    Mutant(
        "an abort wakes nobody in another event loop", f"{PLACE}/context.py", "loop.call_soon_threadsafe(event.set)", "event.set()", f"{ATTEMPTS} -k whatever_event_loop"
    ),
    Mutant("failed start hooks leave others open", f"{PLACE}/agent.py", "await asyncio.to_thread(work.close)", "pass", f"{ATTEMPTS} -k start_hook"),
    Mutant(
        "a thread that does not stop keeps its agent alive",
        f"{PLACE}/__main__.py",
        "    if not any(thread.is_alive() for thread in handlers):\n",
        "    if True:\n",
        "tests/agent/test_process.py -k keep_its_agent_alive",
    ),
)
