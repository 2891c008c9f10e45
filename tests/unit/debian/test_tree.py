"""Root file systems as entries: cleaning, accounts, and the law of deltas."""

from __future__ import annotations

import dataclasses
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.core.entries import Content, Entry, Kind, directory, file, merge, symlink
from helioimages.core.errors import HelioError
from helioimages.debian.tree import Account, add_user, delta, read_tar, whole


def member(name: str, data: bytes | None = None, **values) -> tuple[tarfile.TarInfo, bytes | None]:
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if data is None else 0o644
    info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
    info.mtime = 1_700_000_000
    for key, value in values.items():
        setattr(info, key, value)
    info.size = len(data) if data is not None and info.isreg() else 0
    return info, data


def written(path, *members):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if data is not None else None)
    return path


def shown(entry: Entry) -> tuple:
    return (
        entry.path,
        entry.kind,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.target,
        entry.content and entry.content.read(),
    )


def test_a_tar_becomes_entries_with_modes_owners_and_late_contents(tmp_path):
    tar = written(
        tmp_path / "rootfs.tar",
        member("./"),
        member("./usr/"),
        member("./usr/bin/su", b"setuid", mode=0o4755),
        member("./usr/bin/ssh-agent", b"setgid", mode=0o2755, gid=101),
        member("./bin", type=tarfile.SYMTYPE, linkname="usr/bin", mode=0o755),
        member("./usr/bin/perl", b"perl", mode=0o755),
        member("./usr/bin/perl5", type=tarfile.LNKTYPE, linkname="./usr/bin/perl"),
        member("./usr/share/Főtanúsítvány.crt", b"text"),
    )
    entries = {entry.path: entry for entry in read_tar(tar)}
    assert shown(entries["usr/bin/su"]) == ("usr/bin/su", Kind.FILE, 0o4755, 0, 0, "", b"setuid")
    assert (entries["usr/bin/ssh-agent"].mode, entries["usr/bin/ssh-agent"].gid) == (0o2755, 101)
    assert (entries["bin"].kind, entries["bin"].target, entries["bin"].mode) == (Kind.SYMLINK, "usr/bin", 0o777)
    assert (entries["usr/bin/perl5"].kind, entries["usr/bin/perl5"].target) == (Kind.HARDLINK, "usr/bin/perl")
    assert entries["usr/share/Főtanúsítvány.crt"].content.read() == b"text"
    assert "" not in entries and {entry.origin for entry in entries.values()} == {"debian"}


def test_what_tells_of_the_build_or_the_machine_is_left_out(tmp_path):
    tar = written(
        tmp_path / "rootfs.tar",
        member("./etc/"),
        member("./etc/machine-id", b"0123\n"),
        member("./etc/hostname", b"builder\n"),
        member("./etc/resolv.conf", b"nameserver x\n"),
        member("./etc/apt/sources.list", b"deb copy:/tmp/x ./\n"),
        member("./etc/apt/apt.conf.d/99mmdebstrap", b"x"),
        member("./etc/dpkg/dpkg.cfg.d/99mmdebstrap", b"path-exclude=/usr/share/man/*\n"),
        member("./etc/passwd-", b"x"),
        member("./var/cache/ldconfig/"),
        member("./var/cache/ldconfig/aux-cache", b"inodes"),
        member("./var/cache/apt/archives/"),
        member("./var/cache/apt/archives/partial/", uid=42),
        member("./var/cache/apt/pkgcache.bin", b"x"),
        member("./var/lib/apt/lists/_tmp_Packages", b"x"),
        member("./var/lib/dpkg/status", b"Package: bash\n"),
        member("./var/lib/dpkg/status-old", b"x"),
        member("./var/log/"),
        member("./var/log/apt/"),
        member("./var/log/apt/term.log", b"2026"),
        member("./dev/"),
        member("./dev/pts/"),
        member("./dev/null", type=tarfile.CHRTYPE),
        member("./run/"),
        member("./run/lock/"),
        member("./run/utmp", b"x"),
        member("./tmp/", mode=0o1777),
        member("./tmp/left/"),
    )
    entries = {entry.path: entry for entry in read_tar(tar)}
    assert list(entries) == [
        "etc",
        "etc/machine-id",
        "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
        "var/cache/ldconfig",
        "var/cache/apt/archives",
        "var/lib/dpkg/status",
        "var/log",
        "var/log/apt",
        "dev",
        "run",
        "run/lock",
        "tmp",
    ]
    assert entries["etc/machine-id"].content.read() == b""
    assert entries["tmp"].mode == 0o1777


