"""What a second broker gives: one that owns the queue alone; with one more that stands by and passes on what it is asked; and clients at both.

One broker owns the whole queue, so a second one adds no owner: it is there for the time when the first one ends. What it costs to have calls pass through it, and whether
calls at both are worth more than at one, is measured here: the same closed loop of submits, grants and settled jobs as for the capacity, in turn, on the same two
brokers. "by way of the other": clients and the agent are connected to the broker that stands by; "at both": half of the clients at each, the agent at the owner.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import support
from benchmarks.overload import SLOTS, TYPE, Role

WARM_S = 1.0


def measure(directory: Path, dsn: str, seconds: float) -> support.Round:
    """One round: the cases in turn."""
    found: support.Round = {}
    with support.Broker(directory, dsn) as owner:
        found["one broker"] = _case(owner, owner.address, [owner.address], seconds)
        with support.Broker(directory, dsn) as other:
            if other.ready["role"] != "standby":
                raise SystemExit("both brokers own the queue")
            for name, agent, clients in (
                ("two, at the owner", owner.address, [owner.address]),
                ("two, by way of the other", other.address, [other.address]),
                ("two, at both", owner.address, [owner.address, other.address]),
            ):
                found[name] = _case(owner, agent, clients, seconds, other)
    alone = found["one broker"]["jobs_per_s"]
    for case in list(found)[1:]:
        found[case]["of_one"] = found[case]["jobs_per_s"] / alone
    return found


def _case(owner: support.Broker, agent: str, clients: list[str], seconds: float, other: support.Broker | None = None) -> support.Figures:
    worker = Role("settle", agent, TYPE, SLOTS, 1).begun()
    try:
        _submit(clients, WARM_S)
        cpu = support.Cpu(owner=owner.pid, **({"other": other.pid} if other is not None else {}))
        before, began = _completed(worker), time.monotonic()
        _submit(clients, seconds)
        jobs, took = _completed(worker) - before, time.monotonic() - began
        return {"jobs_per_s": jobs / took, **cpu.us_per(int(jobs))}
    finally:
        worker.end()
        _until(lambda: owner.metrics()["headrace_jobs_processing"] == 0 and owner.metrics()["headrace_sessions"] == 0)


def _submit(clients: list[str], seconds: float) -> None:
    for role in [Role("closed", address, TYPE, seconds, 0) for address in clients]:
        role.result()


def _completed(worker: Role) -> float:
    return float(worker.now().get("completed", 0))


def _until(done: Callable[[], bool]) -> None:
    """The agent is gone, and what it had waits again."""
    until = time.monotonic() + support.STOP_S
    while not done():
        if time.monotonic() > until:
            raise SystemExit("the agent's jobs are not given back")
        time.sleep(0.1)


def main() -> None:
    """Measures."""
    parser = support.options(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each case")
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            rounds.append(measure(directory, asyncio.run(support.make_database(server.dsn, f"forward_{number}")), arguments.seconds))
    support.report(support.outcome("forward", facts, rounds, seconds=arguments.seconds), arguments.json)


if __name__ == "__main__":
    main()
