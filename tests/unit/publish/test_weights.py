"""What an image weighs, as it is written down beside it: what is read is what was written, and no more."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from helioimages.catalogue import weight as weighing
from helioimages.core.errors import HelioError
from helioimages.core.package import Package
from helioimages.locks.reasons import Needs
from helioimages.prove import verify
from helioimages.publish import weights
from helioimages.publish.weights import Weights

ROWS = (("conda", "python", 30), ("debian", "bash", 2), ("wheel", "numpy", 20), ("wheel", "sunpy", 9))
KEYS = [(kind, name) for kind, name, _ in ROWS]


def known(**changes) -> Weights:
    packages = {(kind, name): Package(kind=kind, name=name, version="1:2~x", size=size) for kind, name, size in ROWS}
    values = {
        "line": ("base", "helio"),
        "unpacked": (100, 0, 50),
        "owners": {key: "helio" if key[1] == "sunpy" else "base" for key in KEYS},
        "needs": Needs(
            packages=packages,
            asked={("conda", "python"): ("environments/base",), ("wheel", "sunpy"): ("environments/helio",)},
            needs={("wheel", "sunpy"): (("wheel", "numpy"),)},
        ),
    }
    return Weights(**values | changes)


def test_what_is_written_is_what_is_read():
    text = weights.dump(known())
    assert weights.parse(text, "x") == known()
    assert weights.dump(weights.parse(text, "x")) == text
    less = known(needs=Needs(packages=known().needs.packages, asked={}, needs={}, whole=False))
    assert not weights.parse(weights.dump(less), "x").needs.whole


def test_it_weighs_as_the_checkout_does():
    known_again = weights.parse(weights.dump(known()), "x")
    layers = weighing.Layers(size=40, unpacked=sum(known_again.unpacked))
    weighed = weighing.weight(layers, known_again.line, known_again.owners, known_again.needs)
    assert weighed == weighing.weight(layers, known().line, known().owners, known().needs)
    assert [(image.name, image.packages, image.bytes) for image in weighed.images] == [("base", 3, 52), ("helio", 1, 9)]
    assert [(package.name, package.alone) for package in weighed.asked] == [("python", 30), ("sunpy", 29)]
    assert [package.name for package in weighed.asked_of("helio")] == ["sunpy"]
    assert weighed.reasons()["wheel", "numpy"] == "drawn in by sunpy"


def changed(**changes) -> dict:
    return json.loads(weights.dump(known())) | changes


def row(**changes) -> dict:
    first, *rest = changed()["packages"]
    return changed(packages=[first | changes, *rest])


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "expected an object not an array"),
        (changed(version=2), "expected version 1 not 2"),
        (changed(line="base"), "expected an array not a string"),
        (changed(unpacked=[-1]), "expected an object not a whole number"),
        (changed(unpacked=[{"size": -1}]), "expected 0 or more not -1"),
        (row(kind="gem"), "expected a kind of package not gem"),
        (row(image="other"), "expected one of base, helio not other"),
        (row(size=-5), "expected 0 or more not -5"),
        (row(needs=["wheel:gone"]), "expected a package of this list not wheel:gone"),
        (row(needs=["sunpy"]), "expected a kind of package and a name, e.g. wheel:numpy not 'sunpy'"),
    ],
)
def test_what_is_no_weight(document, said):
    with pytest.raises(HelioError) as caught:
        weights.parse(json.dumps(document).encode(), "org/helio@sha256:1")
    assert caught.value.message == "cannot read what an image weighs"
    assert caught.value.where.startswith("org/helio@sha256:1 at ")
    assert caught.value.detail == said


@pytest.mark.parametrize(("layers", "told"), [(3, []), (4, ["expected the sizes of 4 layers"])])
def test_a_published_one_is_of_its_image(layers, told):
    image = SimpleNamespace(layers=(None,) * layers, digest="sha256:1")
    assert list(verify.content_faults(weights.TYPE, weights.dump(known()), image)) == told