def test_times_and_order_of_the_tar_do_not_matter(tmp_path):
    rows = [("./a", b"1"), ("./b", b"2"), ("./c", b"3")]
    first = written(tmp_path / "1.tar", *(member(name, data) for name, data in rows))
    other = written(tmp_path / "2.tar", *(member(name, data, mtime=5, uname="x") for name, data in reversed(rows)))
    assert [shown(e) for e in whole(read_tar(first))] == [shown(e) for e in whole(read_tar(other))]


def test_settings_that_git_lfs_writes_in_a_random_order_are_sorted(tmp_path):
    first = b'[core]\n\tx = 1\n[filter "lfs"]\n\tclean = a\n\tsmudge = b\n\trequired = true\n'
    other = b'[core]\n\tx = 1\n[filter "lfs"]\n\trequired = true\n\tsmudge = b\n\tclean = a\n'
    contents = {
        name: read_tar(written(tmp_path / name, member("./etc/gitconfig", data)))[0].content
        for name, data in (("one", first), ("other", other))
    }
    settled = b'[core]\n\tx = 1\n[filter "lfs"]\n\tclean = a\n\trequired = true\n\tsmudge = b\n'
    assert {content.read() for content in contents.values()} == {settled}
    assert {content.size for content in contents.values()} == {len(settled)}


def test_octave_s_list_of_packages_does_not_tell_when_and_where_it_was_written(tmp_path):
    data = b"# Created by Octave 9.4.0, Sat Nov 21 07:40:44 2026 UTC <root@host>\n# name: global_packages\n# rows: 0\n"
    (entry,) = read_tar(written(tmp_path / "rootfs.tar", member("./usr/share/octave/octave_packages", data)))
    assert entry.content.read() == b"# name: global_packages\n# rows: 0\n"
    assert entry.content.size == 34


def test_file_capabilities_are_refused_because_they_would_be_lost(tmp_path):
    capable = member("./usr/bin/ping", b"x", pax_headers={"SCHILY.xattr.security.capability": "x"})
    with pytest.raises(HelioError) as caught:
        read_tar(written(tmp_path / "rootfs.tar", capable))
    assert str(caught.value) == (
        "/usr/bin/ping has file capabilities\n  layers carry modes and owners only\n\n"
        "hint: leave its package out of images/*/image.toml"
    )


def test_a_device_outside_dev_is_refused(tmp_path):
    with pytest.raises(HelioError) as caught:
        read_tar(written(tmp_path / "rootfs.tar", member("./srv/null", type=tarfile.CHRTYPE)))
    assert caught.value.message == "/srv/null of the root file system is a device or socket"


ACCOUNTS = (
    file("etc/passwd", b"root:x:0:0:root:/root:/bin/bash\n"),
    file("etc/group", b"root:x:0:\nusers:x:100:\nvideo:x:44:ann\n"),
    file("etc/shadow", b"root:*:20000:0:99999:7:::\n", mode=0o640, gid=42),
    file("etc/gshadow", b"root:*::\nusers:*::\nvideo:*::ann\n", mode=0o640, gid=42),
    file("etc/motd", b"welcome\n"),
)
JOVYAN = {"name": "jovyan", "uid": 1000, "gid": 1000, "home": "/home/jovyan", "shell": "/bin/bash"}


