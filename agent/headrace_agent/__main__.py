"""`headrace-agent run module:agent ...`: loads agents from modules and runs them as one, until SIGTERM."""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import uvloop
from headrace_client.credentials import TokenFile
from headrace_client.errors import HeadraceError
from prometheus_client import start_http_server

from headrace_agent import __version__
from headrace_agent.agent import Agent
from headrace_agent.doors import ONCE_TABLE
from headrace_agent.errors import AgentError
from headrace_agent.reload import wait_for_change, watch
from headrace_agent.work import HANDLER_THREADS

LEAVE_S = 1.0
"""How long threads of handlers are waited for at the very end, when they have been told to stop long since."""
LEFT_S = 2.0
"""The same of other threads, which handlers or their libraries have started and left: Python waits for each that is not a daemon."""
MOST_DRAIN_S = 30 * 86_400.0
LEVELS = ("debug", "info", "warning", "error")


def main(argv: Sequence[str] | None = None) -> None:
    """Exit code 0 after a drain, 1 after a failure, 2 for wrong options."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "version":
        print(__version__)
        return
    if arguments.command == "once-table":
        print(ONCE_TABLE, end="")
        return
    if arguments.log_level not in LEVELS:  # argparse looks at what was typed, and not at a default
        print(f"headrace-agent: HEADRACE_LOG_LEVEL is one of {', '.join(LEVELS)}, found {arguments.log_level!r}", file=sys.stderr)
        sys.exit(2)
    shown = logging.StreamHandler()
    shown.setLevel(arguments.log_level.upper())  # the root logger's level is lowered later, for what handlers log
    logging.basicConfig(handlers=[shown], level=arguments.log_level.upper(), format="%(asctime)s [%(levelname)-7s] %(name)s: %(message)s")
    try:
        _check(arguments)
        agent = load(arguments.agents)
        agent.labels |= _labels(arguments.label if arguments.label is not None else (_env("LABELS") or "").split(","))
    except AgentError as error:
        print(f"headrace-agent: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        print(f"headrace-agent: {' '.join(arguments.agents)} cannot be imported: see above", file=sys.stderr)
        if not arguments.reload:
            sys.exit(1)
        wait_for_change(Path.cwd())
        _start_again()
    gc.collect()
    gc.freeze()  # what was imported stays: a full pass of the collector, beside which no handler starts, need not look at it each time
    _leave(uvloop.run(_run(agent, arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headrace-agent", description="Runs jobs of headrace.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("version", help="print the version")
    commands.add_parser("once-table", help="print the table that ctx.once() needs in your database")
    run = commands.add_parser("run", help="serve jobs until told to stop")
    run.add_argument("agents", nargs="+", metavar="MODULE:AGENT", help="where the Agent is: module, colon, name; several are run as one")
    run.add_argument("--broker", default=_env("BROKER"), help="HOST:PORT[,HOST:PORT] (HEADRACE_BROKER)")
    run.add_argument("--slots", type=int, default=_env("SLOTS"), help="jobs at the same time (HEADRACE_SLOTS; default: what the code says)")
    run.add_argument("--label", action="append", metavar="KEY=VALUE", help="a label that jobs may require; may be repeated (HEADRACE_LABELS: with commas between them)")
    run.add_argument("--domain", default=_env("DOMAIN"), help="domain of the jobs (HEADRACE_DOMAIN)")
    run.add_argument("--token", default=_env("TOKEN"), help="bearer token (HEADRACE_TOKEN)")
    run.add_argument("--token-file", default=_env("TOKEN_FILE"), help="file with the token, read again when it changes (HEADRACE_TOKEN_FILE)")
    run.add_argument("--tls-ca", default=_env("TLS_CA"), help="file with the CA that the broker's certificate must come from (HEADRACE_TLS_CA)")
    run.add_argument("--tls-client-cert", default=_env("TLS_CLIENT_CERT"), help="certificate to show to brokers that ask for one (HEADRACE_TLS_CLIENT_CERT)")
    run.add_argument("--tls-client-key", default=_env("TLS_CLIENT_KEY"), help="its private key (HEADRACE_TLS_CLIENT_KEY)")
    drain_help = "seconds to finish what runs after SIGTERM (HEADRACE_DRAIN_TIMEOUT_S; default 30)"
    run.add_argument("--drain-timeout-s", type=float, default=_env("DRAIN_TIMEOUT_S") or 30.0, help=drain_help)
    run.add_argument("--metrics-listen", default=_env("METRICS_LISTEN"), metavar="HOST:PORT", help="serve metrics there (HEADRACE_METRICS_LISTEN)")
    run.add_argument("--log-level", default=_env("LOG_LEVEL") or "info", choices=LEVELS)
    run.add_argument("--reload", action="store_true", help="for development: start again when a module's file changes")
    return parser


def _check(arguments: argparse.Namespace) -> None:
    """Raises AgentError for options that can mean nothing."""
    if arguments.slots is not None and int(arguments.slots) < 1:
        raise AgentError(f"--slots must be at least 1, found {arguments.slots}")
    port = (arguments.metrics_listen or "").rpartition(":")[2]
    if arguments.metrics_listen and not (port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65_536):
        raise AgentError(f"--metrics-listen is HOST:PORT, found {arguments.metrics_listen!r}")
    if not 0 <= arguments.drain_timeout_s <= MOST_DRAIN_S:
        raise AgentError(f"--drain-timeout-s is a number of seconds from 0 to {MOST_DRAIN_S:g}, found {arguments.drain_timeout_s:g}")


def _labels(pairs: Sequence[str]) -> dict[str, str]:
    """Labels from KEY=VALUE. Raises AgentError."""
    found = {}
    for pair in filter(None, pairs):
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise AgentError(f"a label is KEY=VALUE, found {pair!r}")
        found[key] = value
    return found


def load(names: Sequence[str]) -> Agent:
    """The agents of these MODULE:NAME as one. Raises AgentError for what cannot be loaded."""
    sys.path.insert(0, os.getcwd())
    found = []
    for name in names:
        module_name, _, attribute = name.partition(":")
        if not module_name or module_name.startswith(".") or "/" in module_name or module_name.endswith(".py"):
            raise AgentError(f"{name!r} does not name a module: give MODULE:AGENT, such as work:agent for the file work.py here, or jobs.mail:agent for jobs/mail.py")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise AgentError(f"there is no module {module_name!r} here or on the Python path") from error
            raise AgentError(f"module {module_name!r} needs {error.name!r}, which is not installed") from error
        agent = getattr(module, attribute or "agent", None)
        if not isinstance(agent, Agent):
            agents = [key for key, value in vars(module).items() if isinstance(value, Agent)]
            hint = f"it has {', '.join(agents)}" if agents else "it has no Agent"
            raise AgentError(f"module {module_name!r} has no Agent named {attribute or 'agent'!r}; {hint}")
        found.append(agent)
    first = found[0]
    for other in found[1:]:
        first.include(other)
    return first


async def _run(agent: Agent, arguments: Any) -> int:
    loop = asyncio.get_running_loop()
    drain = asyncio.Event()
    again = False

    def on_signal() -> None:
        if drain.is_set():
            logging.getLogger("headrace.agent").warning("second signal: stopping at once")
            os._exit(1)
        drain.set()

    def on_change(path: str) -> None:
        nonlocal again
        logging.getLogger("headrace.agent").info("%s changed: starting again", path)
        again = True
        drain.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if arguments.metrics_listen:
        host, _, port = arguments.metrics_listen.rpartition(":")
        try:
            start_http_server(int(port), host.strip("[]"), registry=agent.metrics.registry)
        except OSError as error:
            print(f"headrace-agent: metrics cannot be served at {arguments.metrics_listen}: {error.strerror or error}", file=sys.stderr)
            return 1
    failures: list[str] = []
    try:
        token = arguments.token or (TokenFile(arguments.token_file) if arguments.token_file else None)
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(on_change)) if arguments.reload else None
            await agent.run(
                arguments.broker, slots=int(arguments.slots) if arguments.slots else None, domain=arguments.domain, token=token,
                tls_ca=arguments.tls_ca, tls_client_cert=arguments.tls_client_cert, tls_client_key=arguments.tls_client_key, drain=drain,
                drain_timeout_s=float(arguments.drain_timeout_s),
            )  # fmt: skip
            if watching is not None:
                watching.cancel()
    except* (AgentError, HeadraceError) as group:
        failures = [str(error) for error in group.exceptions]
    if failures:
        print("\n".join(f"headrace-agent: {failure}" for failure in failures), file=sys.stderr)
        return 1
    if again:
        _start_again()
    return 0


def _leave(code: int) -> NoReturn:
    """Ends the process. A handler's thread that does not stop is not waited for: nobody renews its lease any more, so its job may run elsewhere by now."""
    until = time.monotonic() + LEAVE_S
    handlers = [thread for thread in threading.enumerate() if thread.name.startswith(HANDLER_THREADS)]
    for thread in handlers:
        thread.join(max(0.0, until - time.monotonic()))
    if not any(thread.is_alive() for thread in handlers):
        threading.Thread(target=_leave_others, name="headrace-leave", daemon=True).start()
        sys.exit(code)
    logging.getLogger("headrace.agent").warning("handlers in threads do not stop: ending the process under them")
    logging.shutdown()
    os._exit(1)


def _leave_others() -> NoReturn:
    time.sleep(LEFT_S)  # the process has ended by then, unless something keeps it
    left = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    logging.getLogger("headrace.agent").warning("threads that were left behind do not end: %s; ending the process under them", ", ".join(left))
    logging.shutdown()
    os._exit(1)


def _start_again() -> NoReturn:
    os.execv(sys.executable, [sys.executable, "-m", "headrace_agent", *sys.argv[1:]])


def _env(name: str) -> str | None:
    return os.environ.get(f"HEADRACE_{name}") or None


if __name__ == "__main__":
    main()
