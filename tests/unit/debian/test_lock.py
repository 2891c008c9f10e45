"""apt-lock.json: strict to read, stable to write, and what changed between two of them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helioimages.core.errors import HelioError
from helioimages.debian.lock import AptLock, Deb, changes, dump, parse, settled

WHERE = "images/base/apt-lock.json"


def deb(name: str, version: str = "1.0-1", **values) -> Deb:
    row = {
        "name": name,
        "version": version,
        "architecture": "amd64",
        "file_name": f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb",
        "archive": "debian",
        "sha256": f"{hash((name, version)) & (1 << 256) - 1:064x}",
        "size": 100,
    }
    return Deb(**(row | values))


def lock(*debs: Deb, **values) -> AptLock:
    row = {
        "suite": "trixie",
        "architecture": "amd64",
        "requested": (),
        "packages": tuple(sorted(debs, key=lambda package: package.name)),
        "timestamp": 1_760_000_000,
    }
    return AptLock(**(row | values))


_NAMES = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,12}", fullmatch=True)
_VERSIONS = st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~]{0,8}(-[0-9][A-Za-z0-9.+~]{0,4})?", fullmatch=True)


@st.composite
def locks(draw) -> AptLock:
    names = draw(st.lists(_NAMES, unique=True, max_size=6))
    debs = [
        deb(
            name,
            draw(_VERSIONS),
            architecture=draw(st.sampled_from(("all", "arm64"))),
            file_name=f"pool/main/{name}.deb",
            archive=draw(st.sampled_from(("debian", "debian-security"))),
        )
        for name in names
    ]
    return lock(
        *debs,
        architecture="arm64",
        requested=tuple(sorted(draw(st.lists(st.sampled_from(names), unique=True)))) if names else (),
        healed=tuple(draw(st.lists(st.text(max_size=20), max_size=2))),
        timestamp=draw(st.integers(0, 1 << 33)),
    )


@given(locks())
def test_a_lock_survives_writing_and_reading(value):
    assert parse(dump(value), WHERE) == value
    assert dump(parse(dump(value), WHERE)) == dump(value)


def test_the_file_has_one_line_a_package_and_ends_with_a_newline():
    text = dump(lock(deb("zlib1g"), deb("bash")))
    lines = [line.strip() for line in text.splitlines() if '"name"' in line]
    assert [json.loads(line.rstrip(","))["name"] for line in lines] == ["bash", "zlib1g"]
    assert text.endswith("}\n")


def test_the_key_names_the_packages_and_nothing_else():
    first = lock(deb("bash"), deb("zlib1g"))
    assert dataclasses.replace(first, timestamp=1, healed=("x",), requested=("bash",)).key == first.key
    assert dataclasses.replace(first, packages=first.packages[::-1]).key == first.key
    assert dataclasses.replace(first, architecture="arm64").key != first.key
    assert lock(deb("bash"), deb("zlib1g", "1.0-2")).key != first.key


def broken(**values) -> str:
    """Return a lock's text with one package's fields, or the document's own, replaced."""
    document = json.loads(dump(lock(deb("bash"), requested=("bash",))))
    for key, value in values.items():
        place = document["packages"][0] if key in document["packages"][0] and key != "version_" else document
        place[key.removeprefix("_")] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("values", "at", "detail"),
    [
        ({"name": "--force-all"}, "packages[0].name", "expected a Debian package name not '--force-all'"),
        ({"name": "bash,evil"}, "packages[0].name", "expected a Debian package name not 'bash,evil'"),
        ({"name": 3}, "packages[0].name", "expected a string not a whole number: 3"),
        ({"version": "1\nPin: x"}, "packages[0].version", "expected a Debian version not '1\\nPin: x'"),
        ({"sha256": "A" * 64}, "packages[0].sha256", f"expected 64 lower-case hexadecimal digits not '{'A' * 64}'"),
        ({"size": True}, "packages[0].size", "expected a whole number not true or false: True"),
        ({"size": 0}, "packages[0].size", "expected 1 or more not 0"),
        ({"archive": "ubuntu"}, "packages[0].archive", "expected debian or debian-security not 'ubuntu'"),
        ({"file_name": "/etc/x.deb"}, "packages[0].file_name", "expected a path below pool/ not '/etc/x.deb'"),
        (
            {"file_name": "pool/main/../../x.deb"},
            "packages[0].file_name",
            "expected a path below pool/ not 'pool/main/../../x.deb'",
        ),
        ({"_architecture": "arm64"}, "packages[0].architecture", "expected all or arm64 not 'amd64'"),
        ({"suite": "../x"}, "suite", "expected a Debian suite not '../x'"),
        ({"requested": ["bash", 1]}, "requested[1]", "expected a string not a whole number: 1"),
        ({"requested": ["curl"]}, "requested", "`curl` is not among the packages"),
        ({"healed": [1]}, "healed[0]", "expected a string not a whole number: 1"),
        ({"timestamp": "now"}, "timestamp", "expected a whole number not a string: 'now'"),
        ({"_version": 2}, "version", "expected 1 not 2"),
        ({"mirror": "x"}, "mirror", "this key is not understood"),
        ({"packages": [3]}, "packages[0]", "expected a mapping not a whole number"),
        ({"packages": {}}, "packages", "expected a list not a mapping: {}"),
    ],
)
def test_what_is_not_understood_is_refused_with_file_and_key(values, at, detail):
    with pytest.raises(HelioError) as caught:
        parse(broken(**values), WHERE)
    assert str(caught.value) == (
        f"cannot read `{WHERE}`\n  in {WHERE} at {at}\n  {detail}\n\nhint: run `buildimages lock`"
    )


def test_a_package_named_twice_is_refused():
    row = json.loads(dump(lock(deb("bash"))))
    row["packages"] *= 2
    with pytest.raises(HelioError) as caught:
        parse(json.dumps(row), WHERE)
    assert caught.value.where == f"{WHERE} at packages"
    assert caught.value.detail == "`bash` is there twice"


def test_a_file_that_is_not_json_says_the_line():
    with pytest.raises(HelioError) as caught:
        parse('{"version": 1,\n oops', WHERE)
    assert str(caught.value) == (
        f"cannot read `{WHERE}`\n  in {WHERE} at line 2\n  Expecting property name enclosed in double quotes\n\n"
        "hint: run `buildimages lock`"
    )


def test_changes_name_each_package_with_both_versions():
    old = lock(deb("bash"), deb("curl", "8.1"), deb("gone"))
    new = lock(deb("bash"), deb("curl", "8.2"), deb("libnew"))
    assert changes(old, new) == ("curl 8.1 -> 8.2", "gone 1.0-1 -> nothing", "libnew nothing -> 1.0-1")
    assert changes(old, old) == ()


def test_a_lock_whose_packages_stayed_stays_as_it_is():
    old = lock(deb("bash"), timestamp=1)
    assert settled(old, dataclasses.replace(old, timestamp=2)) is old
    newer = lock(deb("bash", "2"), timestamp=2)
    assert settled(old, newer) is newer
    asked = dataclasses.replace(old, requested=("bash",))
    assert settled(old, asked) is asked
    assert settled(None, old) is old
