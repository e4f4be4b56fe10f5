"""The ExternalScaler service: KEDA asks how many agents a ScaledObject should have (https://keda.sh/docs/latest/concepts/external-scalers/).

KEDA sends no metadata with its calls: what it knows of a trigger stands in the message. So the domain, and a token, are taken from there, and the call goes on as one
that came with them (`told`): it is let in, paid for, and passed on to the owner of the domain's shard as any other.
"""

import asyncio
import math
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from headrace_proto.keda import externalscaler_pb2
from headrace_proto.wire import DOMAIN_KEY, DOMAIN_NAME, TOKEN_KEY

from headrace_broker.actions.demand import demand
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.permissions import PATTERN
from headrace_broker.rpc import convert
from headrace_broker.rpc.forward import Stream, Unary
from headrace_broker.shards.ownership import Ownership

PREFIX = "/externalscaler."
METRIC = "headrace-jobs"
LOOK_S = 1.0
"""Between two looks of a stream: nobody is told of every job for its sake."""
OF_KEDA = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsClientCert", "tlsClientKey", "tlsCertFile"})
"""What a trigger says for KEDA itself, which sends it along."""
OURS = ("domain", "type", "jobsPerReplica", "includeRunning", "activationThreshold", "token")
FROM_ENV = "FromEnv"
"""How a name ends whose value KEDA takes from the environment of the container that it scales; it sends the value under the name with this end."""
MOST_TYPES = 100
MOST = 1e9
TOKEN = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a trigger asks for. `types`: patterns."""

    types: tuple[str, ...]
    jobs_per_replica: float
    include_running: bool
    activation_threshold: float


class ScalerService:
    """For KEDA. Counts come from the owner's memory."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    async def IsActive(self, request: externalscaler_pb2.ScaledObjectRef, context: Any) -> externalscaler_pb2.IsActiveResponse:  # noqa: N802
        return externalscaler_pb2.IsActiveResponse(result=self._active(trigger_of(request), context))

    async def StreamIsActive(self, request: externalscaler_pb2.ScaledObjectRef, context: Any) -> AsyncIterator[externalscaler_pb2.IsActiveResponse]:  # noqa: N802
        trigger = trigger_of(request)
        said: bool | None = None
        while True:
            changed, active = self._ownership.changed, self._active(trigger, context)  # raises when another broker is to be asked
            if active is not said:
                said = active
                yield externalscaler_pb2.IsActiveResponse(result=active)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S * random.uniform(0.9, 1.1)):
                    await changed.wait()

    async def GetMetricSpec(self, request: externalscaler_pb2.ScaledObjectRef, _context: Any) -> externalscaler_pb2.GetMetricSpecResponse:  # noqa: N802
        target = trigger_of(request).jobs_per_replica
        spec = externalscaler_pb2.MetricSpec(metricName=METRIC, targetSize=max(1, round(target)), targetSizeFloat=target)
        return externalscaler_pb2.GetMetricSpecResponse(metricSpecs=[spec])

    async def GetMetrics(self, request: externalscaler_pb2.GetMetricsRequest, context: Any) -> externalscaler_pb2.GetMetricsResponse:  # noqa: N802
        trigger = trigger_of(request.scaledObjectRef)
        if request.metricName != METRIC:
            raise InvalidField("metricName", f"there is {METRIC} alone, as GetMetricSpec says; found {request.metricName[:60]!r}")
        jobs = self._jobs(trigger, context)
        return externalscaler_pb2.GetMetricsResponse(metricValues=[externalscaler_pb2.MetricValue(metricName=METRIC, metricValue=jobs, metricValueFloat=jobs)])

    def _active(self, trigger: Trigger, context: Any) -> bool:
        return self._jobs(trigger, context) > trigger.activation_threshold

    def _jobs(self, trigger: Trigger, context: Any) -> int:
        found = demand(self._ownership.owner, convert.domain_of(context), trigger.types, "metadata.type")
        return found.ready + found.running if trigger.include_running else found.ready


