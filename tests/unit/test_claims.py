"""Claims by themselves: references, stores, what is hostile, missing, damaged or too large, and an agent in this process. No server."""

import asyncio
import hashlib
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from headrace_agent import Agent, AgentError, JobContext
from headrace_agent.testing import run_job
from headrace_broker.model import redaction, schema
from headrace_broker.model.errors import PayloadRefused
from headrace_broker.shards.schemas import Schema
from headrace_broker.web.documents import document
from headrace_client import AesGcm, ClaimCheck, ClaimError, ClaimUnavailable, DirectoryStore, FsspecStore, InvalidRequest, Unavailable, Zstd, open_store
from headrace_client.codecs import Codecs
from headrace_client.encode import encode_fields, kept
from headrace_proto.claim import CLAIM, CLAIM_TYPE, MAX_REFERENCE, Reference, describe, is_reference, unpack
from headrace_proto.v1 import types_pb2
from hypothesis import given
from hypothesis import strategies as st

LARGE = b'"' + b"a large payload " * 200 + b'"'
KEY = hashlib.sha256(LARGE).hexdigest()
HOSTILE_KEYS = [
    "", "..", "../../etc/passwd", "/etc/passwd", KEY[:-1], KEY + "0", KEY.upper(), KEY + "\n", KEY[:62] + "/.", "../" + KEY[3:], KEY[:63] + "\x00", "\u0660" * 64,
    "~" + KEY[1:],
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty one."""
    (tmp_path / "claims").mkdir()
    return DirectoryStore(tmp_path / "claims")


@pytest.fixture
def memory() -> Iterator[FsspecStore]:
    """The same in memory, by fsspec."""
    import fsspec

    yield FsspecStore("memory://claims/here")
    fsspec.filesystem("memory").store.clear()


def check(store: Any, above_bytes: int = 1000, **limits: Any) -> ClaimCheck:
    return ClaimCheck(store, above_bytes, **limits)


def files(store: DirectoryStore) -> list[Path]:
    """All there are, unfinished ones too."""
    return sorted(path for path in store.directory.rglob("*") if path.is_file())


def age(path: Path, seconds: float) -> None:
    """Makes a file that much older."""
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))


# References ---------------------------------------------------------------------------------------------------------------------------------


@given(st.integers(1, (1 << 63) - 1), st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=100))
def test_a_reference_is_what_was_written_and_nothing_else(size_bytes: int, content_type: str) -> None:
    packed = Reference(KEY, size_bytes, content_type).pack()
    assert unpack(packed) == Reference(KEY, size_bytes, content_type) and is_reference(packed) and len(packed) <= MAX_REFERENCE
    assert packed == Reference(KEY, size_bytes, content_type).pack()


def test_what_only_looks_like_a_reference_is_refused() -> None:
    good = Reference(KEY, 5).pack()
    fields = json.loads(good)
    odd: list[Any] = [0, -1, 5.0, True, "5", None, 1 << 63, []]
    forged: list[bytes] = [json.dumps({**fields, "sha256": key}, separators=(",", ":")).encode() for key in HOSTILE_KEYS]
    forged += [json.dumps({**fields, "size_bytes": size}, separators=(",", ":")).encode() for size in odd]
    forged += [json.dumps({**fields, "content_type": kind}, separators=(",", ":")).encode() for kind in (1, None, "x" * 101, "a\nb", "\u00e9", ["json"])]
    forged += [good[:-1], good + b" ", good.replace(b",", b", "), good.replace(b"}", b',"url":"s3://elsewhere"}'), CLAIM, CLAIM + b"1}", CLAIM + b"true}", b"[]", b"5"]
    forged += [CLAIM + b"1" * 5000, b'{"sha256":1}', good.replace(b":1,", b":1.0,"), b"\xff"]
    for data in forged:
        with pytest.raises(ValueError):
            unpack(data)
        assert describe(data) == "a broken reference to what is kept outside"
    with pytest.raises(ValueError, match=r"version 2.*a newer headrace"):
        unpack(good.replace(b":1,", b":2,"))


def test_a_reference_is_not_of_any_length() -> None:
    long = Reference(KEY, 5).pack().replace(b'"content_type":""', b'"content_type":"' + b"x" * 2000 + b'"')
    with pytest.raises(ValueError, match=f"at most {MAX_REFERENCE} bytes"):
        unpack(long)


def test_people_are_told_how_much_and_which() -> None:
    assert describe(Reference(KEY, 3_200_000).pack()) == f"kept outside: 3.2 MB, sha256 {KEY}"
    assert [str(Reference(KEY, size)).partition(",")[0] for size in (5, 999, 1500, 999_949, 5_000_000_000, 1 << 62)] == [
        "5 B", "999 B", "1.5 kB", "999.9 kB", "5.0 GB", "4611686018.4 GB",
    ]  # fmt: skip


# Stores -------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["store", "memory"])
async def test_what_is_put_is_got_until_it_is_deleted(kind: str, request: pytest.FixtureRequest) -> None:
    kept: DirectoryStore | FsspecStore = request.getfixturevalue(kind)
    await kept.put(KEY, LARGE)
    await kept.put(KEY, LARGE)
    assert await kept.get(KEY, len(LARGE) + 1) == LARGE and await kept.get(KEY, 5) == LARGE[:5]
    await kept.delete(KEY)
    await kept.delete(KEY)
    with pytest.raises(FileNotFoundError):
        await kept.get(KEY, 5)


@pytest.mark.parametrize("kind", ["store", "memory"])
@pytest.mark.parametrize("key", HOSTILE_KEYS)
async def test_no_key_leaves_the_store(kind: str, key: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    kept: DirectoryStore | FsspecStore = request.getfixturevalue(kind)
    for call in (kept.put(key, b"x"), kept.get(key, 10), kept.delete(key)):
        with pytest.raises(ValueError, match="64 hex digits"):
            await call
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_repeated_put_writes_nothing_and_begins_its_age_anew(store: DirectoryStore) -> None:
    await store.put(KEY, LARGE)
    [path] = files(store)
    age(path, 1000)
    before = path.stat()
    await store.put(KEY, LARGE)
    after = path.stat()
    assert after.st_ino == before.st_ino and after.st_mtime > before.st_mtime + 900
    path.write_bytes(LARGE[:-1])  # a damaged one is put right
    await store.put(KEY, LARGE)
    assert path.read_bytes() == LARGE


async def test_many_may_put_the_same_at_once(store: DirectoryStore) -> None:
    others = [DirectoryStore(store.directory) for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for number in range(40):
            tasks.create_task(others[number % 4].put(KEY, LARGE))
    assert [path.read_bytes() for path in files(store)] == [LARGE]


def test_a_writer_that_dies_leaves_nothing_under_the_key(store: DirectoryStore) -> None:
    program = """
        import asyncio, os, sys
        from headrace_client import DirectoryStore
        os.replace = os.rename = None
        from pathlib import Path
        Path.replace = lambda *_: os._exit(9)
        asyncio.run(DirectoryStore(sys.argv[1]).put(sys.argv[2], b"half"))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(store.directory), KEY], check=False)
    assert done.returncode == 9
    [left] = files(store)
    assert left.name.endswith(".tmp")
    with pytest.raises(FileNotFoundError):
        asyncio.run(store.get(KEY, 10))
    age(left, 100)
    asyncio.run(store.put(KEY, LARGE))
    assert asyncio.run(store.prune(50)).files == 1 and [path.name for path in files(store)] == [KEY]


