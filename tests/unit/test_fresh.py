"""What is changed at one broker counts at all of them within a second: tables in memory are read again twice a second, whatever fails in between. Without any clock."""

import asyncio
from typing import Any

import pytest
from headrace_broker import app, passes, tls
from headrace_broker.actions import fresh
from headrace_broker.actions.fresh import keep_fresh
from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.store.migrate import MigrationError
from structlog.testing import capture_logs


class Told:
    """What was logged."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def warning(self, event: str, /, **values: object) -> None:
        """One more."""
        self.events.append(event)


async def test_a_table_is_read_twice_a_second_also_after_the_database_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    away: list[int] = []
    reads = 0

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 6:
            raise asyncio.CancelledError

    async def refresh() -> None:
        nonlocal reads
        reads += 1
        if reads in (2, 3):
            raise ConnectionError("away") if reads == 2 else DatabaseUnavailable("away")

    told: Any = Told()
    monkeypatch.setattr("headrace_broker.passes.asyncio.sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await keep_fresh(refresh, "tokens", told, away=lambda: away.append(reads))
    assert (reads, paused) == (6, [fresh.REFRESH_S] * 6) and fresh.REFRESH_S <= 0.5
    assert away == [2, 3] and len(told.events) == 2


async def test_what_nobody_expected_costs_a_line_and_pauses_that_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    away: list[int] = []
    reads = 0

    async def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 9:
            raise asyncio.CancelledError

    async def refresh() -> None:
        nonlocal reads
        reads += 1
        if reads != 7:
            raise KeyError("a row of a later release")

    told: Any = Told()
    monkeypatch.setattr("headrace_broker.passes.asyncio.sleep", pause)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await keep_fresh(refresh, "tokens", told, away=lambda: away.append(reads))
    assert paused == [1, 2, 4, 8, 16, 30, fresh.REFRESH_S, 1, 2] and away == [1, 2, 3, 4, 5, 6, 8, 9]
    assert not told.events and [(line["log_level"], type(line["exc_info"])) for line in logs] == [("error", KeyError)] * 8


async def test_settings_that_cannot_be_understood_do_not_end_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PAUSE_S", (0.0, 0.0))
    monkeypatch.setattr(app, "TYPES_REFRESH_S", 0.0)
    read = asyncio.Event()

    class Types:
        """The first read fails."""

        reads = 0

        async def load(self) -> bool:
            self.reads += 1
            if self.reads == 1:
                raise ValueError("what nobody expected")
            read.set()
            return False

    types: Any = Types()
    nobody: Any = None
    task = asyncio.create_task(app._refresh(types, nobody))
    async with asyncio.timeout(10):
        await read.wait()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_a_certificate_that_cannot_be_looked_at_does_not_end_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    again = asyncio.Event()

    def look(_: object) -> bool:
        looks.append(1)
        if len(looks) == 1:
            raise MemoryError
        again.set()
        return False

    monkeypatch.setattr(tls, "PERIOD_S", 0.0)
    monkeypatch.setattr(tls.Tls, "look_once", look)
    task = asyncio.create_task(object.__new__(tls.Tls).keep_fresh())
    async with asyncio.timeout(10):
        await again.wait()
    task.cancel()
    await asyncio.wait([task])


def test_the_error_that_ends_a_broker_is_told_however_many_tasks_it_went_through() -> None:
    error = MigrationError("run a newer headrace")
    assert app.first_of(ExceptionGroup("all", [ExceptionGroup("shards", [error]), ValueError()])) is error


def test_settings_are_read_as_often() -> None:
    assert app.TYPES_REFRESH_S <= 0.5
