"""Why a job is where it is."""

from headrace_client import AdminClient, Client, State

from tests.support.processes import Process, until


async def test_each_reason_is_explained(client: Client, admin: AdminClient, agent: Process) -> None:
    orphan = await client.explain((await client.submit("nobody")).job_id)
    assert (orphan.wait_reason, orphan.agents) == ("no_agent", 0) and "No connected agent serves its type nobody" in orphan.text
    later = await client.explain((await client.submit("echo", delay_s=3600)).job_id)
    assert later.wait_reason == "scheduled" and "to start at" in later.text
    done = (await client.submit("echo")).job_id
    await client.wait(done)
    assert "It completed at" in (await client.explain(done)).text
    failed = (await client.submit("permanent")).job_id
    await client.wait(failed)
    assert "never_again" in (await client.explain(failed)).text
    running = [(await client.submit("gate", "open")).job_id for _ in range(10)]  # the agent has 8 slots

    async def all_slots_taken() -> bool:
        return (await client.explain(running[0])).slots_free == 0

    await until(all_slots_taken)
    told = await client.explain(running[0])
    assert told.state is State.PROCESSING and "runs on agent tester" in told.text
    waiting = [await client.explain(job_id) for job_id in running[8:]]
    assert [(item.wait_reason, item.ahead, item.slots) for item in waiting] == [("ready", 0, 8), ("ready", 1, 8)]
    urgent = await client.explain((await client.submit("echo", priority=10)).job_id)
    assert (urgent.wait_reason, urgent.ahead) == ("ready", 0)
    await admin.pause_type("gate")
    assert "headrace types resume gate" in (await client.explain(running[9])).text
    await admin.abort(running[:8], reason="over", grace_s=0)
