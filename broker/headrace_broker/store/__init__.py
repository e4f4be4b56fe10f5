"""All SQL, and the only use of asyncpg."""
