"""Every setting of a job type: code declares it, a person's word wins, what is in force and where it comes from can be read, and without the word it is the code's again.

A new setting is asked for here until it has a row.
"""

import inspect
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from headrace_agent import Agent
from headrace_client import AdminClient, RateLimit
from headrace_client.admin import SETTINGS
from headrace_proto.v1 import types_pb2

from tests.support.processes import BrokerProcess, start_agent, until

VALUES: dict[str, tuple[Any, Any]] = {
    "priority": (3, 4),
    "ageing_max": (7, 8),
    "ageing_s": (30.0, 40.0),
    "max_attempts": (2, 3),
    "max_losses": (4, 5),
    "log_limit_lines": (100, 200),
    "log_limit_bytes": (1000, 2000),
    "concurrency": (5, 6),
    "concurrency_per_key": (2, 3),
    "depth_limit": (100, 200),
    "breaker_share": (0.5, 0.25),
    "breaker_minimum": (50, 60),
    "breaker_window_s": (120.0, 90.0),
    "breaker_open_s": (15.0, 10.0),
    "breaker_open_max_s": (900.0, 600.0),
    "breaker_canaries": (2, 3),
    "breaker_at_once": (3, 2),
    "paused": (None, True),
    "alert_on_error": (False, True),
    "alert_on_abort": (True, False),
    "alert_channels": ("mail", "hook,mail"),
    "alert_group_wait_s": (1.0, 2.0),
    "alert_group_interval_s": (60.0, 120.0),
    "alert_repeat_interval_s": (600.0, 700.0),
    "alert_resolve_after_s": (60.0, 70.0),
    "timeout_s": (10.5, 20.0),
    "start_within_s": (60.0, 90.0),
    "delete_completed_after_s": (3600.0, 7200.0),
    "delete_aborted_after_s": (3600.0, 7200.0),
    "delete_error_after_s": (3600.0, 7200.0),
    "retry_delay_s": (1.0, 2.0),
    "retry_factor": (3.0, 4.0),
    "retry_max_s": (50.0, 60.0),
    "retry_jitter": (0.1, 0.3),
    "exhausted_state": ("aborted", "error"),
    "on_dependency_failed": ("wait", "error"),
    "rate_limit": (RateLimit(30, 60.0, 3), RateLimit(10, 1.0, 2)),
    "fairness_weights": ({"gold": 3.0}, {"gold": 2.0, "silver": 1.5}),
    "payload_schema": ({"type": "object"}, {"type": "string"}),
}
"""What code declares (None: that is not for code to say), and what a person says."""
NO_SETTINGS = {"self", "type", "executor", "slots", "retry", "retry_on", "fail_on", "memory_bytes", "attempts_per_process"}
"""Arguments of `Agent.job` that are none; `retry` is four of them."""
MODULE = """
from headrace_agent import Agent, Backoff, RateLimit
agent = Agent("declaring")

@agent.job("t", retry=Backoff({retry}), {settings})
async def handle(ctx, data): ...
"""


def test_every_setting_has_a_row() -> None:
    assert VALUES.keys() == set(SETTINGS)
    on_the_wire = {"retry" if name.startswith("retry_") else name.removesuffix("_s") for name in VALUES}
    assert on_the_wire == {field.name for field in types_pb2.JobTypeSettings.DESCRIPTOR.fields}
    declared = {name for name, (value, _) in VALUES.items() if value is not None and not name.startswith("retry_")}
    assert set(inspect.signature(Agent.job).parameters) - NO_SETTINGS == declared


@pytest.fixture
async def declared(broker: BrokerProcess, directory: Path, stack: AsyncExitStack, admin: AdminClient) -> dict[str, Any]:
    """An agent has declared all of them that code may declare; what it declared."""
    found = {name: value for name, (value, _) in VALUES.items() if value is not None}
    retry = ", ".join(f"{name.removeprefix('retry_')}={value!r}" for name, value in found.items() if name.startswith("retry_"))
    rest = ", ".join(f"{name}={value!r}" for name, value in found.items() if not name.startswith("retry_"))
    (directory / "declaring_all.py").write_text(MODULE.format(retry=retry, settings=rest))
    agent = await start_agent(directory, broker.address, agent="declaring_all:agent", cwd=directory)
    stack.push_async_callback(agent.kill)

    async def there() -> bool:
        return any(item.name == "declaring" for item in await admin.list_agents())

    await until(there, what="the agent")
    return found


async def test_code_declares_a_person_overrides_and_takes_it_back(admin: AdminClient, declared: dict[str, Any]) -> None:
    shown = await admin.get_type("t")
    assert shown.declared == declared and shown.overrides == {}
    assert {name: shown.effective[name] for name in declared} == declared
    said = {name: value for name, (_, value) in VALUES.items()}
    for shown in (await admin.set_type("t", **said), await admin.get_type("t")):
        assert (shown.overrides, shown.declared) == (said, declared)
        assert {name: shown.effective[name] for name in said} == said
    for name in said:
        await admin.set_type("t", clear=[name])
        shown = await admin.get_type("t")
        group = [other for other in said if other.startswith("retry_")] if name.startswith("retry_") else [name]
        assert not shown.overrides.keys() & set(group)
        assert {other: shown.effective[other] for other in group} == {other: declared.get(other, False) for other in group}
    assert shown.overrides == {}
