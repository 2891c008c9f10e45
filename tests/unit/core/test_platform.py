"""One platform, and what each ecosystem calls it."""

from __future__ import annotations

import pytest

from helioimages.core.errors import HelioError, Stage
from helioimages.core.platform import Platform


@pytest.mark.parametrize(
    ("text", "subdir", "machine", "debian", "triplet"),
    [
        ("linux/amd64", "linux-64", "x86_64", "amd64", "x86_64-linux-gnu"),
        ("linux/arm64", "linux-aarch64", "aarch64", "arm64", "aarch64-linux-gnu"),
        ("linux/arm64/v8", "linux-aarch64", "aarch64", "arm64", "aarch64-linux-gnu"),
    ],
)
def test_the_words_of_each_ecosystem(text, subdir, machine, debian, triplet):
    platform = Platform.of(text)
    assert str(platform) == text
    assert (platform.subdir, platform.machine, platform.debian, platform.triplet) == (subdir, machine, debian, triplet)


@pytest.mark.parametrize("text", ["linux/ppc64le", "windows/amd64"])
def test_a_platform_of_another_registry_has_no_words(text):
    with pytest.raises(HelioError) as caught:
        _ = Platform.of(text).subdir
    assert (caught.value.stage, caught.value.message) == (Stage.USAGE, f"images cannot be made for `{text}`")


@pytest.mark.parametrize("text", ["linux", "linux/", "linux/amd64/v1/x", "linux/amd 64"])
def test_what_is_not_a_platform(text):
    with pytest.raises(HelioError, match="is not a platform"):
        Platform.of(text)
