"""Something of everything that the manager shows: orders as graphs, failures of several kinds, jobs that wait for every reason, schedules, changes by people."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace_client import AdminClient, Client, JobFilter, JobSpec, ScheduleSpec

COUNTRIES = ("DE", "FR", "NL", "AT", "XX")
SETTLED_S = 30.0


@dataclass(frozen=True)
class Seen:
    """Jobs that are good to look at: one that depends on others, one that failed and was requeued with another payload
    (`version` of it), one that runs and logs; and an operation on many."""

    graph: int
    repaired: int
    version: int
    runs: int
    operation: int


async def go_on(client: Client, *, every_s: float = 5.0) -> None:
    """An order every few seconds, until it is cancelled."""
    number = 2000
    while True:
        number += 1
        await _order(client, number, COUNTRIES[number % 5])
        await asyncio.sleep(every_s)


async def fill(client: Client, admin: AdminClient, *, pause_s: float = 1.0) -> Seen:
    """Submits it, and does what people do. `pause_s`: how long each step of the long jobs takes."""
    orders = [await _order(client, 1001 + number, COUNTRIES[number % 5]) for number in range(10)]
    imports = [
        (
            await client.submit("import.rows", {"file": f"s3://imports/{n:04}.csv", "rows": 120 + n, "fault": fault, "apiToken": f"tok-{n}"}, labels={"source": "erp"})
        ).job_id
        for n, fault in enumerate(("format", "", "timeout", "key", "", "format", "format", "", "", "timeout"))
    ]
    runs = [(await client.submit("sync.customers", {"first": 10_000 * n, "pause_s": pause_s}, instance_id=f"sync-{n}")).job_id for n in range(4)]
    for number in range(12):
        await client.submit("label.print", {"parcel": f"P{number:06}", "copies": 2}, priority=number % 3, labels={"printer": f"hall-{number % 2}"})
    for hours in (1, 6, 30):
        await client.submit("report.build", {"kind": "monthly", "hours": hours}, start_at=datetime.now(UTC) + timedelta(hours=hours))
    await _schedules(admin)
    await admin.set_type("report.build", priority=20, reason="month end: reports go first")
    await admin.set_type("label.print", concurrency=2, reason="there are two printers")
    await client.submit("invoice.export", {"month": "2026-10"})
    await admin.pause_type("invoice.export", reason="the ledger is being closed")
    async with asyncio.timeout(SETTLED_S):
        for job_id in (*imports, orders[0][-1], orders[4][-1]):
            await client.wait(job_id)
    operation = await _people(client, admin, imports)
    return Seen(orders[4][-1], imports[0], (await client.get(imports[0])).payload_version, runs[0], operation)


async def _order(client: Client, number: int, country: str) -> list[int]:
    """Check and reserve, then invoice, then ship: each waits for those before it."""
    name = f"order-{number}"
    order: dict[str, Any] = {
        "order": name, "customer": f"customer{number}@example.org", "country": country, "cardToken": f"tok_{number}",
        "lines": [{"article": f"A-{number % 7}{n}", "quantity": n + 1, "price": 19.9 + n} for n in range(3)],
    }  # fmt: skip
    labels = {"country": country}
    check = (await client.submit("order.check", order, instance_id=name, labels=labels, priority=5)).job_id
    reserve = (await client.submit("order.reserve", order, instance_id=name, labels=labels, depends_on=[check])).job_id
    invoice = (await client.submit("order.invoice", order, instance_id=name, labels=labels, depends_on=[check])).job_id
    ship = (await client.submit("order.ship", order, instance_id=name, labels=labels, depends_on=[reserve, invoice])).job_id
    label = (await client.submit("label.print", {"order": name}, instance_id=name, depends_on=[ship])).job_id
    return [check, reserve, invoice, label, ship]


async def _schedules(admin: AdminClient) -> None:
    await admin.put_schedule("nightly", ScheduleSpec("report.build", cron="30 2 * * *", time_zone="Europe/Berlin", data={"kind": "daily"}), reason="as agreed with sales")
    await admin.put_schedule("poll-imports", ScheduleSpec("import.rows", interval_s=60, data={"file": "s3://imports/new.csv", "rows": 3, "fault": ""}, overlap="skip"))
    await admin.put_schedule("close-month", ScheduleSpec("invoice.export", cron="0 6 1 * *", data={"month": "last"}))
    await admin.pause_schedule("close-month", reason="until the new chart of accounts is there")


async def _people(client: Client, admin: AdminClient, imports: list[int]) -> int:
    """Changes that leave their traces: another payload, a hold, an operation on many jobs, whose id is returned."""
    await admin.requeue(
        [imports[0]], reason="the file was repaired", payload=b'{"file": "s3://imports/0000-repaired.csv", "rows": 120, "fault": "", "apiToken": "tok-0"}'
    )
    await client.wait(imports[0])
    await admin.update([imports[2]], hold=True, reason="kept for the supplier")
    await client.submit_many([JobSpec("label.print", {"parcel": f"R{number:06}"}, labels={"batch": "returns"}) for number in range(400)])
    await admin.abort([(await client.submit("label.print", labels={"batch": "returns"})).job_id], reason="printed by hand")
    found = JobFilter(types=["label.print"], labels={"batch": "returns"})
    operation = await admin.start_operation("abort", found, reason="these parcels came back", rate=5)
    return operation.operation_id
