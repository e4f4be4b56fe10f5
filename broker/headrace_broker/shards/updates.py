"""Changes that leave a job where it is: priority, payload, labels, hold, delete date.

What waits or is settled gets an event, so that its order, its counts and whoever takes over follow; the amended that hold from then on are a note of that event. While a
job runs, the event that its lease needs must stay the newest, so the amended are a note of the lease alone, and hold for how it ends and for what comes after.

The delete date of a settled job was fixed when it settled, by its own amended or its type's settings of that time. Only an update that concerns its deletion moves it.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace_broker.model.amended import Amended, Update, delete_minute, same_date
from headrace_broker.model.errors import InvalidState, UniqueKeyTaken
from headrace_broker.model.job import SETTLED, Kind, State
from headrace_broker.model.terms import parse
from headrace_broker.shards import turns
from headrace_broker.shards.intents import ChangeIntent
from headrace_broker.shards.live import Live
from headrace_broker.shards.requeues import put_amended, put_payload
from headrace_broker.shards.round import Round
from headrace_broker.store.batch import FullBody, keep_s_of
from headrace_broker.store.heads import StoredHead

_NOTHING = Update()
if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def decide(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live) -> State:
    """Changes one job, unless it is already as it is asked to be. `live` says where it stands; it is in memory only if the owner knows it. Raises InvalidState."""
    update = intent.update
    assert update is not None  # the verb says so
    _check(update, head.job_id, live.state)
    amended = owner.amended.get(head.job_id) or head.amended or Amended()
    labels = amended.labels if amended.labels is not None else json.loads(head.labels or "{}")
    wanted = update.applied(amended, labels, head.settled_at_s)
    if live.state in SETTLED:
        _settled(owner, round_, intent, head, live, amended, wanted)
        return live.state
    if wanted == amended and update.payload is None:
        return live.state
    owner.amended[head.job_id] = wanted
    live.priority = wanted.priority if wanted.priority is not None else live.priority
    if live.state is State.WAITING:
        _waiting(owner, round_, intent, live)
    if update.payload is not None:
        put_payload(round_, live, update.payload, intent.actor)
    put_amended(round_, live, wanted, intent.actor, intent.reason)
    round_.noted.add(head.job_id)
    return live.state


def replace(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live) -> State:
    """Makes a waiting job what another submission says; one that runs stays as it is. Raises UniqueKeyTaken where they differ in what cannot be changed."""
    assert intent.replacement is not None  # the verb says so
    entry, priority, available_at_s, body = intent.replacement
    full = FullBody(body) if isinstance(body, bytes) else body
    terms = parse(full.more) if full.more else None
    differs = "type" if entry is not live.entry else "instance" if full.instance_id != head.instance_id else "limit key, fairness key or required label"
    if (entry, full.instance_id, terms) != (live.entry, head.instance_id, head.terms):
        raise UniqueKeyTaken(head.unique_key or "", head.job_id, differs)
    if live.state is not State.WAITING:
        return live.state
    held = (owner.amended.get(head.job_id) or head.amended or Amended()).hold
    wanted = Amended(priority, json.loads(full.labels or "{}"), full.content_type or "", keep_s_of(full), held)
    owner.amended[head.job_id] = wanted
    live.priority = priority
    tried = live.attempt or live.losses  # it waits for a retry: not before that
    live.available_at_s = max(available_at_s, live.available_at_s) if tried else available_at_s
    _waiting(owner, round_, intent, live)
    put_payload(round_, live, full.payload, intent.actor)
    put_amended(round_, live, wanted, intent.actor, intent.reason)
    round_.noted.add(head.job_id)
    return State.WAITING


def said(amended: Amended | None) -> dict[str, object]:
    """Amended for the audit."""
    return dict(json.loads(amended.encoded())) if amended is not None else {}


def asked(update: Update) -> dict[str, object]:
    """The same of an update: what it changes, of a payload its size."""
    named = {name: value for name, value in asdict(update).items() if value != getattr(_NOTHING, name)}
    if update.payload is not None:
        named |= {"payload": f"{len(update.payload)} bytes"}
    return named


def _check(update: Update, job_id: int, state: State) -> None:
    if update.payload is not None and state is not State.WAITING:
        raise InvalidState(f"job {job_id} is {state.name.lower()}: only the payload of a waiting job can be changed; requeue it with another one")
    if update.delete_at_s is not None and state not in SETTLED:
        raise InvalidState(f"job {job_id} is {state.name.lower()}: only a settled job can be given a date; say how long it is kept once it has settled (delete_after)")


def _waiting(owner: "Owner", round_: Round, intent: ChangeIntent, live: Live) -> None:
    """Its place in the order may be another one: it leaves its lane or timer and goes back when the round is built."""
    turns.leave(owner, live.job_id)
    owner.bodies.pop(live.entry.type_id, live.job_id)  # what an agent gets is read with what was changed
    owner.live_jobs[live.job_id] = live
    owner.record(round_, live, Kind.UPDATED, State.WAITING)
    available_at = datetime.fromtimestamp(live.available_at_s, UTC) if live.available_at_s else None
    round_.batch.extend_event(available_at=available_at, actor=intent.actor, reason=intent.reason)
    round_.waiting_again.append(live)


def _settled(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live, amended: Amended, wanted: Amended) -> None:
    assert intent.update is not None
    update, minute = intent.update, head.delete_minute
    if update.redate or update.default_delete or (wanted.hold, wanted.delete_after_s) != (amended.hold, amended.delete_after_s):
        minute = delete_minute(live.entry.settings, wanted, live.state, head.settled_at_s)
    if wanted == amended and same_date(minute, head.delete_minute):
        return
    owner.record(round_, live, Kind.UPDATED, live.state, delete_minute=minute, old_minute=head.delete_minute)
    round_.batch.extend_event(actor=intent.actor, reason=intent.reason)
    if wanted != amended:
        put_amended(round_, live, wanted, intent.actor, intent.reason)
