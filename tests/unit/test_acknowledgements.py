"""Acknowledgements of outcomes wait a moment for something to ride with: an agent merely remembers its outcomes for as long. No broker, no clock."""

import asyncio
from datetime import UTC, datetime

import pytest
from headrace_broker.model.job import Disposition
from headrace_broker.shards import session
from headrace_broker.shards.session import AgentFacts, Session

FACTS = AgentFacts(1, "hand", "i" * 16, "default", "here", 1, "", "", {}, datetime.now(UTC))
ACKED = {Disposition.ACCEPTED: ([7, 8], [1, 3])}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose acknowledgements would wait for an hour."""
    monkeypatch.setattr(session, "ACK_S", 3600.0)
    return _session()


def _session() -> Session:
    made = Session(FACTS, [], 4, 0.0)
    made.attach(object(), 0.0)
    made.wake.clear()
    return made


def _acknowledge(it: Session) -> None:
    it.ack([7], [1], Disposition.ACCEPTED)
    it.ack([8], [3], Disposition.ACCEPTED)


async def test_by_themselves_they_are_nothing_to_be_sent(patient: Session) -> None:
    _acknowledge(patient)
    assert not patient.out and not patient.wake.is_set()
    patient.send_acks()  # the timer's end


async def test_they_ride_with_whatever_is_sent_next(patient: Session) -> None:
    _acknowledge(patient)
    patient.out.logs_no = 5
    out = patient.take_out(1.0)
    assert out and (out.acks, out.logs_no) == (ACKED, 5)
    patient.send_acks()  # when their time is over there is nothing left of them
    assert not patient.out and not patient.wake.is_set()


async def test_when_their_time_is_over_they_are_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACK_S", 0.0)
    it = _session()
    _acknowledge(it)
    await asyncio.wait_for(it.wake.wait(), 10)
    out = it.take_out(1.0)
    assert out and out.acks == ACKED


async def test_an_agent_that_drains_is_told_at_once(patient: Session) -> None:
    patient.ack([7], [1], Disposition.ACCEPTED)
    patient.draining = True
    patient.ack([8], [3], Disposition.ACCEPTED)
    assert patient.wake.is_set()
    out = patient.take_out(1.0)
    assert out and out.acks == ACKED