def trigger_of(ref: externalscaler_pb2.ScaledObjectRef) -> Trigger:
    """What the metadata of a trigger asks for. Raises InvalidField, which names what of it is unknown, missing or wrong."""
    given = _given(ref.scalerMetadata)
    for name in given:
        if name not in OURS and name not in OF_KEDA:
            raise InvalidField(f"metadata.{name[:60]}", f"is not known; there are {', '.join(OURS)}")
    if "domain" in given and not DOMAIN_NAME.fullmatch(given["domain"]):
        raise InvalidField("metadata.domain", f"a domain is 1 to 100 characters of A-Z a-z 0-9 . _ -, found {given['domain'][:60]!r}")
    if "token" in given and not TOKEN.fullmatch(given["token"]):
        raise InvalidField("metadata.token", "a token is 1 to 200 printable characters of ASCII, without spaces")
    running = given.get("includeRunning", "true").lower()
    if running not in ("true", "false"):
        raise InvalidField("metadata.includeRunning", f"true or false, found {running[:60]!r}")
    return Trigger(
        types=_types(given.get("type", "")), jobs_per_replica=_number("jobsPerReplica", given.get("jobsPerReplica", ""), 0.001),
        include_running=running == "true", activation_threshold=_number("activationThreshold", given.get("activationThreshold", "0"), 0.0),
    )  # fmt: skip


def _given(metadata: Mapping[str, str]) -> dict[str, str]:
    """What was given by name. Raises InvalidField for what was given twice."""
    found: dict[str, str] = {}
    for key, value in metadata.items():
        name = key.removesuffix(FROM_ENV)
        if name in found:
            raise InvalidField(f"metadata.{name[:60]}", f"is set twice: {name[:60]} and {name[:60]}{FROM_ENV}; set one of them")
        found[name] = value
    return found


def _types(text: str) -> tuple[str, ...]:
    patterns = tuple(part.strip() for part in text.split(","))
    if not text.strip() or len(patterns) > MOST_TYPES:
        raise InvalidField("metadata.type", f"must be set: 1 to {MOST_TYPES} job types with commas, or patterns such as mail.*; * for all")
    for pattern in patterns:
        if not PATTERN.fullmatch(pattern):
            raise InvalidField("metadata.type", f"a job type, or a pattern of some, is 1 to 200 characters of A-Z a-z 0-9 . _ : / * ? -, found {pattern[:60]!r}")
    return patterns


def _number(name: str, text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= MOST:
        raise InvalidField(f"metadata.{name}", f"must be a number from {least:g} to {MOST:g}, found {text[:60]!r}")
    return value


# Calls as those of clients ---------------------------------------------------------------------------------------------------------------------


def told(call: Unary) -> Unary:
    """A call that comes with the domain and the token that its message names."""

    async def as_ours(request: Any, context: Any) -> Any:
        return await call(request, _Told.by(request, context))

    return as_ours


def told_stream(call: Stream) -> Stream:
    """The same with many answers."""

    async def as_ours(request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in call(request, _Told.by(request, context)):
            yield answer

    return as_ours


class _Told:
    """The context of a call, with metadata of a client of headrace."""

    def __init__(self, context: Any, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self._context = context
        self._metadata = metadata

    @classmethod
    def by(cls, request: Any, context: Any) -> Any:
        """What is wrong in the message is left for the service to refuse, and so is a message that is none."""
        message = getattr(request, "request", request)  # with its size, where quotas count it
        ref = getattr(message, "scaledObjectRef", message)
        metadata = getattr(ref, "scalerMetadata", {})
        said = {}
        for key, name, wanted, value in ((DOMAIN_KEY, "domain", DOMAIN_NAME, "{}"), (TOKEN_KEY, "token", TOKEN, "Bearer {}")):
            text = metadata.get(name) or metadata.get(f"{name}{FROM_ENV}") or ""
            if wanted.fullmatch(text):
                said[key] = value.format(text)
        kept = [(key, value) for key, value in context.invocation_metadata() or () if key not in said]
        return cls(context, (*kept, *said.items()))

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        """What came, and what the message says in its place."""
        return self._metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)
