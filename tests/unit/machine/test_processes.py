"""Background processes: known by pid and start, ended, and gone only when all of their threads are."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helioimages.core import threads
from helioimages.machine import processes as background

# The first thread ends; another one holds what the process has open.
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def wait(until: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_will_not_end_is_killed(tmp_path):
    log = tmp_path / "log"
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    process = background.spawn("stubborn", ["/bin/sh", "-c", script], env=os.environ, log=log)
    try:
        assert process.alive
        wait(log.read_text)
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        background.end([process], seconds=0.2)
        assert not process.alive
    finally:
        background.end([process], seconds=0)


def test_a_number_that_went_to_another_process_is_not_ours():
    mine = background.Background(name="x", pid=os.getpid(), started=1)
    assert not mine.alive
    background.end([mine], seconds=0)


def test_a_process_whose_first_thread_ended_is_still_there(tmp_path):
    process = background.spawn("headless", [sys.executable, "-c", HEADLESS], env=os.environ, log=tmp_path / "log")
    try:
        wait(lambda: ") Z " in Path(f"/proc/{process.pid}/stat").read_text())
        assert process.alive
    finally:
        background.end([process], seconds=5)
    assert not process.alive


def test_it_has_a_session_of_its_own_and_is_waited_for(tmp_path):
    process = background.spawn("sleeper", ["/bin/sleep", "60"], env=os.environ, log=tmp_path / "log")
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        background.end([process], seconds=5)
    wait(lambda: not Path(f"/proc/{process.pid}").exists())


def test_a_name_with_parentheses_hides_nothing(tmp_path):
    program = tmp_path / "a) Z (b"
    shutil.copyfile("/bin/sleep", program)
    program.chmod(0o755)
    process = background.spawn("odd", [str(program), "60"], env=os.environ, log=tmp_path / "log")
    try:
        wait(lambda: "Z" in Path(f"/proc/{process.pid}/comm").read_text())
        # This process is older, by less than the test's run.
        assert process.started - background.find("us", os.getpid()).started in range(3600 * os.sysconf("SC_CLK_TCK"))
        assert process.alive
    finally:
        background.end([process], seconds=5)


def test_a_number_that_nobody_has_is_not_alive():
    gone = background.find("gone", 2**22)
    assert (gone.started, gone.alive) == (0, False)


def test_what_threads_wait_for_is_ended_and_nothing_begins_after_that(tmp_path):
    programs, there = background.Waited(), tmp_path / "there"
    result = programs.run(["/bin/sh", "-c", "umask; echo $A; echo told >&2; exit 3"], env={"A": "b"}, umask=0o027)
    assert (result.returncode, result.stdout, result.stderr) == (3, "0027\nb\n", "told\n")
    with threads.pool(1) as pool:
        script = f"echo >{there}; exec sleep 60"
        waiting = pool.submit(programs.run, ["/bin/sh", "-c", script], env=os.environ)
        wait(there.exists)
        programs.end()
        assert waiting.result(10).returncode == -signal.SIGKILL
    with pytest.raises(InterruptedError):
        programs.run(["/bin/true"], env={})


def test_a_program_that_has_just_begun_is_ended_too(monkeypatch):
    programs, begin = background.Waited(), background.subprocess.Popen
    ending = threading.Thread(target=programs.end)

    def begun(*given, **more):
        process = begin(*given, **more)
        # Now, before anybody has noted it.
        ending.start()
        ending.join(0.2)
        return process

    monkeypatch.setattr(background.subprocess, "Popen", begun)
    assert programs.run(["/bin/sleep", "20"], env={}).returncode == -signal.SIGKILL
    ending.join()
