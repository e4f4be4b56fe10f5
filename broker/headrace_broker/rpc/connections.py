"""What one connection, or somebody without any right, may cost the broker: options of gRPC's server, each beside the broker's own name for it."""

from dataclasses import dataclass

SEND_LIMIT = 16 * 1024 * 1024
"""Of one message to a client."""
WINDOW_BYTES = 1024 * 1024
"""What may be under way to the broker on one connection before it is read. gRPC would measure how much the network holds, by a ping after what it has read, and so after
each heartbeat, which took a third of the CPU that an idle agent costs. Where a round trip takes 40 ms that lets 25 MB/s come on a connection; a client that is not
read costs no more memory than that."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The broker's options of the same names; times in seconds, 0: no limit."""

    message_limit_bytes: int = 16 * 1024 * 1024
    metadata_limit_bytes: int = 16 * 1024
    streams_limit: int = 2000
    connections_limit: int = 20_000
    ping_interval_s: float = 5.0
    handshake_timeout_s: float = 10.0
    connection_idle_s: float = 600.0
    connection_age_s: float = 0.0
    connection_age_grace_s: float = 30.0


def server_options(limits: ConnectionLimits) -> list[tuple[str, int]]:
    """Arguments of the server's channels, as gRPC names them (grpc/impl/channel_arg_names.h)."""
    options = [
        ("grpc.max_receive_message_length", limits.message_limit_bytes),
        ("grpc.max_send_message_length", SEND_LIMIT),
        ("grpc.max_metadata_size", limits.metadata_limit_bytes),  # between the soft limit and the absolute one gRPC refuses at random: both are the same
        ("grpc.absolute_max_metadata_size", limits.metadata_limit_bytes),
        ("grpc.max_concurrent_streams", limits.streams_limit),
        ("grpc.server_handshake_timeout_ms", _ms(limits.handshake_timeout_s)),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(limits.ping_interval_s)),  # a server refuses pings closer than 300 s unless told otherwise
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.enable_channelz", 0),  # nobody can ask for it here, and a connection costs 1 kB less without
    ]
    if limits.connections_limit:
        options.append(("grpc.max_allowed_incoming_connections", limits.connections_limit))
    if limits.connection_idle_s:
        options.append(("grpc.max_connection_idle_ms", _ms(limits.connection_idle_s)))
    if limits.connection_age_s:  # gRPC spreads it by 10 % either way
        options += [("grpc.max_connection_age_ms", _ms(limits.connection_age_s)), ("grpc.max_connection_age_grace_ms", _ms(limits.connection_age_grace_s))]
    return options


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
