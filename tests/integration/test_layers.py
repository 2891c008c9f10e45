"""The layers of this checkout's images as they were made: nothing deletes, nothing is empty, nothing is there twice."""

from __future__ import annotations

from collections import Counter

import pytest

from helioimages.make import linking

pytestmark = [pytest.mark.network, pytest.mark.filterwarnings("ignore::ResourceWarning")]
IMAGES = ("base", "helio", "idl-fortran")
#: Of an image, what one layer may be at most if it is not one package.
SHARE = 0.05


@pytest.fixture(scope="module")
def images(workspace):
    return workspace.build(IMAGES)


@pytest.fixture(params=IMAGES)
def stack(request, images):
    """Give every layer of an image with its plan, lowest first."""
    line = images[request.param].line
    return [pair for image in line for pair in zip(image.plan.layers, image.layers, strict=True)]


def test_no_layer_is_above_a_twentieth_unless_one_package_is(stack):
    whole = sum(made.layer.size for _, made in stack)
    # Debian's layers have no `packages`: what parts them would part dpkg's database.
    large = [plan.name for plan, made in stack if made.layer.size > SHARE * whole and len(plan.packages) > 1]
    assert large == []


def test_no_layer_is_there_twice(stack):
    for what in ("digest", "diff_id"):
        times = Counter(getattr(made.layer, what) for _, made in stack)
        assert [digest for digest, count in times.items() if count > 1] == []


def test_no_layer_is_empty_and_none_deletes(stack, workspace):
    for plan, made in stack:
        paths = linking.files_of(workspace.store, made.key)
        assert paths, plan.name
        assert [path for path in paths if "/.wh." in f"/{path}"] == [], plan.name
