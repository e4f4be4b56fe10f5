"""Each thing that the doctor looks at, broken: it is named, with what to do."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headrace_broker import doctor
from headrace_broker.config import Options
from headrace_broker.doctor import Finding, Status
from headrace_broker.store.inspection import SchemaFacts, ServerFacts
from headrace_broker.store.migrate import Phase
from headrace_client.cli.authority import Authority

GOOD = ServerFacts(
    version="17.2", version_number=170002, encoding="UTF8", read_only=False, fsync="on", full_page_writes="on", synchronous_commit="on", autovacuum="on",
    synchronous_standby_names="", standbys=0, free_connections=90, now_s=0.0, user_name="headrace_broker", superuser=False, trgm=True, trgm_available=True,
    installed=True,
)  # fmt: skip
GIB = 1024**3


def broken(findings: list[Finding]) -> list[tuple[str, Status]]:
    """What is not as it should be; each says what to do."""
    wrong = [finding for finding in findings if finding.status is not Status.OK]
    assert all(finding.advice for finding in wrong)
    return [(finding.name, finding.status) for finding in wrong]


def test_a_good_server_is_fine() -> None:
    assert broken(list(doctor.judge_server(GOOD, 0.1))) == []
    assert broken(list(doctor.judge_schema(SchemaFacts(reach=(10, 20)), 5))) == []


@pytest.mark.parametrize(
    ("changed", "name", "status"),
    [
        ({"version_number": 130014}, "version", Status.FAIL),
        ({"encoding": "SQL_ASCII"}, "encoding", Status.FAIL),
        ({"read_only": True}, "writes", Status.FAIL),
        ({"fsync": "off"}, "durability", Status.FAIL),
        ({"full_page_writes": "off"}, "durability", Status.FAIL),
        ({"synchronous_commit": "off"}, "durability", Status.FAIL),
        ({"standbys": 2}, "standbys", Status.WARN),
        ({"free_connections": 5}, "connections", Status.WARN),
        ({"autovacuum": "off"}, "autovacuum", Status.WARN),
        ({"trgm": False}, "pg_trgm", Status.WARN),
        ({"trgm": False, "trgm_available": False}, "pg_trgm", Status.WARN),
        ({"superuser": True}, "user", Status.WARN),
    ],
)
def test_what_is_wrong_with_a_server_is_named(changed: dict[str, object], name: str, status: Status) -> None:
    facts = replace(GOOD, **changed)  # type: ignore[arg-type]  # names and types are those of the cases above
    assert broken(list(doctor.judge_server(facts, 0.0))) == [(name, status)]


def test_synchronous_standbys_are_fine() -> None:
    assert broken(list(doctor.judge_server(replace(GOOD, standbys=2, synchronous_standby_names="ANY 1 (a, b)"), 0.0))) == []


@pytest.mark.parametrize("apart_s", [-6.0, 6.0])
def test_a_clock_that_differs_is_named(apart_s: float) -> None:
    assert broken(list(doctor.judge_server(GOOD, apart_s))) == [("clock", Status.WARN)]


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        (SchemaFacts(missing_rights=("write headrace.life",)), [("rights", Status.FAIL)]),
        (SchemaFacts(brokers=("b1",), reach=(10, 4)), [("partitions", Status.FAIL)]),
        (SchemaFacts(reach=(10, 4)), []),
    ],
)
def test_what_is_wrong_with_a_schema_is_named(schema: SchemaFacts, wrong: list[tuple[str, Status]]) -> None:
    assert broken(list(doctor.judge_schema(schema, 5))) == wrong


def test_migrations_that_are_missing_are_told_by_phase() -> None:
    findings = [doctor.judge_migrations(missing) for missing in ([], [Phase.PRE, Phase.POST], [Phase.POST])]
    assert [finding.status for finding in findings] == [Status.OK, Status.WARN, Status.WARN]
    assert "--phase pre" in findings[1].advice and "--phase post" in findings[2].advice


def test_a_pooler_little_disk_and_few_files_are_named() -> None:
    assert broken([doctor.judge_pooler(True)]) == [("connection", Status.FAIL)] and broken([doctor.judge_pooler(False)]) == []
    assert [broken([doctor.judge_disk(Path("/d"), free, 100 * GIB)]) for free in (GIB // 8, GIB, 3 * GIB, 50 * GIB)] == [
        [("disk", Status.FAIL)],
        [("disk", Status.WARN)],
        [("disk", Status.WARN)],
        [],
    ]
    assert broken(list(doctor.judge_files(Options.model_validate({"connections_limit": 1000}), 1024))) == [("open files", Status.WARN)]
    assert broken(list(doctor.judge_files(Options.model_validate({"connections_limit": 300}), 1024))) == []


def test_a_certificate_is_named_before_it_expires_and_after(tmp_path: Path) -> None:
    Authority.create(tmp_path, "test authority", 100).issue_broker(["localhost"], 30)
    options = Options.model_validate({"tls_cert": tmp_path / "broker.pem", "tls_key": tmp_path / "broker.key"})
    now = datetime.now(UTC)
    statuses = [[finding.status for finding in doctor.judge_certificate(options, now + timedelta(days=days))] for days in (0, 20, 40)]
    assert statuses == [[Status.OK], [Status.WARN], [Status.FAIL]]
    assert list(doctor.judge_certificate(Options.model_validate({}), now)) == []


def test_findings_are_shown_as_lines_and_as_json() -> None:
    findings = [doctor.ok("a", "good"), doctor.fail("b", "bad", "mend it")]
    assert doctor.shown(findings, "text") == "ok   a: good\nFAIL b: bad\n     -> mend it"
    assert json.loads(doctor.shown(findings, "json")) == {
        "ok": False,
        "checks": [{"name": "a", "status": "ok", "found": "good", "advice": ""}, {"name": "b", "status": "FAIL", "found": "bad", "advice": "mend it"}],
    }
