"""What can be done to many jobs at once, in words."""

from dataclasses import dataclass

from headrace_broker.model.job import SETTLED, State


@dataclass(frozen=True, slots=True)
class Deed:
    """`verb` as on buttons; `states` that take it; `what` it does to each of them; `danger`: it cannot be taken back, or stops what runs."""

    name: str
    verb: str
    states: frozenset[State]
    what: str
    danger: bool = False


STORED = frozenset(set(State) - {State.GONE})
DEEDS = {
    deed.name: deed
    for deed in (
        Deed(
            "requeue",
            "Requeue",
            frozenset({State.ERROR, State.ABORTED}),
            "A new run of each begins, with the same payload or another one; what earlier runs did stays readable.",
        ),
        Deed("abort", "Abort", frozenset({State.WAITING, State.PROCESSING}), "Those that wait will not run; the handlers of those that run are told to stop.", True),
        Deed("purge", "Delete", SETTLED, "Payload, result, history and log of each go with it. This cannot be taken back. Those that are held stay.", True),
        Deed("priority", "Set priority of", STORED, "The own part of their score is another one; higher goes first."),
        Deed("hold", "Hold", STORED, "Nothing deletes them until they are released: no delete date, and no purge."),
        Deed("release", "Release", STORED, "Those that are held are deleted at their dates again; if a date has passed, at once."),
    )
}


def takes(deed: Deed, *, include_completed: bool) -> frozenset[State]:
    """The states in which a job takes the deed."""
    return deed.states | {State.COMPLETED} if deed.name == "requeue" and include_completed else deed.states
