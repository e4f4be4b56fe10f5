"""The broker: owns a job queue in Postgres and leases jobs to agents over gRPC.

Imports point one way: `model` <- `store` <- `shards` <- `actions`, `maintenance` <- `rpc` <- `app`. Only `store` knows SQL, only `rpc` knows protobuf and gRPC.
"""

__version__ = "0.1.0"
