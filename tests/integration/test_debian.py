"""apt, mmdebstrap and the builder for real.

The first half runs apt against an archive that the tests sign and serve on loopback, so that it can drop packages; the
second half installs Debian itself.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helioimages.core.digest import key_of
from helioimages.core.entries import Entry
from helioimages.core.errors import HelioError, Stage
from helioimages.debian import tree
from helioimages.debian.lock import AptLock, parse
from helioimages.locks import apt
from helioimages.locks import mirror as debian_mirror
from helioimages.machine import fetch
from helioimages.machine.store import Store
from helioimages.make import rootfs
from helioimages.make.builder import REPOSITORY, Builder

ROOT = Path(__file__).resolve().parents[2]
DATE = "Sat, 15 Nov 2025 08:00:00 UTC"
EPOCH = 1_763_193_600


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"`{program}` is not installed")


class Archive:
    """A signed Debian archive in a folder: suites trixie, trixie-updates and trixie-security."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "www", folder / "gnupg"
        folder.mkdir(exist_ok=True)
        self.home.mkdir(mode=0o700)
        self.keyring = folder / "keyring.gpg"
        self.architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        self._gpg("--passphrase", "", "--quick-generate-key", "Test archive <test@localhost>", "ed25519", "sign")
        self._gpg("--output", str(self.keyring), "--export")
        self._scratch = folder / "scratch"

    def _gpg(self, *arguments: str) -> None:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
        subprocess.run(argv, check=True, capture_output=True)

    def add(self, name: str, version: str = "1.0", *, archive: str = "debian", **fields: str) -> Path:
        """Put a package into a pool and return its file."""
        tree_ = self._scratch / f"{name}_{version}"
        (tree_ / "DEBIAN").mkdir(parents=True)
        control = {
            "Package": name,
            "Version": version,
            "Architecture": self.architecture,
            "Maintainer": "Test <test@localhost>",
            "Description": "test",
        } | {key.replace("_", "-"): value for key, value in fields.items()}
        (tree_ / "DEBIAN" / "control").write_text("".join(f"{key}: {value}\n" for key, value in control.items()))
        final = self.folder / archive / "pool" / "main" / name[0] / name / f"{name}_{version}_{self.architecture}.deb"
        final.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree_, final], check=True, capture_output=True)
        return final

    def publish(self, *, signed: bool = True) -> None:
        """Index and sign what the pools hold now."""
        for archive, suites in (("debian", ("trixie", "trixie-updates")), ("debian-security", ("trixie-security",))):
            base = self.folder / archive
            stanzas = [self._stanza(base, path) for path in sorted(base.glob("pool/**/*.deb"))]
            for suite in suites:
                folder = base / "dists" / suite
                index = folder / "main" / f"binary-{self.architecture}" / "Packages"
                index.parent.mkdir(parents=True, exist_ok=True)
                index.write_text("" if suite.endswith("-updates") else "\n".join(stanzas))
                data = index.read_bytes()
                row = f" {hashlib.sha256(data).hexdigest()} {len(data)} {index.relative_to(folder)}"
                (folder / "Release").write_text(
                    f"Origin: Debian\nLabel: Debian\nSuite: {suite}\nCodename: {suite}\nDate: {DATE}\n"
                    f"Architectures: {self.architecture}\nComponents: main\nSHA256:\n{row}\n"
                )
                (folder / "InRelease").unlink(missing_ok=True)
                if signed:
                    self._gpg("--clearsign", "--output", str(folder / "InRelease"), str(folder / "Release"))

    def _stanza(self, base: Path, path: Path) -> str:
        control = subprocess.check_output(["dpkg-deb", "--field", path], text=True)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name = path.relative_to(base)
        return f"{control}Filename: {name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch) -> Iterator[Archive]:
    needs("gpg", "dpkg-deb", "apt-get")
    made = Archive(tmp_path)
    made.add("base-files", Essential="yes", Priority="required")
    made.add("mawk", Priority="required")
    made.add("apt", Depends="libapt (>= 1.0)")
    made.add("libapt")
    made.add("extra")
    made.add("tool", Depends="libtool1", Recommends="extra")
    made.add("libtool1")
    made.add("child", Depends="libtool1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(made.folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_MIRROR", f"http://127.0.0.1:{server.server_port}/debian")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_KEYRING", str(made.keyring))
    debian_mirror.mirrors.cache_clear()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()
    debian_mirror.mirrors.cache_clear()
    subprocess.run(["gpgconf", "--homedir", made.home, "--kill", "all"], check=False, capture_output=True)


