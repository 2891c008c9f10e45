from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest

from helioimages.core import entries
from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.oci import validate
from helioimages.oci.image import Addition, Image, Settings, append, artifact, rfc3339
from helioimages.oci.layer import write_layer
from helioimages.oci.layout import read_layout, write_layout
from helioimages.oci.types import DOCKER_MANIFEST, LAYER_GZIP, MANIFEST, Descriptor, Platform

AMD64 = Platform.of("linux/amd64")
EPOCH = 1_700_000_000


@pytest.fixture
def blobs(tmp_path):
    folder = tmp_path / "blobs"
    folder.mkdir()

    def blob(digest: str) -> Path:
        return folder / digest.removeprefix("sha256:")

    def add(name: str) -> Addition:
        out = io.BytesIO()
        layer = write_layer(entries.merge([entries.file(f"srv/{name}", name.encode() * 100)]), out)
        blob(layer.digest).write_bytes(out.getvalue())
        return Addition(layer=layer, created_by=f"ADD {name} /", comment=f"{name}-1.0")

    blob.add = add
    return blob


@pytest.fixture
def parent(blobs):
    settings = Settings(
        env={"PATH": "/bin", "TZ": "UTC"},
        labels={"a": "1"},
        user="1000",
        working_dir="/home",
        entrypoint=("/srv/start",),
        cmd=("lab",),
        exposed_ports=("8888/tcp",),
        stop_signal="SIGINT",
    )
    return append(
        None,
        [blobs.add("one"), blobs.add("two")],
        settings,
        platform=AMD64,
        created_epoch=EPOCH,
        annotations={"org.opencontainers.image.title": "base"},
    )


def test_a_child_is_its_parents_layers_first_then_its_own(blobs, parent):
    three = blobs.add("three")
    child = append(
        parent,
        [three],
        Settings(
            env={"PATH": "/srv/bin:/bin", "NEW": "x=y"}, labels={"b": "2"}, exposed_ports=("80/tcp",), cmd=("run",)
        ),
        platform=AMD64,
        created_epoch=EPOCH + 1,
    )
    assert child.layers == (*parent.layers, three.layer.descriptor)
    assert child.config.diff_ids == (*parent.config.diff_ids, three.layer.diff_id)
    assert child.config.history[:2] == parent.config.history
    assert child.config.history[2].document() == {
        "created": "2023-11-14T22:13:21Z",
        "created_by": "ADD three /",
        "comment": "three-1.0",
    }
    assert child.config.created == "2023-11-14T22:13:21Z"
    assert child.config.env == ("PATH=/srv/bin:/bin", "TZ=UTC", "NEW=x=y")
    assert child.config.labels == {"a": "1", "b": "2"}
    assert child.config.exposed_ports == ("80/tcp", "8888/tcp")
    assert (child.config.user, child.config.working_dir, child.config.stop_signal) == ("1000", "/home", "SIGINT")
    assert (child.config.entrypoint, child.config.cmd) == (("/srv/start",), ("run",))
    assert child.manifest.annotations == {}, "the parent's annotations speak of the parent"
    assert child.size == sum(layer.size for layer in child.layers) + len(child.config_bytes)
    assert validate.faults(child, blobs) == ()


def test_the_same_input_gives_the_same_digest_and_any_other_gives_another(blobs, parent):
    def child(**changes):
        arguments = {"platform": AMD64, "created_epoch": EPOCH} | changes
        return append(parent, [blobs.add("three")], Settings(), **arguments)

    assert child() == child()
    assert len({child().digest, child(created_epoch=0).digest, child(annotations={"a": "b"}).digest}) == 3


def test_a_new_entrypoint_forgets_the_parents_cmd(parent):
    child = append(parent, [], Settings(entrypoint=("/other",)), platform=AMD64, created_epoch=EPOCH)
    assert (child.config.entrypoint, child.config.cmd) == (("/other",), None)


