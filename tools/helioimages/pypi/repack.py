"""Write a wheel anew so that equal files give equal bytes: order, times, modes, RECORD and archive are all fixed.

Build backends differ in what they leave to chance: the clock, the umask, the order of a folder, the zlib they were
linked with. The members are therefore stored uncompressed: no compressor's version can change the bytes, and a wheel
made here lives in the store only, its files go into layers which are compressed anyway.

Spec: PyPA "Binary distribution format", sections "File format" and "The .dist-info directory"; PEP 376 (RECORD).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from .archive import WheelMember, malformed, members

#: The earliest time that zip can hold.
_TIME = (1980, 1, 1, 0, 0, 0)
_ELF = b"\x7fELF"
#: What says where or when a wheel was made, and what signs a RECORD that is written anew.
_LEFT_OUT = ("RECORD", "RECORD.jws", "RECORD.p7s", "direct_url.json", "INSTALLER", "REQUESTED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repacked:
    """What `plan` found.

    Attributes:
        file_name: the wheel's new name: with the platform's tag where it has compiled files.
        files: (path, executable, content) in the order of the archive, RECORD last.
    """

    file_name: str
    files: tuple[tuple[str, bool, bytes], ...]


def plan(path: Path, platform_tag: str) -> Repacked:
    """Return what the normalised wheel is made of.

    Args:
        path: the wheel as a backend made it.
        platform_tag: e.g. ``linux_x86_64``, given to a wheel that calls itself ``any`` and has compiled files.

    Raises:
        HelioError: not a wheel.
    """
    kept = [member for member in members(path, path.name) if "__pycache__" not in member.name.split("/")]
    info = _dist_info(path.name, kept)
    data = {
        member.name: (member.executable, member.content.read())
        for member in kept
        if member.name not in {f"{info}/{name}" for name in _LEFT_OUT}
    }
    if f"{info}/WHEEL" not in data:
        raise malformed(path.name, f"it has no {info}/WHEEL")
    compiled = any(content.startswith(_ELF) for _, content in data.values())
    name, tag = _name(path.name), ""
    if compiled and name.endswith("-any.whl"):
        name = name.removesuffix("-any.whl") + f"-{platform_tag}.whl"
        tag = platform_tag
    data[f"{info}/WHEEL"] = (False, _wheel_file(data[f"{info}/WHEEL"][1], tag))
    # The .dist-info folder last: the specification asks for it, so that metadata is at the end of the file.
    ordered = sorted(data, key=lambda key: (key.startswith(f"{info}/"), key.split("/")))
    files = [(key, *data[key]) for key in ordered]
    files.append((f"{info}/RECORD", False, _record(files, f"{info}/RECORD")))
    return Repacked(file_name=name, files=tuple(files))


def write(wheel: Repacked, file: IO[bytes]) -> None:
    """Write the archive."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for path, executable, content in wheel.files:
            info = zipfile.ZipInfo(path, _TIME)
            info.create_system = 3
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(info, content)


def first_difference(left: Path, right: Path) -> str:
    """Return the first member in which two wheels differ, in words; empty if there is none."""
    sides = []
    for path in (left, right):
        sides.append({member.name: member for member in members(path, path.name)})
    for name in sorted({*sides[0], *sides[1]}):
        if name not in sides[1]:
            return f"{name} is missing"
        if name not in sides[0]:
            return f"{name} is new"
        before, after = (side[name].content.read() for side in sides)
        if before != after:
            at = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), None)
            at = min(len(before), len(after)) if at is None else at
            return f"{name} differs at byte {at:,} of {len(before):,}"
        if sides[0][name].executable != sides[1][name].executable:
            return f"{name} is executable on one side only"
    return ""


def _dist_info(file_name: str, contained: Iterable[WheelMember]) -> str:
    names = sorted(
        {member.name.split("/")[0] for member in contained if member.name.split("/")[0].endswith(".dist-info")}
    )
    if len(names) != 1:
        raise malformed(file_name, f"expected one .dist-info folder not {len(names)}: {', '.join(names)}")
    return names[0]


def _name(file_name: str) -> str:
    try:
        parse_wheel_filename(file_name)
    except InvalidWheelFilename as error:
        raise malformed(file_name, str(error)) from error
    return file_name


def _wheel_file(text: bytes, tag: str) -> bytes:
    """Return the WHEEL file, its tags for the platform if one is given."""
    if not tag:
        return text
    text = re.sub(rb"(?m)^(Tag: .*)-any(\r?)$", rb"\1-" + tag.encode() + rb"\2", text)
    return re.sub(rb"(?m)^Root-Is-Purelib: true", b"Root-Is-Purelib: false", text)


def _record(files: Iterable[tuple[str, bool, bytes]], itself: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for path, _, content in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow((path, f"sha256={digest}", len(content)))
    writer.writerow((itself, "", ""))
    return out.getvalue().encode()
