"""The `headrace` command: its tree, and what happens when it is interrupted."""

import os
import sys

from cyclopts import App

from headrace_client import __version__
from headrace_client.cli import access, agents, alerts, bulk, domains, doors, grants, instances, jobs, outbox, schedules, stats, testing, tls, types, updates, users
from headrace_client.cli.bench import bench
from headrace_client.cli.output import Done, errors
from headrace_client.cli.submit import submit

app = App(
    name="headrace", version=__version__, result_action="return_value",
    help="Submit jobs and look after them. The broker is named by --broker or HEADRACE_BROKER. "
    "Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 no broker reached.",
)  # fmt: skip
app.command(submit)
app.command(jobs.app)
for command in (updates.update, updates.hold, updates.release, updates.runs, updates.payloads):
    jobs.app.command(command)
app.command(bulk.app)
app.command(bulk.operations_app)
app.command(types.app)
app.command(instances.app)
app.command(agents.app)
app.command(domains.app)
app.command(alerts.app)
app.command(schedules.app)
app.command(stats.app)
app.command(outbox.app)
app.command(doors.app)
app.command(access.tokens_app)
app.command(access.audit_app)
app.command(tls.app)
app.command(users.app)
app.command(grants.app)
app.command(bench)
app.command(testing.app)
app.register_install_completion_command()


def main() -> None:
    """Runs the command line; never shows a traceback for what a user or a broker did."""
    try:
        code = app(sys.argv[1:], exit_on_error=False, print_error=True)
        sys.stdout.flush()
    except Done as done:
        code = done.code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        errors.print(f"headrace: {error}")
        code = 1
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "cyclopts":
            raise
        code = 2  # cyclopts has said what was wrong
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
