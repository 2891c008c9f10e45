"""A root file system from locked .debs, by mmdebstrap, without network. Needs root (or a user namespace).

mmdebstrap sees one local repository that holds exactly the locked packages, so it can install nothing else. Its tar
is cached by the lock's key; `debian.tree` cleans it.

A child's begins with nothing, too: installed on its parent's, its packages leave other bytes. /etc/shells, dpkg's
triggers and debconf's answers tell the order of installation, caches of fonts tell how often they were made.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core import files, threads
from ..core.digest import key_of
from ..core.entries import LAYER_MTIME
from ..core.errors import HelioError, Stage
from ..core.progress import step
from ..core.words import count
from ..debian.lock import AptLock, Deb
from ..machine import mounts
from ..machine.processes import Waited
from ..machine.store import Store

_PREFIX, _ALIVE = "helioimages-rootfs-", "alive"
_SWEEPING = threading.Lock()
#: Raised when the same packages would give another tar.
_FORMAT = 1

#: As in Debian's own slim images: copyright files stay, manuals and translations go.
_EXCLUDES = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


def cached(store: Store, lock: AptLock) -> Path:
    """Return where the tar of these packages is or will be."""
    return store.cached("rootfs", key_of([_FORMAT, lock.key, _EXCLUDES]))


@dataclass(frozen=True, slots=True, kw_only=True)
class RootfsWorks:
    """Where root file systems are made.

    Attributes:
        debs: sha256 (hex) -> file, of every package of the locks.
        jobs: threads that read packages.
        programs: knows what runs, for whoever must end it.
        turns: what two threads want is made by one of them.
    """

    store: Store
    debs: Mapping[str, Path]
    jobs: int = 4
    programs: Waited = field(default_factory=Waited)
    turns: threads.Turns = field(default_factory=threads.Turns)


def build_rootfs(works: RootfsWorks, lock: AptLock) -> Path:
    """Return the tar of a root file system, from the cache if these packages were installed before.

    Raises:
        HelioError: mmdebstrap is missing or failed; its last lines are in the detail.
    """
    final = cached(works.store, lock)
    if _whole(final):
        return final
    program = shutil.which("mmdebstrap")
    if not program:
        raise HelioError(Stage.HOST, "`mmdebstrap` is not here", hint="run `apt-get install mmdebstrap`")
    with works.turns.of(final.name):
        if not _whole(final):
            _make(works, program, lock, final)
    return final


def _make(works: RootfsWorks, program: str, lock: AptLock, final: Path) -> None:
    """Install the packages of a lock on nothing, and put what comes of it into the store."""
    with _scratch(_place(works.store, lock), program) as (scratch, alive):
        repository, tar = scratch / "repository", scratch / "rootfs.tar"
        _write_repository(repository, lock, works.debs, works.jobs)
        names = ",".join(deb.name for deb in lock.packages)
        argv = [
            # Its mounts of /dev, /proc and /sys, and its programs, end with it, however it ends.
            *_own_world(),
            program,
            "--quiet",
            # In a user namespace an ordinary user can do it too; root needs none.
            f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
            "--variant=minbase",
            f"--architectures={lock.architecture}",
            f"--include={names}",
            "--format=tar",
            "--skip=check/qemu,output/dev",
            *(f"--dpkgopt={line}" for line in _EXCLUDES),
            lock.suite,
            str(tar),
            f"deb [trusted=yes] copy:{repository} ./",
        ]
        environment = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(LAYER_MTIME),
            # What is half installed when the machine stops is thrown away: nothing need be on the disk in between. An
            # option would be written down in the system.
            "DPKG_FORCE": "unsafe-io",
        }
        # mmdebstrap's own umask decides modes that maintainer scripts leave open.
        with step(f"mmdebstrap of {len(lock.packages)} packages"):
            result = works.programs.run(argv, env=environment, umask=0o022, pass_fds=(alive,))
        if result.returncode:
            raise HelioError(
                Stage.BUILD,
                f"cannot make the Debian root file system of {count(len(lock.packages), 'package')}",
                detail="\n".join(result.stderr.splitlines()[-15:]),
                hint="run `buildimages doctor`",
            )
        with open(tar, "rb") as stream, works.store.writing(final) as file:
            shutil.copyfileobj(stream, file, 4 << 20)


def _own_world() -> tuple[str, ...]:
    """Return what gives root's program mounts and processes of its own, nothing where a container does not allow it.

    As an ordinary user mmdebstrap does so itself.
    """
    words = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
    if os.geteuid() or shutil.which(words[0]) is None:
        return ()
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else ()


@contextlib.contextmanager
def _scratch(place: Path, program: str) -> Iterator[tuple[Path, int]]:
    """Yield a folder to work in, and the handle that shows that somebody does: programs that work there hold it, too.

    What runs that were killed left there is removed before and after.
    """
    with contextlib.ExitStack() as stack:
        # A folder that is not held yet would be taken for one that was left.
        with _SWEEPING:
            _sweep(place, program)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place)))
            alive = stack.enter_context(files.held(folder / _ALIVE, mode=0o600))
        # In a user namespace, root is one of the user's subordinate ids: a stranger to the user's own files.
        folder.chmod(0o755)
        yield folder, alive
    # Again: programs of a run that was killed a moment ago may have held its folder when this one began.
    with _SWEEPING:
        _sweep(place, program)


def _sweep(place: Path, program: str) -> None:
    """Remove scratch folders whose run was killed: in memory they would take it until the machine is started again."""
    for folder in place.glob(f"{_PREFIX}*"):
        if _at_work(folder):
            continue
        # Never delete through a mount: what is behind it is the machine's.
        if mounts.below(folder):
            continue
        if os.geteuid():
            # What was installed belongs to the user's subordinate ids.
            subprocess.run([program, "--unshare-helper", "rm", "-rf", "--", str(folder)], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _at_work(folder: Path) -> bool:
    """Say whether somebody works in a scratch folder, or may."""
    try:
        return folder.lstat().st_uid != os.geteuid() or files.is_held(folder / _ALIVE)
    except OSError:
        return True  # another user's, or just made


def _whole(tar: Path) -> bool:
    """Say whether a tar is there with its end: two blocks of zeros."""
    try:
        with open(tar, "rb") as file:
            file.seek(-1024, os.SEEK_END)
            return file.read() == bytes(1024)
    except OSError:
        return False


def _place(store: Store, lock: AptLock) -> Path:
    """Return a folder in memory where there is room: dpkg writes and syncs some 20,000 small files."""
    memory = Path("/dev/shm")
    needed = 12 * sum(deb.size for deb in lock.packages)
    try:
        usable = not os.statvfs(memory).f_flag & os.ST_NOEXEC
        # Others that are made there now may yet need as much.
        others = sum(map(_at_work, memory.glob(f"{_PREFIX}*")))
        usable = usable and shutil.disk_usage(memory).free > needed * (1 + others)
    except OSError:
        usable = False
    if usable and os.access(memory, os.W_OK):
        return memory
    # A stranger (see above) may not reach into a home.
    return store.root / "tmp" if os.geteuid() == 0 else Path("/var/tmp")


def _write_repository(folder: Path, lock: AptLock, debs: Mapping[str, Path], jobs: int) -> None:
    """Write a flat apt repository: the files by hard link or copy, and their index."""
    folder.mkdir()
    with threads.pool(jobs) as pool:
        stanzas = list(pool.map(lambda deb: _add(folder, deb, debs[deb.sha256]), lock.packages))
    index = "\n".join(stanzas).encode()
    (folder / "Packages").write_bytes(index)
    (folder / "Packages.gz").write_bytes(gzip.compress(index, mtime=0))
    rows = [
        f" {hashlib.sha256((folder / name).read_bytes()).hexdigest()} {(folder / name).stat().st_size} {name}"
        for name in ("Packages", "Packages.gz")
    ]
    # mmdebstrap picks the required packages by codename.
    head = f"Suite: {lock.suite}\nCodename: {lock.suite}\nDate: Tue, 01 Jan 1980 00:00:00 UTC\nSHA256:\n"
    (folder / "Release").write_text(head + "\n".join(rows) + "\n")
    for path in (folder, folder / "Packages", folder / "Packages.gz", folder / "Release"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _add(folder: Path, deb: Deb, path: Path) -> str:
    name = f"{deb.name}_{deb.sha256[:16]}.deb"
    try:
        os.link(path, folder / name)
    except OSError:
        shutil.copyfile(path, folder / name)
        (folder / name).chmod(0o644)
    control = subprocess.run(["dpkg-deb", "--field", str(path)], capture_output=True, text=True)
    if control.returncode:
        raise HelioError(
            Stage.BUILD,
            f"`{deb.file_name}` is not a Debian package",
            detail=control.stderr.strip(),
            hint="the lock names another file; run `buildimages lock`",
        )
    fields = control.stdout.rstrip("\n")
    return f"{fields}\nFilename: ./{name}\nSize: {deb.size}\nSHA256: {deb.sha256}\n"
