from __future__ import annotations

import json
import pickle

import pytest

from helioimages.core.errors import HelioError
from helioimages.oci.types import (
    CONFIG,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    History,
    ImageConfig,
    ImageIndex,
    Manifest,
    Platform,
)

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
AMD64 = Platform(os="linux", architecture="amd64")


def manifest(**changes):
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": A, "size": 2},
        "layers": [{"mediaType": LAYER_GZIP, "digest": B, "size": 3}],
    }
    return {key: value for key, value in (document | changes).items() if value is not ...}


def config(**changes):
    document = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [A]}}
    return {key: value for key, value in (document | changes).items() if value is not ...}


def layer(**changes):
    return manifest(layers=[{"mediaType": LAYER_GZIP, "digest": B, "size": 3} | changes])


@pytest.mark.parametrize(
    ("document", "where", "detail"),
    [
        ([], "manifest", "expected an object not an array"),
        (manifest(schemaVersion=1), "manifest.schemaVersion", "expected 2 not 1"),
        (manifest(schemaVersion="2"), "manifest.schemaVersion", "expected a whole number not a string"),
        (manifest(schemaVersion=True), "manifest.schemaVersion", "expected a whole number not true or false"),
        (manifest(mediaType="text/html"), "manifest.mediaType", f"expected {MANIFEST} not text/html"),
        (manifest(config=...), "manifest.config", "expected an object, found nothing"),
        (manifest(layers={}), "manifest.layers", "expected an array not an object"),
        (manifest(layers=[7]), "manifest.layers[0]", "expected an object not a whole number"),
        (layer(size=-1), "manifest.layers[0].size", "expected a size in bytes not -1"),
        (layer(size=1.5), "manifest.layers[0].size", "expected a whole number not a float"),
        (layer(digest="sha256:zz"), "manifest.layers[0].digest", "expected sha256:<64 hex digits> not 'sha256:zz'"),
        (layer(digest=A.upper()), "manifest.layers[0].digest", f"expected sha256:<64 hex digits> not {A.upper()!r}"),
        (layer(annotations={"k": 1}), "manifest.layers[0].annotations.k", "expected a string not a whole number"),
        (layer(data="%%"), "manifest.layers[0].data", "expected base64"),
        (
            layer(platform={"os": "linux"}),
            "manifest.layers[0].platform.architecture",
            "expected a string, found nothing",
        ),
        (manifest(subject={"size": 1}), "manifest.subject.mediaType", "expected a string, found nothing"),
    ],
)
def test_a_malformed_manifest_is_refused_with_its_key(document, where, detail):
    with pytest.raises(HelioError) as caught:
        Manifest.parse(json.dumps(document).encode())
    assert str(caught.value) == f"malformed OCI document\n  in {where}\n  {detail}"


@pytest.mark.parametrize(
    ("document", "where", "detail"),
    [
        (config(os=...), "config.os", "expected a string, found nothing"),
        (config(rootfs=...), "config.rootfs", "expected an object, found nothing"),
        (config(rootfs={"type": "tree"}), "config.rootfs.type", 'expected "layers" not "tree"'),
        (
            config(rootfs={"type": "layers", "diff_ids": [A, "x"]}),
            "config.rootfs.diff_ids[1]",
            "expected sha256:<64 hex digits> not 'x'",
        ),
        (
            config(history=[{}, {"empty_layer": "yes"}]),
            "config.history[1].empty_layer",
            "expected true or false not a string",
        ),
        (config(config={"Env": ["A=b", 1]}), "config.config.Env[1]", "expected a string not a whole number"),
        (config(config={"Labels": {"a b": None}}), 'config.config.Labels["a b"]', "expected a string not nothing"),
        (config(config={"ExposedPorts": [8888]}), "config.config.ExposedPorts", "expected an object not an array"),
    ],
)
def test_a_malformed_config_is_refused_with_its_key(document, where, detail):
    with pytest.raises(HelioError) as caught:
        ImageConfig.parse(json.dumps(document).encode())
    assert str(caught.value) == f"malformed OCI document\n  in {where}\n  {detail}"


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "not JSON: duplicate key 'schemaVersion'"),
        (b'{"schemaVersion": NaN}', "not JSON: NaN is not JSON"),
    ],
)
def test_what_is_not_json_is_refused(data, detail):
    with pytest.raises(HelioError) as caught:
        Manifest.parse(data, "x at manifest")
    assert str(caught.value) == (f"cannot read an OCI document of {len(data)} bytes\n  in x at manifest\n  {detail}")


