"""apt, mmdebstrap and the builder for real.

The first half runs apt against an archive that the tests sign and serve on loopback, so that it can drop packages; the
second half installs Debian itself, from an archive of the locked packages (with ``--world``, from today's).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import engine_lists
import pytest
from debian_support import EPOCH, Archive, configured, needs
from limits import until_begun

from helioimages.core.digest import key_of
from helioimages.core.entries import Entry
from helioimages.core.errors import HelioError, Stage
from helioimages.debian import tree
from helioimages.debian.lock import AptLock, parse
from helioimages.locks import apt
from helioimages.locks import debian as lock_debian
from helioimages.locks import mirror as debian_mirror
from helioimages.machine import fetch
from helioimages.machine.store import Store
from helioimages.make import rootfs
from helioimages.make.builder import REPOSITORY, Builder
from helioimages.make.rootfs import RootfsWorks

ROOT = Path(__file__).resolve().parents[2]


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
    with configured(made, monkeypatch):
        yield made


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
    libtool = next(deb for deb in lock.packages if deb.name == "libtool1")
    assert libtool.archive == "debian-security"
    assert (libtool.sha256, libtool.size) == (hashlib.sha256(fixed.read_bytes()).hexdigest(), fixed.stat().st_size)
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


def test_a_parent_that_cannot_be_had_is_named_with_the_command_that_moves_all(archive):
    archive.publish()
    parent = resolve(archive, "tool")
    archive.move("libtool1")
    with pytest.raises(HelioError) as caught:
        resolve(archive, "child", parent=parent)
    assert str(caught.value) == (
        "the Debian mirror dropped 1 package of the parent image\n  libtool1 1.0\n\n"
        "hint: run `buildimages lock`, which moves the parent and all its children together; or name a mirror that has "
        "them in HELIOIMAGES_DEBIAN_SNAPSHOT"
    )


def test_a_child_that_asks_for_nothing_more_asks_no_archive(archive):
    archive.publish()
    parent = dataclasses.replace(resolve(archive, "tool", "extra"), healed=("curl 1 -> 2",))
    archive.move("libtool1")
    archive.asked.clear()
    for requested in ((), ("extra",)):
        assert apt.inherit(requested, parent) == dataclasses.replace(parent, requested=requested)
    assert apt.inherit(("child",), parent) is None and apt.inherit(("extra",), None) is None
    assert archive.asked == []


@pytest.mark.parametrize("place", ["pool", "store", "snapshot"])
def test_a_child_has_its_parents_versions_though_the_index_forgot_them(archive, tmp_path, monkeypatch, place):
    archive.publish()
    parent = resolve(archive, "tool")
    store = Store(tmp_path / "store")
    if place == "store":
        fetched(store, parent)
    if place == "snapshot":
        shutil.copytree(archive.folder / "debian", archive.folder / "then" / "debian" / "20251115T080000Z")
        shutil.copytree(archive.folder / "debian-security", archive.folder / "then/debian-security/20251115T080000Z")
        monkeypatch.setenv("HELIOIMAGES_DEBIAN_SNAPSHOT", f"{archive.url}/then/debian/20251115T080000Z")
    archive.move("libtool1", "base-files", keep=place == "pool")
    archive.move("child", version="1.2", Depends="libtool1, newer")
    archive.add("newer")
    archive.publish()
    child = resolve(archive, "child", parent=parent, obtain=lock_debian.obtainer(store))
    assert versions(child) == versions(parent) | {"child": "1.2", "newer": "1.0"}
    assert set(parent.packages) <= set(child.packages)
    assert apt.missing(child.packages) == ((*parent_gone(parent),) if place == "store" else ())


def parent_gone(parent: AptLock) -> list:
    return [deb for deb in parent.packages if deb.name in ("libtool1", "base-files")]


def test_with_a_snapshot_a_child_takes_what_fitted_its_parent_then(archive, tmp_path, monkeypatch):
    archive.add("libc")
    archive.add("libc-dev", Depends="libc (= 1.0)")
    archive.publish()
    parent = resolve(archive, "libc")
    for name in ("debian", "debian-security"):
        shutil.copytree(archive.folder / name, archive.folder / "then" / name)
    archive.move("libc", keep=True)
    archive.move("libc-dev", Depends="libc (= 1.1)")
    obtain = lock_debian.obtainer(Store(tmp_path / "store"))
    with pytest.raises(apt.NoSolution) as caught:
        resolve(archive, "libc-dev", parent=parent, obtain=obtain)
    assert caught.value.message == "apt found no solution under the parent image's packages"
    assert "libc-dev : Depends: libc (= 1.1)" in caught.value.detail
    assert caught.value.hint.startswith("run `buildimages lock`, which moves the parent and all its children together")
    monkeypatch.setenv("HELIOIMAGES_DEBIAN_SNAPSHOT", f"{archive.url}/then/debian")
    child = resolve(archive, "libc-dev", parent=parent, obtain=obtain)
    assert versions(child) == versions(parent) | {"libc-dev": "1.0"}
    assert apt.missing(child.packages) == ()


def test_a_new_package_moves_no_other_that_can_still_be_had(archive, tmp_path):
    archive.publish()
    lock = resolve(archive, "tool")
    archive.move("libtool1", keep=True)
    assert versions(resolve(archive, "tool", "extra", prefer=lock.packages))["libtool1"] == "1.1"
    obtain = lock_debian.obtainer(Store(tmp_path / "store"))
    now = resolve(archive, "tool", "extra", prefer=lock.packages, obtain=obtain)
    assert versions(now) == versions(lock) | {"extra": "1.0"}
    # Where it is in the way of what is asked for, it alone moves.
    archive.add("modern", Depends="libtool1 (>= 1.1)")
    archive.move("mawk", Priority="required")
    kept = [deb for deb in lock.packages if deb.name != "mawk"]
    assert versions(resolve(archive, "tool", "modern", prefer=kept, obtain=obtain)) == versions(lock) | {
        "libtool1": "1.1",
        "modern": "1.0",
        "mawk": "1.1",
    }


def test_healing_replaces_what_the_mirror_dropped_and_nothing_else(archive):
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


# Debian itself, as the locks have it.


def fetched(store: Store, lock: AptLock) -> dict[str, Path]:
    wanted = [
        fetch.WantedFile(
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
def minimal(in_frozen_world, tmp_path_factory) -> tuple[Path, AptLock, dict[str, Path]]:
    needs("mmdebstrap", "apt-get")
    folder = tmp_path_factory.mktemp("debian")
    # git-lfs: its installation writes a file in a random order.
    lock = apt.resolve(["git-lfs", "ca-certificates", "openssh-client", "tini"])
    return folder, lock, fetched(Store(folder / "artefacts"), lock)


def test_one_lock_gives_one_root_file_system_on_any_machine(minimal, monkeypatch):
    folder, lock, debs = minimal
    summaries = []
    settings = ((0o022, "UTC", "C.UTF-8", 4, True), (0o077, "Asia/Tokyo", "de_DE.UTF-8", 1, False))
    for number, (umask, zone, language, jobs, in_memory) in enumerate(settings):
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LANG", language)
        monkeypatch.setenv("TMPDIR", str(folder))
        store = Store(folder / f"store{number}")
        if not in_memory:
            # In a user namespace root is a stranger, whom this test's own folder does not let in.
            disk = store.root / "tmp" if os.geteuid() == 0 else Path("/var/tmp")
            monkeypatch.setattr(rootfs, "_place", lambda *_, disk=disk: disk)
        before = os.umask(umask)
        try:
            tar = rootfs.build_rootfs(RootfsWorks(store=store, debs=debs, jobs=jobs), lock)
        finally:
            os.umask(before)
        summaries.append(summary(tree.whole(tree.read_tar(tar))))
    first, other = summaries
    assert {path for path in first.keys() | other.keys() if first.get(path) != other.get(path)} == set()
    # A second build is the cached file.
    assert rootfs.build_rootfs(RootfsWorks(store=store, debs={}), lock) == tar


def test_the_root_file_system_is_a_system_people_can_use_and_extend(minimal):
    folder, lock, debs = minimal
    tar = rootfs.build_rootfs(RootfsWorks(store=Store(folder / "store0"), debs=debs), lock)
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


def test_a_package_that_is_not_the_locked_file_is_refused(minimal, tmp_path):
    _, lock, debs = minimal
    wrong = tmp_path / "wrong.deb"
    wrong.write_bytes(b"not a package")
    with pytest.raises(HelioError) as caught:
        debs = debs | {lock.packages[0].sha256: wrong}
        rootfs.build_rootfs(RootfsWorks(store=Store(tmp_path / "store"), debs=debs), lock)
    assert caught.value.stage is Stage.BUILD
    assert caught.value.message == f"`{lock.packages[0].file_name}` is not a Debian package"


@pytest.fixture(scope="module")
def builder(in_frozen_world, tmp_path_factory, engine) -> Builder:
    needs("mmdebstrap")
    lock_file = ROOT / "channel" / "apt-lock.json"
    lock = parse(lock_file.read_text(), "channel/apt-lock.json")
    store = Store(tmp_path_factory.mktemp("builder"))
    return Builder(engine.client, store, lock, fetched(store, lock))


def left(builder: Builder, folder: Path) -> list[str]:
    """Return the containers that have something below a folder mounted: other tests' builders are of the same image."""
    made = engine_lists.containers(builder._client, ancestor=builder.image())
    return [
        container.id
        for container in made
        if any(str(mount.get("Source")).startswith(str(folder)) for mount in container.attrs["Mounts"])
    ]


