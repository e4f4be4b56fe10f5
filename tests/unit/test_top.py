"""What `headrace top` makes of the answers, how it looks in any size, and that it leaves a terminal as it found it."""

import os
import pty
import termios
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from headrace_client.brokers import Broker
from headrace_client.cli.terminal import ENTER, LEAVE, Terminal, painted, pressed
from headrace_client.cli.top_figures import AgentRow, BrokerRow, DomainRow, Figures, Page, Rates, Round, TypeRow, figures, oldest_waits, together
from headrace_client.cli.top_screen import COLUMNS, HELP, Look, View, count, filled, key_pressed, ordered, plain_lines, rate, rows_of, screen, share, span
from headrace_client.models import AgentInfo, AgentType, JobPage, JobType, Overview, State
from headrace_client.trends import Spread, Trend, TrendPoint, TrendSeries
from rich.cells import cell_len

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOTHING = Spread(0, None, None, None, 0.0)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def point(minute: int, completed: int = 0, **numbers: int) -> TrendPoint:
    """A minute, `minute` after T0."""
    rest = {name: numbers.get(name, 0) for name in ("granted", "failed", "timed_out", "lost", "error", "aborted", "requeued", "waiting")}
    return TrendPoint(
        at=T0 + seconds(60 * minute), submitted=numbers.get("submitted", 0), completed=completed, error_rate=None, wait=NOTHING, run=NOTHING, utilisation=None, **rest
    )


def series(name: str, *points: TrendPoint) -> TrendSeries:
    return TrendSeries(name, list(points), points[0])


def told(rates: Rates, at_s: float, *points: TrendPoint) -> float | None:
    """Completed jobs per second of type t, after the minutes were as given at T0 + `at_s`."""
    rates.add(T0 + seconds(at_s), [series("t", *points)])
    return rates.of("t").get("completed", 0.0)


def test_a_rate_is_that_between_the_writes_of_the_last_seconds() -> None:
    rates = Rates()
    assert told(rates, 60, point(0, 600)) == 10, "at first the mean of the last minutes is all there is"
    written = {62: 600, 64: 700, 66: 700, 68: 700, 70: 800, 72: 800, 74: 900, 76: 900}  # 100 each 5 s, looked at each 2 s
    found = [told(rates, at_s, point(0, number)) for at_s, number in written.items()]
    assert found[-1] == 200 / 10 and found[4] == 100 / 6


def test_a_rate_goes_on_into_the_next_minute() -> None:
    rates = Rates()
    told(rates, 50, point(0, 100))
    told(rates, 55, point(0, 150))
    told(rates, 60, point(0, 200))
    assert told(rates, 65, point(0, 220), point(1, 30)) == 10
    assert told(rates, 70, point(1, 80)) == 10, "minutes that are no longer asked for have been counted"


def test_a_rate_falls_to_nothing_when_nothing_happens_any_more() -> None:
    rates = Rates()
    for at_s, number in ((0, 0), (5, 50), (10, 100)):
        told(rates, at_s, point(0, number))
    assert told(rates, 18, point(0, 100)) == 10, "the next write may be on its way"
    assert told(rates, 22, point(0, 100)) == 50 / 17
    assert told(rates, 31, point(0, 100)) == 0


def test_the_first_jobs_after_a_rest_are_not_spread_over_the_rest() -> None:
    rates = Rates()
    for at_s in range(0, 120, 2):
        assert told(rates, at_s, point(0)) == 0
    assert told(rates, 120, point(0), point(1, 100)) == pytest.approx(100 / 20, rel=0.1)
    assert told(rates, 125, point(0), point(1, 200)) == 20


def test_rounds_that_lie_far_apart_tell_a_rate_too() -> None:
    rates = Rates()
    told(rates, 0, point(0, 10))
    assert told(rates, 120, point(0, 20), point(1, 230)) == 2
    assert told(rates, 1000, point(16, 90)) == 90 / 100, "minutes are missing: the mean of the last and the present one"


