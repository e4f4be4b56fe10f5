"""Job types that an agent serves: the handler, how it runs, and the settings that its code declares."""

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from headrace_proto.v1 import types_pb2
from headrace_proto.wire import DEPENDENCY_POLICY_NUMBERS, STATE_NUMBERS, to_duration

from headrace_agent.errors import AgentError

EXECUTORS = ("async", "thread", "process")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Wait between attempts: delay_s * factor^(attempt - 1), at most max_s, spread by jitter (0.2: over 0.8 to 1.2 of itself)."""

    delay_s: float = 5.0
    factor: float = 2.0
    max_s: float = 600.0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class Handler:
    """One job type. `takes_ctx` and `argument` say how the function is called; `argument` None: it takes no data."""

    name: str
    function: Callable[..., Any]
    executor: str
    slots: int
    takes_ctx: bool
    takes_argument: bool
    argument: Any
    retry_on: tuple[type[BaseException], ...]
    fail_on: tuple[type[BaseException], ...]
    memory_bytes: int | None
    attempts_per_process: int | None
    declared: types_pb2.JobTypeSettings = field(default_factory=types_pb2.JobTypeSettings)


def make_handler(
    type_: str, function: Callable[..., Any], *, executor: str | None, slots: int, retry_on: tuple[type[BaseException], ...],
    fail_on: tuple[type[BaseException], ...], memory_bytes: int | None, attempts_per_process: int | None, settings: dict[str, Any], retry: Backoff | None,
) -> Handler:  # fmt: skip
    """Reads the function's signature and checks the rest. Raises AgentError."""
    if not hasattr(function, "__qualname__"):
        raise AgentError(f"job {type_!r}: a handler is a function, found {function!r}: define one that calls it")
    _check_limits(type_, slots, memory_bytes, attempts_per_process)
    retry_on, fail_on = _classes(type_, "retry_on", retry_on), _classes(type_, "fail_on", fail_on)
    is_async = inspect.iscoroutinefunction(function)
    executor = executor or ("async" if is_async else "thread")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise AgentError(f"job {type_!r}: a handler returns its result, and this function yields: return a list, or make a job of each part")
    if executor not in EXECUTORS:
        raise AgentError(f"job {type_!r}: executor is one of {', '.join(EXECUTORS)}, found {executor!r}")
    if executor == "async" and not is_async:
        raise AgentError(f"job {type_!r}: executor 'async' needs an async function; leave executor out, and it runs in a thread")
    if executor == "thread" and is_async:
        raise AgentError(f"job {type_!r}: an async function runs in the event loop; make it a plain function to run it in a thread")
    if executor == "process" and ("<locals>" in function.__qualname__ or "<lambda>" in function.__qualname__):
        raise AgentError(f"job {type_!r}: a process handler must be a function at the top of a module, so that the other process can import it")
    takes_ctx, takes_argument, argument = _parameters(type_, function)
    if settings.get("payload_schema") not in (None, False):
        settings = {**settings, "payload_schema": schema_text(type_, settings["payload_schema"], argument)}
    declared = _declared(type_, settings, retry)
    return Handler(
        type_, function, executor, slots, takes_ctx, takes_argument, argument, retry_on, fail_on, memory_bytes, attempts_per_process, declared
    )  # fmt: skip


def _check_limits(type_: str, slots: object, memory_bytes: object, attempts_per_process: object) -> None:
    if not isinstance(slots, int) or slots < 0:
        raise AgentError(f"job {type_!r}: slots is a whole number, 0 for as many as the agent has, found {slots!r}")
    if memory_bytes is not None and (not isinstance(memory_bytes, int) or memory_bytes < 1):
        raise AgentError(f"job {type_!r}: memory_bytes is a whole number of bytes, such as 1 << 30, found {memory_bytes!r}")
    if attempts_per_process is not None and (not isinstance(attempts_per_process, int) or attempts_per_process < 1):
        raise AgentError(f"job {type_!r}: attempts_per_process is a whole number, at least 1, found {attempts_per_process!r}")


