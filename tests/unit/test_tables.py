"""The error table, walked both ways; configuration."""

import inspect

import grpc
import pytest
from headrace_broker.config import ConfigError, masked, parse
from headrace_broker.model import errors as broker_errors
from headrace_broker.rpc.errors import REASONS, reason_of, status_code, trailing_metadata
from headrace_client import errors as client_errors
from headrace_client.cli.output import exit_code, exit_name
from headrace_proto.wire import NOTHING_STORED, STATUS_OF, Reason

ABSTRACT = {broker_errors.BrokerError, broker_errors.NotFound, broker_errors.Unavailable}


def test_every_broker_error_has_a_reason_and_every_reason_an_error_on_both_sides() -> None:
    classes = {c for _, c in inspect.getmembers(broker_errors, inspect.isclass) if issubclass(c, broker_errors.BrokerError)} - ABSTRACT
    assert set(REASONS) == classes
    assert {*REASONS.values(), Reason.INTERNAL} == set(Reason)
    assert set(STATUS_OF) == set(Reason) == set(client_errors.CLASSES)
    assert len(set(REASONS.values())) == len(REASONS)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_client_makes_of_each_reason_its_own_error(reason: Reason) -> None:
    error = client_errors.make(str(reason), STATUS_OF[reason], "text")
    assert type(error) is client_errors.CLASSES[reason]
    assert client_errors.left_nothing(error) == (reason in NOTHING_STORED)
    assert status_code(reason) in grpc.StatusCode
    assert exit_name(error) == STATUS_OF[reason]
    assert exit_code(error) == {"NOT_FOUND": 3, "UNAVAILABLE": 1 if reason is Reason.RESULT_UNKNOWN else 5, "INTERNAL": 1}.get(STATUS_OF[reason], 4)


def test_a_refusal_carries_reason_field_and_delay_in_plain_metadata() -> None:
    metadata = dict(trailing_metadata(broker_errors.InvalidField("jobs[0].type", "must be set")))
    assert (metadata["headrace-reason"], metadata["headrace-field"]) == ("INVALID_FIELD", "jobs[0].type")
    busy = broker_errors.Busy("full", retry_after_s=0.25)
    assert dict(trailing_metadata(busy))["headrace-retry-after-ms"] == "250"
    assert reason_of(busy) is Reason.BUSY


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(["--lease-s", "1", "--heartbeat-s", "0.5", "--payload-limit-bytes", "many"])
    assert len(str(refused.value).splitlines()) == 3
    with pytest.raises(ConfigError, match="at least 3 heartbeats"):
        parse(["--lease-s", "9", "--heartbeat-s", "5"])


@pytest.mark.parametrize("address", ["0.0.0.0:7233", "192.0.2.1:7233", "broker.example:7233", "[::]:7233"])
def test_a_listener_beyond_loopback_needs_tls_or_a_word(address: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        parse(["--listen", address])
    assert parse(["--listen", address, "--insecure"]).options.listen == [address]


def test_loopback_and_sockets_need_nothing() -> None:
    listen = ["127.0.0.1:0", "localhost:1", "[::1]:2", "unix:/run/headrace.sock"]
    assert parse([word for address in listen for word in ("--listen", address)]).options.listen == listen


def test_a_flag_wins_over_the_environment_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_LEASE_S", "60")
    monkeypatch.setenv("HEADRACE_LISTEN", "127.0.0.1:1,127.0.0.1:2")
    config = parse(["--heartbeat-s", "4"])
    assert (config.options.lease_s, config.options.heartbeat_s, config.options.listen) == (60, 4, ["127.0.0.1:1", "127.0.0.1:2"])
    assert (config.origins["lease_s"], config.origins["heartbeat_s"], config.origins["cache_bytes"]) == ("environment", "flag", "default")


def test_passwords_are_masked() -> None:
    assert masked("postgresql://ada:secret@host:5432/db") == "postgresql://ada:***@host:5432/db"
