"""Agents as processes against a real broker: isolation, abort, slots, command line."""

import asyncio
import functools
import os
import signal
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from headrace_agent import Agent, JobContext
from headrace_client import AdminClient, Client, State

from tests.support.processes import BrokerProcess, Process, run_command, start_agent, until


async def test_busy_threads_of_pure_python_lose_no_lease(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    """32 threads that never give the interpreter away, at a lease of 3 s; several leases long (HEADRACE_SPIN_S: longer)."""
    spin_s = float(os.environ.get("HEADRACE_SPIN_S", "10"))
    agent = await start_agent(directory, broker.address, "--slots", "32")
    stack.push_async_callback(agent.kill)
    ids = [(await client.submit("spin", spin_s)).job_id for _ in range(32)]
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=spin_s + 50)
        assert (job.state, job.losses, job.lease_epoch) == (State.COMPLETED, 0, 1)
    assert "was not renewed" not in agent.log.read_text()


async def test_an_async_handler_that_blocks_keeps_its_lease_and_is_named(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    (directory / "blocking.py").write_text(
        "import time\nfrom headrace_agent import Agent\nagent = Agent('b')\n@agent.job('block')\nasync def block(ctx):\n    time.sleep(5)\n    return ctx.lease_epoch\n"
    )
    import sys

    log = directory / "blocking.log"
    with open(log, "wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_agent", "run", "blocking:agent", "--broker", broker.address, stdout=output, stderr=output, cwd=directory
        )
    agent = Process(process, log)
    stack.push_async_callback(agent.kill)
    job = await client.wait((await client.submit("block")).job_id, timeout_s=30)
    assert (job.state, job.json_result(), job.losses) == (State.COMPLETED, 1, 0)
    assert "a handler blocks the event loop" in log.read_text() and "block " in log.read_text()


async def test_payloads_and_results_that_do_not_fit_into_one_message(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    """A message that is too large ends the stream; here all jobs together would make one of 40 MB in either direction."""
    ids = [(await client.submit("echo", "x" * 1_000_000)).job_id for _ in range(40)]
    agent = await start_agent(directory, broker.address, "--slots", "40")
    stack.push_async_callback(agent.kill)
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=30)
        assert (job.state, job.lease_epoch) == (State.COMPLETED, 1)
    assert agent.log.read_text().count("session with") == 1


async def test_slots_are_never_exceeded(client: Client, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    agent, running, most = Agent("counted", slots=3), set(), []

    @agent.job("count", slots=2)
    async def count(ctx: JobContext) -> None:
        running.add(ctx.job_id)
        most.append(len(running))
        await asyncio.sleep(0.005)
        running.discard(ctx.job_id)

    drain = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run(broker.address, drain=drain))
        ids = [(await client.submit("count")).job_id for _ in range(60)]
        for job_id in ids:
            assert (await client.wait(job_id, timeout_s=20)).state is State.COMPLETED
        drain.set()
    assert max(most) == 2


async def test_an_operator_drains_and_resumes_an_agent(client: Client, admin: AdminClient, agent: Process) -> None:
    await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)
    assert await admin.drain_agent("tester") == 1
    assert (await admin.list_agents())[0].draining
    waiting = (await client.submit("echo", 2)).job_id

    async def still_waiting() -> bool:
        return (await client.get(waiting)).state is State.WAITING

    assert await until(still_waiting)
    await admin.resume_agent("tester")
    assert (await client.wait(waiting, timeout_s=20)).state is State.COMPLETED
    [info] = await admin.list_agents()
    assert (info.name, info.pid, info.slots, {t.executor for t in info.types}) == ("tester", agent.pid, 8, {"async", "thread", "process"})


async def test_what_code_declares_is_in_force_until_a_person_says_otherwise(client: Client, admin: AdminClient, agent: Process) -> None:
    await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)
    found = await admin.get_type("fail")
    assert (found.effective["max_attempts"], found.declared["max_attempts"], found.overrides) == (3, 3, {})
    changed = await admin.set_type("fail", max_attempts=1)
    assert (changed.effective["max_attempts"], changed.overrides) == (1, {"max_attempts": 1})
    job = await client.wait((await client.submit("fail", 1)).job_id, timeout_s=20)
    assert (job.state, job.attempt) == (State.ERROR, 1)
    back = await admin.set_type("fail", clear=["max_attempts"])
    assert (back.effective["max_attempts"], back.overrides) == (3, {})


