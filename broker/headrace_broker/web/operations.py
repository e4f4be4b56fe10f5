"""Operations on everything that matches a filter: what one would do, its start, its progress, stopping and resuming it, and what it passed over and why."""

import uuid
from datetime import UTC, datetime

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions.operations import Operations
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.operation import MAX_PAYLOAD_BYTES, Action, Deed, Operation, OperationState
from headrace_broker.model.stored_filter import BOUNDS
from headrace_broker.web import filters, forms, parts
from headrace_broker.web.deeds import DEEDS
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html, refused

PAGE = 50
SKIPPED = 100
SAMPLE = 10
MAX_RATE = 1_000_000


async def page(visit: Visit) -> Response:
    """Operations of the domain, newest first."""
    below = forms.whole("below", visit.query("below"), 1, MAX_ID) if visit.query("below") else None
    found = await _operations(visit).list(visit.domain, below=below, limit=PAGE)
    next_ = visit.address("/operations", below=str(found[-1].operation_id)) if len(found) == PAGE else ""
    return parts.page(visit, "operations", title="Operations", operations=[(one, Told(one)) for one in found], first=below is None, next=next_)


class Told:
    """An operation in words and numbers."""

    def __init__(self, operation: Operation) -> None:
        progress = operation.progress
        self.deed = DEEDS[operation.plan.deed.action.value]
        self.filter = filters.words(operation.plan.wanted)
        self.address = filters.address(operation.plan.wanted)
        self.looked = progress.done + progress.skipped + progress.failed
        self.finished = operation.state is OperationState.FINISHED
        whole = self.looked if self.finished else operation.expected if operation.expected_complete else 0
        self.whole = max(whole, self.looked)
        self.share = 1.0 if self.finished else self.looked / self.whole if whole else None
        end = operation.finished_at or progress.at or operation.created_at
        seconds = (end - operation.created_at).total_seconds()
        self.rate = self.looked / seconds if seconds > 0 and self.looked else None
        left = self.whole - self.looked
        self.left_s = left / self.rate if self.rate and left > 0 and operation.state is OperationState.RUNNING and whole else None


async def new(visit: Visit) -> Response:
    """What an operation would do, and the form that starts it."""
    ask = visit.query
    wanted, deed = filters.wanted(ask), _deed(visit, ask)
    if not visit.may("/operation-start"):
        verb = DEEDS[deed.action.value].verb.lower()
        return refused(visit, f"You are logged in as {visit.session.role.name.lower()}, who may not {verb} jobs by an operation: that takes an operator.")
    found = await _operations(visit).preview(visit.domain, wanted, deed, all_jobs=wanted == JobFilter(), sample=SAMPLE)
    query, sent = {name: ask(name) for name in filters.NAMES}, filters.address(wanted)
    by_state = {state: sum(states.get(state, 0) for states in found.count.types.values()) for states in found.count.types.values() for state in states}
    return html(
        visit, "operation_new.html", title=f"{DEEDS[deed.action.value].verb} everything that matches", deed=DEEDS[deed.action.value], options=deed, found=found,
        by_state=sorted(by_state.items()), types=sorted(found.count.types.items(), key=lambda item: -sum(item[1].values())), words=filters.words(wanted),
        query=query | {bound: sent[bound] for bound in BOUNDS}, request_id=uuid.uuid4().hex, back=visit.address("/jobs", **query),  # ages stand still from here on
    )  # fmt: skip


async def start(visit: Visit) -> Response:
    """Starts one; the same form twice starts it once."""
    wanted, deed = filters.wanted(visit.field), _deed(visit, visit.field)
    if wanted == JobFilter() and visit.field("all_jobs") != "true":
        raise InvalidField("filter", "it is empty: say that all jobs of the domain are meant")
    rate = forms.whole("rate", visit.field("rate") or "0", 0, MAX_RATE)
    operation = await _operations(visit).start(
        wanted, deed, caller=visit.caller(), reason=forms.reason(visit), rate=float(rate), all_jobs=wanted == JobFilter(),
        request_id=forms.text("request_id", visit.field("request_id"), 100),
    )  # fmt: skip
    return RedirectResponse(visit.address(f"/operations/{operation.operation_id}"), 303)


