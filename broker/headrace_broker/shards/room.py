"""Who waits until the owner takes more jobs: woken in the order in which they came, as many as there is room for."""

import asyncio


class Room:
    """Falsy when nobody waits."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], int] = {}  # how many jobs each would submit; the oldest first

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self, jobs: int, until: float | None) -> None:
        """Comes back when there may be room for so many jobs, or at a time of the loop's clock. Cancellation: nothing is left behind."""
        freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[freed] = jobs
        try:
            async with asyncio.timeout_at(until):
                await freed
        except TimeoutError:
            pass
        finally:
            self._waiting.pop(freed, None)

    def free(self, jobs: float) -> None:
        """There is room for so many jobs."""
        while jobs > 0 and self._waiting:
            freed = next(iter(self._waiting))
            jobs -= self._waiting.pop(freed)
            if not freed.done():
                freed.set_result(None)
