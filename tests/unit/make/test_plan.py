from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.make.plan import SMALL_BYTES, Group, check_count, own_packages, plan_layers


def package(name: str, size: int = 1, kind: str = "wheel", version: str = "1", **more) -> Package:
    return Package(
        kind=kind,
        name=name,
        version=version,
        file_name=f"{name}-{version}",
        sha256=f"{name}{version}",
        size=size,
        **more,
    )


def names(layers: tuple[Group, ...]) -> list[tuple[str, list[str]]]:
    return [(layer.name, [p.name for p in layer.packages]) for layer in layers]


def test_large_ones_alone_and_small_ones_in_buckets():
    packages = [
        package("six"),
        package("torch", 80),
        package("python", 90, "conda"),
        package("zlib", 1, "conda"),
        package("jax", 10),
    ]
    layers = plan_layers(packages, alone_bytes=10, buckets=1)
    assert names(layers) == [
        ("python", ["python"]),
        ("conda", ["zlib"]),
        ("jax", ["jax"]),
        ("torch", ["torch"]),
        ("wheels-00", ["six"]),
    ]


def test_small_ones_in_buckets_of_their_own_above_the_others():
    packages = [
        package("python", 1, "conda"),
        package("torch", 9 * SMALL_BYTES),
        package("numpy", SMALL_BYTES),
        package("six", SMALL_BYTES - 1),
        package("unknown", 0),
    ]
    sizes = dict(alone_bytes=8 * SMALL_BYTES, buckets=1)
    assert names(plan_layers(packages, **sizes, small_buckets=1)) == [
        ("conda", ["python"]),
        ("torch", ["torch"]),
        ("wheels-00", ["numpy"]),
        ("wheels-small-00", ["six", "unknown"]),
    ]
    assert names(plan_layers(packages, **sizes))[-1] == ("wheels-00", ["numpy", "six", "unknown"])
    many = [package(f"p{number}", number % 2 * 2 * SMALL_BYTES) for number in range(300)]
    layers = [layer.name for layer in plan_layers(many, alone_bytes=1 << 40, buckets=12, small_buckets=11)]
    assert layers == [*(f"wheels-{n:02}" for n in range(12)), *(f"wheels-small-{n:02}" for n in range(11))]


packages_strategy = st.lists(
    st.builds(package, st.text("abcdefgh", min_size=1, max_size=6), st.integers(1, 20)),
    unique_by=lambda p: p.name,
    max_size=30,
)


@given(packages_strategy, st.randoms())
def test_order_of_packages_does_not_matter(packages, random):
    shuffled = list(packages)
    random.shuffle(shuffled)
    assert plan_layers(packages, alone_bytes=10, buckets=4) == plan_layers(shuffled, alone_bytes=10, buckets=4)


@given(packages_strategy, st.integers(1, 9))
def test_an_upgrade_touches_one_layer(packages, size):
    if not packages:
        return
    old = packages[0]
    new = package(old.name, old.size, version="2")
    before = plan_layers(packages, alone_bytes=10, buckets=4)
    after = plan_layers([new, *packages[1:]], alone_bytes=10, buckets=4)
    changed = [a for a, b in zip(before, after, strict=True) if a != b]
    assert len(changed) == 1


def test_key_depends_on_what_changes_bytes_and_not_on_names_of_layers():
    same = dict(prefix="/p", interpreter="i", compressor="c")
    group = Group(name="a", packages=(package("x"), package("y")))
    reordered = Group(name="b", packages=(package("y"), package("x")))
    assert group.key(**same) == reordered.key(**same)
    for changed in (same | {"prefix": "/q"}, same | {"interpreter": "j"}, same | {"compressor": "d"}):
        assert group.key(**same) != group.key(**changed)
    dropped = Group(name="a", packages=(package("x", dropped=("bin/z",)), package("y")))
    assert group.key(**same) != dropped.key(**same)


def test_own_packages_leaves_out_the_parents():
    assert own_packages([package("a"), package("b")], [package("a")]) == (package("b"),)


def test_a_child_at_another_version_is_an_error():
    with pytest.raises(HelioError) as caught:
        own_packages([package("a", version="2")], [package("a", version="1")])
    assert str(caught.value) == (
        "`a` differs from the parent image's\n  expected a-1 not a-2\n\nhint: run `buildimages lock`"
    )


def test_too_many_layers():
    check_count("big", 120)
    with pytest.raises(HelioError) as caught:
        check_count("big", 121)
    assert caught.value.where == "images/big/image.toml at layers"
    assert caught.value.detail == "expected at most 120 not 121"
