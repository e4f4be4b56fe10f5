"""The wire between broker, agents and clients: protobuf package `headrace.v1` (its files lie in `v1/`), and `wire` for what both sides must spell alike."""
