"""The client, publish and the embedded registry together, against Debian's docker-registry and a real engine."""

from __future__ import annotations

import datetime
import json
import os
import platform as machine
import random
import shutil
import signal
import subprocess
import tempfile

import pytest
import requests

from helioimages.core import entries
from helioimages.core.digest import of_bytes
from helioimages.core.errors import HelioError
from helioimages.engines import registry_server
from helioimages.machine.store import Store
from helioimages.oci import validate
from helioimages.oci.image import Addition, Image, Settings, append
from helioimages.oci.layer import write_layer
from helioimages.oci.layout import write_layout
from helioimages.oci.registry import Registry
from helioimages.oci.types import Platform
from helioimages.publish import push as publish
from helioimages.spec import tags

pytestmark = pytest.mark.engine

AMD64 = Platform.of("linux/amd64")
GO_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}
HERE = Platform.of(f"linux/{GO_ARCHITECTURE.get(machine.machine(), machine.machine())}")
DAY = datetime.date(2026, 11, 21)
LOCK = of_bytes(b"lock")

PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
    char text[64] = "";
    FILE *file = fopen("/srv/long-name/data.txt", "r");
    if (!file || !fgets(text, sizeof text, file)) return 3;
    printf("%s as %d in %s", text, (int)getuid(), getcwd((char[99]){0}, 99));
    return 0;
}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    if not any(shutil.which(name) for name in ("docker-registry", "registry")):
        pytest.skip("docker-registry is not installed (apt-get install docker-registry)")
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def server(store):
    # Not the default port: a registry of the user's own may be there.
    yield registry_server.start(store.root, port=5300)
    registry_server.stop(store.root)


@pytest.fixture
def client(server):
    with Registry(server.host, chunk=8 << 20) as client:
        yield client


def add(store: Store, name: str, files: list[entries.Entry]) -> Addition:
    draft = store.root / "tmp" / name
    with open(draft, "wb") as out:
        layer = write_layer(entries.merge(files), out, jobs=2)
    os.replace(draft, store.blob(layer.digest))
    return Addition(layer=layer, created_by=f"ADD {name} /")


@pytest.fixture(scope="module")
def image(store):
    """An image whose first layer is large: several gzip members, several upload chunks."""
    big = add(store, "big", [entries.file("srv/noise", random.Random(7).randbytes(20 << 20))])
    small = add(store, "small", [entries.file("srv/small", b"small")])
    return append(None, [big, small], Settings(), platform=HERE, created_epoch=1_700_000_000)


@pytest.fixture(scope="module")
def child(store, image):
    own = add(store, "own", [entries.file("srv/own", b"own")])
    return append(image, [own], Settings(user="1000"), platform=HERE, created_epoch=1_700_000_000)


def test_push_then_nothing_to_push_then_a_child_by_mounts(client, store, image, child):
    sizes = sum(layer.size for layer in image.layers) + len(image.config_bytes)
    first = publish.push_untagged(client, image, "t/parent", store)
    assert first.reference == f"{client.host}/t/parent@{image.digest}"
    assert (first.blobs_sent, first.blobs_mounted, first.blobs_present, first.bytes_sent) == (3, 0, 0, sizes)
    assert client.tags("t/parent") == (), "pushed by digest only"

    again = publish.push_untagged(client, image, "t/parent", store)
    assert (again.blobs_sent, again.blobs_mounted, again.blobs_present, again.bytes_sent) == (0, 0, 3, 0)

    own = child.layers[2].size + len(child.config_bytes)
    mounted = publish.push_untagged(client, child, "t/child", store, mount_from=("t/none", "t/parent"))
    assert (mounted.blobs_sent, mounted.blobs_mounted, mounted.blobs_present) == (2, 2, 0)
    assert mounted.bytes_sent == own
    assert client.get_image("t/child", child.digest, HERE) == child


