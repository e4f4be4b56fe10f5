"""Writes what was measured into README.md beside this file, from the JSON in results/: the tables between `<!-- NAME -->` and `<!-- end -->`, and chart.svg.

A table comes from results/NAME.json; where there is no such file the README says that it was not measured. Nothing between the marks is written by hand, and a test holds
that the README and the chart are what this makes of the files.
"""

import argparse
import html
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BLOCK = re.compile(r"(<!-- (?P<name>[a-z]+) -->\n)(?P<text>.*?)(<!-- end -->)", re.DOTALL)
NOT_MEASURED = "*Not measured yet.*\n"
LONG = {"capacity", "caps", "depth", "forward", "graph", "overload", "pairs", "soak", "streams"}
"""Benchmarks whose cases share no figures, or that have one case only: a line for each figure. The others have a column for each case."""
LINES = {"brokers", "pages", "recovery", "rolling", "search"}
"""Those that have many cases: a line for each."""
TITLES = {
    "jobs_per_s": "jobs/s",
    "broker_per_s": "broker, jobs/s",
    "flush_per_s": "flush alone, jobs/s",
    "ratio": "broker : flush",
    "bare_per_s": "bare, jobs/s",
    "plain_per_s": "plain, jobs/s",
    "product_per_s": "product, jobs/s",
    "keyed_per_s": "keyed, jobs/s",
    "product_of_bare": "product : bare",
    "product_of_plain": "product : plain",
    "keyed_of_product": "keyed : product",
    "wal_bytes_per_job": "WAL per job, bytes",
    "bare_wal_bytes_per_job": "WAL per job of bare, bytes",
    "full_of_empty": "full : empty",
    "free_per_s": "without a limit, jobs/s",
    "capped_per_s": "under a limit that is never reached, jobs/s",
    "capped_of_free": "never reached : without",
    "reached_per_s": "under a limit that is reached all the time, jobs/s",
    "reached_of_free": "reached : without",
    "free_us": "CPU per job: broker, without, us",
    "capped_us": "CPU per job: broker, never reached, us",
    "reached_us": "CPU per job: broker, reached, us",
    "broker_us_ratio": "CPU per job: broker",
    "postgres_us_ratio": "CPU per job: Postgres",
    "broker_per_s_ratio": "jobs/s",
    "worst_ms": "worst, ms",
    "last_of_first": "last : first",
    "postgres_first_us": "CPU per job: Postgres, first 10 s, us",
    "postgres_last_us": "CPU per job: Postgres, last 10 s, us",
    "started_per_s": "started, jobs/s",
    "dead_facts": "dead tuples, fact tables",
    "dead_others": "dead tuples, all other tables",
    "dead_facts_counted": "dead tuples, fact tables (pgstattuple)",
    "first_p50_ms": "due to start, p50 of the first 10 s, ms",
    "last_p50_ms": "due to start, p50 of the last 10 s, ms",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "max_ms": "max, ms",
    "rss_mb": "RSS, MB",
    "rss_without_mb": "RSS without streams, MB",
    "kb_per_stream": "RSS per stream, kB",
    "core_percent": "broker, share of one core, %",
    "empty_core_percent": "empty gRPC service, share of one core, %",
    "empty_kb_per_stream": "empty gRPC service, RSS per stream, kB",
    "core_percent_of_empty": "broker : empty service, CPU",
    "kb_per_stream_of_empty": "broker : empty service, RSS per stream",
    "connect_s": "until all are connected, s",
    "empty_connect_s": "empty gRPC service, until all are connected, s",
    "connect_s_of_empty": "broker : empty service, until all are connected",
    "empty_back_s": "empty gRPC service, dropped at once: until all are back, s",
    "back_s_of_empty": "broker : empty service, until all are back",
    "back_s": "dropped at once: until all are back, s",
    "back_rss_mb": "RSS then, MB",
    "capacity_per_s": "capacity: completed, jobs/s",
    "goodput_per_s": "under the overload: completed, jobs/s",
    "goodput_of_capacity": "goodput : capacity",
    "beside_per_s": "capacity beside the control: completed, jobs/s",
    "goodput_of_beside": "goodput : capacity beside the control",
    "flood_core_percent": "source of the flood, share of one core, %",
    "offered_per_s": "offered, jobs/s",
    "stored_per_s": "stored, jobs/s",
    "refused_per_s": "refused, jobs/s",
    "unsent_per_s": "not written in time, jobs/s",
    "amplification": "messages sent : messages due",
    "admin_p50_ms": "administrator's calls, p50, ms",
    "admin_p99_ms": "administrator's calls, p99, ms",
    "admin_max_ms": "administrator's calls, max, ms",
    "admin_counts_p99_ms": "counts, p99, ms",
    "admin_types_p99_ms": "types, p99, ms",
    "admin_agents_p99_ms": "agents, p99, ms",
    "admin_list_p99_ms": "a page of waiting jobs, p99, ms",
    "admin_job_p99_ms": "one job, p99, ms",
    "admin_change_p99_ms": "a change of a job, p99, ms",
    "rss_before_mb": "broker's RSS before it, MB",
    "most_rss_mb": "broker's most RSS, MB",
    "empty_mb": "RSS, empty database, MB",
    "waiting_mb": "RSS, 5 M waiting, MB",
    "waiting_peak_mb": "most RSS, 5 M waiting, MB",
    "ready_s": "process start to ready line, s",
    "first_grant_s": "process start to first grant, s",
    "first_start_s": "first job started, s",
    "last_start_s": "last job started, s",
    "of_one": "jobs/s : those of one broker",
    "owner_us": "CPU per job: the owner, us",
    "other_us": "CPU per job: the broker that stands by, us",
    "pause_ms": "longest pause of handler starts, ms",
    "welcome_s": "first welcome, s",
    "grant_s": "first grant, s",
    "handler_s": "next handler start, s",
    "first_page_s": "first page, s",
    "found": "found on it",
    "searched_percent": "searched for it, %",
    "end_s": "the end, s",
    "all_found": "found in all",
    "build_s": "build of the indexes, s",
    "us_per_line": "build, us a line",
    "lines_mb": "lines, MB",
    "index_mb": "indexes, MB",
    "page_of_raw": "page : raw",
}
UNITS = {"us": "CPU per job: {}, us", "core_percent": "{}, share of one core, %", "ms": "{}, ms", "s": "{}, s", "mb": "{}, MB"}


