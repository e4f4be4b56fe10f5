"""The broker: owns a job queue in Postgres and leases jobs to agents over gRPC.

Imports point one way: `model` <- `store` <- `shards` <- `actions`, `maintenance`, `alerts` <- `rpc`, `web` <- `parts`, `duties` <- `app`. Only `store` knows SQL, only
`rpc` knows protobuf and gRPC.
"""

import os

# Before anything imports grpc: its handlers for forks crash the child now and then, and a broker forks only to start Postgres, where the child needs no gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__version__ = "0.1.0"
