"""The judge of chaos runs finds what must not be: each fault, made by hand, is named."""

import pytest
from headrace_broker.model.job import Kind

from tests.support.verdict import Start, Submitted, Verdict, judge_job, judge_submits

G, C, L, F = Kind.GRANTED, Kind.COMPLETED, Kind.LOST, Kind.FAILED
History = list[tuple[int, Kind, bytes | None]]


def row(job_id: int, name: str, *, key: bool = True) -> dict[str, object]:
    """A stored job."""
    return {"job_id": job_id, "idempotency_key": name if key else None, "payload": f'"{name}"'.encode()}


@pytest.mark.parametrize(
    ("rows", "faults"),
    [
        ([row(1, "a")], set()),
        ([row(1, "a"), row(2, "in doubt")], set()),
        ([], {"lost"}),
        ([row(2, "a")], {"lost"}),
        ([row(1, "a"), row(2, "a")], {"doubled"}),
        ([row(1, "a"), row(2, "plain", key=False), row(3, "plain", key=False)], {"doubled"}),
        ([row(1, "a"), row(2, "refused", key=False)], {"stored_against_word"}),
    ],
)
def test_what_submitters_were_told_is_held_against_what_is_stored(rows: list[dict[str, object]], faults: set[str]) -> None:
    verdict = Verdict()
    judge_submits(verdict, Submitted(keyed={"a", "in doubt"}, plain={"plain", "refused"}, got={"a": 1}, none={"refused": "away"}), rows)
    assert verdict.faults().keys() == faults


@pytest.mark.parametrize(
    ("history", "starts", "faults"),
    [
        ([(1, G, None), (2, C, b"1")], [Start(1, 7, 10.0, "end", 11.0)], set()),
        ([(1, G, None), (2, C, b"1")], [Start(1, 7, 10.0)], {"stale"}),
        ([(1, G, None), (2, L, None), (3, G, None), (4, C, b"1")], [Start(1, 7, 10.0, "end", 11.0), Start(3, 8, 12.0, "end", 13.0)], {"stale"}),
        ([(1, G, None), (2, L, None), (3, C, b"1")], [Start(1, 7, 10.0, "end", 11.0)], set()),
        ([(1, G, None), (2, C, b"1")], [Start(1, 7, 10.0, "end", 11.0), Start(1, 8, 12.0)], {"without_lease", "unexplained"}),
        ([(1, G, None), (2, C, b"1")], [Start(1, 7, 10.0, "end", 11.0), Start(3, 8, 12.0)], {"without_lease", "unexplained"}),
        ([(1, G, None), (2, Kind.REJECTED, None), (3, G, None), (4, C, b"3")], [Start(1, 7, 10.0), Start(3, 8, 12.0, "end", 13.0)], {"unexplained"}),
    ],
)
def test_what_handlers_did_is_held_against_the_events(history: History, starts: list[Start], faults: set[str]) -> None:
    verdict = Verdict()
    judge_job(verdict, 1, history, starts, {})
    assert verdict.faults().keys() == faults


@pytest.mark.parametrize(
    ("ending", "end", "killed_at", "cause"),
    [
        (L, "", {7: 11.0}, "after its agent's kill"),
        (L, "stopped", {}, "after its lease's end"),
        (L, "", {7: 9.0}, "after its lease's end"),
        (F, "fail", {}, "after a failure"),
        (Kind.REJECTED, "stopped", {}, "after its agent had stopped it"),
    ],
)
def test_a_further_start_is_explained(ending: Kind, end: str, killed_at: dict[int, float], cause: str) -> None:
    verdict = Verdict()
    history: History = [(1, G, None), (2, ending, None), (3, G, None), (4, C, b"3")]
    judge_job(verdict, 1, history, [Start(1, 7, 10.0, end, 10.5 if end else 0.0), Start(3, 8, 12.0, "end", 13.0)], killed_at)
    assert not verdict.faults() and verdict.again == {cause: 1}