async def test_a_process_ends_with_its_lease_although_its_agent_is_stopped(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    """As by Ctrl-Z, or by a debugger: it can renew nothing, and end no handler."""
    (directory / "alone.py").write_text(
        "import pathlib, time\nfrom headrace_agent import Agent\nagent = Agent('a')\n"
        "@agent.job('alone', executor='process')\ndef alone(ctx):\n    pathlib.Path(f'begun-{ctx.lease_epoch}').touch()\n"
        "    while not pathlib.Path('enough').exists():\n        pathlib.Path(f'beat-{ctx.lease_epoch}').touch()\n        time.sleep(0.01)\n    return ctx.lease_epoch\n"
    )
    agents = [await start_agent(directory, broker.address, agent="alone:agent", cwd=directory)]
    stack.push_async_callback(agents[0].kill)
    job_id = (await client.submit("alone")).job_id

    async def begun(epoch: int) -> bool:
        return (directory / f"begun-{epoch}").exists() and (directory / f"beat-{epoch}").exists()

    await until(functools.partial(begun, 1), what="the start")
    os.kill(agents[0].pid, signal.SIGSTOP)
    agents.append(await start_agent(directory, broker.address, agent="alone:agent", cwd=directory))
    stack.push_async_callback(agents[1].kill)
    await until(functools.partial(begun, 3), what="the start at the other agent")
    assert (directory / "beat-1").stat().st_mtime_ns < (directory / "begun-3").stat().st_mtime_ns
    os.kill(agents[0].pid, signal.SIGCONT)

    async def told() -> bool:
        return "ends without an outcome" in agents[0].log.read_text() or "stopping its handler" in agents[0].log.read_text()

    await until(told, what="the end of the first attempt")
    (directory / "enough").touch()
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.json_result(), job.attempt, job.losses) == (State.COMPLETED, 3, 1, 1)
    assert (directory / "beat-1").stat().st_mtime_ns < (directory / "begun-3").stat().st_mtime_ns


def test_wrong_names_on_the_command_line_are_told() -> None:
    for name, text in (
        ("no_such_module:agent", "no module"),
        ("tests.support.handlers:nobody", "it has agent"),
        ("tests.support.ledger", "it has no Agent"),
        ("work.py:agent", "such as work:agent"),
        ("./work", "such as work:agent"),
    ):
        done = run_command("headrace-agent", "run", name)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr


