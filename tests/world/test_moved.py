"""What moved since the locks were made: asked of today's Debian mirror, package index and advisories.

No other test asks them. `tests/run --world` runs this once a week, and what fails says what to lock again.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trust_support
from packaging.utils import canonicalize_name

from helioimages.debian import lock as debian_lock
from helioimages.locks import mirror
from helioimages.pypi import lock as pypi_lock
from helioimages.pypi.index import PackageIndex
from helioimages.pypi.resolve import places

ROOT = Path(__file__).parents[2]
APT_LOCKS = sorted([*ROOT.glob("images/*/apt-lock.json"), ROOT / "channel" / "apt-lock.json"])
WHEEL_LOCKS = sorted(ROOT.glob("environments/*/*lock*.toml"))
TOOL_LOCKS = sorted(ROOT.glob("**/requirements.lock"))
pytestmark = pytest.mark.network


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> PackageIndex:
    """Today's indexes, nothing of them remembered."""
    return PackageIndex(places(), tmp_path_factory.mktemp("index"))


@pytest.mark.parametrize("path", APT_LOCKS, ids=named)
def test_the_mirror_has_the_locked_packages(path):
    gone = mirror.missing(debian_lock.parse(path.read_text("utf-8"), named(path)).packages)
    assert [f"{deb.name} {deb.version}" for deb in gone] == [], "dropped: `buildimages lock --update debian` follows"


def test_the_mirror_has_the_pinned_cosigns():
    gone = mirror.missing([deb for _, deb in trust_support.pinned_cosigns().values()])
    assert [f"{deb.name} {deb.version}" for deb in gone] == [], (
        "dropped: pin the present ones in tests/support/cosign.json"
    )


@pytest.mark.parametrize("path", WHEEL_LOCKS, ids=named)
def test_the_index_has_the_locked_files_and_nobody_withdrew_them(index, path):
    lock = pypi_lock.parse(path.read_text("utf-8"), named(path))
    items = [file_locked for file_locked in (*lock.wheels, *lock.sdists) if not getattr(file_locked, "built", False)]
    pages = index.many(tuple(dict.fromkeys(file_locked.name for file_locked in items)))
    moved = []
    for file_locked in items:
        files = [
            file
            for file in pages[file_locked.name]
            if file.name == file_locked.file_name and file.sha256 in ("", file_locked.sha256)
        ]
        if not files or files[0].yanked:
            moved.append(f"{file_locked.file_name} {'was withdrawn' if files else 'is gone'}")
    assert moved == [], "`buildimages lock --update NAME` follows"


@pytest.mark.parametrize("path", TOOL_LOCKS, ids=named)
def test_the_index_has_what_the_tools_are_made_of(index, path):
    rows = re.findall(
        r"^([A-Za-z0-9._-]+)==(\S+)[^\n]*((?:\n\s+--hash=sha256:\S+(?: \\)?)+)", path.read_text("utf-8"), re.M
    )
    assert rows
    pages = index.many(tuple(dict.fromkeys(canonicalize_name(name) for name, _, _ in rows)))
    moved = []
    for name, version, hashes in rows:
        wanted = set(re.findall(r"sha256:([0-9a-f]{64})", hashes))
        if not any(file.sha256 in wanted and not file.yanked for file in pages[canonicalize_name(name)]):
            moved.append(f"{name} {version}")
    assert moved == []


def test_advisories_can_be_read_and_are_said():
    """Exit code 12 says that something is to be done about one; it is in the weekly pull request as well."""
    words = [sys.executable, str(ROOT / "tools" / "buildimages.py"), "audit", "--fetch", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1200)
    assert done.returncode in (0, 12), done.stderr
    assert json.loads(done.stdout)