async def test_a_write_that_fails_leaves_nothing(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ClaimUnavailable, match="No space left"):
        await check(store).keep(LARGE)
    assert files(store) == []


async def test_names_are_durable_before_a_put_returns_whoever_made_them(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a job could be stored for ever whose payload a power cut takes back."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    await store.put(KEY, LARGE)
    assert [Path(name).name.partition(".")[0] for name in synced] == [KEY, KEY[:2], "claims"]
    synced.clear()
    await store.put(KEY, LARGE)  # which finds the file, perhaps before its writer has come so far
    assert [Path(name).name for name in synced] == [KEY[:2], "claims"]


async def test_a_file_system_that_cannot_sync_a_directory_will_do(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def some(number: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{number}"):
            raise OSError(22, "Invalid argument")
        fsync(number)

    monkeypatch.setattr(os, "fsync", some)
    await store.put(KEY, LARGE)
    assert await store.get(KEY, len(LARGE)) == LARGE


def test_a_store_works_in_a_child_of_a_process_that_has_used_it(store: DirectoryStore) -> None:
    program = """
        import asyncio, os, sys
        from headrace_client import ClaimCheck, DirectoryStore

        async def use(data):
            claims = ClaimCheck(store, 10, timeout_s=20)
            assert (await claims.fetch(await claims.keep(data)))[0] == data

        store = DirectoryStore(sys.argv[1])
        asyncio.run(use(b"the parent's"))
        child = os.fork()
        if child == 0:
            asyncio.run(use(b"the child's"))
            os._exit(7)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(store.directory)], check=False).returncode == 7


async def test_prune_deletes_what_is_old_and_does_not_touch_the_rest(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[str] = []
    rename = Path.rename

    def told(self: Path, target: Path) -> Path:
        moved.append(self.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", told)
    for number in range(6):
        await store.put(f"{number:064x}", b"x" * 10)
    for path in files(store)[:4]:
        age(path, 1000)
    await store.put(f"{0:064x}", b"x" * 10)  # is wanted again
    (store.directory / "README").write_text("not one of ours")
    age(store.directory / "README", 1000)
    done = await store.prune(500)
    assert (done.files, done.size_bytes) == (3, 30) and moved == [f"{number:064x}" for number in (1, 2, 3)]
    assert {path.name for path in files(store)} == {*(f"{number:064x}" for number in (0, 4, 5)), "README"}


async def test_prune_brings_back_what_a_killed_one_had_moved_aside_of_what_was_put_meanwhile(store: DirectoryStore) -> None:
    await store.put(KEY, LARGE)
    [path] = files(store)
    path.rename(path.with_name(f"{KEY}.pruned"))  # and then it was killed, before it looked again
    assert (await store.prune(500)).files == 0
    assert await store.get(KEY, len(LARGE) + 1) == LARGE


async def test_prune_leaves_what_is_put_while_it_looks(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await store.put(KEY, LARGE)
    [path] = files(store)
    age(path, 1000)
    rename = Path.rename

    def put_first(self: Path, target: Path) -> Path:
        os.utime(path)  # a put that finds the file, when `prune` has found it old
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", put_first)
    assert (await store.prune(500)).files == 0
    assert await store.get(KEY, len(LARGE)) == LARGE and files(store) == [path]


async def test_the_event_loop_does_not_wait_for_a_store(tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(DirectoryStore):
        def _put(self, key: str, data: bytes) -> None:
            assert gate.wait(10), "the event loop was held up"
            super()._put(key, data)

        def _get(self, key: str, most: int) -> bytes:
            assert gate.wait(10), "the event loop was held up"
            return super()._get(key, most)

    claims = check(Slow(tmp_path))
    for call in (claims.keep(LARGE), claims.fetch(Reference(KEY, len(LARGE)).pack())):
        gate.clear()
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0.05)
        gate.set()
        await task


async def test_stores_go_to_other_processes(store: DirectoryStore, memory: FsspecStore) -> None:
    reference = await check(store).keep(LARGE)
    await memory.put(KEY, LARGE)
    copy = pickle.loads(pickle.dumps(check(store, 7)))
    assert copy.above_bytes == 7 and (await copy.fetch(reference))[0] == LARGE
    assert await pickle.loads(pickle.dumps(memory)).get(KEY, 9999) == LARGE  # the memory of this process


async def test_a_store_is_used_by_many_loops(store: DirectoryStore) -> None:
    def turn(number: int) -> bytes:
        data = LARGE + str(number % 5).encode()
        return asyncio.run(_there_and_back(check(store), data))[-1:]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(turn, range(40))) == [str(number % 5).encode() for number in range(40)]


async def _there_and_back(claims: ClaimCheck, data: bytes) -> bytes:
    return (await claims.fetch(await claims.keep(data)))[0]


def test_a_place_that_cannot_be_is_refused_with_a_word(tmp_path: Path) -> None:
    for place, said in (
        (str(tmp_path / "none"), "no directory: make it, or mount the share"), (f"file://{tmp_path}", "DirectoryStore writes files that are whole"),
        ("nothing://here", "cannot be kept in 'nothing://here'"), ("s3://bucket/claims", "s3fs"),
    ):  # fmt: skip
        with pytest.raises(ClaimError, match=said):
            open_store(place)
    assert isinstance(open_store("memory://x"), FsspecStore) and isinstance(open_store(str(tmp_path)), DirectoryStore)
    assert "secret" not in repr(FsspecStore("memory://x", {"token": "secret"}))


def test_without_the_extra_a_directory_works_and_a_url_says_what_is_missing(tmp_path: Path) -> None:
    program = """
        import sys
        sys.modules["fsspec"] = None
        from headrace_client import ClaimCheck, ClaimError, DirectoryStore, FsspecStore, SyncClient
        try:
            FsspecStore("s3://bucket/claims")
        except ClaimError as error:
            print(error)
        SyncClient("127.0.0.1:1", claims=ClaimCheck(DirectoryStore(sys.argv[1]))).close()
        print("fine")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["FsspecStore needs the package fsspec: pip install 'headrace[claims]'", "fine"]


# A check ------------------------------------------------------------------------------------------------------------------------------------


async def test_large_bytes_are_kept_and_small_ones_stay(store: DirectoryStore) -> None:
    claims = check(store)
    assert await claims.keep(b"small") == b"small" and await claims.keep(b"x" * 1000) == b"x" * 1000 and files(store) == []
    reference = await claims.keep(LARGE, "text/plain")
    assert unpack(reference) == Reference(KEY, len(LARGE), "text/plain") and await claims.fetch(reference) == (LARGE, "text/plain")
    assert await claims.keep(LARGE, "text/plain") == reference and [path.name for path in files(store)] == [KEY]


async def test_bytes_that_look_like_a_reference_come_back_as_they_are(store: DirectoryStore) -> None:
    claims = check(store)
    for data in (Reference(KEY, 5).pack(), CLAIM + b"broken"):
        reference = await claims.keep(data)
        assert reference != data and await claims.fetch(reference) == (data, "")


async def test_what_is_not_there_may_come(store: DirectoryStore) -> None:
    reference = Reference(KEY, len(LARGE)).pack()
    with pytest.raises(ClaimUnavailable, match=rf"sha256 {KEY}\), and is not in the store") as raised:
        await check(store).fetch(reference)
    assert isinstance(raised.value, Unavailable) and isinstance(raised.value, ClaimError)
    await store.put(KEY, LARGE)
    assert (await check(store).fetch(reference))[0] == LARGE


async def test_what_was_changed_is_not_taken(store: DirectoryStore) -> None:
    reference = await check(store).keep(LARGE)
    [path] = files(store)
    for wrong in (LARGE[:-1] + b"x", LARGE[:-1], LARGE + b"x", b""):
        path.write_bytes(wrong)
        with pytest.raises(ClaimError, match="what is there is not that") as raised:
            await check(store).fetch(reference)
        assert not isinstance(raised.value, ClaimUnavailable)


class Recording:
    """A store that tells what was asked of it, and gives as much as was asked."""

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Any] = []
        self.error = error

    async def put(self, key: str, data: bytes) -> None:
        self.asked.append(("put", key))
        if self.error is not None:
            raise self.error

    async def get(self, key: str, most: int) -> bytes:
        self.asked.append(("get", key, most))
        if self.error is not None:
            raise self.error
        return b"x" * most

    async def delete(self, key: str) -> None:
        self.asked.append(("delete", key))


async def test_what_is_too_large_is_not_even_asked_for() -> None:
    store = Recording()
    with pytest.raises(ClaimError, match=r"has 5001 bytes; at most 5000 are taken here: ClaimCheck\(max_bytes"):
        await check(store, max_bytes=5000).fetch(Reference(KEY, 5001).pack())
    with pytest.raises(InvalidRequest, match=r"the result has 5001 bytes \(5.0 kB\); at most 5000 are kept") as raised:
        await check(store, max_bytes=5000).keep(b"x" * 5001, part="result")
    assert store.asked == [] and raised.value.field == "result"
    with pytest.raises(ClaimError, match="is not that"):  # it is longer than it says: no more is read than shows that
        await check(store, max_bytes=5000).fetch(Reference(KEY, 5000).pack())
    assert store.asked == [("get", KEY, 5001)]


@pytest.mark.parametrize("error", [OSError("the share is gone"), TimeoutError(), RuntimeError("of a driver")])
async def test_whatever_a_store_raises_means_not_now(error: Exception) -> None:
    claims = check(Recording(error))
    with pytest.raises(ClaimUnavailable, match="cannot be kept outside now: "):
        await claims.keep(LARGE)
    with pytest.raises(ClaimUnavailable, match="and the store is away: "):
        await claims.fetch(Reference(KEY, 5).pack())


async def test_a_store_that_does_not_answer_is_not_waited_for_for_ever() -> None:
    class Hanging(Recording):
        async def put(self, key: str, data: bytes) -> None:
            await asyncio.Event().wait()

        async def get(self, key: str, most: int) -> bytes:
            await asyncio.Event().wait()
            return b""

    claims = check(Hanging(), timeout_s=0.01)
    with pytest.raises(ClaimUnavailable, match=r"no answer within 0\.01 s"):
        await claims.keep(LARGE)
    with pytest.raises(ClaimUnavailable, match=r"no answer within 0\.01 s"):
        await claims.fetch(Reference(KEY, 5).pack())


async def test_limits_that_make_no_sense_are_refused(store: DirectoryStore) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"above_bytes": -1}, "above_bytes"),
        ({"above_bytes": 10, "max_bytes": 9}, "above_bytes"),
        ({"timeout_s": 0.0}, "timeout_s"),
    ]
    for limits, field in wrong:
        with pytest.raises(InvalidRequest) as raised:
            ClaimCheck(store, **limits)
        assert raised.value.field == field
    with pytest.raises(InvalidRequest, match="content_type: "):
        await check(store).keep(LARGE, "x" * 101)