def test_a_parent_with_dockers_media_types_becomes_oci(blobs, parent):
    data = parent.manifest_bytes.replace(MANIFEST.encode(), DOCKER_MANIFEST.encode())
    data = data.replace(LAYER_GZIP.encode(), b"application/vnd.docker.image.rootfs.diff.tar.gzip")
    docker = Image.of(data, parent.config_bytes)
    assert docker.digest == of_bytes(data), "the original bytes are kept"
    child = append(docker, [], Settings(), platform=AMD64, created_epoch=EPOCH)
    assert {layer.media_type for layer in child.layers} == {LAYER_GZIP}
    assert child.manifest.media_type == MANIFEST
    assert validate.faults(child, blobs) == ()


def test_another_platform_than_the_parents_is_refused(parent):
    with pytest.raises(HelioError) as caught:
        append(parent, [], Settings(), platform=Platform.of("linux/arm64"), created_epoch=EPOCH)
    assert str(caught.value) == (
        "the parent image is for `linux/amd64`, the child for `linux/arm64`\n\n"
        "hint: build the parent for linux/arm64 first"
    )


def test_a_config_that_is_not_the_manifests_is_refused(parent):
    with pytest.raises(HelioError) as caught:
        Image.of(parent.manifest_bytes, b"{}", "x:latest")
    assert str(caught.value) == (
        "`x:latest` has another config than its manifest names\n"
        "  in x:latest at manifest.config.digest\n"
        f"  expected {parent.manifest.config.digest} not {of_bytes(b'{}')} (2 bytes read)"
    )


@pytest.mark.parametrize("epoch", [-1, 10**12])
def test_times_an_image_cannot_have(epoch):
    with pytest.raises(HelioError, match=f"`{epoch}` is not a time an image can have"):
        rfc3339(epoch)


def test_an_artifact_refers_to_its_subject(parent):
    payload = Descriptor(media_type="application/spdx+json", digest=of_bytes(b"x"), size=1)
    document = json.loads(artifact(parent.descriptor, "application/spdx+json", payload, {"k": "v"}).dump())
    assert document == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/spdx+json",
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "size": 2,
            "data": "e30=",
        },
        "layers": [{"mediaType": "application/spdx+json", "digest": of_bytes(b"x"), "size": 1}],
        "subject": {"mediaType": MANIFEST, "digest": parent.digest, "size": len(parent.manifest_bytes)},
        "annotations": {"k": "v"},
    }


# -- layouts and validation -----------------------------------------------------------------------------------------


@pytest.fixture
def layout(tmp_path, blobs, parent):
    folder = tmp_path / "layout"
    write_layout(folder, {"latest": parent, "2026.11.01": parent}, blobs)
    return folder


def in_layout(folder):
    return lambda digest: folder / "blobs/sha256" / digest[7:]


def test_a_layout_round_trips_and_shares_its_bytes(layout, blobs, parent):
    assert read_layout(layout) == {"2026.11.01": parent, "latest": parent}
    assert validate.faults(parent, in_layout(layout), jobs=2) == ()
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for layer in parent.layers:
        assert (layout / "blobs/sha256" / layer.digest[7:]).samefile(blobs(layer.digest)), "a hard link"


def test_writing_a_layout_again_changes_nothing(layout, blobs, parent):
    before = {path: path.stat().st_mtime_ns for path in layout.rglob("*") if path.is_file()}
    write_layout(layout, {"latest": parent, "2026.11.01": parent}, blobs)
    assert {path: path.stat().st_mtime_ns for path in layout.rglob("*") if path.is_file()} == before


def test_where_links_cannot_be_made_bytes_are_copied(tmp_path, blobs, parent, monkeypatch):
    def refuse(*_arguments):
        raise OSError("cross-device link")

    monkeypatch.setattr("os.link", refuse)
    folder = tmp_path / "copied"
    write_layout(folder, {"latest": parent}, blobs)
    assert validate.faults(read_layout(folder)["latest"], in_layout(folder)) == ()
    assert not (folder / "blobs/sha256" / parent.layers[0].digest[7:]).samefile(blobs(parent.layers[0].digest))


