"""What forks do to agents.

Comes before anything that imports grpc: its handlers for forks crash the child now and then, and no child of an agent, or of a handler, uses the agent's gRPC.
"""

import os
import sys
import traceback

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def end_child(agent_pid: int) -> None:
    """Ends the process, where a handler has forked it and let it come to the handler's end, as `sys.exit` there would. In the agent's own process it does nothing.

    A child has everything that the agent has open: it would tell of the end of an attempt that goes on, and wake nobody for what the agent waits for.
    """
    if os.getpid() == agent_pid:
        return
    error = sys.exc_info()[1]
    code: object = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    elif error is not None:
        traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):  # it is closed, or there is none
            continue
    os._exit(code & 0xFF if isinstance(code, int) else 1)
