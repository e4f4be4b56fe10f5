"""What a change of a type's settings would do, in sentences, before it is made. From the counts and from memory: it costs the same for any number of jobs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace_broker.actions import retention
from headrace_broker.model.job import State
from headrace_broker.model.settings import Settings, Value
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.types import TypeEntry
from headrace_broker.web.render import span_s

LATER = "It holds for what happens from now on."


@dataclass(frozen=True, slots=True)
class Now:
    """How a type stands: jobs that wait and run."""

    waiting: int
    running: int


def effects(owner: Owner, entry: TypeEntry, values: Mapping[str, Value], clear: list[str]) -> list[str]:
    """Sentences about the settings that are changed; none for a change that changes nothing."""
    then = retention.changed_settings(entry, values, clear)
    counts = owner.counts(entry.domain).get(entry.name, {})
    now = Now(counts.get(State.WAITING, 0), owner.caps.running(owner, entry))
    said = []
    for name in sorted({*values, *clear}):
        if getattr(then, name) == getattr(entry.settings, name):
            continue
        if name.startswith("delete_"):
            said += _deleted(owner, entry, then, name)
        else:
            said.append(OF.get(name, _later)(entry.settings, then, now))
    return said


def _later(_old: Settings, _new: Settings, _now: Now) -> str:
    return LATER


def _priority(old: Settings, new: Settings, now: Now) -> str:
    place = "go before" if new.priority > old.priority else "give way to"
    return f"{now.waiting:,} waiting jobs get another score and {place} those of other types that lie between; age within the type counts as before."


def _paused(_old: Settings, new: Settings, now: Now) -> str:
    if new.paused:
        return f"None of its {now.waiting:,} waiting jobs is granted until it is resumed; the {now.running:,} that run go on."
    return f"Its {now.waiting:,} waiting jobs are granted again."


def _concurrency(_old: Settings, new: Settings, now: Now) -> str:
    cap = new.concurrency
    if not cap:
        return "The number of its jobs that run at the same time is not limited any more."
    if now.running > cap:
        return f"{now.running:,} run now and go on; none is granted until fewer than {cap:,} run."
    return f"{now.running:,} run now, so {cap - now.running:,} more may start at once."


def _depth(_old: Settings, new: Settings, now: Now) -> str:
    if not new.depth_limit:
        return "Submits are not refused any more because too many jobs wait."
    if now.waiting >= new.depth_limit:
        return f"{now.waiting:,} jobs wait, so further submits are refused until fewer than {new.depth_limit:,} do."
    return f"{now.waiting:,} jobs wait, so there is room for {new.depth_limit - now.waiting:,} more; what goes beyond is refused."


def _rate(_old: Settings, new: Settings, now: Now) -> str:
    if not new.rate_limit_count:
        return "How many of its jobs start in a second is not limited any more."
    return f"The {now.waiting:,} that wait need at least {span_s(now.waiting / new.rate_per_s)} to start at {new.rate_per_s:,.4g} jobs a second."


def _timeout(_old: Settings, new: Settings, now: Now) -> str:
    return f"Attempts that begin from now on end after {span_s(new.timeout_s)}; the {now.running:,} that run keep the time that they were given."


def _attempts(_old: Settings, new: Settings, now: Now) -> str:
    return f"From now on a job that fails in its attempt {new.max_attempts} or later has ended; {now.waiting + now.running:,} are unsettled."


def _starting(_old: Settings, new: Settings, now: Now) -> str:
    if not new.start_within_s:
        return "Waiting jobs do not expire any more."
    return (
        f"Of the {now.waiting:,} waiting jobs, those that could have started more than {span_s(new.start_within_s)} ago end soon, and so will others that wait as long."
    )


def _breaker(_old: Settings, new: Settings, now: Now) -> str:
    if not new.breaker_share:
        return f"Nothing holds its jobs back any more when they fail; if its breaker is open, its {now.waiting:,} waiting jobs are granted again."
    return LATER


def _deleted(owner: Owner, entry: TypeEntry, then: Settings, name: str) -> list[str]:
    """What a preview of the retention says of one state."""
    [found] = [one for one in retention.preview(owner, entry, then) if f"delete_{one.state.name.lower()}_after_s" == name]
    state, keeps = found.state.name.lower(), "for ever" if found.keep_then_s is None else span_s(found.keep_then_s)
    said = [f"Jobs that end in {state} from now on are kept {keeps}."]
    if found.jobs:
        applied = "`headrace types preview-retention` and `apply-retention` show, and give them, the dates that follow from it"
        gone = f"{found.gone_at_once:,} would be gone at once" if found.gone_at_once else "none would be gone at once"
        said.append(f"The {found.jobs:,} that are there keep the dates that they have; {applied}: {gone}.")
    return said


OF: dict[str, Callable[[Settings, Settings, Now], str]] = {
    "priority": _priority, "paused": _paused, "concurrency": _concurrency, "depth_limit": _depth, "rate_limit_count": _rate, "rate_limit_per_s": _rate,
    "timeout_s": _timeout, "max_attempts": _attempts, "start_within_s": _starting, "breaker_share": _breaker,
}  # fmt: skip
