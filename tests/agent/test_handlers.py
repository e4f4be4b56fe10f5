"""Handlers without any broker: signatures, codec, hooks, middleware, outcomes."""

import dataclasses
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from headrace_agent import Agent, AgentError, Backoff, Fail, JobContext, Retry, Snooze, outbox
from headrace_agent.job import Job, Terms
from headrace_agent.leases import margin_s
from headrace_agent.outbox import LogBuffer, Outbox, Room
from headrace_agent.testing import run_job
from headrace_proto.v1 import agents_pb2, jobs_pb2


@dataclasses.dataclass
class Mail:
    to: str
    copies: int = 1


class Point(msgspec.Struct):
    x: int


def _agent() -> Agent:
    agent = Agent("test")

    @agent.job("mail")
    async def mail(ctx: JobContext, mail: Mail) -> dict[str, Any]:
        ctx.log.warning(f"to {mail.to}")
        logging.getLogger("library").info("sent")
        ctx.progress(50, "half")
        ctx.save_checkpoint(b"here")
        await ctx.submit("next", {"n": 1}, key="k")
        return {"to": mail.to, "copies": mail.copies}

    @agent.job("point")
    def point(data: Point) -> Point:
        return Point(data.x + 1)

    @agent.job("raw")
    async def raw(data: bytes) -> bytes:
        return data[::-1]

    @agent.job("nothing")
    async def nothing(ctx: JobContext) -> None:
        return

    @agent.job("raise", fail_on=(KeyError,), retry_on=(OSError, KeyError))
    async def raise_(ctx: JobContext, name: str) -> None:
        raise {"retry": Retry("later", after_s=3), "fail": Fail("no", code="x"), "snooze": Snooze(7), "key": KeyError("k"), "os": OSError("o"), "value": ValueError("v")}[
            name
        ]

    @agent.job("unencodable")
    async def unencodable(ctx: JobContext) -> Any:
        return object()

    @agent.job("state")
    async def state(ctx: JobContext) -> Any:
        return ctx.state.value

    return agent


async def test_a_typed_argument_goes_in_and_a_result_comes_out() -> None:
    run = await run_job(_agent(), "mail", {"to": "ada"})
    assert (run.outcome, run.value) == ("completed", {"to": "ada", "copies": 1})
    assert run.logs == [("warning", "to ada"), ("info", "sent")]
    assert (run.progress, run.checkpoint) == ([(50.0, "half")], b"here")
    assert [(spec.type, spec.data, spec.key) for spec in run.submitted] == [("next", {"n": 1}, "1.1.k")], "within the job and its run"


async def test_structs_bytes_and_nothing_work_too() -> None:
    assert (await run_job(_agent(), "point", {"x": 1})).value == {"x": 2}
    assert (await run_job(_agent(), "raw", payload=b"\x00\xffab")).result == b"ba\xff\x00"
    assert (await run_job(_agent(), "nothing")).result == b""


async def test_a_job_that_its_handler_completed_by_a_transaction_is_completed_whatever_the_handler_does_then() -> None:
    agent = Agent("own")

    @agent.job("own")
    async def own(ctx: JobContext) -> None:
        with ctx.completing():
            pass  # here its transaction calls headrace.complete_job
        raise ValueError("too late")

    assert (await run_job(agent, "own")).outcome == "completed"


@pytest.mark.parametrize("payload", [b'{"to": 5}', b"{}", b"\xff\x00", b"[" * 10_000, b""])
async def test_a_payload_that_does_not_fit_is_a_permanent_failure(payload: bytes) -> None:
    run = await run_job(_agent(), "mail", payload=payload)
    assert (run.outcome, run.error_code, run.permanent) == ("failed", "invalid_payload", True)


