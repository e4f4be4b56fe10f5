"""What a channel sends next: one notice in a message while the channel may send several, all that wait in one once it may send only one more this hour. Pure.

So a channel never sends more than its cap in any hour, and nothing that is held back is lost: the next message that it may send tells all of it, with the sum of counts.
A message that could not be delivered is sent again as it was, with the same id, so that its receiver can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

HOUR_S = 3600.0
RETRY_S = (5.0, 300.0)
"""First and longest wait before a message is sent again; doubled each time, spread by a fifth."""
FAR_S = 900.0
"""No try is planned so far ahead: the clock was set back since."""
PASSED_BY_TRIES = 5
"""A message that was tried so often lets others go first: it may be the message that is not taken, and not the channel."""
GIVE_UP_S = 3 * 86_400.0
"""A notice that could not be delivered for so long is given up, and says so."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice that waits at a channel. `batch_id`: the message that it was sent in, in vain so far; None: it was not sent yet."""

    notice_id: int
    made_s: float
    batch_id: int | None = None
    tries: int = 0
    next_try_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The notices of the next message, none: there is nothing to send before `until_s`. `last`: the cap is reached with it; `given_up`: notices that wait in vain."""

    notices: tuple[Waiting, ...] = ()
    until_s: float = 0.0
    last: bool = False
    given_up: tuple[int, ...] = ()

    @property
    def batch_id(self) -> int:
        """What names the message, also when it is sent again."""
        return self.notices[0].batch_id or self.notices[0].notice_id


def plan(waiting: Sequence[Waiting], sent_s: Sequence[float], cap: int, now: float) -> Plan:
    """What a channel does now. `waiting` by id; `sent_s`: when it sent its messages of the last hour, rising."""
    given_up = tuple(notice.notice_id for notice in waiting if notice.tries and now - notice.made_s >= GIVE_UP_S)
    waiting = [notice for notice in waiting if notice.notice_id not in given_up]
    if not waiting:
        return Plan(given_up=given_up)
    recent = [at for at in sent_s if at > now - HOUR_S]
    room = cap - len(recent)
    if room <= 0:
        return Plan(until_s=recent[-cap] + HOUR_S, given_up=given_up)
    again, fresh = [notice for notice in waiting if notice.batch_id is not None], [notice for notice in waiting if notice.batch_id is None]
    due = [notice for notice in again if notice.next_try_s <= now or notice.next_try_s > now + FAR_S]
    if due:
        return Plan(tuple(notice for notice in again if notice.batch_id == due[0].batch_id), last=room == 1, given_up=given_up)
    if again and (not fresh or min(notice.tries for notice in again) < PASSED_BY_TRIES):
        return Plan(until_s=min(notice.next_try_s for notice in again), given_up=given_up)
    return Plan(tuple(fresh if room == 1 else fresh[:1]), last=room == 1, given_up=given_up)


def retry_s(tries: int, chance: float) -> float:
    """How long to wait after so many failed tries; `chance` in [0, 1)."""
    first, longest = RETRY_S
    return min(longest, first * float(1 << min(max(tries, 1) - 1, 10))) * (0.8 + 0.4 * chance)
