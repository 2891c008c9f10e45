"""What we write is what the OCI's own schemas describe."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import referencing

from helioimages.core import entries
from helioimages.core.digest import of_bytes
from helioimages.oci.image import Addition, Image, Settings, append, artifact
from helioimages.oci.layer import write_layer
from helioimages.oci.layout import write_layout
from helioimages.oci.types import Descriptor, ImageIndex, Platform

SCHEMAS = Path(__file__).with_name("oci-schema")


def check(name: str, data: bytes) -> list[str]:
    """Return what a schema finds wrong with a document."""

    def retrieve(address: str):
        # The schemas name each other relative to an address where nothing is; the file names are unique.
        schema = json.loads((SCHEMAS / address.rpartition("/")[2]).read_text())
        return referencing.Resource(contents=schema, specification=referencing.jsonschema.DRAFT4)

    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    validator = jsonschema.Draft4Validator(schema, registry=referencing.Registry(retrieve=retrieve))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(data))]


@pytest.fixture
def image(tmp_path) -> Image:
    with open(tmp_path / "layer", "wb") as out:
        layer = write_layer(entries.merge([entries.file("a", b"a")]), out)
    (tmp_path / "layer").rename(tmp_path / layer.digest)
    settings = Settings(
        env={"PATH": "/bin", "EMPTY": ""},
        labels={"a": "b"},
        user="1000",
        working_dir="/home",
        entrypoint=(),
        cmd=("run",),
        exposed_ports=("8888/tcp", "53/udp"),
        stop_signal="SIGTERM",
    )
    return append(
        None,
        [Addition(layer=layer, created_by="ADD a /", comment="one")],
        settings,
        platform=Platform.of("linux/arm64/v8"),
        created_epoch=1_760_000_000,
        annotations={"a": "b"},
    )


def test_the_schemas_do_refuse(image):
    document = json.loads(image.manifest_bytes)
    document["layers"][0]["size"] = "large"
    assert check("image-manifest-schema", json.dumps(document).encode()) == [
        "$.layers[0].size: 'large' is not of type 'integer'"
    ]


def test_manifest_config_index_and_layout(image, tmp_path):
    index = write_layout(tmp_path / "layout", {"latest": image}, lambda digest: tmp_path / digest)
    assert check("image-manifest-schema", image.manifest_bytes) == []
    assert check("config-schema", image.config_bytes) == []
    assert check("image-index-schema", index.dump()) == []
    assert check("image-layout-schema", (tmp_path / "layout" / "oci-layout").read_bytes()) == []


def test_artifact_and_the_list_of_referrers(image):
    payload = Descriptor(media_type="text/html", digest=of_bytes(b"x"), size=1)
    data = artifact(image.descriptor, "text/html", payload, {"k": "v"}).dump()
    descriptor = Descriptor(
        media_type="application/vnd.oci.image.manifest.v1+json",
        digest=of_bytes(data),
        size=len(data),
        artifact_type="text/html",
        annotations={"k": "v"},
    )
    assert check("image-manifest-schema", data) == []
    assert check("image-index-schema", ImageIndex(manifests=(descriptor,)).dump()) == []
