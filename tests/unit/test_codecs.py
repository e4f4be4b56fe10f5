"""Codecs by themselves: round trips, keys that rotate, what is tampered with, what is missing, bombs. No server."""

import base64
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import zstandard
from headrace_agent import Agent, AgentError, Fail, JobContext
from headrace_agent.testing import run_job
from headrace_client import AesGcm, CodecError, CodecMissing, Zstd
from headrace_client.codecs import Codecs
from headrace_client.encode import encode_fields
from headrace_proto.encoding import ENCODED_ERROR, MAGIC, Layer, describe, pack, unpack
from headrace_proto.v1 import agents_pb2, types_pb2
from hypothesis import given
from hypothesis import strategies as st

OLD, NEW = os.urandom(32), os.urandom(16)
TEXT = b'{"text": "' + b"a long text " * 200 + b'"}'
CHAIN = Codecs([Zstd(min_bytes=20), AesGcm({"new": NEW, "old": OLD})], "default")


def chain(*codecs: Any, domain: str = "default") -> Codecs:
    return Codecs(codecs, domain)


@given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda end: MAGIC + end))
def test_whatever_is_encoded_is_decoded(data: bytes) -> None:
    for codecs in (CHAIN, chain(Zstd(min_bytes=0)), chain(AesGcm({"k": OLD}, required=True)), chain(Zstd())):
        assert codecs.decode(codecs.encode(data, "t", "payload"), "t", "payload") == data


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_are_read_or_refused_with_a_word(data: bytes) -> None:
    try:
        CHAIN.decode(MAGIC + data, "t", "payload")
    except CodecError:
        assert describe(MAGIC + data) is not None


def test_a_header_is_read_whole_or_not_at_all() -> None:
    packed = pack([Layer("zstd", b""), Layer("aes-gcm", b"2026-01")])
    assert unpack(packed) == ([Layer("zstd", b""), Layer("aes-gcm", b"2026-01")], len(packed))
    for end in range(len(MAGIC), len(packed)):
        with pytest.raises(ValueError):
            unpack(packed[:end])


def test_nothing_of_the_plain_text_is_left_and_each_time_it_is_another() -> None:
    first, second = (CHAIN.encode(TEXT, "t", "payload") for _ in range(2))
    assert first != second and b"long text" not in first and len(first) < 200
    assert describe(first) == "zstd aes-gcm(new)" and describe(TEXT) == "" and describe(MAGIC + b"\x07") == "broken"
    assert NEW.hex() not in repr(AesGcm({"new": NEW})) and repr(NEW) not in repr(AesGcm({"new": NEW}))


def test_keys_rotate() -> None:
    before = chain(AesGcm({"old": OLD}))
    both = chain(AesGcm({"new": NEW, "old": OLD}, encrypt_with="old"))
    turned = chain(AesGcm({"new": NEW, "old": OLD}))
    after = chain(AesGcm({"new": NEW}))
    written = {name: codecs.encode(b"1", "t", "payload") for name, codecs in (("before", before), ("both", both), ("turned", turned), ("after", after))}
    assert {name: describe(data) for name, data in written.items()} == {
        "before": "aes-gcm(old)",
        "both": "aes-gcm(old)",
        "turned": "aes-gcm(new)",
        "after": "aes-gcm(new)",
    }
    for data in written.values():
        assert both.decode(data, "t", "payload") == turned.decode(data, "t", "payload") == b"1"
    with pytest.raises(CodecMissing, match="encrypted with key 'old'; there are keys new"):
        after.decode(written["before"], "t", "payload")


