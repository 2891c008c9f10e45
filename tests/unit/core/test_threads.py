"""A pool of threads ends when people ask it to: what waits does not begin, and what works is not waited for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from helioimages.core import threads

LONG_S = 60
#: Those whose tasks are short and never wait for anybody.
OTHERS = {"core/threads.py", "oci/layer.py"}


def test_results_come_as_from_pythons_own():
    with threads.pool(2) as pool:
        assert list(pool.map(str, range(5))) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("jobs", [0, 1])
def test_one_thread_at_least(jobs):
    with threads.pool(jobs) as pool:
        assert pool.submit(int, "1").result() == 1


def test_after_an_interrupt_nothing_begins_and_nothing_is_waited_for():
    busy, go, ended = threading.Event(), threading.Event(), []

    def work(number: int) -> int:
        busy.set()
        go.wait(LONG_S)
        return number

    with pytest.raises(KeyboardInterrupt), threads.pool(1, end=lambda: ended.append(go.is_set())) as pool:
        first, second = pool.submit(work, 1), pool.submit(work, 2)
        busy.wait(LONG_S)
        raise KeyboardInterrupt
    # We are here while the first still works.
    assert (ended, first.done(), second.cancelled()) == ([False], False, True)
    go.set()
    assert first.result(LONG_S) == 1


def test_after_an_error_what_works_is_waited_for():
    busy, done, ended = threading.Event(), [], []

    def work() -> None:
        busy.set()
        done.append(1)

    with pytest.raises(ValueError, match="x"), threads.pool(1, end=lambda: ended.append(1)) as pool:
        pool.submit(work)
        later = [pool.submit(threading.Event().wait, 0.01) for _ in range(3)]
        busy.wait(LONG_S)
        raise ValueError("x")
    assert done == [1] and ended == []
    assert all(future.done() for future in later)


def test_every_room_uses_it():
    rooms = Path(threads.__file__).parents[1]
    files = {
        path.relative_to(rooms).as_posix() for path in rooms.rglob("*.py") if "ThreadPoolExecutor(" in path.read_text()
    }
    assert files == OTHERS


def test_two_that_want_the_same_take_turns_and_others_do_not_wait():
    turns, at_work, go, order = threads.Turns(), threading.Event(), threading.Event(), []

    def work(name: str, number: int, *, first: bool = False) -> None:
        with turns.of(name):
            order.append(number)
            if first:
                at_work.set()
                assert go.wait(LONG_S)
            order.append(number)

    with threads.pool(3) as pool:
        pool.submit(work, "a", 1, first=True)
        assert at_work.wait(LONG_S)
        second = pool.submit(work, "a", 2)
        pool.submit(work, "b", 3).result(LONG_S)
        assert order == [1, 3, 3]
        go.set()
        second.result(LONG_S)
    assert order == [1, 3, 3, 1, 2, 2]


def test_threads_that_ask_at_once_have_it_asked_once():
    asked, go = [], threading.Barrier(4)

    @threads.Once
    def ask() -> int:
        asked.append(1)
        # Long enough for others to come.
        threading.Event().wait(0.1)
        return len(asked)

    def call() -> int:
        go.wait(LONG_S)
        return ask()

    with threads.pool(4) as pool:
        assert [future.result() for future in [pool.submit(call) for _ in range(4)]] == [1] * 4
    ask.cache_clear()
    assert ask() == 2
