"""The graph of jobs as trees, for people."""

from collections import Counter

from headrace_proto.terminal import harmless
from headrace_proto.wire import UNKNOWN
from rich.text import Text
from rich.tree import Tree

from headrace_client.cli.tables import STATE_STYLE
from headrace_client.graph import JobGraph
from headrace_client.models import Job

HOW = {"depends": "then", "submitted": "child", "member": "callback", UNKNOWN: "tied"}
"""What a line says of the job above it."""
AFTER = {"depends": "after", "submitted": "child of", "member": "callback of", UNKNOWN: "tied to"}
"""The same of a job whose line stands below, since that is all that is known of it."""


def trees(found: JobGraph) -> list[Tree]:
    """One tree for each job that has nothing above it. A job that is below several is shown with all that is below it the first time, and named at the others. Jobs that
    the caller may not see are counted below those that they are tied to."""
    jobs = {job.job_id: job for job in found.jobs}
    below: dict[int, list[tuple[int, str]]] = {}
    unseen: dict[int, Counter[str]] = {}
    for edge in found.edges:
        if not edge.child_id:
            unseen.setdefault(edge.parent_id, Counter())[HOW[edge.kind]] += 1
        elif not edge.parent_id:
            unseen.setdefault(edge.child_id, Counter())[AFTER[edge.kind]] += 1
        elif edge.parent_id in jobs and edge.child_id in jobs:
            below.setdefault(edge.parent_id, []).append((edge.child_id, HOW[edge.kind]))
    inner = {child for children in below.values() for child, _ in children}
    shown: set[int] = set()

    def grow(job_id: int, how: str, tree: Tree | None) -> Tree:
        label = _label(jobs[job_id], how, again=job_id in shown and bool(below.get(job_id) or unseen.get(job_id)))
        branch = Tree(label) if tree is None else tree.add(label)
        if job_id not in shown:
            shown.add(job_id)
            for word, count in unseen.get(job_id, Counter()).items():
                branch.add(Text(f"{word} {'a job' if count == 1 else f'{count:,} jobs'} that you may not see", style="dim"))
            for child, word in below.get(job_id, []):
                grow(child, word, branch)
        return branch

    return [grow(job_id, "", None) for job_id in sorted(jobs) if job_id not in inner]


def _label(job: Job, how: str, *, again: bool) -> Text:
    text = Text(f"{how} " if how else "", style="dim")
    text.append(harmless(f"{job.job_id} {job.type} "), style="default")
    text.append(str(job.state), style=STATE_STYLE.get(str(job.state), ""))
    if job.wait_reason:
        text.append(f" ({job.wait_reason})", style="dim")
    if job.error is not None:
        text.append(harmless(f" {job.error.code}: {job.error.message}".splitlines()[0][:80]), style="dim")
    if again:
        text.append(" ... as above", style="dim")
    return text
