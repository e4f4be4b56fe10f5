"""Settings of a job type: what is in force, from a person's overrides, what code declares, and the defaults, in this order."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import IntEnum

from headrace_broker.model.alert_channel import NAME
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.job import State


class OnDependencyFailed(IntEnum):
    """What a waiting job does when one that it depends on ends without having completed; the numbers are stored and are those of the wire."""

    ABORT = 1
    ERROR = 2
    WAIT = 3


YEARS_10_S = 10 * 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings in force for one job type. Names are those of the stored JSON; durations in seconds, None: never."""

    priority: int = 0
    timeout_s: float = 3600.0
    max_attempts: int = 5
    retry_delay_s: float = 5.0
    retry_factor: float = 2.0
    retry_max_s: float = 600.0
    retry_jitter: float = 0.2
    exhausted_state: State = State.ERROR
    max_losses: int = 3
    delete_completed_after_s: float | None = 7 * 86_400.0
    delete_aborted_after_s: float | None = 30 * 86_400.0
    delete_error_after_s: float | None = None
    paused: bool = False
    alert_on_error: bool = True
    alert_on_abort: bool = False
    alert_channels: str | None = None  # names of channels, with commas between them; None or empty: the default ones of the domain
    alert_group_wait_s: float = 30.0
    alert_group_interval_s: float = 300.0
    alert_repeat_interval_s: float = 4 * 3600.0
    alert_resolve_after_s: float = 900.0
    log_limit_lines: int = 10_000
    log_limit_bytes: int = 4 * 1024 * 1024
    on_dependency_failed: OnDependencyFailed = OnDependencyFailed.ABORT
    start_within_s: float | None = None
    concurrency: int | None = None
    concurrency_per_key: int | None = None
    rate_limit_count: int | None = None
    rate_limit_per_s: float = 1.0
    rate_limit_burst: int | None = None
    depth_limit: int | None = None
    ageing_s: float = 0.0  # 0: age does not count
    ageing_max: int = 100
    fairness_weights: Mapping[str, float] | None = None
    payload_schema: str | None = None  # JSON Schema as JSON text
    breaker_share: float = 0.0  # of failed attempts; 0: no breaker. See `model/breaker.py`
    breaker_minimum: int = 20
    breaker_window_s: float = 60.0
    breaker_open_s: float = 30.0
    breaker_open_max_s: float = 1800.0
    breaker_canaries: int = 1
    breaker_at_once: int = 1

    @property
    def limited(self) -> bool:
        """Whether grants of the type are bounded by its concurrency or its rate."""
        return bool(self.concurrency or self.rate_limit_count)

    @property
    def rate_per_s(self) -> float:
        """Grants per second that the rate limit allows; 0: there is none."""
        return (self.rate_limit_count or 0) / self.rate_limit_per_s

    @property
    def burst(self) -> float:
        """Grants that may be made at once when none were made for a while: what is set, else what a tenth of a second allows, at least one."""
        return float(self.rate_limit_burst or max(1.0, self.rate_per_s / 10))

    def weight(self, fairness_key: str) -> float:
        """The share of a fairness key against the others; 1 unless it is set."""
        return (self.fairness_weights or {}).get(fairness_key, 1.0)

    def delete_after_s(self, state: State) -> float | None:
        """How long a job settled in `state` is kept, in seconds; None: for ever."""
        if state is State.COMPLETED:
            return self.delete_completed_after_s
        return self.delete_aborted_after_s if state is State.ABORTED else self.delete_error_after_s


Value = int | float | bool | str | Mapping[str, float]
MAX_WEIGHTS = 1000
MAX_CHANNELS = 20

TEXTS = frozenset({"payload_schema", "alert_channels"})
"""Settings that are texts; whoever takes them over the wire checks what they say."""

