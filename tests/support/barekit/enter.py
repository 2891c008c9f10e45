"""The first process of the new namespaces: mounts what a machine has, makes the tree the root, and becomes the guest.

Standard library only: it runs by itself, on this machine's Python until the root is the tree.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

#: In the tree: what runs there, what it is told, and what it saw.
GUEST, PLAN, RESULT = "root/bare-guest.py", "root/bare-plan.json", "root/bare-result.json"
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
#: Of programs that make file systems and networks for ordinary users; a kernel may lack them.
_OPTIONAL = {"fuse": (10, 229), "net/tun": (10, 200)}


def enter(plan: dict[str, object]) -> None:
    """Mount what a machine has, make the tree the root, and become the guest."""
    tree = Path(str(plan["tree"]))
    sys.stdin.readline()
    _mount("--bind", str(tree), str(tree))
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", str(tree / "proc"))
    _mount("-t", "sysfs", "-o", "nosuid,nodev,noexec,ro", "sysfs", str(tree / "sys"))
    _mount("-t", "tmpfs", "-o", "nosuid,nodev,mode=755", "tmpfs", str(tree / "run"))
    (tree / "run/lock").mkdir()
    (tree / "run/lock").chmod(0o1777)
    _devices(tree / "dev")
    _mount_cgroups(tree / "sys/fs/cgroup")
    for folder in plan["folders"]:  # type: ignore[attr-defined]
        _mount("--bind", "-o", "ro", folder, str(tree / folder.lstrip("/")))
    subprocess.run(["hostname", "bare"], check=True)
    os.chdir(tree)
    subprocess.run(["pivot_root", ".", "mnt"], check=True)
    os.chdir("/")
    subprocess.run(["/bin/umount", "--lazy", "/mnt"], check=True)
    plain = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    os.execve("/usr/bin/python3", ["python3", f"/{GUEST}", f"/{PLAN}", f"/{RESULT}"], plain)


def _devices(folder: Path) -> None:
    """Make a small /dev of its own: deleting or changing it is nothing to this machine."""
    optional = {name: numbers for name, numbers in _OPTIONAL.items() if Path("/dev", name).exists()}
    _mount("-t", "tmpfs", "-o", "nosuid,mode=755,size=64k", "tmpfs", str(folder))
    os.umask(0)
    (folder / "net").mkdir(mode=0o755)
    for name, (major, minor) in {**_DEVICES, **optional}.items():
        os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    os.umask(0o022)
    for name in ("pts", "shm"):
        (folder / name).mkdir()
    _mount(
        "-t", "devpts", "-o", "newinstance,nosuid,noexec,ptmxmode=0666,mode=620,gid=5", "devpts", str(folder / "pts")
    )
    _mount("-t", "tmpfs", "-o", "nosuid,nodev,mode=1777", "tmpfs", str(folder / "shm"))
    for name, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}.items():
        (folder / name).symlink_to(target)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (folder / name).symlink_to(f"/proc/self/fd/{number}")


def _mount_cgroups(folder: Path) -> None:
    """Mount the control groups' hierarchies, seen from our own group."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    if all(line.startswith("0:") for line in lines):
        _mount("-t", "cgroup2", "cgroup2", str(folder))
        _give_controllers(folder)
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
    for line in lines:
        number, controllers, _ = line.split(":", 2)
        point = folder / ("unified" if number == "0" else controllers.removeprefix("name="))
        point.mkdir()
        if number == "0":
            _mount("-t", "cgroup2", "cgroup2", str(point))
        else:
            options = f"none,{controllers}" if controllers.startswith("name=") else controllers
            _mount("-t", "cgroup", "-o", options, "cgroup", str(point))


def _give_controllers(folder: Path) -> None:
    """Let groups below ours have controllers: then ours may have no process itself. Spec: kernel, cgroup-v2.rst."""
    (folder / "first").mkdir()
    (folder / "first" / "cgroup.procs").write_text(str(os.getpid()))
    controllers = (folder / "cgroup.controllers").read_text().split()
    (folder / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in controllers))


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


if __name__ == "__main__":
    enter(json.loads(sys.argv[1]))
