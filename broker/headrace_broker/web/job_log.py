"""The log of a job: the newest lines first to come, those before them on request, a search inside, and what comes while somebody looks.

The page follows by asking for the lines after a position (lease epoch, line number), which the answer moves on; nothing is queued for it. A search looks at a bounded
number of lines and says how far back it came.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from headrace_proto.terminal import harmless
from markupsafe import Markup, escape
from starlette.responses import Response

from headrace_broker.actions.reads import AttemptRead, JobRead, attempts
from headrace_broker.model.job import SETTLED
from headrace_broker.store.reads import LogRow
from headrace_broker.web import forms
from headrace_broker.web.visit import Visit, html

LINES = 500
"""Of one page, and of one answer to who follows."""
SCAN, MOST_SCANNED = 2000, 20_000
"""Lines that a search reads at a time, and looks at for one page."""
END = (2**31 - 1, 2**31 - 1)
QUIET_S = 10.0
"""After a job has settled its last lines may still be on their way for a moment."""


class _Asked:
    """What the address asks for: lines of one attempt or of all (0), from a level on, that hold a text."""

    def __init__(self, visit: Visit) -> None:
        self.attempt = forms.whole("attempt", visit.query("attempt") or "0", 0, END[0])
        self.level = forms.whole("level", visit.query("level") or "1", 1, 4)
        self.find = forms.text("find", visit.query("find"), 200)

    def keep(self, lines: Sequence[LogRow]) -> list[LogRow]:
        """Those that hold the text, in whatever case."""
        wanted = self.find.casefold()
        return [line for line in lines if wanted in line.text.casefold()]


async def values(visit: Visit, job: JobRead, _secret: tuple[str, ...]) -> dict[str, Any]:
    """What the tab shows."""
    asked = _Asked(visit)
    _, events = await visit.jobs.events(job.row.job_id, visit.domain)
    before = forms.position(visit.query("before"))
    lines, earlier, at = await _back(visit, job, asked, before or END)
    query = {"tab": "log", "attempt": str(asked.attempt or ""), "level": visit.query("level"), "find": asked.find}
    return {
        "lines": [(line, marked(line.text, asked.find)) for line in lines], "asked": asked, "choices": _choices(attempts(events)), "newest": before is None,
        "earlier": visit.address(f"/jobs/{job.row.job_id}", **query, before=f"{earlier[0]}.{earlier[1]}") if earlier else "",
        "to_newest": visit.address(f"/jobs/{job.row.job_id}", **query), "at": f"{at[0]}.{at[1]}", "looked": MOST_SCANNED,
        "tail": visit.address(f"/jobs/{job.row.job_id}/tail", **{**query, "tab": ""}),
    }  # fmt: skip


async def tail(visit: Visit) -> Response:
    """Lines after a position, as rows; the answer's event says where to go on, and whether there will be more."""
    job_id, asked = forms.job_id(visit.request.path_params["job_id"]), _Asked(visit)
    after = forms.position(visit.query("after")) or (0, 0)
    job = await visit.jobs.get(job_id, visit.domain)
    lines = await visit.jobs.logs(job_id, visit.domain, lease_epoch=asked.attempt, min_level=asked.level, after=after, limit=LINES)
    at = (lines[-1].lease_epoch, lines[-1].line_no) if lines else after
    settled = job.row.state in SETTLED and job.row.at is not None and visit.owner.clock.now_s() - job.row.at.timestamp() > QUIET_S
    response = html(visit, "job_log_rows.html", lines=[(line, marked(line.text, asked.find)) for line in asked.keep(lines)])
    response.headers["HX-Trigger"] = json.dumps({"headrace:tail": {"at": f"{at[0]}.{at[1]}", "ended": settled and not lines}})
    return response


async def _back(visit: Visit, job: JobRead, asked: _Asked, before: tuple[int, int]) -> tuple[list[LogRow], tuple[int, int] | None, tuple[int, int]]:
    """(lines before a position that are wanted, where those before them end or None, the position of the newest line that was looked at)."""
    found: list[LogRow] = []
    looked, newest = 0, (0, 0)
    limit = SCAN if asked.find else LINES
    while True:
        lines = await visit.jobs.last_logs(job, lease_epoch=asked.attempt, min_level=asked.level, before=before, limit=limit)
        if lines and not looked:
            newest = (lines[-1].lease_epoch, lines[-1].line_no)
        looked += len(lines)
        found = asked.keep(lines) + found
        if len(lines) < limit:
            return found, None, newest
        before = (lines[0].lease_epoch, lines[0].line_no)
        if len(found) >= LINES or looked >= MOST_SCANNED or not asked.find:
            return found, before, newest


def marked(text: str, find: str) -> Markup:
    """The text with what was searched for marked, and what steers text shown as escapes."""
    if not find:
        return escape(harmless(text))
    parts, at = [], 0
    for match in re.finditer(re.escape(find), text, re.IGNORECASE):
        parts += [escape(harmless(text[at : match.start()])), Markup("<mark>{}</mark>").format(harmless(match[0]))]
        at = match.end()
    return Markup("").join([*parts, escape(harmless(text[at:]))])


def _choices(found: Sequence[AttemptRead]) -> list[tuple[int, str]]:
    """(lease epoch, words) of attempts, newest first."""
    words = []
    for one in found:
        ending = one.ending.kind.name.lower().replace("_", " ") if one.ending is not None else "runs"
        words.append((one.grant.seq, f"run {one.grant.run}, attempt {one.grant.attempt} on {one.grant.agent}: {ending}"))
    return words[::-1][:100]