async def test_an_agent_starts_again_when_its_module_changes(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    module = directory / "fresh.py"
    text = "from headrace_agent import Agent\nagent = Agent('fresh')\n@agent.job('version')\nasync def version(ctx):\n    return {}\n"
    module.write_text(text.format(1))
    agent = await start_agent(directory, broker.address, "--reload", agent="fresh:agent", cwd=directory)
    stack.push_async_callback(agent.kill)
    assert (await client.wait((await client.submit("version")).job_id, timeout_s=20)).json_result() == 1
    module.write_text(text.format("1 +"))

    async def complains() -> bool:
        return "cannot be imported" in agent.log.read_text()

    await until(complains)
    module.write_text(text.format(22))
    assert (await client.wait((await client.submit("version")).job_id, timeout_s=20)).json_result() == 22
    assert await agent.stop() == 0


async def test_an_agent_keeps_its_session_whatever_a_handler_asks_for(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    """A broker ends the stream over what it cannot take; what is sent again would end each that follows."""
    (directory / "greedy.py").write_text(
        "from headrace_agent import Agent, Snooze\nagent = Agent('g')\n"
        "@agent.job('late', max_attempts=1)\nasync def late(ctx):\n    raise Snooze(4e8)\n"
        "@agent.job('large', max_attempts=1)\nasync def large(ctx):\n    ctx.save_checkpoint(b'x' * 2_000_000)\n"
        "@agent.job('large_process', max_attempts=1, executor='process')\ndef large_process(ctx):\n    ctx.save_checkpoint(b'x' * 2_000_000)\n    return 1\n"
    )
    agent = await start_agent(directory, broker.address, agent="greedy:agent", cwd=directory)
    stack.push_async_callback(agent.kill)
    for type_, message in (("late", "at most ten years"), ("large", "the checkpoint has 2000000 bytes"), ("large_process", "the checkpoint has 2000000 bytes")):
        job = await client.wait((await client.submit(type_)).job_id, timeout_s=30)
        assert job.state is State.ERROR and job.error is not None and message in job.error.message + job.error.traceback, type_
    assert agent.log.read_text().count("session with") == 1


async def test_a_handler_that_does_not_stop_does_not_keep_its_agent_alive(client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    """Nobody renews its lease any more: the job may run elsewhere by then."""
    (directory / "stubborn.py").write_text(
        "import pathlib, threading\nfrom headrace_agent import Agent\nagent = Agent('s')\n"
        "@agent.job('stubborn')\ndef stubborn(ctx):\n    pathlib.Path('begun').touch()\n    threading.Event().wait(300)\n"
    )
    agent = await start_agent(directory, broker.address, "--drain-timeout-s", "0.1", agent="stubborn:agent", cwd=directory)
    stack.push_async_callback(agent.kill)
    await client.submit("stubborn")

    async def begun() -> bool:
        return (directory / "begun").exists()

    await until(begun, what="the start")
    assert await agent.stop() == 1
    assert "handlers in threads do not stop" in agent.log.read_text()


async def test_a_thread_that_a_handler_leaves_behind_does_not_keep_its_agent_alive(
    client: Client, broker: BrokerProcess, directory: Path, stack: AsyncExitStack
) -> None:  # fmt: skip
    (directory / "leaving.py").write_text(
        "import threading\nfrom headrace_agent import Agent\nagent = Agent('l')\n"
        "@agent.job('leave')\ndef leave(ctx):\n    threading.Thread(target=threading.Event().wait, args=(300,), name='left', daemon=False).start()\n"
    )
    agent = await start_agent(directory, broker.address, agent="leaving:agent", cwd=directory, environment={"PYTHONUNBUFFERED": "1"})  # a real process
    stack.push_async_callback(agent.kill)
    assert (await client.wait((await client.submit("leave")).job_id, timeout_s=20)).state is State.COMPLETED
    assert await agent.stop() == 1
    assert "threads that were left behind do not end: left" in agent.log.read_text()


async def test_an_agent_that_no_broker_takes_ends_and_says_why(broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    (directory / "odd.py").write_text("from headrace_agent import Agent\nagent = Agent('o')\n@agent.job('t', timeout_s=-1)\nasync def t(ctx): ...\n")
    agent = await start_agent(directory, f"{broker.address},{broker.address}", agent="odd:agent", cwd=directory)
    stack.push_async_callback(agent.kill)
    async with asyncio.timeout(20):
        assert await agent.process.wait() == 1
    said = agent.log.read_text()
    assert "refuses this agent: hello.types[0].declared.timeout: a duration from 0" in said and "Traceback" not in said


def test_options_of_an_agent_that_mean_nothing_are_told() -> None:
    for option, value in (("--drain-timeout-s", "nan"), ("--drain-timeout-s", "-1"), ("--metrics-listen", "127.0.0.1:99999"), ("--slots", "0")):
        done = run_command("headrace-agent", "run", "tests.support.handlers:agent", f"{option}={value}")
        assert (done.returncode, done.stdout) == (2, "") and option in done.stderr and "Traceback" not in done.stderr
    done = run_command("headrace-agent", "run", "tests.support.handlers:agent", environment={"HEADRACE_LOG_LEVEL": "loud"})
    assert done.returncode == 2 and "HEADRACE_LOG_LEVEL is one of debug" in done.stderr and "Traceback" not in done.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_command("headrace-agent", "run", "tests.support.handlers:agent", "--metrics-listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1 and "metrics cannot be served at 127.0.0.1" in done.stderr and "Traceback" not in done.stderr