async def test_a_job_travels_with_its_reference_and_has_the_same_body_each_time(store: DirectoryStore) -> None:
    async def spec(key: str = "", codecs: Codecs | None = None, data: Any = "x" * 5000, content_type: str = "") -> types_pb2.JobSpec:
        made = await kept(encode_fields("t", data, None, content_type, "", key, 0, 0.0, None, {}, "", codecs=codecs), check(store))
        assert isinstance(made, types_pb2.JobSpec)
        return made

    plain = await spec()
    assert plain.content_type == CLAIM_TYPE and len(plain.payload) < 200 and (await check(store).fetch(plain.payload))[1] == ""
    keyed = [await spec("k", content_type="text/plain") for _ in range(2)]
    assert keyed[0] == keyed[1] and (await check(store).fetch(keyed[0].payload))[1] == "text/plain"
    sealed = [await spec("k", Codecs([AesGcm({"k": b"k" * 32})], "d")) for _ in range(2)]
    assert sealed[0].payload != sealed[1].payload and list(sealed[0].payload_digests) == list(sealed[1].payload_digests) != []
    small = encode_fields("t", 1, None, "", "", "", 0, 0.0, None, {}, "")
    assert await kept(small, check(store)) is small and await kept(small, None) is small


async def test_what_lies_in_the_store_is_encrypted_when_the_payload_is(store: DirectoryStore) -> None:
    codecs = Codecs([Zstd(), AesGcm({"k": b"k" * 32})], "default")
    secret = os.urandom(3000).hex()
    spec = await kept(encode_fields("t", secret, None, "", "", "", 0, 0.0, None, {}, "", codecs=codecs), check(store))
    assert isinstance(spec, types_pb2.JobSpec)
    assert secret[:100].encode() not in b"".join(path.read_bytes() for path in files(store))
    assert codecs.decode((await check(store).fetch(spec.payload))[0], "t", "payload") == f'"{secret}"'.encode()


