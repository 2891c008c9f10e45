"""Post-link scripts of conda packages, run in the real builder: what they see, what is kept, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import engine_lists
import pytest
from conda_support import locked_package, package_files, write_package
from debian_support import needs
from limits import until_begun

from helioimages.conda import captured, link
from helioimages.conda.lock import CondaLock, CondaPackage
from helioimages.conda.read import read_listing
from helioimages.core.entries import Entry, Kind, merge
from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST
from helioimages.machine.store import Store, default_root
from helioimages.make import link_scripts, provision
from helioimages.make.link_scripts import ScriptRunner
from helioimages.make.plan import PREFIX

pytestmark = [pytest.mark.engine, pytest.mark.network]

ROOT = Path(__file__).parents[2]
SUBDIR = "linux-64"
SCRIPT = "bin/.tool-post-link.sh"


class World:
    """A channel of `tool` and of what it needs, and the builder."""

    def __init__(self, folder: Path, engine) -> None:
        self.channel, self.store = folder / "channel", Store(folder / "store")
        self.runs = 0
        whole = Store(default_root())

        def builder():
            self.runs += 1
            return provision.builder(ROOT, whole, lambda: engine.client, jobs=2)

        self.runner = ScriptRunner(root=ROOT, store=self.store, builder=builder, platform=FIRST)

    def write(self, script: str, **files: str) -> tuple[CondaLock, dict[str, Path]]:
        """Write `tool` with a script, `needed` and `stranger`; return their lock and files."""
        mine = {SCRIPT: (script.encode(), 0o755), "share/tool/own": (b"mine", 0o644)}
        mine |= {"share/tool/gone": (b"", 0o644), "share/tool/two": ("== share/tool/own", 0o644)}
        mine |= {path: (text.encode(), 0o755) for path, text in files.items()}
        index = {"depends": ["needed >=1"], "build_number": 7}
        write_package(self.channel, "tool", mine, version="2.0", index=index)
        needed = {
            "bin/needed": (b"#!/bin/sh\necho of needed\n", 0o755),
            "etc/conda/activate.d/needed.sh": (b'export NEEDED="$CONDA_PREFIX/share/needed"\n', 0o644),
        }
        write_package(self.channel, "needed", needed)
        write_package(self.channel, "stranger", {"share/stranger": (b"", 0o644)})
        (self.channel / "noarch").mkdir(exist_ok=True)
        packages = {path: locked_package(path, SUBDIR) for path in package_files(self.channel, SUBDIR)}
        lock = CondaLock(
            channels=("local",),
            platforms=(SUBDIR,),
            packages=tuple(sorted(packages.values(), key=lambda package: package.name)),
            content_hash="0" * 64,
            virtual_packages={},
            timestamp=0,
            scripts={SUBDIR: {"tool": (hashlib.sha256(script.encode()).hexdigest(),)}},
        )
        return lock, {package.sha256: path for path, package in packages.items()}

    def run(self, script: str, **files: str) -> dict[str, Entry]:
        """Run a script and return the package's entries then, by path in the prefix."""
        lock, paths = self.write(script, **files)
        [sha256] = self.runner.for_lock(lock, paths, ["tool"]).values()
        return self.entries(lock, paths, sha256)

    def entries(self, lock: CondaLock, paths: Mapping[str, Path], sha256: str) -> dict[str, Entry]:
        tool = tool_of(lock)
        prefix = link.Prefix(path=PREFIX, python_version=None, platform=SUBDIR, scripts=lock.reviewed(SUBDIR))
        entries = link.link(paths[tool.sha256], tool, prefix)
        left = captured.parse(self.store.artefact(sha256).read_bytes(), "tool-2.0")
        whole = merge(captured.applied(entries, left, tool, PREFIX))
        return {
            entry.path.removeprefix(PREFIX[1:] + "/"): entry for entry in whole if entry.path.startswith(PREFIX[1:])
        }


def tool_of(lock: CondaLock) -> CondaPackage:
    return next(package for package in lock.packages if package.name == "tool")


def text(entry: Entry) -> str:
    assert entry.content is not None
    return entry.content.read().decode()


@pytest.fixture
def world(in_frozen_world: None, engine, tmp_path: Path) -> World:
    needs("mmdebstrap")
    return World(tmp_path, engine)


