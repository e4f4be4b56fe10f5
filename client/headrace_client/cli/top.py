"""`headrace top`: what the broker does now, again and again."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, NoReturn

from cyclopts import Parameter
from headrace_proto.wire import DEFAULT_DOMAIN

from headrace_client.cli.common import Common, argument, duration_s, guarded
from headrace_client.cli.output import Output, errors, fail, to_json
from headrace_client.cli.printing import print_line
from headrace_client.cli.terminal import Line, Terminal, usable
from headrace_client.cli.top_calls import MOST_DOMAINS, Calls
from headrace_client.cli.top_figures import Figures, Rates, figures, together
from headrace_client.cli.top_screen import COLUMNS, Look, View, key_pressed, plain_lines, room, rows_of, screen, span
from headrace_client.errors import HeadraceError, Unavailable

LEAST_S, MOST_S = 0.2, 3600.0
ROUND_S = 3.0
"""What a round may take once a screen is shown: somebody looks, and wants to know that there is no answer."""
SLOW_S = 1.0
REDRAWN_S = 1.0
WIDTH = 200
"""Of a table that no terminal shows."""


@Parameter(name="*")
@dataclass(frozen=True)
class Elsewhere(Common):
    """The options of every command but `--domain`, of which there may be several here."""

    domain: Annotated[str | None, Parameter(parse=False)] = None


def top(
    *,
    every: Annotated[str, Parameter(help=f"time between two refreshes, {LEAST_S:g} to {MOST_S:g} seconds: 5s, 1m")] = "2s",
    once: Annotated[bool, Parameter(negative="", help="print it once, and end")] = False,
    view: Annotated[View, Parameter(help="what is listed")] = "types",
    sort: Annotated[str | None, Parameter(help="the column to sort by, such as waiting, oldest_wait, in, out, failed, p95, domain; of agents running or heard")] = None,
    domain: Annotated[tuple[str, ...], Parameter(env_var="HEADRACE_DOMAIN", negative="", help="domain; may be repeated, or several with commas between them")] = (),
    all_domains: Annotated[bool, Parameter(negative="", help="all domains that you may see anything of")] = False,
    common: Elsewhere | None = None,
) -> int:
    """Show jobs, rates, types, domains, agents and brokers as they are now, again and again.

    At a terminal keys choose: t, d, a, b what is listed, < and > (or s) the column to sort by, r the other way, / filters, p pauses,
    space refreshes at once, arrows scroll, q quits.
    Elsewhere it is printed once; with -o jsonl it is an object a line for each refresh, until it is ended.
    """
    every_s = argument(duration_s, every)
    if not LEAST_S <= every_s <= MOST_S:
        errors.print(f"headrace: --every is {LEAST_S:g} to {MOST_S:g} seconds, found {every_s:g}")
        return 2
    look = Look(view)
    if sort is not None:
        names = [column.name for column in COLUMNS[view]]
        if sort not in names:
            errors.print(f"headrace: {view} are sorted by one of {', '.join(names)}, found {sort!r}")
            return 2
        look = replace(look, sorts={**look.sorts, view: sort})
    named = list(dict.fromkeys(name.strip() for word in domain for name in word.split(",") if name.strip())) or [DEFAULT_DOMAIN]
    if len(named) > MOST_DOMAINS and not all_domains:
        errors.print(f"headrace: at most {MOST_DOMAINS} domains, found {len(named)}")
        return 2
    options = replace(common or Elsewhere(), domain=named[0])
    return guarded(options, lambda: _shown(options, [] if all_domains else named, look, every_s, once))


async def _shown(common: Common, domains: Sequence[str], look: Look, every_s: float, once: bool) -> int:
    streams = common.output == "jsonl" and not once
    live = not (streams or once or common.output == "json") and usable()
    async with Calls(common, min(ROUND_S, common.timeout_s) if live else common.timeout_s, domains) as calls:
        feed = Feed(calls)
        first = await feed.next()  # what is wrong from the start is said as by every command
        if streams:
            await _stream(feed, first, every_s)
        if not live:
            _print(first, look, Output(common.output))
            return 0
        with Terminal(sys.stdout.fileno(), 0, encoding=sys.stdout.encoding) as terminal:
            return await Live(terminal, feed, first, look, every_s).run()


class Feed:
    """Rounds, and what is known from one to the next."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._rates: dict[str, Rates] = {}

    async def next(self) -> Figures:
        """Those of another round. Raises as `Calls.round`."""
        rounds = await self._calls.round()
        return together([figures(found, self._rates.setdefault(name, Rates()), name) for name, found in rounds.found.items()], rounds.notes)


def _print(found: Figures, look: Look, output: Output) -> None:
    if output.form != "table":
        output.one(found)
        return
    width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
    print_line("\n".join(plain_lines(found, look, width)))


async def _stream(feed: Feed, found: Figures, every_s: float) -> NoReturn:
    """A line for each round. A round that fails is told on standard error, and another one follows."""
    while True:
        print_line(to_json(found), flush=True)
        while True:
            await asyncio.sleep(every_s)
            try:
                found = await feed.next()
                break
            except HeadraceError as error:
                fail(error, "jsonl")


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
        self._asked_at: float | None = None
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
            await _set_within(self._wanted, self._every_s)
            if self._look.paused:
                await self._wanted.wait()
            self._wanted.clear()
            self._asked_at = loop.time()
            try:
                self._figures = await self._feed.next()
                self._error, self._answered_at = None, loop.time()
            except HeadraceError as error:
                self._error = error
            self._asked_at = None
            self._changed.set()

    def _status(self, now: float) -> Line:
        state = [("paused  ", "yellow")] if self._look.paused else []
        if self._error is not None:
            since = f"no answer for {span(now - self._answered_at)}: " if isinstance(self._error, Unavailable) and not self._error.reason else ""
            return [*state, (f"{since}{self._error.message}", "red")]
        if self._asked_at is not None and now - self._asked_at > SLOW_S:
            return [*state, (f"no answer for {span(now - self._asked_at)}", "yellow")]
        return [*state, ("; ".join(self._figures.notes), "yellow")]

    @contextmanager
    def _listening(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGWINCH: self._changed.set,
            signal.SIGTSTP: self._suspend,
            signal.SIGTERM: lambda: self._end(143),
            signal.SIGHUP: lambda: self._end(129),
        }
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
            if key == "q" and not self._look.typing:
                self._end(0)
            elif key == " " and not self._look.typing:
                self._wanted.set()
            else:
                space = room(self._figures, self._terminal.size()[1])
                self._look = key_pressed(self._look, key, rows=len(rows_of(self._figures, self._look)), room=space)
                if key == "p" and not self._look.paused and not self._look.typing:
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