def resolve(archive: Archive, *requested: str, **arguments) -> AptLock:
    return apt.resolve(requested, architecture=archive.architecture, **arguments)


def versions(lock: AptLock) -> dict[str, str]:
    return {deb.name: deb.version for deb in lock.packages}


def test_a_lock_holds_the_minimal_system_and_dependencies_but_no_recommendations(archive):
    fixed = archive.add("libtool1", "1.0+sec1", archive="debian-security")
    archive.publish()
    lock = resolve(archive, "tool")
    assert versions(lock) == {
        "apt": "1.0",
        "base-files": "1.0",
        "libapt": "1.0",
        "libtool1": "1.0+sec1",
        "mawk": "1.0",
        "tool": "1.0",
    }
    found = next(deb for deb in lock.packages if deb.name == "libtool1")
    assert found.archive == "debian-security"
    assert (found.sha256, found.size) == (hashlib.sha256(fixed.read_bytes()).hexdigest(), fixed.stat().st_size)
    assert (lock.suite, lock.requested, lock.timestamp) == ("trixie", ("tool",), EPOCH)
    assert apt.missing(lock.packages) == ()


def test_a_child_keeps_its_parents_versions_although_newer_ones_are_there(archive):
    archive.publish()
    parent = resolve(archive, "tool")
    archive.add("libtool1", "1.1")
    archive.publish()
    assert versions(resolve(archive, "child"))["libtool1"] == "1.1"
    child = resolve(archive, "child", parent=parent)
    assert versions(child) == versions(parent) | {"child": "1.0"}


def test_a_child_of_a_parent_that_the_archive_has_moved_past_names_the_packages(archive):
    archive.publish()
    parent = resolve(archive, "tool")
    (old,) = archive.folder.glob("debian/pool/**/libtool1_1.0_*.deb")
    old.unlink()
    archive.add("libtool1", "1.1")
    archive.publish()
    with pytest.raises(HelioError) as caught:
        resolve(archive, "child", parent=parent)
    assert str(caught.value) == (
        "the Debian archive replaced 1 packages of the parent image\n  libtool1 1.0\n\n"
        "hint: lock parent and child together: run `buildimages lock`"
    )


def test_healing_replaces_what_the_mirror_dropped_and_nothing_else(archive, capsys):
    archive.publish()
    lock = resolve(archive, "tool", "extra")
    (old,) = archive.folder.glob("debian/pool/**/libtool1_1.0_*.deb")
    old.unlink()
    archive.add("libtool1", "1.1")
    archive.add("extra", "2.0")
    archive.publish()
    gone = apt.missing(lock.packages)
    assert [(deb.name, deb.version) for deb in gone] == [("libtool1", "1.0")]
    healed = apt.heal(lock, gone)
    assert versions(healed) == versions(lock) | {"libtool1": "1.1"}
    assert healed.healed == ("libtool1 1.0 -> 1.1",)
    assert apt.missing(healed.packages) == ()
    said = capsys.readouterr().err
    assert "warning: the mirror dropped libtool1 1.0; the Debian part is locked again" in said
    assert "healed: libtool1 1.0 -> 1.1" in said


def test_healing_lets_packages_move_together_where_they_must(archive):
    archive.add("libc")
    archive.add("libc-dev", Depends="libc (= 1.0)")
    archive.publish()
    lock = resolve(archive, "libc-dev")
    (old,) = archive.folder.glob("debian/pool/**/libc_1.0_*.deb")
    old.unlink()
    archive.add("libc", "1.1")
    archive.add("libc-dev", "1.1", Depends="libc (= 1.1)")
    archive.publish()
    healed = apt.heal(lock, apt.missing(lock.packages))
    assert healed.healed == ("libc 1.0 -> 1.1", "libc-dev 1.0 -> 1.1")


def test_a_healed_child_follows_its_healed_parent(archive):
    archive.publish()
    parent = resolve(archive, "tool")
    child = resolve(archive, "child", parent=parent)
    (old,) = archive.folder.glob("debian/pool/**/libtool1_1.0_*.deb")
    old.unlink()
    archive.add("libtool1", "1.1")
    archive.publish()
    parent = apt.heal(parent, apt.missing(parent.packages))
    child = apt.heal(child, apt.missing(child.packages), parent=parent)
    assert {deb.sha256 for deb in parent.packages} <= {deb.sha256 for deb in child.packages}
    assert child.healed == ("libtool1 1.0 -> 1.1",)


