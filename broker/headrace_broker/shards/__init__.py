"""The owner of a shard: one broker keeps in memory what is live, decides every transition, and makes it durable before anyone is told.

What is authoritative, and what happens at every failure:

- The ledger in Postgres is the truth; `owner.Owner` is a copy that runs ahead of it by the one round of decisions that is being stored.
- `flusher.Flusher` stores a round in one commit, then tells submitters, agents and watchers. Nobody hears of a decision before it is durable.
- The broker dies: its connection closes, its lock falls, a standby (or the broker itself, started again) takes the shard and reads the ledger. Open leases stay
  their agents' for a full lease; agents come back with the leases they hold and go on.
- The connection to Postgres breaks: nothing is answered until a new life knows whether the last flush was stored. Then the same round is told, or stored again.
- The broker hangs: a standby sees no flush for five seconds, ends its connection, and takes over. When the broker wakes, its first flush is fenced.
- An agent dies: its stream closes, and after a short grace its leases are lost and its jobs wait again. An agent that falls silent loses them when the lease ends.
"""
