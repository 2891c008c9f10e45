"""The command as a process: what interrupts it, and who reads what it prints."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOOLS = {"PYTHONPATH": str(Path(__file__).parents[3] / "tools")}
LINE = "interrupted; the next run goes on from here\n"
OBJECT = (
    '{"error": {"stage": "interrupted", "code": 130, "message": "interrupted", "where": "", "detail": "", '
    '"hint": "the next run goes on from here"}}\n'
)


@pytest.mark.parametrize("moment", ["helioimages.verbs.command", "helioimages.verbs.build"])
@pytest.mark.parametrize(("words", "said"), [([], LINE), (["--json"], OBJECT)])
def test_an_interrupt_in_the_first_second_is_one_line(tmp_path, moment, words, said):
    """While the tool or a verb is imported: an import that interrupts itself stands for Ctrl-C."""
    (tmp_path / "sitecustomize.py").write_text(
        # A run of the tests in a shell's background ignores Ctrl-C, and what it starts would too.
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {moment!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    tool = Path(TOOLS["PYTHONPATH"]) / "buildimages.py"
    done = subprocess.run(
        [sys.executable, str(tool), "build", "base", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "HELIOIMAGES_STORE": str(tmp_path / "store")},
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == said


def test_threads_that_wait_for_a_server_do_not_hold_an_interrupted_tool(tmp_path):
    """A server that takes the question and never answers: Python would wait for the thread that asks."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        process = subprocess.Popen(
            [sys.executable, str(Path(TOOLS["PYTHONPATH"]) / "buildimages.py"), "doctor"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "UV_DEFAULT_INDEX": index,
                "HELIOIMAGES_DEBIAN_MIRROR": index,
                "HELIOIMAGES_STORE": str(tmp_path / "store"),
            },
            # A shell lets what runs in its background ignore Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        silent.settimeout(60)
        with silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            start = time.monotonic()
            out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (130, "", LINE)
    # Fifteen seconds is how long `doctor` waits for an answer.
    assert time.monotonic() - start < 12


def test_an_interrupt_that_comes_just_before_a_wait_is_heard_in_it():
    """Python has looked for signals and sees none until the wait is over; that is what `interrupt_main` leaves, too."""
    code = """
import _thread, threading
from helioimages.verbs.command import program, verb
import helioimages.verbs.command as command
@verb(images=False)
def waits(common):
    threading.Timer(0.2, _thread.interrupt_main).start()
    never = threading.Lock()
    never.acquire()
    never.acquire(timeout=60)
command.Verbs.get_command = lambda self, ctx, name: waits
program({"all": {"waits": ""}})(["waits"])
"""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | TOOLS, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, LINE)
    assert time.monotonic() - start < 30


def test_a_program_reads_a_result_while_the_verb_goes_on():
    # `hub --json` prints its address and stays; what waits in a buffer would be told at its end.
    code = """
import sys, time
from helioimages.verbs.command import program, verb
import helioimages.verbs.command as command
@verb(images=False)
def stays(common):
    print("here")
    sys.stdin.read()
command.Verbs.get_command = lambda self, ctx, name: stays
program({"all": {"stays": ""}})(["stays"])
"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | TOOLS
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
    )
    try:
        ready, _, _ = select.select([process.stdout], [], [], 60)
        assert ready and process.stdout.readline() == "here\n"
    finally:
        process.communicate("")
