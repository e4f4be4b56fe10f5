"""`headrace jobs graph`: what a job is tied to, or the jobs of a business case, as a tree; and `headrace jobs batch`."""

from typing import Annotated

from cyclopts import Parameter

from headrace_client.cli.common import Common, read_ids, run
from headrace_client.cli.output import Output, errors
from headrace_client.client import Client


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
        from headrace_client.cli.trees import trees

        for root in trees(found):
            output.tree(root)
        if not found.complete or found.next_page_token:
            errors.print(f"only the first {len(found.jobs)} jobs are shown; there are more: --limit, or the graph around one of them")

    return run(common or Common(), command)


def batch(job: Annotated[str, Parameter(help="id of the batch, which is that of its callback")], *, common: Common | None = None) -> int:
    """Show how a batch stands."""

    async def command(client: Client, output: Output) -> None:
        output.one(await client.batch_status(read_ids([job])[0]), hide=["callback"])

    return run(common or Common(), command)
