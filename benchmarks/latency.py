"""From the time a job is due to the start of its handler, with open-loop arrivals: `headrace bench` at three rates against a broker with its own Postgres, in turn within
each round. The harness fails when a job is missing or doubled. CPU per job is told for every process; harness, agent, broker and Postgres share the cores.
"""

import sys

from benchmarks import support

RATES = {"200/s": (200, 1), "2,000/s": (2_000, 1), "20,000/s in calls of 50": (20_000, 50)}


def main() -> None:
    """Measures; `--duration` is that of each run in seconds."""
    parser = support.options(__doc__)
    parser.add_argument("--duration", type=float, default=10.0)
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        with support.Broker(directory, server.dsn) as broker:
            support.load(broker.address, "--rate", "2000", "--duration", "2")  # warms up
            for number in range(arguments.rounds):
                print(f"round {number + 1}", file=sys.stderr)
                rounds.append({case: run(broker, server.pid, rate, batch, arguments.duration) for case, (rate, batch) in RATES.items()})
    support.report(support.outcome("latency", facts, rounds, duration_s=arguments.duration), arguments.json)


def run(broker: support.Broker, postgres: int, rate: int, batch: int, duration_s: float) -> support.Figures:
    """One run at one rate."""
    cpu = support.Cpu(postgres=postgres)
    result = support.load(broker.address, "--rate", str(rate), "--batch", str(batch), "--duration", str(duration_s), "--pid", f"broker={broker.pid}")
    us = {f"{who.replace(' 1', '')}_us": used for who, used in result["cpu_us_per_job"].items()}
    start, submit = ({f"{what}_{name}_ms": result[f"{what}_ms"][name] for name in ("p50", "p99", "max")} for what in ("start", "submit"))
    return {"started_per_s": result["started_per_s"], **start, **submit, **us, **cpu.us_per(result["jobs"])}


if __name__ == "__main__":
    main()
