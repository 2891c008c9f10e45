"""Ports of loopback that a test may give to a program which opens them later."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

#: Below those that the kernel gives to whoever asks for any, so that no connection takes one meanwhile.
_RANGE = range(20000, 32000)
_HELD: list[int] = []


def free() -> int:
    """Return a port that nobody uses, and that no other test is given until this process ends."""
    folder = Path(tempfile.gettempdir()) / f"helioimages-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(_RANGE, len(_RANGE)):
        handle = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(handle)
            continue
        # Open until the process ends: that is what holds it.
        os.set_inheritable(handle, False)
        _HELD.append(handle)
        return port
    raise RuntimeError("no port is free")