SEES = r"""
set -eu
mkdir -p "$PREFIX/share/tool/made/empty"
{
    for name in PREFIX ROOT_PREFIX PKG_NAME PKG_VERSION PKG_BUILDNUM CONDA_PREFIX NEEDED; do
        eval "echo $name=\$$name"
    done
    pwd
    needed
    [ -z "${IN-}${OUT-}" ] && echo no other variables
    ls "$PREFIX/share"
    [ "$(ls /sys/class/net)" = lo ] && echo no network
    stat -c %Y "$PREFIX/share/tool/own"
} > "$PREFIX/share/tool/made/seen"
echo "read this" >> "$PREFIX/.messages.txt"
echo changed > "$PREFIX/share/tool/own"
touch "$PREFIX/bin/needed"
rm "$PREFIX/share/tool/gone"
ln -s made/seen "$PREFIX/share/tool/link"
printf '#!/bin/sh\n' > "$PREFIX/bin/new tool"
chmod 4750 "$PREFIX/bin/new tool"
echo scratch > "$(mktemp)"
"""


def test_a_script_runs_as_conda_runs_it_and_what_it_writes_is_of_its_package(world, capsys):
    entries = world.run(SEES)
    assert text(entries["share/tool/made/seen"]).splitlines() == [
        f"PREFIX={PREFIX}",
        "ROOT_PREFIX=/srv/conda",
        "PKG_NAME=tool",
        "PKG_VERSION=2.0",
        "PKG_BUILDNUM=7",
        f"CONDA_PREFIX={PREFIX}",
        f"NEEDED={PREFIX}/share/needed",
        f"{PREFIX}/bin",
        "of needed",
        "no other variables",
        # Not `stranger`, which it does not need: a layer depends on the package and what that needs.
        "tool",
        "no network",
        "315532800",
    ]
    assert capsys.readouterr().err.count("    tool: read this\n") == 1
    assert text(entries["share/tool/own"]) == "changed\n"
    assert "share/tool/gone" not in entries and ".messages.txt" not in entries and "bin/needed" not in entries
    assert entries["share/tool/made/empty"].kind is Kind.DIR
    assert (entries["share/tool/link"].kind, entries["share/tool/link"].target) == (Kind.SYMLINK, "made/seen")
    assert entries["bin/new tool"].mode == 0o755
    assert {entry.origin for path, entry in entries.items() if entry.kind is not Kind.DIR} == {"tool-2.0"}
    record = json.loads(text(entries["conda-meta/tool-2.0-h0_0.json"]))
    told = {item["_path"]: item for item in record["paths_data"]["paths"]}
    assert told["share/tool/own"]["sha256_in_prefix"] == hashlib.sha256(b"changed\n").hexdigest()
    assert "share/tool/gone" not in told and "share/tool/gone" not in record["files"]


def test_a_script_runs_twice_when_it_is_locked_once_where_it_is_lost_and_never_where_it_is_known(world, tmp_path):
    lock, paths = world.write('date +%s > /tmp/x; echo 1 > "$PREFIX/made"')
    ran = world.runner.for_lock(lock, paths, ["tool"])
    assert world.runs == 2
    assert world.runner.for_lock(lock, paths, ["tool"]) == ran
    assert world.runs == 2
    elsewhere = replace(world.runner, store=Store(tmp_path / "other"))
    locks = type("Locks", (), {"conda": replace(lock, ran={SUBDIR: ran})})()
    sha256 = ran["tool"]
    left = elsewhere.for_build(locks, paths, None)
    assert left[sha256].read_bytes() == world.store.artefact(sha256).read_bytes()
    assert world.runs == 3
    assert elsewhere.for_build(locks, paths, None) == left
    assert elsewhere.for_build(locks, paths, frozenset()) == {}
    assert world.runs == 3
    other = type("Locks", (), {"conda": replace(lock, ran={SUBDIR: {"tool": "0" * 64}})})()
    with pytest.raises(HelioError) as caught:
        elsewhere.for_build(other, paths, None)
    assert caught.value.message == "the post-link script of `tool` wrote other files than the lock says"
    assert caught.value.detail == f"expected sha256:{'0' * 64} not sha256:{sha256}"


