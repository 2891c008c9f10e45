"""Licences as SPDX writes them, where the words of a package allow one reading; else its own words. Pure.

Who searches for `BSD-3-Clause` finds `3-Clause BSD License`. What says only *BSD License* stays: there are several.

Spec: SPDX 2.3, annex D "License expressions"; Debian's copyright format 1.0, "License specification".
"""

from __future__ import annotations

import functools
import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

#: What authors write, without the words that say nothing, and what it can only mean.
_KNOWN = {
    "mit": "MIT",
    "expat": "MIT",
    "isc": "ISC",
    "isc (iscl)": "ISC",
    "bsd-3": "BSD-3-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "3-clause bsd": "BSD-3-Clause",
    "new bsd": "BSD-3-Clause",
    "modified bsd": "BSD-3-Clause",
    "bsd (3-clause)": "BSD-3-Clause",
    "bsd 2-clause": "BSD-2-Clause",
    "2-clause bsd": "BSD-2-Clause",
    "simplified bsd": "BSD-2-Clause",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "mozilla public 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl 2.0": "MPL-2.0",
    "gpl v3": "GPL-3.0-only",
    "gnu general public v3 (gplv3)": "GPL-3.0-only",
    "gnu general public v3 or later (gplv3+)": "GPL-3.0-or-later",
    "gnu general public v2 or later (gplv2+)": "GPL-2.0-or-later",
    "gnu lesser general public v3 or later (lgplv3+)": "LGPL-3.0-or-later",
    "gnu lesser general public v3 (lgplv3)": "LGPL-3.0-only",
    "zlib": "Zlib",
}
_SILENT = re.compile(r"\b(the|license|licence|software|version)\b[,.]?", re.IGNORECASE)
#: ``GPL-2+`` of Debian, ``LGPLv3+`` of many.
_GNU = re.compile(r"(?P<kind>[AL]?GPL)(?:-| )?v?(?P<major>\d)(?:\.(?P<minor>\d))?(?P<later>\+)?", re.IGNORECASE)


@functools.cache
def spdx(text: str) -> str:
    """Return a package's licence as an SPDX expression, or the text as it is; terms of ``AND`` one by one.

    >>> spdx("3-Clause BSD License"), spdx("apache-2.0"), spdx("GPL-2+ AND Expat AND Expat")
    ('BSD-3-Clause', 'Apache-2.0', 'GPL-2.0-or-later AND MIT')
    >>> spdx("BSD License"), spdx("GPL-2+ or Artistic AND MIT")
    ('BSD License', 'GPL-2+ or Artistic AND MIT')
    """
    if not text or re.search(r"\bor\b(?! later)", text):
        # Debian's `or` and `and` have another order than SPDX's.
        return text
    if re.search(r"\sOR\s", text):
        return _term(text)
    return " AND ".join(dict.fromkeys(_term(term.strip()) for term in re.split(r"\sAND\s", text)))


def _term(text: str) -> str:
    # First, for SPDX still takes its old names of these.
    if match := _GNU.fullmatch(text):
        kind, minor = match["kind"].upper(), match["minor"] or "0"
        return f"{kind}-{match['major']}.{minor}-{'or-later' if match['later'] else 'only'}"
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        pass
    return _KNOWN.get(" ".join(_SILENT.sub(" ", text).lower().split()), text)
