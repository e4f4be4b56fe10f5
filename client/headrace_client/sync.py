"""The clients for code without asyncio: the same methods, blocking, over one event loop in a thread of its own. Safe to use from several threads."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from headrace_client.blocking import Blocking
from headrace_client.claims import ClaimCheck
from headrace_client.client import Client
from headrace_client.codecs import Codec
from headrace_client.credentials import Token
from headrace_client.errors import HeadraceError
from headrace_client.graph import BatchStatus, Dependency, JobGraph
from headrace_client.lifecycle import PayloadVersion, Run
from headrace_client.models import Attempt, Event, Explanation, Job, JobChange, JobCounts, JobFilter, JobPage, JobResult, JobSpec, LogLine, Order, State, Submitted


class SyncClient(Blocking[Client]):
    """See `Client` for what each method does and raises. Use as a context manager, or call `close`."""

    def __init__(
        self, broker: str | Sequence[str] | None = None, *, domain: str | None = None, token: Token | None = None, tls_ca: str | Path | None = None,
        tls_client_cert: str | Path | None = None, tls_client_key: str | Path | None = None, actor: str | None = None, on_behalf_of: str | None = None,
        timeout_s: float = 30.0, codecs: Sequence[Codec] = (), claims: ClaimCheck | None = None,
    ) -> None:  # fmt: skip
        """See `Client`."""
        super().__init__(
            lambda: Client(
                broker, domain=domain, token=token, tls_ca=tls_ca, tls_client_cert=tls_client_cert, tls_client_key=tls_client_key, actor=actor,
                on_behalf_of=on_behalf_of, timeout_s=timeout_s, codecs=codecs, claims=claims,
            )
        )  # fmt: skip

    def submit(
        self, type: str, data: Any = None, *, payload: bytes | None = None, content_type: str = "", instance_id: str = "", key: str = "",  # noqa: A002
        priority: int = 0, delay_s: float = 0.0, start_at: datetime | None = None, labels: dict[str, str] | None = None, trace_context: str = "",
        unique_key: str = "", on_conflict: str = "", depends_on: Sequence[int] = (), parent_id: int = 0, batch_id: int = 0, limit_key: str = "",
        fairness_key: str = "", required_labels: dict[str, str] | None = None, delete_after_s: float | None = None, timeout_s: float | None = None,
        wait_for_room: bool = False,
    ) -> Submitted:  # fmt: skip
        """Stores one job."""
        return self._run(
            self._client.submit(
                type, data, payload=payload, content_type=content_type, instance_id=instance_id, key=key, priority=priority, delay_s=delay_s,
                start_at=start_at, labels=labels, trace_context=trace_context, unique_key=unique_key, on_conflict=on_conflict, depends_on=depends_on,
                parent_id=parent_id, batch_id=batch_id, limit_key=limit_key, fairness_key=fairness_key, required_labels=required_labels,
                delete_after_s=delete_after_s, timeout_s=timeout_s, wait_for_room=wait_for_room,
            )
        )  # fmt: skip

    def submit_many(self, specs: Sequence[JobSpec], *, wait_for_room: bool = False) -> list[Submitted | HeadraceError]:
        """Stores many jobs."""
        return self._run(self._client.submit_many(specs, wait_for_room=wait_for_room))

    def graph(self, job_id: int = 0, *, instance_id: str = "", page_size: int = 200, page_token: str = "") -> JobGraph:
        """The jobs around a job, or of a business case."""
        return self._run(self._client.graph(job_id, instance_id=instance_id, page_size=page_size, page_token=page_token))

    def dependencies(self, job_id: int, *, max_bytes: int = 0) -> "builtins_list[Dependency]":
        """The jobs that a job depends on, with their results."""
        return self._run(self._client.dependencies(job_id, max_bytes=max_bytes))

    def submit_stream(
        self, specs: Iterable[JobSpec], *, batch: int = 500, in_hand: int = 4, wait_for_room: bool = False
    ) -> Iterator[Submitted | HeadraceError]:  # fmt: skip
        """Stores jobs as they come; `specs` is read in the client's own thread."""
        return self._iterate(lambda: self._client.submit_stream(specs, batch=batch, in_hand=in_hand, wait_for_room=wait_for_room))

    def create_batch(
        self, type: str, data: Any = None, *, payload: bytes | None = None, content_type: str = "", instance_id: str = "", key: str = "",  # noqa: A002
        priority: int = 0, delay_s: float = 0.0, start_at: datetime | None = None, labels: Mapping[str, str] | None = None, trace_context: str = "",
    ) -> Submitted:  # fmt: skip
        """Stores the callback of a new batch."""
        return self._run(
            self._client.create_batch(
                type, data, payload=payload, content_type=content_type, instance_id=instance_id, key=key, priority=priority, delay_s=delay_s, start_at=start_at,
                labels=labels, trace_context=trace_context,
            )
        )  # fmt: skip

    def batch(self, type: str, data: Any = None, **options: Any) -> "SyncBatch":  # noqa: A002
        """A batch that is sealed at the end of the block."""
        return SyncBatch(self, type, data, options)

    def seal_batch(self, batch_id: int) -> None:
        """Ends the adding of members."""
        self._run(self._client.seal_batch(batch_id))

    def batch_status(self, batch_id: int) -> BatchStatus:
        """How a batch stands."""
        return self._run(self._client.batch_status(batch_id))

    def get(self, job_id: int, *, full: bool = False) -> Job:
        """One job."""
        return self._run(self._client.get(job_id, full=full))

    def find(self, job_id: int, *, full: bool = False) -> Job | None:
        """One job, or None."""
        return self._run(self._client.find(job_id, full=full))

    def list(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, where: JobFilter | None = None, order: Order | str = Order.NEWEST, page_size: int = 50, page_token: str = "",
    ) -> JobPage:  # fmt: skip
        """A page of jobs."""
        return self._run(
            self._client.list(
                types=types, states=states, instance_id=instance_id, created_from=created_from, created_to=created_to, where=where, order=order,
                page_size=page_size, page_token=page_token,
            )
        )  # fmt: skip

    def iter_jobs(
        self, *, types: Sequence[str] = (), states: Sequence[State | str] = (), instance_id: str = "", created_from: datetime | None = None,
        created_to: datetime | None = None, where: JobFilter | None = None, order: Order | str = Order.NEWEST, page_size: int = 200,
    ) -> Iterator[Job]:  # fmt: skip
        """All jobs that match."""
        return self._iterate(
            lambda: self._client.iter_jobs(
                types=types, states=states, instance_id=instance_id, created_from=created_from, created_to=created_to, where=where, order=order, page_size=page_size
            )
        )

    def count(self, types: Sequence[str] = (), *, where: JobFilter | None = None, whole: bool = True) -> JobCounts:
        """Jobs by type and state."""
        return self._run(self._client.count(types, where=where, whole=whole))

    def wait(self, job_id: int, *, timeout_s: float | None = None) -> Job:
        """The job once it has settled."""
        return self._run(self._client.wait(job_id, timeout_s=timeout_s))

    def explain(self, job_id: int) -> Explanation:
        """Why the job is where it is."""
        return self._run(self._client.explain(job_id))

    def watch(self, *, job_ids: Sequence[int] = (), types: Sequence[str] = (), instance_id: str = "") -> Iterator[JobChange]:
        """Durable changes from now on."""
        return self._iterate(lambda: self._client.watch(job_ids=job_ids, types=types, instance_id=instance_id))

    def attempts(self, job_id: int) -> "builtins_list[Attempt]":
        """All executions of a job."""
        return self._run(self._client.attempts(job_id))

    def runs(self, job_id: int, *, full: bool = False, before_run: int = 0, limit: int = 20) -> "builtins_list[Run]":
        """The runs of a job."""
        return self._run(self._client.runs(job_id, full=full, before_run=before_run, limit=limit))

    def payloads(self, job_id: int, *, before_version: int = 0, limit: int = 50) -> "builtins_list[PayloadVersion]":
        """The versions of a job's payload."""
        return self._run(self._client.payloads(job_id, before_version=before_version, limit=limit))

    def payload(self, job_id: int, version: int) -> PayloadVersion:
        """One of them."""
        return self._run(self._client.payload(job_id, version))

    def events(self, job_id: int) -> "builtins_list[Event]":
        """A job's timeline."""
        return self._run(self._client.events(job_id))

    def logs(self, job_id: int, *, lease_epoch: int = 0, min_level: str = "debug") -> Iterator[LogLine]:
        """What handlers logged."""
        return self._iterate(lambda: self._client.logs(job_id, lease_epoch=lease_epoch, min_level=min_level))

    def tail_logs(self, job_id: int, *, lease_epoch: int = 0, min_level: str = "debug") -> Iterator[LogLine]:
        """What handlers logged, and what they log."""
        return self._iterate(lambda: self._client.tail_logs(job_id, lease_epoch=lease_epoch, min_level=min_level))

    def requeue(
        self, job_ids: Sequence[int], *, reason: str = "", include_completed: bool = False, data: Any = None, payload: bytes | None = None, content_type: str = "",
        abort_first: bool = False, grace_s: float | None = None, descendants: bool = False,
    ) -> "builtins_list[JobResult]":  # fmt: skip
        """Starts a new run of settled jobs."""
        return self._run(
            self._client.requeue(
                job_ids, reason=reason, include_completed=include_completed, data=data, payload=payload, content_type=content_type, abort_first=abort_first,
                grace_s=grace_s, descendants=descendants,
            )
        )  # fmt: skip

    def update(
        self, job_ids: Sequence[int], *, reason: str = "", priority: int | None = None, data: Any = None, payload: bytes | None = None, content_type: str = "",
        hold: bool | None = None, delete_after_s: float | None = None, delete_at: datetime | None = None, delete_by_type: bool = False,
        set_labels: Mapping[str, str] | None = None, remove_labels: Sequence[str] = (),
    ) -> "builtins_list[JobResult]":  # fmt: skip
        """Changes jobs and leaves them where they are."""
        return self._run(
            self._client.update(
                job_ids, reason=reason, priority=priority, data=data, payload=payload, content_type=content_type, hold=hold, delete_after_s=delete_after_s,
                delete_at=delete_at, delete_by_type=delete_by_type, set_labels=set_labels, remove_labels=remove_labels,
            )
        )  # fmt: skip

    def hold(self, job_ids: Sequence[int], *, reason: str = "") -> "builtins_list[JobResult]":
        """Keeps jobs from deletion."""
        return self._run(self._client.hold(job_ids, reason=reason))

    def release(self, job_ids: Sequence[int], *, reason: str = "") -> "builtins_list[JobResult]":
        """Ends their hold."""
        return self._run(self._client.release(job_ids, reason=reason))

    def abort(self, job_ids: Sequence[int], *, reason: str = "", grace_s: float | None = None, force: bool = False) -> "builtins_list[JobResult]":
        """Ends jobs."""
        return self._run(self._client.abort(job_ids, reason=reason, grace_s=grace_s, force=force))

    def purge(self, job_ids: Sequence[int], *, reason: str = "") -> "builtins_list[JobResult]":
        """Deletes settled jobs."""
        return self._run(self._client.purge(job_ids, reason=reason))


class SyncBatch:
    """See `Batch`; a plain context manager."""

    def __init__(self, client: SyncClient, type_: str, data: Any, options: dict[str, Any]) -> None:
        self._client = client
        self._type = type_
        self._data = data
        self._options = options
        self.batch_id = 0

    def __enter__(self) -> Self:
        self.batch_id = self._client.create_batch(self._type, self._data, **self._options).job_id
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is None:
            self.seal()

    def submit(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Stores a member, with the options of `Client.submit`."""
        return self._client.submit(type, data, batch_id=self.batch_id, **options)

    def seal(self) -> None:
        """Ends the adding of members."""
        self._client.seal_batch(self.batch_id)

    def status(self) -> BatchStatus:
        """How it stands."""
        return self._client.batch_status(self.batch_id)


builtins_list = list
