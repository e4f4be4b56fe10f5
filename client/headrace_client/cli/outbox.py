"""`headrace outbox`: the table for services with another database, and the relay that submits what is in it."""

import asyncio
import logging
import signal
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.cli.common import Common, run
from headrace_client.cli.output import Output, errors
from headrace_client.cli.printing import print_line
from headrace_client.client import Client
from headrace_client.outbox import TABLE, Relay

UNREADABLE = "it cannot be read: in names and passwords write %40 for @, %2F for /, %3A for :, %3F for ?, %23 for #"

app = App(name="outbox")


@app.command
def table() -> int:
    """Print the outbox table, for your migrations."""
    print_line(TABLE.rstrip())
    return 0


@app.command
def relay(
    *, database_url: Annotated[str, Parameter(env_var="HEADRACE_OUTBOX_URL", help="the database with the table headrace_outbox")],
    poll_s: Annotated[float, Parameter(env_var="HEADRACE_OUTBOX_POLL_S", validator=Number(gt=0), help="seconds between looks")] = 0.2,
    once: Annotated[bool, Parameter(negative="", help="submit what is there, and end")] = False, common: Common | None = None,
) -> int:  # fmt: skip
    """Submit what services put into the outbox, until stopped. Any number may run; one that is killed loses and doubles nothing."""
    try:
        import asyncpg
    except ImportError:
        errors.print("headrace: the relay needs asyncpg: pip install 'headrace[outbox]'")
        return 2

    async def connect() -> Any:
        try:
            return await asyncpg.connect(database_url, timeout=10, command_timeout=60, server_settings={"application_name": "headrace outbox"})
        except ValueError as error:  # of the URL; what cannot be read of it may be of the password
            why = str(error) if isinstance(error, asyncpg.ClientConfigurationError) else UNREADABLE
            errors.print(f"headrace: --database-url: {why}")
            raise SystemExit(2) from None

    async def command(client: Client, output: Output) -> int:
        work = Relay(client, connect, poll_s=poll_s)
        if once:
            return await _once(work, await connect(), output)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await work.run(stop)
        return 0

    logging.basicConfig(level="INFO", format="%(asctime)s [%(levelname)-7s] %(name)s: %(message)s")
    try:
        return run(common or Common(), command)
    except (OSError, asyncpg.PostgresError) as error:
        errors.print(f"headrace: the outbox: {error}")
        return 1


async def _once(work: Relay, con: Any, output: Output) -> int:
    submitted = refused = 0
    try:
        while (done := await work.run_once(con)).submitted + done.refused:
            submitted, refused = submitted + done.submitted, refused + done.refused
            if done.left:
                break
    finally:
        await con.close()
    output.one({"submitted": submitted, "refused": refused, "left": done.left})
    return int(done.left > 0)
