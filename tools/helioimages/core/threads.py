"""A pool of threads that Ctrl-C ends: Python's own waits for all that it was given, also for what has not begun.

And turns, for threads that want the same.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Value = TypeVar("Value")


@contextlib.contextmanager
def pool(jobs: int, *, end: Callable[[], None] | None = None) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool; if the block fails, what waits does not begin.

    After an error, tasks at work are waited for. After an interrupt they are not: they may wait for a server, and the
    process is about to end.

    Args:
        jobs: threads; one if less.
        end: called at an interrupt, ends what the tasks started outside this process, as a container.
    """
    made = ThreadPoolExecutor(max(1, jobs))
    try:
        yield made
    except Exception:
        made.shutdown(cancel_futures=True)
        raise
    except BaseException:
        made.shutdown(wait=False, cancel_futures=True)
        if end:
            end()
        raise
    made.shutdown()


class Turns:
    """A lock for each name: the first thread makes what is named, others wait, and find it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Wait for the turn of this thread."""
        with self._guard:
            lock = self._locks[name]
        with lock:
            yield


class Once(Generic[Value]):
    """A function without arguments that is called once: `functools.cache` lets all threads in that ask at once."""

    def __init__(self, function: Callable[[], Value]) -> None:
        self._function, self._lock = function, threading.Lock()
        self._values: list[Value] = []
        self.__doc__ = function.__doc__

    def __call__(self) -> Value:
        """Return what the function gave, calling it if nobody has."""
        with self._lock:
            if not self._values:
                self._values.append(self._function())
            return self._values[0]

    def cache_clear(self) -> None:
        """Have it called again."""
        with self._lock:
            self._values.clear()