# An agent's side, in this process -----------------------------------------------------------------------------------------------------------


def _agent(claims: ClaimCheck | None, **options: Any) -> Agent:
    agent = Agent("test", claims=claims, **options)

    @agent.job("t", retry_on=(KeyError,))
    async def handler(ctx: JobContext, data: Any) -> Any:
        return {"got": data, "type": ctx.content_type, "bytes": len(ctx.payload)}

    @agent.job("large")
    async def large(size: int) -> str:
        return "x" * size

    return agent


@pytest.mark.parametrize("codecs", [[], [Zstd(), AesGcm({"k": b"k" * 32}, required=True)]], ids=["plain", "encrypted"])
async def test_a_handler_sees_nothing_of_the_claims(store: DirectoryStore, codecs: list[Any]) -> None:
    text = os.urandom(5000).hex()
    done = await run_job(_agent(check(store), codecs=codecs), "t", text)
    assert (done.outcome, done.value) == ("completed", {"got": text, "type": "application/json", "bytes": 10_002})
    assert len(files(store)) == 2  # the payload and the result
    reference = await check(store).keep(b'"' + b"y" * 2000 + b'"', "application/vnd.y+json")
    typed = await run_job(_agent(check(store)), "t", payload=reference, raw=True)
    assert typed.value == {"got": "y" * 2000, "type": "application/vnd.y+json", "bytes": 2002}


