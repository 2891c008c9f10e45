"""The conda solver's processes, forked of one that has imported rattler: to import it takes longer than to solve.

Each question still has a process of its own that ends as the product's does. Only that it is not Python's start that
makes it is left out; `tests/unit/conda/test_solve.py` starts the product's own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from typing import IO, NoReturn


class Solver:
    """Stands for the module `subprocess` in conda/solve.py; a server is started at the first question."""

    PIPE, TimeoutExpired = subprocess.PIPE, subprocess.TimeoutExpired

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None

    def run(
        self, command: Sequence[str], *, input: bytes, stdout: int, stderr: int | None, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Answer as `subprocess.run` does."""
        kept = stderr == subprocess.PIPE
        with (
            self._lock,
            tempfile.TemporaryFile() as asked,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() if kept else os.fdopen(os.dup(2), "wb") as err,
        ):
            asked.write(input)
            asked.seek(0)
            line = self._line or self._start(command)
            line.settimeout(timeout)
            place = json.dumps([dict(os.environ), os.getcwd()]).encode()
            socket.send_fds(line, [place], [asked.fileno(), out.fileno(), err.fileno()])
            try:
                code = int(line.recv(100))
            except TimeoutError as error:
                self.close()
                raise subprocess.TimeoutExpired(command, timeout) from error
            return subprocess.CompletedProcess(command, code, _read(out), _read(err) if kept else None)

    def close(self) -> None:
        """End the server, and what it forked."""
        if self._server is not None and self._line is not None:
            self._line.close()
            self._server.kill()
            self._server.wait()
            self._server = self._line = None

    def _start(self, command: Sequence[str]) -> socket.socket:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        python, *options, worker = command
        with theirs:
            words = [python, *options, __file__, worker, str(theirs.fileno())]
            self._server = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        return self._line


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _serve(worker: str, line: socket.socket) -> None:
    spec = importlib.util.spec_from_file_location("solve_worker", worker)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    while True:
        place, descriptors, _, _ = socket.recv_fds(line, 1 << 20, 3)
        if not place:
            return
        pid = os.fork()
        if not pid:
            _answer(module, place, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        line.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


def _answer(module: object, place: bytes, descriptors: Sequence[int]) -> NoReturn:
    code = 1
    try:
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        environment, folder = json.loads(place)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        json.dump(module.answer(json.load(sys.stdin)), sys.stdout)  # type: ignore[attr-defined]
        sys.stdout.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