def test_a_layout_of_a_cut_layer_is_refused(tmp_path, blobs, parent):
    path, size = blobs(parent.layers[1].digest), parent.layers[1].size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(HelioError) as caught:
        write_layout(tmp_path / "x", {"latest": parent}, blobs)
    assert str(caught.value) == (
        f"the layer `{path}` is damaged\n  expected {size:,} bytes not {size - 1:,}\n\n"
        "hint: remove the file and build again"
    )
    assert not (tmp_path / "x" / "index.json").exists()


def test_all_faults_are_told_together(layout, parent):
    first, second = (layout / "blobs/sha256" / layer.digest[7:] for layer in parent.layers)
    damaged = b"x" + first.read_bytes()[1:] + b"y"
    first.unlink()  # a hard link: never write through it
    first.write_bytes(damaged)
    second.unlink()
    layer = parent.layers[0]
    assert validate.faults(parent, in_layout(layout)) == (
        f"layers[0].size: expected {layer.size:,} bytes not {layer.size + 1:,}",
        f"layers[0].digest: expected {layer.digest} not {of_bytes(damaged)}",
        f"layers[0]: cannot be read: Not a gzipped file ({damaged[:2]!r})",
        f"layers[1]: {parent.layers[1].digest} is missing",
    )


def test_a_config_that_disagrees_with_its_layers(blobs, parent):
    document = json.loads(parent.config_bytes)
    document["rootfs"]["diff_ids"] = [of_bytes(b"other")]
    document["history"].append({"created_by": "nothing"})
    config_bytes = json.dumps(document).encode()
    manifest = json.loads(parent.manifest_bytes)
    manifest["config"] |= {"digest": of_bytes(config_bytes), "size": len(config_bytes)}
    image = Image.of(json.dumps(manifest).encode(), config_bytes)
    assert validate.faults(image, blobs) == (
        "config.rootfs.diff_ids: expected 2, one for each layer, not 1",
        "config.history: expected 2 entries with a layer not 3",
        f"config.rootfs.diff_ids[0]: expected {of_bytes(b'other')} not {parent.config.diff_ids[0]}",
    )


def test_a_folder_that_is_no_layout(tmp_path):
    with pytest.raises(HelioError) as caught:
        read_layout(tmp_path)
    assert caught.value.message == f"`{tmp_path}` is not an OCI layout"
    assert caught.value.hint == "expected a folder with oci-layout, index.json and blobs/"


def test_a_layout_of_another_version(layout):
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    with pytest.raises(HelioError) as caught:
        read_layout(layout)
    assert caught.value.message == f"`{layout}` is an OCI layout of another version"


def test_a_layout_whose_manifest_rotted(layout, parent):
    path = layout / "blobs/sha256" / parent.digest[7:]
    path.write_bytes(b"{}")
    with pytest.raises(HelioError) as caught:
        read_layout(layout)
    assert str(caught.value) == (
        f"digest mismatch in `{layout}:2026.11.01`\n"
        f"  expected {parent.digest} not {of_bytes(b'{}')} (2 bytes read)\n\n"
        "hint: the layout is damaged; write it again"
    )


def test_a_childs_labels_and_an_empty_command_win(blobs, parent):
    settings = Settings(labels={"a": "2", "b": "3"}, cmd=(), exposed_ports=("9999/tcp", "8888/tcp"))
    child = append(parent, [blobs.add("three")], settings, platform=AMD64, created_epoch=EPOCH)
    assert dict(child.config.labels) == {"a": "2", "b": "3"}
    assert child.config.exposed_ports == ("8888/tcp", "9999/tcp")
    # An empty list clears the parent's; an engine that finds none would take it from elsewhere.
    assert json.loads(child.config_bytes)["config"]["Cmd"] == []
    assert Image.of(child.manifest_bytes, child.config_bytes).config.cmd == ()


def test_a_config_of_another_size_than_said_is_a_fault(blobs, parent):
    size = len(parent.config_bytes)
    config = dataclasses.replace(parent.manifest.config, size=size + 1)
    odd = dataclasses.replace(parent, manifest=dataclasses.replace(parent.manifest, config=config))
    assert validate.faults(odd, blobs) == (
        f"config: expected {config.digest} of {size + 1:,} bytes not {config.digest} of {size:,} bytes",
    )
