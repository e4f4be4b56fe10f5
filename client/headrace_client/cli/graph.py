"""`headrace jobs graph`: what a job is tied to, or the jobs of a business case, as a tree; and `headrace jobs batch`."""

from typing import Annotated

from cyclopts import Parameter
from rich.text import Text
from rich.tree import Tree

from headrace_client.cli.common import Common, read_ids, run
from headrace_client.cli.output import STATE_STYLE, Output, errors
from headrace_client.client import Client
from headrace_client.graph import JobGraph
from headrace_client.models import Job

HOW = {"depends": "then", "submitted": "child", "member": "callback"}
"""What a line says of the job above it."""


def graph(
    job: Annotated[str | None, Parameter(help="job id")] = None,
    *,
    instance: Annotated[str, Parameter(help="the jobs of this business case instead")] = "",
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="at most so many jobs; up to 1,000")] = 200,
    common: Common | None = None,
) -> int:
    """Show what a job is tied to: jobs that wait for others below those, children below their parents."""
    if (job is None) == (not instance):
        errors.print("headrace: give a job id, or --instance ID")
        return 2
    job_id = read_ids([job])[0] if job is not None else 0

    async def command(client: Client, output: Output) -> None:
        found = await client.graph(job_id, instance_id=instance, page_size=limit)
        if output.form != "table":
            output.one(found)
            return
        for root in _trees(found):
            output.tree(root)
        if not found.complete or found.next_page_token:
            errors.print(f"only the first {len(found.jobs)} jobs are shown; there are more: --limit, or the graph around one of them")

    return run(common or Common(), command)


def batch(job: Annotated[str, Parameter(help="id of the batch, which is that of its callback")], *, common: Common | None = None) -> int:
    """Show how a batch stands."""

    async def command(client: Client, output: Output) -> None:
        output.one(await client.batch_status(read_ids([job])[0]), hide=["callback"])

    return run(common or Common(), command)


def _trees(found: JobGraph) -> list[Tree]:
    """One tree for each job that has nothing above it. A job that is below several is shown with all that is below it the first time, and named at the others."""
    jobs = {job.job_id: job for job in found.jobs}
    below: dict[int, list[tuple[int, str]]] = {}
    for edge in found.edges:
        if edge.parent_id in jobs and edge.child_id in jobs:
            below.setdefault(edge.parent_id, []).append((edge.child_id, HOW[edge.kind]))
    inner = {child for children in below.values() for child, _ in children}
    shown: set[int] = set()

    def grow(job_id: int, how: str, tree: Tree | None) -> Tree:
        label = _label(jobs[job_id], how, again=job_id in shown and bool(below.get(job_id)))
        branch = Tree(label) if tree is None else tree.add(label)
        if job_id not in shown:
            shown.add(job_id)
            for child, word in below.get(job_id, []):
                grow(child, word, branch)
        return branch

    return [grow(job_id, "", None) for job_id in sorted(jobs) if job_id not in inner]


def _label(job: Job, how: str, *, again: bool) -> Text:
    text = Text(f"{how} " if how else "", style="dim")
    text.append(f"{job.job_id} {job.type} ", style="default")
    text.append(str(job.state), style=STATE_STYLE.get(str(job.state), ""))
    if job.wait_reason:
        text.append(f" ({job.wait_reason})", style="dim")
    if job.error is not None:
        text.append(f" {job.error.code}: {job.error.message}".splitlines()[0][:80], style="dim")
    if again:
        text.append(" ... as above", style="dim")
    return text