def test_what_was_pushed_comes_back_whole(client, store, image, tmp_path):
    publish.push_untagged(client, image, "t/whole", store)
    folder = tmp_path / "pulled"
    folder.mkdir()
    for layer in image.layers:
        with open(folder / layer.digest, "w+b") as out:
            client.pull_blob("t/whole", layer, out)
    assert validate.faults(image, lambda digest: folder / digest, jobs=2) == ()


def test_promotion_sets_tags_after_the_test_and_never_moves_the_immutable(client, store, image, child, tmp_path):
    repository = "t/promoted"
    for pushed in (image, child):
        publish.push_untagged(client, pushed, repository, store)
    plan = tags.plan(digest=image.digest, day=DAY, lock=LOCK, existing=publish.existing_tags(client, repository))
    done = publish.promote(client, repository, image.digest, plan.wanted)
    assert done.moved == ("2026.11.21", tags.of_lock(LOCK), "latest")
    again = publish.promote(client, repository, image.digest, plan.wanted)
    assert (again.moved, again.unchanged) == ((), done.moved)

    with pytest.raises(HelioError) as caught:
        publish.promote(client, repository, child.digest, ("latest", "2026.11.21"))
    assert str(caught.value) == (
        "`2026.11.21` is immutable and names another image\n"
        f"  in {client.host}/{repository}\n"
        f"  expected {child.digest} not {image.digest}\n\n"
        "hint: hubs pin this tag; publish under the next free one"
    )
    assert client.head_manifest(repository, "latest").digest == image.digest, "a refusal moves nothing"

    plan = tags.plan(digest=child.digest, day=DAY, lock=LOCK, existing=publish.existing_tags(client, repository))
    publish.promote(client, repository, child.digest, plan.wanted)
    assert publish.existing_tags(client, repository) == {
        "2026.11.21": image.digest,
        "2026.11.21-2": child.digest,
        tags.of_lock(LOCK): image.digest,
        "latest": child.digest,
    }


def test_promoting_what_was_not_pushed_is_refused(client):
    digest = of_bytes(b"nothing")
    with pytest.raises(HelioError) as caught:
        publish.promote(client, "t/parent", digest, ("latest",))
    assert str(caught.value) == (
        f"`{client.host}/t/parent` has no image {digest}\n\nhint: push it before it gets tags: `buildimages publish`"
    )


def test_a_missing_layer_fails_before_the_first_byte(client, store, image):
    lonely = add(store, "lonely", [entries.file("srv/lonely", b"lonely")])
    broken = append(image, [lonely], Settings(), platform=HERE, created_epoch=0)
    store.blob(lonely.layer.digest).unlink()
    with pytest.raises(HelioError) as caught:
        publish.push_untagged(client, broken, "t/broken", store)
    assert str(caught.value) == (
        f"the store lacks a blob of the image: {lonely.layer.digest}\n"
        f"  expected {lonely.layer.size:,} bytes, found no file\n\n"
        "hint: run `buildimages build`"
    )
    assert client.has_blob("t/broken", image.layers[0].digest) is False


def test_uploads_in_small_chunks(server, store, image):
    with Registry(server.host, chunk=3 << 20) as client:
        layer = image.layers[0]
        assert client.push_blob("t/chunks", layer, store.blob(layer.digest)) == "sent"
        assert client.push_blob("t/chunks", layer, store.blob(layer.digest)) == "present"


# -- the embedded registry ------------------------------------------------------------------------------------------


def test_a_running_registry_is_reused(store, server):
    again = registry_server.start(store.root)
    assert (again.process, again.port, again.reused) == (server.process, server.port, True)
    assert registry_server.running(store.root).host == server.host


def test_the_registry_listens_on_loopback_and_knows_nothing_of_the_environment(tmp_path, monkeypatch, store):
    monkeypatch.setenv("REGISTRY_HTTP_ADDR", "0.0.0.0:5399")
    root = Store(tmp_path / "other").root
    try:
        other = registry_server.start(root, port=5310)
        assert requests.get(f"http://{other.host}/v2/", timeout=5).status_code == 200
        assert (root / "run" / "registry.yml").stat().st_mode & 0o777 == 0o600
        with pytest.raises(requests.ConnectionError):
            requests.get("http://127.0.0.1:5399/v2/", timeout=5)
    finally:
        assert registry_server.stop(root) is True
    assert registry_server.stop(root) is False
    assert registry_server.running(root) is None


