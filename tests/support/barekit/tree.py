"""The bare machine's files: a fresh Debian, this checkout as git clones it, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

from helioimages.machine import mounts

from .carried import Carried

#: What a fresh machine has beside Debian's essential packages; venv and pip are not among it.
PACKAGES = ("apt", "ca-certificates", "git", "iproute2", "passwd", "python3", "sudo")
USER = "scientist"
_UID = 1000
_TABLE = Path("/proc/self/mountinfo")
# Whoever ends `unshare` ends the program and all that it started: else they go on writing into what is being deleted.
_ENDED = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--")


class TreeError(Exception):
    """The files cannot be made, or must not be deleted."""


def make(tree: Path, release: str, carried: Carried) -> None:
    """Write the root file system of a release into an empty folder.

    Raises:
        TreeError: mmdebstrap is missing or fails.
    """
    tree.mkdir(parents=True, exist_ok=True)
    if kind := _kind(tree):
        raise TreeError(f"{tree} is on {kind}, on which no engine can work: name another folder with --folder")
    settings = tree.with_name(tree.name + ".apt")
    settings.write_text(carried.files.get("etc/apt/apt.conf.d/90carried", ""))
    argv = [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        # Its mounts are in a namespace of its own, and its devices are nodes: nothing of this machine's /dev is there.
        "--mode=root",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={settings}",
        release,
        str(tree),
        "-",
    ]
    try:
        subprocess.run([*_ENDED, *argv], input=carried.files["etc/apt/sources.list"], text=True, check=True)
    except FileNotFoundError as error:
        raise TreeError("`mmdebstrap` is missing: apt-get install mmdebstrap debian-archive-keyring") from error
    except subprocess.CalledProcessError as error:
        raise TreeError(f"mmdebstrap ended with {error.returncode}") from error
    finally:
        settings.unlink()


def settle(tree: Path, carried: Carried, *, root: Path, user: bool) -> str:
    """Write this machine's settings, the user and a clone of the checkout into the tree.

    Args:
        root: the checkout; what is not committed is not cloned.
        user: an ordinary user with sudo works there, not root.

    Returns:
        the user's home in the tree.
    """
    home = f"/home/{USER}" if user else "/root"
    if user:
        _inside(tree, "useradd", "--create-home", "--uid", str(_UID), "--shell", "/bin/bash", USER)
        (tree / "etc/sudoers.d/bare").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
        (tree / "etc/sudoers.d/bare").chmod(0o440)
    (tree / "etc/hostname").write_text("bare\n")
    below = home.lstrip("/")
    texts = {**carried.files, **{f"{below}/{path}": text for path, text in carried.user_files.items()}}
    if carried.resolv_conf:
        texts["etc/resolv.conf"] = carried.resolv_conf
    for path, text in texts.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for certificate in carried.certificates:
        shutil.copyfile(certificate, tree / "usr/local/share/ca-certificates" / certificate.name)
    _inside(tree, "update-ca-certificates")
    for folder in carried.folders:
        (tree / str(folder).lstrip("/")).mkdir(parents=True, exist_ok=True)
    clone = tree / below / "helioimages"
    subprocess.run(["git", "clone", "--quiet", "--no-local", f"file://{root}", str(clone)], check=True)
    return home


def add_artefacts(tree: Path, home: str, store: Path) -> None:
    """Copy the downloads of a store, so that only what is made from them is made again."""
    target = tree / home.lstrip("/") / ".cache" / "helioimages" / "artefacts"
    target.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", "--reflink=auto", str(store / "artefacts"), str(target)], check=True)


def own(tree: Path, home: str) -> None:
    """Give the user's home to the user."""
    subprocess.run(["chown", "-R", "-h", f"{_UID}:{_UID}", str(tree / home.lstrip("/"))], check=True)


def remove(tree: Path) -> None:
    """Delete the files.

    Raises:
        TreeError: something is mounted at or below the folder: it would be deleted too; or somebody writes there.
    """
    if points := mounts.below(tree):
        raise TreeError(f"{points[0]} is mounted: {tree} is left as it is")
    deadline = time.monotonic() + 20
    while True:
        # The last ones that write may be about to end.
        done = subprocess.run(["rm", "-rf", "--one-file-system", "--", str(tree)], capture_output=True, text=True)
        if not done.returncode:
            return
        if time.monotonic() > deadline:
            raise TreeError(f"{tree} cannot be deleted: {done.stderr.strip().splitlines()[-1]}")
        time.sleep(0.2)


def _inside(tree: Path, *argv: str) -> None:
    """Run one of the tree's own programs on its files; it sees no devices and no processes."""
    subprocess.run([*_ENDED, "chroot", str(tree), *argv], check=True, stdout=subprocess.DEVNULL, env=_PLAIN)


_PLAIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def _kind(folder: Path) -> str:
    """Return the file system's kind where an engine cannot use overlay2 on it."""
    best, kind = Path("/"), ""
    for line in _TABLE.read_text("utf-8", "surrogateescape").splitlines():
        left, _, right = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split()[4]))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, right.split()[0]
    return kind if kind in ("overlay", "ramfs") else ""