def test_a_bomb_of_brackets_is_refused():
    with pytest.raises(HelioError, match="cannot read an OCI document of 200,000 bytes"):
        Manifest.parse(b"[" * 200_000)


def test_unknown_keys_are_allowed_and_null_is_absent():
    parsed = Manifest.parse(json.dumps(manifest(annotations=None, subject=None, color="blue")).encode())
    assert (parsed.annotations, parsed.subject) == ({}, None)


def test_a_manifest_round_trips_to_canonical_bytes():
    value = Manifest(
        config=Descriptor(media_type=CONFIG, digest=A, size=0),
        layers=(Descriptor(media_type=LAYER_GZIP, digest=B, size=3, annotations={"é": "ü"}, data=b"{}"),),
        artifact_type="x/y",
        subject=Descriptor(media_type=MANIFEST, digest=B, size=1),
        annotations={"b": "1", "a": "2"},
    )
    data = value.dump()
    assert Manifest.parse(data) == value
    assert Manifest.parse(data).dump() == data
    assert data.decode() == (
        '{"annotations":{"a":"2","b":"1"},"artifactType":"x/y",'
        f'"config":{{"digest":"{A}","mediaType":"{CONFIG}","size":0}},'
        f'"layers":[{{"annotations":{{"é":"ü"}},"data":"e30=","digest":"{B}","mediaType":"{LAYER_GZIP}","size":3}}],'
        f'"mediaType":"{MANIFEST}","schemaVersion":2,'
        f'"subject":{{"digest":"{B}","mediaType":"{MANIFEST}","size":1}}}}'
    )


def test_a_config_round_trips():
    value = ImageConfig(
        platform=Platform(os="linux", architecture="arm64", variant="v8"),
        diff_ids=(A, B),
        history=(History(created="2026-11-01T00:00:00Z", created_by="ADD a /"), History(empty_layer=True)),
        created="2026-11-01T00:00:00Z",
        author="us",
        user="1000",
        working_dir="/home/jovyan",
        env=("PATH=/bin", "EMPTY="),
        entrypoint=(),
        cmd=("jupyter", "lab"),
        exposed_ports=("8888/tcp",),
        volumes=("/data",),
        labels={"b": "1", "a": ""},
        stop_signal="SIGTERM",
    )
    assert ImageConfig.parse(value.dump()) == value
    assert pickle.loads(pickle.dumps(value)) == value
    document = json.loads(value.dump())
    assert document["config"]["Entrypoint"] == []
    assert document["config"]["ExposedPorts"] == {"8888/tcp": {}}
    assert document["history"] == [{"created": "2026-11-01T00:00:00Z", "created_by": "ADD a /"}, {"empty_layer": True}]


def test_an_entrypoint_that_is_not_set_stays_unset():
    value = ImageConfig(platform=AMD64, diff_ids=())
    assert "config" not in json.loads(value.dump())
    assert ImageConfig.parse(value.dump()).entrypoint is None


def test_an_index_round_trips():
    value = ImageIndex(
        manifests=(Descriptor(media_type=MANIFEST, digest=A, size=1, platform=AMD64),), annotations={"a": "b"}
    )
    assert ImageIndex.parse(value.dump()) == value
    with pytest.raises(HelioError) as caught:
        ImageIndex.parse(json.dumps(manifest()).encode())
    assert caught.value.where == "index.mediaType"


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64/v8"])
def test_a_platform_round_trips(text):
    assert str(Platform.of(text)) == text


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/amd64/v1/x", "linux amd64", "li nux/amd64"])
def test_what_is_no_platform(text):
    with pytest.raises(HelioError) as caught:
        Platform.of(text)
    assert str(caught.value) == (
        f"`{text}` is not a platform\n"
        "  expected os/architecture[/variant]\n\n"
        "hint: write for example linux/amd64 or linux/arm64"
    )
