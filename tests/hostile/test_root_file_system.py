"""Root file systems that a .deb could make harmful: nothing that leaves the root, no device, no odd right is linked."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from helioimages.core.entries import Kind, merge
from helioimages.core.errors import HelioError
from helioimages.debian import tree


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as out:
        for member, data in members:
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"x", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data if info.isfile() else b""


@pytest.mark.parametrize("name", ["../evil", "usr/../../evil", "/etc/cron.d/evil", "usr//evil", "usr/.wh.bash"])
def test_a_path_that_leaves_the_root(tmp_path, name):
    with pytest.raises(HelioError) as caught:
        merge(tree.read_tar(tar(tmp_path / "t", member(name))))
    assert caught.value.message == f"`debian` has a path that may not be in a layer: {name!r}"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device(tmp_path, kind):
    with pytest.raises(HelioError) as caught:
        tree.read_tar(tar(tmp_path / "t", member("usr/null", type=kind, devmajor=1, devminor=3)))
    assert caught.value.message == "/usr/null of the root file system is a device or socket"


def test_capabilities(tmp_path):
    ping = member("usr/bin/ping", pax_headers={"SCHILY.xattr.security.capability": "x"})
    with pytest.raises(HelioError) as caught:
        tree.read_tar(tar(tmp_path / "t", ping))
    assert caught.value.message == "/usr/bin/ping has file capabilities"


def test_a_hard_link_out_of_the_root(tmp_path):
    link = member("usr/x", type=tarfile.LNKTYPE, linkname="../../etc/shadow")
    with pytest.raises(HelioError) as caught:
        merge(tree.read_tar(tar(tmp_path / "t", link)))
    assert caught.value.message == "`debian` links usr/x to ../../etc/shadow, which is not a file of the same layer"


def test_a_file_below_a_link(tmp_path):
    """Unpacked, it would be written to where the link points."""
    link = member("usr/lib/x", type=tarfile.SYMTYPE, linkname="/etc")
    with pytest.raises(HelioError) as caught:
        merge(tree.read_tar(tar(tmp_path / "t", link, member("usr/lib/x/passwd"))))
    assert caught.value.message == "`debian` brings usr/lib/x/passwd, but usr/lib/x of `debian` is a symlink"


@pytest.mark.parametrize("data", [b"", b"<html>", b"\0" * 100, b"usr/bin/x".ljust(512, b"\0")])
def test_what_is_no_tar(tmp_path, data):
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(HelioError) as caught:
        tree.read_tar(tmp_path / "t")
    assert caught.value.message == "cannot read the root file system's tar"


def test_names_that_are_no_utf8_come_through(tmp_path):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as out:
        out.addfile(tarfile.TarInfo("usr/na\xefve"))
    (tmp_path / "t").write_bytes(raw.getvalue())
    (entry,) = tree.read_tar(tmp_path / "t")
    assert (entry.path.encode("utf-8", "surrogateescape"), entry.kind) == (b"usr/na\xefve", Kind.FILE)