def test_a_package_that_debian_lacks_is_named(archive):
    archive.publish()
    with pytest.raises(HelioError) as caught:
        resolve(archive, "no-such-thing")
    assert str(caught.value) == (
        "Debian has no package `no-such-thing`\n  E: Unable to locate package no-such-thing\n\n"
        "hint: check debian.packages"
    )


def test_an_archive_that_nobody_signed_is_refused(archive):
    archive.publish(signed=False)
    with pytest.raises(HelioError) as caught:
        resolve(archive, "tool")
    assert caught.value.message == "cannot read the Debian archive"
    assert "is not signed" in caught.value.detail


def test_an_archive_signed_by_a_stranger_is_refused(archive, monkeypatch):
    archive.publish()
    stranger = Archive(archive.folder.parent / "other")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_KEYRING", str(stranger.keyring))
    with pytest.raises(HelioError) as caught:
        resolve(archive, "tool")
    assert caught.value.message == "cannot read the Debian archive"


# Debian itself.


def fetched(store: Store, lock: AptLock) -> dict[str, Path]:
    wanted = [
        fetch.Wanted(
            name=deb.file_name.rpartition("/")[2],
            sha256=deb.sha256,
            size=deb.size,
            where="a lock",
            urls=functools.partial(debian_mirror.mirror_urls, deb),
        )
        for deb in lock.packages
    ]
    return fetch.fetch_all(wanted, store)


def summary(entries: Sequence[Entry]) -> dict[str, str]:
    """Return path -> digest of everything that a layer would say about it."""
    return {
        entry.path: key_of(
            [
                entry.kind.value,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.target,
                hashlib.sha256(entry.content.read()).hexdigest() if entry.content else "",
            ]
        )
        for entry in entries
    }


@pytest.fixture(scope="module")
def minimal(tmp_path_factory) -> tuple[Path, AptLock, dict[str, Path]]:
    needs("mmdebstrap", "apt-get")
    folder = tmp_path_factory.mktemp("debian")
    # git-lfs: its installation writes a file in a random order.
    lock = apt.resolve(["git-lfs", "ca-certificates", "openssh-client", "tini"])
    return folder, lock, fetched(Store(folder / "artefacts"), lock)


@pytest.mark.network
def test_one_lock_gives_one_root_file_system_on_any_machine(minimal, monkeypatch):
    folder, lock, debs = minimal
    found = []
    settings = ((0o022, "UTC", "C.UTF-8", 4, True), (0o077, "Asia/Tokyo", "de_DE.UTF-8", 1, False))
    for number, (umask, zone, language, jobs, in_memory) in enumerate(settings):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LANG", language)
        monkeypatch.setenv("TMPDIR", str(folder))
        store = Store(folder / f"store{number}")
        if not in_memory:
            monkeypatch.setattr(rootfs, "_scratch", lambda store, lock: store.root / "tmp")
        before = os.umask(umask)
        try:
            tar = rootfs.build_rootfs(store, lock, debs, jobs=jobs)
        finally:
            os.umask(before)
        found.append(summary(tree.whole(tree.read_tar(tar))))
    one, other = found
    assert {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)} == set()
    # A second build is the cached file.
    assert rootfs.build_rootfs(store, lock, {}, jobs=1) == tar


@pytest.mark.network
def test_the_root_file_system_is_a_system_people_can_use_and_extend(minimal):
    folder, lock, debs = minimal
    tar = rootfs.build_rootfs(Store(folder / "store0"), lock, debs)
    entries = {entry.path: entry for entry in tree.whole(tree.read_tar(tar))}
    text = {path: entry.content.read() for path, entry in entries.items() if entry.content and entry.content.size < 9e6}
    assert (entries["bin"].target, entries["lib"].target) == ("usr/bin", "usr/lib")
    assert entries["usr/bin/su"].mode == 0o4755
    installed = text["var/lib/dpkg/status"].decode()
    assert installed.count("\nStatus: install ok installed\n") == len(lock.packages)
    assert b"BEGIN CERTIFICATE" in text["etc/ssl/certs/ca-certificates.crt"]
    assert "usr/lib/locale/C.utf8/LC_CTYPE" in entries
    assert "usr/share/doc/git-lfs/copyright" in entries
    assert not [path for path in entries if path.startswith(("usr/share/man/man1/", "var/lib/apt/lists/deb"))]
    assert text.get("etc/machine-id", b"") == b""
    assert not [path for path, entry in entries.items() if path.startswith("dev/")]
    mentions = [path for path, data in text.items() if str(folder).encode() in data or b"helioimages" in data]
    assert mentions == []


