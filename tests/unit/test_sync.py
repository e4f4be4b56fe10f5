"""The blocking clients have what the others have."""

import inspect

from headrace_client import AdminClient, Client, SyncAdminClient, SyncClient
from headrace_client.blocking import Call, Stream


def _public(client: type) -> dict[str, object]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_") and name != "close"}


def test_the_blocking_client_has_every_method_with_the_same_parameters() -> None:
    for name, method in _public(Client).items():
        blocking = getattr(SyncClient, name, None)
        assert blocking is not None, f"SyncClient has no {name}"
        wanted, found = (
            [(p.name, p.default, p.kind) for p in inspect.signature(item).parameters.values()]
            for item in (method, blocking)  # type: ignore[arg-type]  # functions
        )
        assert wanted == found, name


def test_the_blocking_administrators_client_has_every_method() -> None:
    for name, method in _public(AdminClient).items():
        blocking = vars(SyncAdminClient).get(name)
        kind = Stream if inspect.isasyncgenfunction(method) else Call
        assert isinstance(blocking, kind) and blocking._method is method, f"sync_admin.py needs a line: {name} = {kind.__name__}(AdminClient.{name})"