@pytest.mark.engine
def test_the_builder_compiles_without_network_and_leaves_no_container(builder, tmp_path):
    source, out = tmp_path / "hello.c", tmp_path / "out"
    source.write_text('#include <stdio.h>\nint main(void) { puts("made here"); }\n')
    out.mkdir()
    script = (
        'set -e; cd /build; cp "$IN/one.c" .; cmp "$IN/one.c" "$IN/two.c"; ! touch "$IN/one.c" 2>/dev/null; '
        'gcc -static -o "$OUT/hello" one.c; "$OUT/hello"; tail -n +3 /proc/net/dev | cut -d: -f1; pwd; echo "$EXTRA"'
    )
    log = builder.run(
        ["bash", "-c", script],
        inputs={"one.c": source, "two.c": source},
        output=out,
        env={"EXTRA": "from outside"},
    )
    assert [line.strip() for line in log.splitlines()] == ["made here", "lo", "/build", "from outside"]
    assert subprocess.check_output([out / "hello"], text=True) == "made here\n"
    assert left(builder, tmp_path) == []
    assert builder.image() == f"{REPOSITORY}:{builder.key[:16]}"


@pytest.mark.engine
@pytest.mark.parametrize(
    ("script", "values", "message", "detail"),
    [
        ("seq 50; echo last >&2; exit 3", {}, "failed with 3", [*map(str, range(12, 51)), "last"]),
        (
            "echo started; head -c 400M /dev/zero | tail -c 400M | wc -c; exit 137",
            {"memory": "64m"},
            "ran out of memory (64m)",
            None,
        ),
    ],
)
def test_a_failed_run_says_why_and_ends_with_its_last_lines(builder, tmp_path, script, values, message, detail):
    with pytest.raises(HelioError) as caught:
        builder.run(["bash", "-c", script], inputs={}, output=tmp_path, **values)
    assert caught.value.stage is Stage.BUILD
    assert caught.value.message == f"the builder's `bash -c {script}` {message}"
    if detail is not None:
        assert caught.value.detail.splitlines() == detail
    assert left(builder, tmp_path) == []


@pytest.mark.engine
def test_a_run_that_does_not_end_says_so(builder, tmp_path):
    def attempt(limit_s: float) -> HelioError:
        with pytest.raises(HelioError) as caught:
            builder.run(["bash", "-c", "echo started; sleep 600"], inputs={}, output=tmp_path, timeout_s=limit_s)
        return caught.value

    limit_s, error = until_begun(attempt, lambda error: error.detail != "")
    assert error.stage is Stage.BUILD
    assert error.message == f"the builder's `bash -c echo started; sleep 600` took over {limit_s:g} s"
    assert error.detail.splitlines() == ["started"]
    assert left(builder, tmp_path) == []
