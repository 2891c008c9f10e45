#!/usr/bin/env python3
"""Run the README's two commands on a machine with nothing on it, as root or as an ordinary user with sudo.

A root file system by mmdebstrap with git, python3 (no venv), ca-certificates and sudo; its own mounts, processes and
network. Of this machine it has the kernel, and the settings that lead to the package index and the Debian mirror. What
is not committed is not in it. Prints the stages' seconds, the images' digests, and what was installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

from helioimages.machine import bootstrap  # noqa: E402

if __name__ == "__main__":
    bootstrap.ensure()

from barekit import carried, network, readme, space, tree  # noqa: E402

from helioimages.locks import mirror  # noqa: E402

#: What installs programs without which tests are skipped.
NEEDS = "tests/needs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for.

    Attributes:
        system: a name of `carried.RELEASES`.
        images: that `up` is limited to; none is the README's command as it is.
        needs: what tests need is installed before they run.
        also: what is run besides, after `down`.
        artefacts: a store whose downloads are copied in.
        folder: where the tree is made.
    """

    system: str
    images: tuple[str, ...]
    user: bool
    needs: bool
    skip_tests: bool
    also: tuple[str, ...]
    keep: bool
    artefacts: Path | None
    folder: Path


def arguments(words: list[str]) -> Asked:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", nargs="?", choices=tuple(carried.RELEASES), default="debian13")
    parser.add_argument("--user", action="store_true", help="as an ordinary user with sudo, not as root")
    parser.add_argument("--images", nargs="+", default=[], metavar="IMAGE", help="limit the first command to these")
    parser.add_argument(
        "--needs", action="store_true", help="install what some tests need, so that none is skipped for it"
    )
    parser.add_argument("--skip-tests", action="store_true", help="run the first command only")
    parser.add_argument(
        "--also", action="append", default=[], metavar="COMMAND", help="run this in the clone at the end, too"
    )
    parser.add_argument("--keep", action="store_true", help="do not delete the machine's files")
    parser.add_argument("--artefacts", type=Path, metavar="STORE", help="take the downloads of this store along")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where its files are made: 15 GB (default: %(default)s)"
    )
    given = parser.parse_args(words)
    if given.artefacts and not (given.artefacts / "artefacts").is_dir():
        parser.error(f"{given.artefacts} is not a store: it has no artefacts")
    given.folder.mkdir(parents=True, exist_ok=True)
    return Asked(**{**vars(given), "images": tuple(given.images), "also": tuple(given.also)})


def stages(asked: Asked, text: str) -> list[dict[str, object]]:
    """Return what is run: the README's commands, and what tells what came of them."""
    up, test = readme.commands(text)
    tool = up.removesuffix(" up")
    rows = [
        (readme.of_images(up, asked.images), False),
        (readme.of_images(f"{tool} build --json", asked.images), True),
        *([(NEEDS, False)] if asked.needs else []),
        *([] if asked.skip_tests else [(test, False)]),
        (f"{tool} down", False),
        *((command, False) for command in asked.also),
    ]
    return [{"name": command, "command": command, "quiet": quiet} for command, quiet in rows]


def report(result: dict[str, object]) -> str:
    """Return what people read in the end."""
    lines = ["", "seconds  exit  command"]
    digests: dict[str, dict[str, str]] = {}
    for row in result["stages"]:  # type: ignore[attr-defined]
        lines.append(f"{row['seconds']:7.1f}  {row['code']:4}  {row['name']}")
        if row.get("output") and not row["code"]:
            digests |= json.loads(row["output"])
    lines += [f"{name}: {row['digest']}" for name, row in digests.items()]
    installed: list[str] = result["installed"]  # type: ignore[assignment]
    return "\n".join([*lines, f"installed: {len(installed)} packages", *(f"  {package}" for package in installed)])


def main() -> int:
    """Make the machine, run the commands in it, and remove it."""
    asked = arguments(sys.argv[1:])
    if os.geteuid() != 0:
        _fail("mounts and a network of its own are root's to make", f"sudo python3 {' '.join(sys.argv)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = stages(asked, (ROOT / "README.md").read_text("utf-8"))
    settings = carried.gather(carried.RELEASES[asked.system], mirror.mirrors())
    folder = Path(tempfile.mkdtemp(prefix="bare-machine-", dir=asked.folder))
    try:
        try:
            return _run(asked, plan, settings, folder / "tree")
        finally:
            if asked.keep:
                print(f"kept: {folder} (nothing is mounted there: rm -rf --one-file-system {folder})", file=sys.stderr)
            else:
                tree.remove(folder)
    except tree.TreeError as error:
        _fail(str(error), "")
    except KeyboardInterrupt:
        return 130


def _run(asked: Asked, plan: list[dict[str, object]], settings: carried.Carried, place: Path) -> int:
    start = time.monotonic()
    tree.make(place, carried.RELEASES[asked.system], settings)
    home = tree.settle(place, settings, root=ROOT, user=asked.user)
    if asked.artefacts:
        tree.add_artefacts(place, home, asked.artefacts)
    if asked.user:
        tree.own(place, home)
    shutil.copyfile(Path(space.__file__).with_name("guest.py"), place / space.GUEST)
    guest = {
        "user": tree.USER if asked.user else "root",
        "checkout": f"{home}/helioimages",
        "environment": dict(settings.environment),
        "stages": plan,
    }
    (place / space.PLAN).write_text(json.dumps(guest))
    who = "an ordinary user" if asked.user else "root"
    print(f"{asked.system} made in {time.monotonic() - start:.1f} s; {who} runs there:", flush=True)
    code = _start(place, settings)
    if (place / space.RESULT).exists():
        print(report(json.loads((place / space.RESULT).read_text())))
    return code


def _start(place: Path, settings: carried.Carried) -> int:
    """Run the guest in a network of its own, or say why it cannot have one."""
    reason = "" if settings.resolv_conf else "its name servers listen on loopback alone"
    if not reason:
        try:
            return space.run(place, folders=settings.folders, own_network=True)
        except network.NoNetworkError as error:
            reason = str(error)
    print(f"note: this machine's network is shared, for it can give no other: {reason}", file=sys.stderr)
    return space.run(place, folders=settings.folders, own_network=False)


def _fail(message: str, hint: str) -> NoReturn:
    sys.exit(f"error: {message}" + (f"\n\nhint: {hint}" if hint else ""))


if __name__ == "__main__":
    sys.exit(main())