def test_a_clock_that_is_set_back_or_a_count_that_shrinks_gives_no_negative_rate() -> None:
    rates = Rates()
    told(rates, 300, point(4, 100))
    assert told(rates, 240, point(3, 60), point(4, 60)) == 120 / 60
    told(rates, 245, point(3, 60), point(4, 30))
    assert told(rates, 250, point(3, 60), point(4, 90)) == pytest.approx(60 / 10)


def overview(at: datetime = T0) -> Overview:
    return Overview("1.2.3", "7", 3600.0, at, {State.WAITING: 5, State.PROCESSING: 2}, 1, 8, 2, "18")


def job_type(name: str, waiting: int = 0, processing: int = 0, *, paused: bool = False) -> JobType:
    return JobType(name, {"paused": paused}, {}, {}, {State.WAITING: waiting, State.PROCESSING: processing}, 1)


def page(*jobs: tuple[str, float, str], more: bool = False) -> JobPage:
    """Of (type, seconds since it was submitted, reason); the oldest first."""
    rows: list[Any] = [_Waiting(name, T0 - seconds(age_s), None, reason) for name, age_s, reason in jobs]
    return JobPage(rows, "more" if more else "", not more, T0)


class _Waiting:
    """What is read of a job that waits."""

    def __init__(self, type_: str, created_at: datetime, available_at: datetime | None, wait_reason: str) -> None:
        self.type, self.created_at, self.available_at, self.wait_reason = type_, created_at, available_at, wait_reason


def test_the_oldest_wait_is_that_of_a_job_that_could_start() -> None:
    pages: list[Page] = [((), page(("a", 900, "scheduled"), ("a", 60, "ready"), ("b", 50, "paused"), ("a", 40, "ready"), ("c", 30, "dependency")))]
    assert oldest_waits(pages, {"a", "b", "c"}, T0) == ({"a": 60, "b": 50}, {})
    late: Any = _Waiting("a", T0 - seconds(500), T0 - seconds(5), "ready")
    assert oldest_waits([((), JobPage([late], "", True, T0))], {"a"}, T0) == ({"a": 5}, {}), "it waits from when its retry was due"


def test_waits_that_older_jobs_hide_are_bounded_and_asked_for_by_name() -> None:
    first: Page = ((), page(("a", 900, "ready"), ("a", 600, "ready"), more=True))
    assert oldest_waits([first], {"a", "b", "c"}, T0) == ({"a": 900}, {"b": 600, "c": 600})
    assert oldest_waits([first, (["b"], page(("b", 20, "ready")))], {"a", "b", "c"}, T0) == ({"a": 900, "b": 20}, {"c": 600})
    assert oldest_waits([first, (["b"], page(("b", 20, "scheduled")))], {"a", "b"}, T0) == ({"a": 900}, {}), "all its jobs are known, and none could start"


def test_figures_of_a_round() -> None:
    minute = point(0, 30, submitted=60, failed=4, lost=2, error=6, aborted=12, requeued=6)
    total = replace(minute, error_rate=0.25, run=Spread(30, 0.1, 0.9, 2.0, 5.0))
    agent = AgentInfo("mailer", "x", "host", 7, "", "headrace-agent/1", {}, [AgentType("t", 8, "async")], 8, 2, True, False, T0, 0.4)
    broker = Broker("host:1", "1.2.3", "active", "", "", T0 - seconds(90), 3, (0,))
    found = Round(
        overview(T0 + seconds(60)), [job_type("t", 5, 2), job_type("idle", paused=True)], [agent], Trend(60.0, [TrendSeries("t", [minute], total)], series("", minute)),
        [((), page(("t", 1, "ready")))], [broker], ["elsewhere:7233"], ["no rates: a reason"],
    )  # fmt: skip
    shown = figures(found, Rates(), "default")
    assert shown.types[0] == TypeRow("t", "default", False, 5, 61.0, None, 2, 1, 66 / 60, 48 / 60, 0.25, 0.1, 0.9)
    assert shown.types[1] == TypeRow("idle", "default", True, 0, None, None, 0, 1, 0.0, 0.0, None, None, None)
    assert (shown.in_per_s, shown.completed_per_s, shown.failed_per_s, shown.waiting, shown.processing) == (66 / 60, 30 / 60, 6 / 60, 5, 2)
    assert shown.agents == [AgentRow("mailer", "default", "host", 7, "connected", 2, 8, "headrace-agent/1", "headrace-agent/1", 0.4)]
    assert shown.brokers == [BrokerRow("host:1", "active", (0,), "1.2.3", 150.0), BrokerRow("elsewhere:7233", "no answer", (), "", None)]
    silent = figures(replace(found, trend=None), Rates(), "default")
    assert silent.completed_per_s is None and silent.types[0].in_per_s is None, "what is not told is not nothing"


