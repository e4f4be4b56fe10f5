"""The pure parts of the manager's pages: documents, drawings, what people type, how filters are written."""

import functools
import itertools
import json
from datetime import UTC, datetime
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from headrace_broker.actions.statistics import Point, Series
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Period
from headrace_broker.model.job import State
from headrace_broker.model.redaction import MASK, masked_labels, redacted, secret_names
from headrace_broker.model.settings import FIELDS, choices
from headrace_broker.web import chart, documents, filters, forms, render
from headrace_broker.web.addresses import under
from headrace_broker.web.deeds import DEEDS, takes
from headrace_broker.web.documents import difference, document
from headrace_broker.web.drawing import BOX_HEIGHT, BOX_WIDTH, PER_ROW, picture
from headrace_broker.web.job_log import marked
from headrace_broker.web.setting_words import WORDS
from headrace_broker.web.statistics import _file

SECRET = secret_names("password, api_key,Token")


def test_numbers_and_order_stand_as_they_were_written() -> None:
    data = b'{"z": 12345678901234567890123, "a": 1.10, "a": 1e400, "n": [null, true, -0.0]}'
    shown = document(data, None, ())
    assert shown.text == '{\n  "z": 12345678901234567890123,\n  "a": 1.10,\n  "a": 1e400,\n  "n": [\n    null,\n    true,\n    -0.0\n  ]\n}'
    assert "12345678901234567890123" in shown.tree and "1.10" in shown.tree and shown.masked == 0


def test_secret_fields_are_masked_at_any_depth_and_in_differences() -> None:
    data = json.dumps({"user": "ada", "userPassword": "p1", "deep": [{"API-key": {"id": 7}}], "accessToken": [1]}).encode()
    shown = document(data, None, SECRET)
    assert shown.masked == 3 and "ada" in shown.text
    for secret in ("p1", "7", '"id"'):
        assert secret not in shown.text and secret not in shown.tree
    assert "p1" in document(data, None, ()).text
    changed = difference(b'{"password": "old"}', b'{"password": "new", "a": 1}', SECRET)
    assert "old" not in str(changed.lines) and "new" not in str(changed.lines) and changed.lines


def test_readers_without_secrets_get_the_same_bytes_with_masks() -> None:
    data = b'{"z": 12345678901234567890123, "password": {"a": 1}, "n": [1.10, {"API-key": "x", "q": "a\\"b"}], "n": null, "t": true}'
    assert redacted(data, SECRET).decode() == f'{{"z":12345678901234567890123,"password":"{MASK}","n":[1.10,{{"API-key":"{MASK}","q":"a\\"b"}}],"n":null,"t":true}}'
    for same in (b'{ "user": 1.0 }', b"caf\xc3\xa9", b"\xff\xfe", b"[1"):
        assert redacted(same, SECRET) is same
    for hidden in (b"api_key=hunter2", b"\xffPassWord\x00hunter2", b"\x00HRC\x01\x01\x04zstd\x00xxxx", b"[" * 100_000 + b'"token"'):
        assert redacted(hidden, SECRET) == b""
    assert masked_labels({"authToken": "x", "who": "ada"}, SECRET) == {"authToken": MASK, "who": "ada"}


def test_what_is_not_json_is_told_apart() -> None:
    assert document(None, None, ()).kind == document(b"", None, ()).kind == "none"
    assert document(b"caf\xc3\xa9", None, ()).text == "café"
    binary = document(b"\xff\xfe\x00x", "image/png", ())
    assert binary.kind == "binary" and "4 B of image/png" in binary.says and not binary.text
    encoded = document(b"\x00HRC\x01\x02\x04zstd\x00\x07aes-gcm\x072026-01xxx", None, ())
    assert encoded.kind == "encoded" and "zstd, then aes-gcm (2026-01)" in encoded.says
    assert document(b"\x00HRC\x01\x09", None, ()).kind == "encoded"
    assert document(b"api_key=hunter2", None, SECRET).kind == "hidden" and document(b"api_key=hunter2", None, ()).text == "api_key=hunter2"
    assert document(b"nothing to see", None, SECRET).kind == "text"


