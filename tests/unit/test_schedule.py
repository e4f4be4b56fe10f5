"""When schedules tick: the calendar at changes of the clock, intervals, bounds, and which of several due ticks is decided."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.schedule import LATE_S, LATEST, SECOND, Schedule, Spec, When, after_change, first_tick, pick
from hypothesis import given, settings
from hypothesis import strategies as st

MINUTE = timedelta(minutes=1)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def local(zone: str, cron: str, after: str, count: int) -> list[str]:
    """The next ticks of a line, on that zone's wall clock."""
    tz = ZoneInfo(zone)
    return [tick.astimezone(tz).isoformat(timespec="minutes") for tick in islice(When(cron, zone).ticks(datetime.fromisoformat(after)), count)]


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # spring: 02:00 to 03:00 is left out
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("Europe/Berlin", "0,30 1-3 * * *", "2026-03-29T01:10+01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"]),
        ("Europe/Berlin", "30 * * * *", "2026-03-29T01:10+01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:30+02:00"]),
        ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T12:00+01:00", ["2026-03-30T02:00+02:00", "2026-03-30T02:30+02:00"]),
        ("America/New_York", "15 2 * * *", "2026-03-07T12:00-05:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:15-04:00"]),
        ("America/New_York", "*/20 * * * *", "2026-03-08T01:30-05:00", ["2026-03-08T01:40-05:00", "2026-03-08T03:00-04:00", "2026-03-08T03:20-04:00"]),
        # autumn: 02:00 to 03:00 (New York: 01:00 to 02:00) comes twice
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T02:10+01:00", ["2026-10-26T02:30+01:00"]),
        ("Europe/Berlin", "0 * * * *", "2026-10-25T01:30+02:00", ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00-04:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
        ("Australia/Lord_Howe", "* */5 * * *", "2026-04-05T01:59+10:30", ["2026-04-05T05:00+10:30", "2026-04-05T05:01+10:30"]),
        ("America/New_York", "*/30 * * * *", "2026-11-01T01:10-04:00", ["2026-11-01T01:30-04:00", "2026-11-01T01:00-05:00", "2026-11-01T01:30-05:00"]),
    ],
)
def test_both_changes_of_the_clock(zone: str, cron: str, after: str, expected: list[str]) -> None:
    assert local(zone, cron, after, len(expected)) == expected


FIELD = st.one_of(
    st.just("*"), st.sampled_from(["*/7", "*/20"]), st.integers(0, 59).map(str), st.lists(st.integers(0, 59), min_size=2, max_size=4).map(lambda n: ",".join(map(str, n)))
)
HOUR = st.one_of(st.just("*"), st.just("*/5"), st.integers(0, 23).map(str), st.sampled_from(["1-3", "0,1,2,3", "22-23"]))


def matches(text: str, value: int, first: int, last: int) -> bool:
    """A field of a line, read the plain way."""
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, _, high = (f"{first}-{last}" if span == "*" else span).partition("-")
        if value in range(int(low), int(high or low) + 1, int(step or 1)):
            return True
    return False