def test_a_taken_port_is_passed_over_and_the_port_is_remembered(tmp_path, server):
    root = Store(tmp_path / "other").root
    try:
        first = registry_server.start(root, port=server.port)
        assert first.port > server.port
        registry_server.stop(root)
        assert registry_server.start(root).port == first.port
    finally:
        registry_server.stop(root)


def test_a_port_that_another_registry_took_first_is_passed_over(tmp_path, monkeypatch, server):
    """It was free when it was looked at: the answer that comes from there is another registry's."""
    root = Store(tmp_path / "other").root
    seen = []
    is_free = registry_server.is_free
    monkeypatch.setattr(registry_server, "is_free", lambda port: seen.append(port) or len(seen) == 1 or is_free(port))
    try:
        other = registry_server.start(root, port=server.port)
        assert (seen[0], other.process.alive) == (server.port, True)
        assert other.port > server.port
    finally:
        registry_server.stop(root)


def test_a_killed_registry_is_started_again_with_its_images(tmp_path, store, image):
    root = Store(tmp_path / "other").root
    try:
        first = registry_server.start(root, port=5330)
        with Registry(first.host) as client:
            publish.push_untagged(client, image, "t/kept", store)
        os.kill(first.process.pid, signal.SIGKILL)
        second = registry_server.start(root)
        assert second.process != first.process
        with Registry(second.host) as client:
            assert client.head_manifest("t/kept", image.digest).digest == image.digest
    finally:
        registry_server.stop(root)


def test_a_registry_that_nobody_could_record_is_found(tmp_path):
    root = Store(tmp_path / "other").root
    try:
        first = registry_server.start(root, port=5335)
        (root / "run" / "registry.json").unlink()
        again = registry_server.start(root)
        assert (again.process, again.port, again.reused) == (first.process, first.port, True)
        (root / "run" / "registry.json").unlink()
        assert registry_server.stop(root) is True
        assert not first.process.alive
    finally:
        registry_server.stop(root)


def test_a_process_that_got_the_old_pid_is_left_alone(tmp_path):
    root = Store(tmp_path / "other").root
    stranger = subprocess.Popen(["sleep", "3600"])
    try:
        record = {"pid": stranger.pid, "port": 5340, "started": 1}
        (root / "run" / "registry.json").write_text(json.dumps(record))
        assert registry_server.running(root) is None
        assert registry_server.stop(root) is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_without_the_program_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HelioError) as caught:
        registry_server.start(tmp_path)
    assert str(caught.value) == (
        "`docker-registry` is not installed\n"
        "  the embedded registry is Debian's\n\n"
        "hint: run `apt-get install docker-registry`, or name another registry with --registry"
    )


