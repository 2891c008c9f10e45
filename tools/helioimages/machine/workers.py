"""Work in other processes, and an error instead of silence when one of them is killed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import TypeVar

from ..core.errors import HelioError, Stage

Task = TypeVar("Task")
Result = TypeVar("Result")


def run(
    function: Callable[[Task], Result], tasks: Iterable[Task], *, jobs: int, what: str
) -> Iterator[tuple[Task, Result]]:
    """Yield every task with its result as it is done.

    Args:
        function: of a module, called in one of at most ``jobs`` processes.
        tasks: the largest first: a big one started last would be waited for by idle processes. What yields them may
            take its time: work begins with the first.
        what: the work is for, shown when a worker dies.

    Raises:
        HelioError: a worker was killed; whatever ``function`` raises.
    """
    if not tasks:
        return
    most = min(jobs, len(tasks)) if isinstance(tasks, Sequence) else jobs
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(most, mp_context=context) as pool:
        try:
            yield from _results(pool, function, tasks)
        except _Killed as killed:
            # A worker that was started while the pool broke is never told to end, and leaving the pool would wait for
            # it for ever (CPython 3.11).
            _kill(others)
            raise HelioError(
                Stage.LINK,
                f"a worker that made {what} was killed",
                detail=str(killed),
                hint="this machine may lack memory: run with fewer --jobs; what is done is kept",
            ) from killed
        except Exception:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        except BaseException:
            # Ctrl-C, which workers do not hear: what they make may take long, and nothing half is ever read.
            pool.shutdown(wait=False, cancel_futures=True)
            _kill(others)
            raise


def _kill(others: Collection[BaseProcess]) -> None:
    """Kill the workers that were started since."""
    workers = set(multiprocessing.active_children()) - set(others)
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


class _Killed(Exception):
    """A worker is gone."""


def _results(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Iterable[Task]
) -> Iterator[tuple[Task, Result]]:
    futures = {}
    for task in tasks:
        try:
            futures[pool.submit(function, task)] = task
        except (BrokenProcessPool, OSError, EOFError) as error:
            # Workers start on demand: one that dies meanwhile shows as a closed pipe.
            raise _Killed(str(error) or type(error).__name__) from error
    for future in as_completed(futures):
        try:
            result = future.result()
        except BrokenProcessPool as error:
            raise _Killed(str(error)) from error
        yield futures[future], result