@pytest.mark.parametrize(
    ("name", "outcome", "permanent", "after_s"),
    [
        ("retry", "failed", False, 3.0),
        ("fail", "failed", True, None),
        ("snooze", "released", False, 7.0),
        ("key", "failed", True, None),
        ("os", "failed", False, None),
        ("value", "failed", True, None),
    ],
)
async def test_what_a_handler_raises_decides_what_follows(name: str, outcome: str, permanent: bool, after_s: float | None) -> None:
    run = await run_job(_agent(), "raise", name)
    assert (run.outcome, run.permanent, run.retry_after_s) == (outcome, permanent, after_s)


async def test_a_result_that_cannot_be_sent_is_a_permanent_failure() -> None:
    run = await run_job(_agent(), "unencodable")
    assert (run.error_code, run.permanent) == ("invalid_result", True)


async def test_hooks_fill_the_state_and_middleware_goes_around() -> None:
    agent, order = _agent(), []

    @agent.on_start
    async def start(state: SimpleNamespace) -> None:
        order.append("start")
        state.value = 41

    @agent.on_stop
    def stop(state: SimpleNamespace) -> None:
        order.append("stop")

    @agent.middleware
    async def outer(ctx: JobContext, call_next: Any) -> Any:
        order.append("outer")
        return await call_next(ctx) + 1

    @agent.middleware
    async def inner(ctx: JobContext, call_next: Any) -> Any:
        order.append("inner")
        return await call_next(ctx)

    assert (await run_job(agent, "state")).value == 42
    assert order == ["start", "outer", "inner", "stop"]


def test_what_does_not_fit_is_refused_when_it_is_registered() -> None:
    agent = Agent("test")
    with pytest.raises(AgentError, match="executor 'async' needs"):
        agent.job("a", executor="async")(lambda ctx: None)
    with pytest.raises(AgentError, match="top of a module"):
        agent.job("b", executor="process")(lambda ctx: None)
    with pytest.raises(AgentError, match="a handler takes"):
        agent.job("c")(lambda ctx, one, two: None)
    with pytest.raises(AgentError, match="timeout_s"):
        agent.job("d", timeout_s=float("nan"))(lambda ctx: None)
    for forever in (float("inf"), 1e300):
        with pytest.raises(AgentError, match="timeout_s"):
            agent.job("d", timeout_s=forever)(lambda ctx: None)
        with pytest.raises(AgentError, match="numbers"):
            agent.job("d", retry=Backoff(forever))(lambda ctx: None)
    agent.job("e", retry=Backoff(1))(lambda ctx: None)
    with pytest.raises(AgentError, match="two handlers"):
        agent.job("e")(lambda ctx: None)


async def test_a_handler_that_takes_too_long_is_stopped() -> None:
    agent = Agent("test")

    @agent.job("slow")
    async def slow(ctx: JobContext) -> None:
        await ctx.wait_aborted()

    assert (await run_job(agent, "slow", timeout_s=0.05)).outcome == "timed_out"


def test_outcomes_stay_until_they_are_acknowledged() -> None:
    outbox = Outbox()

    def sent(mine: Callable[[tuple[int, int]], bool] | None = None) -> list[int]:
        message = agents_pb2.ConnectRequest()
        assert outbox.take(message, Room(), mine) == bool(message.outcomes or message.completions.job_ids)
        return [*message.completions.job_ids, *(outcome.job_id for outcome in message.outcomes)]

    outbox.put((1, 1), b"")
    outbox.put((2, 1), agents_pb2.Outcome(job_id=2, lease_epoch=1))
    assert sent(lambda key: key[0] == 1) == [1]
    assert (sent(), sent()) == ([2], [])
    outbox.send_again()
    outbox.acknowledge((1, 1))
    assert sent() == [2]
    outbox.send_again()
    assert [outcome.job_id for outcome in outbox.take_one_by_one()] == [2]


def test_outcomes_of_any_size_go_in_messages_that_can_be_sent() -> None:
    outbox = Outbox()
    for job_id in range(20):
        outbox.put((job_id + 1, 1), bytes(1024 * 1024))
    messages = []
    while outbox.take(message := agents_pb2.ConnectRequest(), Room()):
        messages.append(message)
    assert max(message.ByteSize() for message in messages) < 8 * 1024 * 1024
    assert [job_id for message in messages for job_id in message.completions.job_ids] == list(range(1, 21))


