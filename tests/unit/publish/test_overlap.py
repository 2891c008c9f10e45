"""What is made, sent and tested at once: the order, what a failure stops, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.publish.overlap import Steps, overlapped, told

WAIT = 30


def never() -> None:
    raise AssertionError("nobody interrupted it")


def steps(
    make: Callable,
    send: Callable = lambda item: item,
    finish: Callable = lambda item: item.upper(),
    end: Callable = never,
) -> Steps:
    return Steps(make=make, send=send, finish=finish, end=end)


def making(*items: str) -> Callable:
    def make(ready: Callable[[str], None]) -> None:
        for item in items:
            ready(item)

    return make


def fault(name: str, stage: Stage = Stage.SMOKE) -> HelioError:
    return HelioError(stage, f"{name} failed", where=name)


def test_all_in_order():
    assert overlapped(steps(making("a", "b", "c"))) == (("A", "B", "C"), ())
    assert overlapped(steps(making())) == ((), ())


def test_the_next_is_made_and_sent_while_one_is_tested():
    sent, log = threading.Event(), []

    def make(ready: Callable[[str], None]) -> None:
        ready("a")
        # Made only once the first is being tested.
        assert testing.wait(WAIT)
        log.append("made b")
        ready("b")

    testing = threading.Event()

    def send(item: str) -> str:
        log.append(f"sent {item}")
        if item == "b":
            sent.set()
        return item

    def finish(item: str) -> str:
        if item == "a":
            testing.set()
            # Tested only once the second was sent.
            assert sent.wait(WAIT)
        log.append(f"tested {item}")
        return item

    assert overlapped(steps(make, send, finish)) == (("a", "b"), ())
    assert log == ["sent a", "made b", "sent b", "tested a", "tested b"]


@pytest.mark.parametrize("fails", ["", "send", "finish"])
def test_the_next_is_made_after_the_first_is_done_if_one_waits(fails):
    log = []

    def make(ready: Callable[[str], Callable[[], None]]) -> None:
        done = ready("a")
        done()
        log.append("made b")
        ready("b")

    def step(name: str) -> Callable[[str], str]:
        def work(item: str) -> str:
            log.append(f"{name} {item}")
            if name == fails and item == "a":
                raise fault(item)
            return item

        return work

    done, faults = overlapped(steps(make, step("send"), step("finish")))
    first = ["send a"] if fails == "send" else ["send a", "finish a"]
    assert log == [*first, "made b", "send b", "finish b"]
    assert (done, len(faults)) == ((("b",), 1) if fails else (("a", "b"), 0))


def test_who_waits_hears_an_interrupt():
    begun, go = threading.Event(), threading.Event()

    def make(ready: Callable[[str], Callable[[], None]]) -> None:
        done = ready("a")
        assert begun.wait(WAIT)
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        done()
        raise AssertionError("it was done")

    def finish(item: str) -> str:
        begun.set()
        assert go.wait(WAIT)
        return item

    with pytest.raises(KeyboardInterrupt):
        overlapped(steps(make, finish=finish, end=go.set))


def test_a_step_does_one_thing_at_a_time():
    busy = {"send": threading.Lock(), "finish": threading.Lock()}

    def alone(step: str) -> Callable[[str], str]:
        def work(item: str) -> str:
            assert busy[step].acquire(blocking=False), f"two at once: {step}"
            busy[step].release()
            return item

        return work

    names = tuple(f"{number:03}" for number in range(200))
    assert overlapped(steps(making(*names), alone("send"), alone("finish"))) == (names, ())


@pytest.mark.parametrize("step", ["send", "finish"])
def test_one_that_fails_stops_no_other(step):
    def failing(item: str) -> str:
        if item in ("a", "c"):
            raise fault(item)
        return item

    done, faults = overlapped(steps(making("a", "b", "c", "d"), **{step: failing}))
    assert [item.lower() for item in done] == ["b", "d"]
    assert [error.message for error in faults] == ["a failed", "c failed"]


def test_what_was_made_before_making_failed_is_published():
    def make(ready: Callable[[str], None]) -> None:
        ready("a")
        raise fault("b", Stage.BUILD)

    done, faults = overlapped(steps(make))
    assert (done, [error.message for error in faults]) == (("A",), ["b failed"])


def test_several_errors_are_told_as_one():
    (error,) = overlapped(steps(making("a"), finish=lambda item: (_ for _ in ()).throw(fault(item))))[1]
    assert told((error,)) is error
    whole = told((fault("a"), fault("b", Stage.PUBLISH), HelioError(Stage.BUILD, "no space")))
    assert (whole.stage, whole.message, whole.where) == (Stage.SMOKE, "a failed", "a")
    assert whole.detail == "and: b failed (b)\nand: no space"


@pytest.mark.parametrize("step", ["make", "send", "finish"])
def test_a_fault_of_ours_is_not_taken_for_one_of_an_image(step):
    def wrong(*_: object) -> str:
        raise ZeroDivisionError

    given = {"make": making("a", "b")} | {step: wrong}
    with pytest.raises(ZeroDivisionError):
        overlapped(steps(**given))


def test_an_interrupt_ends_what_runs_and_begins_nothing():
    testing, ended, begun = threading.Event(), threading.Event(), []

    def make(ready: Callable[[str], None]) -> None:
        ready("a")
        ready("b")
        assert testing.wait(WAIT)
        raise KeyboardInterrupt

    def finish(item: str) -> str:
        begun.append(item)
        testing.set()
        # As a container that is removed: its notebook ends.
        assert ended.wait(WAIT)
        raise fault(item)

    with pytest.raises(KeyboardInterrupt):
        overlapped(steps(make, finish=finish, end=ended.set))
    assert ended.is_set()
    assert begun == ["a"]
