"""A server that refuses every stream a moment after it began, whatever comes: `python -m tests.support.refusing`. It prints its address, and ends with its input.

A process of its own, so that its refusal comes while the test's process is busy.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

WHY = "the token was revoked"
MOMENT_S = 0.02


class Refusing(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """All calls, of any service."""

    def service(self, _details: Any) -> Any:
        """Refuses it."""
        return grpc.stream_stream_rpc_method_handler(_refuse)


def _refuse(_requests: Any, context: Any) -> Any:
    time.sleep(MOMENT_S)
    context.set_trailing_metadata((("headrace-reason", "TOKEN_INVALID"),))
    context.abort(grpc.StatusCode.UNAUTHENTICATED, WHY)
    yield


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(4), handlers=[Refusing()])
    print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)