def title(figure: str) -> str:
    """What a figure is called in a table."""
    if figure in TITLES:
        return TITLES[figure]
    for unit, text in UNITS.items():
        if figure.endswith(f"_{unit}"):
            return text.format(_words(figure.removesuffix(f"_{unit}")))
    return _words(figure)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("postgres", "Postgres")


def number(value: float) -> str:
    """Three digits, with separators."""
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


def table(result: Mapping[str, Any]) -> str:
    """The table of one benchmark, and when it was measured."""
    median: dict[str, dict[str, float]] = result["median"]
    if result["benchmark"] in LONG:
        head = ["case", "figure", "median", "spread"] if len(median) > 1 else ["figure", "median", "spread"]
        rows = [
            [*([case] if len(median) > 1 else []), title(figure), number(value), _spread(result, case, figure)]
            for case, figures in median.items() for figure, value in figures.items()
        ]  # fmt: skip
    elif result["benchmark"] in LINES:
        figures = list(dict.fromkeys(figure for found in median.values() for figure in found))
        head = ["", "rounds", *map(title, figures)]
        rows = [[case, str(sum(case in round_ for round_ in result["rounds"])), *(_cell(result, case, figure) for figure in figures)] for case in median]
    else:
        figures = list(dict.fromkeys(figure for found in median.values() for figure in found))
        head = ["", *median]
        rows = [[title(figure), *(_cell(result, case, figure) for case in median)] for figure in figures]
    facts = result["machine"]
    return f"{_markdown(head, rows)}\n{_verdicts(result)}Measured on {facts['date']}; one commit took {facts['commit_ms']:g} ms.\n"


def _verdicts(result: Mapping[str, Any]) -> str:
    """What a soak judged; empty for the others."""
    verdicts = result.get("verdicts", [])
    if not verdicts:
        return ""
    bad = [f"- part {verdict['part']}, {verdict['figure']}: {verdict['text']}\n" for verdict in verdicts if not verdict["good"]]
    done = max(verdict["part"] for verdict in verdicts)
    left = "" if done == result["parts"] else f", of which {done} were run"
    minutes = f"{result['minutes']:g} minutes in {result['parts']} part{'s' if result['parts'] > 1 else ''}{left} at {result['rate']:,} jobs/s"
    return f"{minutes}: {len(verdicts) - len(bad)} of {len(verdicts)} verdicts are good{', but for these:' if bad else '.'}\n\n{''.join(bad)}{chr(10) if bad else ''}"


def _cell(result: Mapping[str, Any], case: str, figure: str) -> str:
    if figure not in result["median"][case]:
        return ""
    p99 = result.get("p99", {}).get(case, {}).get(figure)
    return f"{number(result['median'][case][figure])} ({_spread(result, case, figure)}{'' if p99 is None else f'; p99 {number(p99)}'})"


