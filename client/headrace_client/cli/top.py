"""`headrace top`: what the broker does now, again and again."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter
from headrace_proto.wire import DEFAULT_DOMAIN

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, run_admin
from headrace_client.cli.output import Output, errors, fail, plain
from headrace_client.cli.terminal import Line, Terminal, usable
from headrace_client.cli.top_calls import Calls
from headrace_client.cli.top_figures import Figures, Rates, figures
from headrace_client.cli.top_screen import COLUMNS, Look, View, key_pressed, plain_lines, room, rows_of, screen, span
from headrace_client.errors import HeadraceError

LEAST_S, MOST_S = 0.2, 3600.0
ROUND_S = 5.0
"""What a round may take once a screen is shown: somebody looks, and wants to know that there is no answer."""
REDRAWN_S = 1.0
WIDTH = 200
"""Of a table that no terminal shows."""


def top(
    *,
    every: Annotated[float, Parameter(help=f"seconds between two refreshes, {LEAST_S:g} to {MOST_S:g}")] = 2.0,
    once: Annotated[bool, Parameter(negative="", help="print it once, and end")] = False,
    view: Annotated[View, Parameter(help="what is listed")] = "types",
    sort: Annotated[str | None, Parameter(help="the column to sort by: its title in small letters, or type, oldest_wait, in, out; it depends on --view")] = None,
    common: Common | None = None,
) -> int:
    """Show jobs, rates, types, agents and brokers as they are now, again and again.

    At a terminal keys choose: t, a, b what is listed, < and > the column to sort by, r the other way, p pauses, space refreshes at once, arrows scroll, q quits. Elsewhere it
    is printed once; with -o jsonl it is an object a line for each refresh until it is ended.
    """
    if not LEAST_S <= every <= MOST_S:
        errors.print(f"headrace: --every is {LEAST_S:g} to {MOST_S:g} seconds, found {every:g}")
        return 2
    look = Look(view)
    if sort is not None:
        names = [column.name for column in COLUMNS[view]]
        if sort not in names:
            errors.print(f"headrace: {view} are sorted by one of {', '.join(names)}, found {sort!r}")
            return 2
        look = replace(look, sorts={**look.sorts, view: sort})
    common = common or Common()
    if common.output == "jsonl" and not once:
        return run_admin(common, lambda _, output: _stream(common, every))
    if once or common.output == "json" or not usable():
        return run_admin(common, lambda _, output: _once(common, look, output))
    return run_admin(common, lambda _, output: _live(common, look, every))


class Feed:
    """Rounds of one broker's, and what is known from one to the next."""

    def __init__(self, calls: Calls, common: Common) -> None:
        self._calls = calls
        self._domain = common.domain or DEFAULT_DOMAIN
        self._rates = Rates()

    async def next(self) -> Figures:
        """Those of another round. Raises as `Calls.round`."""
        return figures(await self._calls.round(), self._rates, self._domain)


async def _once(common: Common, look: Look, output: Output) -> int:
    async with Calls(common, common.timeout_s) as calls:
        found = await Feed(calls, common).next()
    if output.form != "table":
        output.one(found)
        return 0
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    print("\n".join(plain_lines(found, look, width)))
    return 0


async def _stream(common: Common, every_s: float) -> int:
    async with Calls(common, common.timeout_s) as calls:
        feed, first = Feed(calls, common), True
        while True:
            try:
                print(json.dumps(plain(await feed.next()), ensure_ascii=False), flush=True)
            except HeadraceError as error:
                if first:
                    raise
                fail(error, "jsonl")
            first = False
            await asyncio.sleep(every_s)


async def _live(common: Common, look: Look, every_s: float) -> int:
    async with Calls(common, common.timeout_s) as calls:
        first = await Feed(calls, common).next()  # what is wrong from the start is said as by every command
    with Terminal(sys.stdout.fileno(), sys.stdin.fileno(), encoding=sys.stdout.encoding) as terminal:
        async with Calls(common, min(ROUND_S, common.timeout_s)) as calls:
            return await Live(terminal, Feed(calls, common), first, look, every_s).run()


class Live:
    """The view on a terminal. One task draws, and one fetches; keys and signals are the loop's callbacks, which only write fields and wake the former."""

    def __init__(self, terminal: Terminal, feed: Feed, first: Figures, look: Look, every_s: float) -> None:
        self._terminal = terminal
        self._feed = feed
        self._figures = first
        self._look = look
        self._every_s = every_s
        self._error: HeadraceError | None = None
        self._answered_at = 0.0
        self._code: int | None = None
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()

    async def run(self) -> int:
        """Until a key or a signal ends it; returns the exit code."""
        loop = asyncio.get_running_loop()
        self._answered_at = loop.time()
        with self._listening(loop):
            async with asyncio.TaskGroup() as tasks:
                fetching = tasks.create_task(self._fetch(loop))
                while self._code is None:
                    self._changed.clear()
                    width, height = self._terminal.size()
                    self._terminal.draw(screen(self._figures, self._look, self._status(loop.time()), width, height))
                    await _set_within(self._changed, REDRAWN_S)
                fetching.cancel()
        return self._code

    async def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            self._wanted.clear()
            try:
                self._figures = await self._feed.next()
                self._error, self._answered_at = None, loop.time()
            except HeadraceError as error:
                self._error = error
            self._changed.set()
            await _set_within(self._wanted, None if self._look.paused else self._every_s)

    def _status(self, now: float) -> Line:
        state = [("paused  ", "yellow")] if self._look.paused else []
        if self._error is not None:
            return [*state, (f"no answer for {span(now - self._answered_at)}: {self._error.message}", "red")]
        return [*state, ("; ".join(self._figures.notes), "yellow")]

    @contextmanager
    def _listening(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        handlers = {signal.SIGWINCH: self._changed.set, signal.SIGTSTP: self._suspend, signal.SIGTERM: lambda: self._end(143), signal.SIGHUP: lambda: self._end(129)}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        keys = self._terminal.keys
        if keys is not None:
            loop.add_reader(keys, self._keys)
        try:
            yield
        finally:
            if keys is not None:
                loop.remove_reader(keys)
            for number in handlers:
                loop.remove_signal_handler(number)

    def _keys(self) -> None:
        try:
            pressed = self._terminal.read()
        except EOFError:  # the terminal is gone
            self._end(129)
            return
        for key in pressed:
            if key == "q":
                self._end(0)
            elif key == " ":
                self._wanted.set()
            else:
                paused = self._look.paused
                space = room(self._figures, self._terminal.size()[1])
                self._look = key_pressed(self._look, key, rows=len(rows_of(self._figures, self._look)), room=space)
                if paused != self._look.paused:
                    self._wanted.set()
        self._changed.set()

    def _suspend(self) -> None:
        """The shell has the terminal, as it was, until it lets this process go on."""
        self._terminal.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._terminal.take()
        self._changed.set()

    def _end(self, code: int) -> None:
        self._code = code
        self._changed.set()


async def _set_within(event: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
