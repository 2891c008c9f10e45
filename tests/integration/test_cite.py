"""What the smoke notebooks would cite of the real helio image, from its registry and its packages' own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helioimages.cite import bibtex, formats, stage
from helioimages.core.platform import Platform
from helioimages.oci.reference import Reference
from helioimages.publish import attach, documents, release

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "smoke-notebooks" / "helio"
pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.fixture(scope="module")
def cite(workspace, tmp_path_factory):
    """Cite the helio image as it is published; a notebook narrows it."""
    built = workspace.build(("helio",))["helio"]
    with release.connect(workspace.store, None) as client:
        reference = workspace.push(client, built, "").reference
        documents.attach(client, "helio", built, tmp_path_factory.mktemp("report"), workspace.store)
        subject = attach.Subject(
            client=client, repository="helio", built=built, root=workspace.root, store=workspace.store, others=()
        )
        attach.attach(subject, key=None)
        place = stage.ImagePlace(
            client=client,
            reference=Reference.parse(reference),
            platform=Platform.of("linux/amd64"),
            store=workspace.store,
            jobs=2,
        )
        yield lambda name=None: stage.cite(place, NOTEBOOKS / name if name else None)


@pytest.mark.parametrize(
    ("name", "imported", "needed"),
    [
        (
            "10-sdo-irradiance-scan.ipynb",
            {"sunpy", "astropy", "dask", "cloudcatalog", "numpy", "matplotlib"},
            {"pandas"},
        ),
        ("20-sunpy-map.ipynb", {"sunpy", "astropy", "numpy", "matplotlib"}, {"pyerfa"}),
        ("30-cdf-pyspedas.ipynb", {"pyspedas", "cdflib", "astropy", "sunpy"}, {"hapiclient"}),
        ("40-plasmapy.ipynb", {"plasmapy", "astropy", "scipy"}, {"xarray"}),
        ("41-spacepy-pysat.ipynb", {"spacepy", "pysat", "pandas"}, {"dask"}),
        ("50-hapi.ipynb", {"hapiclient", "hapiplot", "numpy"}, set()),
        ("60-ndcube-aiapy.ipynb", {"aiapy", "ndcube", "sunpy"}, {"scipy"}),
    ],
)
def test_a_smoke_notebook(cite, name, imported, needed):
    references = cite(name)
    by_name = {package.name: package for package in references.packages}
    assert imported <= {package.name for package in references.packages if package.imported}
    assert needed <= {package.name for package in references.packages if not package.imported}
    assert "jupyterlab" not in by_name
    assert references.unknown == ()
    locked = (ROOT / "environments/helio/pylock.toml").read_text()
    for package in references.packages:
        assert f'name = "{package.name}"\nversion = "{package.version}"' in locked
    assert "@sha256:" in references.image.reference


def test_the_core_of_pyhc_is_cited_by_what_it_asks_for(cite):
    works = {package.name: {work.doi for work in package.works} | {package.doi} for package in cite().packages}
    for name, doi in (
        ("sunpy", "10.3847/1538-4357/ab4f7a"),
        ("astropy", "10.3847/1538-4357/ac7c74"),
        ("plasmapy", "10.5281/zenodo.1436011"),
        ("spacepy", "10.3389/fspas.2022.1023612"),
        ("pysat", "10.1029/2018JA025297"),
        ("pyspedas", "10.3389/fspas.2022.1020815"),
        ("hapiclient", "10.1029/2021JA029534"),
    ):
        assert doi in works[name], name


def test_all_of_an_image_in_every_format(cite):
    references = cite()
    assert len(references.packages) > 400
    entries = list(bibtex.entries(formats.as_bibtex(references)))
    assert len({entry.key for entry in entries}) == len(entries) > len(references.packages)
    assert references.image.reference in formats.as_text(references)
    assert json.dumps(formats.as_cff(references)).count("- type: ") == len(entries)
