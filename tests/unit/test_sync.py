"""The blocking clients have what the others have."""

import inspect
from collections.abc import Callable
from typing import Any

from headrace_client import AdminClient, Client, SyncAdminClient, SyncClient
from headrace_client.blocking import Call, Stream


def _public(client: type) -> dict[str, Callable[..., Any]]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_") and name != "close"}


def _parameters(method: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    return [(parameter.name, parameter.default, parameter.kind) for parameter in inspect.signature(method).parameters.values()]


def test_the_blocking_client_has_every_method_with_the_same_parameters() -> None:
    for name, method in _public(Client).items():
        blocking = _public(SyncClient).get(name)
        assert blocking is not None and _parameters(blocking) == _parameters(method), f"SyncClient.{name}"


def test_the_blocking_administrators_client_has_every_method() -> None:
    for name, method in _public(AdminClient).items():
        blocking = vars(SyncAdminClient).get(name)
        kind = Stream if inspect.isasyncgenfunction(method) else Call
        same = _parameters(blocking) == _parameters(method) if inspect.isfunction(blocking) else isinstance(blocking, kind) and blocking._method is method
        assert same, f"sync_admin.py needs a line: {name} = {kind.__name__}(AdminClient.{name})"
