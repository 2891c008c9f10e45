"""Run reviewed post-link scripts of conda packages in the builder, once, and keep what they write as files.

A script sees what it sees where conda installs: its package and all that it needs, linked at the prefix, activated, and
conda's variables. It has no network and a limit of time. What it leaves in the prefix becomes files of the package's
layer, by a digest that the lock holds (conda/captured.py). It may not touch what another package brings, nor anything
outside the prefix but `/tmp`, and it must write the same twice: a layer is what its locked packages make it.

Spec: conda-build, "Adding pre-link, post-link, and pre-unlink scripts"; CEP 34, link scripts.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..conda import captured, link
from ..conda.captured import Captured
from ..conda.lock import CondaLock, CondaPackage
from ..conda.read import read_index, site_packages_of
from ..core.digest import key_of, of_bytes
from ..core.entries import LAYER_MTIME, LINKER_VERSION, Content, Entry, Kind, merge
from ..core.errors import HelioError, Stage
from ..core.platform import Platform
from ..core.progress import say, step
from ..debian import lock as apt_lock
from ..locks.file_names import builder_lock
from ..locks.read import Locks
from ..machine.store import Store, has
from . import builder as building
from .builder import Builder
from .plan import PREFIX
from .toolchain import write_tree

#: Raised when the same script of the same packages may leave other files.
VERSION = 1
#: Seconds that a script may take. The ones that are known register fonts, icons or plugins, in a few.
TIME_LIMIT_S = 600.0
#: Bytes that a script may leave.
SIZE_LIMIT = 1 << 30

#: Runs as the first process of a container. Both lists are of the whole system but what is in memory and what the
#: builder mounts; a change that a file does not show in them (its time of change cannot be set) does not exist.
_GUEST = r"""
umask 022
mkdir -p "$(dirname "$PREFIX")" "$HOME"
cp -a "$IN/prefix" "$PREFIX"
chown -hR 0:0 "$PREFIX"
list() {
    find / -xdev \
        \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /build -o -path /in -o -path /out \) \
        -prune -o -printf '%y %m %U %G %s %T@ %C@ %i %p\0' | sort -z
}
paths() { cut -z -d' ' -f9- "$1" | sort -z; }
list > /build/before
code=0
exec 3>&2 2> /dev/null  # else this shell tells which of its lines was killed
(
    exec 2>&3 3>&-
    cd "$PREFIX/bin"
    exec env -u IN -u OUT bash -c '
        for file in "$PREFIX"/etc/conda/activate.d/*.sh; do [ ! -e "$file" ] || . "$file"; done
        exec bash "$0"' "$PREFIX/bin/.$PKG_NAME-post-link.sh"
) < /dev/null || code=$?
kill -KILL -1 || true
exec 2>&3
list > /build/after
comm -z -13 /build/before /build/after | cut -z -d' ' -f9- > "$OUT/changed"
comm -z -23 <(paths /build/before) <(paths /build/after) > "$OUT/removed"
grep -z "^$PREFIX/" "$OUT/changed" > /build/inside || true
tar --null --verbatim-files-from --no-recursion --hard-dereference -P -cf - -T /build/inside \
    | head -c "$LIMIT" > "$OUT/changed.tar"
printf %s "$code" > "$OUT/code"
"""

_HINT = (
    "take `run` off the script's entry in x-helioimages.link-scripts and put what it would write into the image's own "
    "files, or choose another build of the package"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRunner:
    """Runs post-link scripts in the builder, which is connected only where one has to run.

    Attributes:
        root: the checkout, whose lock of the builder says which one it is.
    """

    root: Path
    store: Store
    builder: Callable[[], Builder]
    platform: Platform

    def for_lock(self, lock: CondaLock, files: Mapping[str, Path], names: Sequence[str]) -> dict[str, str]:
        """Return package -> sha256 of what its script wrote, each run twice unless the store knows it.

        Args:
            files: sha256 (hex) -> file, of all packages of the lock.
            names: of packages whose script is to be run.

        Raises:
            HelioError: a script failed, did not end, or wrote what it may not, or something else each time.
        """
        return self._run(lock, files, names, {})

    def for_build(self, locks: Locks, paths: Mapping[str, Path], needed: Container[str] | None) -> dict[str, Path]:
        """Return sha256 (hex) -> file of what the scripts of a lock wrote, run again if the store lacks one.

        Args:
            paths: sha256 (hex) -> file, of the lock's conda packages.
            needed: the sha256 of what is wanted of them; None is all.

        Raises:
            HelioError: as `for_lock` says, or a script wrote something else than is locked.
        """
        told = locks.conda.ran.get(self.platform.subdir, {})
        wanted = {name: sha256 for name, sha256 in told.items() if needed is None or sha256 in needed}
        if not all(has(self.store.artefact(sha256), None) for sha256 in wanted.values()):
            self._run(locks.conda, paths, sorted(told), told)
        return {sha256: self.store.artefact(sha256) for sha256 in wanted.values()}

    def _run(
        self, lock: CondaLock, files: Mapping[str, Path], names: Sequence[str], expected: Mapping[str, str]
    ) -> dict[str, str]:
        subdir = self.platform.subdir
        packages = {package.name: package for package in lock.for_platform(subdir)}
        needs = {name: _closure(packages, name) for name in names}
        written: dict[str, str] = {}
        # What a package needs is installed before it, its script's files too.
        for name in sorted(names, key=lambda name: (len(needs[name]), name)):
            job = _Job(
                runner=self,
                lock=lock,
                package=packages[name],
                needs=tuple(packages[other] for other in sorted(needs[name])),
                files=files,
                ran={other: written[other] for other in sorted(needs[name] & written.keys())},
            )
            written[name] = job.result(expected.get(name))
        return written


def _closure(packages: Mapping[str, CondaPackage], name: str) -> frozenset[str]:
    """Return a package and all that it needs, by name."""
    needed, todo = {name}, [name]
    while todo:
        for spec in packages[todo.pop()].depends:
            other = spec.split()[0] if spec.strip() else ""
            if other in packages and other not in needed:
                needed.add(other)
                todo.append(other)
    return frozenset(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One script.

    Attributes:
        needs: the package and all that it needs.
        ran: package -> sha256 of what its script wrote, of those that it needs.
    """

    runner: ScriptRunner
    lock: CondaLock
    package: CondaPackage
    needs: tuple[CondaPackage, ...]
    files: Mapping[str, Path]
    ran: Mapping[str, str]

    def result(self, expected: str | None) -> str:
        """Return the sha256 of what the script wrote; it is in the store then."""
        store = self.runner.store
        key = key_of(
            [
                *("post-link", VERSION, LINKER_VERSION, PREFIX, _GUEST, self._builder_key()),
                *(self.package.name, self.package.platform, [package.sha256 for package in self.needs]),
                *(sorted(self._lost()), sorted(self.ran.items())),
            ]
        )
        known = store.recall("post-link", key)
        if known and has(store.artefact(known["sha256"]), None) and expected in (None, known["sha256"]):
            return str(known["sha256"])
        say(f"    running the post-link script of {self.package.name} {self.package.version}")
        with step(f"post-link script of {self.package.name}"):
            first = captured.dump(self._once(tell=True))
            # Once written in a lock, that is what it is compared with.
            again = first if expected else captured.dump(self._once(tell=False))
        if first != again:
            raise self._error("does not write the same twice", _difference(first, again))
        sha256 = of_bytes(first).removeprefix("sha256:")
        if expected not in (None, sha256):
            raise HelioError(
                Stage.BUILD,
                f"the post-link script of `{self.package.name}` wrote other files than the lock says",
                where=self._where(),
                detail=f"expected sha256:{expected} not sha256:{sha256}",
                hint="the builder changed, or another package did; run `buildimages lock`",
            )
        with tempfile.NamedTemporaryFile(dir=store.root / "tmp", delete=False) as file:
            file.write(first)
        store.put_artefact(Path(file.name))
        Path(file.name).unlink(missing_ok=True)
        store.remember("post-link", key, {"sha256": sha256})
        return sha256

    def _builder_key(self) -> str:
        file = builder_lock(self.runner.platform)
        try:
            return building.key(apt_lock.parse((self.runner.root / file).read_text("utf-8"), file))
        except FileNotFoundError as error:
            raise HelioError(
                Stage.LOCK,
                f"`{file}` is missing",
                where=self._where(),
                detail=f"it locks the builder for {self.runner.platform}, in which the post-link script is run",
                hint="copy it from helioimages' own checkout",
            ) from error

    def _once(self, *, tell: bool) -> Captured:
        """Run the script and return what it left; ``tell`` says its word to people."""
        with tempfile.TemporaryDirectory(prefix="post-link-", dir=self.runner.store.root / "tmp") as scratch:
            tree, output = Path(scratch, "tree"), Path(scratch, "out")
            tree.mkdir()
            output.mkdir()
            entries = self._entries()
            write_tree(tree, tuple(entries.values()))
            # A script must not see when it was run.
            for path in (*tree.rglob("*"), tree):
                os.utime(path, (LAYER_MTIME, LAYER_MTIME), follow_symlinks=False)
            log = self._start(tree / PREFIX[1:], output)
            if code := int((output / "code").read_text() or 1):
                raise self._error(f"failed with {code}", "\n".join(log.splitlines()[-20:]))
            return self._read(entries, output, tell=tell)

    def _start(self, prefix: Path, output: Path) -> str:
        package = self.package
        number = read_index(self.files[package.sha256], package.file_name)["build_number"]
        try:
            return self.runner.builder().run(
                ["bash", "-euc", _GUEST],
                inputs={"prefix": prefix},
                output=output,
                env={
                    "PREFIX": PREFIX,
                    "ROOT_PREFIX": str(Path(PREFIX).parents[1]),
                    "PKG_NAME": package.name,
                    "PKG_VERSION": package.version,
                    "PKG_BUILDNUM": str(number),
                    "CONDA_PREFIX": PREFIX,
                    "CONDA_DEFAULT_ENV": Path(PREFIX).name,
                    "CONDA_SHLVL": "1",
                    "PATH": f"{PREFIX}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    # Not /tmp, which is not looked at: what a script writes to a home is in no image.
                    "HOME": "/root",
                    "SOURCE_DATE_EPOCH": str(LAYER_MTIME),
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONHASHSEED": "0",
                    "LIMIT": str(SIZE_LIMIT + 1),
                },
                timeout_s=TIME_LIMIT_S,
            )
        except HelioError as error:
            if " took over " not in error.message:
                raise
            raise self._error(f"did not end within {TIME_LIMIT_S:.0f} s", error.detail or "") from error

    def _lost(self) -> frozenset[tuple[str, str]]:
        """Return the (package, path) pairs of what other packages win."""
        names = {package.name for package in self.needs}
        return frozenset(
            (loser, f"{PREFIX[1:]}/{path}")
            for path, text in self.lock.clobbers.get(self.package.platform, {}).items()
            for loser in text.partition(" over ")[2].split(", ")
            if loser in names and text.partition(" over ")[0] in names
        )

    def _entries(self) -> dict[str, Entry]:
        """Return path -> entry of the prefix as the script finds it."""
        python = next((package for package in self.needs if package.name == "python"), None)
        prefix = link.Prefix(
            path=PREFIX,
            python_version=".".join(python.version.split(".")[:2]) if python else None,
            site_packages=site_packages_of(self.files[python.sha256], python) if python else None,
            platform=self.package.platform,
            scripts=self.lock.reviewed(self.package.platform),
        )
        lost, linked = self._lost(), list[Entry]()
        for package in self.needs:
            entries = link.link(self.files[package.sha256], package, prefix)
            kept = tuple(entry for entry in entries if (package.name, entry.path) not in lost)
            kept = link.forgetting(entries, kept, package, PREFIX)
            if sha256 := self.ran.get(package.name):
                data = self.runner.store.artefact(sha256).read_bytes()
                kept = captured.applied(kept, captured.parse(data, _origin(package)), package, PREFIX)
            linked += kept
        entries_by_path = {entry.path: entry for entry in merge(linked)}
        script = f"{PREFIX[1:]}/bin/.{self.package.name}-post-link.sh"
        if script not in entries_by_path:
            raise HelioError(
                Stage.BUILD,
                f"`{self.package.name}` has no post-link script to run",
                where=self.package.file_name,
                detail="expected it at " + script.removeprefix(f"{PREFIX[1:]}/"),
                hint="a pre-link script cannot be run: take `run` off its entry in x-helioimages.link-scripts",
            )
        return entries_by_path

    def _read(self, before: Mapping[str, Entry], output: Path, *, tell: bool) -> Captured:
        """Return what the script left.

        Raises:
            HelioError: it touched what is not its own, or left what no layer holds.
        """
        changed, removed = _paths(output / "changed"), _paths(output / "removed")
        inside = f"{PREFIX}/"
        outside = [path for path in (*changed, *removed) if not path.startswith(inside) and path not in (PREFIX, "/")]
        # A folder outside is told by what was put into it.
        if outside:
            deepest = [path for path in outside if not any(other.startswith(f"{path}/") for other in outside)]
            raise self._error("writes outside the prefix", "\n".join(deepest[:20]))
        if (output / "changed.tar").stat().st_size > SIZE_LIMIT:
            raise self._error("writes too much", f"expected at most {SIZE_LIMIT:,} bytes")
        left, words = self._left(before, output / "changed.tar")
        for line in words if tell else ():
            say(f"    {self.package.name}: {line}")
        gone = {path[1:]: before[path[1:]] for path in removed if path[1:] in before}
        own = f"{PREFIX[1:]}/{link.record_path(self.package)}"
        foreign = [
            f"{path.removeprefix(inside[1:])} of {entry.origin}, {what}"
            for what, rows in (("changed", left), ("removed", gone))
            for path in sorted(rows)
            if (entry := before.get(path)) and entry.origin and (entry.origin != _origin(self.package) or path == own)
        ]
        if foreign:
            raise self._error("changes files of other packages", "\n".join(foreign[:20]))
        start = len(inside) - 1
        return Captured(
            written=tuple(
                Entry(
                    path=path[start:],
                    kind=entry.kind,
                    mode=entry.mode,
                    content=entry.content,
                    target=entry.target,
                )
                for path, entry in sorted(left.items())
            ),
            removed=tuple(path[start:] for path in sorted(gone) if before[path].origin),
        )

    def _left(self, before: Mapping[str, Entry], path: Path) -> tuple[dict[str, Entry], list[str]]:
        """Return path -> entry of what is new or another than it was, and the script's word to people."""
        left: dict[str, Entry] = {}
        words: list[str] = []
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name.lstrip("/")
                if name == f"{PREFIX[1:]}/.messages.txt":
                    text = tar.extractfile(member)
                    words = text.read().decode("utf-8", "replace").splitlines() if text else []
                    continue
                entry = self._entry(name, member, tar)
                if not _same(entry, before.get(name)):
                    left[name] = entry
        return left, words

    def _entry(self, name: str, member: tarfile.TarInfo, tar: tarfile.TarFile) -> Entry:
        if member.isdir():
            return Entry(path=name, kind=Kind.DIR, mode=0o755)
        if member.issym():
            return Entry(path=name, kind=Kind.SYMLINK, mode=0o777, target=member.linkname)
        file = tar.extractfile(member) if member.isreg() else None
        if file is None:
            raise self._error("writes what no layer holds", f"expected files, folders and links, not {name}")
        mode = 0o755 if member.mode & 0o111 else 0o644
        return Entry(path=name, kind=Kind.FILE, mode=mode, content=Content.of(file.read()))

    def _where(self) -> str:
        return f"{self.package.file_name} at bin/.{self.package.name}-post-link.sh"

    def _error(self, what: str, detail: str) -> HelioError:
        return HelioError(
            Stage.BUILD,
            f"the post-link script of `{self.package.name}` {what}",
            where=self._where(),
            detail=detail,
            hint=_HINT,
        )


def _origin(package: CondaPackage) -> str:
    return f"{package.name}-{package.version}"


def _paths(file: Path) -> list[str]:
    return [os.fsdecode(path) for path in file.read_bytes().split(b"\0") if path]


def _same(now: Entry, before: Entry | None) -> bool:
    """Say whether a file is as it was, whatever its times are; a hard link is a file."""
    if before is None or before.kind is Kind.HARDLINK:
        return False
    if now.kind is Kind.FILE and before.kind is Kind.FILE:
        assert now.content is not None and before.content is not None
        return now.mode == before.mode and now.content.read() == before.content.read()
    return (now.kind, now.target) == (before.kind, before.target)


def _difference(first: bytes, second: bytes) -> str:
    """Say where two runs differ."""
    left, right = (_rows(captured.parse(data, "a script")) for data in (first, second))
    return "\n".join(sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path))[:20])


def _rows(written: Captured) -> dict[str, object]:
    rows: Iterable[tuple[str, object]] = (
        (entry.path, (entry.kind, entry.mode, entry.target, entry.content.read() if entry.content else b""))
        for entry in written.written
    )
    return {**dict(rows), **{path: None for path in written.removed}}
