"""Why a job is where it is."""

import re

from headrace_client import AdminClient, Client, JobSpec, RateLimit, State

from tests.support.processes import Process, until


async def test_each_reason_is_explained(client: Client, admin: AdminClient, agent: Process) -> None:
    orphan = await client.explain((await client.submit("nobody")).job_id)
    assert (orphan.wait_reason, orphan.agents) == ("no_agent", 0) and "No connected agent serves its type nobody" in orphan.text
    later = await client.explain((await client.submit("echo", delay_s=3600)).job_id)
    assert later.wait_reason == "scheduled" and re.search(r"to start at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \(in 60 min\)\.", later.text), later.text
    done = (await client.submit("echo")).job_id
    await client.wait(done)
    assert re.search(r"It completed at [0-9-]+ [0-9:]+ UTC in attempt 1 of run 1\. It is deleted at [0-9-]+ [0-9:]+ UTC\.$", (await client.explain(done)).text)
    failed = (await client.submit("permanent")).job_id
    await client.wait(failed)
    assert re.search(r"It ended in error at [0-9-]+ [0-9:]+ UTC after 1 attempt in run 1\. The last error was never_again: .*\.$", (await client.explain(failed)).text)
    running = [(await client.submit("gate", "open")).job_id for _ in range(10)]  # the agent has 8 slots

    async def all_slots_taken() -> bool:
        return (await client.explain(running[0])).slots_free == 0

    await until(all_slots_taken)
    told = await client.explain(running[0])
    assert told.state is State.PROCESSING and "runs on agent tester" in told.text
    waiting = [await client.explain(job_id) for job_id in running[8:]]
    assert [(item.wait_reason, item.ahead, item.slots) for item in waiting] == [("ready", 0, 8), ("ready", 1, 8)]
    assert "No other job goes first. 1 connected agent serves gate" in waiting[0].text and "About 1 job goes first." in waiting[1].text
    urgent = await client.explain((await client.submit("echo", priority=10)).job_id)
    assert (urgent.wait_reason, urgent.ahead) == ("ready", 0)
    await admin.pause_type("gate")
    assert "headrace types resume gate" in (await client.explain(running[9])).text
    await admin.abort(running[:8], reason="over", grace_s=0)


