"""Payload and result of a job, of any of its runs, and what changed from one payload to the next."""

import asyncio
from typing import Any

from headrace_broker.actions.reads import JobRead
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.job import MAX_RUN
from headrace_broker.web import forms
from headrace_broker.web.documents import difference, document
from headrace_broker.web.visit import Visit

MOST_VERSIONS = 50
MOST_SEQ = 2**31 - 1


async def values(visit: Visit, job: JobRead, secret: tuple[str, ...]) -> dict[str, Any]:
    """What the tab shows: of the run that stands, or of `run`; with the difference of the versions `from` and `to`, if they are asked for."""
    reads, row = visit.jobs, job.row
    run = forms.whole("run", visit.query("run") or str(row.run), 1, MAX_RUN)
    payload, result, version = row.payload, row.result, row.payload_seq
    if run != row.run:
        _, found = await reads.runs(row.job_id, visit.domain, full=True, below=run + 1, limit=1)
        if not found or found[0].run != run:
            raise InvalidField("run", f"job {row.job_id} has no run {run} to which anything happened")
        payload, result, version = found[0].payload, found[0].result, found[0].payload_seq
    compared = _compared(visit)
    _, versions = await reads.payloads(row.job_id, visit.domain, version=None, below=MOST_SEQ, limit=MOST_VERSIONS)
    changed = None
    if compared is not None:
        old, new = [await _version(visit, row.job_id, version_) for version_ in compared]
        changed = await asyncio.to_thread(difference, old, new, secret)
    return {
        "run": run, "payload": await asyncio.to_thread(document, payload, row.content_type, secret), "result": await asyncio.to_thread(document, result, None, secret),
        "payload_version": version, "versions": versions, "compared": compared, "changed": changed,
    }  # fmt: skip


async def _version(visit: Visit, job_id: int, version: int) -> bytes | None:
    """The bytes of one version of the payload."""
    _, found = await visit.jobs.payloads(job_id, visit.domain, version=version, below=MOST_SEQ, limit=1)
    if not found:
        raise InvalidField("from", f"job {job_id} has no version {version} of its payload")
    return found[0].payload


def _compared(visit: Visit) -> tuple[int, int] | None:
    if not visit.query("from") and not visit.query("to"):
        return None
    return forms.whole("from", visit.query("from"), 0, MOST_SEQ - 1), forms.whole("to", visit.query("to"), 0, MOST_SEQ - 1)
