"""Postgres as users run it: Patroni, etcd, pgbouncer. `make ha` runs this; `make test` does not."""
