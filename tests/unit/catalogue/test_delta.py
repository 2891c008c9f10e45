from __future__ import annotations

import pytest

from helioimages.catalogue.delta import LayerRef, Side, changes, delta
from helioimages.core.package import Package
from helioimages.publish.contents import NOTHING, Contents


def layer(name: str, size: int, exact: bool = True) -> LayerRef:
    return LayerRef(digest=f"sha256:{name}", size=size, name=name, exact=exact)


def listing(*packages: str, kind: str = "wheel", source: str = "sbom", complete: bool = True) -> Contents:
    rows = [text.split("=") for text in packages]
    return Contents(
        packages=tuple(Package(name=name, version=version, kind=kind) for name, version in rows),
        source=source,
        complete=complete,
    )


def side(label: str, *layers: LayerRef, contents: Contents = NOTHING, config: str = "c", size: int = 1000) -> Side:
    return Side(label=label, layers=layers, config=(config, size), contents=contents)


DEBIAN, NUMPY, OLD, NEW = (
    layer("debian", 80_000_000),
    layer("numpy", 20_000_000),
    layer("w1", 5),
    layer("w2", 7_000_000),
)


def test_a_node_pulls_what_it_lacks_and_unpacks_from_the_first_difference():
    old = side("a:1", DEBIAN, OLD, NUMPY, contents=listing("sunpy=7.0.0", "six=1.16"))
    new = side("a:2", DEBIAN, NEW, NUMPY, contents=listing("sunpy=7.0.5", "six=1.16"), config="d")
    difference = delta(old, new)
    assert difference.lines() == (
        "a:1 -> a:2",
        "pull    7 MB in 1 layer of 107 MB in 3",
        "unpack  27 MB in 2 layers (dockerd's classic store fetches these)",
        "          7 MB  w2",
        "packages: 1 upgraded",
        "  upgraded   sunpy 7.0.0 -> 7.0.5",
    )
    assert (difference.pull_bytes, difference.shared, difference.exact) == (7_001_000, (DEBIAN, NUMPY), True)


def test_the_same_image_costs_nothing():
    image = side("a", DEBIAN, NUMPY, contents=listing("six=1.16"))
    difference = delta(image, image)
    assert (difference.pull, difference.pull_bytes, difference.unpack, difference.changes) == ((), 0, (), ())


def test_a_layer_that_stands_twice_is_pulled_once():
    difference = delta(side("a"), side("b", NUMPY, DEBIAN, NUMPY, config="d"))
    assert (difference.pull, difference.pull_bytes) == ((NUMPY, DEBIAN), 100_001_000)


def test_a_layer_that_was_never_built_is_an_estimate():
    old = side("a", DEBIAN, contents=listing("x=1"))
    new = side("b", DEBIAN, layer("w", 3_000_000, exact=False), contents=listing("x=1"), config="d", size=0)
    assert delta(old, new).lines()[1:4] == (
        "pull    about 3 MB in 1 layer of 83 MB in 2",
        "unpack  about 3 MB in 1 layer (dockerd's classic store fetches these)",
        "        1 layer not built yet: counted by the packages' files",
    )


def test_an_image_without_a_list_says_so():
    difference = delta(side("a", DEBIAN), side("b", DEBIAN, contents=listing("x=1", source="history", complete=False)))
    assert difference.changes == ()
    assert difference.lines()[-2:] == (
        "warning: a carries no package list, so packages are not compared",
        "warning: b lists 1 package in its history, not all of them",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (listing("a=1", "b=1"), listing("b=2", "c=1"), ["removed", "upgraded", "added"]),
        (listing("a=2"), listing("a=1"), ["downgraded"]),
        # What a partial list does not name may be there all the same.
        (listing("a=1", complete=False), listing("a=2", "b=1"), ["upgraded"]),
        (listing("a=1", "b=1"), listing("a=1", complete=False), []),
        # Debian's six is not Python's.
        (listing("six=1", kind="debian"), listing("six=1"), ["removed", "added"]),
        # From conda to PyPI is no change.
        (listing("six=1", kind="conda"), listing("six=1"), []),
    ],
)
def test_changes(old, new, expected):
    rows = changes(side("a", contents=old), side("b", contents=new))
    assert [change.kind for change in rows] == expected
