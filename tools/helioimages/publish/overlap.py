"""Images in three steps at once: one is made while the one before is sent, and the one before that is tested.

`overlapped` knows no image: what is made is given to two threads, each of which does one thing at a time, in order. So
a child is sent after its parent, whose layers it takes, and notebooks of two images never share the processors.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from ..core import threads
from ..core.errors import HelioError

Item = TypeVar("Item")
Sent = TypeVar("Sent")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps(Generic[Item, Sent, Done]):
    """What is done to each item.

    Attributes:
        make: makes all items in the calling thread, and gives each to its argument when it is made. What that returns
            waits until the item has had its other steps, come what may: for whom nothing else is to be made meanwhile.
        send: the second step, in a thread of its own.
        finish: the third one, in another.
        end: called at an interrupt; ends what the steps started outside this process.
    """

    make: Callable[[Callable[[Item], Callable[[], None]]], object]
    send: Callable[[Item], Sent]
    finish: Callable[[Sent], Done]
    end: Callable[[], None]


def overlapped(steps: Steps[Item, Sent, Done]) -> tuple[tuple[Done, ...], tuple[HelioError, ...]]:
    """Return what came of the items, in the order in which they were made, and what went wrong, in the same order.

    A failure of one item stops no other: what was made is sent, and what was sent is finished.

    Raises:
        Exception: what is no `HelioError`, when all else is over.
    """
    sent: list[Future[Future[Done]]] = []
    faults: list[HelioError] = []
    done: list[Done] = []
    with threads.pool(1, end=steps.end) as senders, threads.pool(1) as finishers:

        def send(item: Item) -> Future[Done]:
            return finishers.submit(steps.finish, steps.send(item))

        def give(item: Item) -> Callable[[], None]:
            future = senders.submit(send, item)
            sent.append(future)
            return partial(_over, future)

        late: HelioError | None = None
        try:
            steps.make(give)
        except HelioError as error:
            late = error
        for future in sent:
            try:
                done.append(future.result().result())
            except HelioError as error:
                faults.append(error)
    # Making came to its end after all that was made.
    return tuple(done), (*faults, *([late] if late else []))


def _over(future: Future[Future[Done]]) -> None:
    wait([future])
    if future.exception() is None:
        wait([future.result()])


def told(faults: tuple[HelioError, ...]) -> HelioError:
    """Return one error of several: the first, which says what else failed."""
    first, *others = faults
    if not others:
        return first
    lines = [first.detail] if first.detail else []
    lines += [f"and: {other.message}" + (f" ({other.where})" if other.where else "") for other in others]
    return HelioError(first.stage, first.message, where=first.where, detail="\n".join(lines), hint=first.hint)
