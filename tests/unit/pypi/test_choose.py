from __future__ import annotations

import pytest
from packaging.utils import parse_wheel_filename

from helioimages.core.errors import HelioError
from helioimages.core.platform import Platform
from helioimages.pypi.choose import best, platform_tags, supported_tags, variant_of

AMD = supported_tags("3.13.5", Platform.of("linux/amd64"), (2, 41))
ARM = supported_tags("3.13", Platform.of("linux/arm64"), (2, 41))


@pytest.mark.parametrize(
    ("names", "amd", "arm"),
    [
        (["d-1-py3-none-any.whl"], 0, 0),
        (["d-1-cp312-cp312-manylinux_2_28_x86_64.whl", "d-1.tar.gz"], None, None),
        (["d-1-py3-none-any.whl", "d-1-cp313-cp313-manylinux_2_28_x86_64.whl"], 1, 0),
        (["d-1-cp313-cp313-manylinux2014_x86_64.whl", "d-1-cp313-cp313-manylinux_2_34_x86_64.whl"], 1, None),
        (["d-1-cp313-cp313-manylinux_2_42_x86_64.whl"], None, None),
        (["d-1-cp38-abi3-manylinux1_x86_64.whl", "d-1-cp313-abi3-manylinux1_x86_64.whl"], 1, None),
        (["d-1-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"], None, 0),
        (["d-1-cp313-cp313-musllinux_1_2_x86_64.whl", "d-1-cp313-cp313-win_amd64.whl"], None, None),
        (["d-1-2-py3-none-any.whl", "d-1-10-py3-none-any.whl", "d-1-py3-none-any.whl"], 1, 1),
        (["d-1-cp313-cp313t-manylinux_2_28_x86_64.whl"], None, None),
        (["not a wheel", "d-1-linux.whl"], None, None),
    ],
)
def test_the_wheel_that_an_installer_takes(names, amd, arm):
    assert best(names, AMD) == (None if amd is None else names[amd])
    assert best(names, ARM) == (None if arm is None else names[arm])
    assert best(reversed(names), AMD) == best(names, AMD)


@pytest.mark.parametrize(
    ("name", "plain", "label"),
    [
        (
            "d-1-cp313-cp313-manylinux_2_28_x86_64-x86_64_v3.whl",
            "d-1-cp313-cp313-manylinux_2_28_x86_64.whl",
            "x86_64_v3",
        ),
        ("d-1-2-py3-none-any-null.whl", "d-1-2-py3-none-any.whl", "null"),
        ("d-1-py3-none-any-00.5_a.whl", "d-1-py3-none-any.whl", "00.5_a"),
        ("d-1-py3-none-any.whl", None, None),
        ("d-1-2-py3-none-any.whl", None, None),
        ("d-1-2build-py3-none-any.whl", None, None),
        ("d-1-py3-none-any-CU130.whl", None, None),
        ("d-x-py3-none-any-cu130.whl", None, None),
        ("d-1-py3-none-any-a-b.whl", None, None),
        ("d-1-variants.json", None, None),
    ],
)
def test_variants_of_a_wheel_are_known_and_never_taken(name, plain, label):
    """Spec: PEP 825."""
    assert variant_of(name) == ((plain, label) if plain else None)
    if plain:
        assert best([name], AMD) is None
        assert best([name, plain], AMD) == plain


def test_tags_are_ranked_as_packaging_ranks_them():
    _, _, _, tags = parse_wheel_filename("d-1-cp313-cp313-manylinux_2_41_x86_64.whl")
    assert [AMD[tag] for tag in tags] == [0]


def test_old_names_are_where_their_glibc_is():
    tags = list(platform_tags(Platform.of("linux/amd64"), (2, 18)))
    assert tags[:3] == ["manylinux_2_18_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    assert tags[3] == "manylinux_2_16_x86_64"
    assert tags[-3:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64", "linux_x86_64"]


def test_an_unknown_platform():
    with pytest.raises(HelioError) as caught:
        supported_tags("3.13", Platform.of("linux/riscv64"), (2, 41))
    assert str(caught.value) == (
        "images cannot be made for `linux/riscv64`\n"
        "  expected one of linux/amd64, linux/arm64, linux/arm64/v8 as the platform"
    )
