"""gRPC: translates requests into actions and answers back. The only place that knows protobuf."""
