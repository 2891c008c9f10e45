from __future__ import annotations

import pytest

from helioimages.core.platform import Platform
from helioimages.locks.held_back import newest
from helioimages.pypi.index import IndexFile


def files(*names, **options):
    return [IndexFile(name=name, url=f"https://index.example/{name}", **options) for name in names]


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (files("d-1.0.tar.gz", "d-2.0-py3-none-any.whl"), "2.0"),
        (files("d-1.0.tar.gz", "d-2.0rc1.tar.gz", "d-2.0.dev1.tar.gz"), "1.0"),
        (files("d-1.0.tar.gz", "d-2.0-cp313-cp313-win_amd64.whl"), "1.0"),
        (files("d-1.0.tar.gz") + files("d-2.0.tar.gz", yanked=True), "1.0"),
        (files("d-1.0.tar.gz") + files("d-2.0.tar.gz", requires_python=">=3.14"), "1.0"),
        (files("d-1.0.tar.gz") + files("d-2.0.tar.gz", requires_python=">=3.13.2,<4"), "2.0"),
        (files("d-1.0.tar.gz") + files("d-2.0.tar.gz", requires_python="nonsense"), "1.0"),
        (files("d-1.0.tar.gz", uploaded=10) + files("d-2.0.tar.gz", uploaded=30), "1.0"),
        (files("d.egg", "d-1.exe"), "None"),
    ],
)
def test_the_newest_version_that_could_be_installed(listed, expected):
    assert str(newest(listed, "3.13", Platform.of("linux/amd64"), (2, 41), 20)) == expected