_BOUNDS: dict[str, tuple[float, float]] = {
    "priority": (-1_000_000, 1_000_000),
    "timeout_s": (0.001, YEARS_10_S),
    "max_attempts": (1, 1000),
    "retry_delay_s": (0, YEARS_10_S),
    "retry_factor": (1, 100),
    "retry_max_s": (0, YEARS_10_S),
    "retry_jitter": (0, 1),
    "exhausted_state": (State.ERROR, State.ABORTED),
    "max_losses": (1, 1000),
    "delete_completed_after_s": (0, YEARS_10_S),
    "delete_aborted_after_s": (0, YEARS_10_S),
    "delete_error_after_s": (0, YEARS_10_S),
    "log_limit_lines": (0, 10_000_000),
    "log_limit_bytes": (0, 1 << 30),
    "start_within_s": (0, YEARS_10_S),
    "concurrency": (0, 1_000_000),
    "concurrency_per_key": (0, 1_000_000),
    "rate_limit_count": (0, 1_000_000),
    "rate_limit_per_s": (0.001, 31 * 86_400),
    "rate_limit_burst": (0, 1_000_000),
    "depth_limit": (0, 1_000_000_000),
    "ageing_s": (0, YEARS_10_S),
    "ageing_max": (0, 2_000_000),
    "on_dependency_failed": (OnDependencyFailed.ABORT, OnDependencyFailed.WAIT),
    "alert_group_wait_s": (0, 86_400),
    "alert_group_interval_s": (1, 7 * 86_400),
    "alert_repeat_interval_s": (1, 366 * 86_400),
    "alert_resolve_after_s": (1, 7 * 86_400),
    "breaker_share": (0, 1),
    "breaker_minimum": (1, 1_000_000),
    "breaker_window_s": (1, 86_400),
    "breaker_open_s": (0.1, 86_400),
    "breaker_open_max_s": (0.1, 7 * 86_400),
    "breaker_canaries": (1, 1000),
    "breaker_at_once": (1, 1000),
}
_WHOLE = frozenset({"concurrency", "concurrency_per_key", "rate_limit_count", "rate_limit_burst", "depth_limit"})
"""Whole numbers whose default is None: no limit. 0 says the same, so that a person can lift what code declares."""
_ENUMS: dict[str, type[IntEnum]] = {"exhausted_state": State, "on_dependency_failed": OnDependencyFailed}
FIELDS = tuple(field.name for field in fields(Settings))


def choices(name: str) -> tuple[str, ...]:
    """What a setting may be, in words, where these are few; else none."""
    if isinstance(getattr(Settings(), name), bool):
        return ("true", "false")
    low, high = _BOUNDS.get(name, (0, 0))
    return tuple(member.name.lower() for member in _ENUMS.get(name, ()) if low <= member <= high)


def check(values: Mapping[str, Value]) -> None:
    """Raises InvalidField for the first name that is unknown or value that is out of bounds or of the wrong type."""
    for name, value in values.items():
        if name not in FIELDS:
            raise InvalidField(name, f"there is no setting {name!r}; the settings are {', '.join(FIELDS)}")
        if name in TEXTS:
            if not isinstance(value, str):
                raise InvalidField(name, f"setting {name} is a text, found {value!r}")
            if name == "alert_channels":
                _check_channels(value)
            continue
        if name == "fairness_weights":
            _check_weights(value)
            continue
        if isinstance(value, str | Mapping):
            raise InvalidField(name, f"setting {name} is a number, or true or false, found {value!r}")
        default = 0 if name in _WHOLE else getattr(Settings(), name)
        if isinstance(default, bool) != isinstance(value, bool):
            raise InvalidField(name, f"setting {name} is {'true or false' if isinstance(default, bool) else 'a number'}, found {value!r}")
        if isinstance(default, int) and not isinstance(value, int):
            raise InvalidField(name, f"setting {name} is a whole number, found {value!r}")
        low, high = _BOUNDS.get(name, (0, 1))
        if not low <= value <= high:
            raise InvalidField(name, f"setting {name} lies between {low:g} and {high:g}, found {value!r}")


def _check_channels(value: str) -> None:
    names = value.split(",") if value else []
    if len(names) > MAX_CHANNELS or not all(NAME.fullmatch(channel) for channel in names):
        raise InvalidField("alert_channels", f"at most {MAX_CHANNELS} names of channels with commas between them, found {value[:100]!r}")


def _check_weights(value: Value) -> None:
    if not isinstance(value, Mapping):
        raise InvalidField("fairness_weights", f"weights by fairness key, found {value!r}")
    if len(value) > MAX_WEIGHTS:
        raise InvalidField("fairness_weights", f"at most {MAX_WEIGHTS} weights, found {len(value)}")
    for key, weight in value.items():
        if len(key) > 200 or "\x00" in key:
            raise InvalidField("fairness_weights", "a fairness key is at most 200 characters without NUL")
        if not 0.001 <= weight <= 1000:
            raise InvalidField("fairness_weights", f"a weight lies between 0.001 and 1000, found {weight!r} for {key!r}")


def effective(overrides: Mapping[str, Value], declared: Mapping[str, Value]) -> Settings:
    """The settings in force. Stored names that this version does not know are left out, so that an older broker can read a newer one's."""
    values: dict[str, Value] = {}
    for name in FIELDS:
        source = overrides if name in overrides else declared
        if name in source:
            value = source[name]
            values[name] = _ENUMS[name](int(value)) if name in _ENUMS and not isinstance(value, Mapping) else value
    return Settings(**values)  # type: ignore[arg-type]  # check() guards each name's type when it is stored
