"""Settings of a job type by name, from their message."""

import json
from typing import Any

from headrace_proto.v1 import types_pb2
from headrace_proto.wire import DEPENDENCY_POLICIES, STATE_NAMES, name_of, to_seconds

from headrace_client.limits import RateLimit


def read(message: types_pb2.JobTypeSettings) -> dict[str, Any]:
    """The settings that are set, by the names of `set_type`; durations in seconds."""
    found: dict[str, Any] = {}
    for descriptor, value in message.ListFields():
        name = descriptor.name
        if name == "retry":
            found |= {"retry_delay_s": to_seconds(value.delay), "retry_factor": value.factor, "retry_max_s": to_seconds(value.max), "retry_jitter": value.jitter}
        elif name == "exhausted_state":
            found[name] = name_of(value, STATE_NAMES)
        elif name == "on_dependency_failed":
            found[name] = name_of(value, DEPENDENCY_POLICIES)
        elif name == "rate_limit":
            found[name] = RateLimit(value.count, to_seconds(value.per), value.burst)
        elif name == "fairness_weights":
            found[name] = dict(value.weights)
        elif name == "payload_schema":
            found[name] = json.loads(value)
        elif descriptor.message_type is not None:
            found[f"{name}_s"] = to_seconds(value)
        else:
            found[name] = value
    return found
