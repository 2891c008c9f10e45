"""Work in other processes, and an error instead of silence when one of them is killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from .errors import HelioError, Stage

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, what: str
) -> Iterator[tuple[Task, Result]]:
    """Yield every task with its result as it is done.

    Args:
        function: of a module, called in one of at most ``jobs`` processes.
        tasks: the largest first: a big one started last would be waited for by idle processes.
        what: the work is for, shown when a worker dies.

    Raises:
        HelioError: a worker was killed; whatever ``function`` raises.
    """
    if not tasks:
        return
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        try:
            futures = {pool.submit(function, task): task for task in tasks}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except (BrokenProcessPool, BrokenPipeError, EOFError) as error:
            # The last two are of a worker that died while it was started. One that was started while the pool broke is
            # never told to end, and leaving the pool would wait for it for ever (CPython 3.11).
            for worker in set(multiprocessing.active_children()) - others:
                worker.kill()
            raise HelioError(
                Stage.LINK,
                f"a worker that made {what} was killed",
                detail=str(error) or type(error).__name__,
                hint="this machine may lack memory: run with fewer --jobs; what is done is kept",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