def _deed(visit: Visit, ask: filters.Ask) -> Deed:
    name = ask("deed")
    if name not in DEEDS:
        raise InvalidField("deed", f"one of {', '.join(DEEDS)}")
    action, typed = Action(name), ask("payload").strip()
    payload = forms.json_bytes("payload", typed, MAX_PAYLOAD_BYTES) if typed and action is Action.REQUEUE else None
    return Deed(
        action, include_completed=ask("include_completed") == "true", force=ask("force") == "true",
        grace_s=forms.duration_s("grace", ask("grace") or "30", 86_400.0),
        priority=forms.whole("priority", ask("priority") or "0", -forms.MAX_PRIORITY, forms.MAX_PRIORITY) if action is Action.PRIORITY else None,
        payload=payload, content_type="application/json" if payload is not None else "",
    )  # fmt: skip


async def one(visit: Visit) -> Response:
    """One operation, with what it passed over."""
    operation_id, operations = _operation_id(visit), _operations(visit)
    operation = await operations.get(visit.domain, operation_id)
    after = forms.whole("after", visit.query("after") or "0", 0, MAX_ID)
    skipped = await operations.skipped(visit.domain, operation_id, after=after, limit=SKIPPED)
    more = visit.address(f"/operations/{operation_id}", after=str(skipped[-1].job_id)) if len(skipped) == SKIPPED else ""
    return parts.page(
        visit, "operation", title=f"Operation {operation_id}", operation=operation, told=Told(operation), skipped=skipped, more=more, after=after,
        now=datetime.now(UTC), at=visit.address(f"/operations/{operation_id}"),
    )  # fmt: skip


async def stop(visit: Visit) -> Response:
    """Nothing more is done until it is resumed."""
    operation = await _operations(visit).stop(_operation_id(visit), caller=visit.caller(), reason=forms.reason(visit))
    visit.session.tell("done", f"Operation {operation.operation_id} is stopped: nothing more is done until it is resumed.")
    return visit.back(f"/operations/{operation.operation_id}")


async def resume(visit: Visit) -> Response:
    """It goes on where it was."""
    operation = await _operations(visit).resume(_operation_id(visit), caller=visit.caller(), reason=forms.reason(visit))
    visit.session.tell("done", f"Operation {operation.operation_id} goes on.")
    return visit.back(f"/operations/{operation.operation_id}")


async def rate(visit: Visit) -> Response:
    """How fast it goes."""
    wanted = forms.whole("rate", visit.field("rate") or "0", 0, MAX_RATE)
    operation = await _operations(visit).set_rate(_operation_id(visit), float(wanted), caller=visit.caller(), reason=forms.reason(visit))
    visit.session.tell("done", f"Operation {operation.operation_id} does {f'at most {wanted:,} jobs a second' if wanted else 'as many jobs a second as it can'}.")
    return visit.back(f"/operations/{operation.operation_id}")


def _operations(visit: Visit) -> Operations:
    return Operations(visit.services.ownership, visit.services.reads, visit.services.finder)


def _operation_id(visit: Visit) -> int:
    return forms.whole("operation_id", visit.request.path_params["operation_id"], 1, MAX_ID)


async def to_operations(visit: Visit) -> Response:
    """Where a form was sent there is no page; a browser that comes back to it is led to the list."""
    return RedirectResponse(visit.address("/operations"), 303)


async def to_operation(visit: Visit) -> Response:
    """Where a form was sent there is no page; a browser that comes back to it is led to the operation's."""
    return RedirectResponse(visit.address(f"/operations/{_operation_id(visit)}"), 303)


PAGES: dict[str, Page] = {
    "/operations": page, "/operation-start": to_operations, "/operations/new": new, "/operations/{operation_id}": one, "/operations/{operation_id}/stop": to_operation,
    "/operations/{operation_id}/resume": to_operation, "/operations/{operation_id}/rate": to_operation,
}  # fmt: skip
ACTIONS: dict[str, Page] = {
    "/operation-start": start, "/operations/{operation_id}/stop": stop, "/operations/{operation_id}/resume": resume, "/operations/{operation_id}/rate": rate,
}  # fmt: skip
CHOICES: dict[str, Choices] = {}
