"""Licences are SPDX's where a package's words allow one reading, and its own words where they do not."""

from __future__ import annotations

import pytest
from packaging.licenses import canonicalize_license_expression

from helioimages.catalogue import licences
from helioimages.catalogue.licences import spdx


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("bsd-3-clause", "BSD-3-Clause"),
        ("MIT OR apache-2.0", "MIT OR Apache-2.0"),
        ("The MIT License", "MIT"),
        ("ISC License (ISCL)", "ISC"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("LGPLv3+", "LGPL-3.0-or-later"),
        ("LGPL-2.1+ AND GPL-3 AND LGPL-2.1+", "LGPL-2.1-or-later AND GPL-3.0-only"),
        ("GNU General Public License v3 or later (GPLv3+)", "GPL-3.0-or-later"),
        ("BSD-3-clause AND public-domain", "BSD-3-Clause AND public-domain"),
        # Several licences have these names.
        ("BSD License", "BSD License"),
        ("GPL", "GPL"),
        ("Dual License", "Dual License"),
        ("GPL-2+ or AFL-2.1, and Expat", "GPL-2+ or AFL-2.1, and Expat"),
    ],
)
def test_what_it_is_called(text, expected):
    assert spdx(text) == expected


def test_what_is_known_is_spdx():
    assert [canonicalize_license_expression(name) for name in licences._KNOWN.values()] == list(
        licences._KNOWN.values()
    )