@pytest.mark.network
def test_a_package_that_is_not_the_locked_file_is_refused(minimal, tmp_path):
    _, lock, debs = minimal
    wrong = tmp_path / "wrong.deb"
    wrong.write_bytes(b"not a package")
    with pytest.raises(HelioError) as caught:
        rootfs.build_rootfs(Store(tmp_path / "store"), lock, debs | {lock.packages[0].sha256: wrong})
    assert caught.value.stage is Stage.BUILD
    assert caught.value.message == f"`{lock.packages[0].file_name}` is not a Debian package"


@pytest.fixture(scope="module")
def builder(tmp_path_factory, engine) -> Builder:
    needs("mmdebstrap")
    lock_file = ROOT / "channel" / "apt-lock.json"
    lock = parse(lock_file.read_text(), "channel/apt-lock.json")
    store = Store(tmp_path_factory.mktemp("builder"))
    gone = apt.missing(lock.packages)
    lock = apt.heal(lock, gone) if gone else lock
    return Builder(engine.client, store, lock, fetched(store, lock))


def containers(builder: Builder) -> list[str]:
    return [one.id for one in builder._client.containers.list(all=True, filters={"ancestor": builder.image()})]


@pytest.mark.engine
@pytest.mark.network
def test_the_builder_compiles_without_network_and_leaves_no_container(builder, tmp_path):
    source, out = tmp_path / "hello.c", tmp_path / "out"
    source.write_text('#include <stdio.h>\nint main(void) { puts("made here"); }\n')
    out.mkdir()
    script = (
        'set -e; cp "$IN/one.c" /build; cmp "$IN/one.c" "$IN/two.c"; ! touch "$IN/one.c" 2>/dev/null; '
        'gcc -static -o "$OUT/hello" one.c; "$OUT/hello"; tail -n +3 /proc/net/dev | cut -d: -f1; pwd; echo "$EXTRA"'
    )
    before = containers(builder)
    log = builder.run(
        ["bash", "-c", script],
        inputs={"one.c": source, "two.c": source},
        output=out,
        env={"EXTRA": "from outside"},
        cwd="/build",
    )
    assert [line.strip() for line in log.splitlines()] == ["made here", "lo", "/build", "from outside"]
    assert subprocess.check_output([out / "hello"], text=True) == "made here\n"
    assert containers(builder) == before
    assert builder.image() == f"{REPOSITORY}:{builder.key[:16]}"


@pytest.mark.engine
@pytest.mark.network
@pytest.mark.parametrize(
    ("script", "values", "message", "detail"),
    [
        ("seq 50; echo last >&2; exit 3", {}, "failed with 3", [*map(str, range(12, 51)), "last"]),
        ("echo started; sleep 60", {"timeout_s": 2}, "took over 2 s", ["started"]),
        (
            "echo started; head -c 400M /dev/zero | tail -c 400M | wc -c; exit 137",
            {"memory": "64m"},
            "ran out of memory (64m)",
            None,
        ),
    ],
)
def test_a_failed_run_says_why_and_ends_with_its_last_lines(builder, tmp_path, script, values, message, detail):
    before = containers(builder)
    with pytest.raises(HelioError) as caught:
        builder.run(["bash", "-c", script], inputs={}, output=tmp_path, **values)
    assert caught.value.stage is Stage.BUILD
    assert caught.value.message == f"the builder's `bash -c {script}` {message}"
    if detail is not None:
        assert caught.value.detail.splitlines() == detail
    assert containers(builder) == before


@pytest.mark.engine
@pytest.mark.network
def test_a_run_may_have_an_ordinary_user(builder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    os.chown(out, 4711, 0) if os.geteuid() == 0 else out.chmod(0o777)
    assert builder.run(["bash", "-c", 'id -u; touch "$OUT/x" /build/y'], inputs={}, output=out, uid=4711) == "4711\n"
    assert (out / "x").stat().st_uid == 4711
