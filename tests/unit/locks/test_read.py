"""What a lock's digest depends on: all that makes bytes, nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST, Platform
from helioimages.locks import file_names, locking
from helioimages.locks import read as locks
from helioimages.locks.checkout import Checkout
from helioimages.machine.checkout import load_environments, load_images
from helioimages.machine.store import Store
from helioimages.make.budget import largest
from helioimages.make.plan import plan_layers
from helioimages.prove import changed

ROOT = Path(__file__).parents[3]

ARM = Platform.of("linux/arm64")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for folder in ("environments/base", "images/base"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def digest(checkout: Path) -> str:
    return locks.load(checkout, load_images(checkout), "base").digest


@pytest.mark.parametrize(
    "before, after",
    [
        ('slug = "base"', 'slug = "other"'),
        ("timeout = 300", "timeout = 301"),
        ("compressed-mib = 900", "compressed-mib = 901"),
    ],
)
def test_hubs_and_tests_do_not_change_it(checkout, before, after):
    first, path = digest(checkout), checkout / "images/base/image.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    assert digest(checkout) == first


@pytest.mark.parametrize(
    "file, before, after",
    [
        ("images/base/image.toml", 'TZ = "UTC"', 'TZ = "GMT"'),
        ("images/base/image.toml", "small-buckets = 4", "small-buckets = 5"),
        ("images/base/apt-lock.json", '"healed": []', '"healed": ["x 1 -> 2"]'),
        ("images/base/files/etc/motd", "e", "E"),
    ],
)
def test_what_makes_bytes_does(checkout, file, before, after):
    first, path = digest(checkout), checkout / file
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    assert digest(checkout) != first


def test_a_mode_of_a_file_does(checkout):
    first = digest(checkout)
    (checkout / "images/base/files/etc/motd").chmod(0o755)
    assert digest(checkout) != first


@pytest.mark.parametrize("channel", ["local", "conda-forge"])
def test_the_committed_locks_are_of_the_committed_environments(channel, tmp_path):
    report = locking.lock(ROOT, Store(tmp_path), wish=locking.Wish(check=True), channel=channel)
    assert report.written == ()


@pytest.mark.parametrize("winner", ["scipy", "nothing"])
def test_a_lock_is_of_the_files_that_are_left_out(checkout, winner):
    path = checkout / "environments/base/environment.yml"
    text = path.read_text()
    assert text.count("  clobber:\n") == 1
    path.write_text(text.replace("  clobber:\n", f"  clobber:\n    share/x: {winner} over numpy\n"))
    store, wish = Store(checkout / "store"), locking.Wish(check=True)
    if winner == "scipy":
        locking.lock(checkout, store, ["base"], wish)
        return
    with pytest.raises(HelioError) as caught:
        locking.lock(checkout, store, ["base"], wish)
    assert "environments/base/pylock.toml" in caught.value.detail


def test_a_conda_package_without_a_size_is_planned_as_the_smallest(checkout):
    """conda-lock has no field for sizes; the plan depends on the locks alone."""
    path = checkout / "environments/base/conda-lock.yml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if " size:" not in line))
    images, environments = load_images(checkout), load_environments(checkout)
    loaded = locks.load(checkout, images, "base")
    assert {package.size for package in loaded.conda.packages} == {None}
    everything = locks.packages(loaded, environments["base"])
    assert {package.size for package in everything if package.kind == "conda"} == {0}
    first = plan_layers(everything, alone_bytes=8 << 20, buckets=12)[0]
    assert (first.name, first.size, len(first.packages)) == ("conda", 0, len(loaded.conda.packages))
    assert all(size > 0 for size, _ in largest(loaded))


def test_a_lock_that_is_not_utf_8_is_named(checkout):
    (checkout / "images/base/apt-lock.json").write_bytes(b"\xff")
    with pytest.raises(HelioError) as caught:
        digest(checkout)
    assert caught.value.where == "images/base/apt-lock.json"


def put_arm(checkout: Path) -> None:
    """Lay locks for arm64 beside those that are there."""
    for file, old, new in (
        ("environments/base/conda-lock.yml", "linux-64", "linux-aarch64"),
        ("environments/base/pylock.toml", "linux/amd64", "linux/arm64"),
        ("images/base/apt-lock.json", "amd64", "arm64"),
    ):
        path = checkout / file
        text = path.read_text()
        assert old in text
        path.with_name(file_names.of(path.name, ARM)).write_text(text.replace(old, new))


def test_locks_of_two_platforms_lie_beside_each_other(checkout):
    before = digest(checkout)
    put_arm(checkout)
    assert sorted(path.name for path in (checkout / "environments/base").glob("*linux-arm64*")) == [
        "conda-lock.linux-arm64.yml",
        "pylock.linux-arm64.toml",
    ]
    assert digest(checkout) == before
    arm = Checkout.of(checkout, platform=ARM)
    loaded = arm.locks_of(["base"])["base"]
    assert (loaded.conda.platforms, loaded.pypi.platform, loaded.apt.architecture) == (
        ("linux-aarch64",),
        ARM,
        "arm64",
    )
    assert loaded.files == {
        "conda": "environments/base/conda-lock.linux-arm64.yml",
        "pypi": "environments/base/pylock.linux-arm64.toml",
        "apt": "images/base/apt-lock.linux-arm64.json",
    }
    assert loaded.digest != before
    amd = Checkout.of(checkout).locks_of(["base"])["base"]
    assert (amd.digest, amd.apt.architecture) == (before, "amd64")


def test_a_platform_without_locks_names_the_file_that_is_missing(checkout):
    with pytest.raises(HelioError) as caught:
        Checkout.of(checkout, platform=ARM).locks_of(["base"])
    assert caught.value.message == "`environments/base/conda-lock.linux-arm64.yml` is missing"
    with pytest.raises(HelioError) as caught:
        locking.lock(checkout, Store(checkout / "store"), ["base"], locking.Wish(check=True), platform=ARM)
    assert caught.value.detail == (
        "environments/base/conda-lock.linux-arm64.yml is missing\n"
        "environments/base/pylock.linux-arm64.toml is missing\n"
        "images/base/apt-lock.linux-arm64.json is missing"
    )


def test_locks_of_another_platform_under_this_ones_name_are_refused(checkout):
    path = checkout / "environments/base/pylock.toml"
    path.write_text(path.read_text().replace("linux/amd64", "linux/arm64"))
    with pytest.raises(HelioError) as caught:
        Checkout.of(checkout).locks_of(["base"])
    assert (caught.value.where, caught.value.detail) == (
        "environments/base/pylock.toml at tool.helioimages.platform",
        "expected linux/amd64, not linux/arm64",
    )


def test_what_changed_is_of_one_platform(checkout):
    def reasons(path: str, platform: Platform) -> bool:
        return bool(changed.changed(Checkout.of(checkout, platform=platform), ["base"], [path], lambda _path: None))

    for name in ("environments/base/pylock{}.toml", "images/base/apt-lock{}.json", "channel/apt-lock{}.json"):
        assert [reasons(name.format(""), platform) for platform in (FIRST, ARM)] == [True, False]
        assert [reasons(name.format(".linux-arm64"), platform) for platform in (FIRST, ARM)] == [False, True]