def test_documents_are_bounded_whatever_they_hold() -> None:
    wide = document(b"[" + b"1," * 100_000 + b"1]", None, ())
    assert wide.tree.count("<div>") <= documents.MOST_DRAWN and "not drawn" in wide.tree and wide.cut
    deep = document(b"[" * 300 + b"1," * 50_000 + b"1" + b"]" * 300, None, ())
    assert deep.cut and len(deep.text) <= documents.MOST_TEXT
    assert document(b"[" * 200_000, None, ()).kind == "text"
    leaf = document(json.dumps("x" * 50_000).encode(), None, ())
    assert len(leaf.tree) < 2 * documents.MOST_LEAF and "50,002 characters" in leaf.tree
    long = b"[" + b",\n".join(b"%d" % number for number in range(5000)) + b"]"
    assert difference(long, long[:-1] + b", 1]", ()).cut


def test_stored_text_is_escaped_and_half_a_surrogate_pair_can_be_sent() -> None:
    shown = document(rb'{"<b>": "<script>\ud800\u202e"}', None, ())
    assert "<script>" not in shown.tree and "<b>" not in shown.tree
    (shown.tree + shown.text).encode()
    assert marked("a <B> b <b>", "<b>") == "a <mark>&lt;B&gt;</mark> b <mark>&lt;b&gt;</mark>"


def test_what_steers_text_is_shown_as_escapes_in_json_as_those_of_json() -> None:
    assert marked("a\u202eb <\x1b> C\u200d", "") == "a\\u202eb &lt;\\x1b&gt; C\u200d"
    assert marked("\u202ea \u202eB\r", "\u202eb") == "\\u202ea <mark>\\u202eB</mark>\\r"
    data = json.dumps({"\u202ename": ["\x9b2J\u2066"]}, ensure_ascii=False).encode()
    shown = document(data, None, ())
    assert json.loads(shown.text) == json.loads(data)
    plain = document(b"\x1b[2J\xe2\x80\xae", "text/plain", ())
    for text in (shown.text, shown.tree, plain.text, "".join(text for _, text in difference(data, b"[]", ()).lines)):
        assert not any(char in text for char in "\u202e\x9b\u2066\x1b"), text
    assert plain.text == "\\x1b[2J\\u202e"


def test_whatever_text_a_page_shows_steers_nothing_and_a_field_holds_it_as_it_is() -> None:
    shown = '<p title="{{ it }}">{{ it }} {{ it|truncate(9) }} {{ [it]|join(", ") }} {{ "it: " ~ it }} {{ 1234|number }} {{ 0.0|ago }}</p>'
    fields = '<input name="a" value="{{ it }}"><input value="{{ it if it else "" }}"><textarea rows="2">\n{{ it or "" }}</textarea>'
    page = render.environment("1").from_string(f"{shown}\n{fields}").render(it="a\u202e<\r")
    text, inputs = page.split("</p>")
    assert text.count("a\\u202e&lt;\\r") == 5 and not {"\u202e", "\r"} & {*text} and "1,234" in text and "<time " in text
    assert inputs.count("a\u202e&lt;\r") == 3 and "\\" not in inputs


def test_a_difference_tells_lines_apart() -> None:
    changed = difference(b'{"a": 1, "b": 2}', b'{"a": 1, "b": 3}', ())
    assert ("-", '  "b": 2') in changed.lines and ("+", '  "b": 3') in changed.lines and ("\x20", '  "a": 1,') in changed.lines
    assert difference(b"[1]", b"[ 1 ]", ()).lines == []
    assert "Not compared" in difference(b"\xff", b"[1]", ()).says


def test_a_job_stands_below_what_it_comes_from() -> None:
    ties = [(1, 3), (2, 3), (3, 4), (1, 4)]
    drawn = picture([1, 2, 3, 4, 9], ties)
    y = {job_id: place[1] for job_id, place in drawn.places.items()}
    assert y[1] == y[2] < y[3] < y[4] < y[9], "9 is tied to nobody"
    assert len(drawn.paths) == 4 and all(path.startswith("M") for path in drawn.paths)
    for x, top in drawn.places.values():
        assert 0 <= x <= drawn.width - BOX_WIDTH and 0 <= top <= drawn.height - BOX_HEIGHT


