"""What is mounted where: asked before anything is deleted, and when an engine has ended."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")


def below(folder: Path) -> tuple[Path, ...]:
    """Return the mount points at and below a folder, those within others first. Spec: proc(5), mountinfo, field 5."""
    folder, points = folder.resolve(), set()
    for line in _TABLE.read_text("utf-8", "surrogateescape").split("\n"):
        # A space, tab or newline in a path is written as \040, …; what else Python splits at is part of a name.
        fields = line.split(" ")
        if len(fields) < 5:
            continue
        text = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if Path(text).is_relative_to(folder):
            points.add(Path(text))
    return tuple(sorted(points, reverse=True))


def detach(folder: Path) -> tuple[Path, ...]:
    """Unmount what is at and below a folder, and return what stays since somebody uses it or we may not."""
    for point in below(folder):
        argv = [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "umount", "--", str(point)]
        subprocess.run(argv, capture_output=True, check=False)
    return below(folder)
