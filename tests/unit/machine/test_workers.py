"""Work in other processes: every result, errors as they are, and a word when a worker is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from helioimages.core.errors import HelioError
from helioimages.machine import workers


def killed(_task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def who(task: float) -> int:
    time.sleep(task)
    return os.getpid()


def test_every_task_has_its_result():
    assert dict(workers.run(str, [3, 1, 2], jobs=2, what="text")) == {3: "3", 1: "1", 2: "2"}
    assert list(workers.run(str, [], jobs=2, what="text")) == []


def test_no_more_processes_than_jobs_and_none_of_ours():
    pids = {pid for _, pid in workers.run(who, [0.0, 0.01, 0.02, 0.03], jobs=1, what="pids")}
    assert len(pids) == 1 and os.getpid() not in pids


def test_what_a_task_raises_is_raised():
    with pytest.raises(ValueError, match="invalid literal for int"):
        list(workers.run(int, ["1", "x"], jobs=1, what="numbers"))


def test_a_killed_worker_is_told_and_none_is_left():
    with pytest.raises(HelioError) as caught:
        list(workers.run(killed, [1, 2, 3], jobs=2, what="layers of `base`"))
    assert caught.value.message == "a worker that made layers of `base` was killed"
    assert caught.value.hint == "this machine may lack memory: run with fewer --jobs; what is done is kept"
    assert multiprocessing.active_children() == []


def test_an_interrupt_does_not_wait_for_workers():
    """They do not hear of Ctrl-C, and what they make may take long."""
    others = multiprocessing.active_children()
    running = workers.run(who, [0.0, 3600.0, 3600.0], jobs=2, what="pids")
    next(running)
    with pytest.raises(KeyboardInterrupt):
        running.throw(KeyboardInterrupt())
    assert multiprocessing.active_children() == others