def test_boxes_never_overlap_and_wide_layers_go_on_in_rows() -> None:
    drawn = picture([1, *range(2, 52)], [(1, child) for child in range(2, 52)])
    places = sorted(drawn.places.values())
    assert len(set(places)) == 51 and drawn.width < (PER_ROW + 1) * (BOX_WIDTH + 20)
    rows: dict[int, list[int]] = {}
    for x, y in places:
        rows.setdefault(y, []).append(x)
    assert all(b - a >= BOX_WIDTH for xs in rows.values() for a, b in itertools.pairwise(xs))
    levels = sorted(rows)
    assert all(b - a >= BOX_HEIGHT for a, b in itertools.pairwise(levels))


def test_a_circle_is_drawn_too() -> None:
    drawn = picture([1, 2, 3], [(1, 2), (2, 3), (3, 2), (1, 1)])
    assert set(drawn.places) == {1, 2, 3} and len(drawn.paths) == 4
    assert picture([], []).places == {}


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (render.number(0), "0"), (render.number(0.0), "0"), (render.number(0.001), "<0.01"), (render.number(0.01), "0.01"), (render.number(12345.6), "12,346"),
        (render.percent(0.0), "0 %"), (render.percent(0.0001), "<0.1 %"), (render.percent(0.023), "2.3 %"), (render.span_s(0.0), "0 s"),
        (render.span_s(0.00001), "<0.1 ms"),
        (render.span_s(0.0002), "0.2 ms"), (render.span_s(8.94), "8.94 s"), (render.age(8.94), "9 s ago"), (render.age(0.4), "now"), (render.counted(1, "job"), "1 job"),
        (render.counted(2000, "job"), "2,000 jobs"),
    ],
)  # fmt: skip
def test_what_is_not_nothing_is_never_shown_as_nothing(shown: str, words: str) -> None:
    assert shown == words


