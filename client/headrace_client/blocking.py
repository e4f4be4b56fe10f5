"""An event loop in a thread of its own, for the clients that block."""

import asyncio
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from headrace_client.base import Base
from headrace_client.errors import ClientClosed, ForkError, HeadraceError

T = TypeVar("T")
P = ParamSpec("P")
C = TypeVar("C", bound=Base)


class Blocking(Generic[C]):
    """A client of asyncio whose methods block. Use as a context manager, or call `close`. Safe to use from several threads; not after a fork."""

    def __init__(self, make: Callable[[], C]) -> None:
        """`make` is called in the loop. Raises what it does."""
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

        async def made() -> C:
            return make()

        try:
            self._client = self._run(made())
        except HeadraceError:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections and ends the thread."""
        if self._loop.is_closed() or os.getpid() != self._pid:
            return
        self._run(self._client.close())
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if os.getpid() != self._pid or self._loop.is_closed():
            coroutine.close()
            if os.getpid() != self._pid:
                raise ForkError("this client was made before the process was forked; neither its thread nor gRPC survives that: make a new client in the child")
            raise ClientClosed("this client is closed: make a new one")
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, make: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
        iterator = make()

        async def step() -> tuple[bool, Any]:
            try:
                return True, await anext(iterator)
            except StopAsyncIteration:
                return False, None

        async def end() -> None:
            await iterator.aclose()

        try:
            while True:
                more, item = self._run(step())
                if not more:
                    return
                yield item
        finally:
            if not self._loop.is_closed():
                self._run(end())


class Call(Generic[P, T]):
    """A method of the client, blocking: `list_types = Call(AdminClient.list_types)`."""

    def __init__(self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, client: Blocking[Any], owner: type) -> Callable[P, T]:
        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return client._run(self._method(client._client, *args, **kwargs))

        return call


class Stream(Generic[P, T]):
    """A method that gives one thing after another, blocking."""

    def __init__(self, method: Callable[Concatenate[Any, P], AsyncGenerator[T, None]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, client: Blocking[Any], owner: type) -> Callable[P, Iterator[T]]:
        @functools.wraps(self._method)
        def call(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return client._iterate(lambda: self._method(client._client, *args, **kwargs))

        return call
