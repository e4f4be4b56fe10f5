"""Tests run against a real Postgres, real gRPC and real processes. They wait for events, never for time."""
