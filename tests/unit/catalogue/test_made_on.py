"""Which image is made on which, as the catalogue's first page says: by the layers that one has of the other."""

from __future__ import annotations

from catalogue_support import catalogue, entry, page

from helioimages.catalogue import site as catalogue_site


def test_which_image_is_made_on_which():
    base, helio = entry("base", 1), entry("helio", 1)
    child = entry("child", 1, layers=(*helio.layers, *entry("child", 2).layers[-2:]))
    made = catalogue(page("base", base), page("helio", helio), page("child", child))
    extra = sum(layer.size for layer in child.layers) - sum(layer.size for layer in helio.layers)
    assert catalogue_site._added(made) == {"child": catalogue_site.AddedBytes(parent="helio", bytes=extra, unpacked=0)}
