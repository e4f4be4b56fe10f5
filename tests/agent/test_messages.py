"""What an agent puts into its messages: as much as one may hold, a checkpoint before the outcome it belongs to, and columns that fit together. Without any broker."""

import asyncio
from types import SimpleNamespace

from headrace_agent.desk import Desk, DeskReports
from headrace_agent.job import Job, Terms
from headrace_agent.metrics import AgentMetrics
from headrace_agent.outbox import MESSAGE_BYTES, Outbox, Room
from headrace_agent.session import Session
from headrace_client.credentials import Metadata
from headrace_client.tls import Tls
from headrace_proto.v1 import agents_pb2

MIB = 1024 * 1024


def _session(desk: Desk) -> Session:
    session = Session(desk, "nowhere", name="a", incarnation_id="i" * 16, build="", labels={}, metadata=Metadata((), None), tls=Tls())
    session.up = True
    desk.sessions.append(session)
    return session


def _messages(session: Session) -> list[agents_pb2.ConnectRequest]:
    """All that is due now."""
    found = []
    while (message := session._next_message()) is not None:
        found.append(message)
    return found


def _desk() -> Desk:
    return Desk({}, 4, asyncio.get_running_loop(), AgentMetrics())


async def test_a_checkpoint_goes_before_the_outcome_of_its_attempt_or_with_it() -> None:
    desk = _desk()
    session = _session(desk)
    for job_id in (1, 2, 3, 4):
        desk.progress_report(job_id, 1).checkpoint = bytes(2 * MIB + MIB // 2)
        desk.outbox.put((job_id, 1), b"1" if job_id % 2 else agents_pb2.Outcome(job_id=job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_FAILED))
    messages = _messages(session)
    assert len(messages) > 1, "they do not fit into one"
    checkpoints: set[int] = set()
    ended: list[int] = []
    for message in messages:
        assert message.ByteSize() < MESSAGE_BYTES + MIB
        checkpoints |= {report.lease.job_id for report in message.progress}
        now = [*message.completions.job_ids, *(outcome.job_id for outcome in message.outcomes)]
        assert checkpoints >= set(now)
        ended += now
    assert sorted(ended) == [1, 2, 3, 4] and checkpoints == {1, 2, 3, 4}


async def test_the_checkpoint_of_an_attempt_that_ended_is_kept_and_its_progress_is_not() -> None:
    desk = _desk()
    _session(desk)
    desk.progress_report(1, 1).checkpoint = b"half"
    desk.progress_report(2, 1).progress.percent = 50
    for job_id in (1, 2):
        desk._reports.append((_job(job_id), b""))
    desk._take_reports()
    assert set(desk.progress) == {(1, 1)}


async def test_an_attempt_that_reports_all_the_time_takes_no_more_memory_and_its_newest_word_counts() -> None:
    desk = _desk()
    desk.work = SimpleNamespace(payload_limit_bytes=MIB)  # type: ignore[assignment]  # as much of it as is asked for
    reports = DeskReports(desk)
    for number in range(1000):
        reports.progress(1, 1, number / 10, str(number))
        reports.checkpoint(1, 1, b"%d" % number)
    reports.checkpoint(2, 1, b"other")
    assert len(desk._reports) == 2
    reports.ended(_job(2), b"")
    desk._take_reports()
    reports.progress(1, 1, 100, "more")
    desk._take_reports()
    one = desk.progress[1, 1]
    assert (one.progress.percent, one.progress.text, one.checkpoint) == (100, "more", b"999")
    assert desk.progress[2, 1].checkpoint == b"other"


async def test_handlers_that_report_faster_than_it_can_be_taken_leave_others_their_turn() -> None:
    """Heartbeats among them: leases would be lost meanwhile."""
    desk, loop, taken = _desk(), asyncio.get_running_loop(), 0
    turn = loop.create_future()

    def again() -> None:
        nonlocal taken
        taken += 1
        if taken < 1_000_000 and not turn.done():
            desk._report(again)

    desk._report(again)
    loop.call_later(0.01, turn.set_result, None)
    await turn
    assert taken < 1_000_000


def _job(job_id: int) -> Job:
    return Job((job_id, 1), b"", Terms("t", 0, 1.0, 1, 1, 1))


def test_columns_of_completions_fit_together_and_go_in_portions() -> None:
    outbox = Outbox()
    results = {(job_id, 1 + job_id % 3): b"" if job_id % 2 else str(job_id).encode() for job_id in range(1, 1500)}
    for key, result in results.items():
        outbox.put(key, result)
        outbox.put((key[0], 9), agents_pb2.Outcome(job_id=key[0], lease_epoch=9, kind=agents_pb2.OUTCOME_KIND_FAILED))
    sent: dict[tuple[int, int], bytes] = {}
    others = 0
    while outbox.take(message := agents_pb2.ConnectRequest(), Room()):
        done = message.completions
        sent.update(zip(zip(done.job_ids, done.lease_epochs, strict=True), done.results, strict=True))
        others += len(message.outcomes)
        assert len(done.job_ids) + len(message.outcomes) <= 1000
    assert sent == results and others == len(results)
    assert len(outbox) == 2 * len(results), "until they are acknowledged"


def test_results_are_left_out_when_no_attempt_has_one_and_are_as_many_as_attempts_when_one_has() -> None:
    outbox, message = Outbox(), agents_pb2.ConnectRequest()
    outbox.put((1, 1), b"")
    outbox.put((2, 1), b"")
    assert outbox.take(message, Room())
    assert (list(message.completions.job_ids), len(message.completions.results)) == ([1, 2], 0)
    outbox.put((3, 1), b"3")
    outbox.send_again()
    assert outbox.take(message := agents_pb2.ConnectRequest(), Room())
    assert list(message.completions.results) == [b"", b"", b"3"]


def test_what_is_too_large_for_any_message_goes_by_itself() -> None:
    outbox = Outbox()
    for job_id, size in ((1, 10), (2, MESSAGE_BYTES + 1), (3, 10)):
        outbox.put((job_id, 1), bytes(size))
    sent = []
    for _ in range(3):
        outbox.take(message := agents_pb2.ConnectRequest(), Room())
        sent.append(list(message.completions.job_ids))
    assert sent == [[1], [2], [3]]