def test_a_registry_that_cannot_start_shows_its_log(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "docker-registry"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'configuration error: no such thing' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    root = Store(tmp_path / "other").root
    with pytest.raises(HelioError) as caught:
        registry_server.start(root, port=5350)
    log = root / "run" / "registry.log"
    assert str(caught.value) == (
        "the embedded registry does not start\n"
        f"  in {log}\n"
        "  configuration error: no such thing\n\n"
        f"hint: look into {log}"
    )


# -- other people's tools -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runnable(store, tmp_path_factory):
    """A program, its data, long and odd names, over two layers of several gzip members."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("program")
    (folder / "main.c").write_text(PROGRAM)
    built = subprocess.run(
        ["gcc", "-static", "-O1", "-o", "main", "main.c"], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    long = "srv/" + "/".join("n" * 90 for _ in range(4)) + "/é"
    program = add(
        store,
        "program",
        [
            entries.file("bin/main", (folder / "main").read_bytes(), mode=0o755),
            entries.file("srv/noise", random.Random(9).randbytes(9 << 20)),
            entries.file(long, b"hello from a long name"),
            entries.symlink("srv/long-name/data.txt", "/" + long),
        ],
    )
    hardlink = entries.Entry(path="bin/same", kind=entries.Kind.HARDLINK, target="bin/other")
    second = add(store, "second", [entries.file("bin/other", b"x"), hardlink])
    settings = Settings(entrypoint=("/bin/main",), user="1000", working_dir="/srv", env={"LANG": "C.UTF-8"})
    return append(None, [program, second], settings, platform=HERE, created_epoch=1_700_000_000)


EXPECTED = "hello from a long name as 1000 in /srv"


def test_an_engine_pulls_by_digest_and_runs(client, store, runnable, engine):
    docker = engine.client
    reference = publish.push_untagged(client, runnable, "t/runnable", store).reference
    try:
        docker.images.pull(reference)
        # Following the log of a program that ends at once loses it now and then on docker 20.10: wait, then read.
        container = docker.containers.run(reference, detach=True, network_disabled=True)
        try:
            assert container.wait(timeout=60)["StatusCode"] == 0
            assert container.logs().decode() == EXPECTED
        finally:
            container.remove(force=True)
        inspected = docker.api.inspect_image(reference)
        assert inspected["RootFS"]["Layers"] == list(runnable.config.diff_ids)
        assert inspected["Id"] == runnable.manifest.config.digest
    finally:
        docker.images.remove(reference, force=True)


def test_skopeo_reads_the_layout_and_the_registry(client, store, runnable, tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    write_layout(tmp_path / "layout", {"v1": runnable}, store.blob)
    copied = subprocess.run(
        [
            "skopeo",
            "copy",
            "--dest-tls-verify=false",
            f"oci:{tmp_path}/layout:v1",
            f"docker://{client.host}/t/skopeo:v1",
        ],
        capture_output=True,
        text=True,
    )
    assert copied.returncode == 0, copied.stderr
    assert client.head_manifest("t/skopeo", "v1").digest == runnable.digest, "not one byte changed on the way"
    unpacked = subprocess.run(
        ["skopeo", "copy", f"oci:{tmp_path}/layout:v1", f"dir:{tmp_path}/dir", "--dest-decompress"],
        capture_output=True,
        text=True,
    )
    assert unpacked.returncode == 0, unpacked.stderr
    for diff_id in runnable.config.diff_ids:
        assert of_bytes((tmp_path / "dir" / diff_id.removeprefix("sha256:")).read_bytes()) == diff_id


def test_an_image_pushed_by_skopeo_is_read_by_us(client, store, image, tmp_path):
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    write_layout(tmp_path / "layout", {"v1": image}, store.blob)
    destination = f"docker://{client.host}/t/schema2:v1"
    copied = subprocess.run(
        ["skopeo", "copy", "--format=v2s2", "--dest-tls-verify=false", f"oci:{tmp_path}/layout:v1", destination],
        capture_output=True,
        text=True,
    )
    assert copied.returncode == 0, copied.stderr
    pulled = client.get_image("t/schema2", "v1", HERE)
    assert isinstance(pulled, Image)
    assert pulled.manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert pulled.config.diff_ids == image.config.diff_ids


def test_podman_pulls_and_runs(client, store, runnable, tmp_path):
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    reference = publish.push_untagged(client, runnable, "t/podman", store).reference
    # Storage of its own: the user's images stay untouched. Its runroot may have 50 characters.
    run = tempfile.mkdtemp(prefix="podman-", dir="/tmp")
    runtime = ["--runtime=runc"] if shutil.which("runc", path="/usr/sbin:/usr/bin") else []
    podman = ["podman", *runtime, "--root", str(tmp_path / "root"), "--runroot", run, "--storage-driver", "vfs"]
    # A machine may forbid podman to raise limits; the test is about the image.
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    command = [*podman, "run", "--rm", "--network=none", "--tls-verify=false", *limits, reference]
    try:
        ran = subprocess.run(command, capture_output=True, text=True)
    finally:
        shutil.rmtree(run, ignore_errors=True)
    assert ran.stdout == EXPECTED, ran.stderr
