"""An agent of an invented shop, so that there is something to look at: orders as graphs, imports that fail in several ways, long work with a log, and children.

`headrace-agent run demo.orders:agent`
"""

import asyncio
import random
from typing import Any

from headrace_agent import Agent, Backoff, Fail, JobContext, Retry

agent = Agent("shop", slots=8, build="2026.11", labels={"zone": "eu-1"})
ROWS = 240


@agent.job("order.check", timeout_s=30)
async def check(ctx: JobContext, order: dict[str, Any]) -> dict[str, Any]:
    """Looks at an order."""
    ctx.log.info(f"order {order['order']}: {len(order['lines'])} lines")
    await asyncio.sleep(0.2)
    return {"order": order["order"], "risk": round(random.random() / 5, 3)}


@agent.job("order.reserve", timeout_s=30)
async def reserve(ctx: JobContext, order: dict[str, Any]) -> dict[str, Any]:
    """Reserves what was ordered."""
    for line in order["lines"]:
        ctx.log.debug(f"reserved {line['quantity']} of {line['article']}")
    await asyncio.sleep(0.3)
    return {"reserved": len(order["lines"])}


@agent.job("order.invoice", timeout_s=30)
async def invoice(ctx: JobContext, order: dict[str, Any]) -> dict[str, Any]:
    """Writes the invoice, and has it sent by a child."""
    total = sum(line["quantity"] * line["price"] for line in order["lines"])
    await ctx.submit("mail.invoice", {"to": order["customer"], "total": total}, instance_id=order["order"])
    return {"total": total, "currency": "EUR"}


@agent.job("order.ship", timeout_s=30, max_attempts=3, retry=Backoff(1, jitter=0))
async def ship(ctx: JobContext, order: dict[str, Any]) -> dict[str, Any]:
    """Hands the parcel over; the carrier does not know every country."""
    if order["country"] == "XX":
        raise Fail(f"the carrier does not deliver to {order['country']}", code="unknown_country")
    return {"parcel": f"P{ctx.job_id % 1_000_000:06}"}


@agent.job("mail.invoice", timeout_s=30)
async def mail(ctx: JobContext, data: dict[str, Any]) -> str:
    """Pretends to send a mail."""
    ctx.log.info(f"mail to {data['to']}")
    return str(data["to"])


@agent.job("import.rows", max_attempts=2, retry=Backoff(0.5, jitter=0))
async def import_rows(ctx: JobContext, data: dict[str, Any]) -> dict[str, Any]:
    """Fails in the ways in which imports do."""
    ctx.log.info(f"reading {data['file']}")
    if data["fault"] == "timeout":
        raise Retry("the file server did not answer", after_s=0.5)
    if data["fault"] == "format":
        ctx.log.error("row 17: 5 columns, 6 were expected")
        raise Fail("row 17 has 5 columns, 6 were expected", code="bad_row")
    if data["fault"] == "key":
        return {"first": data["no such column"]}
    return {"rows": data["rows"]}


@agent.job("sync.customers", timeout_s=3600, concurrency=2)
async def sync(ctx: JobContext, data: dict[str, Any]) -> dict[str, Any]:
    """Takes its time, tells of its progress, and logs at every level."""
    for row in range(ROWS):
        ctx.progress(100 * row / ROWS, f"customer {row} of {ROWS}")
        level = ctx.log.warning if row % 40 == 39 else ctx.log.debug if row % 3 else ctx.log.info
        level(f"customer {data['first'] + row}: {'address is incomplete' if row % 40 == 39 else 'unchanged' if row % 3 else 'updated'}")
        await asyncio.sleep(data.get("pause_s", 1.0))
    return {"customers": ROWS}
