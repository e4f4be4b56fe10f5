"""Tokens made in the database itself, before a broker asks for one."""

from headrace_broker.actions.tokens import TokenTable
from headrace_broker.model.access import Role
from headrace_broker.model.audit import Caller
from headrace_broker.store.pool import open_pool
from headrace_broker.store.tokens import TokenStore

TESTER = Caller("tester", "default", "tests")


async def make_tokens(database: str, domain: str | None = "default", *, expires_in_s: float | None = None) -> dict[str, str]:
    """A secret for each role, by its name; tokens are named after the role and the domain."""
    pool = await open_pool(database, size=1)
    try:
        table = TokenTable(TokenStore(pool))
        made = {}
        for role in Role:
            name = role.name.lower()
            _, made[name] = await table.create(f"{name}@{domain or 'all'}", domain, role, expires_in_s, caller=TESTER, reason="")
        return made
    finally:
        await pool.close()