def _classes(type_: str, name: str, given: Any) -> tuple[type[BaseException], ...]:
    """Classes of exceptions; a single one may stand for itself. Raises AgentError for anything else."""
    found = (given,) if isinstance(given, type) else given
    if not isinstance(found, (tuple, list)) or not all(isinstance(class_, type) and issubclass(class_, BaseException) for class_ in found):
        raise AgentError(f"job {type_!r}: {name} names classes of exceptions, such as (OSError, ValueError), found {given!r}")
    return tuple(found)


def _parameters(type_: str, function: Callable[..., Any]) -> tuple[bool, bool, Any]:
    from headrace_agent.context import JobContext

    try:
        hints = typing.get_type_hints(function)
        signature = inspect.signature(function)
    except NameError as error:
        raise AgentError(f"job {type_!r}: an annotation cannot be resolved: {error}") from error
    except (TypeError, ValueError) as error:
        raise AgentError(f"job {type_!r}: what {function!r} takes cannot be told: define a function that calls it ({error})") from error
    parameters = [p for p in signature.parameters.values() if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    optional = [p.name for p in signature.parameters.values() if p.default is not p.empty and p.kind is not p.KEYWORD_ONLY]
    if named := [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]:
        raise AgentError(f"job {type_!r}: a handler is called as handler(ctx, data), and {', '.join(named)} can be given by name only: leave out the *")
    names = [p.name for p in parameters]
    if len(names) > 2:
        raise AgentError(f"job {type_!r}: a handler takes (ctx, data), (ctx) or (data), found ({', '.join(names)})")
    takes_ctx = bool(names) and (hints.get(names[0]) is JobContext or names[0] in ("ctx", "context") or len(names) == 2)
    rest = names[1:] if takes_ctx else names
    if optional and not rest:
        raise AgentError(
            f"job {type_!r}: {optional[0]} has a default, so the handler would be called without its payload: leave the default out, or write *, before it where it is"
            " not for the payload"
        )
    return takes_ctx, bool(rest), hints.get(rest[0], Any) if rest else None


def schema_text(type_: str, schema: dict[str, Any] | str | bool, argument: Any) -> str:
    """The JSON Schema as text; of the annotation when it is to be made of it. Raises AgentError where that has none."""
    if isinstance(schema, str):
        return schema
    try:
        if schema is True:
            schema = argument.model_json_schema() if hasattr(argument, "model_json_schema") else msgspec.json.schema(argument)
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise AgentError(f"job {type_!r}: payload_schema: {error}") from error


def _declared(type_: str, settings: dict[str, Any], retry: Backoff | None) -> types_pb2.JobTypeSettings:
    message = types_pb2.JobTypeSettings()
    for name, value in settings.items():
        if value is None or (name == "payload_schema" and value is False):
            continue
        try:
            if name == "rate_limit":
                message.rate_limit.count, message.rate_limit.burst = value.count, value.burst
                message.rate_limit.per.CopyFrom(to_duration(value.per_s))
            elif name == "fairness_weights":
                message.fairness_weights.SetInParent()
                message.fairness_weights.weights.update(value)
            elif name.endswith("_s"):
                getattr(message, name[:-2]).CopyFrom(to_duration(value))
            elif name == "exhausted_state":
                message.exhausted_state = STATE_NUMBERS[str(value)]  # type: ignore[assignment]  # enum numbers
            elif name == "on_dependency_failed":
                message.on_dependency_failed = DEPENDENCY_POLICY_NUMBERS[str(value)]  # type: ignore[assignment]  # enum numbers
            else:
                setattr(message, name, value)
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
            raise AgentError(f"job {type_!r}: setting {name}={value!r} does not fit") from error
    if retry is not None:
        try:
            message.retry.delay.CopyFrom(to_duration(retry.delay_s))
            message.retry.max.CopyFrom(to_duration(retry.max_s))
            message.retry.factor, message.retry.jitter = retry.factor, retry.jitter
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise AgentError(f"job {type_!r}: retry={retry!r} does not fit: Backoff(delay_s, factor, max_s, jitter), all of them numbers") from error
    return message
