"""Run pytest as it would be run a year from now, on a machine whose Debian mirror and package index have nothing left.

    tests/run --next-year [PYTEST'S ARGUMENTS]

Needs Debian's `faketime`, an engine that runs already (it keeps the real clock), and a store that `up` and an earlier
run of the same tests have filled. The mirror and the index answer 410 and count: a test that asks today's world cannot
hide, even if it passes. What fails here would fail next year.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

YEAR = "+365d"
#: libfaketime leaves the monotonic clock alone if it is asked to, but not the sleep that Python measures by it.
SLEEP = r"""
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *until, struct timespec *rest) {
    return syscall(SYS_clock_nanosleep, clock, flags, until, rest) ? errno : 0;
}
"""
ASKED: list[str] = []


class Gone(BaseHTTPRequestHandler):
    """Has nothing any more."""

    def do_GET(self) -> None:
        ASKED.append(f"{self.command} {self.path}")
        self.send_error(410)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


def preloaded(folder: Path) -> str:
    """Return what the dynamic linker is to load into every program: the compiled sleep, and libfaketime."""
    libraries = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1")]
    if not libraries or shutil.which("gcc") is None:
        sys.exit("error: libfaketime or gcc is not installed\n\nhint: run `apt-get install faketime gcc libc6-dev`")
    (folder / "sleep.c").write_text(SLEEP)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "sleep.so", folder / "sleep.c"], check=True)
    return f"{folder / 'sleep.so'} {libraries[0]}"


def main(arguments: list[str]) -> int:
    """Return pytest's exit code, or 1 where something of the world was asked for."""
    with tempfile.TemporaryDirectory(prefix="helioimages-next-year-") as scratch:
        return run(arguments, preloaded(Path(scratch)))


def run(arguments: list[str], preload: str) -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gone)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    environment |= {
        "HELIOIMAGES_DEBIAN_MIRROR": f"{address}/debian",
        "UV_DEFAULT_INDEX": f"{address}/simple",
        "PIP_INDEX_URL": f"{address}/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
        "npm_config_registry": f"{address}/npm",
        "LD_PRELOAD": preload,
        "FAKETIME": YEAR,
        # Waiting takes as long as ever: only the day is another.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    code = subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment).returncode
    server.shutdown()
    print(f"asked of the mirror and the index: {', '.join(sorted(set(ASKED))) or 'nothing'}")
    return code or bool(ASKED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
