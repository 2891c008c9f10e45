"""A disk that is full or read-only, two runs at once, and a clock that jumps."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit import once
from faultkit.checks import checkout_faults, registry_faults, store_faults
from faultkit.kills import registry
from faultkit.world import seed_debian

from helioimages.machine.store import Store

YEAR = 365 * 86400.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 1 MiB, where the store will be."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or not _mount("-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs", str(folder)):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def _onto(disk: Path, site) -> None:
    """Move a site's store onto a disk."""
    shutil.copytree(site.store, disk / "store")
    shutil.rmtree(site.store)
    site.store.symlink_to(disk / "store")


def look(site, host, expected) -> list[str]:
    return [*store_faults(site.store), *checkout_faults(site, expected), *registry_faults(host, expected)]


def test_a_full_disk_is_told_and_then_forgiven(disk, site, host, expected, request):
    _onto(disk, site)
    told = 0
    sizes = range(1, 16) if request.config.getoption("--long") else (2, 8)
    for size in sizes:
        assert _mount("-o", f"remount,size={size}m", str(disk))
        code, result, said = once.outcome(once.spawn(site, host))
        assert code != once.TRACEBACK, said
        assert look(site, host, expected) == []
        if code:
            told += 1
            assert "No space left on device" in said
    assert told >= 2
    assert _mount("-o", "remount,size=64m", str(disk))
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said


def test_a_read_only_store(disk, site, host, expected):
    _onto(disk, site)
    assert _mount("-o", "remount,ro,size=64m", str(disk))
    code, _, said = once.outcome(once.spawn(site, host))
    assert code == 5, said
    assert re.search(r"^cannot write .*\n  .*Read-only file system", said, re.MULTILINE), said
    assert "hint: check the space and rights of the store" in said
    assert look(site, host, expected) == []
    assert _mount("-o", "remount,rw", str(disk))
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said


def test_two_runs_at_once_on_one_store(world, site, tmp_path, host, expected):
    other = world.fresh(tmp_path / "other")
    shutil.rmtree(other.store)
    other.store.symlink_to(site.store)
    running = [once.spawn(runner, host) for runner in (site, other)]
    try:
        for process in running:
            code, result, said = once.outcome(process)
            assert (code, result) == (0, expected), said
    finally:
        for process in running:
            once.end(process)
    assert look(site, host, expected) == []
    assert [path.name for path in (site.store / "tmp").iterdir()] == []


@pytest.mark.parametrize("left", [pytest.param(0.0, id="emptied", marks=pytest.mark.long), pytest.param(0.6, id="cut")])
def test_files_that_a_damaged_disk_cut(site, host, expected, tmp_path, left):
    """Every file of a store at once, as after a loss of power on a disk that promised too much."""
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said
    cut = 0
    for kind in ("artefacts", "blobs", "memo", "cache"):
        for path in (site.store / kind).rglob("*"):
            if path.is_file() and path.stat().st_size:
                os.chmod(path, 0o644)
                os.truncate(path, int(path.stat().st_size * left))
                os.chmod(path, 0o444)
                cut += 1
    assert cut > 40
    # Debian's layers are made by mmdebstrap, which has its own tests.
    seed_debian(Store(site.store), site.checkout)
    with registry(tmp_path / "other") as other:
        code, result, said = once.outcome(once.spawn(site, other))
        assert (code, result) == (0, expected), said
        assert checkout_faults(site, expected) == []
        assert registry_faults(other, expected, key=site.key.with_suffix(".pub")) == []


def test_a_layer_with_other_bytes_is_never_published(site, host, expected, tmp_path):
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said
    largest = max((site.store / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.chmod(0o644)
    with open(largest, "r+b") as file:
        file.seek(largest.stat().st_size // 2)
        file.write(bytes(4096))
    largest.chmod(0o444)
    with registry(tmp_path / "other") as other:
        code, _, said = once.outcome(once.spawn(site, other))
        assert code == 9 and f"a blob of the store is damaged\n  expected sha256:{largest.name} not " in said, said
        assert registry_faults(other, expected) == []


def test_a_clock_that_jumps_changes_nothing(site, host, expected):
    for clock in (30 * YEAR, -20 * YEAR):
        code, result, said = once.outcome(once.spawn(site, host, clock=clock))
        assert (code, result) == (0, expected), said


def test_an_ordinary_user(world, tmp_path, host, expected):
    """Locking, fetching, linking and publishing need no root; what needs an engine is elsewhere."""
    site, nobody = world.fresh(tmp_path / "site"), 65534
    if os.geteuid() == 0:
        readable = (
            subprocess.run([sys.executable, "-c", ""], user=nobody, capture_output=True) if _reachable() else None
        )
        if readable is None or readable.returncode:
            pytest.skip("this Python lies where only root may read")
        for path in (*tmp_path.parents[:2], tmp_path, site.folder, world.channel):
            path.chmod(0o755)
        for path in (site.folder, *site.folder.rglob("*")):
            os.chown(path, nobody, nobody, follow_symlinks=False)
    code, result, said = once.outcome(once.spawn(site, host, user=nobody if os.geteuid() == 0 else None))
    assert (code, result) == (0, expected), said


def _reachable() -> bool:
    """Return whether anybody may get to this Python: a virtual environment's, and the one that it is a link to."""
    python = Path(sys.executable).absolute()
    return all(path.stat().st_mode & 0o001 for path in (*python.parents, *python.resolve().parents))


def test_a_worker_that_is_killed(site, host, expected):
    """The out-of-memory killer takes one process, not the whole run."""
    process = once.spawn(site, host)
    try:
        os.kill(_worker(process.pid), signal.SIGKILL)
        code, _, said = once.outcome(process)
    finally:
        once.end(process)
    assert code == 6, said
    assert re.search(
        r"a worker that made layers of `(base|child)` was killed\n"
        r"  .+\n\n"
        r"hint: this machine may lack memory: run with fewer --jobs; what is done is kept",
        said,
    ), said
    assert look(site, host, expected) == []
    code, result, said = once.outcome(once.spawn(site, host))
    assert (code, result) == (0, expected), said


def _worker(pid: int) -> int:
    """Return a process two levels below a run: the fork server's child."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in _children(pid):
            for grandchild in _children(child):
                with contextlib.suppress(FileNotFoundError):
                    if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return grandchild
        time.sleep(0.001)
    raise AssertionError("the run has no worker")


def _children(pid: int) -> list[int]:
    try:
        return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
