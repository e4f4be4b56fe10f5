"""An event loop in a thread of its own, for the clients that block."""

import asyncio
import contextlib
import functools
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from headrace_client.base import Base
from headrace_client.errors import ClientClosed, ForkError, InvalidRequest

T = TypeVar("T")
P = ParamSpec("P")
C = TypeVar("C", bound=Base)


END_S = 5.0
"""How long calls that are under way may take to end when their client is closed."""


class Blocking(Generic[C]):
    """A client of asyncio whose methods block. Use as a context manager, or call `close`. Safe to use from several threads; not after a fork."""

    def __init__(self, make: Callable[[], C]) -> None:
        """`make` is called in the loop. Raises what it does."""
        self._pid = os.getpid()
        self._turn = threading.Lock()  # of who has something done in the loop, and who closes it
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headrace-client", daemon=True)
        self._thread.start()

        async def made() -> C:
            return make()

        try:
            self._client = self._run(made())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections and ends the thread. Calls of other threads that are under way fail with ClientClosed."""
        if os.getpid() != self._pid:
            return
        if threading.current_thread() is self._thread:
            raise InvalidRequest("this client was closed in its own thread, which would wait for itself: close it where it was made")
        with self._turn:
            if self._closing:
                return
            self._closing = True
            ended = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        try:
            ended.result()
        finally:
            self._stop()

    async def _end(self) -> None:
        """Whatever else runs in the loop, such as the pause before another try, ends too: somebody waits for it."""
        try:
            await self._client.close()
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            if others:
                await asyncio.wait(others, timeout=END_S)

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if os.getpid() != self._pid:
            coroutine.close()
            raise ForkError("this client was made before the process was forked; neither its thread nor gRPC survives that: make a new client in the child")
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise InvalidRequest("this client was called in its own thread, which reads what submit_stream is given and asks for tokens: use another client there")
        with self._turn:
            if self._closing:
                coroutine.close()
                raise ClientClosed("this client is closed: make a new one")
            future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ClientClosed("this client was closed while the call was under way: it may have been carried out") from None
        except BaseException:
            future.cancel()
            raise

    def _iterate(self, make: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
        iterator, turn = make(), asyncio.Lock()
        stepping: set[asyncio.Task[Any] | None] = set()

        async def step() -> tuple[bool, Any]:
            stepping.add(asyncio.current_task())
            try:
                async with turn:
                    return True, await anext(iterator)
            except StopAsyncIteration:
                return False, None
            finally:
                stepping.clear()

        async def end() -> None:
            for task in stepping:  # a step that was given up, as by Ctrl-C, ends before the iterator does
                if task is not None and not task.cancelling():
                    task.cancel()
            async with turn:
                await iterator.aclose()

        try:
            while True:
                more, item = self._run(step())
                if not more:
                    return
                yield item
        finally:
            if sys.is_finalizing():  # at the end of the program, where the thread does not run any more
                pass
            elif threading.current_thread() is self._thread:  # where it was collected as garbage: nobody waits
                asyncio.run_coroutine_threadsafe(end(), self._loop)
            else:
                with contextlib.suppress(ClientClosed, ForkError):
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
