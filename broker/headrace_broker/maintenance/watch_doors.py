"""Raises an alert for each transaction that has completed a job and is not committed for a minute: it keeps the job processing, and vacuum from its work."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace_broker.shards.live import Live
from headrace_broker.store.inbox import Inbox

TOO_LONG_S = 60.0


@dataclass
class WatchDoors:
    """`live` finds an unsettled job in the owner's memory."""

    inbox: Inbox
    live: Callable[[int], Live | None]
    too_long_s: float = TOO_LONG_S
    _said: set[tuple[int, int]] = field(default_factory=set)  # (job_id, pid)

    async def run_once(self) -> dict[str, int]:
        """One pass; returns how many alerts were written."""
        raised = 0
        doors = await self.inbox.open_doors()
        self._said &= {(door.job_id, door.pid) for door in doors}
        for door in doors:
            live = self.live(door.job_id)
            if live is None or door.open_s < self.too_long_s or (door.job_id, door.pid) in self._said:
                continue
            state = f" ({door.state})" if door.state else ""
            text = f"{door.who} that is open for {door.open_s:.0f} s{state} has completed the job and is not committed"
            error = {"code": "door_open", "message": text, "fingerprint": "door_open", "traceback": ""}
            raised += await self.inbox.alert(door.job_id, live.entry.type_id, live.seq, json.dumps(error))
            self._said.add((door.job_id, door.pid))
        return {"alerts": raised} if raised else {}
