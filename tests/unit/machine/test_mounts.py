"""Where things are mounted, as the kernel's table says."""

from __future__ import annotations

from pathlib import Path

from helioimages.machine import mounts

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
42 22 254:0 /data/engine /data/engine rw,relatime shared:1 - ext4 /dev/vda rw
43 42 0:40 / /data/engine/overlay2/f6/merged rw,relatime - overlay overlay rw
44 22 0:41 / /data/engine-2 rw - tmpfs none rw
45 22 0:42 / /data/my\040disk rw - tmpfs none rw
46 22 0:42 / /data/my\040disk rw - tmpfs none rw
"""


def test_at_and_below_a_folder_the_inner_ones_first(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text(TABLE.lstrip() + "47 22 0:42 / /data/odd\u2028\x85\xa0name\\012x rw - tmpfs none rw\n")
    monkeypatch.setattr(mounts, "_TABLE", table)
    assert mounts.below(Path("/data/engine")) == (
        Path("/data/engine/overlay2/f6/merged"),
        Path("/data/engine"),
    )
    assert mounts.below(Path("/data/my disk")) == (Path("/data/my disk"),)
    assert mounts.below(Path("/data/my")) == ()
    odd = Path("/data/odd\u2028\x85\xa0name\nx")
    assert mounts.below(odd) == (odd,)
    link = tmp_path / "link"
    link.symlink_to("/data/engine/overlay2")
    assert mounts.below(link) == (Path("/data/engine/overlay2/f6/merged"),)