def test_log_lines_are_sent_again_when_their_stream_breaks() -> None:
    buffer, one, other = LogBuffer(), object(), object()
    for n in range(3):
        buffer.put(1, 1, jobs_pb2.LogLine(line_no=n + 1))
    assert len(buffer.take(one, 5, Room(), limit=2)[0].lines) == 2
    buffer.stored(other, 9)
    assert len(buffer) == 3
    buffer.send_again(one)
    assert [line.line_no for line in buffer.take(other, 1, Room())[0].lines] == [1, 2, 3]
    buffer.stored(other, 1)
    assert len(buffer) == 0


def test_log_lines_wait_while_those_before_them_are_not_stored() -> None:
    buffer, one, other = LogBuffer(), object(), object()
    for n in range(outbox.UNSTORED + 2):
        buffer.put(1, 1, jobs_pb2.LogLine(line_no=n + 1))
    sent = [buffer.take(one, number, Room(), limit=1) for number in range(outbox.UNSTORED + 1)]
    assert [bool(batches) for batches in sent] == [True] * outbox.UNSTORED + [False]
    assert buffer.take(other, 1, Room(), limit=1), "each stream has its own"
    buffer.stored(one, 0)
    assert buffer.take(one, 9, Room(), limit=1) and not buffer.take(one, 10, Room(), limit=1)


def test_log_lines_for_a_broker_that_is_away_have_a_bound_in_characters_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_CHARACTERS", 100)
    buffer, one = LogBuffer(), object()
    for n in range(10):
        buffer.put(1, 1, jobs_pb2.LogLine(line_no=n + 1, text="x" * 30))
    assert [line.line_no for line in buffer.take(one, 1, Room())[0].lines] == [8, 9, 10]
    buffer.send_all_again()
    buffer.put(1, 1, jobs_pb2.LogLine(line_no=11, text="x" * 30))
    assert [line.line_no for line in buffer.take(one, 2, Room())[0].lines] == [9, 10, 11], "those that come back count"


def test_a_lease_is_given_up_before_it_ends() -> None:
    assert all(0 < margin_s(lease_s) < lease_s / 3 for lease_s in (3, 30, 3600))


async def test_payloads_and_results_of_any_depth_crash_nothing() -> None:
    agent = Agent("deep")

    @agent.job("raw")
    async def raw(payload: bytes) -> bytes:
        return payload

    @agent.job("plain")
    def plain(data: Any) -> Any:
        return data

    @agent.job("nested")
    async def nested(ctx: JobContext) -> Any:
        value: list[Any] = []
        for _ in range(100_000):
            value = [value]
        return value

    deep = b"[" * 10_000 + b"]" * 10_000
    for payload in (deep, b"\x00\xff", b""):
        assert (await run_job(agent, "raw", payload=payload)).result == payload
    assert [(done.outcome, done.error_code, done.permanent) for done in [await run_job(agent, "plain", payload=deep)]] == [("failed", "invalid_payload", True)]
    assert [(done.outcome, done.error_code, done.permanent) for done in [await run_job(agent, "nested")]] == [("failed", "invalid_result", True)]


async def test_lines_beyond_the_limit_are_counted_and_told_at_the_end() -> None:
    class Sink:
        def __init__(self) -> None:
            self.lines: list[tuple[int, str]] = []

        def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
            self.lines.append((line.line_no, line.text))

    for limits, numbers in (((10, 1 << 20), [*range(1, 12), 25]), ((1000, 50), [*range(1, 7), 25]), ((25, 1 << 20), [*range(1, 26)]), ((24, 1 << 20), [*range(1, 26)])):
        sink = Sink()
        ctx = JobContext(Job((1, 1), b"", Terms("t", 0, 1.0, 5, *limits)), sink, None)  # type: ignore[arg-type]  # all that logging asks of a sink
        for _ in range(25):
            ctx.log.info("éééé " + "x")
        ctx.end_log()
        assert [number for number, _ in sink.lines] == numbers
