"""Several shards: which one a call, and a page, is for."""

from tests.mutants.mutant import Mutant

BROKER = "broker/headrace_broker"
CHOICE, SHARDS, TESTS = f"{BROKER}/rpc/choice.py", f"{BROKER}/shards/ownerships.py", "tests/rpc/test_choice.py"

MUTANTS = (
    Mutant(
        "a call is for any shard",
        CHOICE,
        "places[await self._shard(method, context)].now(request, context)",
        "places[0].now(request, context)",
        f"{TESTS} -k shard_of_its",
    ),
    Mutant(
        "a stream is for any shard",
        CHOICE,
        "places[await self._shard(method, context)].now(requests, context)",
        "places[0].now(requests, context)",
        f"{TESTS} -k shard_of_its",
    ),
    Mutant("a domain that another broker made is not known", SHARDS, "if number is not None:", "if True:", f"{TESTS} -k new_domain"),
    Mutant("whoever looks at a domain makes it", CHOICE, "make=method in MAKING", "make=True", f"{TESTS} -k new_domain"),
    Mutant("brokers set each other's clocks in a circle", CHOICE, "if not any(key == FORWARDED_KEY", "if True or not any(key == FORWARDED_KEY", f"{TESTS} -k clock"),
    Mutant("a broker is ready whoever owns the other shards", SHARDS, "(len(self.each) > 1 and _passes_on(one))", "len(self.each) > 1", f"{TESTS} -k owner_of_every"),
)