def type_row(name: str, waiting: int = 0, **values: Any) -> TypeRow:
    return replace(TypeRow(name, "default", False, waiting, None, None, 0, 1, 0.0, 0.0, None, None, None), **values)


def of(*rows: TypeRow, agents: int = 0) -> Figures:
    served = [AgentRow(f"agent-{number}", "default", "host", number, "connected", 1, 8, "2.0", "sdk", 0.1) for number in range(agents)]
    row = DomainRow("default", False, 1234, None, 5, agents, 16, 8, 1.0, 123.4, 0.0)
    return Figures(T0, "default", "1.2.3", 60.0, 1234, 5, 16, 8, 1.0, 123.4, 0.0, [row], list(rows), served, [], [])


def text(lines: Any) -> list[str]:
    return ["".join(piece for piece, _ in line) for line in lines]


def test_numbers_fall_and_names_rise_and_what_is_not_known_comes_last() -> None:
    rows = [type_row("b", 2, failed_share=0.5), type_row("a", 2), type_row("c", 7, failed_share=0.1)]

    def names(sort: str, *, reverse: bool = False) -> str:
        return "".join(row.type for row in ordered(rows, Look(sorts={"types": sort}, reverse=reverse)))

    assert (names("waiting"), names("waiting", reverse=True)) == ("cab", "abc")
    assert (names("type"), names("type", reverse=True)) == ("abc", "cba")
    assert (names("failed"), names("failed", reverse=True)) == ("bca", "cba")


@pytest.mark.parametrize("view", ["types", "domains", "agents", "brokers"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 5), (1, 1), (132, 7)])
def test_a_screen_is_filled_and_never_overflows(view: View, width: int, height: int) -> None:
    rows = [type_row("mail.送信.に関する通知" * (1 + number % 3), number * 1000, oldest_wait_s=12345.6, run_p95_s=0.5, failed_share=0.01) for number in range(60)]
    for sort in COLUMNS[view]:
        look = Look(view, {"types": "type", "domains": "domain", "agents": "agent", "brokers": "broker", view: sort.name})
        lines = text(screen(of(*rows, agents=40), look, [("no answer for 3s: " + "x" * 300, "red")], width, height))
        assert [cell_len(line) for line in lines] == [width] * height
        assert sort.title in "\n".join(lines) or width < 40 or height < 7, "the column that it is sorted by is always there"


def test_eighty_columns_are_enough_for_what_matters() -> None:
    row = type_row(
        "invoices.render", 123_456, oldest_wait_s=7384.0, running=128, in_per_s=1234.0, out_per_s=1201.0, failed_share=0.012, run_p50_s=0.25, run_p95_s=1.5, agents=12
    )
    lines = text(screen(of(row), Look(), [], 80, 24))
    assert lines[4].split() == ["TYPE", "WAITING", "OLDEST", "RUNNING", "IN/S", "OUT/S", "FAILED", "P50", "P95"]
    assert lines[5].split() == ["invoices.render", "123,456", "2h03m", "128", "1,234", "1,201", "1.2%", "250ms", "1.5s"]
    assert lines[-1] == HELP and lines[2].split()[:6] == ["in", "1.00/s", "completed", "123/s", "failed", "0/s"]
    assert "AGENTS" in text(screen(of(row), Look(), [], 120, 24))[4]


