"""Hot reads use their index and look at few rows, however much is stored: 60,000 jobs in two ranges, most of them settled; 50,000 alerts, groups of them,
notices and rows of the audit, 63,000 of statistics."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.ids import DEFAULT_CLASS, lowest_id_at
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.statements import sql

from tests.support.databases import clone

JOBS = 30_000  # of each range
FLUSHES = 60_000  # of two lives, in one slot: 900 blocks


@pytest.fixture
async def filled(postgres: EmbeddedPostgres) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """A connection to a database with history; made once."""
    admin = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
    exists = await admin.fetchval("select 1 from pg_database where datname = $1", "filled")
    if not exists:
        await admin.execute(clone("filled"))
    await admin.close()
    con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/filled?"), server_settings={"jit": "off"})
    if not exists:
        await _fill(con)
    yield con
    await con.close()


FIRST, SECOND = lowest_id_at(1_750_000_000), lowest_id_at(1_750_086_400)
END = lowest_id_at(1_750_172_800)


async def _fill(con: "asyncpg.Connection[Any]") -> None:
    await con.execute("insert into headrace.domain (name) values ('default')")
    await con.execute("insert into headrace.job_type (domain_id, name) select 1, 't' || i from generate_series(1, 5) i")
    for low, high, suffix in ((FIRST, SECOND, "a"), (SECOND, END, "b")):
        await con.fetchval("select headrace.open_range($1, $2, $3, $4)", DEFAULT_CLASS, low, high, suffix)
        await con.execute(
            "insert into headrace.job (job_id, type_id, priority, instance_id, payload)"
            " select $1 + (i::bigint << 20) + $2, 1 + i % 5, 0, case when i % 10 = 0 then 'i' || i % 100 end, 'x' from generate_series(1, $3::int) i",
            low, DEFAULT_CLASS, JOBS,
        )  # fmt: skip
        await con.execute(
            "insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, at, agent_id, error)"
            " select job_id, 1, type_id, 1, 2, 1, 1, 0, headrace.created_at(job_id), 1 + (job_id >> 20) % 1000, null from headrace.job where job_id >= $1 and job_id < $2"
            " union all select job_id, 2, type_id, case when job_id >> 20 & 1023 = 0 then 3 else 2 end, case when job_id >> 20 & 1023 = 0 then 4 else 3 end, 1, 1, 0,"
            " headrace.created_at(job_id), null,"
            " case when job_id >> 20 & 1023 = 0 then jsonb_build_object('fingerprint', 'f' || (job_id >> 30) % 2) end"
            " from headrace.job where job_id >= $1 and job_id < $2",
            low, high,
        )  # fmt: skip
        await con.execute(
            "insert into headrace.log_line (job_id, at, lease_epoch, line_no, level, text)"
            " select job_id, now(), 1, 1, 2, 'line of ' || job_id from headrace.job where job_id >= $1 and job_id < $2",
            low, high,
        )  # fmt: skip
    await con.execute("insert into headrace.edge select job_id, job_id + (1 << 20), 1 from headrace.job union all select job_id, job_id + (2 << 20), 2 from headrace.job")
    await con.execute("insert into headrace.edge select job_id, $1, 3 from headrace.job order by job_id limit 30", _job(100))
    await con.execute("insert into headrace.unique_key select 1, 'u' || (job_id >> 20 & 1023), min(job_id) from headrace.job group by 2")
    await con.execute("insert into headrace.unique_key select 1, 'u', min(job_id) from headrace.job")
    await con.execute(
        "insert into headrace.operation (domain_id, action, options, filter, all_jobs, reason, actor, on_behalf_of, request_id, frozen_id, expected,"
        " expected_complete, rate, state, finished_at)"
        " select 1, 'hold', '{}', '{\"types\": [\"t\"]}', false, '', 'a', '', 'r', 0, 0, true, 0, case when i % 1000 = 0 then 'running' else 'finished' end,"
        " case when i % 1000 > 0 then now() end from generate_series(1, 5000) i"
    )
    await con.execute("insert into headrace.operation_page select i / 10 + 1, i % 10 + 1, 0, '{}', false, 0, 0, 0, 0 from generate_series(0, 49999) i")
    await con.execute("insert into headrace.operation_skip select i / 10000 + 1, i % 10000, false, 'BUSY', '' from generate_series(0, 29999) i")
    await con.execute("insert into headrace.life (backend_pid, backend_start, address, version) values (1, now(), 'old', '0'), (2, now(), 'new', '0')")
    await con.execute(
        "insert into headrace.flush (life_id, slot, n, max_id, count_type, count_state, count_minute, count_delta)"
        " select 2 - n % 2, 0, n / 2 + 1, 0, '{}', '{}', '{}', '{}' from generate_series(0, $1::int - 1) n",
        FLUSHES,
    )
    await con.execute(
        "insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value)"
        " select life_id, max(n) - 5, 0, '{}', '{}', '{}', '{}' from headrace.flush group by life_id"
    )
    await _fill_desks(con)
    await con.execute(
        "insert into headrace.inbox (kind, domain, spec, payload)"
        " select 1, case when i % 100 = 0 then 'quiet' else 'default' end, '{}', 'x' from generate_series(1, 20000) i"
    )
    await con.execute("insert into headrace.inbox (kind, job_id, lease_epoch) select 2, job_id, 1 from headrace.job order by job_id limit 5000")
    await con.execute(sql("checkpoint_put"), 1, 1, 0, 0, 0, datetime.now(UTC), 0)
    await con.execute("analyze")


async def _fill_desks(con: "asyncpg.Connection[Any]") -> None:
    """Alerts, the audit, schedules, people and statistics of a domain that is busy, and of one that is not. Types 1 and 2 never fail."""
    await con.execute("insert into headrace.domain (name) values ('quiet')")
    await con.execute(
        "insert into headrace.alert (job_id, type_id, seq, kind) select $1::bigint + (i::bigint << 20), 3 + i % 3, 1, 'job_error' from generate_series(1, 50000) i", FIRST
    )
    await con.execute(
        "insert into headrace.alert_group (domain, source, rule, type, fingerprint, started_at, changed_at, next_at, resolved_at, total, pending, silenced, notices,"
        " summary) select case when i % 100 = 0 then 'quiet' else 'default' end, 'job_error', '', 't1', 'f' || i, now(), now(), now(),"
        " case when i % 2499 > 0 then now() end, 1, 0, 0, 1, '' from generate_series(1, 50000) i"
    )
    await con.execute(
        "insert into headrace.alert_channel (domain, name, kind, settings, is_default, send_resolved, cap_per_hour)"
        " select 'default', 'c' || i, 'webhook', '{}', true, true, 20 from generate_series(1, 5) i"
    )
    await con.execute(
        "insert into headrace.alert_notice (group_id, channel_id, facts, made_at, sent_at)"
        " select i, 1 + i % 5, '{}', now(), case when i % 1000 > 0 then now() - i * interval '1 second' end from generate_series(1, 50000) i"
    )
    await con.execute(
        "insert into headrace.alert_silence (domain, type, source, rule, fingerprint, starts_at, ends_at, author, reason)"
        " select 'default', '', '', '', 'f' || i, now() - interval '80 days', now() + (i - 4990) * interval '1 minute', 'a', 'r' from generate_series(1, 5000) i"
    )
    await con.execute(
        "insert into headrace.audit (at, domain, actor, action, target, reason, request_id)"
        " select now() - i * interval '1 second', case when i % 1000 = 0 then 'quiet' else 'default' end, 'a' || i % 100, 'job.requeue', 'job/' || i % 5000, '', ''"
        " from generate_series(1, 50000) i"
    )
    await con.execute(
        "insert into headrace.schedule (domain_id, name, type_id, interval_s, payload, content_type, instance_id, priority, labels, overlap, missed, max_missed,"
        " jitter_s, changed_at) select 1, 's' || i, 1, 60, '', '', '', 0, '{}', 'skip', 'once', 1, 0, now() - i * interval '1 minute' from generate_series(1, 5000) i"
    )
    await con.execute(
        "insert into headrace.schedule_fire (schedule_id, nominal_at, outcome)"
        " select i % 10 + 1, now() - i * interval '1 minute', 'skipped' from generate_series(1, 20000) i"
    )
    await con.execute(
        "insert into headrace.token (name, role, hash, created_by, changed_at) select 't' || i, 1, sha256(i::text::bytea), '', now() - i * interval '1 minute'"
        " from generate_series(1, 5000) i"
    )
    await con.execute(
        "insert into headrace.web_session (hash, number, actor, role, epoch, address, browser, shows, began_at, seen_at, changed_at)"
        " select sha256(i::text::bytea), i::text, 'a', 1, 0, '', '', 'default', now(), now(), now() - i * interval '1 minute' from generate_series(1, 5000) i"
    )
    await con.execute(
        "insert into headrace.saved_filter (domain, owner, name, filter, saved_by)"
        " select 'default', case when i % 50 = 0 then '' else 'o' || i % 50 end, 'f' || i, '{\"types\": [\"t1\"]}', 'a' from generate_series(1, 5000) i"
    )
    await con.execute("insert into headrace.account (name, role, created_by) select 'u' || i, 1, '' from generate_series(1, 5000) i")
    await con.execute(
        "insert into headrace.stat (span, at, type_id, agent_id, life_id, numbers, wait, run, wait_s, run_s, slots, waiting)"
        " select 1, $1 + m, t, a, 1, '{}', '{}', '{}', 0, 0, 0, 0 from generate_series(0, 599) m, generate_series(1, 5) t, generate_series(0, 20) a", MINUTE
    )  # fmt: skip


MINUTE = 29_000_000


def _job(number: int, low: int = FIRST) -> int:
    return low + (number << 20) + DEFAULT_CLASS


NEWEST = (1 << 63) - 1
TYPES = [1, 2, 3, 4, 5]
MANY = [_job(number) for number in range(1, 5001)]
"""So many that a join would read all jobs."""
LONG_AGO, LATE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)
DAY_TWO = datetime.fromtimestamp(1_750_086_400, UTC)
READS: list[tuple[str, list[Any], int]] = [
    ("job_get", [[_job(5), _job(77), _job(123, SECOND)], [DEFAULT_CLASS], True], 40),
    ("job_types", [[_job(5), _job(77), _job(123, SECOND)]], 20),
    ("heads", [[_job(5), _job(77)], DEFAULT_CLASS], 20),
    ("bodies", [[_job(5), _job(77)], DEFAULT_CLASS], 20),
    ("endings", [[_job(5), _job(77)], [1, 1], DEFAULT_CLASS], 20),
    ("event_list", [_job(5), DEFAULT_CLASS], 20),
    ("log_list", [_job(5), DEFAULT_CLASS, 0, 0, 0, 0, 100], 20),
    ("log_last", [_job(5), DEFAULT_CLASS, 0, 0, 1 << 30, 0, 100], 20),
    ("log_usage", [[_job(5)], [DEFAULT_CLASS], [1]], 20),
    ("log_mark", [_job(5), DEFAULT_CLASS, 1, 1, "… 1 more lines"], 20),
    ("search_jobs", [_job(29_000, SECOND), NEWEST, TYPES, None, None, -1, 50], 1100),
    ("search_jobs", [0, NEWEST, TYPES, "i10", None, 1, 2000], 700),
    ("search_type_newest", [0, NEWEST, 3, 50], 60),
    ("search_type_oldest", [0, NEWEST, 3, 50], 60),
    ("search_grants", [_job(29_000, SECOND), NEWEST, TYPES, [7], None, None, -1, 50], 2200),
    ("search_endings", [_job(29_000, SECOND), NEWEST, TYPES, [3], None, None, -1, 50], 2200),
    ("search_endings", [0, NEWEST, TYPES, [3, 4, 5], DAY_TWO, DAY_TWO + timedelta(milliseconds=100), 1, 2000], 6000),
    ("search_rare", [0, NEWEST, TYPES, [4, 5], 1, 2000], 200),
    ("search_errors", [0, NEWEST, TYPES, "f1", -1, 2000], 60),
    ("search_logs", [_job(29_000, SECOND), NEWEST, "%of 7%", -1, 2000], 1100),
    ("search_match", [[_job(5), _job(77), _job(123, SECOND)], [DEFAULT_CLASS], TYPES, [3], 0.0, *[None] * 8], 40),
    ("search_match", [[_job(5), _job(77)], [DEFAULT_CLASS], TYPES, [1, 2, 3, 4, 5], 0.0, "i10", '{"a": "b"}', [7], *[DAY_TWO] * 4, "f1"], 40),
    ("search_match_text", [[_job(5), _job(77)], [DEFAULT_CLASS], "%x%"], 40),
    ("error_groups", [4, 5000, 0.0, 50], 60),
    ("error_groups", [4, 3, 0.0, 50], 20),
    ("agent_ids", ["default", "worker"], 10),
    ("alert_list", [[1, 2], NEWEST, 50], 20),
    ("alert_list", [TYPES, NEWEST, 8], 60),
    ("alert_signals", [49_000, 500], 1200),
    ("alert_poll", [0], 10),
    ("alert_poll_types", [0, [1, 2]], 20),
    ("alert_signals_types", [49_000, 500, [1, 2]], 2400),
    ("alert_groups_page", ["default", False, NEWEST, 25, ["job_error", "database"]], 60),
    ("alert_groups_page", ["quiet", False, 5000, 25, ["job_error", "database"]], 60),
    ("alert_groups_page", ["default", True, NEWEST, 25, ["job_error", "database"]], 60),
    ("alert_groups_firing", ["default", NEWEST, 200, ["job_error", "database"]], 60),
    ("alert_groups_firing", ["quiet", NEWEST, 200, ["job_error", "database"]], 60),
    ("alert_groups_open", [1, 0], 60),
    ("alert_notices_waiting", [500, 1, 0], 120),
    ("alert_channels", ["default", 1, 0], 160),
    ("alert_messages_sent", [2_000_000_000.0, 1, 0], 20),
    ("alert_silences", ["default", 2_000_000_000.0, 1000, 1, 0], 20),
    ("audit_list", [None, None, None, "x", LONG_AGO, LATE, LATE, NEWEST, 50], 60),
    ("audit_list_domain", ["quiet", None, None, None, LONG_AGO, LATE, LATE, NEWEST, 51], 60),
    ("audit_list_actor", ["default", "a7", None, None, LONG_AGO, LATE, LATE, NEWEST, 51], 60),
    ("audit_list_target", ["default", None, "job/7", None, LONG_AGO, LATE, LATE, NEWEST, 51], 60),
    ("schedule_list", [LATE, 1, 0], 10),
    ("schedule_get", [[7]], 10),
    ("schedule_fires", [7, 10], 20),
    ("token_list", [LATE], 10),
    ("token_of_domain", [None, True, 1000], 5000),
    ("web_session_changed", [LATE], 20),
    ("saved_filter_list", ["default", "o7", None], 200),
    ("saved_filter_list", ["default", "o7", "f7"], 2),
    ("saved_filter_find", ["default", "o7", "f7"], 1),
    ("user_find", ["U7"], 10),
    ("user_get", [7], 10),
    ("user_epochs", [[7, 8]], 10),
    ("user_of_domain", [None, True, 1000], 5000),
    ("stat_list", [1, MINUTE + 100, MINUTE + 160, TYPES], 320),
    ("stat_sum_agents", [1, MINUTE + 100, MINUTE + 110, TYPES, 15, 200_000], 1100),
    ("stat_sum_agents", [1, MINUTE, MINUTE + 600, TYPES, 15, 100], 300),
    ("stat_demand", [1, MINUTE + 100, MINUTE + 160, TYPES, 200_000], 320),
    ("stat_demand", [1, MINUTE, MINUTE + 600, TYPES, 100], 120),
    ("stat_ended", [MINUTE + 100, MINUTE + 160, TYPES, 200_000], 320),
    ("stat_ended", [MINUTE, MINUTE + 600, TYPES, 100], 120),
    ("stat_oldest", [1, MINUTE], 10),
    ("stat_rolled", [1, MINUTE + 600], 10),
    ("key_holders", [[1], ["k"]], 10),
    ("unique_holders", [[1], ["u"]], 10),
    ("jobs_stored", [[_job(5), _job(77)]], 10),
    ("standings", [[_job(5), _job(77)], DEFAULT_CLASS], 20),
    ("batch_read", [_job(100), DEFAULT_CLASS, 0, 100], 200),
    ("batch_members", [_job(100), 0, 10], 60),
    ("graph_edges", [[_job(5), _job(77)], 100], 10),
    ("graph_descendants", [[_job(5)], 15], 400),
    ("graph_ties", [[_job(5), _job(6), _job(77)], 100], 20),
    ("graph_instance", [[1, 2, 3, 4, 5], "i10", 0, 50], 400),
    ("operation_get", ["default", 7], 10),
    ("operation_list", ["default", NEWEST, 50], 200),
    ("operation_running", [1000, 1, 0], 20),
    ("operation_standing", [7], 5),
    ("operation_skips", [2, 5000, 100], 120),
    ("payload_list", [_job(5), DEFAULT_CLASS, None, 100, 50], 10),
    ("recover_heads", [[_job(5), _job(77)], DEFAULT_CLASS], 20),
    ("recover_heads", [MANY, DEFAULT_CLASS], 5 * len(MANY)),
    ("recover_amended", [MANY, DEFAULT_CLASS], 5 * len(MANY)),
    ("inbox_read", ["1:1:", None, "0", 0, 500, 1 << 20, 1000], 600),
    ("inbox_read_shard", ["1:1:", None, "0", 0, 500, 1 << 20, 1000, 2000, 0, 2], 2100),
    ("inbox_read_shard", ["1:1:", None, "0", 19_000, 500, 1 << 20, 1000, 2000, 1, 2], 5000),
    ("door_list", [100, 1, 2], 5),
]


WHOLE = ("token_of_domain", "user_of_domain")
"""Lists of small tables that are sorted as a whole."""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a plan."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize(("name", "arguments", "most"), READS, ids=[f"{name}-{index}" for index, (name, _, _) in enumerate(READS)])
async def test_a_read_uses_its_index(filled: "asyncpg.Connection[Any]", name: str, arguments: list[Any], most: int) -> None:
    [plan] = json.loads(await filled.fetchval(f"explain (analyze, format json) {sql(name)}", *arguments))
    read = 0
    for node in nodes(plan["Plan"]):
        relation = node.get("Relation Name", "")
        if relation == "edge":
            assert node["Node Type"] != "Seq Scan" and node["Actual Rows"] * node["Actual Loops"] <= 40, node
        if relation.startswith(
            ("job_2", "event_2", "note_2", "log_line_2", "operation", "alert", "audit", "schedule", "token", "account", "stat", "web_session", "saved_filter", "inbox")
        ):
            read += round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
            assert node["Node Type"] != "Seq Scan" or name in WHOLE or node["Actual Loops"] == 0 or node["Actual Rows"] + node.get("Rows Removed by Filter", 0) < 10, node
    assert read <= most, f"{name} read {read} rows"


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        (sql("count_absorb"), [1]),
        (sql("recover_counts"), [0]),
        (sql("checkpoint_get"), [0]),
        (sql("range_floors"), []),
        (sql("flush_slot_spent"), [0, 1800.0]),
    ],
    ids=["count_absorb", "recover_counts", "checkpoint_get", "range_floors", "flush_slot_spent"],
)
async def test_flush_rows_that_the_counts_hold_are_not_read(filled: "asyncpg.Connection[Any]", statement: str, arguments: list[Any]) -> None:
    async with filled.transaction():
        for _ in range(2):  # once for the catalogue
            [plan] = json.loads(await filled.fetchval(f"explain (analyze, buffers, format json) {statement}", *arguments))
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 120
