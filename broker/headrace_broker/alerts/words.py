"""What a message says: its subject and text for people, its JSON for programs. Everything comes from the facts of its notices, as they were when those were made: by a
broker of another release, maybe, which knows sources that this one does not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace_broker.model.alerting import JOBS, Notice, Source

MOST_LISTED = 50
TITLES: dict[str, str] = {
    Source.JOB_ERROR: "failed", Source.JOB_ABORTED: "aborted", Source.OLDEST_WAITING: "jobs wait too long", Source.ERROR_RATE: "too many failures",
    Source.AGENT_LOST: "agent lost", Source.NO_AGENT: "no agent", Source.DATABASE: "trouble with the database", Source.DOOR_OPEN: "a transaction keeps a job",
    Source.BREAKER_OPEN: "its breaker is open, jobs are held back",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent once. `message_id` is the same each time it is tried; `count`: failures that no message before told of."""

    message_id: str
    subject: str
    text: str
    payload: dict[str, Any]
    count: int


def facts_of(notice: Notice, at: float) -> dict[str, Any]:
    """What is stored of a notice, as JSON."""
    group = notice.group
    return {
        "status": "resolved" if notice.resolved else "firing", "domain": group.key.domain, "source": str(group.key.source), "rule": group.key.rule,
        "type": group.key.type, "fingerprint": group.key.fingerprint, "count": notice.count, "total": group.total, "silenced": group.silenced,
        "repeated": notice.repeated, "summary": group.summary, "started_at": _text(group.started_s), "changed_at": _text(group.changed_s), "at": _text(at),
        "first_job_id": _id(group.first_job_id), "last_job_id": _id(group.last_job_id),
    }  # fmt: skip


def message(message_id: str, notices: Sequence[Mapping[str, Any]], *, cap: int, last: bool) -> Message:
    """The message that tells of these facts. `last`: the channel has reached its cap with it."""
    count = sum(int(facts["count"]) for facts in notices)
    first = notices[0]
    if len(notices) == 1:
        subject, lines = _subject(first), _lines(first)
    else:
        firing = sum(facts["status"] == "firing" for facts in notices)
        subject = f"[{first['domain']}] {len(notices)} alerts that were held back, {count:,} failures"
        held = f"{len(notices)} more notices were held back ({firing} firing, {len(notices) - firing} resolved)"
        lines = [f"This channel sends at most {cap} messages an hour. {held}:", ""]
        lines += [f"- {_subject(facts)}{': ' + facts['summary'] if facts['summary'] else ''}" for facts in notices[:MOST_LISTED]]
        if len(notices) > MOST_LISTED:
            rest = notices[MOST_LISTED:]
            lines.append(f"- and {len(rest)} more, with {sum(int(facts['count']) for facts in rest):,} failures")
    if last:
        lines += ["", f"The cap of {cap} messages an hour is reached: what follows is held back, and told in one message when there is room again."]
    payload = {
        "type": "headrace.alert", "timestamp": first["at"], "data": {
            "status": "firing" if any(facts["status"] == "firing" for facts in notices) else "resolved", "count": count,
            "held_back": len(notices) if len(notices) > 1 else 0, "cap_reached": last, "alerts": [dict(facts) for facts in notices],
        },
    }  # fmt: skip
    return Message(message_id, subject, "\n".join([*lines, ""]), payload, count)


def outage(message_id: str, domain: str, at: float, *, since_s: float, over: bool, why: str) -> Message:
    """That the database has not answered for a while, or answers again."""
    subject = f"[{domain}] the database answers again" if over else f"[{domain}] FIRING: the database does not answer"
    lines = [f"Since {_text(since_s)} nothing could be stored: no job is taken, granted or settled." if not over else f"It did not from {_text(since_s)} to {_text(at)}."]
    if why:
        lines.append(f"The last error: {why}")
    facts = {
        "status": "resolved" if over else "firing", "domain": domain, "source": str(Source.DATABASE), "rule": "", "type": "", "fingerprint": "", "count": 0, "total": 0,
        "summary": lines[0], "started_at": _text(since_s), "at": _text(at),
    }  # fmt: skip
    payload = {"type": "headrace.alert", "timestamp": _text(at), "data": {"status": facts["status"], "count": 0, "held_back": 0, "cap_reached": False, "alerts": [facts]}}
    return Message(message_id, subject, "\n".join([*lines, ""]), payload, 0)


def trial(message_id: str, domain: str, channel: str, by: str, at: float) -> Message:
    """What the test button sends."""
    text = f"This is a test of the channel {channel} of domain {domain}, asked for by {by or 'somebody'}. Nothing has happened.\n"
    return Message(
        message_id, f"[{domain}] test of the channel {channel}", text,
        {"type": "headrace.test", "timestamp": _text(at), "data": {"domain": domain, "channel": channel, "by": by}}, 0,
    )  # fmt: skip


def _subject(facts: Mapping[str, Any]) -> str:
    source = facts["source"]
    title = TITLES.get(source, source.replace("_", " "))
    what = facts["type"] or facts["fingerprint"] or ""
    mark = "resolved: " if facts["status"] == "resolved" else "still FIRING: " if facts["repeated"] else "FIRING: "
    if source in JOBS:
        name = f" ({facts['fingerprint'][:20]})" if facts["fingerprint"] else ""
        return f"[{facts['domain']}] {mark}{what} {int(facts['count'] or facts['total']):,} {title}{name}"
    return f"[{facts['domain']}] {mark}{title}{': ' + what if what else ''}"


def _lines(facts: Mapping[str, Any]) -> list[str]:
    lines = [facts["summary"], ""] if facts["summary"] else []
    if facts["source"] in JOBS:
        word = "aborts" if facts["source"] == Source.JOB_ABORTED else "failures"
        lines.append(f"{int(facts['count']):,} new {word}, {int(facts['total']):,} since {facts['started_at']}.")
        if facts["silenced"]:
            lines.append(f"{int(facts['silenced']):,} of them were silenced.")
        lines += [f"First job: {facts['first_job_id']}, newest job: {facts['last_job_id']}.", f"Type: {facts['type']}. Fingerprint: {facts['fingerprint'] or 'none'}."]
    else:
        lines.append(f"{'Rule' if facts['rule'] else 'Type'}: {facts['rule'] or facts['type']}. Since {facts['started_at']}.")
    if facts["status"] == "resolved":
        lines.append(f"It is over: nothing more came since {facts['changed_at']}.")
    elif facts["repeated"]:
        lines.append("Nothing is new; it merely goes on.")
    return lines


def _id(job_id: int | None) -> str:
    return "" if job_id is None else str(job_id)


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
