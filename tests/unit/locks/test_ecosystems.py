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
EVERY = [pytest.param(ecosystem, id=ecosystem.kind) for ecosystem in ecosystems.ECOSYSTEMS]


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
    for package in packages:
        assert package.kind == ecosystem.kind and package.file_name and len(package.sha256) == 64 and package.size > 0
        assert ecosystems.of_purl(package.purl) == package.kind
        assert package.version in unquote(package.purl)
        assert ecosystems.order(package.kind, package.version)[0] == 1, "every locked version is one of its ecosystem"
        assert ecosystem.advised(package).ecosystems


def test_purls_encode_all_but_the_colon(lock):
    """Spec: package-url, "Character encoding": a colon is never percent-encoded, a plus always."""
    purls = {package.name: package.purl for package in lock.packages if package.kind == "debian"}
    deb = {package.name: package for package in lock.apt.packages}
    for name, purl in purls.items():
        version = quote(deb[name].version, safe=":")
        assert purl == f"pkg:deb/debian/{quote(name)}@{version}?arch={deb[name].architecture}&distro=trixie"
    assert any("@1:" in purl for purl in purls.values())
    for package in lock.packages:
        if package.kind == "wheel":
            assert (
                package.purl == f"pkg:pypi/{package.name}@{quote(package.version)}?file_name={quote(package.file_name)}"
            )
    python = lock.python
    (purl,) = [package.purl for package in lock.packages if package.kind == "conda" and package.name == "python"]
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
def test_debian_is_ordered_as_dpkg_does(left, right):
    ours, theirs = [ecosystems.order("debian", text) for text in (left, right)], NativeVersion(left)
    assert (ours[0] < ours[1]) == (theirs < NativeVersion(right))
    assert (ours[0] == ours[1]) == (theirs == NativeVersion(right))


pep440 = st.from_regex(
    r"\A(1!)?[0-9]{1,2}(\.[0-9]{1,2}){0,2}((a|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?(\+cu[0-9]{2})?\Z"
)


@given(pep440, pep440)
def test_wheels_are_ordered_as_pep_440_says(left, right):
    ours = [ecosystems.order("wheel", text) for text in (left, right)]
    assert (ours[0] < ours[1]) == (Version(left) < Version(right))
    assert (ours[0] == ours[1]) == (Version(left) == Version(right))