def test_bytes_count_only_for_what_they_were_made_for() -> None:
    keys = AesGcm({"k": OLD})
    data = chain(keys).encode(b"1", "t", "payload")
    for codecs, type_, part in ((chain(keys), "u", "payload"), (chain(keys), "t", "result"), (chain(keys, domain="other"), "t", "payload")):
        with pytest.raises(CodecError, match="cannot be decrypted with key 'k'"):
            codecs.decode(data, type_, part)
    with pytest.raises(CodecError, match="another key of this id"):
        chain(AesGcm({"k": os.urandom(32)})).decode(data, "t", "payload")
    layers, at = unpack(data)
    for broken in (data[:-1], data[:at], data[: at + 5], *(data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(at, len(data)))):
        with pytest.raises(CodecError):
            chain(keys).decode(broken, "t", "payload")
    # what the bytes went through before they were encrypted is authenticated too
    sealed = chain(Zstd(min_bytes=0), keys).encode(b"x" * 100, "t", "payload")
    inner, start = unpack(sealed)
    with pytest.raises(CodecError):
        chain(Zstd(), keys).decode(pack([inner[1]]) + sealed[start:], "t", "payload")
    assert layers == [Layer("aes-gcm", b"k")]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(CodecMissing, match=r"went through zstd aes-gcm\(new\); zstd are here"):
        chain(Zstd()).decode(CHAIN.encode(TEXT, "t", "payload"), "t", "payload")
    with pytest.raises(CodecError, match="did not go through aes-gcm, which is required"):
        chain(AesGcm({"k": OLD}, required=True)).decode(b"1", "t", "payload")
    for wrong, said in (
        (lambda: AesGcm({}), "at least one key"),
        (lambda: AesGcm({"k": b"short"}), "16, 24 or 32 bytes"),
        (lambda: AesGcm({"k": OLD}, encrypt_with="x"), "no key 'x'"),
        (lambda: AesGcm.from_text("k=***"), "key 1 is not ID=BASE64"),
        (lambda: chain(AesGcm({"k": OLD}), Zstd()), "put Zstd before AesGcm"),
        (lambda: chain(Zstd(), Zstd()), "twice"),
    ):
        with pytest.raises(CodecError, match=said):
            wrong()
    assert repr(AesGcm.from_text(f"a={AesGcm.new_key()}, b={AesGcm.new_key()}")) == "AesGcm(keys=['a', 'b'], encrypt_with='a')"


def test_bombs_are_not_decompressed() -> None:
    small = chain(Zstd(max_bytes=100_000))
    head = pack([Layer("zstd", b"")])
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    writer = zstandard.ZstdCompressor().compressobj()  # states no size
    unsized = writer.compress(bytes(50_000_000)) + writer.flush()
    for data, said in ((bomb, "would have 50000000 bytes"), (unsized, "more than 100000 bytes"), (b"no frame", "cannot be decompressed"), (bomb[:-20], "bytes")):
        with pytest.raises(CodecError, match=said):
            small.decode(head + data, "t", "payload")
    with pytest.raises(CodecError):  # bytes after the frame
        chain(Zstd()).decode(head + zstandard.ZstdCompressor().compress(b"1" * 100) + b"more", "t", "payload")


def test_equal_payloads_have_equal_digests_under_every_key_and_say_nothing_to_others() -> None:
    old, both = chain(AesGcm({"old": OLD})), chain(AesGcm({"new": NEW, "old": OLD}))
    assert old.digests(b"1") == [both.digests(b"1")[1]] and len(both.digests(b"1")) == 2
    assert both.digests(b"1") != both.digests(b"2")
    assert chain(AesGcm({"k": OLD})).digests(b"1") != chain(AesGcm({"k": NEW})).digests(b"1")
    assert chain(Zstd()).digests(b"1") != chain(AesGcm({"k": OLD})).digests(b"1")
    spec = encode_fields("t", {"a": 1}, None, "", "", "key", 0, 0.0, None, {}, "", codecs=CHAIN)
    assert isinstance(spec, types_pb2.JobSpec) and list(spec.payload_digests) == CHAIN.digests(b'{"a":1}')
    unkeyed = encode_fields("t", {"a": 1}, None, "", "i", "", 0, 0.0, None, {}, "", codecs=CHAIN)
    assert isinstance(unkeyed, types_pb2.JobSpec) and not unkeyed.payload_digests


def test_codecs_may_be_used_by_many_threads_and_in_other_processes() -> None:
    copies = pickle.loads(pickle.dumps(CHAIN))
    assert copies.decode(CHAIN.encode(TEXT, "t", "payload"), "t", "payload") == TEXT
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda n: CHAIN.decode(CHAIN.encode(TEXT * n, "t", "result"), "t", "result") == TEXT * n, range(1, 100)))


