"""conda's order of versions: its own list of examples."""

from __future__ import annotations

import itertools

import pytest

from helioimages.conda import version

# Spec: conda, `VersionOrder`: each line is one version, written in one way or several, older ones first.
ORDER = """
0.4 0.4.0
0.4.1.rc 0.4.1.RC
0.4.1
0.5a1
0.5b3
0.5C1
0.5
0.9.6
0.960923
1.0
1.1dev1
1.1_
1.1a1
1.1.0dev1 1.1.dev1
1.1.a1
1.1.0rc1
1.1.0 1.1
1.1.0post1 1.1.post1
1.1post1
1996.07.12
1!0.4.1
1!3.1.1.6
2!0.4.1
"""


def test_the_order_is_condas():
    lines = [[version.key(text) for text in line.split()] for line in ORDER.split("\n") if line]
    for line in lines:
        assert all(sign == line[0] for sign in line)
    for left, other in itertools.combinations(lines, 2):
        assert left[-1] < other[0] and not other[0] < left[-1] and left[-1] != other[0]


@pytest.mark.parametrize("text", ["", "1.0+", "1 0"])
def test_what_is_no_version(text):
    with pytest.raises(ValueError, match="malformed version string"):
        version.key(text)
