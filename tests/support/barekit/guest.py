"""The first process of a bare machine: runs commands there, reaps who was left behind, and writes down what it saw.

Standard library only: it runs on the bare machine's own Python.
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import threading
import time
from pathlib import Path

_START = time.monotonic()


def main(plan_file: str, result_file: str) -> int:
    """Run the stages of a plan in order, until one fails.

    Returns:
        the failed stage's exit code, or 0.
    """
    plan = json.loads(Path(plan_file).read_text())
    before = _packages()
    stages, code = [], 0
    for stage in plan["stages"]:
        start = time.monotonic()
        code, output = _run(stage["command"], plan, quiet=stage["quiet"])
        row = {"name": stage["name"], "seconds": round(time.monotonic() - start, 1), "code": code}
        stages.append({**row, "output": output} if stage["quiet"] else row)
        if code:
            break
    after = _packages()
    installed = sorted(f"{name} {after[name]}" for name in after if before.get(name) != after[name])
    Path(result_file).write_text(json.dumps({"stages": stages, "installed": installed}))
    return code


def _run(command: str, plan: dict[str, object], *, quiet: bool) -> tuple[int, str]:
    """Run a command as the plan's user in the checkout, each line with the seconds since the start.

    Returns:
        exit code, and standard output if it is not to be shown.
    """
    user = pwd.getpwnam(str(plan["user"]))
    environment = {
        **os.environ,
        **plan["environment"],  # type: ignore[dict-item]
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": "/bin/bash",
    }
    child = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=str(plan["checkout"]),
        env=environment,
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[user.pw_gid],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=None if quiet else subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []

    def read() -> None:
        for line in child.stdout:  # type: ignore[union-attr]
            if quiet:
                lines.append(line)
            else:
                print(f"{time.monotonic() - _START:7.1f} s  {line}", end="", flush=True)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    while True:
        # The first process is the parent of all that lost theirs: a dead engine that nobody reaps would never be gone.
        pid, status = os.waitpid(-1, 0)
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            break
    # A server that was left running may hold the pipe.
    reader.join(5)
    return child.returncode, "".join(lines)


def _packages() -> dict[str, str]:
    argv = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {name: version for name, _, version in (line.partition(" ") for line in text.splitlines())}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