def _spread(result: Mapping[str, Any], case: str, figure: str) -> str:
    low, high = result["spread"][case][figure]
    return number(low) if low == high else f"{number(low)}-{number(high)}"


def peers_table(result: Mapping[str, Any]) -> str:
    """Throughput beside other queues; ratios are taken within each round, of the first row to each other one."""
    ours = result["rows"][0]["jobs_per_s"]
    rows = []
    for row in result["rows"]:
        ratios = [mine / theirs for mine, theirs in zip(ours, row["jobs_per_s"], strict=True)]
        times = [f"{number(statistics.median(ratios))} times", f"{number(min(ratios))}-{number(max(ratios))}"] if row is not result["rows"][0] else ["", ""]
        rates = row["jobs_per_s"]
        rows.append([f"{row['name']} {row.get('version', '')}".strip(), f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})", *times])
    return _markdown(["", "jobs/s", f"{result['rows'][0]['name']} is faster by", "spread"], rows)


def machine_line(results: Mapping[str, Any]) -> str:
    """Where it was measured; the facts of the first result, which are those of all."""
    facts = next((result["machine"] for name, result in results.items() if name != "peers"), None)
    if facts is None:
        return NOT_MEASURED
    return (
        f"Machine: {facts['cpu']}, {facts['cores']} cores, {facts['memory_gb']} GB, {facts['system']}; Python {facts['python']}, grpcio {facts['grpcio']}, "
        f"Postgres {facts['postgres']} with fsync {facts['fsync']}, asyncpg {facts['asyncpg']}.\n"
    )


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


STYLE = """
  text { font: 14px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 } .small { font-size: 12px; fill: #59636e }
  .ours { fill: #1a7f64 } .other { fill: #8c959f } .spread { stroke: #1f2328; stroke-width: 1.5 } .name, .value { dominant-baseline: middle }
  .name { text-anchor: end }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .ours { fill: #3fb68b } .other { fill: #656c76 } .spread { stroke: #f0f6fc }
  }
"""
WIDTH, LEFT, RIGHT, TOP, LINE, BAR = 760, 170, 90, 64, 34, 20


def chart(result: Mapping[str, Any]) -> str:
    """The same as bars; a line on each shows the spread of the rounds. Light or dark with the reader's page."""
    rows = result["rows"]
    most = max(max(row["jobs_per_s"]) for row in rows)
    height = TOP + LINE * len(rows) + 12

    def x(rate: float) -> float:
        return float(round(LEFT + rate / most * (WIDTH - LEFT - RIGHT), 1))

    bars = []
    for index, row in enumerate(rows):
        rates, y = row["jobs_per_s"], TOP + LINE * index + LINE // 2
        rate = statistics.median(rates)
        name = html.escape(row["name"])
        bars += [
            f'<text class="name" x="{LEFT - 10}" y="{y}">{name}</text>',
            f'<rect class="{"other" if index else "ours"}" x="{LEFT}" y="{y - BAR // 2}" width="{max(1.0, round(x(rate) - LEFT, 1))}" height="{BAR}" rx="2"/>',
            f'<line class="spread" x1="{x(min(rates))}" x2="{x(max(rates))}" y1="{y}" y2="{y}"/>',
            f'<text class="value" x="{x(max(rates)) + 8}" y="{y}">{rate:,.0f}</text>',
        ]
    title_ = "Jobs per second: durable queues on one Postgres"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">\n<title>{title_}</title>\n'
        f'<style>{STYLE}</style>\n<text class="title" x="10" y="26">{title_}</text>\n'
        f'<text class="small" x="10" y="46">Medians of {len(rows[0]["jobs_per_s"])} rounds, lines: lowest to highest. How it was measured: benchmarks/README.md</text>\n'
        + "\n".join(bars)
        + "\n</svg>\n"
    )


def render(readme: str, results: Mapping[str, Any]) -> str:
    """The README with its tables made anew."""

    def block(found: "re.Match[str]") -> str:
        name = found["name"]
        if name == "machine":
            text = machine_line(results)
        elif name not in results:
            text = NOT_MEASURED
        else:
            text = peers_table(results[name]) if name == "peers" else table(results[name])
        return f"{found[1]}\n{text}\n{found[4]}"

    return BLOCK.sub(block, readme)


def read(folder: Path) -> dict[str, Any]:
    """All results, by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def main() -> None:
    """Writes the README and the chart."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    results = read(HERE / "results")
    readme = HERE / "README.md"
    readme.write_text(render(readme.read_text(), results))
    if "peers" in results:
        (HERE / "chart.svg").write_text(chart(results["peers"]))


if __name__ == "__main__":
    main()
