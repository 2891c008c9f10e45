"""What starts the tests' browser takes netlink from it, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import chromium

TRY = """
import socket, sys
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK):
    try:
        socket.socket(family, socket.SOCK_DGRAM).close()
        print(family.name)
    except OSError as error:
        print(family.name, error.strerror)
print(sys.argv[1:])
"""


def test_a_program_and_what_it_starts_has_no_netlink():
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    words = [chromium.DEAF, "-c", again, TRY, "a b"]
    env = {**os.environ, "DEAF_BROWSER": sys.executable}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "AF_INET",
        "AF_INET6",
        "AF_UNIX",
        "AF_NETLINK Address family not supported by protocol",
        "['a b']",
    ]
