"""Spans lead from a submit to each attempt of its job, and on to what the handler submits."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from headrace_agent import Agent, JobContext, Retry
from headrace_client import Client, JobSpec, NotFound, State
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.processes import BrokerProcess, run_command, until


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What was exported; the provider is that of this process for the time of the test."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def named(spans: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """By name, in the order of their ends."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans.get_finished_spans():
        found.setdefault(span.name, []).append(span)
    return found


def place(span: ReadableSpan) -> Any:
    """Its context, which is there."""
    assert span.context is not None
    return span.context


def build() -> Agent:
    """Fails once, submits a child from an event loop, which submits one from a thread."""
    agent = Agent("traced")

    @agent.job("order")
    async def order(ctx: JobContext) -> None:
        if ctx.attempt == 1:
            raise Retry(after_s=0.01)
        await ctx.submit("mail")

    @agent.job("mail")
    def mail(ctx: JobContext) -> None:
        with trace.get_tracer("test").start_as_current_span("render"):
            ctx.submit_blocking("receipt")

    @agent.job("receipt")
    async def receipt() -> None:
        return None

    return agent


async def run_to_the_end(agent: Agent, address: str, client: Client) -> None:
    """Runs the agent until the last job has completed."""
    stop = asyncio.Event()

    async def done() -> bool:
        return (await client.count(["receipt"])).totals.get(State.COMPLETED) == 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(agent.run(address, drain=stop, drain_timeout_s=5.0))
        await until(done)
        stop.set()


async def test_a_trace_leads_from_the_submitter_to_every_attempt(broker: BrokerProcess, client: Client, spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("test").start_as_current_span("checkout") as root:
        submitted = await client.submit("order")
    await run_to_the_end(build(), broker.address, client)
    found = named(spans)
    [submit] = found["submit order"]
    first, second = found["process order"]
    assert submit.kind is trace.SpanKind.PRODUCER and submit.parent is not None and submit.parent.span_id == root.get_span_context().span_id
    assert submit.attributes is not None and submit.attributes["messaging.message.id"] == str(submitted.job_id)
    for number, attempt in enumerate((first, second), 1):
        assert attempt.kind is trace.SpanKind.CONSUMER and attempt.parent is not None and attempt.parent.span_id == place(submit).span_id
        assert [link.context.span_id for link in attempt.links] == [place(submit).span_id]
        assert attempt.attributes is not None and attempt.attributes["headrace.attempt"] == number and attempt.attributes["messaging.message.id"] == str(submitted.job_id)
    assert (first.status.status_code, second.status.status_code) == (trace.StatusCode.ERROR, trace.StatusCode.UNSET)
    [child], [render], [grandchild] = found["submit mail"], found["render"], found["process receipt"]
    assert child.parent is not None and child.parent.span_id == place(second).span_id
    assert found["submit receipt"][0].parent is not None and found["submit receipt"][0].parent.span_id == place(render).span_id
    assert {place(span).trace_id for span in spans.get_finished_spans()} == {root.get_span_context().trace_id} and place(grandchild).is_valid
    job = await client.get(submitted.job_id, full=True)
    assert job.trace_context == f"00-{place(submit).trace_id:032x}-{place(submit).span_id:016x}-{place(submit).trace_flags:02x}"


async def test_many_jobs_carry_the_span_that_is_open_and_a_context_of_ones_own_is_kept(client: Client, spans: InMemorySpanExporter) -> None:
    own = f"00-{7:032x}-{7:016x}-01"
    with trace.get_tracer("test").start_as_current_span("import") as root:
        results = await client.submit_many([JobSpec("a"), JobSpec("a", trace_context=own)])
        with pytest.raises(NotFound):
            await client.submit("a", depends_on=[4_000_000_000_000])
        kept = await client.submit("a", trace_context=own)
    context = root.get_span_context()
    seen = [(await client.get(r.job_id, full=True)).trace_context for r in [*results, kept] if not isinstance(r, Exception)]
    assert seen == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}", own, own]
    [failed] = named(spans)["submit a"]
    assert failed.status.status_code is trace.StatusCode.ERROR and [event.name for event in failed.events] == ["exception"]


async def test_without_a_provider_nothing_is_traced_and_the_package_is_not_imported(client: Client) -> None:
    submitted = await client.submit("a")
    assert (await client.get(submitted.job_id, full=True)).trace_context == ""
    code = "import sys, headrace_client, headrace_agent; from headrace_client import tracing; assert not tracing.enabled() and 'opentelemetry' not in sys.modules"
    done = await asyncio.to_thread(run_command, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