def test_an_account_is_in_all_four_files_and_has_a_home():
    entries = {entry.path: entry for entry in add_user(ACCOUNTS, Account(**JOVYAN, groups=("users", "video")))}
    texts = {path: entry.content.read().decode() for path, entry in entries.items() if entry.content}
    assert texts == {
        "etc/passwd": "root:x:0:0:root:/root:/bin/bash\njovyan:x:1000:1000::/home/jovyan:/bin/bash\n",
        "etc/group": "root:x:0:\nusers:x:100:jovyan\nvideo:x:44:ann,jovyan\njovyan:x:1000:\n",
        "etc/shadow": "root:*:20000:0:99999:7:::\njovyan:!:20000:0:99999:7:::\n",
        "etc/gshadow": "root:*::\nusers:*::jovyan\nvideo:*::ann,jovyan\njovyan:!::\n",
        "etc/motd": "welcome\n",
    }
    assert (entries["etc/shadow"].mode, entries["etc/shadow"].gid) == (0o640, 42)
    home = entries["home/jovyan"]
    # An arbitrary uid comes with group 0 and must be able to write here.
    assert (home.kind, home.mode, home.uid, home.gid) == (Kind.DIR, 0o775, 1000, 0)


@pytest.mark.parametrize(
    ("values", "message", "detail"),
    [
        ({"name": "root"}, "the account `root` (1000) is taken in /etc/passwd", "by root:x:0:0:root:/root:/bin/bash"),
        ({"uid": 0}, "the account `jovyan` (0) is taken in /etc/passwd", "by root:x:0:0:root:/root:/bin/bash"),
        ({"gid": 100}, "the account `jovyan` (100) is taken in /etc/group", "by users:x:100:"),
        ({"groups": ("wheel",)}, "there is no group `wheel` in /etc/group", ""),
    ],
)
def test_an_account_that_cannot_be_is_refused(values, message, detail):
    with pytest.raises(HelioError) as caught:
        add_user(ACCOUNTS, Account(**({**JOVYAN, "groups": ("users",)} | values)))
    assert (caught.value.message, caught.value.detail) == (message, detail)


_PARTS = ("etc", "usr", "lib", "a", "b", "c.conf")
_PATHS = st.lists(st.sampled_from(_PARTS), min_size=1, max_size=3).map("/".join)


@st.composite
def trees(draw) -> dict[str, Entry]:
    """Return a well-formed tree: folders where paths continue, hard links to files."""
    entries: dict[str, Entry] = {}
    for path in sorted(draw(st.sets(_PATHS, max_size=8))):
        parents = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
        if any(parent in entries and entries[parent].kind is not Kind.DIR for parent in parents):
            continue
        kind = draw(st.sampled_from(("file", "dir", "symlink")))
        owner = {"uid": draw(st.integers(0, 2)), "mode": draw(st.sampled_from((0o644, 0o755, 0o4755)))}
        if kind == "file":
            entries[path] = Entry(path=path, kind=Kind.FILE, content=Content.of(draw(st.binary(max_size=2))), **owner)
        elif kind == "dir":
            entries[path] = Entry(path=path, kind=Kind.DIR, **owner)
        else:
            entries[path] = symlink(path, draw(st.sampled_from(_PARTS)))
    files = [path for path, entry in entries.items() if entry.kind is Kind.FILE]
    if files and draw(st.booleans()):
        target = draw(st.sampled_from(files))
        file_linked = entries[target]
        entries["zz"] = Entry(path="zz", kind=Kind.HARDLINK, mode=file_linked.mode, uid=file_linked.uid, target=target)
    return {entry.path: entry for entry in merge(entries.values())}


def is_file(tree: dict[str, Entry], path: str) -> bool:
    return path in tree and tree[path].kind is Kind.FILE


