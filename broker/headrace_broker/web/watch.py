"""Keeps the sessions of this broker and those of all others alike: twice a second."""

import asyncio

import structlog

from headrace_broker.actions.fresh import REFRESH_S
from headrace_broker.model.errors import BrokerError
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.web.register import Register

log = structlog.get_logger("headrace.web")


async def watch(register: Register) -> None:
    """Until cancelled. While the database is away, who is logged in stays so."""
    while True:
        try:
            await register.run_once()
        except (BrokerError, *ANY_FAILURE) as error:
            log.warning("sessions not compared with those of other brokers, their users and tokens; it will be tried again", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(REFRESH_S)
