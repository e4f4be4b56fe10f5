"""Starts everything, runs the story, ends everything; exit code 1 when anything is missing, doubled or wrong."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from headrace_client import AdminClient, Client
from rich.console import Console

from demo import sights
from demo.servers import MailServer, start_agent, start_broker
from demo.story import REFUSED_MAILS, Story

LIMIT_S = 115.0


async def _main(stay: bool, listen: str) -> int:
    console = Console(highlight=False, soft_wrap=True)
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="headrace-demo-"))
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        broker, ready = await start_broker(directory, listen)
        stack.push_async_callback(broker.stop)
        address = ready["grpc"][0]
        console.print(f"[bold]headrace[/bold] {ready['version']}: broker at {address} (pid {broker.pid}), {ready['database']}")
        console.print("look at it from another shell:")
        for command in ("jobs count", "agents list", "jobs list --state processing"):
            console.print(f"    {Path(sys.executable).parent / 'headrace'} {command} --broker {address}")
        console.print(f"the manager, with a link that logs in once: {ready['web']}")
        mail = MailServer(refuse=REFUSED_MAILS)
        mail_server = await mail.start()
        stack.callback(mail.stop)
        agents = [await start_agent(directory, address, number) for number in (1, 2)]
        for agent in agents:
            stack.push_async_callback(agent.stop)
        console.print(f"two agents in processes of their own: pids {', '.join(str(agent.pid) for agent in agents)}; SMTP server at {mail_server}")
        client = await stack.enter_async_context(Client(address))
        admin = await stack.enter_async_context(AdminClient(address))
        story = Story(client, admin, agents, mail, directory, console)
        try:
            async with asyncio.timeout(None if stay else LIMIT_S):
                await story.run(mail_server)
        except TimeoutError:
            story.problems.append(f"it did not end within {LIMIT_S:.0f} s")
        if story.problems:
            console.print(f"[red bold]{len(story.problems)} problems[/red bold]")
            for problem in story.problems[:20]:
                console.print(f"  {problem}", markup=False)
        else:
            console.print("[green bold]nothing was lost, doubled or wrong[/green bold]: every result agrees with an independent computation")
        if stay:
            shop = await start_agent(directory, address, 3, "demo.orders:agent")
            stack.push_async_callback(shop.stop)
            await sights.fill(client, admin)
            console.print(f"a shop has opened: orders, imports, schedules. It stays up until Ctrl-C; the manager: {ready['web']}")
            await _until_told(client)
        console.print(f"ended after {time.monotonic() - started:.0f} s; shutting down")
        return 1 if story.problems else 0


async def _until_told(client: Client) -> None:
    """Orders keep coming until Ctrl-C."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        orders = tasks.create_task(sights.go_on(client))
        await stop.wait()
        orders.cancel()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="demo", description="Runs the main job of headrace over documents of this machine.")
    parser.add_argument("--stay", action="store_true", help="keep everything running afterwards")
    parser.add_argument("--listen", default="127.0.0.1:0", help="where the broker listens")
    arguments = parser.parse_args()
    try:
        sys.exit(asyncio.run(_main(arguments.stay, arguments.listen)))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