def grown(parent: dict[str, Entry], added: dict[str, Entry]) -> dict[str, Entry]:
    """Return a child of the parent: every path is still there, some with another content, mode or kind."""
    child = dict(parent)
    for path, entry in added.items():
        above = ["/".join(path.split("/")[:i]) for i in range(1, path.count("/") + 1)]
        if any(folder in child and child[folder].kind is not Kind.DIR for folder in above):
            continue
        if entry.kind is not Kind.DIR and any(other.startswith(path + "/") for other in child):
            continue
        child[path] = entry
    return {path: file_of(child, entry) for path, entry in child.items()}


def file_of(tree: dict[str, Entry], entry: Entry) -> Entry:
    """Return the entry, or a plain file in place of a hard link whose file became something else."""
    if entry.kind is Kind.HARDLINK and not is_file(tree, entry.target):
        return file(entry.path, b"alone")
    return entry


def applied(tree: dict[str, tuple], layer: tuple[Entry, ...]) -> dict[str, tuple]:
    """Return a file system after a layer is unpacked over it, as an engine does: each name gets a new inode."""
    result = dict(tree)
    for entry in layer:
        if entry.kind is Kind.HARDLINK:
            result[entry.path] = result[entry.target]
        else:
            result[entry.path] = shown(entry)[1:]
    return result


@given(trees(), trees())
def test_a_delta_applied_over_its_parent_gives_the_child_exactly(parent, added):
    child = grown(parent, added)
    below = applied({}, merge(parent.values()))
    assert applied(below, delta(parent.values(), child.values())) == applied({}, merge(child.values()))
    assert delta(child.values(), child.values()) == ()


def test_a_delta_holds_what_changed_and_the_folders_above_it():
    parent = (directory("etc"), file("etc/a", b"1"), file("etc/b", b"2"), directory("srv", mode=0o700))
    child = (*parent[:2], file("etc/b", b"3"), directory("srv", mode=0o700), file("srv/new", b"4", mode=0o600))
    layer = delta(parent, child)
    assert [(entry.path, entry.mode) for entry in layer] == [
        ("etc", 0o755),
        ("etc/b", 0o644),
        ("srv", 0o700),
        ("srv/new", 0o600),
    ]


def test_a_hard_link_to_a_file_of_the_parent_brings_the_file_along():
    parent = (file("a", b"1"),)
    layer = delta(parent, (*parent, Entry(path="b", kind=Kind.HARDLINK, target="a")))
    assert [(entry.path, entry.kind) for entry in layer] == [("a", Kind.FILE), ("b", Kind.HARDLINK)]


def test_a_name_that_comes_off_a_changed_hard_link_is_in_the_delta():
    link = Entry(path="b", kind=Kind.HARDLINK, target="a")
    layer = delta((file("a", b"1"), link), (file("a", b"2"), link))
    # Replacing only `a` would leave `b` with the old content.
    assert [(entry.path, entry.kind) for entry in layer] == [("a", Kind.FILE), ("b", Kind.HARDLINK)]


def test_a_child_may_not_remove_what_its_parent_has():
    parent = (file("etc/a", b""), file("etc/b", b""))
    with pytest.raises(HelioError) as caught:
        delta(parent, parent[:1])
    assert str(caught.value) == (
        "the child's Debian packages remove 1 path of the parent\n  /etc/b\n\n"
        "hint: a package of the child conflicts with one of the parent; see debian.packages in image.toml"
    )


def test_the_first_layer_has_the_folders_that_containers_mount_over():
    modes = {entry.path: entry.mode for entry in whole((file("etc/a", b""),))}
    assert modes == {"dev": 0o755, "etc": 0o755, "etc/a": 0o644, "proc": 0o555, "sys": 0o555}


def test_the_order_of_whole_is_independent_of_the_input():
    entries = [dataclasses.replace(file(name, b"x")) for name in ("b", "a/c", "a/b")]
    assert [e.path for e in whole(entries)] == [e.path for e in whole(reversed(entries))]
