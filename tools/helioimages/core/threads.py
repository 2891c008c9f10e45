"""A pool of threads that Ctrl-C ends: Python's own waits for all that it was given, also for what has not begun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


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