async def test_what_is_limited_names_the_jobs_that_hold_it(client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.set_type("gate", concurrency_per_key=2, concurrency=3)
    jobs = [(await client.submit("gate", "open", limit_key="customer")).job_id for _ in range(3)]

    async def capped() -> bool:
        return (await client.explain(jobs[2])).wait_reason == "capped"

    await until(capped)
    found = await client.explain(jobs[2])
    assert [(blocker.job_id, blocker.type, blocker.state, blocker.why) for blocker in found.blockers] == [
        (job_id, "gate", State.PROCESSING, "limit_key") for job_id in jobs[:2]
    ]
    assert (found.blockers_total, found.limit_key) == (2, "customer") and str(jobs[0]) in found.text
    more = [(await client.submit("gate", "open")).job_id for _ in range(2)]

    async def full() -> bool:
        return (await client.explain(more[1])).blockers_total == 3

    await until(full)
    found = await client.explain(more[1])
    assert {blocker.why for blocker in found.blockers} == {"concurrency"} and [blocker.job_id for blocker in found.blockers] == [*jobs[:2], more[0]]


async def test_a_pause_names_who_and_why_and_a_rate_until_when(client: Client, admin: AdminClient, agent: Process) -> None:
    await admin.pause_type("gate", reason="the gate is broken")
    found = await client.explain((await client.submit("gate", "open")).job_id)
    assert (found.wait_reason, found.paused, found.paused_by, found.paused_reason) == ("paused", "type gate", "tester", "the gate is broken")
    assert found.paused_at is not None
    await admin.set_type("echo", rate_limit=RateLimit(1, 3600.0))
    jobs = [(await client.submit("echo", number)).job_id for number in range(2)]

    async def limited() -> bool:
        return (await client.explain(jobs[1])).wait_reason == "rate_limited"

    await until(limited)
    found = await client.explain(jobs[1])
    assert found.rate_limited_until is not None and found.estimated_start is not None
    assert found.rate_limited_until <= found.estimated_start and "rate limit" in found.estimate_basis


async def test_an_estimate_says_what_it_is_made_of(client: Client, admin: AdminClient, agent: Process) -> None:
    later = await client.explain((await client.submit("echo", delay_s=3600)).job_id)
    assert later.not_before == later.estimated_start is not None and "own time" in later.estimate_basis
    nobody = await client.explain((await client.submit("nobody")).job_id)
    assert (nobody.estimated_start, nobody.estimate_basis) == (None, "")
    await client.submit_many([JobSpec("gate", "never") for _ in range(20)])

    async def full() -> bool:
        return (await client.count()).types["gate"].get(State.PROCESSING, 0) == 8

    await until(full)
    waiting = (await client.submit("gate", "never", priority=-1)).job_id
    found = await client.explain(waiting)
    assert (found.wait_reason, found.ahead) == ("ready", 12)
    assert found.estimated_start is not None and found.estimate_basis.startswith("8 jobs of the types that its agents serve were started in the last")
    assert "It starts in about" in found.text


async def test_the_score_is_told_by_its_parts(client: Client, admin: AdminClient) -> None:
    await admin.set_type("t", priority=3, ageing_s=0.001, ageing_max=7)
    await admin.set_instance_priority("case", 20)
    job_id = (await client.submit("t", priority=100, instance_id="case")).job_id

    async def old() -> bool:
        return (await client.explain(job_id)).age_points == 7

    await until(old)
    found = await client.explain(job_id)
    assert (found.type_priority, found.instance_priority, found.job_priority, found.score) == (3, 20, 100, 130)


async def test_jobs_that_go_first_are_counted_over_all_types_and_instances(client: Client, admin: AdminClient) -> None:
    await admin.set_instance_priority("case", 5)
    for priority, instance_id, limit_key in ((0, "", ""), (6, "", ""), (0, "case", ""), (1, "", "key"), (9, "", "key"), (5, "", "")):
        await client.submit("t", priority=priority, instance_id=instance_id, limit_key=limit_key)
    found = await client.explain((await client.submit("t", instance_id="case")).job_id)
    assert found.ahead == 4  # 6, 5 and 9, and the older one of its instance
    assert (await client.explain((await client.submit("t")).job_id)).ahead == 7


async def test_jobs_that_it_depends_on_are_named_with_where_they_stand(client: Client) -> None:
    first = [(await client.submit("t", number)).job_id for number in range(25)]
    held = (await client.submit("t", 99, depends_on=first)).job_id
    found = await client.explain(held)
    assert (found.wait_reason, found.blockers_total, found.ahead) == ("dependency", 25, 0)
    assert [(blocker.job_id, blocker.state, blocker.why) for blocker in found.blockers] == [(job_id, State.WAITING, "dependency") for job_id in first[:20]]


async def test_a_job_that_waits_for_others_goes_to_its_instance_when_it_may_start(client: Client, admin: AdminClient, agent: Process) -> None:
    first = (await client.submit("gate", "open")).job_id
    held = (await client.submit("none", 1, depends_on=[first], instance_id="case")).job_id
    await client.submit("none", 2)
    operation = await admin.set_instance_priority("case", 5)

    async def followed() -> bool:
        return (await admin.list_rescores(number=operation.number))[0].state == "done"

    await until(followed)
    (agent.log.parent / "open").touch()
    await client.wait(first, timeout_s=20)

    async def ready() -> bool:
        return (await client.explain(held)).wait_reason == "no_agent"

    await until(ready)
    found = await client.explain(held)
    assert (found.score, found.ahead) == (5, 0)
