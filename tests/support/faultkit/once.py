"""One run in a process of its own: ``python -m faultkit.once SITE`` with a JSON document about it on stdin.

Exits as the command line does: 0 with the result as JSON, or the error's stage with its text on stderr. Anything that
is not a HelioError is a traceback and exit code 70. ``clock`` moves time.time() by so many seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TRACEBACK = 70
#: What a process of ours imports beside its own packages. Not `sys.path`: conda-lock, an oracle of other tests, puts a
#: folder of old libraries before everything when it is imported.
PYTHONPATH = ":".join(str(Path(__file__).parents[parent] / name) for parent, name in ((3, "tools"), (2, "support")))


def spawn(site, host: str, *, clock: float = 0, user: int | None = None) -> subprocess.Popen:
    """Start a run of a `world.Site`; `outcome` waits for it."""
    said = {
        "folder": str(site.folder),
        "channel": str(site.channel),
        "environment": site.environment,
        "host": host,
        "clock": clock,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "faultkit.once"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": PYTHONPATH},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(said))
    process.stdin.close()
    process.stdin = None
    return process


def outcome(process: subprocess.Popen) -> tuple[int, dict | None, str]:
    """Return the exit code, the result, and what was said on stderr; a run that does not end is ended."""
    try:
        out, err = process.communicate(timeout=600)
    finally:
        end(process)
    return process.returncode, json.loads(out) if process.returncode == 0 else None, err


def end(process: subprocess.Popen) -> None:
    """End a run that goes on, and its workers: what is left behind fails another test."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def main() -> None:
    said = json.loads(sys.stdin.read())
    if said["clock"]:
        real = time.time
        time.time = lambda: real() + said["clock"]
    from faultkit.world import Site
    from helioimages.core.errors import HelioError

    site = Site(folder=Path(said["folder"]), channel=Path(said["channel"]), environment=said["environment"])
    try:
        print(json.dumps(site.run(said["host"])))
    except HelioError as error:
        print(error, file=sys.stderr)
        sys.exit(int(error.stage))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.exit(TRACEBACK)


if __name__ == "__main__":
    main()