def test_an_axis_tells_hours_of_a_day_and_days_of_a_month() -> None:
    at = 29_000_000  # 2025-02-19 21:20 UTC
    assert chart.axis(at, at + 60) == ["21:20", "21:35", "21:50", "22:05", "22:20"]
    assert chart.axis(at - 5, at + 1440 + 10, 15) == ["21:15", "03:15", "09:15", "15:15", "21:30"]
    assert chart.axis(at, at + 30 * 1440) == ["19 Feb", "27 Feb", "06 Mar", "14 Mar", "21 Mar"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5h", 5400), ("7d", 604_800), ("2w", 1_209_600), ("15 min", 900), ("90 s", 90)])
def test_durations(text: str, seconds: float) -> None:
    assert forms.duration_s("x", text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1h", "1y", "1e3", "99999999999999999999d", "\u0663d", "1.2.3s", "inf", "nan", "1  h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        forms.duration_s("x", text)


@pytest.mark.parametrize("text", ["yesterday", "0001-01-01", "9999-12-31", "2026-13-01", "\u0663d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        forms.time_s("x", text)


@pytest.mark.parametrize("text", ["", "-", "+", "-+5", "+-5", "--5", "5-", "\u0663", "1e3", "9" * 19])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidField):
        forms.whole("x", text, -100, 100)
    assert (forms.whole("x", "-5", -100, 100), forms.whole("x", "+5", -100, 100)) == (-5, 5)


@pytest.mark.parametrize("name", ["mail.send", "a/b.c", "..", ".", "../account-logout", "a/../../b", "a/./b", "a/..", "...", "a/.b/..c", "/x", "a//.."])
def test_no_name_leads_a_browser_elsewhere(name: str) -> None:
    address = under(name, "/types")
    assert unquote(urlsplit(urljoin("http://x/jobs", address)).path) == f"/types/{name}"
    assert address == f"/types/{name}" or {".", ".."} & {*name.split("/")}, "others look as they always did"


def test_a_file_for_a_table_holds_no_formulas() -> None:
    series = [Series(name, [Point(0, 60)]) for name in ("=1+1", "@x", "mailer")]
    assert [line.partition(",")[0] for line in bytes(_file("csv", series).body).decode().splitlines()[1:]] == ["'=1+1", "'@x", "mailer"]
    assert [row["name"] for row in json.loads(bytes(_file("json", series).body))] == ["=1+1", "@x", "mailer"]


def test_a_time_is_shown_that_is_in_the_year_10000_elsewhere() -> None:
    assert render.wall(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "Asia/Tokyo") == "Fri 9999-12-31 23:59:59 UTC"


def test_every_setting_is_explained_where_it_is_changed() -> None:
    assert tuple(WORDS) == FIELDS
    assert {name: choices(name) for name in FIELDS if choices(name)} == {
        **dict.fromkeys(("paused", "alert_on_error", "alert_on_abort"), ("true", "false")),
        "exhausted_state": ("error", "aborted"), "on_dependency_failed": ("abort", "error", "wait"),
    }  # fmt: skip


def test_json_is_taken_as_it_was_typed_or_refused_with_its_place() -> None:
    assert forms.json_bytes("p", ' {"a": 1.10} ', 100) == b' {"a": 1.10} '
    for text, why in (('{"a": 1,}', "line 1, column"), ("[\n1,\n]", "line 3"), ("NaN", "not JSON"), ("[" * 100_000, "too deep"), ("[1, 2]", "at most 5 bytes")):
        with pytest.raises(InvalidField, match=why):
            forms.json_bytes("p", text, 5 if "bytes" in why else 1_000_000)


def _only(name: str, text: str, field: str) -> str:
    return text if field == name else ""


def test_a_filter_is_the_same_after_its_way_through_an_address() -> None:
    asked = {
        "type": "mail.send", "state": "error", "instance": "case 7", "agent": "mailer", "fingerprint": "f", "label": "a=b c==d", "log": "50 %",
        "created_from": "2026-01-31", "settled_to": "2026-02-01T12:00:00.5+01:00",
    }  # fmt: skip
    found = filters.wanted(lambda name: asked.get(name, ""))
    assert found.labels == (("a", "b"), ("c", "=d")) and found.states == {State.ERROR} and found.created.from_s == 1_769_817_600
    again = filters.address(found)
    assert filters.wanted(lambda name: again.get(name, "")) == found
    assert filters.words(found)[:2] == ["error", "type mail.send"] and filters.words(JobFilter()) == []
    several = filters.address(JobFilter(types=("a", "b"), states=frozenset({State.ERROR, State.WAITING}), created=Period(1.0)))
    assert (several["type"], several["state"]) == ("a,b", "waiting,error")
    assert filters.wanted(lambda name: "a=b c d" if name == "label" else "").labels == (("a", "b c d"),)
    for name, text in (("state", "sleeping"), ("label", "alone"), ("instance", "\x00"), ("created_to", "soon")):
        with pytest.raises(InvalidField):
            filters.wanted(functools.partial(_only, name, text))


def test_completed_jobs_are_requeued_only_by_name() -> None:
    assert State.COMPLETED not in takes(DEEDS["requeue"], include_completed=False)
    assert State.COMPLETED in takes(DEEDS["requeue"], include_completed=True)
    assert State.WAITING not in takes(DEEDS["purge"], include_completed=True)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('{"rate": 0.0, "state": "running"}', '{"rate": 5.0, "state": "running"}', [("rate", "0.0", "5.0")]),
        (
            None,
            '{"job_id": 252646167836361674, "labels": {}, "rule": "", "to": ["a"], "on": false}',
            [("job_id", "", "252646167836361674"), ("to", "", '["a"]'), ("on", "", "false")],
        ),
        ('{"key": "x"}', None, [("key", "x", "")]),
        ("[1]", "[2]", [("", "[1]", "[2]")]),
        (None, None, []),
    ],
)
def test_the_audit_tells_what_has_changed(before: str | None, after: str | None, told: list[tuple[str, str, str]]) -> None:
    assert render.changed(before, after) == told


def test_the_audit_of_a_job_says_nothing_of_what_stays() -> None:
    assert render.changed('{"state": "error", "run": 1, "hold": true}', '{"state": "waiting", "payload_bytes": 89}', True) == [
        ("state", "error", "waiting"), ("payload_bytes", "", "89"),
    ]  # fmt: skip