async def test_an_agent_without_claims_says_what_is_missing_or_leaves_it_to_others() -> None:
    reference = Reference(KEY, 3202).pack()
    failed = await run_job(_agent(None), "t", payload=reference, raw=True)
    assert (failed.outcome, failed.error_code, failed.permanent) == ("failed", "undecodable_payload", True)
    assert f"the payload is kept outside: 3.2 kB, sha256 {KEY}; no claims are set up here" in failed.error_message
    waits = await run_job(_agent(None, on_undecodable="wait"), "t", payload=reference, raw=True)
    assert (waits.outcome, waits.retry_after_s) == ("released", 30.0)


async def test_a_payload_that_is_not_there_fails_the_attempt_and_not_the_job(store: DirectoryStore) -> None:
    failed = await run_job(_agent(check(store)), "t", payload=Reference(KEY, 3202).pack(), raw=True)
    assert (failed.outcome, failed.error_code, failed.permanent) == ("failed", "payload_unavailable", False)
    assert "is not in the store" in failed.error_message


async def test_a_payload_that_nobody_may_read_fails_the_job(store: DirectoryStore) -> None:
    reference = await check(store).keep(LARGE)
    files(store)[0].write_bytes(b"y" * len(LARGE))
    fields = json.loads(reference)
    for data, said in (
        (reference, "what is there is not that"), (Reference(KEY, 1 << 40).pack(), "at most 67108864 are taken here"),
        (json.dumps({**fields, "sha256": "../../../etc/passwd"}, separators=(",", ":")).encode(), "cannot be read"),
    ):  # fmt: skip
        for options in ({}, {"on_undecodable": "wait"}):
            failed = await run_job(_agent(check(store), **options), "t", payload=data, raw=True)
            assert (failed.outcome, failed.error_code, failed.permanent) == ("failed", "undecodable_payload", True) and said in failed.error_message


