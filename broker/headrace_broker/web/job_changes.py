"""What the forms of a job's page ask for. Each is one of the changes that the RPCs make, with a reason, and its row in the audit."""

from typing import Any

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions import changing
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import BrokerError, InvalidField
from headrace_broker.shards.intents import Verb
from headrace_broker.web import forms, job
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit

MAX_GRACE_S = 86_400.0


async def requeue(visit: Visit) -> Response:
    """A new run; with another payload, if one was typed."""
    payload = await _payload(visit)
    if isinstance(payload, Response):
        return payload
    return await _change(
        visit, Verb.REQUEUE, "starts anew", include_completed=visit.field("include_completed") == "true", abort_first=visit.field("abort_first") == "true",
        grace_s=_grace_s(visit), payload=payload, content_type="application/json" if payload is not None else "",
    )  # fmt: skip


async def abort(visit: Visit) -> Response:
    """Its end."""
    return await _change(visit, Verb.ABORT, "was told to end", grace_s=_grace_s(visit), force=visit.field("force") == "true")


async def purge(visit: Visit) -> Response:
    """Its deletion; there is no page of it afterwards."""
    job_id = _job_id(visit)
    error = await _ask(visit, job_id, Verb.PURGE)
    if error is not None:
        visit.session.tell("failed", str(error))
        return visit.back(f"/jobs/{job_id}")
    visit.session.tell("done", f"Job {job_id} was deleted.")
    return RedirectResponse(visit.address("/jobs"), 303)


async def hold(visit: Visit) -> Response:
    """It is kept for ever, until it is released."""
    return await _change(visit, Verb.UPDATE, "is held: nothing deletes it", update=Update(hold=True))


async def release(visit: Visit) -> Response:
    """It is deleted at its date again."""
    return await _change(visit, Verb.UPDATE, "is not held any more", update=Update(hold=False))


async def priority(visit: Visit) -> Response:
    """Its own part of the score."""
    wanted = forms.whole("priority", visit.field("priority"), -forms.MAX_PRIORITY, forms.MAX_PRIORITY)
    return await _change(visit, Verb.UPDATE, f"has priority {wanted:,} now", update=Update(priority=wanted))


async def keep(visit: Visit) -> Response:
    """When it is deleted: by its type's settings, after it has settled, or (settled) at a date."""
    how, value = visit.field("how"), visit.field("value")
    if how == "type":
        update = Update(default_delete=True)
    elif how == "after":
        update = Update(delete_after_s=forms.duration_s("value", value))
    elif how == "at":
        update = Update(delete_at_s=forms.future_s("value", value))
    else:
        raise InvalidField("how", "one of type, after, at")
    return await _change(visit, Verb.UPDATE, "has the delete date that was asked for", update=update)


async def payload(visit: Visit) -> Response:
    """Another payload for a job that waits."""
    typed = await _payload(visit)
    if isinstance(typed, Response):
        return typed
    if typed is None:
        raise InvalidField("payload", "type the payload that takes the place of the one that is there")
    return await _change(visit, Verb.UPDATE, "has another payload now", update=Update(payload=typed, content_type="application/json"))


async def _payload(visit: Visit) -> bytes | Response | None:
    """What was typed, checked; None: nothing; a page that says what is wrong with it, and still has it."""
    text = visit.field("payload")
    if not text:
        return None
    try:
        return forms.json_bytes("payload", text, visit.owner.limits.payload_limit_bytes)
    except InvalidField as error:
        return await job.show(visit, _job_id(visit), "data", draft=text, problem=str(error))


async def _change(visit: Visit, verb: Verb, words: str, **options: Any) -> Response:
    job_id = _job_id(visit)
    error = await _ask(visit, job_id, verb, **options)
    if error is not None and visit.field("payload"):  # what somebody typed is not lost
        return await job.show(visit, job_id, "data", draft=visit.field("payload"), problem=str(error))
    visit.session.tell("failed" if error is not None else "done", str(error) if error is not None else f"Job {job_id} {words}.")
    return visit.back(f"/jobs/{job_id}")


async def _ask(visit: Visit, job_id: int, verb: Verb, **options: Any) -> BrokerError | None:
    reason = forms.reason(visit)
    [done] = await changing.change(visit.owner, visit.services.ownership.heads, verb, [job_id], caller=visit.caller(), reason=reason, **options)
    return done.error


def _job_id(visit: Visit) -> int:
    return forms.job_id(visit.request.path_params["job_id"])


def _grace_s(visit: Visit) -> float:
    return forms.duration_s("grace", visit.field("grace") or "30", MAX_GRACE_S)


async def to_job(visit: Visit) -> Response:
    """Where a form was sent there is no page; a browser that comes back to it is led to the job's."""
    return RedirectResponse(visit.address(f"/jobs/{_job_id(visit)}"), 303)


ACTIONS: dict[str, Page] = {
    f"/jobs/{{job_id}}/{name}": action
    for name, action in {
        "requeue": requeue, "abort": abort, "purge": purge, "hold": hold, "release": release, "priority": priority, "keep": keep, "payload": payload,
    }.items()
}  # fmt: skip
PAGES: dict[str, Page] = dict.fromkeys(ACTIONS, to_job)
CHOICES: dict[str, Choices] = {
    "/jobs/{job_id}/keep": {"how": {"at": "at a date, or so long from now", "after": "so long after it has settled", "type": "as its type says"}}
}  # fmt: skip
