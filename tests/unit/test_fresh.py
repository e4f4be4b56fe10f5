"""What is changed at one broker counts at all of them within a second: tables in memory are read again twice a second, whatever fails in between. Without any clock."""

import asyncio
from typing import Any

import pytest
from headrace_broker import app
from headrace_broker.actions import fresh
from headrace_broker.actions.fresh import keep_fresh
from headrace_broker.model.errors import DatabaseUnavailable


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
    monkeypatch.setattr("headrace_broker.actions.fresh.asyncio.sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await keep_fresh(refresh, "tokens", told, away=lambda: away.append(reads))
    assert (reads, paused) == (6, [fresh.REFRESH_S] * 6) and fresh.REFRESH_S <= 0.5
    assert away == [2, 3] and len(told.events) == 2


def test_settings_are_read_as_often() -> None:
    assert app.TYPES_REFRESH_S <= 0.5
