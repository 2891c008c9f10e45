"""A whole OCI layout, compared by digest with what earlier versions wrote.

A change here changes every image's digest for everyone: do it knowingly, and say so in the changelog. The expected
document is in the failure's text.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from helioimages.core import entries
from helioimages.core.entries import Entry, Kind
from helioimages.core.files import of_file
from helioimages.oci.image import Addition, Settings, append
from helioimages.oci.layer import LIBDEFLATE_6, write_layer
from helioimages.oci.layout import write_layout
from helioimages.oci.types import Platform

EXPECTED = Path(__file__).with_name("layout.json")


def write(folder: Path, jobs: int) -> tuple[str, ...]:
    """Write a parent and a child with every kind of entry; return the child's diff_ids."""
    blobs = folder / "store"
    blobs.mkdir(parents=True)

    def addition(name: str, items: list[Entry]) -> Addition:
        with open(blobs / name, "wb") as out:
            layer = write_layer(entries.merge(items), out, jobs=jobs)
        os.replace(blobs / name, blobs / layer.digest)
        return Addition(layer=layer, created_by=f"ADD {name}.tar.gz /", comment=name)

    base = addition(
        "base",
        [
            entries.directory("tmp", mode=0o1777),
            entries.directory("home/jovyan", uid=1000, gid=1000),
            entries.file("etc/os-release", b"ID=golden\n"),
            # Longer than one chunk, and not compressible.
            entries.file("srv/noise", random.Random(20261121).randbytes(5 << 20)),
        ],
    )
    package = addition(
        "package",
        [
            entries.file("srv/bin/tool", b"#!/bin/sh\n", mode=0o755, origin="tool-1.0"),
            entries.symlink("srv/bin/alias", "tool", origin="tool-1.0"),
            Entry(path="srv/bin/same", kind=Kind.HARDLINK, mode=0o755, target="srv/bin/tool"),
            entries.file("srv/" + "/".join(["long" * 24] * 3) + "/ünïcode", b"x"),
            entries.file("srv/raw-\udce9", b"y"),
        ],
    )
    platform = Platform.of("linux/amd64")
    settings = Settings(env={"PATH": "/srv/bin:/bin", "LANG": "C.UTF-8"}, user="1000", working_dir="/home/jovyan")
    parent = append(None, [base], settings, platform=platform, created_epoch=1_760_000_000)
    child = append(
        parent,
        [package],
        Settings(
            labels={"org.opencontainers.image.title": "golden"},
            entrypoint=("/srv/start",),
            cmd=("jupyter", "lab"),
            exposed_ports=("8888/tcp",),
            stop_signal="SIGTERM",
        ),
        platform=platform,
        created_epoch=1_760_000_001,
        annotations={"org.opencontainers.image.base.digest": parent.digest},
    )
    write_layout(folder / "layout", {"parent": parent, "child": child}, lambda digest: blobs / digest)
    return child.config.diff_ids


def test_the_golden_layout(tmp_path):
    diff_ids = write(tmp_path, jobs=3)
    layout = tmp_path / "layout"
    facts = {
        "compressor": LIBDEFLATE_6.name,
        "diff_ids": list(diff_ids),
        "files": {str(path.relative_to(layout)): of_file(path) for path in sorted(layout.rglob("*")) if path.is_file()},
    }
    expected = json.loads(EXPECTED.read_text())
    assert facts["diff_ids"] == expected["diff_ids"], json.dumps(facts, indent=2)
    # With another libdeflate only the compressed bytes may differ, and they are named by it.
    assert facts == expected, json.dumps(facts, indent=2)


def test_umask_time_zone_folder_and_workers_do_not_matter(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("LC_ALL", "C")
    before = os.umask(0o077)
    try:
        write(tmp_path / "elsewhere", jobs=1)
    finally:
        os.umask(before)
    expected = json.loads(EXPECTED.read_text())["files"]
    layout = tmp_path / "elsewhere" / "layout"
    assert {str(path.relative_to(layout)): of_file(path) for path in layout.rglob("*") if path.is_file()} == expected