async def test_a_result_that_cannot_be_kept_fails_the_attempt_or_the_job(store: DirectoryStore) -> None:
    done = await run_job(_agent(check(store)), "large", 2_000_000)  # more than the broker takes
    assert done.outcome == "completed" and done.value == "x" * 2_000_000
    away = await run_job(_agent(check(Recording(OSError("gone")))), "large", 5000)
    assert (away.outcome, away.error_code, away.permanent) == ("failed", "result_not_kept", False) and "OSError: gone" in away.error_message
    large = await run_job(_agent(check(store, max_bytes=4000)), "large", 5000)
    assert (large.outcome, large.error_code, large.permanent) == ("failed", "result_too_large", True)
    between = await run_job(_agent(check(store, 5_000_000)), "large", 2_000_000)  # too small to be kept, and too large for the broker
    assert (between.outcome, between.error_code) == ("failed", "result_too_large")


def test_agents_with_claims_of_their_own_do_not_become_one(store: DirectoryStore) -> None:
    claims = check(store)
    one, none, same, other = _agent(claims), Agent("none"), Agent("same", claims=claims), Agent("other", claims=check(store, 5))
    none.include(one)
    same.include(one)
    assert none.claims is claims
    with pytest.raises(AgentError, match="claims of their own"):
        other.include(one)


# The broker, which follows no reference -----------------------------------------------------------------------------------------------------


def test_a_page_says_where_the_bytes_are() -> None:
    assert redaction.CLAIM == CLAIM
    shown = document(Reference(KEY, 3 << 20, "text/plain").pack(), CLAIM_TYPE, ())
    assert (shown.kind, shown.says) == ("outside", f"Kept outside the broker by its client: 3.0 MiB of text/plain, sha256 {KEY}.")
    masked = document(Reference(KEY, 3 << 20).pack(), CLAIM_TYPE, ("password",))
    assert masked.says == "Kept outside the broker by its client: 3.0 MiB of application/json."
    for broken in (CLAIM, CLAIM + b"1}", CLAIM + b"[" * 100_000, CLAIM + b'1,"sha256":"x","size_bytes":' + b"9" * 400 + b"}", CLAIM + b'1,"size_bytes":"x"}'):
        assert "cannot be read" in document(broken, CLAIM_TYPE, ()).says


def test_readers_without_secrets_are_not_told_which_bytes() -> None:
    assert redaction.redacted(Reference(KEY, 5).pack(), ("password",)) == b""


def test_a_schema_takes_what_it_cannot_look_at_only_when_it_says_so() -> None:
    with pytest.raises(PayloadRefused, match="this payload is kept outside the broker: submit it as it is, or set 'x-headrace-encoded'"):
        Schema("{}").check(Reference(KEY, 5).pack(), CLAIM_TYPE)
    Schema(json.dumps({schema.ENCODED: "allow", "type": "string"})).check(Reference(KEY, 5).pack(), CLAIM_TYPE)
