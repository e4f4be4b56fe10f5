"""What KEDA is told of how much work there is, and who may ask; what Kubernetes is told of a broker."""

from tests.mutants.mutant import Mutant

DEMAND = "broker/headrace_broker/actions/demand.py"
SERVICE = "broker/headrace_broker/rpc/scaler.py"
GUARD = "broker/headrace_broker/rpc/interceptors.py"
OWNERSHIPS = "broker/headrace_broker/shards/ownerships.py"
SCALER = "tests/rpc/test_scaler.py"
CHOICE = "tests/rpc/test_choice.py"
VALIDATION = "tests/rpc/test_validation.py"

MUTANTS = (
    Mutant("KEDA's calls are let in unasked", GUARD, 'OURS = ("/headrace.", scaler.PREFIX)', 'OURS = ("/headrace.", "/none.")', f"{SCALER} -k who_asks"),
    Mutant("agents are scaled to paused types", DEMAND, "    if entry.halted:\n        return 0\n", "", f"{SCALER} -k could_not_start"),
    Mutant("agents are scaled beyond a type's concurrency", DEMAND, "max(0, limit - leased) if limit else ready", "ready", f"{SCALER} -k could_not_start"),
    Mutant("agents are scaled to jobs that were aborted", DEMAND, "owner.counted[entry.type_id, State.WAITING, 0], ", "", f"{SCALER} -k could_not_start"),
    Mutant("agents are not scaled to jobs with terms", DEMAND, "(owner.lines.ready(crowd) if crowd is not None else 0)", "0", f"{SCALER} -k could_not_start"),
    Mutant("a type is counted for who may not see it", DEMAND, "        reach.require(Act.OVERSEE, name, field)\n", "        pass\n", f"{SCALER} -k who_asks"),
    Mutant("busy agents are taken away", SERVICE, "found.ready + found.running if trigger.include_running else found.ready", "found.ready", f"{SCALER} -k follows"),
    Mutant("a stream waits for a change before it says anything", SERVICE, "said: bool | None = None", "said: bool | None = False", f"{SCALER} -k at_once"),
    Mutant("a stream says everything again and again", SERVICE, "            if active is not said:\n", "            if True:\n", f"{SCALER} -k at_once"),
    Mutant("the domain of KEDA's call is not that of its message", SERVICE, "if key not in said]", "if key in said]", f"{SCALER} -k domain_stands"),
    Mutant(
        "KEDA's calls go to any shard",
        SERVICE,
        "        return await call(request, _Told.by(request, context))\n",
        "        return await call(request, context)\n",
        f"{CHOICE} -k keda",
    ),
    Mutant(
        "metadata that is not known is passed over",
        SERVICE,
        "        if name not in OURS and name not in OF_KEDA:\n",
        "        if False:\n",
        f"{VALIDATION} -k every_wrong",
    ),
    Mutant(
        "a broker that knows no owner can be asked",
        OWNERSHIPS,
        "return all(_serves(one) or _passes_on(one) for one in self.each)",
        "return True",
        f"{CHOICE} -k serves_when",
    ),
    Mutant("metadata may be given twice", SERVICE, "        if name in found:\n", "        if False:\n", f"{VALIDATION} -k every_wrong"),
)