def test_names_that_others_chose_cannot_steer_the_terminal() -> None:
    evil = "a\x1b]0;owned\x07\r\n\x9b2J\u202eb"
    for lines in (
        text(screen(of(type_row(evil, 1)), Look(), [(evil, "")], 120, 12)),
        plain_lines(replace(of(type_row(evil, 1)), domain=evil, notes=[evil]), Look(), 120),
    ):
        assert all(line.isprintable() for line in lines)
        assert "a\\x1b]0;owned\\x07\\r\\n\\x9b2J\\u202eb" in "\n".join(lines)


def test_several_domains_are_one_table_with_their_sums() -> None:
    first = replace(of(type_row("mail", 5)), notes=["no rates: a reason"])
    row = DomainRow("b", True, 7, 3.0, 1, 0, 4, 1, 2.0, None, None)
    second = replace(
        of(type_row("mail", 7, domain="b"), type_row("other", 1, domain="b")), domain="b", domains=[row], waiting=7, processing=1, slots=4, slots_in_use=1, in_per_s=2.0,
        completed_per_s=None, failed_per_s=None,
    )  # fmt: skip
    both = together([first, second], ["no domain c: denied"])
    assert (both.domain, both.waiting, both.processing, both.slots, both.slots_in_use) == ("default,b", 1241, 6, 20, 9)
    assert (both.in_per_s, both.completed_per_s, both.failed_per_s) == (3.0, 123.4, 0.0), "of those that are known"
    assert both.notes == ["no domain c: denied", "default: no rates: a reason"]
    lines = plain_lines(both, Look(), 120)
    assert lines[0].startswith("headrace top  2 domains  version")
    assert [line.split()[:3] for line in lines[6:]] == [["TYPE", "DOMAIN", "WAITING"], ["mail", "b", "7"], ["mail", "default", "5"], ["other", "b", "1"]]
    assert [line.split()[:3] for line in plain_lines(both, Look("domains"), 120)[6:]] == [
        ["DOMAIN", "WAITING", "OLDEST"],
        ["default", "1,234", "-"],
        ["b", "(paused)", "7"],
    ]
    assert [row.domain for row in rows_of(both, Look(filter="def"))] == ["default"], "a filter looks at domains too"
    assert "DOMAIN" not in "\n".join(plain_lines(together([first], []), Look(), 120)) and together([first], []).notes == ["no rates: a reason"]


def test_keys_choose_sort_and_scroll_within_what_there_is() -> None:
    def look(*keys: str, rows: int = 30) -> Look:
        found = Look()
        for key in keys:
            found = key_pressed(found, key, rows=rows, room=10)
        return found

    assert look(">").sort == look("s").sort == "oldest_wait" and look("<").sort == "type" and look("<", "<").sort == "domain"
    assert look("a").view == "agents" and look("a").sort == "agent" and look(">", "a", "t").sort == "oldest_wait"
    assert look("r").reverse and not look("r", ">").reverse and look("p").paused and not look("p", "p").paused
    assert (look("down").first, look("page down").first, look("end").first, look("end", "down", "up").first) == (1, 10, 20, 19)
    assert (look("up").first, look("down", "home").first, look("end", rows=3).first, look("down", "b").first) == (0, 0, 0, 0)
    assert look("x") == Look()
    shown = text(screen(of(*(type_row(f"t{number:02}") for number in range(30))), look("end"), [], 80, 16))
    assert "21-30 of 30 types" in shown[3] and shown[5].startswith("t20") and shown[14].startswith("t29")
    few = text(screen(of(type_row("t")), look("end"), [], 80, 16))
    assert few[5].startswith("t "), "types that went leave no empty screen"


