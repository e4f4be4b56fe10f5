"""The `headrace` command: its tree, and what happens when it is interrupted."""

import io
import os
import sys

from cyclopts import App

from headrace_client import __version__
from headrace_client.cli.output import Done, errors
from headrace_client.cli.submit import submit

app = App(
    name="headrace", version=__version__, result_action="return_value",
    help="Submit jobs and look after them. The broker is named by --broker or HEADRACE_BROKER. "
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 no broker reached.",
)  # fmt: skip
COMMANDS = {
    "jobs": ("jobs:app", "Find, read, watch and change jobs."),
    "bulk": ("bulk:app", "Do one thing to all jobs that match a filter, as a durable operation."),
    "operations": ("bulk:operations_app", "Bulk operations: what was started, how far it came, and what it skipped."),
    "filters": ("filters:app", "Saved filters: what to look for among jobs, kept under a name."),
    "types": ("types:app", "Job types and their settings."),
    "instances": ("instances:app", "Priorities of business cases."),
    "agents": ("agents:app", "Agents: programs that run jobs."),
    "domains": ("domains:app", "Domains: their limits, and what is paused in them."),
    "alerts": ("alerts:app", "Alerts: failures that people should know of, and who is told."),
    "schedules": ("schedules:app", "Schedules: jobs that are submitted at times."),
    "stats": ("stats:app", "The whole at a glance; trend, capacity and forecast."),
    "top": ("top:top", "The whole, live: jobs, rates, types, agents and brokers as they are now."),
    "outbox": ("outbox:app", "Outbox: jobs of services whose data is in another Postgres database."),
    "brokers": ("brokers:brokers", "Brokers: which there are, who owns the queue and who stands by."),
    "doors": ("doors:app", "Doors: transactions that complete jobs and are not committed yet."),
    "tokens": ("access:tokens_app", "Tokens: who may do what."),
    "audit": ("access:audit_app", "The audit: who changed what."),
    "tls": ("tls:app", "Certificates from a private authority of your own: for brokers, agents and clients."),
    "access": ("grants:app", "Grants: who may do what, beside what the role says."),
    "users": ("users:app", "Users: people who log in to the manager."),
    "bench": ("bench:bench", "Put load on a broker, measure latencies and check that nothing is lost or doubled."),
    "testing": ("testing:app", "For tests: a broker that runs with --testing."),
}
"""Where each command is, and what it is for. Only the module of the one that was called is imported: scripts start many commands, and each is to start quickly."""
app.command(submit)
for name, (place, purpose) in COMMANDS.items():
    app.command(f"headrace_client.cli.{place}", name=name, help=purpose)
app.register_install_completion_command()


def main() -> None:
    """Runs the command line; never shows a traceback for what a user or a broker did."""
    _open_closed()
    if len(sys.argv) > 2 and sys.argv[1].startswith("--") and sys.argv[1] not in ("--help", "--version", "--install-completion"):
        errors.print(f"headrace: options stand behind the command, such as `headrace jobs list {sys.argv[1]} ...`")
        sys.exit(2)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it: a terminal that lacks a character ends no command
    try:
        try:
            code = app(sys.argv[1:], exit_on_error=False, print_error=True)
        except Done as done:
            code = done.code
        except KeyboardInterrupt:
            code = 130
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone
        _drop_output()
        code = 0
    except UnicodeError:
        errors.print("headrace: what was given, or read, is not UTF-8")
        code = 2
    except OSError as error:
        errors.print(f"headrace: {error}")
        _drop_output()  # it may be what cannot be written
        code = 1
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "cyclopts":
            raise
        code = 2  # cyclopts has said what was wrong
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed() -> None:
    """Whoever started the command may have closed standard streams, whose numbers the next connection would get."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115  # as long as the process lives


def _drop_output() -> None:
    """What is left of it would be written at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
