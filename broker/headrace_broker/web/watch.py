"""Ends sessions whose user or token may not go on: looked at once a second, and only while somebody is logged in."""

import asyncio

import structlog

from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.model.errors import BrokerError
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.web.sessions import Sessions

PERIOD_S = 1.0

log = structlog.get_logger("headrace.web")


async def watch(sessions: Sessions, users: Users, tokens: TokenTable, *, refresh_tokens: bool) -> None:
    """Until cancelled. `refresh_tokens`: nobody else reads what became of tokens. While the database is away, who is logged in stays so."""
    while True:
        await asyncio.sleep(PERIOD_S)
        try:
            await look(sessions, users, tokens, refresh_tokens=refresh_tokens)
        except (BrokerError, *ANY_FAILURE) as error:
            log.warning("sessions not compared with their users and tokens; it will be tried again", reason=f"{type(error).__name__}: {error}")


async def look(sessions: Sessions, users: Users, tokens: TokenTable, *, refresh_tokens: bool) -> int:
    """One look; returns how many sessions it ended."""
    of_users = [session for session in sessions.all() if session.person.user_id is not None]
    ended = 0
    if of_users:
        epochs = await users.epochs(sorted({session.person.user_id for session in of_users if session.person.user_id is not None}))
        for session in of_users:  # the person of a session is replaced when its owner changes the password: what counts is who it is now
            if epochs.get(session.person.user_id or 0) != session.person.epoch:
                session.end()
                ended += 1
    if refresh_tokens and any(session.secret is not None for session in sessions.all()):
        await tokens.refresh()
    return ended