def test_a_filter_is_typed_shown_kept_and_given_up() -> None:
    rows = of(type_row("mail.Send", 3), type_row("mail.read", 2), type_row("report", 1), agents=2)

    def look(*keys: str) -> Look:
        found = Look()
        for key in keys:
            found = key_pressed(found, key, rows=3, room=10)
        return found

    def names(*keys: str) -> list[str]:
        return [row.type for row in rows_of(rows, look(*keys))]

    assert names("/", *"MAIL") == ["mail.Send", "mail.read"] and names("/", *"mail.s", "\n") == ["mail.Send"]
    assert look("/", *"tqp ").view == "types" and look("/", *"tqp ").filter == "tqp " and not look("/", "p").paused, "keys are letters while it is typed"
    assert look("/", "a", "b", "\x7f").filter == "a" and look("/", "a", "\x15").filter == "" and look("/", "up", "a").filter == "a"
    assert look("/", "a", "\n", "p").paused and look("/", "a", "\n", "p").filter == "a"
    assert look("/", "a", "escape") == look("/", "a", "\n", "escape") == Look() and look("/", "x", "\n", "a").filter == ""
    assert [row.agent for row in rows_of(rows, look("a", "/", *"T-1"))] == ["agent-1"]
    assert text(screen(rows, look("/", *"rep"), [("paused", "")], 80, 24))[3].startswith("filter: rep_  paused")
    assert "no types" in "\n".join(text(screen(rows, look("/", *"zz", "\n"), [], 80, 24)))


def test_what_a_terminal_sends_is_split_into_keys() -> None:
    assert pressed("\x1b") == ["escape"]
    assert pressed("q<\x1b[A\x1bOBp") == ["q", "<", "up", "down", "p"]
    assert pressed("\x1b[6~\x1b[1;5Ct\x1b") == ["page down", "t"], "sequences that are not known are no keys"


def test_numbers_as_people_read_them() -> None:
    assert [count(number) for number in (0, 1234, 999_999, 1_234_567, 2_000_000_000)] == ["0", "1,234", "999,999", "1.23M", "2.00G"]
    assert [rate(number) for number in (None, 0.0, 0.5, 9.999, 12.34, 99.96, 1234.5)] == ["-", "0", "0.50", "10.0", "12.3", "100", "1,234"]
    assert [share(part) for part in (None, 0.0, 0.0123, 0.4, 1.0)] == ["-", "0%", "1.2%", "40%", "100%"]
    spans = [(None, "-"), (0.0, "0s"), (0.012, "12ms"), (3.42, "3.4s"), (59.97, "1m00s"), (306.0, "5m06s"), (3599.6, "1h00m"), (7384.0, "2h03m"), (363_600.0, "4d05h")]
    assert [span(number) for number, _ in spans] == [words for _, words in spans]


def test_lines_are_cut_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text([filled([("送信送信", "red")], 5)]) == ["送信…"]
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert painted([("a", "red"), ("b", "")]) == "\x1b[1;31ma\x1b[0mb"
    monkeypatch.setenv("NO_COLOR", "1")
    assert painted([("a", "yellow"), ("b", "reverse")]) == "a\x1b[7mb\x1b[0m"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a terminal: what people see, and what programs have."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def test_a_terminal_is_left_as_it_was_when_something_breaks(terminal: tuple[int, int]) -> None:
    person, program = terminal
    before = termios.tcgetattr(program)

    def broken() -> None:
        with Terminal(program, program) as screen_:
            assert termios.tcgetattr(program) != before
            screen_.draw([[("hello", "")]])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert termios.tcgetattr(program) == before
    written = ""
    while not written.endswith(LEAVE):  # a terminal may pass it on in parts
        written += os.read(person, 4096).decode()
    assert written.startswith(ENTER) and written.endswith(LEAVE) and "hello" in written