def test_without_the_extra_the_client_works_and_says_what_is_missing() -> None:
    program = """
        import sys
        sys.modules["zstandard"] = sys.modules["cryptography"] = None
        from headrace_client import AesGcm, CodecError, SyncClient, Zstd
        for make in (Zstd, lambda: AesGcm({"k": b"x" * 32})):
            try:
                make()
            except CodecError as error:
                print(error)
        SyncClient("127.0.0.1:1").close()
        print("fine")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Zstd needs the package zstandard: pip install 'headrace[codecs]'", "AesGcm needs the package cryptography: pip install 'headrace[codecs]'", "fine",
    ]  # fmt: skip


# An agent's side, in this process ------------------------------------------------------------------------------------------------------------


def _agent(**options: Any) -> Agent:
    agent = Agent("test", **options)

    @agent.job("t")
    async def handler(ctx: JobContext, data: Any) -> Any:
        if data == "fail":
            raise Fail("the secret is 42", code="secret")
        ctx.save_checkpoint(b"half way")
        return {"got": data, "before": (ctx.checkpoint or b"").decode()}

    return agent


async def test_a_handler_sees_nothing_of_the_codecs() -> None:
    done = await run_job(_agent(codecs=[Zstd(), AesGcm({"k": OLD}, required=True)]), "t", {"a": 1}, checkpoint=b"begun")
    assert (done.outcome, done.value, done.checkpoint) == ("completed", {"got": {"a": 1}, "before": "begun"}, b"half way")


@pytest.mark.parametrize("codecs", [[], [Zstd()], [AesGcm({"other": NEW})]], ids=["none", "another", "another key"])
async def test_a_job_that_cannot_be_read_fails_for_good_or_waits(codecs: list[Any]) -> None:
    sealed = Codecs([AesGcm({"k": OLD})], "default").encode(b"1", "t", "payload")
    failed = await run_job(_agent(codecs=codecs), "t", payload=sealed, raw=True)
    assert (failed.outcome, failed.error_code, failed.permanent) == ("failed", "undecodable_payload", True)
    assert "aes-gcm(k)" in failed.error_message or "key 'k'" in failed.error_message
    waits = await run_job(_agent(codecs=codecs, on_undecodable="wait"), "t", payload=sealed, raw=True)
    assert (waits.outcome, waits.retry_after_s) == ("released", 30.0)


async def test_what_was_changed_on_the_way_fails_for_good_even_where_others_wait() -> None:
    sealed = bytearray(Codecs([AesGcm({"k": OLD})], "default").encode(b"1", "t", "payload"))
    sealed[-1] ^= 1
    failed = await run_job(_agent(codecs=[AesGcm({"k": OLD})], on_undecodable="wait"), "t", payload=bytes(sealed), raw=True)
    assert (failed.outcome, failed.error_code, failed.permanent) == ("failed", "undecodable_payload", True)


async def test_errors_are_encoded_when_that_is_wanted() -> None:
    keys = AesGcm({"k": OLD})
    plain = await run_job(_agent(codecs=[keys]), "t", "fail")
    assert plain.error_message == "the secret is 42"
    sealed = await run_job(_agent(codecs=[keys], encode_errors=True), "t", "fail")
    assert sealed.error_code == "secret" and "secret is" not in sealed.error_message + sealed.error_traceback and sealed.error_traceback.startswith(ENCODED_ERROR)
    said = Codecs([keys], "default").decode(base64.b64decode(sealed.error_traceback.removeprefix(ENCODED_ERROR)), "", "error")
    assert b"the secret is 42" in said


def test_a_traceback_that_is_too_long_keeps_its_end() -> None:
    from headrace_agent.sealing import seal_error

    outcome = agents_pb2.Outcome(error=types_pb2.JobError(code="c", message="m", traceback="\u00e9" * 60_000 + "the end"))
    seal_error(outcome, chain(AesGcm({"k": OLD})))
    assert len(outcome.error.traceback) <= 65_536
    assert b"the end" in chain(AesGcm({"k": OLD})).decode(base64.b64decode(outcome.error.traceback.removeprefix(ENCODED_ERROR)), "", "error")


def test_agents_with_codecs_of_their_own_do_not_become_one() -> None:
    one, two, none = _agent(codecs=[Zstd()]), Agent("two", codecs=[AesGcm({"k": OLD})]), Agent("none")
    none.include(one)
    assert none.codecs == one.codecs
    with pytest.raises(AgentError, match="codecs of their own"):
        one.include(two)
    with pytest.raises(AgentError, match="on_undecodable"):
        Agent("x", on_undecodable="ignore")