def naive(minute: str, hour: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """All ticks of a daily line after `begin` up to `end`, minute by minute."""
    tz = ZoneInfo(zone)
    if minute.startswith("*") or hour.startswith("*"):
        minutes = [begin.replace(second=0) + n * MINUTE for n in range(int((end - begin) / MINUTE) + 1)]
        walls = [(utc, utc.astimezone(tz)) for utc in minutes if begin < utc <= end]
        return [utc for utc, wall in walls if matches(minute, wall.minute, 0, 59) and matches(hour, wall.hour, 0, 23)]
    found = set()
    wall = begin.astimezone(tz).replace(tzinfo=None, second=0) - timedelta(days=1)
    while wall <= end.astimezone(tz).replace(tzinfo=None) + timedelta(hours=2):
        if matches(minute, wall.minute, 0, 59) and matches(hour, wall.hour, 0, 23):
            at = wall.replace(tzinfo=tz)
            while at.astimezone(UTC).astimezone(tz).replace(tzinfo=None) != at.replace(tzinfo=None):  # left out
                at += MINUTE
            found.add(at.astimezone(UTC))
        wall += MINUTE
    return sorted(tick for tick in found if begin < tick <= end)


@settings(max_examples=60, deadline=None)
@given(
    minute=FIELD, hour=HOUR, zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    day=st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-07-15"]), offset=st.integers(-1440, 600),
)  # fmt: skip
def test_ticks_are_those_of_a_search_minute_by_minute(minute: str, hour: str, zone: str, day: str, offset: int) -> None:
    begin = datetime.fromisoformat(f"{day}T00:00+00:00") + offset * MINUTE
    end = begin + timedelta(days=2)
    when = When(f"{minute} {hour} * * *", zone)
    expected = naive(minute, hour, zone, begin, end)
    found: list[datetime] = []
    while (at := when.following(found[-1] if found else begin)) is not None and at <= end:  # begun anew at each tick, as the broker does
        found.append(at)
    assert found == expected
    if expected:
        assert when.due(expected[0], end, 3) == expected[-3:]


def test_an_interval_keeps_to_its_anchor_and_bounds() -> None:
    when = When(interval_s=7, anchor=NOON, start_at=NOON + timedelta(seconds=7), end_at=NOON + timedelta(seconds=21))
    assert [(tick - NOON).seconds for tick in islice(when.ticks(NOON - timedelta(days=3)), 9)] == [7, 14, 21]
    assert when.following(NOON + timedelta(seconds=8.5)) == NOON + timedelta(seconds=14)
    assert when.following(NOON + timedelta(seconds=21)) is None


class Counted(When):
    """Counts the ticks that are looked at."""

    looked_at = 0

    def ticks(self, after: datetime) -> Iterator[datetime]:
        for tick in super().ticks(after):
            Counted.looked_at += 1
            yield tick


def test_the_newest_ticks_of_a_long_downtime_are_found_at_once() -> None:
    first, now = datetime(2016, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert When("0 0 1 1 *").due(first, now, 1) == [now]
    assert When("* * * * *").due(now - timedelta(days=1), now, 100)[0] == now - 99 * MINUTE
    assert Counted(interval_s=1).due(now - timedelta(days=60), now, 2) == [now - timedelta(seconds=1), now]
    assert Counted.looked_at < 200, "of some five million"


def schedule(spec: Spec, next_at: datetime | None = NOON, ticked_at: datetime | None = None) -> Schedule:
    """A stored schedule."""
    return Schedule(1, "default", "s", 1, False, spec, 1, None, "", "", next_at, ticked_at, None, None, None, None, 0, 0, NOON, NOON)


def test_what_is_decided_after_a_downtime() -> None:
    every = When(interval_s=60, anchor=NOON)
    back = NOON + 10 * MINUTE + timedelta(seconds=5)
    for policy, nominal, following in (("once", 10, 11), ("skip", 10, 11), ("all", 8, 9)):
        tick = pick(schedule(Spec(every, "t", missed=policy, max_missed=3)), back)
        assert tick is not None
        assert (tick.nominal_at, tick.next_at, tick.missed) == (NOON + nominal * MINUTE, NOON + following * MINUTE, False), policy
    daily = When("0 12 * * *")
    late = NOON + timedelta(seconds=LATE_S + 1)
    assert [pick(schedule(Spec(daily, "t", missed=policy)), late).missed for policy in ("once", "skip", "all")] == [False, True, False]  # type: ignore[union-attr]
    assert not pick(schedule(Spec(daily, "t", missed="skip")), late - timedelta(seconds=2)).missed  # type: ignore[union-attr]
    assert pick(schedule(Spec(daily, "t")), NOON - timedelta(seconds=1)) is None, "a clock that was set back waits"


def test_jitter_is_the_same_for_everyone_and_bounded() -> None:
    stored = schedule(Spec(When(interval_s=60), "t", jitter_s=30.0))
    delays = [(stored.due_at(NOON + n * MINUTE) - NOON - n * MINUTE).total_seconds() for n in range(200)]
    assert delays == [(replace(stored, version=9).due_at(NOON + n * MINUTE) - NOON - n * MINUTE).total_seconds() for n in range(200)]
    assert all(0 <= delay < 30 for delay in delays) and max(delays) > 25 and min(delays) < 5
    assert pick(stored, NOON + timedelta(seconds=delays[0] - 0.01)) is None
    assert pick(stored, NOON + timedelta(seconds=delays[0] + 0.01)) is not None


@pytest.mark.parametrize(("missed", "expected"), [("once", [1, 0]), ("skip", [1, 0]), ("all", [3, 2, 1, 0])])
def test_the_newest_tick_that_its_jitter_holds_back_makes_older_ones_no_newer(missed: str, expected: list[int]) -> None:
    stored = schedule(Spec(When(interval_s=3600, anchor=NOON), "t", missed=missed, max_missed=3, jitter_s=1800.0))
    newest = NOON + timedelta(hours=50)
    held_back = stored.due_at(newest) - SECOND
    assert held_back > newest, "it has begun, and is not due"
    found = []
    for now in (held_back, held_back, held_back, stored.due_at(newest)):
        if (tick := pick(stored, now)) is not None:
            found.append((newest - tick.nominal_at) // timedelta(hours=1))
            stored = replace(stored, next_at=tick.next_at, ticked_at=tick.nominal_at)
    assert found == expected, "in hours before the newest; of 50 that were missed"


def test_where_more_ticks_are_held_back_than_are_looked_at_the_newest_that_is_surely_due_is_taken() -> None:
    class Slow(Schedule):
        def due_at(self, tick: datetime) -> datetime:
            return tick + timedelta(seconds=self.spec.jitter_s)

    spec = Spec(When("* * * * *"), "t", jitter_s=86_400.0)
    stored = Slow(1, "default", "s", 1, False, spec, 1, None, "", "", NOON, None, None, None, None, None, 0, 0, NOON, NOON)
    tick = pick(stored, NOON + timedelta(days=3))
    assert tick is not None and tick.nominal_at == NOON + timedelta(days=2)
    tick = pick(stored, NOON + timedelta(days=1))
    assert tick is not None and tick.nominal_at == NOON


def test_times_end_with_the_year_9999() -> None:
    last = datetime(9999, 12, 31, 23, 40, tzinfo=UTC)
    stored = schedule(Spec(When(at=last), "t", jitter_s=86_400.0), last)
    assert last < stored.due_at(last) <= LATEST and pick(stored, NOON) is None
    for when in (When(interval_s=86_400, start_at=last), When(interval_s=86_400, anchor=last, start_at=last), When("40 23 31 12 *", "Asia/Tokyo", start_at=last)):
        assert all(tick >= last for tick in islice(when.ticks(NOON), 9)), when
        assert when.following(last) is None, when
    assert list(islice(When("30 23 31 12 *", start_at=last - timedelta(hours=1)).ticks(NOON), 9)) == [last - 10 * MINUTE]


def test_a_change_never_brings_back_a_tick() -> None:
    every, other = When(interval_s=60), When(interval_s=30)
    old = schedule(Spec(every, "t"), NOON, NOON - MINUTE)
    assert after_change(old, every, NOON + timedelta(seconds=5)) == NOON, "what is due stays due when only the job changes"
    assert after_change(old, other, NOON + timedelta(seconds=5)) == NOON + timedelta(seconds=30)
    ahead = replace(old, ticked_at=NOON + 5 * MINUTE)
    assert after_change(ahead, other, NOON) == NOON + 5 * MINUTE + timedelta(seconds=30), "the clock was set back"
    assert after_change(replace(ahead, deleted=True), every, NOON) == NOON + 6 * MINUTE, "made again under its name"
    assert after_change(replace(old, paused_at=NOON), other, NOON) is None
    once = When(at=NOON)
    assert first_tick(once, None, NOON + timedelta(days=1)) == NOON and first_tick(once, NOON, NOON - MINUTE) is None


@pytest.mark.parametrize(
    ("when", "field"),
    [
        (When(), "spec.when"), (When("* * * * *", interval_s=5), "spec.when"), (When("* * * *"), "spec.cron"), (When("0 * * * * *"), "spec.cron"),
        (When("61 * * * *"), "spec.cron"),
        (When("0 0 31 2 *"), "spec.cron"), (When("0 0 * * *", "Europe/Nowhere"), "spec.time_zone"), (When("0 0 * * *", "../../etc/passwd"), "spec.time_zone"),
        (When(interval_s=5, start_at=NOON, end_at=NOON - MINUTE), "spec.end_at"),
    ],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(when: When, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        when.check()
    assert refused.value.field == field
