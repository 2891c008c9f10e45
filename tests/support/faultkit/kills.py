"""kill -9 at random moments of a whole run, and at random steps of it; then look, run again, compare.

    python -m faultkit FOLDER --kills 200 --seed 1

A run is a fork of this process in a session of its own; the whole session is killed, as by a machine that loses
power to its processes or an out-of-memory killer that takes a group. ``timed`` kills come from outside at a random
moment; ``step`` kills come from inside, before or after a random one of the calls that change a file, send a request
or start a program. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from ports import free

from helioimages.engines import registry_server

from .checks import checkout_faults, registry_faults, store_faults
from .world import Site, World

STEPS = ((os, "replace"), (os, "rename"), (os, "unlink"), (os, "fchmod"), (os, "chmod"), (os, "mkdir"), (os, "link"))
CALLS = (*STEPS, (requests.Session, "send"), (subprocess.Popen, "__init__"))


def count_calls(act: Callable[[int], None]) -> None:
    """Let ``act(n)`` be told before and after the n-th half of every call in `CALLS`, in this process."""
    lock, number = threading.Lock(), 0

    def tick() -> None:
        nonlocal number
        with lock:
            number += 1
            act(number)

    def wrap(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args, **kwargs):
            tick()
            result = real(*args, **kwargs)
            tick()
            return result

        setattr(owner, name, counted)

    for owner, name in CALLS:
        wrap(owner, name)


def die_at(step: int) -> Callable[[int], None]:
    """Return an `act` that kills the whole session at a step."""
    return lambda number: os.killpg(os.getpgrp(), signal.SIGKILL) if number == step else None


def start(site: Site, host: str, prepare: Callable[[], None] = lambda: None) -> int:
    """Start a run in a fork and return its pid; its result will be in ``result.json``."""

    def act() -> object:
        prepare()
        return site.run(host)

    return start_fork(site.folder, act)


def start_fork(folder: Path, act: Callable[[], object]) -> int:
    """Start something in a fork that is a session of its own; `finish_fork` tells what it returned."""
    (folder / "result.json").unlink(missing_ok=True)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        result = act()
        half = folder / "result.half"
        half.write_text(json.dumps(result))
        half.rename(folder / "result.json")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def finish(site: Site, pid: int, timeout_s: float = 120) -> dict | None:
    """Wait for a run and return its result, None if it was killed; as `finish_fork`."""
    return finish_fork(site.folder, pid, timeout_s)


def finish_fork(folder: Path, pid: int, timeout_s: float = 120) -> Any:
    """Wait for what `start_fork` started and return its result, None if it was killed.

    Raises:
        RuntimeError: it failed by itself, or took too long.
    """
    deadline = time.monotonic() + timeout_s
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            raise RuntimeError(f"a run hangs: {(folder / 'log.txt').read_text()[-3000:]}")
        time.sleep(0.005)
    # What a killed run left of its session goes too, as it does with a machine.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if os.WIFSIGNALED(ended[1]):
        return None
    if os.waitstatus_to_exitcode(ended[1]):
        raise RuntimeError((folder / "log.txt").read_text()[-6000:])
    return json.loads((folder / "result.json").read_text())


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run Debian's docker-registry with data of its own."""
    server = registry_server.start(folder, port=free())
    try:
        yield server.host
    finally:
        registry_server.stop(folder)


@contextlib.contextmanager
def world(folder: Path) -> Iterator[World]:
    """Make the world in ``folder``, its index in a process of its own: this one has to fork."""
    command = [sys.executable, "-m", "faultkit.serve", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        url = server.stdout.readline().strip()
        yield World.existing(folder, url)
        server.stdin.close()


def run(folder: Path, kills: int, seed: int, say: Callable[[str], None]) -> dict:
    """Return the figures of ``kills`` kills, and every fault that was found."""
    chance = random.Random(seed)
    faults: list[str] = []
    landed: dict[str, int] = {"timed": 0, "step": 0, "late": 0}
    begun = time.monotonic()
    with world(folder / "world") as made:
        expected, seconds, steps = _reference(folder / "reference", made)
        say(f"a whole run: {seconds:.1f} s, {steps} steps")
        number = 0
        while landed["timed"] + landed["step"] < kills:
            number += 1
            place = folder / f"site{number}"
            place.mkdir()
            site = made.fresh(place)
            kind = ("timed", "step")[number % 2]
            with registry(place / "registry") as host:
                # The first half second of a run reads and plans; what is dangerous comes after.
                moment = chance.uniform(0.0, seconds) if kind == "timed" else chance.randint(1, steps)
                what = f"seed {seed} kill {number} ({kind} {moment:.3f})"
                try:
                    hit = _kill(site, host, kind, moment)
                    landed[kind if hit else "late"] += 1
                    faults += [f"{what}: {fault}" for fault in _look(site, host, expected)]
                    again = finish(site, start(site, host))
                    if again != expected:
                        faults.append(f"{what}: the next run came to {again}")
                    faults += [f"{what}, next run: {fault}" for fault in _look(site, host, expected, done=True)]
                except RuntimeError as error:
                    faults.append(f"{what}: {error}")
            if not any(fault.startswith(what) for fault in faults):
                site.remove()
            if number % 10 == 0:
                say(f"{number} runs, {landed}, {len(faults)} faults, {time.monotonic() - begun:.0f} s")
    return {
        "kills": landed["timed"] + landed["step"],
        **landed,
        "steps": steps,
        "faults": faults,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _reference(folder: Path, made: World) -> tuple[dict, float, int]:
    """Return what a run that nobody disturbs comes to, its seconds, and the number of its steps."""
    folder.mkdir()
    site = made.fresh(folder)
    count = folder / "steps"

    def prepare() -> None:
        handle = os.open(count, os.O_WRONLY | os.O_CREAT)
        count_calls(lambda number: os.pwrite(handle, f"{number:9d}".encode(), 0) and None)

    with registry(folder / "registry") as host:
        begun = time.monotonic()
        result = finish(site, start(site, host, prepare))
        seconds = time.monotonic() - begun
        if result is None or (wrong := _look(site, host, result, done=True)):
            raise RuntimeError(f"the run that nobody disturbed: {wrong if result else 'was killed'}")
    return result, seconds, int(count.read_text())


def _kill(site: Site, host: str, kind: str, moment: float) -> bool:
    """Start a run, kill it, and say whether it was still running."""
    if kind == "step":
        return finish(site, start(site, host, lambda: count_calls(die_at(int(moment))))) is None
    pid = start(site, host)
    time.sleep(moment)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return finish(site, pid) is None


def _look(site: Site, host: str, expected: dict, *, done: bool = False) -> list[str]:
    key = site.key.with_suffix(".pub") if done else None
    return [*store_faults(site.store), *checkout_faults(site, expected), *registry_faults(host, expected, key=key)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="faultkit")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    report = run(options.folder, options.kills, options.seed, lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(report, indent=2))
    sys.exit(1 if report["faults"] else 0)
