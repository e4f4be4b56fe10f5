"""Guards of the bulk operations."""

from tests.mutants.mutant import Mutant

MODEL, PAGES = "broker/headrace_broker/model/operation.py", "broker/headrace_broker/shards/pages.py"
RUNNER, CHANGES = "broker/headrace_broker/shards/operations.py", "broker/headrace_broker/shards/changes.py"
STORE, PAGE = "broker/headrace_broker/store/operations.py", "broker/headrace_broker/store/sql/queries/operation_page.sql"
ACTIONS, TRIM = "broker/headrace_broker/actions/operations.py", "broker/headrace_broker/store/sql/queries/operation_trim.sql"
UNIT, SERVED = "tests/unit/test_operations.py", "tests/rpc/test_operations.py"

MUTANTS = (
    Mutant(
        "an operation that is stored may be refused",
        ACTIONS,
        "        operations.wake()\n        return operation",
        "        self._ownership.operations.wake()\n        return operation",
        "tests/fire/test_operations.py -k stored_is",
    ),
    Mutant(
        "an operation that was stopped is remembered, and counted twice when it goes on",
        RUNNER,
        "if number in going_on}  # of a stopped one",
        "if number not in ended}  # of a stopped one",
        "tests/fire/test_operations.py -k counts_its_jobs_once",
    ),
    Mutant("an empty filter is all jobs", MODEL, "        if not all_jobs:\n", "        if False:\n", f"{UNIT} -k empty_filter"),
    Mutant("a job that left the filter's states is changed", PAGES, "if state not in wanted:", "if False:", f"{UNIT} -k left_the_states"),
    Mutant("what is so already counts as done", PAGES, "if not changed:", "if False:", f"{UNIT} -k so_already"),
    Mutant("jobs that moved are forgotten", PAGES, "left.append(job_id)", "pass", f"{UNIT} -k counts_each_job_once"),
    Mutant("jobs that move for ever are tried for ever", PAGES, "if change is None and not self.last_try:", "if change is None:", f"{UNIT} -k last_try"),
    Mutant(
        "a page is counted when nothing was decided",
        PAGES,
        "            return  # nothing was decided",
        "            pass  # nothing was decided",
        f"{UNIT} -k decides_nothing",
    ),
    Mutant(
        "how far it came is not stored", CHANGES, "        intent.page.decided(round_, results)", "        intent.page.standing.searched = True", f"{SERVED} -k killed"
    ),
    Mutant("each job has its own row in the audit", CHANGES, "        elif changed:\n", "        if changed:\n", f"{SERVED} -k says_so"),
    Mutant(
        "a stopped operation goes on",
        RUNNER,
        "if not await self._store.is_running(operation.operation_id):",
        "if False:",
        "tests/fire/test_operations.py -k former_owner",
    ),
    Mutant("jobs that come later are members", RUNNER, "until_id=operation.frozen_id, limit=limit", "until_id=(1 << 63) - 1, limit=limit", f"{SERVED} -k stopped"),
    Mutant("new runs keep their payload whatever was asked", RUNNER, "payload=plan.deed.payload, content", "content", f"{SERVED} -k another_payload"),
    Mutant("the audit keeps what a payload says", STORE, "**deed.told()}", "**deed.options()}", f"{SERVED} -k another_payload"),
    Mutant("the rate is not kept", RUNNER, "self.began + self.spent / rate if rate and self.spent else 0.0", "0.0", f"{SERVED} -k rate_bounds"),
    Mutant("a finished operation never ends", PAGE, "and $5 and cardinality", "and not $5 and cardinality", f"{SERVED} -k says_so"),
    Mutant(
        "the same request starts two operations",
        STORE,
        "caller.on_behalf_of, caller.request_id, start_key, frozen_id",
        "caller.on_behalf_of, caller.request_id, '', frozen_id",
        f"{SERVED} -k stopped",
    ),
    Mutant("the same request starts something else", STORE, "if replace(found.plan, rate=plan.rate) != plan:", "if False:", f"{SERVED} -k stopped"),
    Mutant("what has finished can be stopped", STORE, "if old.state is OperationState.FINISHED:", "if False:", f"{SERVED} -k stopped"),
    Mutant("other domains' reasons are read", ACTIONS, "        await self.get(domain, operation_id)\n", "", f"{SERVED} -k see_each_other"),
    Mutant(
        "operations are forgotten at once", TRIM, "finished_at < now() - make_interval(secs => $1)", "$1::float8 > 0 and finished_at < now()", f"{SERVED} -k forgotten"
    ),
)
