"""The table of ecosystems: what it asks of each, on the committed locks."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from debian.debian_support import NativeVersion
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from helioimages.core.package import Package
from helioimages.locks import ecosystems, read
from helioimages.machine.checkout import load_images

ROOT = Path(__file__).parents[3]
EVERY = [pytest.param(one, id=one.kind) for one in ecosystems.ECOSYSTEMS]


@pytest.fixture(scope="module")
def lock() -> read.Locks:
    return read.load(ROOT, load_images(ROOT), "helio")


@pytest.mark.parametrize("ecosystem", EVERY)
def test_a_lock_reads_back_and_its_packages_are_whole(ecosystem, lock):
    part = lock.parts[ecosystem.kind]
    where = lock.files[ecosystem.part]
    assert ecosystem.parse(ecosystem.dump(part), where) == part
    assert ecosystem.dump(part) == (ROOT / where).read_text("utf-8")
    packages = ecosystem.packages(part)
    assert len(packages) > 5
    for one in packages:
        assert one.kind == ecosystem.kind and one.file_name and len(one.sha256) == 64 and one.size > 0
        assert ecosystems.of_purl(one.purl) == one.kind
        assert one.version in unquote(one.purl)
        assert ecosystems.order(one.kind, one.version)[0] == 1, "every locked version is one of its ecosystem"
        assert ecosystem.advised(one).ecosystems


def test_purls_encode_all_but_the_colon(lock):
    """Spec: package-url, "Character encoding": a colon is never percent-encoded, a plus always."""
    found = {one.name: one.purl for one in lock.packages if one.kind == "debian"}
    deb = {one.name: one for one in lock.apt.packages}
    for name, purl in found.items():
        version = quote(deb[name].version, safe=":")
        assert purl == f"pkg:deb/debian/{quote(name)}@{version}?arch={deb[name].architecture}&distro=trixie"
    assert any("@1:" in purl for purl in found.values())
    for one in lock.packages:
        if one.kind == "wheel":
            assert one.purl == f"pkg:pypi/{one.name}@{quote(one.version)}?file_name={quote(one.file_name)}"
    python = lock.python
    (purl,) = [one.purl for one in lock.packages if one.kind == "conda" and one.name == "python"]
    assert purl == f"pkg:conda/python@{python.version}?build={python.build}&channel=local&subdir={python.subdir}"


def test_a_package_from_conda_and_from_pypi_is_one():
    conda = Package(kind="conda", name="typing_extensions", version="4.10")
    wheel = Package(kind="wheel", name="typing-extensions", version="4.9")
    assert ecosystems.identity(conda) == ecosystems.identity(wheel)
    assert ecosystems.compare(conda, wheel) == -1 and ecosystems.compare(wheel, conda) == 1
    assert ecosystems.identity(Package(kind="debian", name="typing-extensions", version="1")) != ecosystems.identity(
        wheel
    )


debian = st.from_regex(r"\A([0-2]:)?[0-9][0-9a-c.+~]{0,5}(-[0-9][0-9a-c.+~]{0,3})?\Z")


@given(debian, debian)
def test_debian_is_ordered_as_dpkg_does(one, other):
    ours, theirs = [ecosystems.order("debian", text) for text in (one, other)], NativeVersion(one)
    assert (ours[0] < ours[1]) == (theirs < NativeVersion(other))
    assert (ours[0] == ours[1]) == (theirs == NativeVersion(other))


pep440 = st.from_regex(
    r"\A(1!)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}((a|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?(\+cu[0-9]{2})?\Z"
)


@given(pep440, pep440)
def test_wheels_are_ordered_as_pep_440_says(one, other):
    ours = [ecosystems.order("wheel", text) for text in (one, other)]
    assert (ours[0] < ours[1]) == (Version(one) < Version(other))
    assert (ours[0] == ours[1]) == (Version(one) == Version(other))
