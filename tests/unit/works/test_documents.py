"""Documents of a work: the same work gives the same bytes, and what is read of them again is the work.

That other programs find them good is tested in tests/integration/test_works.py.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from works_support import CITATION, DIGEST, changed, work

from helioimages.core.errors import HelioError
from helioimages.core.platform import FIRST
from helioimages.works import crate, datacite, documents, spase
from helioimages.works import work as works

SPASE = "{http://www.spase-group.org/data/schema}"


def entities(made: works.Work) -> dict[str, dict]:
    return {row["@id"]: row for row in json.loads(crate.metadata(made))["@graph"]}


def test_the_same_work_has_the_same_documents():
    assert documents.of(work()) == documents.of(work())
    assert list(documents.of(work()))[:3] == ["CITATION.cff", "datacite.json", "ro-crate-metadata.json"]


def test_a_work_is_read_again():
    made = changed(work(), doi="10.5281/zenodo.1")
    assert works.parse(works.dump(made)) == made
    assert documents.of(works.parse(works.dump(made))) == documents.of(made)


def test_its_id_is_by_content():
    ids = {
        work().id,
        work(settings=works.WorkSettings(authority="NASA")).id,
        work(inputs=work().inputs[:-1]).id,
        changed(
            work(), image=works.WorkImage(registry="h", name="n", tag="", digest="sha256:0", title="", platform=FIRST)
        ).id,
    }
    assert len(ids) == 4
    # What is said of it, and what an archive calls it, is not.
    assert changed(work(CITATION.replace("The Sun", "A Sun")), doi="10.1234/1").id == work().id


@pytest.mark.parametrize("path", ["../up.ipynb", "/etc/passwd", "work/../../x", "work/.", "a\\b", "a\nb", ""])
def test_a_path_out_of_the_folder_is_refused(path):
    document = json.loads(works.dump(work()))
    document["inputs"][0]["path"] = path
    with pytest.raises(HelioError, match=r"work\.json at inputs\[0\]\.path"):
        works.parse(json.dumps(document))


# -- RO-Crate ---------------------------------------------------------------------------------------------------------


def test_the_image_of_a_crate():
    image = entities(work())["#image"]
    assert (image["@type"], image["registry"], image["name"]) == (
        "ContainerImage",
        "registry.example:5000",
        "org/helio",
    )
    assert (image["tag"], image["sha256"]) == ("2026.11.19", DIGEST.removeprefix("sha256:"))
    assert image["license"][0] == "BSD-3-Clause"


def test_what_a_crate_says_of_its_run_is_read_again():
    recipe = crate.read(crate.metadata(work()))
    assert recipe.runs == (
        crate.Run(notebook="work/a look.ipynb", executed="executed/a look.ipynb"),
        crate.Run(notebook="work/b.ipynb", executed="executed/b.ipynb"),
    )
    assert (recipe.registry, recipe.name, recipe.digest) == ("registry.example:5000", "org/helio", DIGEST)
    assert recipe.files == {file.path: file.sha256 for file in work().inputs}
    assert (recipe.parameters, recipe.network) == ({"year": "2024", "b": "x y"}, False)
    network = works.WorkSettings(authority="NASA", network=True)
    assert crate.read(crate.metadata(work(settings=network))).network


def test_every_reference_of_a_crate_leads_somewhere():
    graph = entities(work())

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            return (
                [value["@id"]]
                if list(value) == ["@id"]
                else [at for inner in value.values() for at in references(inner)]
            )
        return [at for inner in value for at in references(inner)] if isinstance(value, list) else []

    missing = {at for row in graph.values() for at in references(row) if at not in graph and "://" not in at}
    assert missing == set()
    files = {file.path.replace(" ", "%20") for file in (*work().inputs, *work().results)}
    assert files <= graph.keys()


def test_names_that_differ_in_odd_letters_alone_stay_apart():
    said = CITATION.replace("Parker", "Ölz").replace("Eugene", "A").replace("Alfvén", "Ülz").replace("Hannes", "A")
    said = said.replace("    orcid: https://orcid.org/0000-0002-1825-0097\n", "").replace(
        "    name-particle: von\n", ""
    )
    made = work(said)
    names = [row["name"] for row in entities(made).values() if row["@type"] == "Person"]
    assert names == ["A Ölz", "A Ülz"]
    people = [record for record in spase.records(made) if "/Person/" in record.path]
    assert len({record.resource_id for record in people}) == len({record.path for record in people}) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph["./"].pop("mentions"), "expected the runs of notebooks"),
        (lambda graph: graph["#run-2-work-b.ipynb"].pop("instrument"), "expected one reference not 0"),
        (lambda graph: graph["#run-2-work-b.ipynb"].update(instrument={"@id": "../x"}), "expected a path within"),
        (lambda graph: graph["#run-2-work-b.ipynb"].update(result=[]), "expected one executed notebook"),
        (lambda graph: graph["#run-2-work-b.ipynb"].update(object="x"), "expected references"),
        (lambda graph: graph["#image"].pop("sha256"), "sha256"),
        (lambda graph: graph["#image"].update(sha256="0"), "64 lower-case hexadecimal digits"),
        (lambda graph: graph.pop("#image"), "expected an entity #image"),
    ],
)
def test_a_crate_of_something_else_is_refused(change, message):
    graph = entities(work())
    change(graph)
    with pytest.raises(HelioError) as caught:
        crate.read(json.dumps({"@graph": list(graph.values())}))
    assert message in str(caught.value)


# -- SPASE ------------------------------------------------------------------------------------------------------------


def test_records_of_a_work():
    records = spase.records(work())
    kinds = [record.path.split("/")[1] for record in records]
    assert kinds == [
        *["Person"] * 3, "Repository", "Software", "Software", "Document", "Software", "Document",
        "DisplayOutput", "DisplayOutput", "NumericalOutput", "NumericalOutput", "Collection",
    ]  # fmt: skip
    assert len({record.resource_id for record in records}) == len({record.path for record in records}) == len(records)
    assert all(record.resource_id.startswith("spase://NASA/") for record in records)
    root = ElementTree.fromstring(records[-1].text)
    members = [row.text for row in root.iter(f"{SPASE}MemberID")]
    assert members == [record.resource_id for record in records[4:-1]]


@pytest.mark.parametrize(
    ("publisher", "address"),
    [("Zenodo", "https://zenodo.org"), ("An Archive", "docker://registry.example:5000/org/helio@sha256:")],
)
def test_what_a_record_names_is_there(publisher, address):
    records = spase.records(work(settings=works.WorkSettings(authority="NASA", publisher=publisher)))
    named = {
        row.text
        for record in records
        for row in ElementTree.fromstring(record.text).iter()
        if row.tag in (f"{SPASE}RepositoryID", f"{SPASE}PersonID", f"{SPASE}MemberID")
    }
    assert named <= {record.resource_id for record in records}
    (archive,) = [record for record in records if record.path.startswith("spase/Repository/")]
    assert archive.resource_id in named
    assert f"<URL>{address}" in archive.text


def test_without_a_measurement_nothing_says_that_something_was_measured():
    records = spase.records(work(settings=works.WorkSettings(authority="NASA")))
    assert not [record for record in records if "Output" in record.path]


def test_a_doi_is_in_the_collection_and_where_things_are_got():
    records = spase.records(changed(work(), doi="10.5281/zenodo.1"))
    assert records[-1].text.count("https://doi.org/10.5281/zenodo.1") == 3
    image = next(record for record in records if "/image" in record.path)
    assert "<URL>docker://registry.example:5000/org/helio@sha256:" in image.text


def test_letters_that_xml_cannot_have():
    said = CITATION.replace("What the wind does.", '"a\\x01b\\x0bc"')
    assert "<Description>abc</Description>" in spase.records(work(said))[-1].text


# -- DataCite ---------------------------------------------------------------------------------------------------------


def test_datacite_without_and_with_a_doi():
    assert "doi" not in json.loads(datacite.metadata(work()))
    record = json.loads(datacite.metadata(changed(work(), doi="10.5281/zenodo.1")))
    assert record["doi"] == "10.5281/zenodo.1"
    assert [row["name"] for row in record["creators"]] == ["Parker, Eugene", "von Alfvén, Hannes", "The Wind Team"]
    related = [row["relatedIdentifier"] for row in record["relatedIdentifiers"]]
    assert related[0] == f"docker://registry.example:5000/org/helio@{DIGEST}"
