"""Comes before anything that imports grpc: its handlers for forks crash the child now and then, and no child of an agent, or of a handler, uses the agent's gRPC."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
