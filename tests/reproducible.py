#!/usr/bin/env python3
"""Build images again and again under other circumstances and compare their digests.

Each round has a store of its own: with the downloads only (layers, root file systems and compiled Python files are made
again), or with nothing at all (``--empty``: the local channel and source-only packages are compiled again too).
Exits with 12 when a digest differs.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tools" / "buildimages.py"
LONG = "a-folder-with-a-long-name-" + "x" * 60


def rounds(folder: Path) -> list[tuple[str, dict[str, str], int, list[str], Path, str]]:
    """Return (what differs, environment, umask, options, folder of the store, the tool's Python)."""
    other = {
        "TZ": "Asia/Tokyo",
        "LC_ALL": "C",
        "LANG": "C",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONHASHSEED": "1",
    }
    memory = Path(tempfile.mkdtemp(prefix="reproducible-", dir="/dev/shm"))
    here, there = sys.executable, another_python()
    settings = [
        ("as it is", {}, 0o022, [], folder / "a", here),
        ("umask 077, Tokyo, C, other HOME and TMPDIR, 1 worker", other, 0o077, ["--jobs", "1"], folder / "b", here),
        ("8 workers, a long path", {"TZ": "UTC"}, 0o002, ["--jobs", "8"], folder / LONG / LONG / "c", here),
        ("another file system, 2 workers", {"PYTHONHASHSEED": "2"}, 0o022, ["--jobs", "2"], memory, here),
    ]
    if there:
        settings.append((f"the tool in {there}", {}, 0o022, [], folder / "d", there))
    else:
        print("no other Python is here: the tool's own version is not varied", file=sys.stderr)
    return settings


def another_python() -> str:
    """Return a Python of another version that can run the tool, or nothing."""
    for name in ("/usr/bin/python3", *(f"python3.{minor}" for minor in range(11, 16))):
        program = shutil.which(name)
        if program is None:
            continue
        said = subprocess.run(
            [program, "-c", "import sys; print(*sys.version_info[:3])"], capture_output=True, text=True
        )
        version = tuple(map(int, said.stdout.split()))
        if version >= (3, 11) and version != sys.version_info[:3]:
            return program
    return ""


def main() -> int:
    """Run the rounds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", default=["base"])
    parser.add_argument("--empty", action="store_true", help="stores without downloads")
    parser.add_argument(
        "--user", metavar="NAME", help="a last round as this ordinary user, with a range in /etc/subuid"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    source = Path(os.environ.get("HELIOIMAGES_STORE") or Path.home() / ".cache" / "helioimages")
    rows = []
    with tempfile.TemporaryDirectory(prefix="reproducible-", dir=source if source.exists() else None) as name:
        folder = Path(name)
        for part in ("home", "tmp"):
            (folder / part).mkdir()
        for what, environment, umask, options, store, python in rounds(folder):
            try:
                rows.append(row_of(asked, source, what, environment, umask, options, store, python))
                print(f"{rows[-1]['seconds']:7.1f} s  {what}: {rows[-1]['digests']}", file=sys.stderr)
            finally:
                shutil.rmtree(store, ignore_errors=True)
    if asked.user:
        rows.append(as_user(asked, source))
        print(f"{rows[-1]['seconds']:7.1f} s  {rows[-1]['what']}: {rows[-1]['digests']}", file=sys.stderr)
    differ = any(row["digests"] != rows[0]["digests"] for row in rows)
    print(
        json.dumps({"rounds": rows, "equal": not differ}, indent=2) if asked.json else "differ" if differ else "equal"
    )
    return 12 if differ else 0


def as_user(asked, source: Path) -> dict[str, object]:
    """Build as an ordinary user: mmdebstrap in a user namespace, a Python that everybody can reach, files not ours."""
    # Not below root's home, and not in memory: the user's programs must be able to run there.
    with tempfile.TemporaryDirectory(prefix="reproducible-", dir="/var/tmp") as name:
        folder = Path(name)
        account = pwd.getpwnam(asked.user)
        folder.chmod(0o755)
        environment = {"HOME": name, "TMPDIR": "/var/tmp", "TZ": "America/Denver", "XDG_RUNTIME_DIR": ""}
        python = next(program for program in ("/usr/bin/python3", sys.executable) if Path(program).exists())
        row = row_of(asked, source, f"as {asked.user}", environment, 0o027, [], folder / "store", python, user=account)
        # What was made in the namespace is not the user's to delete, but ours.
        return row


def row_of(
    asked,
    source: Path,
    what: str,
    environment,
    umask: int,
    options: list[str],
    store: Path,
    python: str,
    *,
    user: pwd.struct_passwd | None = None,
) -> dict[str, object]:
    """Build once; returns the digests by image."""
    if not asked.empty:
        (store / "artefacts").mkdir(parents=True)
        # Links where the file system allows, else copies.
        command = ["cp", "-a", "--link"] if os.stat(store).st_dev == os.stat(source).st_dev else ["cp", "-a"]
        subprocess.run([*command, str(source / "artefacts" / "sha256"), str(store / "artefacts")], check=True)
    who: dict[str, object] = {}
    if user is not None:
        store.mkdir(exist_ok=True)
        # The folders only: the packages' files may be links to the ones of the store that is in use.
        for path in (store.parent, store, *(folder for folder in store.rglob("*") if folder.is_dir())):
            os.chown(path, user.pw_uid, user.pw_gid)
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    start = time.monotonic()
    done = subprocess.run(
        [python, str(TOOL), "build", *asked.images, "--json", *options],
        env=os.environ | environment | {"HELIOIMAGES_STORE": str(store)},
        umask=umask,
        stdout=subprocess.PIPE,
        check=True,
        **who,
    )
    digests = {image: row["digest"] for image, row in json.loads(done.stdout).items()}
    return {"what": what, "seconds": round(time.monotonic() - start, 1), "digests": digests}


if __name__ == "__main__":
    sys.exit(main())