REFUSED = {
    "it fails": ("echo one; echo two >&2; exit 3", "failed with 3", "one\ntwo"),
    "it is killed": ("kill -9 $$", "failed with 137", ""),
    "it writes outside": (
        'echo 1 > "$PREFIX/ok"; mkdir -p /etc/tool.d; echo 1 > /etc/tool.d/x; echo 1 >> "$HOME/.toolrc"',
        "writes outside the prefix",
        "/etc/tool.d/x\n/root/.toolrc",
    ),
    "it writes beside the prefix": (
        'echo 1 > "$PREFIX-two"',
        "writes outside the prefix",
        f"{PREFIX}-two",
    ),
    "it takes a file of the system away": ("rm /etc/os-release", "writes outside the prefix", "/etc/os-release"),
    "it changes and removes files of others": (
        'echo >> "$PREFIX/bin/needed"; rm "$PREFIX/etc/conda/activate.d/needed.sh"',
        "changes files of other packages",
        "bin/needed of needed-1.0, changed\netc/conda/activate.d/needed.sh of needed-1.0, removed",
    ),
    "it changes its own record": (
        'echo >> "$PREFIX/conda-meta/tool-2.0-h0_0.json"',
        "changes files of other packages",
        "conda-meta/tool-2.0-h0_0.json of tool-2.0, changed",
    ),
    "it writes something else each time": (
        'cat /proc/sys/kernel/random/uuid > "$PREFIX/id"; echo 1 > "$PREFIX/same"',
        "does not write the same twice",
        "id",
    ),
    "it makes what no layer holds": (
        'mkfifo "$PREFIX/pipe"',
        "writes what no layer holds",
        f"expected files, folders and links, not {PREFIX[1:]}/pipe",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_clear_error(world, case):
    script, what, detail = REFUSED[case]
    with pytest.raises(HelioError) as caught:
        world.run(script)
    assert caught.value.message == f"the post-link script of `tool` {what}"
    assert caught.value.where == f"tool-2.0-h0_0.conda at {SCRIPT}"
    assert caught.value.detail == detail
    assert "x-helioimages.link-scripts" in caught.value.hint
    assert list((world.store.root / "tmp").iterdir()) == []


def test_one_that_never_ends_is_ended(world, engine, monkeypatch):
    before = {container.id for container in engine_lists.containers(engine.client)}

    def attempt(limit_s: float) -> HelioError:
        monkeypatch.setattr(link_scripts, "TIME_LIMIT_S", limit_s)
        with pytest.raises(HelioError) as caught:
            world.run("echo waiting; sleep 86400")
        return caught.value

    limit_s, error = until_begun(attempt, lambda error: error.detail != "")
    assert error.message == f"the post-link script of `tool` did not end within {limit_s:g} s"
    assert error.detail == "waiting\n"
    left = [container.attrs for container in engine_lists.containers(engine.client) if container.id not in before]
    assert not any("sleep 86400" in str(attrs) for attrs in left)


def test_what_it_leaves_running_cannot_write_later(world):
    entries = world.run('(setsid sh -c "sleep 1; echo late > $PREFIX/late" &) ; echo 1 > "$PREFIX/now"')
    assert "now" in entries and "late" not in entries


def test_it_may_not_leave_more_than_the_limit(world, monkeypatch):
    monkeypatch.setattr(link_scripts, "SIZE_LIMIT", 1 << 20)
    with pytest.raises(HelioError) as caught:
        world.run('head -c 3000000 /dev/zero > "$PREFIX/big"')
    assert caught.value.message == "the post-link script of `tool` writes too much"
    assert caught.value.detail == "expected at most 1,048,576 bytes"


def test_a_pre_link_script_cannot_be_run(world):
    lock, paths = world.write("true")
    with pytest.raises(HelioError) as caught:
        world.runner.for_lock(lock, paths, ["needed"])
    assert caught.value.message == "`needed` has no post-link script to run"
    assert caught.value.where == "needed-1.0-h0_0.conda"
    assert world.runs == 0


def genuine() -> Path:
    given = os.environ.get("HELIOIMAGES_CONDA_PACKAGES")
    return Path(given) if given else ROOT.parent / "shared" / "data" / "conda-packages"


@pytest.mark.parametrize(
    ("file", "left"),
    [
        ("link-scripts-0.1.0-h4616a5c_0.conda", {"i-was-post-linked": ""}),
        ("post-link-script-package-0.1.0-hb0f4dca_0.conda", {".messages.bak.txt": "Testing post link scripts\n"}),
        ("conda-index-pkg-a-1.0-py27h5e241af_0.conda", {}),
        ("failing_post_link-1.0-0.conda", None),
    ],
)
def test_scripts_of_other_people_s_packages(world, file, left):
    """What conda's, rattler's and rattler-build's own tests have."""
    paths = sorted(genuine().rglob(file)) if genuine().is_dir() else []
    if not paths:
        pytest.skip("no genuine packages: set HELIOIMAGES_CONDA_PACKAGES to their folder")
    package = replace(locked_package(paths[0], SUBDIR), subdir=SUBDIR, depends=())
    script = f"bin/.{package.name}-post-link.sh"
    digest = read_listing(paths[0], file).digests[script]
    lock = replace(world.write("true")[0], packages=(package,), scripts={SUBDIR: {package.name: (digest,)}})
    if left is None:
        with pytest.raises(HelioError, match="the post-link script of `failing_post_link` failed with 1"):
            world.runner.for_lock(lock, {package.sha256: paths[0]}, [package.name])
        return
    [sha256] = world.runner.for_lock(lock, {package.sha256: paths[0]}, [package.name]).values()
    written = captured.parse(world.store.artefact(sha256).read_bytes(), file).written
    assert {entry.path: text(entry) for entry in written} == left
